//! Work that outlives the token of the user for whom it is done: the refresh token is kept, which plain On-Behalf-Of never asks for.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::answer::{ExchangeError, Identity, Issued, Presented};
use super::client::ConfidentialClient;
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::grant::Grant;
use super::obtain::Inner as Client;
use super::shared::Turn;
use super::wanted::{Requested, Subject, Wanted};
use crate::challenge::RefusalKind;
use crate::principal::Principal;
use crate::refusal::BoxError;
use crate::token::TokenHash;

/// How long the shared store keeps a session that is not used: as long as Entra keeps a refresh token.
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

/// A long-running session of one user: what an export, a queue's worker or a subscription acts with after the user's own token has run
/// out. Begun with [`ConfidentialClient::begin_long_running`], named in each request by
/// [`OnBehalfOfExt::in_long_running`](crate::OnBehalfOfExt::in_long_running).
///
/// It holds a refresh token, so it is worth as much as the user's consent: keep it where the work is, and end it with the work. It
/// ends by itself when the authority says so: the user's sessions are revoked, a policy wants the user, or it was not used for long. Then
/// calls fail with the demand ([`ChallengeRequired`](crate::ChallengeRequired)), which only the user can meet.
///
/// With [`ConfidentialClient::shared`] it is kept, sealed, in the shared store as well, and another process can go on with it by its
/// [`id`](Self::id): the work survives a restart. A store that is only a cache elsewhere then holds what cannot be asked for again;
/// let it write to disk.
///
/// Cheap to clone. Of several scopes that are asked for at once each is asked for in turn, since a refresh token may be good
/// for one use only.
#[derive(Clone)]
pub struct LongRunning(Arc<Inner>);

struct Inner {
    id: SecretString,
    hash: TokenHash,
    user: User,
    state: Mutex<State>,
    ended: AtomicBool,
    client: Weak<Client>,
}

/// What a session has left.
struct State {
    refresh_token: SecretString,
    /// How often it was replaced: a store that was away when it was must not bring an older one back.
    rotation: u64,
    /// What tokens were obtained for here, to be forgotten with it.
    requested: Vec<Arc<Requested>>,
}

/// For whom the work is done.
#[derive(Clone, Serialize, Deserialize)]
struct User {
    tenant: String,
    identity: Identity,
    claims_capable: bool,
}

/// A session as it stands, sealed, in the shared store.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    refresh_token: Cow<'a, str>,
    rotation: u64,
    user: Cow<'a, User>,
}

impl ConfidentialClient {
    /// Exchanges the caller's token once more, now with `offline_access`, and keeps the refresh token. Do it while the
    /// caller's request is served.
    ///
    /// # Errors
    /// [`ChallengeRequired`](crate::ChallengeRequired) where the user must act, [`OnBehalfOfError`] otherwise: an authority that returns no
    /// refresh token is [`Misconfigured`](OnBehalfOfErrorKind::Misconfigured), a shared store that does not keep the session
    /// [`Unavailable`](OnBehalfOfErrorKind::Unavailable).
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
        let exchanged = inner.exchange(&wanted, grant, &identity, inner.presented(caller));
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
        let state = State {
            refresh_token,
            rotation: 0,
            requested: vec![Arc::clone(&requested)],
        };
        let id = BASE64_URL_SAFE_NO_PAD.encode(id).into();
        let session = LongRunning::new(id, user, state, inner);
        if !inner
            .keep_session(&session, &*session.0.state.lock().await)
            .await
        {
            return Err(OnBehalfOfError::new(OnBehalfOfErrorKind::Unavailable).into());
        }
        let wanted = Wanted::new(Subject::Session(session.clone()), &requested);
        inner.keep(&wanted, &issued).await;
        Ok(session)
    }

    /// Goes on with a session that this or another process of this service began, by its id. `None`: there is none in the
    /// shared store, or it has ended there.
    ///
    /// # Errors
    /// [`Unavailable`](OnBehalfOfErrorKind::Unavailable): the store does not answer, which tells nothing about the session.
    /// [`Misconfigured`](OnBehalfOfErrorKind::Misconfigured): this client has none.
    pub async fn resume_long_running(
        &self,
        id: &str,
    ) -> Result<Option<LongRunning>, OnBehalfOfError> {
        let inner = self.inner();
        let Some(shared) = inner.shared() else {
            return Err(OnBehalfOfError::new(OnBehalfOfErrorKind::Misconfigured));
        };
        let hash = TokenHash::of(id);
        let found = shared.find(&inner.session_parts(&hash)).await;
        let text = found.ok_or_else(|| OnBehalfOfError::unavailable(1))?;
        let written = text.as_ref().and_then(Written::read);
        Ok(written.map(|written| {
            let state = State {
                refresh_token: SecretString::from(&*written.refresh_token),
                rotation: written.rotation,
                requested: Vec::new(),
            };
            LongRunning::new(id.into(), written.user.into_owned(), state, inner)
        }))
    }

    /// Ends a session, for all its clones: no call is made with it any more, and its refresh token is forgotten. It is not revoked at
    /// the authority.
    ///
    /// # Errors
    /// [`Unavailable`](OnBehalfOfErrorKind::Unavailable): the shared store still has it. Here it has ended all the same.
    pub async fn end_long_running(&self, session: &LongRunning) -> Result<(), OnBehalfOfError> {
        session.0.ended.store(true, Ordering::SeqCst);
        // A rotation under way would put it back.
        let state = session.0.state.lock().await;
        match self.inner().forget_session(session, &state).await {
            true => Ok(()),
            false => Err(OnBehalfOfError::unavailable(1)),
        }
    }
}

