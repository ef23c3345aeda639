//! Which users were revoked, and since when: what an API learns of the authority's events (Continuous Access Evaluation).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tower_bearer::{Principal, Revoked};

/// Users remembered; beyond it the one that was revoked first is forgotten.
const CAPACITY: usize = 10_000;

/// Users whose tokens are no longer good, by object id, in memory. Clones share the entries.
///
/// An entry is kept until it is pushed out, however long tokens live (Entra's up to 28 hours). What was pushed out is not taken for
/// good: of users who are not known, tokens that are older than the last forgotten revocation are answered with 503.
///
/// For one tenant: an object id is unique within it.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    users: HashMap<Arc<str>, u64>,
    /// The same by time.
    by_time: BTreeSet<(u64, Arc<str>)>,
    /// The latest time of those that were forgotten.
    forgotten: u64,
}

impl Revocations {
    /// Nobody is revoked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens of the user with this object id (`oid`) that were issued before this time, in seconds since the epoch, are no longer
    /// good. A later time stays.
    pub fn revoke(&self, user: &str, before: u64) {
        self.kept().revoke(user, before, CAPACITY);
    }

    #[cfg(test)]
    pub(crate) fn of(&self, user: &str) -> Revoked {
        self.kept().look_up(user, None)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn revoke(&mut self, user: &str, before: u64, capacity: usize) {
        let user = Arc::<str>::from(user);
        match self.users.get(&user) {
            Some(known) if *known >= before => return,
            Some(known) => self.by_time.remove(&(*known, Arc::clone(&user))),
            None => false,
        };
        self.users.insert(Arc::clone(&user), before);
        self.by_time.insert((before, user));
        while self.users.len() > capacity
            && let Some((before, user)) = self.by_time.pop_first()
        {
            self.users.remove(&user);
            self.forgotten = self.forgotten.max(before);
        }
    }

    /// Of a token of this user that was issued at this time, if that is known.
    fn look_up(&self, user: &str, issued_at: Option<u64>) -> Revoked {
        match self.users.get(user) {
            Some(before) => Revoked::Before(*before),
            None if issued_at.unwrap_or_default() < self.forgotten => Revoked::Unknown,
            None => Revoked::No,
        }
    }
}

impl tower_bearer::Revocations for Revocations {
    fn look_up(&self, caller: &Principal) -> Revoked {
        match caller.object_id() {
            Some(user) => self.kept().look_up(user, caller.issued_at()),
            // Nobody's token: there is no user to revoke.
            None if caller.is_app() => Revoked::No,
            None => Revoked::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entra's longest lifetime of a token.
    const LONGEST: u64 = 28 * 60 * 60;

    #[test]
    fn a_revocation_concerns_its_user_alone() {
        let revocations = Revocations::new();
        revocations.clone().revoke("alice", 7);
        let kept = revocations.kept();
        assert_eq!(kept.look_up("alice", Some(6)), Revoked::Before(7));
        assert_eq!(kept.look_up("bob", Some(6)), Revoked::No);
        assert_eq!(kept.look_up("bob", None), Revoked::No);
    }

    #[test]
    fn the_latest_revocation_counts() {
        let revocations = Revocations::new();
        for (at, known) in [(7, 7), (9, 9), (8, 9)] {
            revocations.revoke("alice", at);
            let told = revocations.kept().look_up("alice", None);
            assert_eq!(told, Revoked::Before(known));
        }
        assert_eq!(revocations.kept().by_time.len(), 1);
    }

    #[test]
    fn what_was_pushed_out_is_not_taken_for_good() {
        let mut kept = Kept::default();
        for (user, at) in [("alice", 100), ("bob", 200), ("carol", 300)] {
            kept.revoke(user, at, 2);
        }
        // Alice's is forgotten, and with it what was issued before to anybody who is not known.
        for user in ["alice", "dave"] {
            assert_eq!(kept.look_up(user, Some(99)), Revoked::Unknown);
            assert_eq!(kept.look_up(user, None), Revoked::Unknown);
            assert_eq!(kept.look_up(user, Some(100)), Revoked::No);
        }
        assert_eq!(kept.look_up("bob", Some(99)), Revoked::Before(200));
        // Long after that, no such token lives any more.
        assert_eq!(kept.look_up("dave", Some(100 + LONGEST)), Revoked::No);
        assert_eq!((kept.users.len(), kept.by_time.len()), (2, 2));
        // Who is revoked anew was not revoked first.
        kept.revoke("bob", 400, 2);
        kept.revoke("dave", 500, 2);
        assert_eq!(kept.look_up("bob", Some(1)), Revoked::Before(400));
        assert_eq!(kept.look_up("carol", Some(299)), Revoked::Unknown);
    }

    #[test]
    fn a_flood_is_bounded() {
        let revocations = Revocations::new();
        for number in 0..=CAPACITY as u64 {
            revocations.revoke(&number.to_string(), number + 1);
        }
        let kept = revocations.kept();
        assert_eq!((kept.users.len(), kept.by_time.len()), (CAPACITY, CAPACITY));
        assert_eq!(kept.forgotten, 1);
    }
}
