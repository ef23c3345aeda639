//! What the session stands for: the person and the person's tokens, which never reach the browser.
//!
//! The cookie session holds only a seat's random id. Seats are records of the [store](super::store), so any instance that shares
//! it has them. Nobody overwrites what he has not read: tokens are put back only if nobody has put newer ones there meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use tower_bearer::clock::{Clock, SystemClock};
use tracing::Instrument as _;

use super::authority::{Authority, AuthorityError};
use super::id_token::{Account, IdToken};
use super::operations::Operations;
use super::store::{Key, Kind, Records, StoreError, secret, secret_option};
use super::tokens::Tokens;
use crate::flow_events::Trail;
use crate::random;

/// A seat nobody used for this long is gone.
pub(super) const IDLE: Duration = Duration::from_secs(60 * 60);
/// A seat is gone this long after its sign-in, used or not.
pub(super) const ABSOLUTE: Duration = Duration::from_secs(8 * 60 * 60);
/// An access token this close to its end is renewed before it is used, in seconds.
const MARGIN: u64 = 60;
/// How long a token request may take; the right to make it lasts longer, so that nobody takes over while it goes on.
const REQUEST_TIME: Duration = Duration::from_secs(12);
/// What a busy machine may add to all that a renewal waits for.
const DELAY: Duration = Duration::from_secs(1);
/// Between two looks for what another instance is about to put there; it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(25);
const LONGEST_LOOK: Duration = Duration::from_millis(200);
/// Tokens that the authority has given are lost with it if the store cannot be reached at that moment: it is tried again.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// All seats, by id. Cheap to clone.
#[derive(Clone)]
pub(super) struct Vault {
    records: Records,
    clock: Arc<dyn Clock>,
    flights: Arc<Mutex<HashMap<String, Flight>>>,
    keeps_id_tokens: bool,
}

/// One signed-in session, as its record was when the request came.
pub(super) struct Seat {
    pub(super) id: String,
    pub(super) account: Account,
    /// What the page must send in `X-Session-Token`.
    pub(super) header_token: String,
    /// The claims of the ID token, for the page that shows them.
    pub(super) id_claims: Vec<(String, String)>,
    /// The ID token itself, where the authority wants it back at sign-out.
    pub(super) id_token: Option<SecretString>,
    vault: Vault,
}

/// An access token, with the number by which the seat knows that it was replaced.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) token: SecretString,
    pub(super) generation: u64,
}

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    Authority(AuthorityError),
    Store(StoreError),
    /// The session ended meanwhile.
    Ended,
}

/// A renewal under way in this process, which all who need one wait for.
type Flight = Shared<BoxFuture<'static, Result<(), NoToken>>>;

/// Takes a renewal out of the list when it has ended, however it did.
struct Landing {
    flights: Arc<Mutex<HashMap<String, Flight>>>,
    seat: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    account: Account,
    header_token: String,
    id_claims: Vec<(String, String)>,
    /// One slot per resource, by the scope that was asked for.
    slots: BTreeMap<String, Slot>,
    #[serde(with = "secret_option")]
    refresh_token: Option<SecretString>,
    #[serde(with = "secret_option")]
    id_token: Option<SecretString>,
    /// Numbers the answers of the authority: what was asked for before the last one must not overwrite it.
    generation: u64,
    /// In seconds since the epoch.
    ends: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Slot {
    #[serde(with = "secret")]
    token: SecretString,
    generation: u64,
    /// In seconds since the epoch.
    expires: u64,
}

impl Vault {
    pub(super) fn new(records: Records, keeps_id_tokens: bool) -> Self {
        Self {
            records,
            clock: Arc::new(SystemClock),
            flights: Arc::default(),
            keeps_id_tokens,
        }
    }

