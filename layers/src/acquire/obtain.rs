//! Getting a token that is not at hand: from another process, else from the authority; and forgetting one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::runtime::Handle;
use tokio::time::Instant;
use url::Url;

use super::answer::{ExchangeError, Identity, Issued, Presented};
use super::cache::{Held, TokenCache};
use super::credential::Credential;
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::exchange::{Exchange, seconds};
use super::flights::{Flights, Takeoff};
use super::grant::{Dialect, Grant};
use super::pause::{Pause, random};
use super::shared::{SharedTokens, Turn};
use super::wanted::{Key, Subject, Wanted};
use crate::authority::Authority;
use crate::claims::ClaimsRequest;
use crate::principal::Principal;
use crate::telemetry;
use crate::token::{AccessToken, TokenHash};

/// So many subjects are remembered as throttled, and so many tokens as refused.
const MAX_REMEMBERED: usize = 10_000;

/// After so many failures in a row the token endpoint is left alone for a while, and for how long.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) authority: Authority,
    pub(super) client_id: String,
    pub(super) credential: Credential,
    pub(super) dialect: Dialect,
    pub(super) pairwise_subjects: bool,
    pub(super) shared: Option<SharedTokens>,
}

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) cache: TokenCache,
    /// When the token endpoint is left alone.
    pub(super) pause: Mutex<Pause>,
    pub(super) flights: Flights<Flight, Outcome>,
    /// Until when the authority does not want to be asked again for the same.
    pub(super) holds: Cache<Key, Instant>,
    /// Tokens that were refused: a shared store may still have them.
    pub(super) refused: Cache<TokenHash, ()>,
}

/// Requests for the same flight share one exchange.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    key: Key,
    claims: Option<ClaimsRequest>,
}

/// A token, the claims that it was asked for with, and where it came from.
#[derive(Clone)]
pub(crate) struct Acquired {
    pub(crate) token: AccessToken,
    pub(crate) claims: Option<ClaimsRequest>,
    pub(crate) source: TokenSource,
}

/// Where the token of a call to the next tier came from: in the extensions of the request that
/// [`OnBehalfOf`](crate::OnBehalfOf) passes to the client that it wraps, of each attempt anew.
///
/// For what shows or counts calls between the two. It says nothing of the token itself, and whatever a caller put there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenSource {
    /// This process had it.
    Memory,
    /// Another process of this service had obtained it ([`ConfidentialClient::shared`](crate::ConfidentialClient::shared)).
    Shared,
    /// The authority issued it for this call, or at the same time for another one that wanted the same.
    Authority,
}

pub(super) type Outcome = Result<Acquired, ExchangeError>;

pub(super) async fn fly(inner: Arc<Inner>, wanted: Wanted, takeoff: Takeoff<Flight, Outcome>) {
    let outcome = inner
        .obtain(&wanted, |held, now| {
            held.is_fresh(now) && wanted.is_met_by(held)
        })
        .await;
    if wanted.is_plain() && outcome.as_ref().is_err_and(ExchangeError::is_a_no) {
        // Not even an outage brings an old token back after that.
        let key = wanted.key();
        if let Some(held) = inner.cache.get(&key, inner.now()) {
            inner.forget(key, held.token.hash());
        }
    }
    takeoff.land(outcome);
}

/// As a flight, for nobody in particular: the token at hand serves meanwhile.
pub(super) async fn renew(
    inner: Arc<Inner>,
    wanted: Wanted,
    old: TokenHash,
    takeoff: Takeoff<Flight, Outcome>,
) {
    let outcome = inner
        .obtain(&wanted, |held, now| {
            !held.is_due(now) && held.claims == wanted.claims
        })
        .await;
    if outcome.as_ref().is_err_and(ExchangeError::is_a_no) {
        // To be told by the next request rather than when this token ends.
        inner.forget(wanted.key(), old);
    }
    takeoff.land(outcome);
}

