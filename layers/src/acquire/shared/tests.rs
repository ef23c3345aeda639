//! Shared tokens over a store in memory, with its faults and under paused time.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_subscriber::fmt::MakeWriter;

use super::super::scripted_store::{Fault as StoreFault, ScriptedStore};
use super::super::{StoreFuture, TokenStore};
use super::*;

const OLD: &[u8] = b"0123456789abcdef0123456789abcdef";
const NEW: &[u8] = b"0123456789abcdef0123456789abcdeF";
const PARTS: &[&[u8]] = &[b"assertion-hash", b"tenant", b"api://y/.default"];
const HOUR: Duration = Duration::from_secs(3600);

/// One process with the old key.
fn process(store: &ScriptedStore) -> SharedTokens {
    SharedTokens::new(store.clone(), SealingKeys::new(OLD).unwrap())
}

async fn got(tokens: &SharedTokens, parts: &[&[u8]]) -> Option<String> {
    let text = tokens.get(parts).await?;
    Some(String::from_utf8(text.expose_secret().to_vec()).unwrap())
}

fn read(text: &[u8]) -> Option<String> {
    String::from_utf8(text.to_vec()).ok()
}

fn is_ours(claim: &Claim) -> bool {
    matches!(claim, Claim::Ours(_))
}

fn is_theirs(claim: &Claim) -> bool {
    matches!(claim, Claim::Theirs)
}

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A store to which another process puts a value just before each claim.
struct Racing(ScriptedStore);

impl TokenStore for Racing {
    fn get(&self, key: &str) -> StoreFuture<'_, Option<Vec<u8>>> {
        self.0.get(key)
    }

    fn put(&self, key: &str, value: Vec<u8>, time_to_live: Duration) -> StoreFuture<'_, ()> {
        self.0.put(key, value, time_to_live)
    }

    fn remove(&self, key: &str) -> StoreFuture<'_, ()> {
        self.0.remove(key)
    }

    fn claim(&self, key: &str, owner: &str, time_to_live: Duration) -> StoreFuture<'_, bool> {
        let (key, owner) = (key.to_owned(), owner.to_owned());
        Box::pin(async move {
            process(&self.0).put(PARTS, b"theirs", HOUR).await;
            self.0.claim(&key, &owner, time_to_live).await
        })
    }

    fn release(&self, key: &str, owner: &str) -> StoreFuture<'_, ()> {
        self.0.release(key, owner)
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_process_puts_the_other_gets_until_it_expires() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    assert_eq!(got(&two, PARTS).await, None);
    one.put(PARTS, b"token", HOUR).await;
    assert_eq!(got(&two, PARTS).await.as_deref(), Some("token"));
    one.put(PARTS, b"newer", HOUR).await;
    tokio::time::advance(HOUR - Duration::from_millis(1)).await;
    assert_eq!(got(&two, PARTS).await.as_deref(), Some("newer"));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(got(&two, PARTS).await, None);

    one.put(PARTS, b"token", HOUR).await;
    two.remove(PARTS).await;
    assert_eq!(got(&one, PARTS).await, None);
}

#[tokio::test(start_paused = true)]
async fn every_part_separates_and_a_claim_is_no_value() {
    let store = ScriptedStore::default();
    let tokens = process(&store);
    tokens.put(&[b"a|b", b"c"], b"token", HOUR).await;
    let others: [&[&[u8]]; 5] = [
        &[b"a", b"b|c"],
        &[b"a|b", b"C"],
        &[b"a|b", b"c", b""],
        &[b"value", b"a|b", b"c"],
        &[],
    ];
    for other in others {
        assert_eq!(got(&tokens, other).await, None, "{other:?}");
    }
    assert!(got(&tokens, &[b"a|b", b"c"]).await.is_some());

    let claim = tokens.claim(&[b"x"], CLAIM_TIME).await;
    assert!(is_ours(&claim));
    assert_eq!(got(&tokens, &[b"x"]).await, None);
    tokens.remove(&[b"x"]).await;
    assert!(is_theirs(&tokens.claim(&[b"x"], CLAIM_TIME).await));
}

#[tokio::test(start_paused = true)]
async fn the_store_sees_nothing_of_tokens_users_or_scopes() {
    let store = ScriptedStore::default();
    let tokens = process(&store);
    tokens.put(PARTS, b"eyJ-the-token", HOUR).await;
    let _claim = tokens.claim(PARTS, CLAIM_TIME).await;
    let dump = store.dump();
    assert_eq!(dump.len(), 2);
    let secrets = PARTS.iter().copied().chain([&b"eyJ-the-token"[..], OLD]);
    for secret in secrets {
        for (key, value) in &dump {
            for seen in [key.as_bytes(), value] {
                assert!(!seen.windows(4).any(|window| window == &secret[..4]));
            }
        }
    }
    let shown = format!("{tokens:?}");
    assert_eq!(
        shown,
        "SharedTokens { timeout: 200ms, available: true, .. }"
    );
}

