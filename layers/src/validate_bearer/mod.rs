//! Lets a request through only with a valid bearer token.

mod credentials;
mod future;
mod service;

use std::sync::Arc;

use tower_layer::Layer;

pub use self::future::ResponseFuture as ValidateBearerFuture;
pub use self::service::ValidateBearer;
use crate::jwt::Policy;
use crate::resource::Resource;

/// Validates the bearer token of each request and puts the verified [`Principal`](crate::Principal) into its extensions.
///
/// 1. Exactly one `Authorization` header with exactly one Bearer credential (RFC 6750 2.1), else 401 without error (none) or 400
///    `invalid_request` (unusable). Query, form and cookies are not looked at.
/// 2. The rules of [`jwt::verify`](crate::jwt::verify), else 401 `invalid_token` with a fixed description.
/// 3. An unknown signing key causes one fetch under a cooldown, and the same request is answered with its outcome. While keys cannot be
///    fetched and the token's key is not among those known: 503 with `Retry-After`, so that clients keep a token that may be good.
///
/// A request whose key is known never waits. Refusals carry [`Refused`](crate::Refused) in their extensions.
#[derive(Clone, Debug)]
#[must_use]
pub struct ValidateBearerLayer {
    policy: Arc<Policy>,
}

impl ValidateBearerLayer {
    /// Validates for `resource`.
    pub fn new(resource: &Resource) -> Self {
        Self::with_policy(resource.policy())
    }

    /// Validates by `policy`.
    pub fn with_policy(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
        }
    }
}

impl<S> Layer<S> for ValidateBearerLayer {
    type Service = ValidateBearer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ValidateBearer::new(inner, Arc::clone(&self.policy))
    }
}
