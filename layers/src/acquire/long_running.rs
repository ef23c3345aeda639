//! Work that outlives the token of the user for whom it is done: the refresh token is kept, which plain On-Behalf-Of never asks for.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::answer::{ExchangeError, Identity, Issued};
use super::client::{ConfidentialClient, Inner as Client};
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::grant::Grant;
use super::shared::Turn;
use super::wanted::{Requested, Subject, Wanted};
use crate::principal::Principal;
use crate::refusal::BoxError;
use crate::token::TokenHash;

/// How long the shared store keeps a session that is not used: as long as Entra keeps a refresh token.
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

/// A long-running session of one user: what an export, a queue's worker or a subscription acts with after the user's own token has run
/// out. Begun with [`ConfidentialClient::begin_long_running`], named in each request by
/// [`OnBehalfOfExt::in_long_running`](crate::OnBehalfOfExt::in_long_running).
///
/// It holds a refresh token, so it is worth as much as the user's consent: keep it where the work is, and drop it with the work. It
/// ends when the authority says so: the user's sessions are revoked, a policy wants the user, or it was not used for long. Then
/// calls fail with the demand ([`ChallengeRequired`](crate::ChallengeRequired)), which only the user can meet.
///
/// With [`ConfidentialClient::shared`] it is kept, sealed, in the shared store as well, and another process can go on with it by its
/// [`id`](Self::id): the work survives a restart.
///
/// Cheap to clone. Of several scopes that are asked for at once each is asked for in turn, since a refresh token may be good
/// for one use only.
#[derive(Clone)]
pub struct LongRunning(Arc<Inner>);

struct Inner {
    id: SecretString,
    hash: TokenHash,
    user: User,
    refresh_token: Mutex<SecretString>,
    client: Weak<Client>,
}

/// For whom the work is done.
#[derive(Clone, Serialize, Deserialize)]
struct User {
    tenant: String,
    identity: Identity,
    claims_capable: bool,
}

/// A session of the shared store.
struct Kept {
    refresh_token: SecretString,
    user: User,
}

/// The same as it stands there, sealed.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    refresh_token: Cow<'a, str>,
    user: Cow<'a, User>,
}

impl ConfidentialClient {
    /// Exchanges the caller's token once more, now with `offline_access`, and keeps the refresh token. Do it while the
    /// caller's request is served.
    ///
    /// # Errors
    /// [`ChallengeRequired`](crate::ChallengeRequired) where the user must act, [`OnBehalfOfError`] otherwise; an authority that returns no
    /// refresh token is [`Misconfigured`](OnBehalfOfErrorKind::Misconfigured).
    pub async fn begin_long_running<'a>(
        &self,
        caller: &Principal,
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<LongRunning, BoxError> {
        self.check_caller(caller).map_err(OnBehalfOfError::new)?;
        let requested = Arc::new(Requested::scopes(scopes)?);
        let wanted = Wanted::new(Subject::Caller(caller.clone()), &requested);
        let inner = self.inner();
        let grant = Grant::Exchange {
            assertion: caller.assertion(),
            offline: true,
        };
        let identity = inner.identity_of(caller);
        let exchanged = inner.exchange(&wanted, grant, &identity, inner.is_expired(caller));
        let mut issued = exchanged.await.map_err(|error| match error {
            ExchangeError::Challenge { challenge, .. } => BoxError::from(challenge),
            ExchangeError::Other(error) => error.into(),
        })?;
        let Some(refresh_token) = issued.refresh_token.take() else {
            tracing::error!(
                kind = "no_refresh_token",
                "the authority returned no refresh token: is offline_access granted to this client?"
            );
            return Err(OnBehalfOfError::new(OnBehalfOfErrorKind::Misconfigured).into());
        };
        let mut id = [0; 32];
        rand::fill(&mut id)?;
        let user = User {
            tenant: caller.tenant_id().unwrap_or_default().to_owned(),
            identity,
            claims_capable: caller.accepts_claims_challenge(),
        };
        let id = BASE64_URL_SAFE_NO_PAD.encode(id).into();
        let session = LongRunning::new(id, user, refresh_token, inner);
        inner
            .keep_session(&session, &*session.refresh_token().await)
            .await;
        let wanted = Wanted::new(Subject::Session(session.clone()), &requested);
        inner.keep(&wanted, &issued).await;
        Ok(session)
    }

