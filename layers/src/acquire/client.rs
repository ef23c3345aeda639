//! Who we are at the authority: acquires tokens, one request at a time per subject and purpose.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::Instrument as _;
use url::Url;

use super::answer::{ExchangeError, Identity, Issued, Presented};
use super::cache::{Held, TokenCache};
use super::credential::Credential;
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::exchange::{Exchange, seconds};
use super::flights::{Flights, Joined, Takeoff};
use super::grant::{Dialect, Grant};
use super::pause::{Pause, random};
use super::shared::{SharedTokens, Turn};
use super::wanted::{Key, Subject, Wanted};
use crate::authority::Authority;
use crate::claims::ClaimsRequest;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::scope::Scope;
use crate::telemetry;
use crate::token::{AccessToken, TokenHash};

/// So many different token requests may be under way at once.
const MAX_FLIGHTS: usize = 10_000;
/// So many subjects are remembered as throttled, and so many tokens as refused.
const MAX_REMEMBERED: usize = 10_000;

/// After so many failures in a row the token endpoint is left alone for a while, and for how long.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A confidential client: this service as the authority knows it. Cheap to clone; all clones share one token cache.
///
/// Of an authority of Entra's kind it exchanges tokens On-Behalf-Of, of any other by RFC 8693 token exchange.
///
/// - **Cache.** Tokens are kept by the hash of the caller's token, tenant and what was asked for; bounded by 64 MiB; never longer than
///   token and caller's token are valid; one that has run out is dropped when it is looked for or when room is needed. From some minutes before its end (or from the authority's `refresh_in` on) a newer token is
///   asked for in the background while the old one serves; in its last minute a request waits for the newer one.
/// - **One request.** Those who want the same share one token request, and one that goes away does not end it.
/// - **Faults.** After five failures in a row the token endpoint is left alone for 1 to 60 s between probes; `Retry-After` is
///   honoured up to an hour, of a 429 for the one who was throttled, of a 5xx for all. Meanwhile a token that is still valid serves.
///
/// It has an HTTP stack of its own, so a limit around the client that calls the next tier cannot deadlock it.
#[derive(Clone)]
pub struct ConfidentialClient(Arc<Inner>);

#[derive(Clone)]
struct Settings {
    authority: Authority,
    client_id: String,
    credential: Credential,
    dialect: Dialect,
    pairwise_subjects: bool,
    shared: Option<SharedTokens>,
}

pub(super) struct Inner {
    settings: Settings,
    cache: TokenCache,
    /// When the token endpoint is left alone.
    pause: Mutex<Pause>,
    flights: Flights<Flight, Outcome>,
    /// Until when the authority does not want to be asked again for the same.
    holds: Cache<Key, Instant>,
    /// Tokens that were refused: a shared store may still have them.
    refused: Cache<TokenHash, ()>,
}

/// Requests for the same flight share one exchange.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    key: Key,
    claims: Option<ClaimsRequest>,
}

/// A token, and the claims that it was asked for with.
#[derive(Clone)]
pub(crate) struct Acquired {
    pub(crate) token: AccessToken,
    pub(crate) claims: Option<ClaimsRequest>,
}

type Outcome = Result<Acquired, ExchangeError>;

/// Whose wish a flight was made for: one's own or somebody else's.
enum Joiner {
    Pilot,
    Passenger,
}

impl Authority {
    /// This service as a client of the authority.
    ///
    /// # Errors
    /// An authority that is not of Entra's kind and was built without
    /// [`token_endpoint`](crate::AuthorityBuilder::token_endpoint), or a client id that cannot be printed.
    pub fn client(
        &self,
        client_id: &str,
        credential: Credential,
    ) -> Result<ConfidentialClient, ConfigError> {
        Scope::new(client_id).map_err(|_| ConfigError::Audience)?;
        let dialect = match self.as_entra() {
            Some(_) => Dialect::Entra,
            None if self.token_endpoint().is_some() => Dialect::Standard,
            None => return Err(ConfigError::TokenEndpoint),
        };
        Ok(ConfidentialClient::build(Settings {
            authority: self.clone(),
            client_id: client_id.to_owned(),
            credential,
            dialect,
            pairwise_subjects: false,
            shared: None,
        }))
    }
}

