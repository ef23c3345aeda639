//! Several middle tiers share tokens through a real Redis, and go on without it.

use std::time::Duration;

use ::redis::cmd;
use futures_util::future::join_all;
use http::Request;
use serde_json::json;
use tower::{ServiceExt as _, service_fn};
use tower_bearer::{
    BoxError, CloneBody, ConfidentialClient, Credential, LongRunning, OnBehalfOfError,
    OnBehalfOfErrorKind, OnBehalfOfExt as _, Principal, RedisStore, SealingKeys, SharedTokens,
    Target, TokenSource,
};
use wiremock::ResponseTemplate;

use crate::redis_server::{Server, with_redis};
use crate::scripted::skip;
use crate::support::*;

const NEXT: &str = "https://next.example";
const SCOPE: &str = "api://next/.default";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdeF";

/// As one more process of the same service has it: a cache, a connection and a view of Redis of its own.
fn process(world: &World, server: &Server) -> ConfidentialClient {
    let store = RedisStore::connect(&server.url()).unwrap();
    let tokens = SharedTokens::new(store, SealingKeys::new(SECRET).unwrap());
    // No machine is too slow for a good answer; a dead Redis answers at once.
    let tokens = tokens.timeout(Duration::from_secs(5));
    let credential = Credential::secret("hush").unwrap();
    let client = world.authority.client(CLIENT, credential).unwrap();
    client.shared(tokens)
}

async fn send(
    client: &ConfidentialClient,
    next: &NextTier,
    name: impl FnOnce(Request<Body>) -> Request<Body>,
) -> Result<String, BoxError> {
    let tier = next.clone();
    let layer = client.on_behalf_of([SCOPE], Target::origin(NEXT)?)?;
    let service = layer
        .replay(CloneBody)
        .wrap(service_fn(move |request| tier.answer(request)));
    let request = Request::get(format!("{NEXT}/x")).body(Body::default())?;
    service.oneshot(name(request)).await?;
    Ok(next.bearers().pop().unwrap().replace("Bearer ", ""))
}

async fn call(client: &ConfidentialClient, caller: &Principal) -> Result<String, BoxError> {
    let next = NextTier::new(&[(200, "")]);
    send(client, &next, |request| request.on_behalf_of(caller)).await
}

async fn call_in(client: &ConfidentialClient, session: &LongRunning) -> Result<String, BoxError> {
    let next = NextTier::new(&[(200, "")]);
    send(client, &next, |request| request.in_long_running(session)).await
}

#[tokio::test]
async fn of_many_processes_one_asks_and_a_new_one_need_not() {
    with_redis("processes", &[], async |server| {
        server.start().await;
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued("T")).await;
        let alice = world.principal(json!({}));
        let processes: Vec<_> = (0..8).map(|_| process(&world, server)).collect();
        let calls = processes
            .iter()
            .flat_map(|client| [client; 10])
            .map(|client| call(client, &alice));
        for outcome in join_all(calls).await {
            assert_eq!(outcome.unwrap(), "T");
        }
        assert_eq!(endpoint.count().await, 1);
        // As after a restart.
        let next = NextTier::new(&[(200, "")]);
        let restarted = process(&world, server);
        for _ in 0..2 {
            let token = send(&restarted, &next, |request| request.on_behalf_of(&alice)).await;
            assert_eq!(token.unwrap(), "T");
        }
        assert_eq!(next.sources(), [TokenSource::Shared, TokenSource::Memory]);
        assert_eq!(endpoint.count().await, 1);
        let bob = world.principal(json!({"oid": "bob"}));
        call(&processes[0], &bob).await.unwrap();
        assert_eq!(endpoint.count().await, 2, "somebody else");
    })
    .await;
}

#[tokio::test]
async fn what_one_process_obtained_for_a_demand_answers_it_in_the_others() {
    with_redis("demands", &[], async |server| {
        server.start().await;
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("acrs", issued("for-c1")).await;
        endpoint.on("jwt-bearer", issued("plain")).await;
        let alice = world.principal(json!({}));
        let processes = [process(&world, server), process(&world, server)];
        for process in &processes {
            assert_eq!(call(process, &alice).await.unwrap(), "plain");
        }
        let demands: &'static str = format!("Bearer claims=\"{C1_BASE64}\"").leak();
        for process in &processes {
            let next = NextTier::new(&[(401, demands), (200, "")]);
            let token = send(process, &next, |request| request.on_behalf_of(&alice)).await;
            assert_eq!(token.unwrap(), "for-c1");
        }
        assert_eq!(endpoint.count().await, 2, "one plain, one with the claims");
    })
    .await;
}

