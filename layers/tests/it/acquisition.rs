//! Obtaining tokens while the authority is slow, down, or asks to be left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use serde_json::json;
use tower::{ServiceExt as _, service_fn};
use tower_bearer::{
    AssertionRequest, BoxError, ChallengeRequired, CloneBody, Credential, OnBehalfOfError,
    OnBehalfOfErrorKind, OnBehalfOfExt as _, OnBehalfOfLayer, Principal, RefusalKind, Target,
};
use wiremock::ResponseTemplate;

use crate::scripted::skip;
use crate::support::*;

const NEXT: &str = "https://next.example";

fn layer_with(world: &World, credential: Credential) -> OnBehalfOfLayer {
    let client = world.authority.client(CLIENT, credential).unwrap();
    client
        .on_behalf_of(["api://next/.default"], Target::origin(NEXT).unwrap())
        .unwrap()
}

fn layer(world: &World) -> OnBehalfOfLayer {
    layer_with(world, Credential::secret("hush").unwrap())
}

/// Makes one call for `caller` to a next tier that says which token it got.
async fn call(layer: &OnBehalfOfLayer, caller: &Principal) -> Result<String, BoxError> {
    let next = NextTier::new(&[(200, "")]);
    let tier = next.clone();
    let service = layer.wrap(service_fn(move |request| tier.answer(request)));
    let request = Request::get(format!("{NEXT}/x")).body(Body::default())?;
    service.oneshot(request.on_behalf_of(caller)).await?;
    Ok(next.bearers().remove(0).replace("Bearer ", ""))
}

fn failure(outcome: Result<String, BoxError>) -> (OnBehalfOfErrorKind, Option<u64>) {
    let error = outcome.unwrap_err();
    let error = error.downcast_ref::<OnBehalfOfError>().expect("our error");
    (error.kind(), error.retry_after())
}

fn user(world: &World, name: &str) -> Principal {
    world.principal(json!({"oid": name, "exp": NOW + 90_000}))
}

fn unavailable() -> ResponseTemplate {
    ResponseTemplate::new(503)
}

/// When every token of one hour that was issued at `NOW` is due, and none is near its end.
const DUE: u64 = NOW + 3000;

#[tokio::test]
async fn a_newer_token_is_asked_for_once_while_the_old_one_serves() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("old")).await;
    endpoint.on("jwt-bearer", issued("new")).await;
    let (layer, alice) = (layer(&world), user(&world, "alice"));
    assert_eq!(call(&layer, &alice).await.unwrap(), "old");
    world.clock.set(NOW + 2699);
    assert_eq!(call(&layer, &alice).await.unwrap(), "old");
    assert_eq!(endpoint.count().await, 1, "not yet due");
    world.clock.set(DUE);
    assert_eq!(call(&layer, &alice).await.unwrap(), "old", "nobody waits");
    eventually(async || (call(&layer, &alice).await.unwrap() == "new").then_some(())).await;
    assert_eq!(endpoint.count().await, 2);
}

#[tokio::test]
async fn what_the_authority_says_of_renewal_goes_before_our_own_rule() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let early = json!({
        "token_type": "Bearer", "access_token": "old", "expires_in": 3600, "refresh_in": 1000,
    });
    let early = ResponseTemplate::new(200).set_body_json(early);
    endpoint.on_first(1, "jwt-bearer", early).await;
    endpoint.on("jwt-bearer", issued("new")).await;
    let (layer, alice) = (layer(&world), user(&world, "alice"));
    assert_eq!(call(&layer, &alice).await.unwrap(), "old");
    world.clock.set(NOW + 1000);
    eventually(async || (call(&layer, &alice).await.unwrap() == "new").then_some(())).await;
    assert_eq!(endpoint.count().await, 2);
}

