//! Redis (or Valkey) as the cache that several processes share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisError, RedisResult, pipe,
};
use tokio::runtime::Handle;
use url::Url;

use super::sealing::SEAL_LEN;
use super::shared::MAX_VALUE;
use super::store::{StoreFuture, TokenStore};
use crate::error::ConfigError;
use crate::refusal::BoxError;

/// What stands before each key, unless told otherwise.
const PREFIX: &str = "tower-bearer:";
/// How long a connection may take to come about, and any answer to arrive: no operation waits longer
/// (`SharedTokens` much less), and what has not come by then is not coming.
const DEADLINE: Duration = Duration::from_secs(5);
/// More is not read, whoever put it there.
const MAX_SEALED: usize = MAX_VALUE + SEAL_LEN;
/// Redis refuses times of which the end cannot be counted in milliseconds.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 3600);
/// Whose claim it is and its end must not be two commands: between them it may become another's.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// A [`TokenStore`] in Redis 2.6.12 or newer, or Valkey. One connection, made when it is first needed and again when it broke.
/// Cheap to clone.
///
/// ```
/// use tower_bearer::{RedisStore, SealingKeys, SharedTokens};
///
/// # fn main() -> Result<(), tower_bearer::ConfigError> {
/// # let secret = b"yAq0PbCTlqA2Y1LkFr9kD1ItJ1JYVIbP8zxPH8Zz2hM=";
/// let store = RedisStore::connect("rediss://:password@redis.internal:6380/0")?;
/// let shared = SharedTokens::new(store, SealingKeys::new(secret)?);
/// # Ok(())
/// # }
/// ```
///
/// What it keeps is sealed, but the password travels in the clear unless the URL is `rediss://`. A certificate is
/// checked against the system's roots, or those of the file that the variable `SSL_CERT_FILE` names.
#[derive(Clone)]
pub struct RedisStore {
    connector: Arc<Connector>,
    prefix: String,
}

/// Makes one connection at a time and hands it to everybody.
struct Connector {
    client: Client,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Grows with each connection.
    number: u64,
    connection: Option<Connecting>,
}

/// A connection, or one that a task is making: that many operations wait for it and give up changes nothing.
type Connecting = Shared<Pin<Box<dyn Future<Output = RedisResult<MultiplexedConnection>> + Send>>>;

/// An operation on a connection. Unless it ends well, the connection is not used again: what answers late may
/// be a host that is gone, of which no TCP stack tells for a quarter of an hour.
struct InUse<'a> {
    connector: &'a Connector,
    number: u64,
    good: bool,
}

impl RedisStore {
    /// `redis://[user:password@]host[:port][/database]`, the same with `rediss://` for TLS, or
    /// `redis+unix:///path[?db=0&user=..&pass=..]`. Whether anything is there is found out when it is used.
    ///
    /// # Errors
    /// Not such a URL, or one with a fragment (that is how certificates would not be checked).
    pub fn connect(url: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(url).map_err(|_| ConfigError::StoreUrl)?;
        if url.fragment().is_some() {
            return Err(ConfigError::StoreUrl);
        }
        if matches!(url.scheme(), "rediss" | "valkeys") {
            // Where a program links two kinds of cryptography, rustls panics unless one was chosen. Whoever has chosen stays.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let connection = url
            .into_connection_info()
            .map_err(|_| ConfigError::StoreUrl)?;
        let connection = connection.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(connection).map_err(|_| ConfigError::StoreUrl)?;
        Ok(Self {
            connector: Arc::new(Connector {
                client,
                slot: Mutex::default(),
            }),
            prefix: PREFIX.to_owned(),
        })
    }

    /// What stands before each key in the database, which others may use too. Default `tower-bearer:`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl TokenStore for RedisStore {
    fn get(&self, key: &str) -> StoreFuture<'_, Option<Vec<u8>>> {
        let mut get = pipe();
        get.cmd("GETRANGE")
            .arg(self.key(key))
            .arg(0)
            .arg(MAX_SEALED);
        Box::pin(async move {
            let (value,): (Vec<u8>,) = self.connector.run(&get).await?;
            // What is not there is empty; nothing sealed is.
            let usable = !value.is_empty() && value.len() <= MAX_SEALED;
            Ok(usable.then_some(value))
        })
    }