#[tokio::test]
async fn a_refused_token_is_found_by_nobody_again() {
    with_redis("refused", &[], async |server| {
        server.start().await;
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on_first(1, "jwt-bearer", issued("bad")).await;
        endpoint.on("jwt-bearer", issued("good")).await;
        let alice = world.principal(json!({}));
        let (one, two) = (process(&world, server), process(&world, server));
        let refuses = NextTier::new(&[(401, "")]);
        let layer = one.on_behalf_of([SCOPE], Target::origin(NEXT).unwrap());
        let service = layer
            .unwrap()
            .wrap(service_fn(move |request| refuses.answer(request)));
        let request = Request::get(format!("{NEXT}/x")).body(Body::default());
        let error = service.oneshot(request.unwrap().on_behalf_of(&alice)).await;
        let error = error.unwrap_err();
        let error = error.downcast_ref::<OnBehalfOfError>().unwrap();
        assert_eq!(error.kind(), OnBehalfOfErrorKind::TokenRefused);
        eventually(async || (call(&two, &alice).await.unwrap() == "good").then_some(())).await;
        assert_eq!(call(&one, &alice).await.unwrap(), "good");
        assert_eq!(endpoint.count().await, 2);
    })
    .await;
}

#[tokio::test]
async fn redis_may_die_in_the_middle_and_come_back() {
    with_redis("restart", &[], async |server| {
        server.start().await;
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued("T")).await;
        let user = |name: &str| world.principal(json!({"oid": name}));
        let (one, two) = (process(&world, server), process(&world, server));
        call(&one, &user("alice")).await.unwrap();
        assert_eq!(endpoint.count().await, 1);

        server.kill().await;
        call(&one, &user("alice")).await.unwrap();
        assert_eq!(endpoint.count().await, 1, "known here");
        for requests in [2, 3] {
            let client = if requests == 2 { &one } else { &two };
            call(client, &user("bob")).await.unwrap();
            assert_eq!(endpoint.count().await, requests, "each by itself");
        }

        server.start().await;
        skip(Duration::from_secs(40)).await;
        call(&one, &user("carol")).await.unwrap();
        eventually(async || {
            skip(Duration::from_secs(40)).await;
            let before = endpoint.count().await;
            let name = format!("user-{before}");
            call(&one, &user(&name)).await.unwrap();
            call(&two, &user(&name)).await.unwrap();
            (endpoint.count().await == before + 1).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn redis_that_is_not_there_at_all_stops_nobody() {
    with_redis("absent", &[], async |server| {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued("T")).await;
        let client = process(&world, server);
        let alice = world.principal(json!({}));
        for outcome in join_all((0..20).map(|_| call(&client, &alice))).await {
            assert_eq!(outcome.unwrap(), "T");
        }
        assert_eq!(endpoint.count().await, 1);
    })
    .await;
}

#[tokio::test]
async fn redis_learns_neither_tokens_nor_users_nor_scopes() {
    with_redis("secrecy", &[], async |server| {
        server.start().await;
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        let secret = "the-very-token";
        endpoint
            .on(
                "offline_access",
                ResponseTemplate::new(200).set_body_json(json!({
                    "token_type": "Bearer", "access_token": secret, "expires_in": 3600,
                    "refresh_token": "the-refresh-token",
                })),
            )
            .await;
        endpoint.on("jwt-bearer", issued(secret)).await;
        let alice = world.principal(json!({}));
        let client = process(&world, server);
        call(&client, &alice).await.unwrap();
        let session = client.begin_long_running(&alice, [SCOPE]).await.unwrap();
        call_in(&client, &session).await.unwrap();

        let mut connection = server.connection().await;
        let keys: Vec<String> = cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(keys.len(), 3, "two tokens and a session");
        for key in keys {
            let value: Vec<u8> = cmd("GET")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            let text = format!("{key} {}", String::from_utf8_lossy(&value));
            for known in [
                secret,
                "the-refresh-token",
                "alice",
                "api://next",
                TENANT,
                CLIENT,
                session.id(),
                "hush",
            ] {
                assert!(!text.contains(known), "{known}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_goes_on_in_another_process_and_its_refresh_token_is_used_once() {
    with_redis("sessions", &[], async |server| {
        server.start().await;
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        let issued_with = |token: &str, refresh_token: &str| {
            ResponseTemplate::new(200).set_body_json(json!({
                "token_type": "Bearer", "access_token": token, "expires_in": 3600,
                "refresh_token": refresh_token,
            }))
        };
        endpoint.on("assertion", issued_with("T0", "R0")).await;
        for n in 0..3 {
            let answer = issued_with(&format!("T{}", n + 1), &format!("R{}", n + 1));
            let part = format!("refresh_token=R{n}");
            endpoint.on_first(1, &part, answer).await;
        }
        let (one, two) = (process(&world, server), process(&world, server));
        let begun = one
            .begin_long_running(&world.principal(json!({})), [SCOPE])
            .await
            .unwrap();
        let resumed = two.resume_long_running(begun.id()).await.unwrap().unwrap();
        assert_eq!(call_in(&two, &resumed).await.unwrap(), "T0");
        for (hours, token) in [(2, "T1"), (4, "T2"), (6, "T3")] {
            world.clock.set(NOW + hours * 3600);
            let (first, second) = tokio::join!(call_in(&one, &begun), call_in(&two, &resumed));
            assert_eq!(
                (first.unwrap(), second.unwrap()),
                (token.into(), token.into())
            );
        }
        assert_eq!(endpoint.count().await, 4);

        assert!(
            two.resume_long_running("no such id")
                .await
                .unwrap()
                .is_none()
        );
        let id = begun.id().to_owned();
        one.end_long_running(&begun).await.unwrap();
        assert!(two.resume_long_running(&id).await.unwrap().is_none());
    })
    .await;
}