    /// Seats a person who has just signed in.
    pub(super) async fn seat(
        &self,
        person: IdToken,
        scope: &str,
        tokens: Tokens,
    ) -> Result<Arc<Seat>, StoreError> {
        let now = self.clock.now();
        let mut record = Record {
            account: person.account,
            header_token: random::secret(),
            id_claims: person.claims,
            slots: BTreeMap::new(),
            refresh_token: None,
            id_token: None,
            generation: 0,
            ends: now.saturating_add(ABSOLUTE.as_secs()),
        };
        record.put(scope, tokens, self.keeps_id_tokens, now);
        let id = random::secret();
        self.records.put(Kind::Seat.key(&id), &record, IDLE).await?;
        Ok(Arc::new(self.seated(id, record)))
    }

    /// The seat of this id, if its time has not passed; it is in use, so its idle time begins anew.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Arc<Seat>>, StoreError> {
        let key = Kind::Seat.key(id);
        let found: Option<Record> = self.records.get(key, Some(IDLE)).await?;
        let Some(record) = found else {
            return Ok(None);
        };
        let Some(stay) = record.stay(self.clock.now()) else {
            self.clear(id).await?;
            return Ok(None);
        };
        if stay < IDLE {
            // Only in a seat's last hour, so that otherwise one look is enough.
            let _: Option<Record> = self.records.get(key, Some(stay)).await?;
        }
        Ok(Some(Arc::new(self.seated(id.to_owned(), record))))
    }

    /// Takes a seat and what waits in it away.
    pub(super) async fn clear(&self, id: &str) -> Result<(), StoreError> {
        self.records.remove(Kind::Seat.key(id)).await?;
        self.operations(id).clear().await
    }

    fn seated(&self, id: String, record: Record) -> Seat {
        Seat {
            id,
            account: record.account,
            header_token: record.header_token,
            id_claims: record.id_claims,
            id_token: record.id_token,
            vault: self.clone(),
        }
    }

    fn operations(&self, seat: &str) -> Operations {
        Operations::new(self.records.clone(), Arc::clone(&self.clock), seat)
    }

    /// How long the right to renew lasts: to get it, to read the record, to ask the authority and to note its answer.
    fn renewal_time(&self) -> Duration {
        self.records.longest() * 2 + REQUEST_TIME + self.settling_time() + DELAY
    }

    /// How long the answer of the authority may take to be noted.
    fn settling_time(&self) -> Duration {
        let once = self.records.longest();
        let again = PATIENCE.iter().map(|pause| *pause + once);
        once + again.sum::<Duration>()
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Flight>> {
        locked(&self.flights)
    }
}

impl Seat {
    /// The operations that wait in this session.
    pub(super) fn operations(&self) -> Operations {
        self.vault.operations(&self.id)
    }

    /// Takes over the tokens of an interaction of the same person.
    pub(super) async fn replace(&self, scope: &str, tokens: Tokens) -> Result<(), NoToken> {
        let (now, keeps) = (self.vault.clock.now(), self.vault.keeps_id_tokens);
        let put = |record: Option<Record>| {
            let mut record = record?;
            let stay = record.stay(now)?;
            record.put(scope, tokens.clone(), keeps, now);
            Some((record, stay))
        };
        if self.vault.records.change(self.key(), put).await? {
            Ok(())
        } else {
            Err(NoToken::Ended)
        }
    }

    /// An access token for `scope`, renewed if it is about to expire or is the `refused` one.
    ///
    /// All who need a renewal at one time, here and in the other instances, share one token request. It runs as a task of its
    /// own, so that a rotated refresh token is not lost when the request that wanted it goes away.
    pub(super) async fn access(
        self: &Arc<Self>,
        authority: &Arc<Authority>,
        scope: &str,
        claims: &str,
        refused: Option<u64>,
    ) -> Result<Access, NoToken> {
        // A second time, if the renewal that was under way was made for somebody who had an older token.
        for _ in 0..2 {
            let record = self.record().await?;
            if let Some(access) = record.usable(scope, refused, self.in_seconds(MARGIN)) {
                return Ok(access);
            }
            if record.refresh_token.is_none() {
                let still = record.usable(scope, refused, self.in_seconds(0));
                return still.ok_or(AuthorityError::Interaction { claims: None }.into());
            }
            let renewal = self.renew(authority, record.generation, scope, claims);
            let outcome = renewal.await;
            let record = self.record().await?;
            match (record.usable(scope, refused, self.in_seconds(0)), outcome) {
                (Some(access), _) => return Ok(access),
                (None, Err(error)) => return Err(error),
                (None, Ok(())) => {}
            }
        }
        Err(AuthorityError::Unusable.into())
    }

