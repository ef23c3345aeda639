//! A token that was verified before: what is not checked again, and what is.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use http::Response;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::jwks::{FetchError, FetchFuture, Fetched, KeySet, KeySource, KeyState};
use tower_bearer::{
    Algorithm, Authority, AuthorityBuilder, Principal, PropagateChallengeLayer, RequireScopeLayer,
    Resource, Revoked, ValidateBearerLayer,
};

use crate::support::{Body, NOW, Published, TENANT, World, challenge, hello, request};

/// Keys that a test changes.
#[derive(Clone, Default)]
struct Board {
    jwks: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicUsize>,
}

impl Board {
    fn publish(&self, kids: &[(&str, &Signer)]) {
        let keys: Vec<Value> = kids.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
        *self.jwks.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    fn take_down(&self) {
        *self.jwks.lock().unwrap() = None;
    }
}

impl KeySource for Board {
    fn fetch(&self) -> FetchFuture<'_> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let published = self.jwks.lock().unwrap().clone();
        Box::pin(async move {
            let text = published.ok_or(FetchError::Unreachable)?;
            Ok(Fetched::keys(KeySet::from_jwks(text.as_bytes()).unwrap()))
        })
    }
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        let point = self.0.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
    }

    fn token(&self, kid: &str, issuer: &str, changes: &Value) -> String {
        let mut claims = json!({
            "iss": issuer, "aud": "api://x", "sub": "s", "oid": "alice", "scp": "read", "iat": NOW, "exp": NOW + 3600,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({"alg": "ES256", "kid": kid});
        let message = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.0.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", B64.encode(signature))
    }
}

fn authority(issuer: &str, board: &Board, clock: &ManualClock) -> Authority {
    AuthorityBuilder::issuer(issuer, [Algorithm::Es256])
        .clock(clock.clone())
        .key_source(board.clone())
        .build()
        .unwrap()
}

fn api(issuer: &str, board: &Board, clock: &ManualClock) -> Resource {
    authority(issuer, board, clock).resource("api://x").unwrap()
}

async fn status<S>(service: &S, token: &str) -> u16
where
    S: Service<http::Request<Body>, Response = Response<Body>> + Clone,
    S::Error: std::fmt::Debug,
{
    let response = service.clone().oneshot(request(token)).await.unwrap();
    response.status().as_u16()
}

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
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
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
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
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

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_runtime_that_runs_only_from_call_to_call_still_refreshes() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let (old, new) = (Signer::new(), Signer::new());
    board.publish(&[("a", &old)]);
    let api = api("https://a", &board, &clock);
    let token = old.token("a", "https://a", &json!({}));
    let runtime = runtime();
    assert!(runtime.block_on(api.verify(&token)).is_ok());
    board.publish(&[("b", &new)]);
    let refused = (0..6).any(|_| {
        runtime.block_on(async {
            // Time goes by while nobody drives the runtime.
            let mut advance = pin!(tokio::time::advance(Duration::from_secs(600)));
            let _ = futures_util::poll!(&mut advance);
        });
        runtime.block_on(api.verify(&token)).is_err()
    });
    assert!(refused, "withdrawn an hour ago");
}

#[test]
fn a_runtime_that_is_parked_does_not_keep_the_keys_from_another() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let (old, new) = (Signer::new(), Signer::new());
    board.publish(&[("a", &old)]);
    let api = api("https://a", &board, &clock);
    let (by_old, by_new) = (
        old.token("a", "https://a", &json!({})),
        new.token("b", "https://a", &json!({})),
    );
    let parked = runtime();
    assert!(parked.block_on(api.verify(&by_old)).is_ok());
    board.publish(&[("b", &new)]);
    runtime().block_on(async {
        tokio::time::advance(Duration::from_secs(1200)).await;
        assert!(api.verify(&by_new).await.is_ok());
        assert!(api.verify(&by_old).await.is_err(), "withdrawn");
    });
    drop(parked);
}

#[tokio::test]
async fn a_caller_cannot_turn_a_refusal_into_a_200() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .layer(RequireScopeLayer::new("write").unwrap())
        .service(service_fn(hello));
    let call = |method: &str, token: Option<String>| {
        let mut request = http::Request::builder().method(method).uri("/x");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/grpc");
        let service = service.clone();
        async move {
            let response = service
                .oneshot(request.body(Body::default()).unwrap())
                .await;
            response.unwrap().status().as_u16()
        }
    };
    for (token, status) in [
        (None, 401),
        (Some(world.token(json!({"exp": NOW - 3600}))), 401),
        (Some(world.token(json!({}))), 403),
    ] {
        assert_eq!(call("GET", token.clone()).await, status);
        assert_eq!(call("HEAD", token.clone()).await, status);
        assert_eq!(
            call("POST", token).await,
            200,
            "a call of gRPC has its status elsewhere"
        );
    }
}

#[tokio::test]
async fn external_id_beside_another_authority_is_told_by_the_issuer() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
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
async fn two_layers_share_nothing() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
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

#[tokio::test]
async fn revocation_is_asked_each_time() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let signer = Signer::new();
    board.publish(&[("a", &signer)]);
    let api = api("https://a", &board, &clock);
    let revoked: Arc<Mutex<Option<u64>>> = Arc::default();
    let list = Arc::clone(&revoked);
    let validate = ValidateBearerLayer::new(&api).revocations(move |caller: &Principal| {
        let revoked = *list.lock().unwrap();
        revoked.filter(|_| caller.object_id() == Some("alice"))
    });
    let service = ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(&api))
        .layer(validate)
        .service(service_fn(hello));
    let capable = json!({"xms_cc": ["cp1"]});
    let alice = signer.token("a", "https://a", &capable);
    let plain = signer.token("a", "https://a", &json!({}));
    let bob = signer.token("a", "https://a", &json!({"oid": "bob"}));
    for token in [&alice, &plain, &bob] {
        assert_eq!(status(&service, token).await, 200);
    }
    *revoked.lock().unwrap() = Some(NOW + 10);
    let response = service.clone().oneshot(request(&alice)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(challenge(&response).contains("error=\"insufficient_claims\""));
    let response = service.clone().oneshot(request(&plain)).await.unwrap();
    assert!(challenge(&response).contains("error=\"invalid_token\""));
    assert_eq!(status(&service, &bob).await, 200);
    let since = json!({"iat": NOW + 10, "xms_cc": ["cp1"]});
    let renewed = signer.token("a", "https://a", &since);
    assert_eq!(status(&service, &renewed).await, 200);
}

#[tokio::test]
async fn what_cannot_be_told_of_a_revocation_is_503() {
    let world = World::new();
    let token = world.token(json!({}));
    for panics in [false, true] {
        let hook = move |_: &Principal| {
            assert!(!panics, "a hook that panics");
            Revoked::Unknown
        };
        let service = ServiceBuilder::new()
            .layer(ValidateBearerLayer::new(&world.api).revocations(hook))
            .service(service_fn(hello));
        assert_eq!(status(&service, &token).await, 503);
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
