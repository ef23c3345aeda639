//! Keys that are kept fresh: a snapshot that readers never wait for and one task that fetches.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument as _;

use super::{FetchError, Fetched, KeySet, KeySource};
use crate::telemetry;

/// After a good fetch an unknown `kid` causes no further fetch for this long.
const COOLDOWN: Duration = Duration::from_secs(30);
/// The first pause after a failed fetch; it doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// A source's own max-age cannot ask for less.
const MIN_REFRESH: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// So many requests may wait for the keys of one issuer; more are told to come again.
const MAX_WAITING: usize = 4096;

/// Keys of one issuer.
#[derive(Clone)]
pub(crate) struct RemoteKeySet(Arc<Inner>);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A whole fetch.
    deadline: Duration,
    /// Between two fetches; also the most of a source's own max-age.
    max_refresh: Duration,
    /// Between two fetches that succeed, their own duration included.
    longest_pause: Duration,
    /// Keys are served for this long after the last good fetch when the authority is down.
    last_known_good: Duration,
}

/// The state of the keys of one issuer, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// Whose keys these are; `{tenantid}` stands for any of several tenants.
    pub issuer: String,
    /// Whether tokens can be verified.
    pub state: KeyState,
    /// How many usable keys there are.
    pub keys: usize,
    /// Since the last fetch that succeeded.
    pub age: Option<Duration>,
    /// An unknown key causes no fetch now: the last one ended a short while ago.
    pub cooling_down: bool,
    /// The last fetch failed.
    pub failing: bool,
}

/// See [`KeyStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// None were obtained yet, or they are older than the bound for outages: tokens are answered with 503.
    Missing,
    /// No older than a refresh may be.
    Fresh,
    /// Overdue, because the authority cannot be reached: known keys still serve.
    Stale,
}

/// What a request finds.
pub(crate) enum Lookup {
    /// Keys to verify with; pass the attempt on to [`RemoteKeySet::newer_than`] if the key is not among them.
    Keys(Arc<KeySet>, Generation, Attempts),
    /// No keys were ever obtained, or they are too old.
    Nothing(Attempts),
}

/// How many fetches had ended when a request looked.
#[derive(Clone, Copy)]
pub(crate) struct Attempts(u64);

/// The keys cannot be fetched now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// Seconds after which it is worth trying again.
    pub(crate) retry_after: u64,
}

struct Inner {
    shared: Arc<Shared>,
    task: Mutex<Option<Task>>,
}

struct Task {
    handle: AbortHandle,
    started_at: Instant,
}

struct Shared {
    /// Whose keys they are, for logs and metrics.
    issuer: String,
    source: Arc<dyn KeySource>,
    snapshot: ArcSwapOption<Snapshot>,
    last: watch::Sender<Attempt>,
    wake: Notify,
    /// A place per request that waits for a fetch.
    waiting: Semaphore,
    bounds: Bounds,
}

struct Snapshot {
    keys: Arc<KeySet>,
    /// Grows when the keys change, and only then.
    generation: Generation,
    confirmed_at: Instant,
}

/// Which keys a token was verified with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// The last fetch that ended.
#[derive(Clone, Copy)]
struct Attempt {
    number: u64,
    good: bool,
    ended_at: Option<Instant>,
    /// Until then no request causes another one.
    quiet_until: Option<Instant>,
}

impl RemoteKeySet {
    pub(crate) fn new(issuer: String, source: Arc<dyn KeySource>, bounds: Bounds) -> Self {
        let none = Attempt {
            number: 0,
            good: false,
            ended_at: None,
            quiet_until: None,
        };
        let shared = Shared {
            issuer,
            source,
            snapshot: ArcSwapOption::empty(),
            last: watch::Sender::new(none),
            wake: Notify::new(),
            waiting: Semaphore::new(MAX_WAITING),
            bounds,
        };
        Self(Arc::new(Inner {
            shared: Arc::new(shared),
            task: Mutex::new(None),
        }))
    }

    /// Never waits.
    pub(crate) fn look(&self) -> Lookup {
        // The number is read first: a fetch that ends in between only makes the look-up newer than it says.
        let attempts = Attempts(self.0.shared.last.borrow().number);
        let found = |snapshot: &Snapshot| {
            Lookup::Keys(Arc::clone(&snapshot.keys), snapshot.generation, attempts)
        };
        self.usable(found).unwrap_or(Lookup::Nothing(attempts))
    }

