//! A token that was verified before: what is not checked again, and what is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Response;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::jwks::KeyState;
use tower_bearer::{Algorithm, AuthorityBuilder, Principal, ValidateBearerLayer};

use crate::board::{Board, Signer, api, authority, published, status};
use crate::support::{Body, NOW, World, hello, request};

#[tokio::test(start_paused = true)]
async fn withdrawn_key_ends_the_tokens_that_it_verified() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let (old, new) = (Signer::new(), Signer::new());
    board.publish(&[("old", &old), ("new", &new)]);
    let service = ServiceBuilder::new()
        .layer(api("https://a", &board, &clock).protect())
        .service(service_fn(hello));
    let by_old = old.token("old", "https://a", &json!({}));
    let by_new = new.token("new", "https://a", &json!({}));
    for _ in 0..3 {
        assert_eq!(status(&service, &by_old).await, 200);
        assert_eq!(status(&service, &by_new).await, 200);
    }
    board.publish(&[("new", &new)]);
    // An unknown key is what makes the change known at once.
    tokio::time::advance(Duration::from_secs(31)).await;
    let unknown = new.token("unknown", "https://a", &json!({}));
    assert_eq!(status(&service, &unknown).await, 401);
    assert_eq!(status(&service, &by_old).await, 401);
    assert_eq!(status(&service, &by_new).await, 200);
    assert_eq!(board.fetches.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn outage_beyond_the_bound_ends_them_too_and_the_way_back_is_short() {
    let (board, clock, signer) = published();
    let authority = AuthorityBuilder::issuer("https://a", [Algorithm::Es256])
        .clock(clock.clone())
        .key_source(board.clone())
        .last_known_good(Duration::from_secs(3600))
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(authority.resource("api://x").unwrap().protect())
        .service(service_fn(hello));
    let token = signer.token("a", "https://a", &json!({}));
    let state = || authority.key_status()[0].state;
    assert_eq!(state(), KeyState::Missing);
    assert_eq!(status(&service, &token).await, 200);
    let fresh = authority.key_status().remove(0);
    assert_eq!(fresh.issuer, "https://a");
    assert_eq!(
        (fresh.state, fresh.keys, fresh.failing),
        (KeyState::Fresh, 1, false)
    );
    assert!(fresh.cooling_down);
    board.take_down();
    tokio::time::advance(Duration::from_secs(3599)).await;
    assert_eq!(status(&service, &token).await, 200, "the last known keys");
    assert_eq!(state(), KeyState::Stale);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status(&service, &token).await, 503);
    assert_eq!(state(), KeyState::Missing);
    assert!(authority.key_status()[0].failing);
    board.publish(&[("a", &signer)]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status(&service, &token).await, 200);
    assert_eq!(state(), KeyState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_due_yet_are_no_outage() {
    let (board, clock, signer) = published();
    let authority = AuthorityBuilder::issuer("https://a", [Algorithm::Es256])
        .clock(clock.clone())
        .key_source(board.clone())
        .max_key_age(Duration::from_secs(3600))
        .last_known_good(Duration::ZERO)
        .build()
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(authority.resource("api://x").unwrap().protect())
        .service(service_fn(hello));
    let token = signer.token("a", "https://a", &json!({}));
    assert_eq!(status(&service, &token).await, 200);
    board.take_down();
    tokio::time::advance(Duration::from_secs(3200)).await;
    assert_eq!(status(&service, &token).await, 200);
    assert_eq!(
        board.fetches.load(Ordering::SeqCst),
        1,
        "up to 24 h when asked for"
    );
    tokio::time::advance(Duration::from_secs(800)).await;
    assert_eq!(status(&service, &token).await, 503);
}

#[tokio::test]
async fn two_layers_share_nothing() {
    let (board, clock, signer) = published();
    let authority = authority("https://a", &board, &clock);
    let token = signer.token("a", "https://a", &json!({}));
    let service = |audience: &str| {
        ServiceBuilder::new()
            .layer(authority.resource(audience).unwrap().protect())
            .service(service_fn(hello))
    };
    let (mine, other) = (service("api://x"), service("api://y"));
    for _ in 0..3 {
        assert_eq!(status(&mine, &token).await, 200);
        assert_eq!(status(&other, &token).await, 401);
    }
}

#[tokio::test]
async fn only_what_was_verified_is_remembered() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(hello));
    let good = world.token(json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    for _ in 0..2 {
        assert_eq!(status(&service, &forged).await, 401);
        assert_eq!(status(&service, &good).await, 200);
    }
}

#[tokio::test]
async fn every_request_has_its_own_caller() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(ValidateBearerLayer::new(&world.api).cached_tokens(2))
        .service(service_fn(hello));
    let names: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
    let tokens: Vec<String> = names
        .iter()
        .map(|name| world.token(json!({"oid": name})))
        .collect();
    for _ in 0..3 {
        for (name, token) in names.iter().zip(&tokens) {
            let response = service.clone().oneshot(request(token)).await.unwrap();
            let body = http_body_util::BodyExt::collect(response.into_body()).await;
            assert_eq!(body.unwrap().to_bytes(), name.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_remembered_caller_shows_all_claims_and_no_token() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(async |request: http::Request<Body>| {
            let caller = request.extensions().get::<Principal>().unwrap();
            let shown = format!("{caller:?} {request:?}");
            let body = format!("{} {shown}", caller.claim("name").unwrap());
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(body)))
        }));
    let token = world.token(json!({"name": "Alice"}));
    let signature = token.rsplit_once('.').unwrap().1;
    for _ in 0..2 {
        let response = service.clone().oneshot(request(&token)).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        let body = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
        assert!(body.starts_with("\"Alice\""), "{body}");
        assert!(!body.contains(signature), "{body}");
    }
}
