//! Operations that wait for the person to satisfy a demand, each run at most once.
//!
//! Each is a record of its own, so that of all instances that share the store one takes it out; a list for each session tells which
//! ones wait there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use tower_bearer::ClaimsRequest;
use tower_bearer::challenge::StepUp;
use tower_bearer::clock::Clock;
use uuid::Uuid;

use super::demand::Demand;
use super::id_token::Account;
use super::proxy::Call;
use super::store::{Kind, Records, StoreError};
use crate::random;

/// How long an operation is kept.
pub(super) const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Operations kept per session; beyond it the oldest is dropped.
const KEPT: usize = 5;
/// How long an operation that was handed out is remembered, to tell "sent already" from "unknown".
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Demands that one operation may meet: an MFA policy and an authentication context are two legitimate ones.
const ROUNDS: usize = 3;

/// One call of the page that may have to wait for its person.
pub(super) struct Operation {
    pub(super) call: Call,
    /// The flow that its events belong to, also when it is run after the step-up.
    pub(super) flow: Option<Uuid>,
    /// Who made it; nobody else's sign-in may run it.
    account: Account,
    demands: Vec<Demand>,
    /// Once it is kept: in seconds since the epoch.
    expires: Option<u64>,
}

/// The operations of one session.
pub(super) struct Operations {
    records: Records,
    clock: Arc<dyn Clock>,
    seat: String,
}

/// An operation that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Handed out before, so sent at most once and never again.
    Sent,
    /// Expired, dropped, of another session, or lost with a restart.
    Unknown,
    /// The store cannot be reached. Nothing was handed out, or nobody has it.
    Away,
}

/// An operation that has met the same demand twice, or too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop;

/// An operation in the store.
#[derive(Serialize, Deserialize)]
struct Record {
    method: String,
    target: String,
    content_type: Option<Bytes>,
    language: Option<Bytes>,
    body: Bytes,
    flow: Option<Uuid>,
    account: Account,
    demands: Vec<Demanded>,
    /// In seconds since the epoch. A store that was put back to an older state may have it for longer.
    expires: u64,
}

#[derive(Serialize, Deserialize)]
enum Demanded {
    Authentication {
        acr_values: Option<String>,
        max_age: Option<u64>,
    },
    Claims(String),
    Consent,
    SignIn,
}

/// Bytes in a record: base64.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Bytes(String);

impl Operation {
    pub(super) fn new(call: Call, account: Account) -> Self {
        Self {
            call,
            flow: None,
            account,
            demands: Vec::new(),
            expires: None,
        }
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

    /// The page that made the call, and runs it when it is kept.
    pub(super) fn page(&self) -> &'static str {
        if self.call.target.starts_with("/profile") {
            "/profile"
        } else {
            "/"
        }
    }
}

impl Operations {
    pub(super) fn new(records: Records, clock: Arc<dyn Clock>, seat: &str) -> Self {
        Self {
            records,
            clock,
            seat: seat.to_owned(),
        }
    }

    /// Keeps an operation and gives it an id that it has for this round only.
    pub(super) async fn keep(&self, operation: &Operation) -> Result<String, StoreError> {
        let id = random::secret();
        let expires = self.clock.now().saturating_add(LIFETIME.as_secs());
        self.put(&id, operation, expires, LIFETIME).await?;
        Ok(id)
    }

    /// Keeps an operation that was handed out and of which nothing was sent, under the id and for the time that it had. Tells
    /// whether there was any left.
    pub(super) async fn put_back(
        &self,
        id: &str,
        operation: &Operation,
    ) -> Result<bool, StoreError> {
        let rest = |expires: u64| {
            expires
                .checked_sub(self.clock.now())
                .filter(|rest| *rest > 0)
        };
        let Some((expires, rest)) = operation.expires.and_then(|at| Some((at, rest(at)?))) else {
            return Ok(false);
        };
        // First: whoever runs it from here on notes that anew, and only where there is no note may it be run.
        let sent = self.name(id);
        self.records.remove(Kind::Sent.key(&sent)).await?;
        self.put(id, operation, expires, Duration::from_secs(rest))
            .await?;
        Ok(true)
    }

