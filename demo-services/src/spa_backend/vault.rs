//! What the session stands for: the person and the person's tokens, which never leave this process.
//!
//! The session cookie's record holds only a seat's random id, so a shared or sealed store can take the vault's place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::authority::{Authority, AuthorityError};
use super::id_token::{Account, IdToken};
use super::operations::Operations;
use super::random;
use super::tokens::Tokens;
use crate::flow_events::Trail;

/// A seat nobody used for this long is gone.
pub(super) const IDLE: Duration = Duration::from_secs(60 * 60);
/// A seat is gone this long after its sign-in, used or not.
pub(super) const ABSOLUTE: Duration = Duration::from_secs(8 * 60 * 60);
/// Signed-in sessions at one time; beyond it the least recently used one has to sign in again.
pub(super) const CAPACITY: u64 = 10_000;
/// An access token this close to its end is renewed before it is used.
const MARGIN: Duration = Duration::from_secs(60);

/// All seats, by id.
pub(super) struct Vault(Cache<String, Arc<Seat>>);

/// One signed-in session.
pub(super) struct Seat {
    pub(super) id: String,
    pub(super) account: Account,
    /// What the page must send in `X-Session-Token`.
    pub(super) header_token: String,
    /// The claims of the ID token, for the page that shows them.
    pub(super) id_claims: Vec<(String, String)>,
    tokens: Mutex<Held>,
    operations: Mutex<Operations>,
}

/// An access token, with the number by which the seat knows that it was replaced.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) token: Arc<SecretString>,
    pub(super) generation: u64,
}

struct Held {
    /// One slot per resource, by the scope that was asked for.
    slots: HashMap<String, Slot>,
    refresh_token: Option<Arc<SecretString>>,
    /// Counts replacements by interaction: a refresh that began before one must not overwrite it.
    interactions: u64,
    /// Numbers the access tokens.
    generation: u64,
    flight: Option<Shared<BoxFuture<'static, Result<(), AuthorityError>>>>,
}

struct Slot {
    access: Access,
    expires: Instant,
}

impl Vault {
    pub(super) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(IDLE)
                .time_to_live(ABSOLUTE)
                .build(),
        )
    }

    /// Seats a person who has just signed in.
    pub(super) fn seat(&self, person: IdToken, scope: &str, tokens: Tokens) -> Arc<Seat> {
        let seat = Arc::new(Seat::new(person, scope, tokens));
        self.0.insert(seat.id.clone(), Arc::clone(&seat));
        seat
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Seat>> {
        self.0.get(id)
    }

    pub(super) fn clear(&self, id: &str) {
        self.0.invalidate(id);
    }
}

impl Seat {
    fn new(person: IdToken, scope: &str, tokens: Tokens) -> Self {
        let mut held = Held {
            slots: HashMap::new(),
            refresh_token: None,
            interactions: 0,
            generation: 0,
            flight: None,
        };
        held.put(scope, tokens);
        Self {
            id: random::secret(),
            account: person.account,
            header_token: random::secret(),
            id_claims: person.claims,
            tokens: Mutex::new(held),
            operations: Mutex::new(Operations::default()),
        }
    }

    /// The operations that wait in this session. Not to be held across an await, which the compiler checks: it is not `Send`.
    pub(super) fn operations(&self) -> MutexGuard<'_, Operations> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the tokens of an interaction of the same person.
    pub(super) fn replace(&self, scope: &str, tokens: Tokens) {
        let mut held = self.held();
        held.interactions += 1;
        held.put(scope, tokens);
    }

    /// An access token for `scope`, renewed if it is about to expire or is the `refused` one.
    ///
    /// All who need a renewal at one time share one token request. It runs as a task of its own, so that a rotated refresh
    /// token is not lost when the request that wanted it goes away.
    pub(super) async fn access(
        self: &Arc<Self>,
        authority: &Arc<Authority>,
        scope: &str,
        claims: &str,
        refused: Option<u64>,
    ) -> Result<Access, AuthorityError> {
        let flight = {
            let mut held = self.held();
            if let Some(access) = held.usable(scope, refused, MARGIN) {
                return Ok(access);
            }
            match &held.flight {
                Some(flight) => flight.clone(),
                None => {
                    let Some(refresh_token) = held.refresh_token.clone() else {
                        return held
                            .usable(scope, refused, Duration::ZERO)
                            .ok_or(AuthorityError::Interaction { claims: None });
                    };
                    let flight = self.refresh(
                        Arc::clone(authority),
                        refresh_token,
                        held.interactions,
                        scope.to_owned(),
                        claims.to_owned(),
                    );
                    held.flight = Some(flight.clone());
                    flight
                }
            }
        };
        let outcome = flight.await;
        let still = self.held().usable(scope, refused, Duration::ZERO);
        match (still, outcome) {
            (Some(access), _) => Ok(access),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(AuthorityError::Unusable),
        }
    }

