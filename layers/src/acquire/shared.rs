//! Tokens that several processes share: visible when it does not work, and harmless.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::pause::{Attempt, Change, Pause, random};
use super::sealing::{SEAL_LEN, SealingKeys};
use super::store::TokenStore;
use crate::error::causes;
use crate::refusal::BoxError;

/// Larger values are neither stored nor taken.
pub(super) const MAX_VALUE: usize = 64 * 1024;
/// How long an operation may take unless the builder says otherwise, and what it may say.
const TIMEOUT: Duration = Duration::from_millis(200);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(5);
/// A process that is killed keeps the others waiting no longer than this, or than they are ready to wait if that is longer.
const CLAIM_TIME: Duration = Duration::from_secs(15);
/// How much longer a claim then lasts than they wait, so that none is taken over while its work goes on.
const CLAIM_SLACK: Duration = Duration::from_secs(5);
/// Between two looks for what another process is about to put there; it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(25);
const LONGEST_LOOK: Duration = Duration::from_millis(200);
/// How long a store that failed is left alone.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The second level of the On-Behalf-Of token cache: tokens that several processes of one service share, so that a new or
/// restarted one need not ask the authority for what another one holds.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{SealingKeys, SharedTokens, TokenStore};
///
/// fn shared(store: impl TokenStore, secret: &[u8]) -> Result<SharedTokens, tower_bearer::ConfigError> {
///     let keys = SealingKeys::new(secret)?;
///     Ok(SharedTokens::new(store, keys).timeout(Duration::from_millis(100)))
/// }
/// ```
///
/// A store that fails, is late or answers nonsense costs a request no more than the timeout, and only the first of many: it is
/// then left alone for 1 s, doubling to 30 s while it does not heal, and tokens are obtained without it. The log says
/// `store_unavailable` once and `store_recovered` once. Cheap to clone; clones share that state.
#[derive(Clone)]
pub struct SharedTokens {
    shared: Arc<Shared>,
    timeout: Duration,
}

struct Shared {
    store: Box<dyn TokenStore>,
    keys: SealingKeys,
    pause: Mutex<Pause>,
}

/// Who does the work for some parts.
pub(crate) enum Claim {
    /// This process.
    Ours(ClaimGuard),
    /// Another one, or another task of this one.
    Theirs,
    /// The store does not say. Work that is done twice is better than none. (A claim that was granted too late to be heard of
    /// expires.)
    Unknown,
}

/// A claim that is held. Dropping it gives it up soon, [`release`](Self::release) now.
#[must_use]
pub(crate) struct ClaimGuard(Option<Held>);

struct Held {
    tokens: SharedTokens,
    name: String,
    owner: String,
}

/// What came of waiting for one's turn.
pub(crate) enum Turn<T> {
    /// Somebody put it there.
    Found(T),
    /// It is not there, and nobody else is about to put it there until the guard is gone.
    Ours(ClaimGuard),
    /// The store does not say, or the others take too long.
    Alone,
}

enum Fault {
    Late,
    Panicked,
    Failed(BoxError),
}

impl SharedTokens {
    /// Tokens in `store`, named and sealed with `keys`, which all processes that share them have.
    pub fn new(store: impl TokenStore, keys: SealingKeys) -> Self {
        Self {
            shared: Arc::new(Shared {
                store: Box::new(store),
                keys,
                pause: Mutex::new(Pause::new(1, FIRST_PAUSE, LONGEST_PAUSE)),
            }),
            timeout: TIMEOUT,
        }
    }

    /// How long a request waits for one operation of the store. Default 200 ms; 10 ms to 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        self
    }

    /// Whether the store answered when it was last asked, or was not asked yet. For a health page; not a reason to
    /// be unready.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.shared.pause().is_available()
    }

    async fn ask<T>(
        &self,
        operation: impl AsyncFnOnce(&Shared) -> Result<T, BoxError>,
    ) -> Option<T> {
        let attempt = self.shared.pause().attempt(Instant::now()).ok()?;
        // A store of the user's own may panic; that is a failure like another.
        let operation = AssertUnwindSafe(operation(&self.shared)).catch_unwind();
        let fault = match timeout(self.timeout, operation).await {
            Ok(Ok(Ok(answer))) => {
                self.shared.succeeded(attempt);
                return Some(answer);
            }
            Ok(Ok(Err(error))) => Fault::Failed(error),
            Ok(Err(_)) => Fault::Panicked,
            Err(_) => Fault::Late,
        };
        self.shared.failed(attempt, &fault);
        None
    }
}

impl SharedTokens {
    /// What was put under these parts, and with which key is all the same. What is missing, cannot be opened, fails
    /// or is late is nothing.
    pub(crate) async fn get(&self, parts: &[&[u8]]) -> Option<SecretSlice<u8>> {
        self.find(parts).await.flatten()
    }

