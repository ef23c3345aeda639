//! The opt-in hook for users and sessions that were revoked.

use crate::principal::Principal;

/// Knows which users or sessions were revoked, and when: an event feed of the authority (Continuous Access Evaluation), a
/// sign-out elsewhere, an operator's list.
///
/// Asked on every request, also for tokens that were verified before, so it must not block: keep the answers in memory. Closures
/// implement it.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, PoisonError, RwLock};
/// use tower_bearer::{Authority, Principal, PropagateChallengeLayer, Revoked, ValidateBearerLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // By tenant and user: an object id is unique within its tenant.
/// let revoked: Arc<RwLock<HashMap<(String, String), u64>>> = Arc::default();
///
/// let entra = Authority::entra("11111111-2222-3333-4444-555555555555")?;
/// let api = entra.resource("22222222-2222-3333-4444-555555555555")?;
/// let list = Arc::clone(&revoked);
/// let validate = ValidateBearerLayer::new(&api).revocations(move |caller: &Principal| {
///     let (Some(tenant), Some(user)) = (caller.tenant_id(), caller.object_id()) else {
///         return Revoked::Unknown; // never `No` for a caller who cannot be looked up
///     };
///     let revoked = list.read().unwrap_or_else(PoisonError::into_inner);
///     revoked.get(&(tenant.to_owned(), user.to_owned())).copied().into()
/// });
/// // In the place of `api.protect()`:
/// let protect = (PropagateChallengeLayer::new(&api), validate);
/// # let _ = protect;
/// # Ok(())
/// # }
/// ```
pub trait Revocations: Send + Sync + 'static {
    /// What is known of this caller.
    fn look_up(&self, caller: &Principal) -> Revoked;
}

/// What is known of a caller's revocation. An `Option` of a time turns into it, of which `None` means that nothing was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revoked {
    /// Nothing was revoked.
    No,
    /// Tokens that were issued before this time, in seconds since the epoch, are no longer good. One without `iat` counts as
    /// issued before.
    Before(u64),
    /// It cannot be told now: the request is answered with 503. A panic means the same.
    Unknown,
}

impl From<Option<u64>> for Revoked {
    fn from(before: Option<u64>) -> Self {
        before.map_or(Self::No, Self::Before)
    }
}

impl<F, R> Revocations for F
where
    F: Fn(&Principal) -> R + Send + Sync + 'static,
    R: Into<Revoked>,
{
    fn look_up(&self, caller: &Principal) -> Revoked {
        self(caller).into()
    }
}