    /// Is a token that was verified with keys of this generation still as good as then?
    pub(crate) fn is_current(&self, generation: Generation) -> bool {
        self.usable(|snapshot| snapshot.generation == generation)
            .unwrap_or(false)
    }

    /// Sees to it that somebody fetches keys that should have been fetched again by now; tells whether there are such.
    pub(crate) fn refresh_if_overdue(&self) -> bool {
        let shared = &self.0.shared;
        let snapshot = shared.snapshot.load();
        let overdue = snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.confirmed_at.elapsed() > shared.bounds.longest_pause);
        overdue && self.start().is_ok()
    }

    /// Is there no key of this name, and would nobody be asked for it now?
    pub(crate) fn surely_lacks(&self, kid: &str) -> bool {
        let last = *self.0.shared.last.borrow();
        last.good
            && last.is_quiet()
            && self
                .usable(|snapshot| snapshot.keys.key(Some(kid)).is_none())
                .unwrap_or(false)
    }

    fn usable<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let shared = &self.0.shared;
        let snapshot = shared.snapshot.load();
        let snapshot = snapshot.as_ref()?;
        let age = snapshot.confirmed_at.elapsed();
        if age >= shared.bounds.last_known_good {
            return None;
        }
        // Overdue: the authority is down, or the runtime that refreshed went away and another is to.
        if age > shared.bounds.longest_pause {
            let _ = self.start();
        }
        Some(read(snapshot))
    }

    pub(crate) fn status(&self) -> KeyStatus {
        let shared = &self.0.shared;
        let last = *shared.last.borrow();
        let snapshot = shared.snapshot.load();
        let age = snapshot
            .as_ref()
            .map(|snapshot| snapshot.confirmed_at.elapsed());
        KeyStatus {
            issuer: shared.issuer.clone(),
            state: match age {
                Some(age) if age <= shared.bounds.longest_pause => KeyState::Fresh,
                Some(age) if age < shared.bounds.last_known_good => KeyState::Stale,
                _ => KeyState::Missing,
            },
            keys: snapshot.as_ref().map_or(0, |snapshot| snapshot.keys.len()),
            age,
            cooling_down: last.is_quiet(),
            failing: last.number > 0 && !last.good,
        }
    }

    /// Waits for a fetch that ended after `seen`, causing one if that may help.
    ///
    /// # Errors
    /// The fetch failed, or a recent one did and another is not due yet.
    pub(crate) async fn newer_than(&self, seen: Attempts) -> Result<(), Unavailable> {
        self.start()?;
        let shared = &self.0.shared;
        let mut attempts = shared.last.subscribe();
        let last = *attempts.borrow_and_update();
        if last.number > seen.0 {
            return last.outcome();
        }
        if last.is_quiet() {
            return last.outcome();
        }
        let Ok(_place) = shared.waiting.try_acquire() else {
            return Err(Unavailable { retry_after: 1 });
        };
        shared.wake.notify_one();
        // The fetch has its own deadline; this one covers a runtime that went away underneath it.
        match timeout(
            shared.bounds.deadline * 2,
            attempts.wait_for(|attempt| attempt.number > seen.0),
        )
        .await
        {
            Ok(Ok(attempt)) => attempt.outcome(),
            _ => Err(Unavailable { retry_after: 1 }),
        }
    }

    /// A task whose runtime nobody drives any more makes no attempt, and never ends either.
    fn is_stuck(&self, task: &Task) -> bool {
        let shared = &self.0.shared;
        let last = *shared.last.borrow();
        let pause = if last.good {
            shared.bounds.longest_pause
        } else {
            MAX_BACKOFF
        };
        let since = last
            .ended_at
            .map_or(task.started_at, |at| at.max(task.started_at));
        since.elapsed() > pause + shared.bounds.deadline * 2
    }

    fn start(&self) -> Result<(), Unavailable> {
        let mut task = match self.0.task.try_lock() {
            Ok(task) => task,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another request is about to start it.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        if let Some(stuck) = task.take_if(|task| self.is_stuck(task)) {
            stuck.handle.abort();
        }
        if task.as_ref().is_none_or(|task| task.handle.is_finished()) {
            let Ok(runtime) = Handle::try_current() else {
                tracing::error!(
                    kind = "no_runtime",
                    "keys are fetched on a tokio runtime, and this is none"
                );
                return Err(Unavailable { retry_after: 1 });
            };
            *task = Some(Task {
                handle: runtime
                    .spawn(refresh(Arc::clone(&self.0.shared)))
                    .abort_handle(),
                started_at: Instant::now(),
            });
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.handle.abort();
        }
    }
}

