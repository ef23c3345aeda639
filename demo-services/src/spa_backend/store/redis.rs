//! A store in a Redis (2.6.12 or newer, or Valkey) that several instances share. It sees names that tell nothing and sealed values.
//!
//! There is one connection, made when it is first needed and again when it broke. A command whose connection broke while it was
//! idle is sent once more; each of them may be obeyed twice without harm: what was taken is gone, and whoever claimed has it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisError, RedisResult, cmd, pipe,
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tower_bearer::SealingKeys;

use super::{Found, Key, Kind, MAX_RECORD, Store, StoreError, Version};
use crate::random;

/// What stands before each key.
const PREFIX: &str = "spa-backend:";
/// The first part of each name: tokens that are shared under the same secret have names of another family.
const FAMILY: &str = "spa-backend sessions";
/// More is not read, whoever put it there.
const MAX_SEALED: usize = MAX_RECORD + SealingKeys::OVERHEAD;
const LAST_OF_MARK: usize = SealingKeys::MARK_LEN - 1;
/// Puts `ARGV[2]` there for `ARGV[3]` ms if what is there begins with `ARGV[1]`, or is that already.
const REPLACE: &str = "local mark = redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) \
    if mark == string.sub(ARGV[2], 1, #ARGV[1]) then return 1 end \
    if mark ~= ARGV[1] then return 0 end \
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1";
/// Removes what begins with `ARGV[1]`.
const REMOVE: &str = "if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// Records in Redis.
pub(in crate::spa_backend) struct RedisStore {
    client: Client,
    keys: SealingKeys,
    timeout: Duration,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Grows with each connection.
    number: u64,
    connection: Option<Connecting>,
}

/// A connection, or one that a task is making and all who need it wait for.
type Connecting = Shared<Pin<Box<dyn Future<Output = RedisResult<MultiplexedConnection>> + Send>>>;

/// Why a command was not obeyed.
enum Failure {
    Redis(RedisError),
    Late,
}

impl RedisStore {
    /// A Redis, which need not be there yet.
    ///
    /// # Errors
    /// A URL that is not of Redis.
    pub(in crate::spa_backend) fn new(
        url: &SecretString,
        keys: SealingKeys,
        timeout: Duration,
    ) -> Result<Self, tower_bearer::ConfigError> {
        // Which URLs are taken, and what cryptography TLS uses, is the library's matter.
        tower_bearer::RedisStore::connect(url.expose_secret())?;
        let unusable = |_| tower_bearer::ConfigError::StoreUrl;
        let connection = url.expose_secret().into_connection_info();
        let without_delay = TcpSettings::default().set_nodelay(true);
        let connection = connection.map_err(unusable)?;
        let client = Client::open(connection.set_tcp_settings(without_delay)).map_err(unusable)?;
        Ok(Self {
            client,
            keys,
            timeout,
            slot: Mutex::default(),
        })
    }

    /// Warns, in a task, if this Redis has no bound: anybody can begin sign-ins. One that does not tell is believed.
    pub(in crate::spa_backend) fn warn_if_unbounded(&self) {
        let (client, deadline) = (self.client.clone(), self.timeout);
        let look = async move {
            if is_unbounded(&client, deadline).await == Some(true) {
                tracing::warn!(
                    "Redis has no bound: set maxmemory and maxmemory-policy volatile-ttl, or a flood of sign-ins fills it"
                );
            }
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(look);
        }
    }

    /// The places of a record: under the key that seals, then under the previous one.
    ///
    /// A right has one place, which is the same for all instances while they change from one secret to the next: they must exclude
    /// each other. Its name is as secret as a seat's id, so a digest of it tells nothing.
    fn places(&self, key: Key<'_>) -> Vec<String> {
        let kind = key.kind.name();
        if key.kind == Kind::Renewal {
            return vec![random::sha256(&format!("{FAMILY}\0{kind}\0{}", key.name))];
        }
        let parts = [FAMILY, kind, key.name].map(str::as_bytes);
        self.keys.names(&parts).collect()
    }

    fn seal(&self, place: &str, text: &SecretSlice<u8>) -> Result<Sealed, StoreError> {
        let sealed = self.keys.seal(place, text.expose_secret());
        let value = sealed.ok_or(StoreError::Away)?;
        let mark = value.get(..SealingKeys::MARK_LEN).unwrap_or_default();
        Ok(Sealed {
            mark: mark.to_vec(),
            value,
        })
    }

    fn open(&self, place: &str, value: &[u8]) -> Option<SecretSlice<u8>> {
        // What is not there is empty; nothing sealed is.
        if value.is_empty() || value.len() > MAX_SEALED {
            return None;
        }
        let opened = self.keys.open(place, value);
        if opened.is_none() {
            tracing::warn!(bytes = value.len(), "a record in Redis cannot be opened");
        }
        opened
    }