    /// Goes on with a session that this or another process of this service began, by its id. `None` if it is not in the shared store: there
    /// is none, the store is down, or the session has ended.
    pub async fn resume_long_running(&self, id: &str) -> Option<LongRunning> {
        let id = SecretString::from(id);
        let inner = self.inner();
        let kept = inner.session(TokenHash::of(id.expose_secret())).await?;
        Some(LongRunning::new(id, kept.user, kept.refresh_token, inner))
    }

    /// Ends a session: nothing of it is kept. Its refresh token is forgotten, not revoked at the authority.
    pub async fn end_long_running(&self, session: LongRunning) {
        let inner = self.inner();
        if let Some(shared) = inner.shared() {
            shared.remove(&inner.session_parts(&session.hash())).await;
        }
    }
}

impl LongRunning {
    fn new(
        id: SecretString,
        user: User,
        refresh_token: SecretString,
        client: &Arc<Client>,
    ) -> Self {
        Self(Arc::new(Inner {
            hash: TokenHash::of(id.expose_secret()),
            id,
            user,
            refresh_token: Mutex::new(refresh_token),
            client: Arc::downgrade(client),
        }))
    }

    /// What another process resumes it by. Whoever has it and may use this service's client acts for the user: store it as a secret.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.id.expose_secret()
    }

    /// Was it begun with this client?
    pub(crate) fn is_of(&self, client: &ConfidentialClient) -> bool {
        Weak::ptr_eq(&self.0.client, &Arc::downgrade(client.inner()))
    }

    pub(crate) fn accepts_claims_challenge(&self) -> bool {
        self.0.user.claims_capable
    }

    pub(super) fn hash(&self) -> TokenHash {
        self.0.hash
    }

    pub(super) fn tenant(&self) -> &str {
        &self.0.user.tenant
    }

    fn identity(&self) -> &Identity {
        &self.0.user.identity
    }

    /// Whoever holds it may use it and put the next one there.
    async fn refresh_token(&self) -> MutexGuard<'_, SecretString> {
        self.0.refresh_token.lock().await
    }
}

impl Client {
    /// A refresh token may be good for one use only, so one request at a time uses it: of this process, and of all.
    pub(super) async fn refresh(
        &self,
        wanted: &Wanted,
        session: &LongRunning,
    ) -> Result<Issued, ExchangeError> {
        let mut kept = session.refresh_token().await;
        let mut claim = None;
        if let Some(shared) = self.shared() {
            let hash = session.hash();
            let parts = self.session_parts(&hash);
            if let Turn::Ours(ours) = shared.turn(&parts, self.patience(), |_| None::<()>).await {
                claim = Some(ours);
            }
            // Another process may have used the one that is here.
            if let Some(newest) = self.session(hash).await {
                *kept = newest.refresh_token;
            }
        }
        let grant = Grant::Refresh { token: &kept };
        let mut outcome = self
            .exchange(wanted, grant, session.identity(), false)
            .await;
        if let Ok(issued) = &mut outcome
            && let Some(next) = issued.refresh_token.take()
        {
            *kept = next;
            self.keep_session(session, &kept).await;
        }
        if let Some(claim) = claim {
            claim.release().await;
        }
        outcome
    }

    fn session_parts<'a>(&'a self, hash: &'a TokenHash) -> [&'a [u8]; 4] {
        let [authority, client] = self.name();
        [authority, client, b"long_running", hash.as_bytes()]
    }

    /// As it stands in the shared store.
    async fn session(&self, hash: TokenHash) -> Option<Kept> {
        let text = self.shared()?.get(&self.session_parts(&hash)).await?;
        let written: Written<'_> = serde_json::from_slice(text.expose_secret()).ok()?;
        Some(Kept {
            refresh_token: SecretString::from(&*written.refresh_token),
            user: written.user.into_owned(),
        })
    }

    async fn keep_session(&self, session: &LongRunning, refresh_token: &SecretString) {
        let Some(shared) = self.shared() else {
            return;
        };
        let written = Written {
            refresh_token: refresh_token.expose_secret().into(),
            user: Cow::Borrowed(&session.0.user),
        };
        let text = SecretSlice::from(serde_json::to_vec(&written).unwrap_or_default());
        let hash = session.hash();
        let parts = self.session_parts(&hash);
        shared.put(&parts, text.expose_secret(), LONGEST).await;
    }
}

impl fmt::Debug for LongRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongRunning").finish_non_exhaustive()
    }
}
