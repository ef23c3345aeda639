//! The service: one look for most requests, one wait for those whose key is not known.

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
                self.give_back();
                let grpc = is_grpc(request.headers());
                ResponseFuture::refused(answer, self.policy.resource(), grpc)
            }
            Err(Failure::KeysNeeded(seen)) => {
                self.give_back();
                let inner = self.inner.clone();
                ResponseFuture::wait_for_keys(inner, request, Arc::clone(&self.policy), seen)
            }
        }
    }
}

impl<S: Clone> ValidateBearer<S> {
    /// A readied service may hold a permit, which neither a refused nor a waiting request may keep from others.
    fn give_back(&mut self) {
        self.inner = self.inner.clone();
    }
}

/// Decides as far as the keys at hand allow.
pub(super) fn authenticate(headers: &HeaderMap, policy: &Policy) -> Result<Principal, Failure> {
    let token = bearer_token(headers).map_err(refuse)?;
    if token.len() > policy.resource().longest_token() {
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
    let (keys, seen) = match authority.keys().look() {
        Lookup::Keys(keys, seen) => (keys, seen),
        // Without keys all other rules still decide; only what they let pass is worth a wait.
        Lookup::Nothing(seen) => (Arc::default(), seen),
    };
    verify(token, &keys, policy, authority.now())
        .map_err(|error| (error, (error == VerifyError::UnknownKey).then_some(seen)))
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
    /// Verifies an access token outside of the layer (from a message queue, say) with the authority's current keys;
    /// an unknown key causes one fetch under the cooldown.
    ///
    /// # Errors
    /// The rule that is broken, or [`VerifyError::KeysUnavailable`] while it cannot be decided.
    pub async fn verify(&self, token: &str) -> Result<Principal, VerifyError> {
        verify_or_wait(token, &self.policy()).await
    }

    /// Verifies an ID token whose audience is this resource's client. The caller compares the nonce.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_id_token(&self, token: &str) -> Result<Principal, VerifyError> {
        verify_or_wait(token, &self.id_token_policy()).await
    }
}

async fn verify_or_wait(token: &str, policy: &Policy) -> Result<Principal, VerifyError> {
    let seen = match verify_now(token, policy) {
        Ok(principal) => return Ok(principal),
        Err((error, None)) => return Err(error),
        Err((_, Some(seen))) => seen,
    };
    let newer = policy.resource().authority().keys().newer_than(seen).await;
    newer.map_err(|_| VerifyError::KeysUnavailable)?;
    verify_now(token, policy).map_err(|(error, _)| error)
}
