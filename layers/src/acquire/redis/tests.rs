//! Shared tokens in a real Redis: what stands there, and what its faults cost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::ExposeSecret as _;
use tokio::time::{Instant, advance, pause, resume};

use super::server::{Server, with_redis};
use super::*;
use crate::acquire::shared::{Claim, Turn};
use crate::acquire::{SealingKeys, SharedTokens};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const TOKEN: &[u8] = b"eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiJhbGljZSJ9.c2lnbmF0dXJl";
const PARTS: &[&[u8]] = &[b"alice@contoso.example", b"api://downstream/.default"];
const HOUR: Duration = Duration::from_secs(3600);

/// One process, more patient than usual: a busy machine is no fault.
fn process(server: &Server) -> SharedTokens {
    let store = RedisStore::connect(&server.url()).unwrap();
    let tokens = SharedTokens::new(store, SealingKeys::new(SECRET).unwrap());
    tokens.timeout(Duration::from_secs(5))
}

async fn got(tokens: &SharedTokens) -> Option<Vec<u8>> {
    let text = tokens.get(PARTS).await?;
    Some(text.expose_secret().to_vec())
}

/// Lets the longest pause pass.
async fn later() {
    pause();
    advance(Duration::from_secs(30)).await;
    resume();
}

/// Whatever happens to the server, an operation costs little and finds nothing.
async fn everything_is_quick_and_harmless(tokens: &SharedTokens, most: Duration) {
    let began = Instant::now();
    assert_eq!(got(tokens).await, None);
    tokens.put(PARTS, TOKEN, HOUR).await;
    tokens.remove(PARTS).await;
    assert!(matches!(
        tokens.claim(PARTS, Duration::from_secs(15)).await,
        Claim::Unknown
    ));
    let turn = tokens.turn(PARTS, HOUR, |_| Some(())).await;
    assert!(matches!(turn, Turn::Alone));
    assert!(began.elapsed() < most, "{:?}", began.elapsed());
    assert!(!tokens.is_available());
}

#[tokio::test]
async fn a_dump_of_redis_tells_neither_tokens_nor_users_nor_scopes() {
    with_redis("sealed", &[], async |server| {
        server.start().await;
        let (one, two) = (process(server), process(server));
        one.put(PARTS, TOKEN, HOUR).await;
        let _claim = one.claim(PARTS, Duration::from_secs(15)).await;
        assert_eq!(got(&two).await.as_deref(), Some(TOKEN));

        let mut raw = server.connection().await;
        let all = redis::cmd("KEYS").arg("*").query_async(&mut raw).await;
        let all: Vec<String> = all.unwrap();
        assert_eq!(all.len(), 2, "{all:?}");
        let mut dump = HashMap::new();
        for key in all {
            let value = redis::cmd("GET").arg(&key).query_async(&mut raw).await;
            let value: Vec<u8> = value.unwrap();
            assert!(key.starts_with("tower-bearer:"), "{key}");
            dump.insert(key, value);
        }
        let seen: Vec<u8> = dump
            .into_iter()
            .flat_map(|(key, value)| [key.into_bytes(), value].concat())
            .collect();
        let mut secrets: Vec<&[u8]> = PARTS.to_vec();
        secrets.extend(TOKEN.split(|byte| *byte == b'.'));
        secrets.extend([SECRET, b"alice", b"downstream"]);
        for secret in secrets {
            let part = &secret[..secret.len().min(6)];
            assert!(!seen.windows(part.len()).any(|window| window == part));
        }
    })
    .await;
}

#[tokio::test]
async fn killed_and_restarted_in_the_middle() {
    with_redis("killed", &[], async |server| {
        server.start().await;
        let tokens = process(server);
        tokens.put(PARTS, TOKEN, HOUR).await;
        assert!(got(&tokens).await.is_some());

        server.kill().await;
        everything_is_quick_and_harmless(&tokens, Duration::from_secs(3)).await;
        later().await;
        everything_is_quick_and_harmless(&tokens, Duration::from_secs(3)).await;

        server.start().await;
        later().await;
        // What it held is gone, and what is put from now on is there.
        assert_eq!(got(&tokens).await, None);
        assert!(tokens.is_available());
        tokens.put(PARTS, TOKEN, HOUR).await;
        assert!(got(&tokens).await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_timeout_and_heals() {
    with_redis("stopped", &[], async |server| {
        server.start().await;
        let tokens = process(server);
        tokens.put(PARTS, TOKEN, HOUR).await;
        assert!(got(&tokens).await.is_some());

        server.stop().await;
        let hasty = tokens.clone().timeout(Duration::from_millis(200));
        let began = Instant::now();
        assert_eq!(got(&hasty).await, None);
        assert!(began.elapsed() >= Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(3));
        everything_is_quick_and_harmless(&tokens, Duration::from_secs(3)).await;

        server.resume().await;
        later().await;
        assert_eq!(got(&tokens).await.as_deref(), Some(TOKEN));
        assert!(tokens.is_available());
    })
    .await;
}

#[tokio::test]
async fn not_there_at_the_start_is_no_error_and_it_is_found_later() {
    with_redis("late", &[], async |server| {
        let tokens = process(server);
        everything_is_quick_and_harmless(&tokens, Duration::from_secs(3)).await;
        server.start().await;
        later().await;
        tokens.put(PARTS, TOKEN, HOUR).await;
        assert_eq!(got(&tokens).await.as_deref(), Some(TOKEN));
    })
    .await;
}

#[tokio::test]
async fn two_processes_do_the_work_once() {
    with_redis("claims", &[], async |server| {
        server.start().await;
        let work = Arc::new(AtomicUsize::new(0));
        let processes = [process(server), process(server)];
        let tasks: Vec<_> = (0..40)
            .map(|n| {
                let (tokens, work) = (processes[n % 2].clone(), Arc::clone(&work));
                tokio::spawn(async move {
                    match tokens.turn(PARTS, HOUR, |text| Some(text.to_vec())).await {
                        Turn::Found(found) => found,
                        Turn::Ours(guard) => {
                            work.fetch_add(1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            tokens.put(PARTS, TOKEN, HOUR).await;
                            guard.release().await;
                            TOKEN.to_vec()
                        }
                        Turn::Alone => Vec::new(),
                    }
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), TOKEN);
        }
        assert_eq!(work.load(Ordering::SeqCst), 1);
    })
    .await;
}