    fn renew(
        self: &Arc<Self>,
        authority: &Arc<Authority>,
        seen: u64,
        scope: &str,
        claims: &str,
    ) -> Flight {
        let mut flights = self.vault.flights();
        if let Some(flight) = flights.get(&self.id) {
            return flight.clone();
        }
        let (seat, authority) = (Arc::clone(self), Arc::clone(authority));
        let (scope, claims) = (scope.to_owned(), claims.to_owned());
        let renewal = async move {
            // Made here and not before: a runtime that shuts down drops the task at once, while the list is locked.
            let _landing = Landing {
                flights: Arc::clone(&seat.vault.flights),
                seat: seat.id.clone(),
            };
            seat.renew_in_turn(&authority, seen, &scope, &claims).await
        };
        // What is logged and shown of it belongs to the request that began it.
        let task = tokio::spawn(Trail::current().within(renewal).in_current_span());
        let landed = task.map(|outcome| outcome.unwrap_or(Err(AuthorityError::Unavailable.into())));
        let flight = landed.boxed().shared();
        flights.insert(self.id.clone(), flight.clone());
        flight
    }

    /// Waits until no other instance renews, and renews if none has.
    async fn renew_in_turn(
        &self,
        authority: &Arc<Authority>,
        seen: u64,
        scope: &str,
        claims: &str,
    ) -> Result<(), NoToken> {
        let turn = Kind::Renewal.key(&self.id);
        let time = self.vault.renewal_time();
        let deadline = Instant::now() + time + LONGEST_LOOK;
        let mut look = FIRST_LOOK;
        let (claimed, until) = loop {
            // From before it is asked for: when the store hears of it is not known.
            let until = Instant::now() + time;
            if let Some(claimed) = self.vault.records.claim(turn, time).await? {
                break (claimed, until);
            }
            if Instant::now() >= deadline {
                return Err(AuthorityError::Unavailable.into());
            }
            sleep(look).await;
            look = (look * 2).min(LONGEST_LOOK);
            if !self.record().await?.is_as_seen(seen) {
                return Ok(());
            }
        };
        let outcome = self.renew_now(authority, seen, scope, claims, until).await;
        self.vault.records.give_back(turn, claimed).await;
        outcome
    }

    /// Renews, if the right to do so, which is held `until` then, lasts long enough.
    async fn renew_now(
        &self,
        authority: &Arc<Authority>,
        seen: u64,
        scope: &str,
        claims: &str,
        until: Instant,
    ) -> Result<(), NoToken> {
        // Between the look and the claim another instance may have renewed: its refresh token is not to be sent.
        let record = self.record().await?;
        let Some(refresh_token) = record
            .refresh_token
            .as_ref()
            .filter(|_| record.is_as_seen(seen))
        else {
            return Ok(());
        };
        if Instant::now() + REQUEST_TIME + self.vault.settling_time() > until {
            // The process stood still meanwhile, or the store was late.
            return Err(StoreError::Away.into());
        }
        let request = authority.refresh(refresh_token, scope, claims);
        let answer = timeout(REQUEST_TIME, request).await;
        let answer = answer.unwrap_or(Err(AuthorityError::Unavailable));
        self.settle_patiently(seen, scope, answer).await
    }

    async fn settle_patiently(
        &self,
        seen: u64,
        scope: &str,
        answer: Result<Tokens, AuthorityError>,
    ) -> Result<(), NoToken> {
        let mut settled = self.settle(seen, scope, answer.clone()).await;
        for pause in PATIENCE {
            if !matches!(settled, Err(NoToken::Store(_))) {
                break;
            }
            sleep(pause).await;
            settled = self.settle(seen, scope, answer.clone()).await;
        }
        settled
    }