#[tokio::test]
async fn a_renewal_that_fails_is_repeated_later_and_not_with_each_request() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("old")).await;
    endpoint.on("jwt-bearer", unavailable()).await;
    let (layer, alice) = (layer(&world), user(&world, "alice"));
    call(&layer, &alice).await.unwrap();
    for (seconds, requests) in [(0, 2), (29, 2), (30, 3)] {
        world.clock.set(DUE + seconds);
        for served in join_all((0..50).map(|_| call(&layer, &alice))).await {
            assert_eq!(served.unwrap(), "old");
        }
        eventually(async || {
            call(&layer, &alice).await.unwrap();
            (endpoint.count().await == requests).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_renewal_that_wants_the_user_is_told_with_the_next_request() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("old")).await;
    endpoint.on("jwt-bearer", interaction_required(C1)).await;
    let (layer, alice) = (layer(&world), user(&world, "alice"));
    call(&layer, &alice).await.unwrap();
    world.clock.set(DUE);
    let error = eventually(async || call(&layer, &alice).await.err()).await;
    let demand = ChallengeRequired::find(error.as_ref()).expect("a demand");
    assert_eq!(demand.kind(), RefusalKind::InsufficientClaims);
}

#[tokio::test]
async fn a_failing_authority_is_left_alone_but_for_probes_while_tokens_at_hand_serve() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("alices")).await;
    endpoint.on_first(6, "jwt-bearer", unavailable()).await;
    endpoint.on("jwt-bearer", issued("bobs")).await;
    let (layer, alice, bob) = (layer(&world), user(&world, "alice"), user(&world, "bob"));
    call(&layer, &alice).await.unwrap();
    for _ in 0..5 {
        let (kind, _) = failure(call(&layer, &bob).await);
        assert_eq!(kind, OnBehalfOfErrorKind::Unavailable);
    }
    for _ in 0..20 {
        let (kind, wait) = failure(call(&layer, &bob).await);
        assert_eq!(kind, OnBehalfOfErrorKind::Unavailable);
        assert!(wait.is_some_and(|seconds| (1..=2).contains(&seconds)));
    }
    assert_eq!(endpoint.count().await, 6, "open");
    assert_eq!(call(&layer, &alice).await.unwrap(), "alices");

    skip(Duration::from_millis(1300)).await;
    failure(call(&layer, &bob).await);
    assert_eq!(endpoint.count().await, 7, "one probe");
    failure(call(&layer, &bob).await);
    assert_eq!(endpoint.count().await, 7, "open again, for longer");

    skip(Duration::from_millis(2600)).await;
    assert_eq!(call(&layer, &bob).await.unwrap(), "bobs");
    assert_eq!(call(&layer, &user(&world, "carol")).await.unwrap(), "bobs");
}

#[tokio::test]
async fn an_authority_that_cannot_be_reached_is_not_knocked_at_for_ever() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::at(&format!("http://{}", closed.local_addr().unwrap()));
    // Whoever connects is hung up on, and counted.
    let knocks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&knocks);
    tokio::spawn(async move {
        while let Ok((stream, _)) = closed.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    let layer = layer(&world);
    for n in 0..50 {
        let (kind, _) = failure(call(&layer, &user(&world, &n.to_string())).await);
        assert_eq!(kind, OnBehalfOfErrorKind::Unavailable);
    }
    // The HTTP client may try a connection that was closed before it was used once more.
    let knocks = knocks.load(Ordering::SeqCst);
    assert!((5..=10).contains(&knocks), "{knocks}");
}

#[tokio::test]
async fn an_authority_that_hangs_stalls_nobody_who_has_a_token_and_the_others_no_longer_than_the_deadline()
 {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("T")).await;
    let hangs = issued("late").set_delay(Duration::from_secs(3600));
    endpoint.on("jwt-bearer", hangs).await;
    let (layer, alice, bob) = (layer(&world), user(&world, "alice"), user(&world, "bob"));
    call(&layer, &alice).await.unwrap();
    // Alice's token is due: asking for a newer one hangs as well.
    world.clock.set(DUE);
    let waiting = call(&layer, &bob);
    let meanwhile = async {
        for _ in 0..20 {
            assert_eq!(call(&layer, &alice).await.unwrap(), "T");
        }
        eventually(async || (endpoint.count().await == 3).then_some(())).await;
        skip(Duration::from_secs(6)).await;
    };
    let (waited, ()) = tokio::join!(waiting, meanwhile);
    assert_eq!(failure(waited).0, OnBehalfOfErrorKind::Unavailable);
    assert_eq!(call(&layer, &alice).await.unwrap(), "T");
}