    async fn put(
        &self,
        id: &str,
        operation: &Operation,
        expires: u64,
        stay: Duration,
    ) -> Result<(), StoreError> {
        let (name, record) = (self.name(id), Record::new(operation, expires));
        self.records
            .put(Kind::Operation.key(&name), &record, stay)
            .await?;
        let mut surplus = Vec::new();
        let listed = self.list(|ids| {
            ids.push_back(id.to_owned());
            let beyond = ids.len().saturating_sub(KEPT);
            surplus = ids.drain(..beyond).collect();
        });
        if let Err(error) = listed.await {
            // What is not listed is not counted, so it must not wait.
            let _ = self.records.remove(Kind::Operation.key(&name)).await;
            return Err(error);
        }
        for id in &surplus {
            let name = self.name(id);
            self.records.remove(Kind::Operation.key(&name)).await?;
        }
        Ok(())
    }

    /// Looks at a kept operation.
    pub(super) async fn peek(&self, id: &str) -> Result<Option<Operation>, StoreError> {
        let name = self.name(id);
        let record: Option<Record> = self.records.get(Kind::Operation.key(&name), None).await?;
        Ok(record.and_then(|record| record.operation(self.clock.now())))
    }

    /// Hands an operation out, once, to the account that made it.
    pub(super) async fn take(&self, id: &str, account: &Account) -> Result<Operation, Gone> {
        let name = self.name(id);
        let (kept, sent) = (Kind::Operation.key(&name), Kind::Sent.key(&name));
        let theirs = self.peek(id).await?;
        let taken: Option<Record> = match theirs.filter(|kept| kept.account.is(account)) {
            Some(_) => self.records.take(kept).await?,
            None => None,
        };
        let Some(operation) = taken.and_then(|taken| taken.operation(self.clock.now())) else {
            let is_sent: Option<bool> = self.records.get(sent, None).await?;
            return Err(is_sent.map_or(Gone::Unknown, |_| Gone::Sent));
        };
        // Nobody else can have it now; without the note the others are told that it is unknown.
        let noted = self.records.put_if_absent(sent, &true, REMEMBERED).await;
        self.unlist(id).await;
        match noted {
            // It was run after it was put back, and then a command that was late put it back once more.
            Ok(false) => Err(Gone::Sent),
            Ok(true) | Err(_) => Ok(operation),
        }
    }

    /// Forgets an operation unsent.
    pub(super) async fn discard(&self, id: &str) -> Result<(), StoreError> {
        let name = self.name(id);
        self.records.remove(Kind::Operation.key(&name)).await?;
        self.unlist(id).await;
        Ok(())
    }

    /// Forgets all of them unsent.
    pub(super) async fn clear(&self) -> Result<(), StoreError> {
        let waiting = Kind::Waiting.key(&self.seat);
        let ids: Option<VecDeque<String>> = self.records.take(waiting).await?;
        for id in ids.unwrap_or_default() {
            let name = self.name(&id);
            self.records.remove(Kind::Operation.key(&name)).await?;
        }
        Ok(())
    }

    async fn list(&self, mut change: impl FnMut(&mut VecDeque<String>)) -> Result<(), StoreError> {
        let change = |ids: Option<VecDeque<String>>| {
            let mut ids = ids.unwrap_or_default();
            change(&mut ids);
            Some((ids, LIFETIME))
        };
        let waiting = Kind::Waiting.key(&self.seat);
        self.records.change(waiting, change).await?;
        Ok(())
    }

    /// An id that stays in the list is dropped from it in its turn.
    async fn unlist(&self, id: &str) {
        let _ = self.list(|ids| ids.retain(|listed| listed != id)).await;
    }

    fn name(&self, id: &str) -> String {
        format!("{}.{id}", self.seat)
    }
}

impl Record {
    fn new(operation: &Operation, expires: u64) -> Self {
        let call = &operation.call;
        let header = |value: &Option<HeaderValue>| value.as_ref().map(|v| Bytes::new(v.as_bytes()));
        Self {
            method: call.method.as_str().to_owned(),
            target: call.target.clone(),
            content_type: header(&call.content_type),
            language: header(&call.language),
            body: Bytes::new(&call.body),
            flow: operation.flow,
            account: operation.account.clone(),
            demands: operation.demands.iter().map(Demanded::new).collect(),
            expires,
        }
    }