    /// Notes the answer to a refresh that began when the record was `seen`, unless newer tokens have come meanwhile.
    async fn settle(
        &self,
        seen: u64,
        scope: &str,
        answer: Result<Tokens, AuthorityError>,
    ) -> Result<(), NoToken> {
        let (now, keeps) = (self.vault.clock.now(), self.vault.keeps_id_tokens);
        // Revoked or expired: asking again cannot change the answer.
        let is_dead = answer.as_ref().err() == Some(&AuthorityError::Interaction { claims: None });
        let mut is_overtaken = false;
        let put = |record: Option<Record>| {
            let mut record = record?;
            is_overtaken = record.generation != seen;
            if is_overtaken {
                return None;
            }
            let stay = record.stay(now)?;
            match &answer {
                Ok(tokens) => record.put(scope, tokens.clone(), keeps, now),
                Err(_) if is_dead => record.refresh_token = None,
                Err(_) => return None,
            }
            Some((record, stay))
        };
        self.vault.records.change(self.key(), put).await?;
        if is_overtaken {
            return Ok(());
        }
        answer.map(drop).map_err(NoToken::from)
    }

    async fn record(&self) -> Result<Record, NoToken> {
        let record: Option<Record> = self.vault.records.get(self.key(), None).await?;
        let now = self.vault.clock.now();
        let record = record.filter(|record| record.stay(now).is_some());
        record.ok_or(NoToken::Ended)
    }

    fn key(&self) -> Key<'_> {
        Kind::Seat.key(&self.id)
    }

    fn in_seconds(&self, seconds: u64) -> u64 {
        self.vault.clock.now().saturating_add(seconds)
    }
}

impl Record {
    fn put(&mut self, scope: &str, tokens: Tokens, keeps_id_token: bool, now: u64) {
        self.generation += 1;
        let slot = Slot {
            token: tokens.access_token,
            generation: self.generation,
            expires: now.saturating_add(tokens.expires_in),
        };
        self.slots.insert(scope.to_owned(), slot);
        if tokens.refresh_token.is_some() {
            self.refresh_token = tokens.refresh_token;
        }
        if keeps_id_token && tokens.id_token.is_some() {
            self.id_token = tokens.id_token;
        }
    }

    /// How long it is kept if nobody uses it again. `None` when its time is over.
    fn stay(&self, now: u64) -> Option<Duration> {
        let rest = self.ends.checked_sub(now).filter(|rest| *rest > 0)?;
        Some(IDLE.min(Duration::from_secs(rest)))
    }

    /// The token, if it is not refused and good until then.
    fn usable(&self, scope: &str, refused: Option<u64>, until: u64) -> Option<Access> {
        let slot = self.slots.get(scope)?;
        let usable = slot.expires > until && refused != Some(slot.generation);
        usable.then(|| Access {
            token: slot.token.clone(),
            generation: slot.generation,
        })
    }

    /// Nobody has renewed it, nor found that it cannot be renewed.
    fn is_as_seen(&self, generation: u64) -> bool {
        self.generation == generation && self.refresh_token.is_some()
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        locked(&self.flights).remove(&self.seat);
    }
}

impl From<AuthorityError> for NoToken {
    fn from(error: AuthorityError) -> Self {
        Self::Authority(error)
    }
}