    fn put(&self, key: &str, value: Vec<u8>, time_to_live: Duration) -> StoreFuture<'_, ()> {
        let mut set = pipe();
        set.cmd("SET").arg(self.key(key)).arg(value);
        set.arg("PX").arg(millis(time_to_live)).ignore();
        Box::pin(async move { self.connector.run(&set).await })
    }

    fn remove(&self, key: &str) -> StoreFuture<'_, ()> {
        let mut delete = pipe();
        delete.cmd("DEL").arg(self.key(key)).ignore();
        Box::pin(async move { self.connector.run(&delete).await })
    }

    fn claim(&self, key: &str, owner: &str, time_to_live: Duration) -> StoreFuture<'_, bool> {
        let (key, owner) = (self.key(key), owner.to_owned());
        let mut claim = pipe();
        claim.cmd("SET").arg(&key).arg(&owner).arg("NX");
        claim.arg("PX").arg(millis(time_to_live)).ignore();
        // Not SET's own answer: where the connection broke after it was obeyed, it is asked again.
        claim.cmd("GET").arg(&key);
        Box::pin(async move {
            let (holder,): (Option<Vec<u8>>,) = self.connector.run(&claim).await?;
            Ok(holder.is_some_and(|holder| holder == owner.as_bytes()))
        })
    }

    fn release(&self, key: &str, owner: &str) -> StoreFuture<'_, ()> {
        let mut release = pipe();
        release.cmd("EVAL").arg(RELEASE).arg(1);
        release.arg(self.key(key)).arg(owner).ignore();
        Box::pin(async move { self.connector.run(&release).await })
    }
}

impl Connector {
    /// Sends commands, twice if need be: that a connection broke while nobody used it, as servers and balancers do to idle
    /// ones, is no failure.
    async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, BoxError> {
        let (first, is_new) = self.attempt(commands).await;
        let outcome = match first {
            Err(error) if !is_new && breaks(&error) => self.attempt(commands).await.0,
            outcome => outcome,
        };
        outcome.map_err(BoxError::from)
    }

    /// Once, and whether on a connection made for it.
    async fn attempt<T: FromRedisValue>(&self, commands: &Pipeline) -> (RedisResult<T>, bool) {
        let (connecting, number, is_new) = self.connection();
        let mut connection = match connecting.await {
            Ok(connection) => connection,
            Err(error) => {
                self.forget(number);
                return (Err(error), is_new);
            }
        };
        let mut in_use = InUse {
            connector: self,
            number,
            good: false,
        };
        let outcome = commands.query_async(&mut connection).await;
        in_use.good = !outcome.as_ref().is_err_and(breaks);
        (outcome, is_new)
    }

    fn connection(&self) -> (Connecting, u64, bool) {
        let mut slot = self.slot();
        if let Some(connecting) = &slot.connection {
            return (connecting.clone(), slot.number, false);
        }
        let connecting = connect(self.client.clone());
        slot.number = slot.number.wrapping_add(1);
        slot.connection = Some(connecting.clone());
        (connecting, slot.number, true)
    }

    fn forget(&self, number: u64) {
        let mut slot = self.slot();
        if slot.number == number {
            slot.connection = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if !self.good {
            self.connector.forget(self.number);
        }
    }
}

fn connect(client: Client) -> Connecting {
    let lost = || RedisError::from((ErrorKind::Io, "no runtime makes the connection"));
    let Ok(runtime) = Handle::try_current() else {
        return async move { Err(lost()) }.boxed().shared();
    };
    let making = runtime.spawn(async move {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    });
    making
        .map(move |made| made.unwrap_or_else(|_| Err(lost())))
        .boxed()
        .shared()
}

/// Will the connection serve no more? A server that became a replica refuses to write for as long as it is asked.
fn breaks(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error() || error.code() == Some("READONLY")
}

fn millis(time_to_live: Duration) -> u64 {
    let millis = time_to_live.min(LONGEST_TIME).as_millis().max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.connector.client.get_connection_info().addr();
        f.debug_struct("RedisStore")
            .field("address", &address.to_string())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