impl fmt::Debug for RemoteKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeySet").finish_non_exhaustive()
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(Duration::from_secs(5), Duration::from_secs(600), DAY)
    }
}

impl Bounds {
    /// Whatever is asked for, within reason: a fetch takes 100 ms to 1 min, keys are used for 1 min to 24 h, and keys that
    /// are merely not due yet are no outage.
    pub(crate) fn new(
        deadline: Duration,
        max_refresh: Duration,
        last_known_good: Duration,
    ) -> Self {
        let deadline = deadline.clamp(Duration::from_millis(100), Duration::from_secs(60));
        let max_refresh = max_refresh.clamp(MIN_REFRESH, DAY);
        let longest_pause = max_refresh + deadline;
        Self {
            deadline,
            max_refresh,
            longest_pause,
            last_known_good: last_known_good.max(longest_pause),
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn with_deadline(self, deadline: Duration) -> Self {
        Self::new(deadline, self.max_refresh, self.last_known_good)
    }

    pub(crate) fn with_refresh(self, max_refresh: Duration) -> Self {
        Self::new(self.deadline, max_refresh, self.last_known_good)
    }

    pub(crate) fn with_last_known_good(self, last_known_good: Duration) -> Self {
        Self::new(self.deadline, self.max_refresh, last_known_good)
    }
}

impl Attempt {
    fn is_quiet(&self) -> bool {
        self.quiet_until.is_some_and(|until| Instant::now() < until)
    }

    fn outcome(&self) -> Result<(), Unavailable> {
        if self.good {
            return Ok(());
        }
        let wait = self.quiet_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        });
        Err(Unavailable {
            retry_after: wait.as_secs() + 1,
        })
    }
}

impl Shared {
    fn has_no_keys(&self) -> bool {
        self.snapshot
            .load()
            .as_ref()
            .is_none_or(|snapshot| snapshot.confirmed_at.elapsed() >= self.bounds.last_known_good)
    }
}

/// Fetches now, then whenever it is due or asked for.
async fn refresh(shared: Arc<Shared>) {
    let mut failures = 0_u32;
    loop {
        let span = tracing::info_span!("fetch_keys", issuer = shared.issuer);
        let fetched = fetch(&shared).instrument(span).await;
        let age = shared
            .snapshot
            .load()
            .as_ref()
            .map(|keys| keys.confirmed_at.elapsed());
        telemetry::keys(&shared.issuer, fetched.is_ok(), age);
        let (good, next) = match fetched {
            Ok(max_age) => {
                failures = 0;
                (
                    true,
                    jitter(
                        max_age
                            .unwrap_or(shared.bounds.max_refresh)
                            .clamp(MIN_REFRESH, shared.bounds.max_refresh),
                    ),
                )
            }
            Err(error) => {
                let pause = jitter(
                    MIN_BACKOFF
                        .saturating_mul(1 << failures.min(6))
                        .min(MAX_BACKOFF),
                );
                failures = failures.saturating_add(1);
                tracing::warn!(kind = "keys_not_fetched", failures, %error, "verification keys could not be fetched");
                (false, pause)
            }
        };
        let now = Instant::now();
        let due = now + next;
        let quiet_until = match good {
            true => now + COOLDOWN,
            // Without any key nothing can be served: while somebody asks, the next attempt is near.
            false if shared.has_no_keys() => due.min(now + MIN_BACKOFF),
            false => due,
        };
        shared.last.send_modify(|last| {
            *last = Attempt {
                number: last.number.wrapping_add(1),
                good,
                ended_at: Some(now),
                quiet_until: Some(quiet_until),
            };
        });
        // A request that asks during the quiet time is answered by the fetch that just ended.
        while timeout_at(due, shared.wake.notified()).await.is_ok() {
            if Instant::now() >= quiet_until {
                break;
            }
        }
    }
}

