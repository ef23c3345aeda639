//! The service: one look for most requests, one wait for those whose key is not known.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tower_service::Service;

use super::credentials::bearer_token;
use super::future::ResponseFuture;
use crate::challenge::Answer;
use crate::jwks::{Attempts, Lookup};
use crate::jwt::{Policy, VerifyError, verify};
use crate::principal::Principal;
use crate::refusal::{RefusalBody, is_grpc};
use crate::resource::Resource;

/// The service of [`ValidateBearerLayer`](crate::ValidateBearerLayer).
#[derive(Clone, Debug)]
pub struct ValidateBearer<S> {
    inner: S,
    policy: Arc<Policy>,
}

/// Why there is no principal.
pub(super) enum Failure {
    Refused(Answer),
    /// Newer keys might decide otherwise.
    KeysNeeded(Attempts),
}

impl<S> ValidateBearer<S> {
    pub(super) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

impl<S, Req, Res> Service<Request<Req>> for ValidateBearer<S>
where
    S: Service<Request<Req>, Response = Response<Res>> + Clone,
    Res: RefusalBody,
{
    type Response = Response<Res>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        // Whatever an outer service left there was not verified here.
        request.extensions_mut().remove::<Principal>();
        match authenticate(request.headers(), &self.policy) {
            Ok(principal) => {
                request.extensions_mut().insert(principal);
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(Failure::Refused(answer)) => {
                let grpc = is_grpc(request.headers());
                ResponseFuture::refused(answer, self.policy.resource(), grpc)
            }
            Err(Failure::KeysNeeded(seen)) => {
                // The readied service is the one that will be called; the clone left behind becomes ready by itself.
                // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
                let clone = self.inner.clone();
                let readied = mem::replace(&mut self.inner, clone);
                ResponseFuture::wait_for_keys(readied, request, Arc::clone(&self.policy), seen)
            }
        }
    }
}

/// Decides as far as the keys at hand allow.
pub(super) fn authenticate(headers: &HeaderMap, policy: &Policy) -> Result<Principal, Failure> {
    let token = bearer_token(headers).map_err(refuse)?;
    if token.len() > policy.longest_token() {
        return Err(refuse(Answer::InvalidRequest));
    }
    match verify_now(token, policy) {
        Ok(principal) => Ok(principal),
        Err((_, Some(seen))) => Err(Failure::KeysNeeded(seen)),
        Err((error, None)) => {
            tracing::debug!(kind = "token_refused", reason = %error, "a bearer token was refused");
            Err(Failure::Refused(Answer::InvalidToken))
        }
    }
}

fn refuse(answer: Answer) -> Failure {
    tracing::debug!(kind = ?answer.kind(), "a request without a usable bearer token was refused");
    Failure::Refused(answer)
}

/// The second part of the error: newer keys might decide otherwise.
fn verify_now(token: &str, policy: &Policy) -> Result<Principal, (VerifyError, Option<Attempts>)> {
    let authority = policy.resource().authority();
    match authority.keys().look() {
        Lookup::Keys(keys, seen) => verify(token, &keys, policy, authority.now())
            .map_err(|error| (error, (error == VerifyError::UnknownKey).then_some(seen))),
        Lookup::Nothing(seen) => Err((VerifyError::UnknownKey, Some(seen))),
    }
}

/// After the wait: what is still unknown is refused.
pub(super) fn authenticate_again(
    headers: &HeaderMap,
    policy: &Policy,
) -> Result<Principal, Answer> {
    authenticate(headers, policy).map_err(|failure| match failure {
        Failure::Refused(answer) => answer,
        Failure::KeysNeeded(_) => Answer::InvalidToken,
    })
}

impl Resource {
    /// Verifies a token outside of the layer (an ID token of a client that is its own audience, a token of a message queue), with the
    /// authority's current keys; an unknown key causes one fetch under the cooldown.
    ///
    /// # Errors
    /// The rule that is broken; [`VerifyError::UnknownKey`] also while keys cannot be fetched.
    pub async fn verify(&self, token: &str) -> Result<Principal, VerifyError> {
        let policy = self.policy();
        match verify_now(token, &policy) {
            Err((error, Some(seen))) => {
                self.authority()
                    .keys()
                    .newer_than(seen)
                    .await
                    .map_err(|_| error)?;
                verify_now(token, &policy).map_err(|(error, _)| error)
            }
            decided => decided.map_err(|(error, _)| error),
        }
    }
}
