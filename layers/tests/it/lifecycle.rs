//! An authority that comes and goes, callers who give up, and the end.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use futures_util::FutureExt as _;
use http::Request;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::clock::ManualClock;

use crate::campaign::volume;
use crate::scripted::*;
use crate::support::*;

#[tokio::test]
async fn a_flapping_authority_changes_nothing_for_known_keys() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let (known, unknown) = (scripted.token("k1"), scripted.token("k2"));
    assert_eq!(call(&service, &known).await.status(), 200);
    for round in 0..volume(6_000) {
        let up = round % 2 == 0;
        if up {
            scripted.heal();
        } else {
            scripted.metadata(Answer::reset());
            scripted.keys(Answer::reset());
        }
        skip(COOLDOWN).await;
        assert_eq!(call_now(&service, &known), 200, "round {round}");
        let status = call(&service, &unknown).await.status().as_u16();
        // Up and still in backoff is 503; what was fetched decides, what failed does not.
        assert!(
            status == 503 || (up && status == 401),
            "round {round}: {status}"
        );
        assert_eq!(call_now(&service, &known), 200, "round {round}");
    }
    assert!(scripted.requests() <= 2 + 3 * volume(6_000) as usize);
}

#[tokio::test]
async fn callers_who_give_up_break_nothing_and_cost_nothing() {
    let scripted = Scripted::start().await;
    scripted.keys(Answer::hang());
    let service = protected(&scripted.authority());
    let token = scripted.token("k1");
    let mut waiting = Vec::new();
    for n in 0..volume(10_000) {
        let mut caller = Box::pin(service.clone().oneshot(request(&token)));
        assert!(futures_util::poll!(&mut caller).is_pending());
        // Some leave at once, some later and in another order than they came.
        if n % 2 == 0 {
            waiting.push(caller);
        }
        if n == 0 {
            scripted.received(2).await;
        }
        tokio::task::yield_now().await;
        if n % 5 == 0 {
            waiting.reverse();
            waiting.pop();
        }
    }
    drop(waiting);
    assert_eq!(scripted.requests(), 2);

    let patient = tokio::spawn(service.clone().oneshot(request(&token)));
    tokio::task::yield_now().await;
    skip(DEADLINE + Duration::from_secs(1)).await;
    let wait = not_now("abandoned", &patient.await.unwrap().unwrap());
    scripted.heal();
    skip(wait).await;
    assert_eq!(call(&service, &token).await.status(), 200);
}

#[tokio::test]
async fn the_first_caller_gives_up_and_the_second_is_answered() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let token = scripted.token("k1");
    let mut first = Box::pin(service.clone().oneshot(request(&token)));
    assert!(futures_util::poll!(&mut first).is_pending());
    let second = tokio::spawn(service.clone().oneshot(request(&token)));
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    assert_eq!(scripted.fetches("/keys"), 1);
}

#[tokio::test]
async fn an_outage_of_a_day_is_survived_and_no_longer() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let known = scripted.token("k1");
    assert_eq!(call(&service, &known).await.status(), 200);
    scripted.metadata(Answer::reset());
    scripted.keys(Answer::reset());
    let hour = Duration::from_secs(3600);
    for _ in 0..23 {
        skip(hour).await;
        assert_eq!(call_now(&service, &known), 200);
    }
    skip(hour + Duration::from_secs(60)).await;
    let wait = not_now("too old", &call(&service, &known).await);
    scripted.heal();
    skip(wait).await;
    assert_eq!(call(&service, &known).await.status(), 200);
}

#[tokio::test]
async fn a_time_of_day_that_jumps_fetches_nothing_and_locks_nobody_out() {
    let scripted = Scripted::start().await;
    let clock = ManualClock::new(NOW);
    let service = protected(&scripted.builder(clock.clone()).build().unwrap());
    let known = scripted.token("k1");
    assert_eq!(call(&service, &known).await.status(), 200);
    // The token is good from NOW for an hour, with a minute at both ends.
    for (now, status) in [
        (NOW + 300, 200),
        (NOW + 2 * 3600, 401),
        (NOW - 3600, 401),
        (0, 401),
        (u64::MAX, 401),
        (NOW, 200),
    ] {
        clock.set(now);
        assert_eq!(call_now(&service, &known), status, "{now}");
        let unknown = call(&service, &scripted.token("k2")).await;
        assert_eq!(unknown.status(), 401, "{now}");
    }
    assert_eq!(scripted.requests(), 2);
}

#[tokio::test]
async fn one_kid_of_two_authorities_is_two_keys() {
    let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: RsaPublicKeyComponents<Vec<u8>> = other.public_key().into();
    let others = json!({"keys": [{
        "kty": "RSA", "use": "sig", "kid": "k1", "n": B64.encode(public.n), "e": B64.encode(public.e),
    }]});
    let (a, b) = (Scripted::start().await, Scripted::start().await);
    b.keys(Answer::json(&others));
    // Whoever holds the first key signs for both.
    let (at_a, at_b) = (protected(&a.authority()), protected(&b.authority()));
    let (for_a, for_b) = (a.token("k1"), b.token("k1"));
    for (name, service, token, status) in [
        ("a at a", &at_a, &for_a, 200),
        ("b at b, signed by a's key", &at_b, &for_b, 401),
        ("b at a", &at_a, &for_b, 401),
        ("a at b", &at_b, &for_a, 401),
    ] {
        assert_eq!(call(service, token).await.status(), status, "{name}");
    }

    a.keys(Answer::json(&others));
    b.heal();
    skip(COOLDOWN).await;
    for (scripted, service) in [(&a, &at_a), (&b, &at_b)] {
        call(service, &scripted.token("cause a fetch")).await;
    }
    assert_eq!(call(&at_a, &for_a).await.status(), 401, "swapped");
    assert_eq!(call(&at_b, &for_b).await.status(), 200, "swapped");
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request_only() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(async |request: Request<Body>| {
            assert_ne!(request.uri().path(), "/panic", "a handler that panics");
            hello(request).await
        }));
    let token = world.token(json!({}));
    for _ in 0..3 {
        let mut fatal = request(&token);
        *fatal.uri_mut() = "/panic".parse().unwrap();
        let service = service.clone();
        let spoiled = AssertUnwindSafe(service.clone().oneshot(fatal));
        assert!(spoiled.catch_unwind().await.is_err());
        let response = service.oneshot(request(&token)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn the_last_handle_ends_a_fetch_that_hangs() {
    let scripted = Scripted::start().await;
    scripted.keys(Answer::hang());
    let authority = scripted.authority_within(Duration::from_secs(24 * 3600));
    let service = protected(&authority);
    let mut caller = Box::pin(service.clone().oneshot(request(&scripted.token("k1"))));
    assert!(futures_util::poll!(&mut caller).is_pending());
    scripted.received(2).await;
    drop(caller);
    drop(authority);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scripted.closed(), 0, "the service still holds it");
    drop(service);
    scripted.abandoned(1).await;
}