async fn fetch(shared: &Shared) -> Result<Option<Duration>, FetchError> {
    // A source of the user's own may panic; that is a failed fetch, and the task lives on.
    let fetched = AssertUnwindSafe(async { shared.source.fetch().await }).catch_unwind();
    let Fetched { keys, max_age } = timeout(shared.bounds.deadline, fetched)
        .await
        .map_err(|_| FetchError::Timeout)?
        .map_err(|_| FetchError::Source)??;
    let old = shared.snapshot.load_full();
    let (keys, generation) = match (keys, &old) {
        (Some(keys), _) if keys.is_empty() => return Err(FetchError::NoKeys),
        (Some(keys), Some(old)) if !keys.is_same(&old.keys) => {
            (Arc::new(keys), Generation(old.generation.0 + 1))
        }
        (Some(keys), None) => (Arc::new(keys), Generation::default()),
        (_, Some(old)) => (Arc::clone(&old.keys), old.generation),
        (None, None) => return Err(FetchError::NoKeys),
    };
    tracing::debug!(
        kind = "keys_fetched",
        keys = keys.len(),
        "verification keys are fresh"
    );
    shared.snapshot.store(Some(Arc::new(Snapshot {
        keys,
        generation,
        confirmed_at: Instant::now(),
    })));
    Ok(max_age)
}