impl From<StoreError> for NoToken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow_events::{FlowEvents, Lane};
    use crate::spa_backend::doubles::{self, Stage};
    use crate::spa_backend::id_token::account;
    use crate::spa_backend::settings::Settings;
    use crate::spa_backend::store::MemoryStore;
    use crate::spa_backend::store::unsteady::{Ask, Unsteady};

    const SCOPE: &str = "api://middle/user_impersonation";

    fn tokens(name: &str, expires_in: u64) -> Tokens {
        let refresh_token = format!("refresh-{name}");
        serde_json::from_value(json!({ "access_token": name, "token_type": "Bearer", "expires_in": expires_in, "refresh_token": refresh_token }))
            .unwrap()
    }

    fn vault() -> Vault {
        Vault::new(Records::new(MemoryStore::new()), false)
    }

    fn person() -> IdToken {
        IdToken {
            account: account("alice"),
            claims: Vec::new(),
        }
    }

    async fn seat(name: &str, expires_in: u64) -> Arc<Seat> {
        let vault = vault();
        let seat = vault.seat(person(), SCOPE, tokens(name, expires_in));
        seat.await.unwrap()
    }

    async fn authority() -> (Stage, Arc<Authority>) {
        let stage = Stage::new().await;
        let settings = Settings::new(&doubles::config(
            &stage.authority.url,
            "http://localhost:5000",
        ))
        .unwrap();
        (stage, Arc::new(Authority::new(&settings).unwrap()))
    }

    #[tokio::test]
    async fn a_refresh_that_began_before_a_step_up_does_not_overwrite_it() {
        let (_stage, authority) = authority().await;
        let seat = seat("first", 3600).await;
        let began = seat.record().await.unwrap().generation;
        seat.replace(SCOPE, tokens("stepped-up", 3600))
            .await
            .unwrap();
        let late = seat.settle(began, SCOPE, Ok(tokens("late", 3600)));
        assert_eq!(late.await, Ok(()));
        let refused = Err(AuthorityError::Interaction { claims: None });
        assert_eq!(seat.settle(began, SCOPE, refused).await, Ok(()));
        assert!(seat.record().await.unwrap().refresh_token.is_some());
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&access.token),
            "stepped-up"
        );
    }

    #[tokio::test]
    async fn a_refresh_lands_when_the_request_that_wanted_it_is_gone() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 0).await;
        {
            let mut leader = std::pin::pin!(seat.access(&authority, SCOPE, "{}", None));
            assert!(futures_util::poll!(&mut leader).is_pending());
        }
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&access.token),
            "access-token-1"
        );
        assert_eq!(stage.authority.token_requests("refresh_token"), 1);
    }

    #[tokio::test]
    async fn a_refresh_is_seen_in_the_flow_that_wanted_it() {
        let (stage, authority) = authority().await;
        let (events, flow) = (
            FlowEvents::new(Lane::SpaBackend, true),
            uuid::Uuid::new_v4(),
        );
        let seat = seat("first", 0).await;
        let wanted = seat.access(&authority, SCOPE, "{}", None);
        events.trail(flow).within(wanted).await.unwrap();
        stage
            .authority
            .refuse(400, json!({ "error": "invalid_grant" }));
        let refused = seat.access(&authority, SCOPE, "{}", Some(2));
        assert!(events.trail(flow).within(refused).await.is_err());
        let told = serde_json::to_value(events.of(flow)).unwrap();
        let kinds = told.as_array().unwrap().iter().map(|event| {
            (
                event["kind"].as_str().unwrap(),
                event["grant"].as_str().unwrap(),
            )
        });
        let by = "refresh_token";
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [
                ("token_request", by),
                ("token", by),
                ("token_request", by),
                ("token_refused", by)
            ]
        );
        assert_eq!(told[3]["error"], "invalid_grant");
        assert!(!told.to_string().contains("access-token-1"), "{told}");
    }

    #[tokio::test]
    async fn a_dead_refresh_token_is_not_sent_again() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 0).await;
        stage
            .authority
            .refuse(400, json!({ "error": "invalid_grant" }));
        for _ in 0..3 {
            let refused = seat.access(&authority, SCOPE, "{}", None).await.err();
            assert_eq!(
                refused,
                Some(AuthorityError::Interaction { claims: None }.into())
            );
        }
        assert_eq!(stage.authority.token_requests("refresh_token"), 1);
    }

    #[tokio::test]
    async fn a_token_within_its_margin_serves_while_the_authority_is_away() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 30).await;
        stage.authority.refuse(503, json!({}));
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&access.token), "first");
    }

    #[tokio::test]
    async fn a_refresh_that_nothing_overtook_is_noted() {
        let (_stage, authority) = authority().await;
        let seat = seat("first", 3600).await;
        let began = seat.record().await.unwrap().generation;
        let settled = seat.settle(began, SCOPE, Ok(tokens("second", 3600)));
        assert_eq!(settled.await, Ok(()));
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&access.token),
            "second"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_ends_after_an_hour_unused_and_eight_hours_in_all() {
        let mut vault = vault();
        let clock = tower_bearer::clock::ManualClock::new(1_000_000);
        vault.clock = Arc::new(clock.clone());
        let seat = vault.seat(person(), SCOPE, tokens("first", 3600));
        let id = seat.await.unwrap().id.clone();
        let pass = async |time: Duration| {
            tokio::time::advance(time).await;
            clock.advance(time.as_secs());
        };
        let half = IDLE / 2;
        for _ in 0..15 {
            pass(half).await;
            assert!(vault.find(&id).await.unwrap().is_some());
        }
        pass(half).await;
        assert!(vault.find(&id).await.unwrap().is_none(), "eight hours");

        let seat = vault.seat(person(), SCOPE, tokens("first", 3600));
        let id = seat.await.unwrap().id.clone();
        pass(IDLE - Duration::from_secs(1)).await;
        assert!(vault.find(&id).await.unwrap().is_some());
        pass(IDLE).await;
        assert!(vault.find(&id).await.unwrap().is_none(), "an hour unused");
    }

    #[tokio::test]
    async fn an_id_token_is_kept_only_where_the_authority_wants_it() {
        for keeps in [false, true] {
            let vault = Vault::new(Records::new(MemoryStore::new()), keeps);
            let mut tokens = tokens("first", 3600);
            tokens.id_token = Some("id-token".into());
            let seat = vault.seat(person(), SCOPE, tokens).await.unwrap();
            let found = vault.find(&seat.id).await.unwrap().unwrap();
            assert_eq!(found.id_token.is_some(), keeps);
        }
    }

    #[tokio::test]
    async fn an_instance_that_died_while_it_renewed_holds_nobody_up_for_long() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 0).await;
        let turn = Kind::Renewal.key(&seat.id);
        let time = seat.vault.renewal_time();
        let dead = seat.vault.records.claim(turn, time).await.unwrap();
        assert!(dead.is_some());
        let mut access = std::pin::pin!(seat.access(&authority, SCOPE, "{}", None));
        for _ in 0..10 {
            assert!(futures_util::poll!(&mut access).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.authority.token_requests("refresh_token"), 0);
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        let access = access.await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&access.token),
            "access-token-1"
        );
        assert_eq!(stage.authority.token_requests("refresh_token"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_to_renew_lasts_as_long_as_its_holder_may_need_it() {
        for late in [Duration::ZERO, Duration::from_secs(5)] {
            let store = Unsteady::new(late);
            let vault = Vault::new(Records::new(store.clone()), false);
            let seat = vault.seat(person(), SCOPE, tokens("first", 3600));
            let seat = seat.await.unwrap();
            let began = Instant::now();
            let turn = Kind::Renewal.key(&seat.id);
            let claimed = vault.records.claim(turn, vault.renewal_time()).await;
            assert!(claimed.unwrap().is_some());
            let seen = seat.record().await.unwrap().generation;
            tokio::time::advance(REQUEST_TIME).await;
            store.refuse(&[(Ask::Put, Kind::Seat)]);
            let settling = Instant::now();
            let lost = seat.settle_patiently(seen, SCOPE, Ok(tokens("second", 3600)));
            assert_eq!(lost.await, Err(StoreError::Away.into()));
            assert_eq!(store.asked(Ask::Put, Kind::Seat), 2 + PATIENCE.len());
            // Timers are late by up to a millisecond each.
            let took = settling.elapsed().saturating_sub(Duration::from_millis(50));
            assert!(took <= vault.settling_time(), "{late:?}");
            assert!(began.elapsed() <= vault.renewal_time(), "{late:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_asked_of_the_authority_when_too_little_of_the_right_is_left() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 0).await;
        let seen = seat.record().await.unwrap().generation;
        let needed = REQUEST_TIME + seat.vault.settling_time();
        let renewed = async |left: Duration| {
            let until = Instant::now() + left;
            seat.renew_now(&authority, seen, SCOPE, "{}", until).await
        };
        let too_little = needed - Duration::from_millis(1);
        assert_eq!(renewed(too_little).await, Err(StoreError::Away.into()));
        assert_eq!(stage.authority.token_requests("refresh_token"), 0);
        let enough = seat.vault.renewal_time();
        assert_eq!(renewed(enough).await, Ok(()));
        assert_eq!(stage.authority.token_requests("refresh_token"), 1);
    }

    #[test]
    fn a_runtime_that_shuts_down_meets_no_deadlock() {
        let (told, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let make = || tokio::runtime::Builder::new_current_thread().build();
            let (here, gone) = (make().unwrap(), make().unwrap());
            let seat = here.block_on(seat("first", 0));
            let config = doubles::config("http://127.0.0.1:1", "http://127.0.0.1:1");
            let authority = Authority::new(&Settings::new(&config).unwrap()).unwrap();
            let handle = gone.handle().clone();
            drop(gone);
            let within = handle.enter();
            let flight = seat.renew(&Arc::new(authority), 1, SCOPE, "{}");
            drop(within);
            told.send(here.block_on(flight)).unwrap();
        });
        let outcome = outcome.recv_timeout(Duration::from_secs(60));
        assert_eq!(outcome, Ok(Err(AuthorityError::Unavailable.into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_kept_no_longer_than_it_may_last() {
        for way in ["found", "settled", "replaced"] {
            let store = Unsteady::new(Duration::ZERO);
            let mut vault = Vault::new(Records::new(store.clone()), false);
            let clock = tower_bearer::clock::ManualClock::new(1_000_000);
            vault.clock = Arc::new(clock.clone());
            let seat = vault.seat(person(), SCOPE, tokens("first", 3600));
            let seat = seat.await.unwrap();
            clock.advance(ABSOLUTE.as_secs() - 60);
            match way {
                "found" => assert!(vault.find(&seat.id).await.unwrap().is_some()),
                "settled" => {
                    let settled = seat.settle(1, SCOPE, Ok(tokens("second", 3600)));
                    assert_eq!(settled.await, Ok(()));
                }
                _ => {
                    let replaced = seat.replace(SCOPE, tokens("second", 3600));
                    assert_eq!(replaced.await, Ok(()));
                }
            }
            let there = async || {
                let there: Option<Record> = vault.records.get(seat.key(), None).await.unwrap();
                there.is_some()
            };
            tokio::time::advance(Duration::from_secs(59)).await;
            assert!(there().await, "{way}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!there().await, "{way}");
        }
    }

    #[tokio::test]
    async fn a_seat_that_is_over_is_cleared_and_takes_no_tokens() {
        let store = Unsteady::new(Duration::ZERO);
        let mut vault = Vault::new(Records::new(store.clone()), false);
        let clock = tower_bearer::clock::ManualClock::new(1_000_000);
        vault.clock = Arc::new(clock.clone());
        let seat = vault.seat(person(), SCOPE, tokens("first", 3600));
        let seat = seat.await.unwrap();
        clock.advance(ABSOLUTE.as_secs());
        let replaced = seat.replace(SCOPE, tokens("second", 3600));
        assert_eq!(replaced.await, Err(NoToken::Ended));
        assert_eq!(store.count(Kind::Seat), 1);
        assert!(vault.find(&seat.id).await.unwrap().is_none());
        assert_eq!(store.count(Kind::Seat), 0);
    }
}
