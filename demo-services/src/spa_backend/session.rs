//! The cookie session: nothing but the id of a seat in the vault.
//!
//! A session exists only after a sign-in. Its id is renewed at each sign-in, so an id that was planted before is worth nothing.
//! Idle for an hour or eight hours after the sign-in it is gone; so are the least recently used beyond 10 000.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use http::request::Parts;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, cookie::SameSite};

use super::App;
use super::cookies::Cookies;
use super::problem::Problem;
use super::vault::{ABSOLUTE, CAPACITY, IDLE, Seat};

const SEAT: &str = "seat";

/// Sessions in memory, bounded and expiring.
#[derive(Clone)]
pub(super) struct MemoryStore(Cache<Id, Record>);

/// Who makes this request: the session, and the seat if it has one.
pub(super) struct Visitor {
    session: Session,
    pub(super) seat: Option<Arc<Seat>>,
}

/// The layer that finds the session of a request and sets its cookie.
pub(super) fn layer(cookies: Cookies, secure: bool) -> SessionManagerLayer<MemoryStore> {
    SessionManagerLayer::new(MemoryStore::new())
        .with_name(cookies.session_name())
        .with_path("/")
        .with_http_only(true)
        .with_secure(secure)
        .with_same_site(SameSite::Lax)
        // The browser forgets the cookie when it is closed; how long it is honoured is up to the store and the vault.
        .with_expiry(Expiry::OnSessionEnd)
}

impl Visitor {
    /// Gives the visitor a seat under a new session id. The old seat and the old id are gone.
    pub(super) async fn sit(
        &self,
        app: &App,
        seat: &Seat,
    ) -> Result<(), tower_sessions::session::Error> {
        if let Some(old) = &self.seat {
            app.vault.clear(&old.id);
        }
        // Not `flush`: it keeps the record's id for the next save.
        self.session.cycle_id().await?;
        self.session.insert(SEAT, &seat.id).await
    }

    /// Takes seat and session away.
    pub(super) async fn leave(&self, app: &App) -> Result<(), tower_sessions::session::Error> {
        if let Some(seat) = &self.seat {
            app.vault.clear(&seat.id);
        }
        self.session.flush().await
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let session = parts
            .extensions
            .get::<Session>()
            .cloned()
            .ok_or_else(Problem::internal)?;
        let id = session
            .get::<String>(SEAT)
            .await
            .map_err(|_| Problem::internal())?;
        let seat = id.and_then(|id| app.vault.find(&id));
        Ok(Self { session, seat })
    }
}

impl MemoryStore {
    fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(IDLE)
                .time_to_live(ABSOLUTE)
                .build(),
        )
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        while !self.0.entry(record.id).or_insert(record.clone()).is_fresh() {
            record.id = Id::default();
        }
        Ok(())
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.0.insert(record.id, record.clone());
        Ok(())
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        Ok(self.0.get(id))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.0.invalidate(id);
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} sessions)", self.0.entry_count())
    }
}
