//! The cookie session: nothing but the id of a seat in the vault.
//!
//! A session exists only after a sign-in. Its id is renewed at each sign-in, so an id that was planted before is worth nothing.
//! Idle for an hour or eight hours after the sign-in it is gone. When the store cannot be reached nobody is signed out: whoever
//! has a session is told that it cannot be read at this moment.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use http::request::Parts;
use tower_sessions::session::{Error, Id, Record};
use tower_sessions::session_store;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, cookie::SameSite};

use super::App;
use super::cookies::Cookies;
use super::message::Message;
use super::problem::Problem;
use super::store::{Kind, Records, StoreError};
use super::vault::{IDLE, Seat, Vault};

const SEAT: &str = "seat";

/// Sessions as records of the store.
#[derive(Clone)]
pub(super) struct Sessions(Records);

/// Who makes this request: the session, and the seat if it has one. As an extractor it is for pages; calls take [`Known`].
pub(super) struct Visitor {
    session: Session,
    pub(super) seat: Option<Arc<Seat>>,
}

/// The same for what a script asks for: its refusals are problems.
pub(super) struct Known(pub(super) Visitor);

/// The session of a request cannot be read or kept.
#[derive(Debug)]
pub(super) enum SessionError {
    Away,
    Internal,
}

/// The layer that finds the session of a request and sets its cookie.
pub(super) fn layer(
    records: Records,
    cookies: Cookies,
    secure: bool,
) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(Sessions(records))
        .with_name(cookies.session_name())
        .with_path("/")
        .with_http_only(true)
        .with_secure(secure)
        .with_same_site(SameSite::Lax)
        // The browser forgets the cookie when it is closed; how long it is honoured is up to the store and the vault.
        .with_expiry(Expiry::OnSessionEnd)
}

impl Visitor {
    async fn find(parts: &Parts, app: &App) -> Result<Self, SessionError> {
        let session = parts.extensions.get::<Session>().cloned();
        let session = session.ok_or(SessionError::Internal)?;
        let seat = match session.get::<String>(SEAT).await? {
            Some(id) => app.vault.find(&id).await?,
            None => None,
        };
        Ok(Self { session, seat })
    }

    /// Gives the visitor a seat under a new session id; then the old seat and the old id are gone. If that fails, so is the seat,
    /// which nobody could find.
    pub(super) async fn sit(&self, vault: &Vault, seat: &Seat) -> Result<(), SessionError> {
        if let Err(error) = self.renew(seat).await {
            // Where it does not succeed either, it ends by its time.
            let _ = vault.clear(&seat.id).await;
            return Err(error);
        }
        if let Some(old) = &self.seat
            && vault.clear(&old.id).await.is_err()
        {
            // The person is signed in all the same, and no session leads to it any more.
            tracing::warn!("a seat that was left stays until its time is over");
        }
        Ok(())
    }

    async fn renew(&self, seat: &Seat) -> Result<(), SessionError> {
        // Not `flush`: it keeps the record's id for the next save.
        self.session.cycle_id().await?;
        self.session.insert(SEAT, &seat.id).await?;
        // Here and not after the answer, which can still say that it failed.
        Ok(self.session.save().await?)
    }

    /// Takes seat and session away.
    pub(super) async fn leave(&self, app: &App) -> Result<(), SessionError> {
        if let Some(seat) = &self.seat {
            app.vault.clear(&seat.id).await?;
        }
        Ok(self.session.flush().await?)
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Message;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Message> {
        Ok(Self::find(parts, app).await?)
    }
}

impl FromRequestParts<Arc<App>> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self(Visitor::find(parts, app).await?))
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        loop {
            let name = record.id.to_string();
            let kept = self.0.put_if_absent(Kind::Session.key(&name), record, IDLE);
            if kept.await.map_err(backend)? {
                return Ok(());
            }
            record.id = Id::default();
        }
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let name = record.id.to_string();
        let kept = self.0.put(Kind::Session.key(&name), record, IDLE);
        kept.await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let name = id.to_string();
        let found = self.0.get(Kind::Session.key(&name), Some(IDLE));
        found.await.map_err(backend)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        let name = id.to_string();
        let removed = self.0.remove(Kind::Session.key(&name));
        removed.await.map_err(backend)
    }
}

fn backend(error: StoreError) -> session_store::Error {
    session_store::Error::Backend(error.to_string())
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(_) => Self::Away,
            Error::SerdeJson(_) => Self::Internal,
        }
    }
}

impl From<StoreError> for SessionError {
    fn from(_: StoreError) -> Self {
        Self::Away
    }
}

impl From<SessionError> for Message {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Away => Self::sessions_away(),
            SessionError::Internal => Self::internal(),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Away => Self::sessions_away(),
            SessionError::Internal => Self::internal(),
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::spa_backend::id_token::{IdToken, account};
    use crate::spa_backend::store::unsteady::{Ask, Unsteady};

    async fn seated(vault: &Vault) -> Arc<Seat> {
        let person = IdToken {
            account: account("alice"),
            claims: Vec::new(),
        };
        let tokens = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 3600 });
        let tokens = serde_json::from_value(tokens).unwrap();
        vault.seat(person, "scope", tokens).await.unwrap()
    }

    #[tokio::test]
    async fn a_seat_is_left_only_when_another_is_taken() {
        let store = Unsteady::new(Duration::ZERO);
        let records = Records::new(store.clone());
        let vault = Vault::new(records.clone(), false);
        let mut visitor = Visitor {
            session: Session::new(None, Arc::new(Sessions(records.clone())), None),
            seat: None,
        };
        let old = seated(&vault).await;
        assert!(visitor.sit(&vault, &old).await.is_ok());
        visitor.seat = Some(Arc::clone(&old));

        let unfound = seated(&vault).await;
        store.refuse(&[(Ask::Put, Kind::Session)]);
        assert!(visitor.sit(&vault, &unfound).await.is_err());
        assert!(vault.find(&unfound.id).await.unwrap().is_none());
        assert!(vault.find(&old.id).await.unwrap().is_some());

        store.refuse(&[]);
        let new = seated(&vault).await;
        assert!(visitor.sit(&vault, &new).await.is_ok());
        assert!(vault.find(&new.id).await.unwrap().is_some());
        assert!(vault.find(&old.id).await.unwrap().is_none());
        assert_eq!(store.count(Kind::Session), 1);

        // The new session is there: that the old seat cannot be cleared at this moment undoes nothing.
        visitor.seat = Some(new);
        let last = seated(&vault).await;
        store.refuse(&[(Ask::Remove, Kind::Seat)]);
        assert!(visitor.sit(&vault, &last).await.is_ok());
        assert!(vault.find(&last.id).await.unwrap().is_some());
    }
}
