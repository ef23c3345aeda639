//! Authorities side by side: none decides for another.

use std::sync::atomic::Ordering;

use http::Response;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{AuthorityBuilder, Principal};

use crate::board::{Board, Signer, api, published, status};
use crate::support::{Body, NOW, Published, TENANT, World, challenge, hello, request};

#[tokio::test]
async fn external_id_beside_another_authority_is_told_by_the_issuer() {
    let (board, clock, signer) = published();
    let external = AuthorityBuilder::external_id("https://t.ciamlogin.com", TENANT)
        .clock(clock.clone())
        .key_source(Published);
    let external = external.build().unwrap().resource("api://x").unwrap();
    let other = api("https://a", &board, &clock);
    let token = signer.token("a", "https://a", &json!({"tid": TENANT}));
    for both in [
        other.clone().or(external.clone()).unwrap(),
        external.or(other).unwrap(),
    ] {
        let service = ServiceBuilder::new()
            .layer(both.protect())
            .service(service_fn(hello));
        assert_eq!(status(&service, &token).await, 200);
    }
}

#[tokio::test]
async fn longest_token_is_a_matter_of_its_own_resource() {
    let clock = ManualClock::new(NOW);
    let board = Board::default();
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
    let short = api("https://short", &board, &clock).max_token_bytes(500);
    let long = api("https://long", &board, &clock).max_token_bytes(2000);
    for both in [
        short.clone().or(long.clone()).unwrap(),
        long.or(short).unwrap(),
    ] {
        let service = ServiceBuilder::new()
            .layer(both.protect())
            .service(service_fn(hello));
        for (issuer, pad, expected) in [
            ("https://short", 0, 200),
            ("https://short", 500, 401),
            ("https://long", 500, 200),
            ("https://long", 2000, 400),
        ] {
            let token = signer.token("a", issuer, &json!({"pad": "x".repeat(pad)}));
            assert_eq!(status(&service, &token).await, expected, "{issuer} {pad}");
        }
    }
}

#[tokio::test]
async fn authorities_side_by_side_keep_their_keys_apart() {
    let clock = ManualClock::new(NOW);
    let (one, two) = (Board::default(), Board::default());
    let (of_one, of_two) = (Signer::new(), Signer::new());
    one.publish(&[("same", &of_one)]);
    two.publish(&[("same", &of_two)]);
    let both = api("https://one", &one, &clock)
        .or(api("https://two", &two, &clock))
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(both.protect())
        .service(service_fn(hello));
    let rows = [
        (&of_one, "https://one", 200),
        (&of_two, "https://two", 200),
        (&of_one, "https://two", 401),
        (&of_two, "https://one", 401),
        (&of_one, "https://three", 401),
    ]
    .map(|(signer, issuer, status)| (signer.token("same", issuer, &json!({})), status));
    for _ in 0..2 {
        for (token, expected) in &rows {
            assert_eq!(status(&service, token).await, *expected);
        }
    }
    for board in [&one, &two] {
        assert_eq!(board.fetches.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn one_authority_that_is_down_does_not_touch_the_other() {
    let clock = ManualClock::new(NOW);
    let (up, down) = (Board::default(), Board::default());
    let signer = Signer::new();
    up.publish(&[("a", &signer)]);
    let both = api("https://down", &down, &clock)
        .or(api("https://up", &up, &clock))
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(both.protect())
        .service(service_fn(hello));
    let of_up = signer.token("a", "https://up", &json!({}));
    let of_down = signer.token("a", "https://down", &json!({}));
    for _ in 0..2 {
        assert_eq!(status(&service, &of_down).await, 503);
        assert_eq!(status(&service, &of_up).await, 200);
    }
}

#[tokio::test]
async fn a_demand_is_printed_for_the_authority_that_the_caller_knows() {
    let world = World::new();
    let clock = ManualClock::new(NOW);
    let board = Board::default();
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
    let both = world
        .api
        .clone()
        .or(api("https://a", &board, &clock))
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(both.protect())
        .service(service_fn(async |request: http::Request<Body>| {
            let caller = request.extensions().get::<Principal>().unwrap();
            caller.require_scope("write")?;
            Ok::<_, tower_bearer::ChallengeRequired>(Response::new(Body::default()))
        }));
    let rows = [
        (world.token(json!({})), format!("realm=\"{}\"", TENANT)),
        (
            signer.token("a", "https://a", &json!({})),
            "realm=\"api://x\"".to_owned(),
        ),
    ];
    for (token, realm) in rows {
        let response = service.clone().oneshot(request(&token)).await.unwrap();
        assert_eq!(response.status(), 403);
        assert!(
            challenge(&response).contains(&realm),
            "{}",
            challenge(&response)
        );
    }
    let anonymous = http::Request::get("/x").body(Body::default()).unwrap();
    let response = service.oneshot(anonymous).await.unwrap();
    assert_eq!(challenge(&response), format!("Bearer realm=\"{}\"", TENANT));
}