#[tokio::test(start_paused = true)]
async fn rotation_finds_what_the_old_key_sealed_and_puts_under_the_new() {
    let store = ScriptedStore::default();
    let old = process(&store);
    let keys = SealingKeys::new(NEW).unwrap().and_previous(OLD).unwrap();
    let rotated = SharedTokens::new(store.clone(), keys);
    let new = SharedTokens::new(store.clone(), SealingKeys::new(NEW).unwrap());

    old.put(PARTS, b"old", HOUR).await;
    assert_eq!(got(&rotated, PARTS).await.as_deref(), Some("old"));
    assert_eq!(got(&new, PARTS).await, None);
    rotated.put(PARTS, b"new", HOUR).await;
    assert_eq!(got(&rotated, PARTS).await.as_deref(), Some("new"));
    assert_eq!(got(&new, PARTS).await.as_deref(), Some("new"));
    assert_eq!(got(&old, PARTS).await.as_deref(), Some("old"));
    rotated.remove(PARTS).await;
    for process in [&old, &new, &rotated] {
        assert_eq!(got(process, PARTS).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_tampered_with_is_not_there_and_the_store_is_up() {
    let store = ScriptedStore::default();
    let tokens = process(&store);
    let changes: [fn(&mut Vec<u8>); 5] = [
        |value| value[0] ^= 1,
        |value| *value.last_mut().unwrap() ^= 1,
        |value| value.truncate(20),
        Vec::clear,
        |value| *value = vec![b'x'; 100_000],
    ];
    for change in changes {
        tokens.put(PARTS, b"token", HOUR).await;
        assert!(got(&tokens, PARTS).await.is_some());
        store.tamper(change);
        assert_eq!(got(&tokens, PARTS).await, None);
        assert!(tokens.is_available());
    }
    // The value of one user under the name of another.
    tokens.put(&[b"alice"], b"alice's", HOUR).await;
    tokens.put(&[b"bob"], b"bob's", HOUR).await;
    let values: Vec<_> = store.dump().into_iter().map(|(_, value)| value).collect();
    for value in values {
        store.tamper(|to| to.clone_from(&value));
        let both = [
            got(&tokens, &[b"alice"]).await,
            got(&tokens, &[b"bob"]).await,
        ];
        assert!(both.iter().flatten().count() <= 1, "{both:?}");
        assert_ne!(both[0].as_deref(), Some("bob's"));
        assert_ne!(both[1].as_deref(), Some("alice's"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_over_is_neither_stored_nor_taken() {
    let store = ScriptedStore::default();
    let (tokens, keys) = (process(&store), SealingKeys::new(OLD).unwrap());
    let name = keys.names(&values(PARTS)).next().unwrap();
    for (len, taken) in [(MAX_VALUE, true), (MAX_VALUE + 1, false)] {
        let text = vec![b'x'; len];
        tokens.put(PARTS, &text, HOUR).await;
        assert_eq!(store.dump().len(), usize::from(taken));
        let sealed = keys.seal(&name, &text).unwrap();
        store.put(&name, sealed, HOUR).await.unwrap();
        assert_eq!(got(&tokens, PARTS).await.is_some(), taken);
        tokens.remove(PARTS).await;
    }
    store.calls();
    tokens.put(PARTS, b"x", Duration::ZERO).await;
    tokens.put(PARTS, b"x", Duration::from_micros(999)).await;
    assert!(store.calls().is_empty());
    tokens.put(PARTS, b"x", Duration::from_millis(1)).await;
    assert_eq!(store.calls(), ["put"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_left_alone_and_told_of_once() {
    let (log, _guard) = Log::start();
    let store = ScriptedStore::default();
    let tokens = process(&store);
    tokens.put(PARTS, b"token", HOUR).await;
    store.calls();
    store.fault(StoreFault::Down);

    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(got(&tokens, PARTS).await, None);
        tokens.put(PARTS, b"newer", HOUR).await;
        tokens.remove(PARTS).await;
        assert!(matches!(
            tokens.claim(PARTS, CLAIM_TIME).await,
            Claim::Unknown
        ));
        assert!(matches!(tokens.turn(PARTS, HOUR, read).await, Turn::Alone));
    }
    assert_eq!(Instant::now(), began, "nobody waited");
    assert_eq!(store.calls(), ["get"]);
    assert!(!tokens.is_available());
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["WARN", "store_unavailable", "the store is down"] {
        assert!(lines[0].contains(part), "{}", lines[0]);
    }

    // Two hours of requests: a try each 15 to 30 s and not a word.
    for _ in 0..7200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(got(&tokens, PARTS).await, None);
    }
    let tries = store.calls().len();
    assert!((7200 / 31..=7200 / 15 + 10).contains(&tries), "{tries}");
    assert!(log.lines().is_empty());

    store.fault(StoreFault::None);
    tokens.put(PARTS, b"token", 9 * HOUR).await;
    tokio::time::advance(LONGEST_PAUSE).await;
    tokens.put(PARTS, b"token", HOUR).await;
    assert!(tokens.is_available());
    assert_eq!(got(&tokens, PARTS).await.as_deref(), Some("token"));
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("INFO") && lines[0].contains("store_recovered"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_costs_the_timeout_once() {
    let ms = Duration::from_millis;
    let rows = [
        (None, ms(199), true),
        (None, ms(201), false),
        (Some(ms(50)), ms(49), true),
        (Some(ms(50)), ms(51), false),
        (Some(ms(0)), ms(9), true),
        (Some(ms(0)), ms(11), false),
        (Some(HOUR), ms(4999), true),
        (Some(HOUR), ms(5001), false),
    ];
    for (limit, delay, in_time) in rows {
        let store = ScriptedStore::default();
        let mut tokens = process(&store);
        if let Some(limit) = limit {
            tokens = tokens.timeout(limit);
        }
        tokens.put(PARTS, b"token", HOUR).await;
        store.fault(StoreFault::Slow(delay));
        let began = Instant::now();
        let found = got(&tokens, PARTS).await;
        assert_eq!(found.is_some(), in_time, "{limit:?} {delay:?}");
        let most = delay.min(MAX_TIMEOUT) + ms(1);
        assert!(began.elapsed() <= most, "{limit:?} {delay:?}");
        assert_eq!(tokens.is_available(), in_time);
        let again = Instant::now();
        assert_eq!(got(&tokens, PARTS).await.is_some(), in_time);
        assert_eq!(again.elapsed().is_zero(), !in_time);
    }
}

#[tokio::test(start_paused = true)]
async fn many_requests_on_a_store_that_hangs_wait_side_by_side_and_count_once() {
    let store = ScriptedStore::default();
    let tokens = process(&store);
    store.fault(StoreFault::Hanging);
    let began = Instant::now();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { got(&tokens, PARTS).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), None);
    }
    let most = TIMEOUT + Duration::from_millis(1);
    assert!(began.elapsed() <= most, "{:?}", began.elapsed());
    store.fault(StoreFault::None);
    // A hundred failures are one: the pause is the first one.
    tokio::time::advance(FIRST_PAUSE).await;
    assert_eq!(got(&tokens, PARTS).await, None);
    assert!(tokens.is_available());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_has_failed() {
    let store = ScriptedStore::default();
    let tokens = process(&store);
    store.fault(StoreFault::Panicking);
    assert_eq!(got(&tokens, PARTS).await, None);
    assert!(!tokens.is_available());
    store.fault(StoreFault::None);
    tokio::time::advance(FIRST_PAUSE).await;
    tokens.put(PARTS, b"token", HOUR).await;
    assert_eq!(got(&tokens, PARTS).await.as_deref(), Some("token"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_flaps_answers_whenever_it_is_asked_while_up() {
    let (log, _guard) = Log::start();
    let store = ScriptedStore::default();
    let tokens = process(&store);
    for round in 0..20 {
        store.fault(StoreFault::Down);
        assert_eq!(got(&tokens, PARTS).await, None);
        store.fault(StoreFault::None);
        assert_eq!(got(&tokens, PARTS).await, None);
        // Each outage is a first one.
        tokio::time::advance(FIRST_PAUSE).await;
        tokens.put(PARTS, b"token", HOUR).await;
        let found = got(&tokens, PARTS).await;
        assert_eq!(found.as_deref(), Some("token"), "{round}");
    }
    assert_eq!(log.lines().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn one_process_has_the_claim_until_it_gives_it_up() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    let Claim::Ours(guard) = one.claim(PARTS, CLAIM_TIME).await else {
        panic!("nobody else was there");
    };
    assert!(is_theirs(&two.claim(PARTS, CLAIM_TIME).await));
    assert!(
        is_theirs(&one.claim(PARTS, CLAIM_TIME).await),
        "another task"
    );
    assert!(is_ours(&two.claim(&[b"other"], CLAIM_TIME).await));
    guard.release().await;
    let second = two.claim(PARTS, CLAIM_TIME).await;
    assert!(is_ours(&second));
    assert!(is_theirs(&one.claim(PARTS, CLAIM_TIME).await));

    // One that is dropped is given up by a task of its own.
    drop(second);
    tokio::task::yield_now().await;
    assert!(is_ours(&one.claim(PARTS, CLAIM_TIME).await));
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_blocks_nobody_for_longer_than_a_claim_lasts() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    std::mem::forget(one.claim(PARTS, CLAIM_TIME).await);
    tokio::time::advance(CLAIM_TIME - Duration::from_millis(1)).await;
    assert!(is_theirs(&two.claim(PARTS, CLAIM_TIME).await));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(is_ours(&two.claim(PARTS, CLAIM_TIME).await));
}

#[tokio::test(start_paused = true)]
async fn a_late_release_does_not_take_the_claim_of_the_next_one() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    let Claim::Ours(late) = one.claim(PARTS, CLAIM_TIME).await else {
        panic!("nobody else was there");
    };
    tokio::time::advance(CLAIM_TIME).await;
    let _held = two.claim(PARTS, CLAIM_TIME).await;
    late.release().await;
    assert!(is_theirs(&one.claim(PARTS, CLAIM_TIME).await));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_tasks_of_several_processes_do_the_work_once() {
    let store = ScriptedStore::default();
    let work = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (tokens, work) = (process(&store), Arc::clone(&work));
            tokio::spawn(async move {
                match tokens.turn(PARTS, HOUR, read).await {
                    Turn::Found(found) => found,
                    Turn::Ours(guard) => {
                        work.fetch_add(1, Ordering::SeqCst);
                        sleep(Duration::from_secs(3)).await;
                        tokens.put(PARTS, b"token", HOUR).await;
                        guard.release().await;
                        "token".into()
                    }
                    Turn::Alone => "alone".into(),
                }
            })
        })
        .collect();
    let began = Instant::now();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "token");
    }
    assert_eq!(work.load(Ordering::SeqCst), 1);
    let most = Duration::from_secs(3) + LONGEST_LOOK + Duration::from_millis(10);
    assert!(began.elapsed() <= most, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_put_between_look_and_claim_is_not_missed() {
    let store = ScriptedStore::default();
    let tokens = SharedTokens::new(Racing(store.clone()), SealingKeys::new(OLD).unwrap());
    let turn = tokens.turn(PARTS, HOUR, read).await;
    assert!(matches!(turn, Turn::Found(found) if found == "theirs"));
    assert_eq!(store.calls(), ["get", "put", "claim", "get", "release"]);
}

#[tokio::test(start_paused = true)]
async fn the_next_one_takes_over_when_the_work_fails() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    let Claim::Ours(guard) = one.claim(PARTS, CLAIM_TIME).await else {
        panic!("nobody else was there");
    };
    let began = Instant::now();
    let waiting = tokio::spawn(async move { two.turn(PARTS, HOUR, read).await });
    sleep(Duration::from_secs(1)).await;
    guard.release().await;
    assert!(matches!(waiting.await.unwrap(), Turn::Ours(_)));
    assert!(began.elapsed() <= Duration::from_secs(1) + LONGEST_LOOK + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_and_a_claim_that_expires_is_taken_over() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    std::mem::forget(one.claim(PARTS, CLAIM_TIME).await);
    let began = Instant::now();
    let turn = two.turn(PARTS, Duration::from_secs(2), read).await;
    assert!(matches!(turn, Turn::Alone));
    assert!(began.elapsed() <= Duration::from_millis(2010));
    assert!(began.elapsed() >= Duration::from_secs(2));
    let turn = two.turn(PARTS, Duration::ZERO, read).await;
    assert!(matches!(turn, Turn::Alone));
    let turn = two.turn(PARTS, HOUR, read).await;
    assert!(matches!(turn, Turn::Ours(_)));
    assert!(began.elapsed() <= CLAIM_TIME + LONGEST_LOOK);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_suit_is_waited_past() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    one.put(PARTS, b"refused", HOUR).await;
    let Claim::Ours(guard) = one.claim(PARTS, CLAIM_TIME).await else {
        panic!("nobody else was there");
    };
    let newer = |text: &[u8]| read(text).filter(|text| text != "refused");
    let waiting = tokio::spawn(async move { two.turn(PARTS, HOUR, newer).await });
    sleep(Duration::from_secs(1)).await;
    one.put(PARTS, b"newer", HOUR).await;
    guard.release().await;
    let turn = waiting.await.unwrap();
    assert!(matches!(turn, Turn::Found(found) if found == "newer"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_the_store_goes_down_goes_on_alone() {
    let store = ScriptedStore::default();
    let (one, two) = (process(&store), process(&store));
    let _held = one.claim(PARTS, CLAIM_TIME).await;
    let waiting = tokio::spawn(async move { two.turn(PARTS, HOUR, read).await });
    sleep(Duration::from_secs(1)).await;
    store.fault(StoreFault::Hanging);
    let began = Instant::now();
    assert!(matches!(waiting.await.unwrap(), Turn::Alone));
    assert!(began.elapsed() <= LONGEST_LOOK + TIMEOUT + Duration::from_millis(10));
}