#[tokio::test]
async fn a_flapping_authority_costs_only_those_whom_it_failed() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    for _ in 0..10 {
        endpoint.on_first(1, "jwt-bearer", issued("T")).await;
        endpoint.on_first(2, "jwt-bearer", unavailable()).await;
    }
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    let users: Vec<Principal> = (0..30).map(|n| user(&world, &n.to_string())).collect();
    let mut served = [false; 30];
    for _ in 0..4 {
        for (user, had_one) in users.iter().zip(&mut served) {
            let ok = call(&layer, user).await.is_ok();
            assert!(ok || !*had_one, "who has a token is served");
            *had_one |= ok;
        }
    }
    assert_eq!(served, [true; 30]);
    assert_eq!(endpoint.count().await, 30 + 20);
}

#[tokio::test]
async fn the_pause_that_a_failing_authority_asks_for_holds_for_all() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let busy = unavailable().insert_header("retry-after", "30");
    endpoint.on_first(1, "jwt-bearer", busy).await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    let (alice, bob) = (user(&world, "alice"), user(&world, "bob"));
    let (_, wait) = failure(call(&layer, &alice).await);
    assert_eq!(wait, Some(30));
    let (_, wait) = failure(call(&layer, &bob).await);
    assert!(wait.is_some_and(|seconds| (29..=30).contains(&seconds)));
    assert_eq!(endpoint.count().await, 1);
    skip(Duration::from_secs(31)).await;
    assert_eq!(call(&layer, &bob).await.unwrap(), "T");
}

#[tokio::test]
async fn one_who_is_throttled_waits_and_others_do_not() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let throttled = ResponseTemplate::new(429).insert_header("retry-after", "7");
    endpoint.on_first(1, "jwt-bearer", throttled).await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    let (alice, bob) = (user(&world, "alice"), user(&world, "bob"));
    for _ in 0..20 {
        let (kind, wait) = failure(call(&layer, &alice).await);
        assert_eq!(kind, OnBehalfOfErrorKind::Throttled);
        assert!(wait.is_some_and(|seconds| (6..=7).contains(&seconds)));
    }
    assert_eq!(endpoint.count().await, 1);
    assert_eq!(call(&layer, &bob).await.unwrap(), "T");
    skip(Duration::from_secs(8)).await;
    assert_eq!(call(&layer, &alice).await.unwrap(), "T");
}

#[tokio::test]
async fn an_exchange_that_panics_fails_those_who_wait_and_nobody_after() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let credential = Credential::assertion(move |_: AssertionRequest| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            assert!(!first, "a vault's client that panics");
            Ok("assertion".into())
        }
    });
    let (layer, alice) = (layer_with(&world, credential), user(&world, "alice"));
    for outcome in join_all((0..10).map(|_| call(&layer, &alice))).await {
        assert_eq!(failure(outcome).0, OnBehalfOfErrorKind::Unavailable);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(call(&layer, &alice).await.unwrap(), "T");
}

