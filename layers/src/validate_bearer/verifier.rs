//! From a request's headers to a verified caller: the cache first, then the rules.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::HeaderMap;

use super::cache::{Entry, Tag, VerifiedTokens};
use super::credentials::{is_b64token, presented};
use super::revocation::{Revocations, Revoked};
use crate::challenge::Answer;
use crate::jwks::{Attempts, Generation, Lookup, RemoteKeySet};
use crate::jwt::{Parts, Policy, VerifyError};
use crate::principal::{Principal, Verified};
use crate::resource::Resource;
use crate::token::PresentedToken;

/// What a layer verifies with; shared by all its services.
#[derive(Clone)]
pub(super) struct Verifier {
    policy: Policy,
    cache: Option<Arc<VerifiedTokens>>,
    revocations: Option<Arc<dyn Revocations>>,
}

/// Why there is no principal.
pub(super) enum Failure {
    Refused(Refusal),
    /// Newer keys of this issuer might decide otherwise.
    KeysNeeded(RemoteKeySet, Attempts),
}

/// An answer, and for which resource its challenge is printed.
pub(super) struct Refusal {
    pub(super) answer: Answer,
    pub(super) resource: Resource,
}

impl Verifier {
    pub(super) fn new(policy: Policy, cached_tokens: usize) -> Self {
        Self {
            policy,
            cache: VerifiedTokens::new(cached_tokens).map(Arc::new),
            revocations: None,
        }
    }

    pub(super) fn cached_tokens(self, capacity: usize) -> Self {
        Self {
            cache: VerifiedTokens::new(capacity).map(Arc::new),
            ..self
        }
    }

    pub(super) fn revocations(self, revocations: Arc<dyn Revocations>) -> Self {
        Self {
            revocations: Some(revocations),
            ..self
        }
    }

    pub(super) fn resource(&self) -> &Resource {
        self.policy.resource()
    }

