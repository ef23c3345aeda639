//! The service: guards, then the cached token or the long way.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use tower_service::Service;

use super::future::ResponseFuture;
use super::replay::{Never, Replay};
use super::{Caller, Shared};
use crate::acquire::{OnBehalfOfError, OnBehalfOfErrorKind, Wanted};
use crate::principal::Principal;
use crate::refusal::BoxError;

/// The service of [`OnBehalfOfLayer`](crate::OnBehalfOfLayer).
#[derive(Clone, Debug)]
pub struct OnBehalfOf<S, R = Never> {
    inner: S,
    shared: Arc<Shared>,
    replay: R,
}

impl<S, R> OnBehalfOf<S, R> {
    pub(super) fn new(inner: S, shared: Arc<Shared>, replay: R) -> Self {
        Self {
            inner,
            shared,
            replay,
        }
    }
}

impl<S, R, B, Res> Service<Request<B>> for OnBehalfOf<S, R>
where
    S: Service<Request<B>, Response = Response<Res>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B> + Clone,
{
    type Response = Response<Res>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let wanted = match self.admit(&mut request) {
            Ok(wanted) => wanted,
            Err(kind) => {
                match kind {
                    OnBehalfOfErrorKind::UserRequired => {
                        tracing::debug!(?kind, "a call to the next tier was not made");
                    }
                    _ => tracing::error!(?kind, "a call to the next tier was not made"),
                }
                return ResponseFuture::failed(
                    self.give_back(),
                    self.replay.clone(),
                    &self.shared,
                    OnBehalfOfError::new(kind),
                );
            }
        };
        // Whatever credential the handler copied there is not for the next tier.
        request.headers_mut().remove(AUTHORIZATION);
        match self.shared.client.cached(&wanted) {
            Some(token) => {
                // The readied service makes the call; the clone waits for a possible second attempt.
                // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
                let clone = self.inner.clone();
                let mut future =
                    ResponseFuture::new(clone, self.replay.clone(), &self.shared, wanted, request);
                future.send_now(&mut self.inner, token);
                future
            }
            None => ResponseFuture::acquire(
                self.give_back(),
                self.replay.clone(),
                &self.shared,
                wanted,
                request,
            ),
        }
    }
}

impl<S: Clone, R> OnBehalfOf<S, R> {
    /// A clone to be readied later. The readied service is dropped: it may hold a permit, which must not be kept
    /// while the authority is asked or when no call is made.
    fn give_back(&mut self) -> S {
        self.inner = self.inner.clone();
        self.inner.clone()
    }
}

impl<S, R> OnBehalfOf<S, R> {
    /// Takes the caller out of the request and checks that the call may be made.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Wanted, OnBehalfOfErrorKind> {
        let named = request
            .extensions_mut()
            .remove::<Caller>()
            .map(|Caller(principal)| principal);
        let received = request.extensions_mut().remove::<Principal>();
        let caller = named.or(received).ok_or(OnBehalfOfErrorKind::NoAssertion)?;
        if !self.shared.target.admits(request) {
            return Err(OnBehalfOfErrorKind::Origin);
        }
        if caller.resource().authority().name() != self.shared.client.authority().name() {
            return Err(OnBehalfOfErrorKind::Misconfigured);
        }
        if !caller.is_user() {
            return Err(OnBehalfOfErrorKind::UserRequired);
        }
        Ok(Wanted {
            caller,
            scope: Arc::clone(&self.shared.scope),
            claims: None,
            refused: None,
        })
    }
}