    /// The operation, if its time has not passed.
    fn operation(self, now: u64) -> Option<Operation> {
        if self.expires <= now {
            return None;
        }
        let header = |value: Option<Bytes>| match value {
            Some(value) => HeaderValue::from_bytes(&value.decoded()?).ok().map(Some),
            None => Some(None),
        };
        Some(Operation {
            call: Call {
                method: Method::from_bytes(self.method.as_bytes()).ok()?,
                target: self.target,
                content_type: header(self.content_type)?,
                language: header(self.language)?,
                body: self.body.decoded()?.into(),
            },
            flow: self.flow,
            account: self.account,
            demands: self
                .demands
                .into_iter()
                .map(Demanded::demand)
                .collect::<Option<_>>()?,
            expires: Some(self.expires),
        })
    }
}

impl Demanded {
    fn new(demand: &Demand) -> Self {
        match demand {
            Demand::Authentication(step_up) => Self::Authentication {
                acr_values: step_up.acr_values.clone(),
                max_age: step_up.max_age,
            },
            Demand::Claims(claims) => Self::Claims(claims.as_str().to_owned()),
            Demand::Consent => Self::Consent,
            Demand::SignIn => Self::SignIn,
        }
    }

    fn demand(self) -> Option<Demand> {
        Some(match self {
            Self::Authentication {
                acr_values,
                max_age,
            } => {
                let mut step_up = StepUp::default();
                (step_up.acr_values, step_up.max_age) = (acr_values, max_age);
                Demand::Authentication(step_up)
            }
            Self::Claims(claims) => Demand::Claims(ClaimsRequest::from_json(&claims).ok()?),
            Self::Consent => Demand::Consent,
            Self::SignIn => Demand::SignIn,
        })
    }
}

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        Self(BASE64_STANDARD.encode(bytes))
    }

    fn decoded(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(&self.0).ok()
    }
}