    fn refresh(
        self: &Arc<Self>,
        authority: Arc<Authority>,
        refresh_token: Arc<SecretString>,
        interactions: u64,
        scope: String,
        claims: String,
    ) -> Shared<BoxFuture<'static, Result<(), AuthorityError>>> {
        let seat = Arc::clone(self);
        let refresh = async move {
            let answer = authority.refresh(&refresh_token, &scope, &claims).await;
            seat.settle(interactions, &scope, answer)
        };
        // What is logged and shown of it belongs to the request that began it.
        let task = tokio::spawn(Trail::current().within(refresh).in_current_span());
        let seat = Arc::clone(self);
        let landed = async move {
            // A task that did not come to its end must not be waited for by everyone after it.
            task.await
                .unwrap_or_else(|_| seat.settle(interactions, "", Err(AuthorityError::Unavailable)))
        };
        landed.boxed().shared()
    }

    fn settle(
        &self,
        interactions: u64,
        scope: &str,
        answer: Result<Tokens, AuthorityError>,
    ) -> Result<(), AuthorityError> {
        let mut held = self.held();
        held.flight = None;
        if held.interactions != interactions {
            return Ok(());
        }
        match answer {
            Ok(tokens) => {
                held.put(scope, tokens);
                Ok(())
            }
            Err(error) => {
                if error == (AuthorityError::Interaction { claims: None }) {
                    // Revoked or expired: asking again cannot change the answer.
                    held.refresh_token = None;
                }
                Err(error)
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn put(&mut self, scope: &str, tokens: Tokens) {
        self.generation += 1;
        let access = Access {
            token: Arc::new(tokens.access_token),
            generation: self.generation,
        };
        let expires = Instant::now() + Duration::from_secs(tokens.expires_in);
        self.slots
            .insert(scope.to_owned(), Slot { access, expires });
        if let Some(refresh_token) = tokens.refresh_token {
            self.refresh_token = Some(Arc::new(refresh_token));
        }
    }

    fn usable(&self, scope: &str, refused: Option<u64>, margin: Duration) -> Option<Access> {
        let slot = self.slots.get(scope)?;
        let usable =
            slot.expires > Instant::now() + margin && refused != Some(slot.access.generation);
        usable.then(|| slot.access.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow_events::{FlowEvents, Lane};
    use crate::spa_backend::doubles::{self, Stage};
    use crate::spa_backend::id_token::account;
    use crate::spa_backend::settings::Settings;

    const SCOPE: &str = "api://middle/user_impersonation";

    fn tokens(name: &str, expires_in: u64) -> Tokens {
        let refresh_token = format!("refresh-{name}");
        serde_json::from_value(json!({ "access_token": name, "token_type": "Bearer", "expires_in": expires_in, "refresh_token": refresh_token }))
            .unwrap()
    }

    fn seat(name: &str, expires_in: u64) -> Arc<Seat> {
        let person = IdToken {
            account: account("alice"),
            claims: Vec::new(),
        };
        Arc::new(Seat::new(person, SCOPE, tokens(name, expires_in)))
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
        let seat = seat("first", 3600);
        seat.replace(SCOPE, tokens("stepped-up", 3600));
        assert_eq!(seat.settle(0, SCOPE, Ok(tokens("late", 3600))), Ok(()));
        assert_eq!(
            seat.settle(0, SCOPE, Err(AuthorityError::Interaction { claims: None })),
            Ok(())
        );
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&*access.token),
            "stepped-up"
        );
    }

    #[tokio::test]
    async fn a_refresh_lands_when_the_request_that_wanted_it_is_gone() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 0);
        {
            let mut leader = std::pin::pin!(seat.access(&authority, SCOPE, "{}", None));
            assert!(futures_util::poll!(&mut leader).is_pending());
        }
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&*access.token),
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
        let seat = seat("first", 0);
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
        let seat = seat("first", 0);
        stage
            .authority
            .refuse(400, json!({ "error": "invalid_grant" }));
        for _ in 0..3 {
            let refused = seat.access(&authority, SCOPE, "{}", None).await.err();
            assert_eq!(refused, Some(AuthorityError::Interaction { claims: None }));
        }
        assert_eq!(stage.authority.token_requests("refresh_token"), 1);
    }

    #[tokio::test]
    async fn a_token_within_its_margin_serves_while_the_authority_is_away() {
        let (stage, authority) = authority().await;
        let seat = seat("first", 30);
        stage.authority.refuse(503, json!({}));
        let access = seat.access(&authority, SCOPE, "{}", None).await.unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(&*access.token),
            "first"
        );
    }
}
