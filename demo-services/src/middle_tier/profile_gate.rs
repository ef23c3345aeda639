//! The gate before an edit: does the authority grant, for this caller and now, the scope that a policy guards?

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use tower::ServiceExt as _;
use tower_bearer::{
    Authority, BoxError, ConfigError, Credential, OnBehalfOfExt as _, OnBehalfOfLayer, Target,
};

use super::{caller, trace};

/// Asks for a token of an application that does nothing but carry a scope. The token is sent nowhere: that there is one is the answer.
///
/// What stands in the way (a claims challenge of the policy, missing consent) comes up as the error of any other call On-Behalf-Of does.
#[derive(Clone)]
pub(super) struct Gate {
    authority: Authority,
    client_id: String,
    credential: Credential,
    scope: String,
}

impl Gate {
    pub(super) fn new(
        authority: &Authority,
        client_id: &str,
        credential: Credential,
        scope: &str,
    ) -> Result<Self, ConfigError> {
        let gate = Self {
            authority: authority.clone(),
            client_id: client_id.to_owned(),
            credential,
            scope: scope.to_owned(),
        };
        // What cannot be built is found here and not by the first edit.
        gate.layer().map(|_| gate)
    }

    /// # Errors
    ///
    /// What the caller must do first, or why the authority gives no answer.
    pub(super) async fn pass<B>(&self, incoming: &Request<B>) -> Result<(), BoxError> {
        let mut request = Request::new(()).on_behalf_of(caller(incoming)?);
        request.headers_mut().extend(trace(incoming));
        let gate = self.layer()?.wrap(tower::service_fn(open));
        gate.oneshot(request).await?;
        Ok(())
    }

    /// A client of its own has an empty cache: the policies are asked at each edit, not once in a token's life.
    fn layer(&self) -> Result<OnBehalfOfLayer, ConfigError> {
        self.authority
            .client(&self.client_id, self.credential.clone())?
            .on_behalf_of([self.scope.as_str()], Target::bound_client())
    }
}

/// What the token is for: nothing. Nobody is called.
async fn open(_: Request<()>) -> Result<Response<()>, Infallible> {
    let mut opened = Response::new(());
    *opened.status_mut() = StatusCode::NO_CONTENT;
    Ok(opened)
}
