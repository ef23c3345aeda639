//! Which users were revoked, and since when: what an API learns of the authority's events (Continuous Access Evaluation).

use std::{sync::Arc, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache};
use tower_bearer::{Principal, Revoked};

/// Users remembered; beyond it the least recently looked up is forgotten.
const CAPACITY: u64 = 10_000;
/// Longer than any access token lives: a token that was issued before it has ended by itself.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Users whose tokens are no longer good, by object id, in memory. Clones share the entries.
///
/// For one tenant: an object id is unique within it.
#[derive(Clone, Debug)]
pub struct Revocations(Arc<Cache<String, u64>>);

impl Revocations {
    /// Nobody is revoked.
    #[must_use]
    pub fn new() -> Self {
        let users = Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(KEPT);
        Self(Arc::new(users.build()))
    }

    /// Tokens of the user with this object id (`oid`) that were issued before this time, in seconds since the epoch, are no longer
    /// good. A later time stays.
    pub fn revoke(&self, user: &str, before: u64) {
        let entry = self.0.entry_by_ref(user);
        entry.and_upsert_with(|known| known.map_or(before, |known| known.into_value().max(before)));
    }

    fn before(&self, user: &str) -> Option<u64> {
        self.0.get(user)
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl tower_bearer::Revocations for Revocations {
    fn look_up(&self, caller: &Principal) -> Revoked {
        match caller.object_id() {
            Some(user) => self.before(user).into(),
            // Nobody's token: there is no user to revoke.
            None if caller.is_app() => Revoked::No,
            None => Revoked::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_concerns_its_user_alone() {
        let revocations = Revocations::new();
        revocations.clone().revoke("alice", 7);
        assert_eq!(revocations.before("alice"), Some(7));
        assert_eq!(revocations.before("bob"), None);
    }

    #[test]
    fn the_latest_revocation_counts() {
        let revocations = Revocations::new();
        for (at, known) in [(7, 7), (9, 9), (8, 9)] {
            revocations.revoke("alice", at);
            assert_eq!(revocations.before("alice"), Some(known));
        }
    }
}