    /// Decides as far as the keys at hand allow.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Failure> {
        let (value, start, end) = presented(headers).map_err(|answer| self.refuse(answer))?;
        let token = value.as_bytes().get(start..end).unwrap_or_default();
        if token.len() > self.resource().longest_token() {
            return Err(self.refuse(Answer::InvalidRequest));
        }
        let tag = self.cache.as_ref().and_then(|cache| cache.tag(token));
        let known = tag.and_then(|tag| self.known(tag));
        let principal =
            |verified| Principal::new(PresentedToken::in_header(value, start, end), verified);
        let caller = match known {
            Some(verified) => principal(verified),
            None => principal(self.verify(token, tag)?),
        };
        self.check_revocations(&caller)?;
        Ok(caller)
    }

    /// What a former verification found, if it still holds: the time has not come, and the keys are the same.
    fn known(&self, tag: Tag) -> Option<Arc<Verified>> {
        let cache = self.cache.as_ref()?;
        let Entry {
            verified,
            generation,
        } = cache.get(tag)?;
        let resource = &verified.resource;
        let authority = resource.authority();
        let lives = verified
            .facts
            .expires_at
            .saturating_add(resource.leeway_seconds())
            > authority.now();
        let issuer = authority.issuers().get(verified.issuer)?;
        if lives && issuer.keys.is_current(generation) {
            return Some(verified);
        }
        cache.forget(tag);
        None
    }

    fn verify(&self, token: &[u8], tag: Option<Tag>) -> Result<Arc<Verified>, Failure> {
        let text = std::str::from_utf8(token).unwrap_or_default();
        let (verified, generation) = verify_now(text, &self.policy).map_err(|unverified| {
            match unverified {
                Unverified::KeysNeeded(keys, seen) => Failure::KeysNeeded(keys, seen),
                // What is no token at all is the fault of the request (RFC 6750 3.1).
                Unverified::Refused(VerifyError::Malformed) if !is_b64token(token) => {
                    self.refuse(Answer::InvalidRequest)
                }
                Unverified::Refused(error) => {
                    tracing::debug!(kind = "token_refused", reason = %error, "a bearer token was refused");
                    Failure::Refused(Refusal {
                        answer: Answer::InvalidToken,
                        resource: self.resource().clone(),
                    })
                }
            }
        })?;
        let verified = Arc::new(verified);
        if let (Some(cache), Some(tag)) = (&self.cache, tag) {
            let verified = Arc::clone(&verified);
            cache.put(
                tag,
                Entry {
                    verified,
                    generation,
                },
            );
        }
        Ok(verified)
    }

    fn check_revocations(&self, caller: &Principal) -> Result<(), Failure> {
        let Some(revocations) = &self.revocations else {
            return Ok(());
        };
        let asked = AssertUnwindSafe(|| revocations.look_up(caller));
        let checked = match catch_unwind(asked).unwrap_or(Revoked::Unknown) {
            Revoked::No => Ok(()),
            Revoked::Before(seconds) => caller.check_issued_after(seconds),
            Revoked::Unknown => Err(Answer::Unavailable { retry_after: 1 }),
        };
        checked.map_err(|answer| {
            tracing::debug!(kind = ?answer.kind(), "a caller who may be revoked was refused");
            Failure::Refused(Refusal {
                answer,
                resource: caller.resource().clone(),
            })
        })
    }

    fn refuse(&self, answer: Answer) -> Failure {
        tracing::debug!(kind = ?answer.kind(), "a request without a usable bearer token was refused");
        Failure::Refused(Refusal {
            answer,
            resource: self.resource().clone(),
        })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("policy", &self.policy)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

enum Unverified {
    Refused(VerifyError),
    /// Newer keys of this issuer might decide otherwise.
    KeysNeeded(RemoteKeySet, Attempts),
}

impl From<VerifyError> for Unverified {
    fn from(error: VerifyError) -> Self {
        Self::Refused(error)
    }
}

fn verify_now(token: &str, policy: &Policy) -> Result<(Verified, Generation), Unverified> {
    let parts = Parts::new(token, policy)?;
    let header = parts.header()?;
    // Most of a flood ends here: a name that is unknown to every issuer, so soon after they were asked that none is asked again.
    let mut issuers = policy
        .resource()
        .trusted()
        .flat_map(|resource| resource.authority().issuers());
    if let Some(kid) = header.kid.as_deref()
        && issuers.all(|issuer| issuer.keys.surely_lacks(kid))
    {
        return Err(VerifyError::UnknownKey.into());
    }
    let body = parts.body()?;
    let accepted = body.accept(header, policy, |resource| resource.authority().now())?;
    let issuer = &accepted.issuer().keys;
    let (keys, generation, seen) = match issuer.look() {
        Lookup::Keys(keys, generation, seen) => (keys, generation, seen),
        Lookup::Nothing(seen) => return Err(Unverified::KeysNeeded(issuer.clone(), seen)),
    };
    match accepted.check_signature(&keys) {
        Ok(verified) => Ok((verified, generation)),
        Err(VerifyError::UnknownKey) => Err(Unverified::KeysNeeded(issuer.clone(), seen)),
        Err(error) => Err(error.into()),
    }
}

impl Resource {
    /// Verifies an access token outside of the layer (from a message queue, say) with the authority's current keys;
    /// an unknown key causes one fetch under the cooldown. Nothing is remembered, and no revocation hook is asked.
    ///
    /// Keys are refreshed by a task of the tokio runtime; one that runs only from call to call refreshes them late, from call to
    /// call.
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
    let mut issuers = policy
        .resource()
        .trusted()
        .flat_map(|resource| resource.authority().issuers());
    if issuers.any(|issuer| issuer.keys.refresh_if_overdue()) {
        // A runtime that runs only from call to call gets to its other tasks here or never.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
    }
    let verified = match verify_now(token, policy) {
        Err(Unverified::KeysNeeded(keys, seen)) => {
            let newer = keys.newer_than(seen).await;
            newer.map_err(|_| VerifyError::KeysUnavailable)?;
            verify_now(token, policy)
        }
        decided => decided,
    };
    match verified {
        Ok((verified, _)) => Ok(Principal::new(
            PresentedToken::new(token),
            Arc::new(verified),
        )),
        Err(Unverified::Refused(error)) => Err(error),
        Err(Unverified::KeysNeeded(..)) => Err(VerifyError::UnknownKey),
    }
}
