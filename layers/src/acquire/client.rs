//! Who we are at the authority: acquires tokens, one request at a time per subject and purpose.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::Instrument as _;

use super::answer::ExchangeError;
use super::cache::Held;
use super::credential::Credential;
use super::error::OnBehalfOfErrorKind;
use super::flights::Joined;
use super::grant::Dialect;
use super::obtain::{Acquired, Inner, Outcome, Settings, TokenSource, fly, renew};
use super::shared::SharedTokens;
use super::wanted::Wanted;
use crate::authority::Authority;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::scope::Scope;
use crate::telemetry;
use crate::token::TokenHash;

/// So many different token requests may be under way at once.
const MAX_FLIGHTS: usize = 10_000;

/// A confidential client: this service as the authority knows it. Cheap to clone; all clones share one token cache.
///
/// Of an authority of Entra's kind it exchanges tokens On-Behalf-Of, of any other by RFC 8693 token exchange.
///
/// - **Cache.** Tokens are kept by the hash of the caller's token and what was asked for; bounded by 64 MiB; never longer than
///   token and caller's token are valid; one that has run out is dropped when it is looked for or when room is needed. From some
///   minutes before its end (or from the authority's `refresh_in` on) a newer token is asked for in the background while the old one
///   serves; in its last minute a request waits for the newer one. A "no" of the authority ends the token at hand.
/// - **One request.** Those who want the same share one token request, and one that goes away does not end it.
/// - **Faults.** After five failures in a row the token endpoint is left alone for 1 to 60 s between probes; `Retry-After` is
///   honoured up to an hour, of a 429 for the one who was throttled, of a 5xx for all. Meanwhile a token that is still valid serves.
///
/// It has an HTTP stack of its own, so a limit around the client that calls the next tier cannot deadlock it.
#[derive(Clone)]
pub struct ConfidentialClient(Arc<Inner>);

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
        Self(Arc::new(Inner::new(settings)))
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
        Some(Acquired::of(&held, TokenSource::Memory))
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
                held.map(|held| Acquired::of(&held, TokenSource::Memory))
                    .ok_or(error)
            }
            outcome => outcome,
        }
    }

    async fn join(&self, wanted: &Wanted) -> (Outcome, Joiner) {
        let look = || {
            let held = self.0.held(wanted, self.0.now())?;
            Some(Ok(Acquired::of(&held, TokenSource::Memory)))
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