impl ConfidentialClient {
    fn build(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            cache: TokenCache::new(),
            pause: Mutex::new(Pause::new(THRESHOLD, FIRST_PAUSE, LONGEST_PAUSE)),
            flights: Flights::new(),
            holds: Cache::new(MAX_REMEMBERED),
            refused: Cache::new(MAX_REMEMBERED),
        }))
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self::build(settings)
    }

    /// Takes exchanged tokens whose `sub` is not the caller's, of an authority that gives each of its clients another one (OpenID
    /// Connect Core 8.1). Without this they are refused as somebody else's. A client so changed has a cache of its own.
    #[must_use]
    pub fn pairwise_subjects(self) -> Self {
        self.change(|settings| settings.pairwise_subjects = true)
    }

    /// Shares tokens with other processes of this service through a second cache level. A client so changed has a cache of its own.
    ///
    /// What is not in this process's memory is looked up there before the authority is asked, and of several processes that want the
    /// same one asks. A store that is slow or down costs a request its timeout once, and then nothing ([`SharedTokens`]).
    #[must_use]
    pub fn shared(self, tokens: SharedTokens) -> Self {
        self.change(|settings| settings.shared = Some(tokens))
    }

    /// The cached token, if it will do. Where it is due, a newer one is asked for in the background.
    pub(crate) fn cached(&self, wanted: &Wanted) -> Option<Acquired> {
        let now = self.0.now();
        let held = self.0.held(wanted, now)?;
        if held.is_due(now) {
            self.renew_ahead(wanted, &held, now);
        }
        telemetry::token("memory");
        Some(Acquired::from(&*held))
    }

    fn renew_ahead(&self, wanted: &Wanted, held: &Arc<Held>, now: u64) {
        let renewal = Wanted {
            // A token that was asked for with claims is renewed with them, or it would answer the demand no more.
            claims: held.claims.clone(),
            refused: None,
            ..wanted.clone()
        };
        let joined = self.0.flights.join(renewal.flight(), MAX_FLIGHTS, || None);
        if let (Joined::Pilot(takeoff, _), Ok(runtime)) = (joined, Handle::try_current()) {
            held.postpone_renewal(now);
            let task = renew(Arc::clone(&self.0), renewal, held.token.hash(), takeoff);
            runtime.spawn(task.in_current_span());
        }
    }

    /// A token from the cache or from the authority. Callers that want the same share one request; a caller
    /// that goes away does not end it.
    pub(crate) async fn acquire(&self, wanted: Wanted) -> Result<Acquired, ExchangeError> {
        let outcome = match self.join(&wanted).await {
            // The others did not know that this one was refused.
            (Ok(acquired), Joiner::Passenger) if wanted.refuses(&acquired) => {
                self.join(&wanted).await.0
            }
            (outcome, _) => outcome,
        };
        match outcome {
            // While the authority cannot answer, a token that is only no longer fresh is still a good one.
            Err(error) if wanted.is_plain() && error.is_transient() => {
                let held = self.0.cache.get(&wanted.key(), self.0.now());
                held.map(|held| Acquired::from(&*held)).ok_or(error)
            }
            outcome => outcome,
        }
    }

    async fn join(&self, wanted: &Wanted) -> (Outcome, Joiner) {
        let look = || {
            let held = self.0.held(wanted, self.0.now())?;
            Some(Ok(Acquired::from(&*held)))
        };
        let (flight, joiner) = match self.0.flights.join(wanted.flight(), MAX_FLIGHTS, look) {
            Joined::Found(found) => {
                telemetry::token("memory");
                return (found, Joiner::Pilot);
            }
            Joined::Passenger(flight) => {
                telemetry::token("flight");
                (flight, Joiner::Passenger)
            }
            Joined::Pilot(takeoff, flight) => {
                let Ok(runtime) = Handle::try_current() else {
                    tracing::error!(
                        kind = "no_runtime",
                        "tokens are acquired on a tokio runtime, and this is none"
                    );
                    return (Err(unavailable()), Joiner::Pilot);
                };
                // A task of its own: the one who asked may go away while others wait. What is logged of it belongs to his request.
                let task = fly(Arc::clone(&self.0), wanted.clone(), takeoff);
                runtime.spawn(task.in_current_span());
                (flight, Joiner::Pilot)
            }
            Joined::Full => {
                tracing::error!(
                    kind = "too_many_token_requests",
                    "so many token requests are under way that no other is begun"
                );
                return (Err(unavailable()), Joiner::Pilot);
            }
        };
        let landed = flight.await;
        (landed.unwrap_or_else(|| Err(unavailable())), joiner)
    }

    /// Forgets the token that was refused, unless it has been replaced already.
    pub(crate) fn evict(&self, wanted: &Wanted, refused: TokenHash) {
        self.0.forget(wanted.key(), refused);
    }

    /// May we act for this caller: a user, with a token of our authority that was issued for us?
    pub(crate) fn check_caller(&self, caller: &Principal) -> Result<(), OnBehalfOfErrorKind> {
        let settings = &self.0.settings;
        let resource = caller.resource();
        if resource.authority().name() != settings.authority.name() {
            return Err(OnBehalfOfErrorKind::Misconfigured);
        }
        // Entra exchanges only what was issued for the very client that asks. Elsewhere a client and a resource have names of their own.
        let ours = match settings.dialect {
            Dialect::Entra => resource.is_of_client(&settings.client_id),
            Dialect::Standard => true,
        };
        if !ours {
            tracing::error!(
                kind = "assertion_of_another_api",
                "the caller's token is not for this client's own API: its client id must be an audience of the resource"
            );
            return Err(OnBehalfOfErrorKind::Misconfigured);
        }
        if caller.is_user() {
            Ok(())
        } else {
            Err(OnBehalfOfErrorKind::UserRequired)
        }
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.0.settings.authority
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(crate) fn takes_audience_and_resource(&self) -> bool {
        self.0.settings.dialect == Dialect::Standard
    }
}

