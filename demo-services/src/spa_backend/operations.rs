//! Operations that wait for the person to satisfy a demand, each run at most once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use uuid::Uuid;

use super::demand::Demand;
use super::id_token::Account;
use super::proxy::Call;
use super::random;

/// How long an operation is kept.
pub(super) const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Operations kept per session; beyond it the oldest is dropped.
const KEPT: usize = 5;
/// Ids of operations that were handed out, remembered to tell "sent already" from "unknown".
const REMEMBERED: usize = 32;
/// Demands that one operation may meet: an MFA policy and an authentication context are two legitimate ones.
const ROUNDS: usize = 3;

/// One call of the page that may have to wait for its person.
pub(super) struct Operation {
    pub(super) call: Call,
    /// The flow that it belongs to, before and after the person has done what was demanded.
    pub(super) flow: Option<Uuid>,
    /// Who made it; nobody else's sign-in may run it.
    account: Account,
    demands: Vec<Demand>,
    /// Its part of the memory that all kept bodies share.
    room: Option<OwnedSemaphorePermit>,
}

/// The operations of one session.
#[derive(Default)]
pub(super) struct Operations {
    kept: VecDeque<Kept>,
    handed_out: VecDeque<String>,
}

struct Kept {
    id: String,
    operation: Operation,
    since: Instant,
}

/// An operation that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Handed out before, so sent at most once and never again.
    Sent,
    /// Expired, dropped, of another session, or lost with a restart.
    Unknown,
}

/// An operation that has met the same demand twice, or too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop;

impl Operation {
    pub(super) fn new(call: Call, account: Account) -> Self {
        Self {
            call,
            flow: None,
            account,
            demands: Vec::new(),
            room: None,
        }
    }

    /// Claims memory for the body while the operation waits; `false` if all of it is taken.
    pub(super) fn reserve(&mut self, room: &Arc<Semaphore>) -> bool {
        if self.room.is_none() && !self.call.body.is_empty() {
            let size = u32::try_from(self.call.body.len()).unwrap_or(u32::MAX);
            self.room = Arc::clone(room).try_acquire_many_owned(size).ok();
            return self.room.is_some();
        }
        true
    }

    /// Notes a demand that the operation has met.
    pub(super) fn meet(&mut self, demand: Demand) -> Result<(), Loop> {
        if self.demands.len() >= ROUNDS || self.demands.contains(&demand) {
            return Err(Loop);
        }
        self.demands.push(demand);
        Ok(())
    }

    /// The demand to satisfy next.
    pub(super) fn demand(&self) -> Option<&Demand> {
        self.demands.last()
    }
}

impl Operations {
    /// Keeps an operation and gives it an id that it has for this round only.
    pub(super) fn keep(&mut self, operation: Operation, now: Instant) -> String {
        self.drop_expired(now);
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        let id = random::secret();
        self.kept.push_back(Kept {
            id: id.clone(),
            operation,
            since: now,
        });
        id
    }

    /// Looks at a kept operation.
    pub(super) fn peek(&mut self, id: &str, now: Instant) -> Option<&Operation> {
        self.drop_expired(now);
        self.kept
            .iter()
            .find(|kept| kept.id == id)
            .map(|kept| &kept.operation)
    }

    /// Hands an operation out, once, to the account that made it.
    pub(super) fn take(
        &mut self,
        id: &str,
        account: &Account,
        now: Instant,
    ) -> Result<Operation, Gone> {
        self.drop_expired(now);
        let position = self
            .kept
            .iter()
            .position(|kept| kept.id == id && kept.operation.account.is(account));
        let Some(kept) = position.and_then(|position| self.kept.remove(position)) else {
            let sent = self.handed_out.iter().any(|known| known == id);
            return Err(if sent { Gone::Sent } else { Gone::Unknown });
        };
        if self.handed_out.len() >= REMEMBERED {
            self.handed_out.pop_front();
        }
        self.handed_out.push_back(kept.id);
        Ok(kept.operation)
    }

    /// Forgets an operation unsent.
    pub(super) fn discard(&mut self, id: &str) {
        self.kept.retain(|kept| kept.id != id);
    }

    fn drop_expired(&mut self, now: Instant) {
        self.kept
            .retain(|kept| now.saturating_duration_since(kept.since) < LIFETIME);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use tower_bearer::ClaimsRequest;

    use super::*;
    use crate::spa_backend::id_token::account;

    fn operation(user: &str) -> Operation {
        operation_with("", user)
    }

    fn operation_with(body: &'static str, user: &str) -> Operation {
        let call = Call {
            method: Method::POST,
            target: "/api".into(),
            content_type: None,
            language: None,
            body: Bytes::from_static(body.as_bytes()),
        };
        Operation::new(call, account(user))
    }

    fn claims(context: &str) -> Demand {
        Demand::Claims(ClaimsRequest::acrs(context).unwrap())
    }

    #[test]
    fn handed_out_at_most_once() {
        let (mut operations, now) = (Operations::default(), Instant::now());
        let id = operations.keep(operation("alice"), now);
        assert!(operations.peek(&id, now).is_some());
        assert!(operations.take(&id, &account("alice"), now).is_ok());
        assert_eq!(
            operations.take(&id, &account("alice"), now).err(),
            Some(Gone::Sent)
        );
        assert!(operations.peek(&id, now).is_none());
    }

    #[test]
    fn never_handed_out_to_another_account() {
        let (mut operations, now) = (Operations::default(), Instant::now());
        let id = operations.keep(operation("alice"), now);
        assert_eq!(
            operations.take(&id, &account("bob"), now).err(),
            Some(Gone::Unknown)
        );
        assert!(operations.take(&id, &account("alice"), now).is_ok());
    }

    #[test]
    fn five_are_kept_for_ten_minutes() {
        let (mut operations, now) = (Operations::default(), Instant::now());
        let ids: Vec<_> = (0..6)
            .map(|_| operations.keep(operation("alice"), now))
            .collect();
        assert!(operations.peek(&ids[0], now).is_none());
        assert!(operations.peek(&ids[1], now).is_some());
        assert!(operations.peek(&ids[1], now + LIFETIME).is_none());
        assert_eq!(
            operations
                .take(&ids[2], &account("alice"), now + LIFETIME)
                .err(),
            Some(Gone::Unknown)
        );
    }

    #[test]
    fn equal_demands_twice_are_a_loop() {
        let mut operation = operation("alice");
        assert_eq!(operation.meet(claims("c1")), Ok(()));
        assert_eq!(operation.meet(claims("c1")), Err(Loop));
    }

    #[test]
    fn three_different_demands_are_met_and_no_fourth() {
        let mut operation = operation("alice");
        for context in ["c1", "c2", "c3"] {
            assert_eq!(operation.meet(claims(context)), Ok(()));
        }
        assert_eq!(operation.meet(Demand::SignIn), Err(Loop));
    }

    #[test]
    fn bodies_that_wait_share_a_bounded_memory() {
        let room = Arc::new(Semaphore::new(10));
        let mut first = operation_with("12345678", "alice");
        assert!(first.reserve(&room));
        assert!(first.reserve(&room), "an operation reserves once");
        assert!(!operation_with("12345678", "bob").reserve(&room));
        assert!(
            operation("bob").reserve(&room),
            "an empty body needs no room"
        );
        drop(first);
        assert!(operation_with("12345678", "bob").reserve(&room));
    }
}
