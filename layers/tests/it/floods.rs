//! Whatever callers send, the authority is asked seldom, and nobody else is asked at all.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::campaign::volume;
use crate::scripted::*;
use crate::support::*;

fn per_cooldown(since: Instant) -> usize {
    1 + usize::try_from(since.elapsed().as_secs() / COOLDOWN.as_secs()).unwrap()
}

#[tokio::test]
async fn a_thousand_first_requests_share_one_fetch() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let token = scripted.token("k1");
    let calls = join_all((0..1000).map(|_| call(&service, &token)));
    assert!(calls.await.iter().all(|response| response.status() == 200));
    assert_eq!(scripted.fetches("/openid-configuration"), 1);
    assert_eq!(scripted.fetches("/keys"), 1);
}

#[tokio::test]
async fn a_thousand_requests_with_a_rotated_key_share_one_fetch_and_none_fails() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let (old, new) = (scripted.token("k1"), scripted.token("k2"));
    assert_eq!(call(&service, &old).await.status(), 200);
    scripted.keys(Answer::json(&jwk_set(&["k1", "k2"])));
    skip(COOLDOWN).await;
    let calls = (0..1000).map(|n| call(&service, if n % 2 == 0 { &old } else { &new }));
    let responses = join_all(calls).await;
    assert!(responses.iter().all(|response| response.status() == 200));
    assert_eq!(scripted.fetches("/keys"), 2);
}

#[tokio::test]
async fn random_kids_cost_one_fetch_per_cooldown_and_hide_no_rotation() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let begin = Instant::now();
    let known = scripted.token("k1");
    assert_eq!(call(&service, &known).await.status(), 200);
    let (_, rest) = known.split_once('.').unwrap();
    let count = volume(100_000);
    for n in 0..count {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("random {n}")});
        let flood = format!("{}.{rest}", encoded(&header));
        assert_eq!(call(&service, &flood).await.status(), 401);
        if n % (count / 4).max(1) == 0 {
            assert_eq!(call_now(&service, &known), 200);
            skip(COOLDOWN).await;
        }
    }
    let fetches = scripted.fetches("/keys");
    assert!((2..=per_cooldown(begin)).contains(&fetches), "{fetches}");

    scripted.keys(Answer::json(&jwk_set(&["k2"])));
    skip(COOLDOWN).await;
    let rotated = call(&service, &scripted.token("k2")).await;
    assert_eq!(rotated.status(), 200);
    assert_eq!(call_now(&service, &known), 401, "withdrawn");
}

#[tokio::test]
async fn an_outage_is_asked_once_per_backoff_step() {
    let scripted = Scripted::start().await;
    scripted.metadata(Answer::reset());
    let service = protected(&scripted.authority());
    let token = scripted.token("k1");
    let begin = Instant::now();
    let responses = join_all((0..volume(100_000)).map(|_| call(&service, &token))).await;
    for response in &responses {
        not_now("outage", response);
    }
    // The first step is a second less a tenth.
    let steps = begin.elapsed().as_millis() / 900 + 1;
    assert!(scripted.requests() as u128 <= steps);
}

#[tokio::test]
async fn other_issuers_cost_nothing_and_are_never_asked() {
    let scripted = Scripted::start().await;
    let canary = Scripted::start().await;
    let authority = scripted.authority();
    let service = protected(&authority);
    let good = scripted.token("k1");
    let claims = World::at(&scripted.uri()).claims(json!({}));
    let [header, _, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("not three parts");
    };
    // Cold, so that whatever may cause a fetch would.
    for n in 0..volume(100_000) {
        let mut claims = claims.clone();
        claims["iss"] = format!("{}/{n}/{TENANT}/v2.0", canary.uri()).into();
        let token = format!("{header}.{}.{signature}", encoded(&claims));
        assert_eq!(call(&service, &token).await.status(), 401);
    }
    assert_eq!((scripted.connections(), canary.connections()), (0, 0));
    assert_eq!(call(&service, &good).await.status(), 200);
}

#[tokio::test]
async fn what_a_token_points_at_is_never_asked() {
    let canary = Scripted::start().await;
    let at = canary.uri();
    let port = at.rsplit_once(':').unwrap().1;
    let issuer = format!("{at}/{TENANT}/v2.0");
    let headers = [
        json!({"jku": format!("{at}/keys")}),
        json!({"x5u": format!("{at}/cert")}),
        json!({"jku": "http://169.254.169.254/keys"}),
        json!({"jku": "file:///etc/passwd"}),
        json!({"jwk": jwk("k1")}),
        json!({"x5c": ["AAAA"]}),
        json!({"kid": format!("{at}/keys")}),
        json!({"kid": "../../etc/passwd"}),
        json!({"kid": "k1\r\nX-Injected: 1"}),
        json!({"iss": issuer}),
        json!({"aud": at}),
    ];
    let claims = [
        json!({"iss": issuer}),
        json!({"iss": [issuer]}),
        json!({"jku": format!("{at}/keys")}),
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": at}}}),
    ];
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let world = World::at(&scripted.uri());
    let with = |mut good: Value, changes: &Value| {
        let changes = changes.as_object().unwrap().clone();
        good.as_object_mut().unwrap().extend(changes);
        good
    };
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "k1"});
    let good = world.claims(json!({}));
    let userinfo = format!("{}@127.0.0.1:{port}/v2.0", scripted.uri());
    let mut tokens: Vec<(String, u16)> = Vec::new();
    for changes in &headers {
        // What the specifications define no processing for is ignored.
        let status = if changes.get("iss").or(changes.get("aud")).is_some() {
            200
        } else {
            401
        };
        tokens.push((sign(&with(header.clone(), changes), &good), status));
    }
    for changes in claims.iter().chain([&json!({"iss": userinfo})]) {
        let status = if changes.get("iss").is_some() {
            401
        } else {
            200
        };
        tokens.push((sign(&header, &with(good.clone(), changes)), status));
    }
    for (token, status) in tokens {
        let response = call(&service, &token).await;
        assert_eq!(response.status(), status, "{token}");
        assert!(!response.headers().contains_key("x-injected"));
        skip(COOLDOWN + Duration::from_secs(1)).await;
    }
    assert_eq!(canary.connections(), 0);
}