impl From<StoreError> for Gone {
    fn from(_: StoreError) -> Self {
        Self::Away
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use tower_bearer::clock::{ManualClock, SystemClock};

    use super::*;
    use crate::spa_backend::id_token::account;
    use crate::spa_backend::store::MemoryStore;

    fn operations() -> Operations {
        let records = Records::new(MemoryStore::new());
        Operations::new(records, Arc::new(SystemClock), "seat")
    }

    fn operation(user: &str) -> Operation {
        let call = Call {
            method: Method::POST,
            target: "/api".into(),
            content_type: None,
            language: None,
            body: bytes::Bytes::new(),
        };
        Operation::new(call, account(user))
    }

    fn claims(context: &str) -> Demand {
        Demand::Claims(ClaimsRequest::acrs(context).unwrap())
    }

    #[tokio::test]
    async fn handed_out_at_most_once() {
        let operations = operations();
        let id = operations.keep(&operation("alice")).await.unwrap();
        assert!(operations.peek(&id).await.unwrap().is_some());
        assert!(operations.take(&id, &account("alice")).await.is_ok());
        assert_eq!(
            operations.take(&id, &account("alice")).await.err(),
            Some(Gone::Sent)
        );
        assert!(operations.peek(&id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn never_handed_out_to_another_account() {
        let operations = operations();
        let id = operations.keep(&operation("alice")).await.unwrap();
        assert_eq!(
            operations.take(&id, &account("bob")).await.err(),
            Some(Gone::Unknown)
        );
        assert!(operations.take(&id, &account("alice")).await.is_ok());
    }

    #[tokio::test]
    async fn never_handed_out_to_another_session() {
        let operations = operations();
        let id = operations.keep(&operation("alice")).await.unwrap();
        let other = Operations::new(
            operations.records.clone(),
            Arc::clone(&operations.clock),
            "another",
        );
        assert_eq!(
            other.take(&id, &account("alice")).await.err(),
            Some(Gone::Unknown)
        );
        assert!(operations.take(&id, &account("alice")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn five_are_kept_for_ten_minutes() {
        let operations = operations();
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(operations.keep(&operation("alice")).await.unwrap());
        }
        assert!(operations.peek(&ids[0]).await.unwrap().is_none());
        assert!(operations.peek(&ids[1]).await.unwrap().is_some());
        advance(LIFETIME).await;
        assert!(operations.peek(&ids[1]).await.unwrap().is_none());
        assert_eq!(
            operations.take(&ids[2], &account("alice")).await.err(),
            Some(Gone::Unknown)
        );
    }

    #[tokio::test]
    async fn one_that_was_handed_out_leaves_its_place_to_another() {
        let operations = operations();
        let first = operations.keep(&operation("alice")).await.unwrap();
        for _ in 0..10 {
            let id = operations.keep(&operation("alice")).await.unwrap();
            assert!(operations.take(&id, &account("alice")).await.is_ok());
        }
        assert!(operations.peek(&first).await.unwrap().is_some());
        operations.clear().await.unwrap();
        assert!(operations.peek(&first).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_store_that_was_put_back_brings_nothing_back_that_has_expired() {
        let clock = ManualClock::new(1_000_000);
        let mut operations = operations();
        operations.clock = Arc::new(clock.clone());
        let mut ids = Vec::new();
        for _ in 0..2 {
            ids.push(operations.keep(&operation("alice")).await.unwrap());
        }
        clock.advance(LIFETIME.as_secs() - 1);
        assert!(operations.take(&ids[0], &account("alice")).await.is_ok());
        clock.advance(1);
        assert!(operations.peek(&ids[1]).await.unwrap().is_none());
        let taken = operations.take(&ids[1], &account("alice")).await;
        assert_eq!(taken.err(), Some(Gone::Unknown));
    }

    #[tokio::test]
    async fn what_was_not_sent_can_be_put_back_for_the_rest_of_its_time() {
        let clock = ManualClock::new(1_000_000);
        let mut operations = operations();
        operations.clock = Arc::new(clock.clone());
        let id = operations.keep(&operation("alice")).await.unwrap();
        for _ in 0..2 {
            let taken = operations.take(&id, &account("alice")).await.unwrap();
            let again = operations.take(&id, &account("alice")).await;
            assert_eq!(again.err(), Some(Gone::Sent));
            clock.advance(60);
            assert_eq!(operations.put_back(&id, &taken).await, Ok(true));
        }
        clock.advance(LIFETIME.as_secs() - 120 - 1);
        let taken = operations.take(&id, &account("alice")).await.unwrap();
        assert_eq!(operations.put_back(&id, &taken).await, Ok(true));
        clock.advance(1);
        let expired = operations.take(&id, &account("alice")).await;
        assert_eq!(expired.err(), Some(Gone::Unknown), "it was not sent");
        assert_eq!(operations.put_back(&id, &taken).await, Ok(false));
    }

    #[tokio::test]
    async fn what_was_run_does_not_come_back_by_a_late_command() {
        let operations = operations();
        let id = operations.keep(&operation("alice")).await.unwrap();
        let taken = operations.take(&id, &account("alice")).await.unwrap();
        assert_eq!(operations.put_back(&id, &taken).await, Ok(true));
        let run = operations.take(&id, &account("alice")).await.unwrap();
        let late = operations.put(&id, &run, run.expires.unwrap(), LIFETIME);
        assert_eq!(late.await, Ok(()));
        let again = operations.take(&id, &account("alice")).await;
        assert_eq!(again.err(), Some(Gone::Sent));
    }

    #[tokio::test]
    async fn all_of_an_operation_is_kept() {
        let operations = operations();
        let mut kept = operation("alice");
        kept.call.target = "/profile?x=1".into();
        kept.call.content_type = Some(HeaderValue::from_bytes(b"text/x; y=\xe9").unwrap());
        kept.call.language = Some(HeaderValue::from_static("de"));
        kept.call.body = bytes::Bytes::from_static(b"\x00\xff\n\"");
        kept.flow = Some(Uuid::new_v4());
        let mut step_up = StepUp::default();
        (step_up.acr_values, step_up.max_age) = (Some("urn:mfa".into()), Some(60));
        let demands = [
            claims("c1"),
            Demand::Authentication(step_up),
            Demand::Consent,
        ];
        for demand in demands.clone() {
            kept.meet(demand).unwrap();
        }
        let id = operations.keep(&kept).await.unwrap();
        let found = operations.peek(&id).await.unwrap().unwrap();
        assert_eq!(found.call.method, Method::POST);
        assert_eq!(found.call.target, kept.call.target);
        assert_eq!(found.call.content_type, kept.call.content_type);
        assert_eq!(found.call.language, kept.call.language);
        assert_eq!(found.call.body, kept.call.body);
        assert_eq!((found.flow, found.page()), (kept.flow, "/profile"));
        assert_eq!(found.demands, demands);
        assert_eq!(found.demand(), demands.last());
    }

    #[test]
    fn the_page_is_the_one_that_made_the_call() {
        for (target, page) in [
            ("/profile", "/profile"),
            ("/profile/edit", "/profile"),
            ("/api", "/"),
            ("/secure?x=/profile", "/"),
        ] {
            let mut operation = operation("alice");
            operation.call.target = target.into();
            assert_eq!(operation.page(), page, "{target}");
        }
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
}