async fn fly(inner: Arc<Inner>, wanted: Wanted, takeoff: Takeoff<Flight, Outcome>) {
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
async fn renew(
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
    fn held(&self, wanted: &Wanted, now: u64) -> Option<Arc<Held>> {
        if wanted.subject.is_over() {
            return None;
        }
        let held = self.cache.get(&wanted.key(), now);
        held.filter(|held| held.is_fresh(now) && wanted.is_met_by(held))
    }

    fn now(&self) -> u64 {
        self.settings.authority.now()
    }

    /// Takes what another process obtained, if it is `good`, else asks the authority.
    async fn obtain(
        self: &Arc<Self>,
        wanted: &Wanted,
        good: impl Fn(&Held, u64) -> bool,
    ) -> Outcome {
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
                let acquired = Acquired::from(&held);
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
    fn forget(self: &Arc<Self>, key: Key, token: TokenHash) {
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
    async fn ask_and_keep(self: &Arc<Self>, wanted: &Wanted) -> Outcome {
        let issued = self.ask(wanted).await?;
        telemetry::token("authority");
        self.keep(wanted, &issued).await;
        Ok(Acquired {
            token: issued.token,
            claims: wanted.claims.clone(),
        })
    }

    pub(super) async fn keep(&self, wanted: &Wanted, issued: &Issued) {
        let held = Held::new(
            issued,
            wanted.claims.clone(),
            wanted.subject_expires(),
            self.now(),
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
                .put(&parts, text.expose_secret(), held.time_to_live())
                .await;
        }
    }

    async fn ask(self: &Arc<Self>, wanted: &Wanted) -> Result<Issued, ExchangeError> {
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
                let identity = Identity::new([("tid", self.tenant(tenant))]);
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

    fn tenant<'a>(&self, tenant: &'a str) -> Option<&'a str> {
        (self.settings.dialect == Dialect::Entra).then_some(tenant)
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
    fn flight(&self) -> Flight {
        Flight {
            key: self.key(),
            claims: self.claims.clone(),
        }
    }

    /// Is it the very token that was refused?
    fn refuses(&self, acquired: &Acquired) -> bool {
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

impl From<&Held> for Acquired {
    fn from(held: &Held) -> Self {
        Self {
            token: held.token.clone(),
            claims: held.claims.clone(),
        }
    }
}

fn unavailable() -> ExchangeError {
    ExchangeError::of(OnBehalfOfErrorKind::Unavailable)
}

impl fmt::Debug for ConfidentialClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfidentialClient")
            .field("client_id", &self.0.settings.client_id)
            .finish_non_exhaustive()
    }
}