impl<'a> Written<'a> {
    fn read(text: &'a SecretSlice<u8>) -> Option<Self> {
        serde_json::from_slice(text.expose_secret()).ok()
    }
}

impl LongRunning {
    fn new(id: SecretString, user: User, state: State, client: &Arc<Client>) -> Self {
        Self(Arc::new(Inner {
            hash: TokenHash::of(id.expose_secret()),
            id,
            user,
            state: Mutex::new(state),
            ended: AtomicBool::new(false),
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

    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
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
}

impl Client {
    /// A refresh token may be good for one use only, so one request at a time uses it: of this process, and of all.
    pub(super) async fn refresh(
        &self,
        wanted: &Wanted,
        session: &LongRunning,
    ) -> Result<Issued, ExchangeError> {
        let mut state = session.0.state.lock().await;
        if session.has_ended() {
            return Err(ExchangeError::over());
        }
        let mut claim = None;
        if let Some(shared) = self.shared() {
            let hash = session.hash();
            let parts = self.session_parts(&hash);
            match shared.turn(&parts, self.patience(), |_| None::<()>).await {
                Turn::Ours(ours) => claim = Some(ours),
                // The store is there, and another process has the refresh token in use.
                Turn::Alone if shared.is_available() => {
                    return Err(ExchangeError::of(OnBehalfOfErrorKind::Unavailable));
                }
                Turn::Alone | Turn::Found(()) => {}
            }
            let text = shared.get(&parts).await;
            if let Some(written) = text.as_ref().and_then(Written::read)
                && written.rotation > state.rotation
            {
                state.refresh_token = SecretString::from(&*written.refresh_token);
                state.rotation = written.rotation;
            }
        }
        let grant = Grant::Refresh {
            token: &state.refresh_token,
        };
        let identity = &session.0.user.identity;
        let mut outcome = self
            .exchange(wanted, grant, identity, Presented::RefreshToken)
            .await;
        match &mut outcome {
            Ok(issued) => {
                if let Some(next) = issued.refresh_token.take() {
                    state.refresh_token = next;
                    state.rotation = state.rotation.saturating_add(1);
                }
                if !state.requested.contains(&wanted.requested) {
                    state.requested.push(Arc::clone(&wanted.requested));
                }
                if !session.has_ended() {
                    // Also where it is the same: the store's time begins anew.
                    self.keep_session(session, &state).await;
                }
            }
            Err(ExchangeError::Challenge {
                challenge,
                with_claims: false,
            }) if challenge.kind() == RefusalKind::InvalidToken => {
                // The authority ended it. Nobody need ask with that refresh token again.
                session.0.ended.store(true, Ordering::SeqCst);
                self.forget_session(session, &state).await;
            }
            Err(_) => {}
        }
        if let Some(claim) = claim {
            claim.release().await;
        }
        outcome
    }

    fn session_parts<'a>(&'a self, hash: &'a TokenHash) -> [&'a [u8]; 5] {
        let [authority, client, rules] = self.name();
        [authority, client, rules, b"long_running", hash.as_bytes()]
    }

    /// Everything that is kept of a session here and in the shared store. False where the store does not say that it is gone.
    async fn forget_session(&self, session: &LongRunning, state: &State) -> bool {
        for requested in &state.requested {
            let wanted = Wanted::new(Subject::Session(session.clone()), requested);
            self.forget_all(&wanted).await;
        }
        let Some(shared) = self.shared() else {
            return true;
        };
        let hash = session.hash();
        shared.remove(&self.session_parts(&hash)).await
    }

    /// False where there is a shared store and it did not take the session.
    async fn keep_session(&self, session: &LongRunning, state: &State) -> bool {
        let Some(shared) = self.shared() else {
            return true;
        };
        let written = Written {
            refresh_token: state.refresh_token.expose_secret().into(),
            rotation: state.rotation,
            user: Cow::Borrowed(&session.0.user),
        };
        let text = SecretSlice::from(serde_json::to_vec(&written).unwrap_or_default());
        let hash = session.hash();
        let parts = self.session_parts(&hash);
        shared.put(&parts, text.expose_secret(), LONGEST).await
    }
}

impl fmt::Debug for LongRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongRunning").finish_non_exhaustive()
    }
}