    /// The same, where it matters whether the store answered at all.
    pub(crate) async fn find(&self, parts: &[&[u8]]) -> Option<Option<SecretSlice<u8>>> {
        self.ask(async |shared| {
            for name in shared.keys.names(&values(parts)) {
                let Some(sealed) = shared.store.get(&name).await? else {
                    continue;
                };
                let fits = sealed.len() <= MAX_VALUE + SEAL_LEN;
                let opened = fits.then(|| shared.keys.open(&name, &sealed)).flatten();
                if opened.is_some() {
                    return Ok(opened);
                }
                tracing::debug!(
                    kind = "shared_token_unusable",
                    bytes = sealed.len(),
                    "a shared token cannot be opened"
                );
            }
            Ok(None)
        })
        .await
    }

    /// Keeps a value until `time_to_live` has passed, under the key that seals. Tells whether it is kept.
    pub(crate) async fn put(&self, parts: &[&[u8]], text: &[u8], time_to_live: Duration) -> bool {
        if text.len() > MAX_VALUE || time_to_live.as_millis() == 0 {
            return false;
        }
        let keys = &self.shared.keys;
        let Some(name) = keys.names(&values(parts)).next() else {
            return false;
        };
        let Some(sealed) = keys.seal(&name, text) else {
            return false;
        };
        self.ask(async |shared| shared.store.put(&name, sealed, time_to_live).await)
            .await
            .is_some()
    }

    /// Forgets what was put under these parts, with whichever key. Tells whether the store did.
    pub(crate) async fn remove(&self, parts: &[&[u8]]) -> bool {
        self.ask(async |shared| {
            for name in shared.keys.names(&values(parts)) {
                shared.store.remove(&name).await?;
            }
            Ok(())
        })
        .await
        .is_some()
    }

    /// Does this process do the work for these parts? After [`Claim::Ours`] the caller looks once more: what he did not find
    /// may have been put there since.
    pub(crate) async fn claim(&self, parts: &[&[u8]], time: Duration) -> Claim {
        let name = self.shared.keys.names(&claims(parts)).next();
        let (Some(name), Some(owner)) = (name, owner()) else {
            return Claim::Unknown;
        };
        let asked = self.ask(async |shared| shared.store.claim(&name, &owner, time).await);
        match asked.await {
            Some(true) => Claim::Ours(ClaimGuard(Some(Held {
                tokens: self.clone(),
                name,
                owner,
            }))),
            Some(false) => Claim::Theirs,
            None => Claim::Unknown,
        }
    }

    /// What is there, as soon as it is there and `read` takes it; else the right to put it there. Waits for another process
    /// that is about to, for `patience`.
    pub(crate) async fn turn<T>(
        &self,
        parts: &[&[u8]],
        patience: Duration,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Turn<T> {
        let look = async || {
            let text = self.get(parts).await?;
            read(text.expose_secret())
        };
        let deadline = Instant::now() + patience;
        let time = CLAIM_TIME.max(patience + CLAIM_SLACK);
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(found) = look().await {
                return Turn::Found(found);
            }
            match self.claim(parts, time).await {
                Claim::Ours(guard) => {
                    // Between the look and the claim another process may have put it there and given its own claim up.
                    let Some(found) = look().await else {
                        return Turn::Ours(guard);
                    };
                    guard.release().await;
                    return Turn::Found(found);
                }
                Claim::Unknown => return Turn::Alone,
                Claim::Theirs => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Turn::Alone;
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }
}

impl ClaimGuard {
    /// Lets the next one do the work.
    pub(crate) async fn release(mut self) {
        if let Some(held) = self.0.take() {
            held.release().await;
        }
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        // Without a runtime it expires.
        if let (Some(held), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { held.release().await });
        }
    }
}

impl Held {
    async fn release(&self) {
        let (name, owner) = (&self.name, &self.owner);
        self.tokens
            .ask(async |shared| shared.store.release(name, owner).await)
            .await;
    }
}

impl Shared {
    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, attempt: Attempt) {
        let change = self.pause().succeeded(attempt);
        if change.is_some() {
            tracing::info!(
                kind = "store_recovered",
                "the shared token store answers again"
            );
        }
    }

    fn failed(&self, attempt: Attempt, fault: &Fault) {
        let change = self.pause().failed(attempt, Instant::now(), None, random());
        if let Some(Change::Failed { pause }) = change {
            tracing::warn!(
                kind = "store_unavailable",
                pause_ms = pause.as_millis(),
                error = %fault,
                "the shared token store fails; tokens are obtained without it"
            );
        }
    }
}

/// The names of values and of claims differ, or a claim could be read as a value.
fn values<'a>(parts: &[&'a [u8]]) -> Vec<&'a [u8]> {
    [&[&b"value"[..]], parts].concat()
}

fn claims<'a>(parts: &[&'a [u8]]) -> Vec<&'a [u8]> {
    [&[&b"claim"[..]], parts].concat()
}

/// A name for one claim.
fn owner() -> Option<String> {
    let mut random = [0; 16];
    rand::fill(&mut random).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(random))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no answer in time"),
            Self::Panicked => f.write_str("the store panicked"),
            Self::Failed(error) => f.write_str(&causes(&**error)),
        }
    }
}

impl fmt::Debug for SharedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTokens")
            .field("timeout", &self.timeout)
            .field("available", &self.is_available())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
