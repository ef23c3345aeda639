//! Lets a request through only with a valid bearer token.

mod cache;
pub(crate) mod credentials;
mod future;
mod revocation;
mod service;
mod verifier;

use std::sync::Arc;

use tower_layer::Layer;

pub use self::future::ResponseFuture as ValidateBearerFuture;
pub use self::revocation::{Revocations, Revoked};
pub use self::service::ValidateBearer;
use self::verifier::Verifier;
use crate::resource::Resource;

/// How many verified tokens a layer remembers unless told otherwise.
const CACHED_TOKENS: usize = 32 * 1024;

/// Validates the bearer token of each request and puts the verified [`Principal`](crate::Principal) into its extensions.
///
/// 1. Exactly one `Authorization` header with exactly one Bearer credential (RFC 6750 2.1), else 401 without error (none) or 400
///    `invalid_request` (unusable). Query, form and cookies are not looked at.
/// 2. The rules of [`jwt::verify`](crate::jwt::verify), else 401 `invalid_token` with a fixed description. A token that was
///    verified before, with the keys of today, is not verified again: only its expiry is.
/// 3. An unknown signing key causes one fetch under a cooldown, and the same request is answered with its outcome. While keys cannot be
///    fetched and the token's key is not among those known: 503 with `Retry-After`, so that clients keep a token that may be good.
///    A key that an authority signs with less than 30 s after it published it is unknown until the cooldown ends.
///
/// A request whose key is known never waits. Refusals carry [`Refused`](crate::Refused) in their extensions.
#[derive(Clone, Debug)]
#[must_use]
pub struct ValidateBearerLayer {
    verifier: Arc<Verifier>,
}

impl ValidateBearerLayer {
    /// Validates for `resource`.
    pub fn new(resource: &Resource) -> Self {
        Self {
            verifier: Arc::new(Verifier::new(resource.policy(), CACHED_TOKENS)),
        }
    }

    /// How many verified tokens are remembered, in at most 512 bytes each on average; 32,768 by default, none with 0. The token
    /// itself is not kept, and what is remembered is worth nothing to another layer or process; clones of a layer share it.
    pub fn cached_tokens(self, capacity: usize) -> Self {
        self.change(|verifier| verifier.cached_tokens(capacity))
    }

    /// Asks on every request whether its caller was revoked: then a claims challenge demands a token issued since (Continuous
    /// Access Evaluation), or `invalid_token` tells a client that cannot answer one.
    pub fn revocations(self, revocations: impl Revocations) -> Self {
        self.change(|verifier| verifier.revocations(Arc::new(revocations)))
    }

    fn change(self, change: impl FnOnce(Verifier) -> Verifier) -> Self {
        Self {
            verifier: Arc::new(change(Arc::unwrap_or_clone(self.verifier))),
        }
    }
}

impl<S> Layer<S> for ValidateBearerLayer {
    type Service = ValidateBearer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ValidateBearer::new(inner, Arc::clone(&self.verifier))
    }
}
