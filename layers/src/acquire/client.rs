//! Who we are at the authority: acquires tokens, one request at a time per user and scope.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::cache::{Key, TokenCache};
use super::credential::Credential;
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::exchange::{Exchange, ExchangeError};
use crate::authority::{Authority, Entra};
use crate::claims::ClaimsRequest;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::scope::Scope;
use crate::token::{AccessToken, TokenHash};

/// A confidential client: this service as the authority knows it. Cheap to clone; all clones share one token cache.
///
/// It has an HTTP stack of its own, so a limit around the client that calls the next tier cannot deadlock it.
#[derive(Clone)]
pub struct ConfidentialClient(Arc<Inner>);

struct Inner {
    authority: Authority,
    client_id: String,
    credential: Credential,
    cache: TokenCache,
    flights: Mutex<HashMap<Flight, SharedAcquire>>,
}

/// Requests for the same flight share one exchange.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    key: Key,
    claims: Option<ClaimsRequest>,
}

type SharedAcquire =
    Shared<Pin<Box<dyn Future<Output = Result<AccessToken, ExchangeError>> + Send>>>;

/// One acquisition: for whom, for what, and why not from the cache.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) caller: Principal,
    pub(crate) scope: Arc<str>,
    pub(crate) claims: Option<ClaimsRequest>,
    /// A token that was just refused: only another one will do.
    pub(crate) refused: Option<TokenHash>,
}

impl Authority {
    /// This service as a client of an authority of Entra's kind.
    ///
    /// # Errors
    /// An authority of another kind, or a client id that cannot be printed.
    pub fn client(
        &self,
        client_id: &str,
        credential: Credential,
    ) -> Result<ConfidentialClient, ConfigError> {
        Scope::new(client_id).map_err(|_| ConfigError::Audience)?;
        if self.as_entra().is_none() {
            return Err(ConfigError::OnBehalfOf);
        }
        Ok(ConfidentialClient(Arc::new(Inner {
            authority: self.clone(),
            client_id: client_id.to_owned(),
            credential,
            cache: TokenCache::new(),
            flights: Mutex::new(HashMap::new()),
        })))
    }
}

impl ConfidentialClient {
    /// The cached token, if it will do.
    pub(crate) fn cached(&self, wanted: &Wanted) -> Option<AccessToken> {
        let now = self.0.authority.now();
        let held = self
            .0
            .cache
            .get(&wanted.key(), now)
            .filter(|held| held.is_fresh(now))?;
        // A token that was asked for with other claims does not answer these.
        let fits = wanted.claims.is_none() || held.claims == wanted.claims;
        let usable = match wanted.refused {
            // Another request has already replaced the refused token: take that one instead of asking again.
            Some(refused) => fits && held.token.hash() != refused,
            None => wanted.claims.is_none(),
        };
        usable.then_some(held.token)
    }

    /// A token from the cache or from the authority. Callers that want the same share one request; a caller
    /// that goes away does not end it.
    pub(crate) async fn acquire(&self, wanted: Wanted) -> Result<AccessToken, ExchangeError> {
        let (flight, leader) = {
            let mut flights = self.0.lock();
            // Looked up under the lock: a flight puts its token into the cache before it leaves the map.
            if let Some(token) = self.cached(&wanted) {
                return Ok(token);
            }
            let id = Flight {
                key: wanted.key(),
                claims: wanted.claims.clone(),
            };
            match flights.get(&id) {
                Some(flight) => (flight.clone(), None),
                None => {
                    let (landed, landing) = oneshot::channel();
                    let flight = landing.map(|ended| ended.unwrap_or_else(|_| Err(unavailable())));
                    let flight: SharedAcquire = flight.boxed().shared();
                    flights.insert(id.clone(), flight.clone());
                    (flight, Some((id, landed)))
                }
            }
        };
        if let Some((id, landed)) = leader {
            // Spawned after the lock is given back: a runtime that shuts down drops the task at once, and
            // dropping it takes the lock.
            let entry = Entry {
                inner: Arc::clone(&self.0),
                id,
            };
            let Ok(runtime) = Handle::try_current() else {
                tracing::error!(
                    kind = "no_runtime",
                    "tokens are acquired on a tokio runtime, and this is none"
                );
                return Err(unavailable());
            };
            let task = async move {
                let outcome = fly(&entry.inner, wanted).await;
                drop(entry);
                // Nobody may be waiting any more.
                let _ = landed.send(outcome);
            };
            // What is logged of it belongs to the request that began it.
            runtime.spawn(task.in_current_span());
        }
        flight.await
    }

    /// Forgets the token that was refused, unless it has been replaced already.
    pub(crate) fn evict(&self, wanted: &Wanted, refused: TokenHash) {
        let key = wanted.key();
        if self
            .0
            .cache
            .get(&key, self.0.authority.now())
            .is_some_and(|held| held.token.hash() == refused)
        {
            self.0.cache.remove(&key);
        }
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.0.authority
    }
}

/// A flight's place in the map, given up when it ends, in a panic too.
struct Entry {
    inner: Arc<Inner>,
    id: Flight,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.lock().remove(&self.id);
    }
}

async fn fly(inner: &Inner, wanted: Wanted) -> Result<AccessToken, ExchangeError> {
    let endpoint = |entra: &Entra| entra.token_endpoint(wanted.caller.tenant_id()?);
    let Some(token_endpoint) = inner.authority.as_entra().and_then(endpoint) else {
        return Err(unavailable());
    };
    let now = inner.authority.now();
    let exchange = Exchange {
        http: inner.authority.http(),
        timeout: inner.authority.timeout(),
        token_endpoint: &token_endpoint,
        client_id: &inner.client_id,
        credential: &inner.credential,
        caller: &wanted.caller,
        scope: &wanted.scope,
        claims: wanted.claims.as_ref(),
        now,
    };
    match exchange.run().await {
        Ok(token) => {
            let expires = wanted.caller.expires_at();
            inner.cache.put(
                wanted.key(),
                token.clone(),
                wanted.claims.clone(),
                expires,
                now,
            );
            Ok(token)
        }
        // While the authority cannot answer, a token that is only no longer fresh is still a good one.
        Err(ExchangeError::Other(error))
            if wanted.is_plain() && error.kind() == OnBehalfOfErrorKind::Unavailable =>
        {
            let held = inner.cache.get(&wanted.key(), inner.authority.now());
            held.map(|held| held.token)
                .ok_or(ExchangeError::Other(error))
        }
        Err(error) => Err(error),
    }
}

fn unavailable() -> ExchangeError {
    ExchangeError::Other(OnBehalfOfError::new(OnBehalfOfErrorKind::Unavailable))
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Flight, SharedAcquire>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// Any token of this caller for this scope will do.
    fn is_plain(&self) -> bool {
        self.claims.is_none() && self.refused.is_none()
    }

    fn key(&self) -> Key {
        Key {
            assertion: self.caller.assertion().hash(),
            tenant: self.caller.tenant_id().unwrap_or_default().into(),
            scope: Box::from(&*self.scope),
        }
    }
}

impl fmt::Debug for ConfidentialClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfidentialClient")
            .field("client_id", &self.0.client_id)
            .finish_non_exhaustive()
    }
}