#[tokio::test]
async fn a_token_for_another_api_is_not_exchanged() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    let others = "33333333-2222-3333-4444-555555555555";
    // The audience of the token, all audiences of the API, and whether the API is this client's.
    for (audience, also, ours) in [
        (others, None, false),
        ("api://next", None, false),
        ("api://middle", Some(CLIENT), true),
        ("api://22222222-2222-3333-4444-555555555555", None, true),
    ] {
        let mut resource = world.authority.resource(audience).unwrap();
        if let Some(also) = also {
            resource = resource.audience(also).unwrap();
        }
        let caller = principal_of(&resource, &world.token(json!({"aud": audience})));
        let outcome = call(&layer, &caller).await;
        assert_eq!(outcome.is_ok(), ours, "{audience}");
        if !ours {
            assert_eq!(failure(outcome).0, OnBehalfOfErrorKind::Misconfigured);
            assert_eq!(endpoint.count().await, 0, "{audience}");
        }
    }
}

#[tokio::test]
async fn the_id_of_the_request_goes_to_the_authority_if_it_is_one() {
    let id = "6f1f1ef0-8d3b-4c5a-9a0e-0a1b2c3d4e5f";
    for (name, value, sent) in [
        ("x-correlation-id", id, true),
        ("client-request-id", id, true),
        ("x-correlation-id", "a, b", false),
        ("x-request-id", id, false),
    ] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued("T")).await;
        let next = NextTier::new(&[(200, "")]);
        let service = layer(&world).wrap(service_fn(move |request| next.answer(request)));
        let request = Request::get(format!("{NEXT}/x")).header(name, value);
        let request = request.body(Body::default()).unwrap();
        let request = request.on_behalf_of(&user(&world, "alice"));
        service.oneshot(request).await.unwrap();
        let received = endpoint.server.received_requests().await.unwrap();
        let got = received[0].headers.get("client-request-id");
        assert_eq!(got.is_some_and(|got| got == id), sent, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_renewal_that_hangs_into_the_last_minute_stalls_and_fails_nobody() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("T")).await;
    let hangs = issued("late").set_delay(Duration::from_secs(3600));
    endpoint.on("jwt-bearer", hangs).await;
    let (layer, alice) = (layer(&world), user(&world, "alice"));
    call(&layer, &alice).await.unwrap();
    world.clock.set(DUE);
    assert_eq!(call(&layer, &alice).await.unwrap(), "T");
    eventually(async || (endpoint.count().await == 2).then_some(())).await;
    // Now a request would wait for it, and it fails.
    world.clock.set(NOW + 3570);
    let (waited, ()) = tokio::join!(call(&layer, &alice), skip(Duration::from_secs(6)));
    assert_eq!(waited.unwrap(), "T");
}

#[tokio::test]
async fn a_token_that_was_asked_for_with_claims_is_renewed_with_them() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "acrs", issued("for-c1")).await;
    endpoint.on("acrs", issued("for-c1-again")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let (layer, alice) = (layer(&world), user(&world, "alice"));
    let demands: &'static str = format!("Bearer claims=\"{C1_BASE64}\"").leak();
    let next = NextTier::new(&[(401, demands), (200, "")]);
    let stepping_up = layer
        .clone()
        .replay(CloneBody)
        .wrap(service_fn(move |request| next.answer(request)));
    let request = Request::get(format!("{NEXT}/x"));
    let request = request.body(Body::default()).unwrap();
    stepping_up
        .oneshot(request.on_behalf_of(&alice))
        .await
        .unwrap();
    assert_eq!(call(&layer, &alice).await.unwrap(), "for-c1");
    world.clock.set(DUE);
    let renewed = async || (call(&layer, &alice).await.unwrap() == "for-c1-again").then_some(());
    eventually(renewed).await;
    assert_eq!(endpoint.count().await, 3);
}

#[tokio::test]
async fn any_number_of_throttled_users_costs_the_others_nothing() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let throttled = ResponseTemplate::new(429).insert_header("retry-after", "7");
    endpoint.on_first(20, "jwt-bearer", throttled).await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    for n in 0..20 {
        let (kind, _) = failure(call(&layer, &user(&world, &n.to_string())).await);
        assert_eq!(kind, OnBehalfOfErrorKind::Throttled);
    }
    assert_eq!(call(&layer, &user(&world, "bob")).await.unwrap(), "T");
}
