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
/// use std::sync::{Arc, RwLock};
/// use tower_bearer::{Authority, Principal, ValidateBearerLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let revoked: Arc<RwLock<HashMap<String, u64>>> = Arc::default();
///
/// let entra = Authority::entra("11111111-2222-3333-4444-555555555555")?;
/// let api = entra.resource("22222222-2222-3333-4444-555555555555")?;
/// let list = Arc::clone(&revoked);
/// let validate = ValidateBearerLayer::new(&api).revocations(move |caller: &Principal| {
///     list.read().ok()?.get(caller.object_id()?).copied()
/// });
/// # let _ = validate;
/// # Ok(())
/// # }
/// ```
pub trait Revocations: Send + Sync + 'static {
    /// The time, in seconds since the epoch, before which tokens of this caller were issued in vain; `None` if nothing was
    /// revoked. A token without `iat` counts as issued before.
    fn revoked_before(&self, caller: &Principal) -> Option<u64>;
}

impl<F> Revocations for F
where
    F: Fn(&Principal) -> Option<u64> + Send + Sync + 'static,
{
    fn revoked_before(&self, caller: &Principal) -> Option<u64> {
        self(caller)
    }
}