impl Inner {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            cache: TokenCache::new(),
            pause: Mutex::new(Pause::new(THRESHOLD, FIRST_PAUSE, LONGEST_PAUSE)),
            flights: Flights::new(),
            holds: Cache::new(MAX_REMEMBERED),
            refused: Cache::new(MAX_REMEMBERED),
        }
    }

    pub(super) fn shared(&self) -> Option<&SharedTokens> {
        self.settings.shared.as_ref()
    }

    /// Whose tokens they are, in a store that clients of several services may share, and by which rules they were taken.
    pub(super) fn name(&self) -> [&[u8]; 3] {
        let settings = &self.settings;
        let rules: &[u8] = match settings.pairwise_subjects {
            true => b"pairwise",
            false => b"",
        };
        [
            settings.authority.name().as_bytes(),
            settings.client_id.as_bytes(),
            rules,
        ]
    }

    /// The token at hand, if it is an answer and nobody need wait for a newer one.
    pub(super) fn held(&self, wanted: &Wanted, now: u64) -> Option<Arc<Held>> {
        if wanted.subject.is_over() {
            return None;
        }
        let held = self.cache.get(&wanted.key(), now);
        held.filter(|held| held.is_fresh(now) && wanted.is_met_by(held))
    }

    pub(super) fn now(&self) -> u64 {
        self.settings.authority.now()
    }

    /// Takes what another process obtained, if it is `good`, else asks the authority.
    async fn obtain(&self, wanted: &Wanted, good: impl Fn(&Held, u64) -> bool) -> Outcome {
        if wanted.subject.is_over() {
            return Err(ExchangeError::over());
        }
        let Some(shared) = self.shared() else {
            return self.ask_and_keep(wanted).await;
        };
        let key = wanted.key();
        let parts = self.shared_parts(&key);
        let read = |text: &[u8]| {
            // Read again each time: others may be waited for.
            let now = self.now();
            Held::read(text, wanted.subject_expires(), now)
                .filter(|held| good(held, now) && self.refused.get(&held.token.hash()).is_none())
        };
        let claim = match shared.turn(&parts, self.patience(), read).await {
            Turn::Found(held) => {
                telemetry::token("shared");
                let acquired = Acquired::of(&held, TokenSource::Shared);
                self.cache.put(key, held.into());
                return Ok(acquired);
            }
            Turn::Ours(claim) => Some(claim),
            Turn::Alone => None,
        };
        let outcome = self.ask_and_keep(wanted).await;
        if let Some(claim) = claim {
            claim.release().await;
        }
        outcome
    }

    /// For another process to ask the authority. Then we do.
    pub(super) fn patience(&self) -> Duration {
        2 * self.settings.authority.timeout()
    }

    fn shared_parts<'a>(&'a self, key: &'a Key) -> [&'a [u8]; 8] {
        let [kind, subject, scope, audience, resource] = key.parts();
        let [authority, client, rules] = self.name();
        [
            authority, client, rules, kind, subject, scope, audience, resource,
        ]
    }

    /// Forgets whatever is there for a wish.
    pub(super) async fn forget_all(&self, wanted: &Wanted) {
        let key = wanted.key();
        self.cache.remove_any(&key);
        if let Some(shared) = self.shared() {
            shared.remove(&self.shared_parts(&key)).await;
        }
    }

    /// Forgets one token, here and in the shared store, and none that has replaced it.
    pub(super) fn forget(self: &Arc<Self>, key: Key, token: TokenHash) {
        self.cache.remove(&key, token);
        if self.shared().is_none() {
            return;
        }
        self.refused.insert(token, ());
        // The next one to ask, here or elsewhere, must not find it again; nobody need wait for that.
        let inner = Arc::clone(self);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let Some(shared) = inner.shared() else { return };
                let parts = inner.shared_parts(&key);
                let found = shared.get(&parts).await;
                let held =
                    found.and_then(|text| Held::read(text.expose_secret(), u64::MAX, inner.now()));
                if held.is_some_and(|held| held.token.hash() == token) {
                    shared.remove(&parts).await;
                }
            });
        }
    }

    /// Asks the authority and keeps what it gives.
    async fn ask_and_keep(&self, wanted: &Wanted) -> Outcome {
        let issued = self.ask(wanted).await?;
        telemetry::token("authority");
        tracing::debug!(
            kind = "token_issued",
            expires_at = issued.token.expires_at(),
            "the authority issued a token for the next tier"
        );
        self.keep(wanted, &issued).await;
        Ok(Acquired {
            token: issued.token,
            claims: wanted.claims.clone(),
            source: TokenSource::Authority,
        })
    }

    pub(super) async fn keep(&self, wanted: &Wanted, issued: &Issued) {
        let now = self.now();
        let held = Held::new(
            issued,
            wanted.claims.clone(),
            wanted.subject_expires(),
            now,
            random(),
        );
        let Some(held) = held else {
            return;
        };
        let key = wanted.key();
        let held = Arc::new(held);
        self.cache.put(key.clone(), Arc::clone(&held));
        if let Some(shared) = self.shared() {
            let text = SecretSlice::from(held.write());
            let parts = self.shared_parts(&key);
            shared
                .put(&parts, text.expose_secret(), held.time_to_live(now))
                .await;
        }
    }

    async fn ask(&self, wanted: &Wanted) -> Result<Issued, ExchangeError> {
        match &wanted.subject {
            Subject::Caller(caller) => {
                let grant = Grant::Exchange {
                    assertion: caller.assertion(),
                    offline: false,
                };
                let identity = self.identity_of(caller);
                self.exchange(wanted, grant, &identity, self.presented(caller))
                    .await
            }
            Subject::Application { tenant } => {
                let tenant = Some(&**tenant).filter(|tenant| !tenant.is_empty());
                let identity = Identity::new([("tid", tenant)]);
                self.exchange(
                    wanted,
                    Grant::ClientCredentials,
                    &identity,
                    Presented::Nothing,
                )
                .await
            }
            Subject::Session(session) => self.refresh(wanted, session).await,
        }
    }

    pub(super) async fn exchange(
        &self,
        wanted: &Wanted,
        grant: Grant<'_>,
        identity: &Identity,
        presented: Presented,
    ) -> Result<Issued, ExchangeError> {
        let key = wanted.key();
        let held_off = self.holds.get(&key);
        let wait = held_off.and_then(|until| until.checked_duration_since(Instant::now()));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let error = OnBehalfOfError::throttled(seconds(wait));
            return Err(ExchangeError::Other(error));
        }
        let Some(token_endpoint) = self.token_endpoint(wanted) else {
            return Err(ExchangeError::of(OnBehalfOfErrorKind::Misconfigured));
        };
        let settings = &self.settings;
        let exchange = Exchange {
            http: settings.authority.http(),
            timeout: settings.authority.timeout(),
            token_endpoint: &token_endpoint,
            pause: &self.pause,
            client_id: &settings.client_id,
            credential: &settings.credential,
            dialect: settings.dialect,
            grant,
            requested: &wanted.requested,
            claims: wanted.claims.as_ref(),
            identity,
            presented,
            correlation_id: wanted.correlation_id.clone(),
            now: self.now(),
        };
        let outcome = exchange.run().await;
        if let Err(ExchangeError::Other(error)) = &outcome
            && let (OnBehalfOfErrorKind::Throttled, Some(wait)) =
                (error.kind(), error.retry_after())
        {
            let until = Instant::now() + Duration::from_secs(wait);
            self.holds.insert(key, until);
        }
        outcome
    }

    /// Of the subject's own tenant, whatever tenants are trusted.
    fn token_endpoint(&self, wanted: &Wanted) -> Option<Url> {
        let authority = &self.settings.authority;
        let Some(entra) = authority.as_entra() else {
            return authority.token_endpoint().cloned();
        };
        entra.token_endpoint(match &wanted.subject {
            Subject::Caller(caller) => caller.tenant_id()?,
            Subject::Application { tenant } => tenant,
            Subject::Session(session) => session.tenant(),
        })
    }

    pub(super) fn identity_of(&self, caller: &Principal) -> Identity {
        match self.settings.dialect {
            Dialect::Entra => {
                Identity::new([("oid", caller.object_id()), ("tid", caller.tenant_id())])
            }
            Dialect::Standard if self.settings.pairwise_subjects => Identity::default(),
            Dialect::Standard => Identity::new([("sub", caller.subject())]),
        }
    }

    /// With the leeway with which the assertion was accepted: the authority's clock may be ahead of ours.
    pub(super) fn presented(&self, caller: &Principal) -> Presented {
        let leeway = caller.resource().leeway_seconds();
        let expired = caller.expires_at() <= self.now().saturating_add(leeway);
        match self.settings.dialect {
            Dialect::Entra => Presented::Assertion { expired },
            Dialect::Standard => Presented::SubjectToken { expired },
        }
    }
}

impl Wanted {
    pub(super) fn flight(&self) -> Flight {
        Flight {
            key: self.key(),
            claims: self.claims.clone(),
        }
    }

    /// Is it the very token that was refused?
    pub(super) fn refuses(&self, acquired: &Acquired) -> bool {
        let hash = acquired.token.hash();
        self.refused.is_some_and(|refused| refused.hash == hash)
    }

    /// Is this token an answer?
    fn is_met_by(&self, held: &Held) -> bool {
        let fits = self.claims.is_none() || held.claims == self.claims;
        match self.refused {
            // Somebody has already replaced the refused token: that one may do, and nobody need be asked.
            Some(refused) => (fits || refused.any_newer) && held.token.hash() != refused.hash,
            None => self.claims.is_none(),
        }
    }
}

impl Acquired {
    pub(super) fn of(held: &Held, source: TokenSource) -> Self {
        Self {
            token: held.token.clone(),
            claims: held.claims.clone(),
            source,
        }
    }
}