/// Between 80 % and 100 %, so that many processes do not ask at the same moment, and none later than it may.
fn jitter(duration: Duration) -> Duration {
    let mut random = [0_u8; 2];
    let permille = match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => 800 + u32::from(u16::from_le_bytes(random)) * 200 / u32::from(u16::MAX),
        Err(_) => 1000,
    };
    duration * permille / 1000
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::super::FetchFuture;
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);
    const REFRESH: Duration = Duration::from_secs(600);
    const KEY_A: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const KEY_B: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"b","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[derive(Default)]
    struct Script {
        answer: Mutex<Option<&'static str>>,
        hang: Mutex<bool>,
        panic: Mutex<bool>,
        fetches: AtomicUsize,
    }

    impl KeySource for Arc<Script> {
        fn fetch(&self) -> FetchFuture<'_> {
            Box::pin(async {
                self.fetches.fetch_add(1, Ordering::SeqCst);
                assert!(!*self.panic.lock().unwrap(), "a source that panics");
                if *self.hang.lock().unwrap() {
                    std::future::pending::<()>().await;
                }
                let answer = self.answer.lock().unwrap().ok_or(FetchError::Unreachable)?;
                Ok(Fetched::keys(KeySet::from_jwks(answer.as_bytes()).unwrap()))
            })
        }
    }

    struct World {
        script: Arc<Script>,
        keys: RemoteKeySet,
    }

    impl World {
        fn new(answer: Option<&'static str>) -> Self {
            let script = Arc::new(Script {
                answer: Mutex::new(answer),
                ..Script::default()
            });
            Self {
                keys: RemoteKeySet::new(
                    "https://as.example".into(),
                    Arc::new(Arc::clone(&script)),
                    Bounds::default(),
                ),
                script,
            }
        }

        fn fetches(&self) -> usize {
            self.script.fetches.load(Ordering::SeqCst)
        }

        fn publish(&self, answer: Option<&'static str>) {
            *self.script.answer.lock().unwrap() = answer;
        }

        /// As a request does: look, and wait for newer keys once if the key is missing. `true`: found.
        async fn request(&self, kid: &str) -> Result<bool, Unavailable> {
            for last in [false, true] {
                let (found, seen) = match self.keys.look() {
                    Lookup::Keys(keys, _, seen) => (keys.key(Some(kid)).is_some(), seen),
                    Lookup::Nothing(seen) => (false, seen),
                };
                if found || last {
                    return Ok(found);
                }
                self.keys.newer_than(seen).await?;
            }
            Ok(false)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_requests_share_one_fetch() {
        let world = World::new(Some(KEY_A));
        let requests = (0..1000).map(|_| world.request("a"));
        assert!(
            futures_util::future::join_all(requests)
                .await
                .into_iter()
                .all(|found| found == Ok(true))
        );
        assert_eq!(world.fetches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_kid_fetches_once_per_cooldown_and_a_rotation_is_seen() {
        let world = World::new(Some(KEY_A));
        assert_eq!(world.request("a").await, Ok(true));
        for n in 0..1000 {
            assert_eq!(world.request(&n.to_string()).await, Ok(false));
        }
        assert_eq!(
            world.fetches(),
            1,
            "the cooldown began with the first fetch"
        );
        tokio::time::advance(COOLDOWN).await;
        world.publish(Some(KEY_B));
        assert_eq!(
            world.request("b").await,
            Ok(true),
            "answered within the same request"
        );
        assert_eq!(
            world.request("a").await,
            Ok(false),
            "a withdrawn key is dead at once"
        );
        assert_eq!(world.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn cold_start_without_authority_is_unavailable_and_heals() {
        let world = World::new(None);
        for _ in 0..100 {
            assert!(world.request("a").await.is_err());
        }
        assert_eq!(world.fetches(), 1, "one fetch in the first backoff step");
        world.publish(Some(KEY_A));
        tokio::time::advance(Duration::from_millis(1200)).await;
        assert_eq!(world.request("a").await, Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn outage_serves_known_keys_up_to_the_bound_and_unknown_ones_not_at_all() {
        let world = World::new(Some(KEY_A));
        assert_eq!(world.request("a").await, Ok(true));
        world.publish(None);
        tokio::time::advance(DAY - Duration::from_secs(1)).await;
        assert_eq!(world.request("a").await, Ok(true));
        assert!(
            world.request("b").await.is_err(),
            "a failed fetch decides nothing"
        );
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(world.request("a").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_authority_never_stalls_a_request_that_has_its_key() {
        let world = World::new(Some(KEY_A));
        assert_eq!(world.request("a").await, Ok(true));
        *world.script.hang.lock().unwrap() = true;
        tokio::time::advance(COOLDOWN).await;
        let before = Instant::now();
        let mut unknown = Box::pin(world.request("x"));
        assert!(futures_util::poll!(&mut unknown).is_pending());
        assert_eq!(world.request("a").await, Ok(true));
        assert_eq!(before.elapsed(), Duration::ZERO, "while the fetch hangs");
        assert!(unknown.await.is_err());
        assert!(before.elapsed() <= DEADLINE * 2);
        let before = Instant::now();
        assert_eq!(world.request("a").await, Ok(true));
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_requests_wait_for_keys() {
        let world = World::new(Some(KEY_A));
        *world.script.hang.lock().unwrap() = true;
        let mut waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| Box::pin(world.request("a")))
            .collect();
        for request in &mut waiting {
            assert!(futures_util::poll!(request).is_pending());
        }
        let mut one_more = Box::pin(world.request("a"));
        assert!(matches!(
            futures_util::poll!(&mut one_more),
            Poll::Ready(Err(_))
        ));
        waiting.pop();
        assert!(futures_util::poll!(Box::pin(world.request("a"))).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_request_does_not_cancel_the_fetch() {
        let world = World::new(Some(KEY_A));
        {
            let mut request = Box::pin(world.request("a"));
            assert!(futures_util::poll!(&mut request).is_pending());
        }
        tokio::task::yield_now().await;
        assert_eq!(world.request("a").await, Ok(true));
        assert_eq!(world.fetches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn empty_answer_keeps_the_old_keys() {
        let world = World::new(Some(KEY_A));
        assert_eq!(world.request("a").await, Ok(true));
        world.publish(Some(r#"{"keys":[]}"#));
        tokio::time::advance(REFRESH * 2).await;
        assert!(world.request("b").await.is_err());
        assert_eq!(world.request("a").await, Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_source_is_a_failed_fetch_under_the_same_rules() {
        let world = World::new(Some(KEY_A));
        assert_eq!(world.request("a").await, Ok(true));
        *world.script.panic.lock().unwrap() = true;
        tokio::time::advance(COOLDOWN).await;
        for _ in 0..10 {
            assert!(world.request("x").await.is_err());
        }
        assert_eq!(world.fetches(), 2, "one in the backoff step");
        *world.script.panic.lock().unwrap() = false;
        world.publish(Some(KEY_B));
        tokio::time::advance(MAX_BACKOFF).await;
        assert_eq!(world.request("b").await, Ok(true));
    }

    #[test]
    fn another_runtime_goes_on_refreshing() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let world = World::new(Some(KEY_A));
        assert_eq!(runtime().block_on(world.request("a")), Ok(true));
        world.publish(Some(KEY_B));
        runtime().block_on(async {
            tokio::time::advance(REFRESH * 3).await;
            assert_eq!(world.request("a").await, Ok(true), "known so far");
            tokio::task::yield_now().await;
            assert_eq!(world.request("b").await, Ok(true));
            assert_eq!(world.request("a").await, Ok(false));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_last_handle_ends_the_task() {
        let world = World::new(Some(KEY_A));
        assert_eq!(world.request("a").await, Ok(true));
        let script = Arc::clone(&world.script);
        drop(world);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&script), 1);
    }
}