    async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let (first, is_new) = self.attempt(commands, deadline).await;
        let outcome = match first {
            Err(Failure::Redis(error)) if !is_new && breaks(&error) => {
                self.attempt(commands, deadline).await.0
            }
            outcome => outcome,
        };
        outcome.map_err(|failure| {
            match failure {
                Failure::Redis(error) => {
                    tracing::warn!(code = error.code(), kind = ?error.kind(), "Redis does not do what it was asked to");
                }
                Failure::Late => tracing::warn!("Redis does not answer in time"),
            }
            StoreError::Away
        })
    }

    /// Once, and whether on a connection made for it.
    ///
    /// A connection that broke or was late is not used again: what answers late may be a host that is gone. That somebody gives up
    /// waiting, as when a browser has gone, says nothing of it.
    async fn attempt<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> (Result<T, Failure>, bool) {
        let (connecting, number, is_new) = self.connection();
        let Ok(connected) = timeout_at(deadline, connecting).await else {
            self.forget(number);
            return (Err(Failure::Late), is_new);
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                self.forget(number);
                return (Err(Failure::Redis(error)), is_new);
            }
        };
        let outcome = timeout_at(deadline, commands.query_async(&mut connection)).await;
        let outcome = outcome.map_or(Err(Failure::Late), |done| done.map_err(Failure::Redis));
        if outcome.as_ref().is_err_and(Failure::breaks) {
            self.forget(number);
        }
        (outcome, is_new)
    }

    fn connection(&self) -> (Connecting, u64, bool) {
        let mut slot = self.slot();
        if let Some(connecting) = &slot.connection {
            return (connecting.clone(), slot.number, false);
        }
        let connecting = connect(self.client.clone(), self.timeout);
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

struct Sealed {
    value: Vec<u8>,
    mark: Vec<u8>,
}

impl Failure {
    fn breaks(&self) -> bool {
        match self {
            Self::Redis(error) => breaks(error),
            Self::Late => true,
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: Key<'_>, stay: Option<Duration>) -> Result<Option<Found>, StoreError> {
        for (number, place) in self.places(key).iter().enumerate() {
            let mut get = pipe();
            get.cmd("GETRANGE").arg(at(place)).arg(0).arg(MAX_SEALED);
            if let Some(stay) = stay {
                get.cmd("PEXPIRE").arg(at(place)).arg(millis(stay)).ignore();
            }
            let (value,): (Vec<u8>,) = self.run(&get).await?;
            if let Some(text) = self.open(place, &value) {
                let mark = value.get(..SealingKeys::MARK_LEN).unwrap_or_default();
                let version = Version {
                    place: number,
                    mark: mark.to_vec(),
                };
                return Ok(Some(Found { text, version }));
            }
        }
        Ok(None)
    }

    async fn put(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<(), StoreError> {
        let places = self.places(key);
        let place = places.first().ok_or(StoreError::Away)?;
        let mut set = pipe();
        set.cmd("SET")
            .arg(at(place))
            .arg(self.seal(place, &text)?.value);
        set.arg("PX").arg(millis(stay)).ignore();
        self.run(&set).await
    }

    async fn put_if_absent(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<Option<Version>, StoreError> {
        let places = self.places(key);
        let place = places.first().ok_or(StoreError::Away)?;
        let sealed = self.seal(place, &text)?;
        let mut set = pipe();
        set.cmd("SET").arg(at(place)).arg(&sealed.value).arg("NX");
        set.arg("PX").arg(millis(stay)).ignore();
        // Not SET's own answer: where the connection broke after it was obeyed, it is asked again.
        set.cmd("GETRANGE").arg(at(place)).arg(0).arg(LAST_OF_MARK);
        let (there,): (Vec<u8>,) = self.run(&set).await?;
        Ok((there == sealed.mark).then_some(Version {
            place: 0,
            mark: there,
        }))
    }

    async fn replace(
        &self,
        key: Key<'_>,
        version: &Version,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<bool, StoreError> {
        let places = self.places(key);
        let place = places.get(version.place).ok_or(StoreError::Away)?;
        let mut replace = pipe();
        replace.cmd("EVAL").arg(REPLACE).arg(1).arg(at(place));
        replace
            .arg(&version.mark)
            .arg(self.seal(place, &text)?.value)
            .arg(millis(stay));
        let (replaced,): (bool,) = self.run(&replace).await?;
        Ok(replaced)
    }

    async fn take(&self, key: Key<'_>) -> Result<Option<SecretSlice<u8>>, StoreError> {
        let mut taken = None;
        for place in self.places(key) {
            let mut take = pipe();
            take.atomic();
            take.cmd("GETRANGE").arg(at(&place)).arg(0).arg(MAX_SEALED);
            take.cmd("DEL").arg(at(&place)).ignore();
            let (value,): (Vec<u8>,) = self.run(&take).await?;
            taken = taken.or(self.open(&place, &value));
        }
        Ok(taken)
    }

    async fn remove(&self, key: Key<'_>) -> Result<(), StoreError> {
        let mut delete = pipe();
        for place in self.places(key) {
            delete.cmd("DEL").arg(at(&place)).ignore();
        }
        self.run(&delete).await
    }

    async fn remove_version(&self, key: Key<'_>, version: &Version) -> Result<(), StoreError> {
        let places = self.places(key);
        let place = places.get(version.place).ok_or(StoreError::Away)?;
        let mut remove = pipe();
        remove.cmd("EVAL").arg(REMOVE).arg(1).arg(at(place));
        remove.arg(&version.mark).ignore();
        self.run(&remove).await
    }

    async fn answers(&self) -> Option<bool> {
        let mut ping = pipe();
        ping.cmd("PING").ignore();
        Some(self.run::<()>(&ping).await.is_ok())
    }

    fn longest(&self) -> Duration {
        // A record may be looked for in both of its places.
        self.timeout * 2
    }
}

fn at(place: &str) -> String {
    format!("{PREFIX}{place}")
}

/// In a task of its own: that all who wait give up does not end it.
fn connect(client: Client, deadline: Duration) -> Connecting {
    let making = tokio::spawn(async move {
        client
            .get_multiplexed_async_connection_with_config(&within(deadline))
            .await
    });
    let lost = || RedisError::from((ErrorKind::Io, "the connection was given up"));
    making
        .map(move |made| made.unwrap_or_else(|_| Err(lost())))
        .boxed()
        .shared()
}

fn within(deadline: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(Some(deadline))
}

/// Whether `maxmemory` is 0. `None` if it cannot be had or may not be asked for.
async fn is_unbounded(client: &Client, deadline: Duration) -> Option<bool> {
    let config = within(deadline);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await.ok()?;
    let mut ask = cmd("CONFIG");
    let answer = ask.arg("GET").arg("maxmemory").query_async(&mut connection);
    let answer: HashMap<String, String> = answer.await.ok()?;
    Some(answer.get("maxmemory")? == "0")
}

/// Will the connection serve no more? A server that became a replica refuses to write for as long as it is asked.
fn breaks(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error() || error.code() == Some("READONLY")
}

fn millis(stay: Duration) -> u64 {
    u64::try_from(stay.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::super::Records;
    use super::super::server::{FORGETFUL, NO_CONFIG, Server, with_redis};
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NEWER: &str = "fedcba9876543210fedcba9876543210";
    const MINUTE: Duration = Duration::from_secs(60);

    fn store(server: &Server, secret: &str, previous: Option<&str>) -> RedisStore {
        let config = server.sessions(secret, previous).unwrap();
        let keys = config.keys().unwrap();
        RedisStore::new(
            &config.redis,
            keys,
            config.timeout("sessions.timeout_ms", 1000).unwrap(),
        )
        .unwrap()
    }

    fn number(store: &RedisStore) -> u64 {
        store.slot().number
    }

    #[tokio::test]
    async fn instances_with_swapped_secrets_hold_a_right_once() {
        with_redis("swapped", FORGETFUL, async |server| {
            let old = Records::new(store(server, SECRET, Some(NEWER)));
            let new = Records::new(store(server, NEWER, Some(SECRET)));
            let key = Kind::Renewal.key("a-seat");
            let held = old.claim(key, MINUTE).await.unwrap().unwrap();
            assert!(new.claim(key, MINUTE).await.unwrap().is_none());
            let another = Kind::Renewal.key("another-seat");
            assert!(new.claim(another, MINUTE).await.unwrap().is_some());
            assert!(old.claim(another, MINUTE).await.unwrap().is_none());
            old.give_back(key, held).await;
            assert!(new.claim(key, MINUTE).await.unwrap().is_some());
            for (name, _) in server.dump().await {
                assert!(!name.contains("seat"), "{name}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_request_that_goes_away_leaves_the_connection() {
        with_redis("left", FORGETFUL, async |server| {
            let store = store(server, SECRET, None);
            let key = Kind::Seat.key("a");
            for _ in 0..2 {
                // The first while the connection is being made, the second on it.
                {
                    let mut gone = std::pin::pin!(store.get(key, None));
                    assert!(poll!(&mut gone).is_pending());
                }
                assert!(store.get(key, None).await.unwrap().is_none());
                assert_eq!(number(&store), 1);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_that_is_late_is_not_used_again() {
        with_redis("late", FORGETFUL, async |server| {
            let mut store = store(server, SECRET, None);
            let key = Kind::Seat.key("a");
            assert!(store.get(key, None).await.is_ok());
            server.stop().await;
            let patience = std::mem::replace(&mut store.timeout, Duration::from_millis(50));
            assert!(store.get(key, None).await.is_err());
            server.resume().await;
            store.timeout = patience;
            assert!(store.get(key, None).await.is_ok());
            assert_eq!(number(&store), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn a_redis_without_a_bound_is_noticed_if_it_tells() {
        let cases: [(&'static [&'static str], Option<bool>); 3] = [
            (FORGETFUL, Some(true)),
            (&["--maxmemory", "100mb"], Some(false)),
            (NO_CONFIG, None),
        ];
        for (arguments, expected) in cases {
            with_redis("bound", arguments, async |server| {
                let store = store(server, SECRET, None);
                let unbounded = is_unbounded(&store.client, store.timeout).await;
                assert_eq!(unbounded, expected, "{arguments:?}");
            })
            .await;
        }
    }
}
