//! Keys by discovery: how often they are asked for, and that they stay fresh.

use std::time::Duration;

use crate::scripted::*;
use crate::support::*;

/// The bounds of the time between two fetches, whatever `Cache-Control` says.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let response = call(&service, &scripted.token("k1")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(scripted.fetches("/openid-configuration"), 1);
    assert_eq!(scripted.fetches("/keys"), 1);
}

#[tokio::test]
async fn dead_authority_is_503() {
    let scripted = Scripted::start().await;
    let authority = scripted.authority();
    let token = scripted.token("k1");
    drop(scripted);
    not_now("dead", &call(&protected(&authority), &token).await);
    assert!(!authority.ready().await);
}

#[tokio::test]
async fn unknown_key_is_401_after_a_good_fetch() {
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    for _ in 0..50 {
        let response = call(&service, &scripted.token("other")).await;
        assert_eq!(response.status(), 401);
    }
    assert_eq!(scripted.requests(), 2, "metadata and keys, once each");
}

#[tokio::test]
async fn keys_are_asked_for_conditionally_and_live_on_after_304() {
    let scripted = Scripted::start().await;
    scripted.keys(Answer::json(&jwk_set(&["k1"])).etag("\"v1\""));
    let service = protected(&scripted.authority());
    let known = scripted.token("k1");
    assert_eq!(call(&service, &known).await.status(), 200);
    assert!(!scripted.last_head().contains("if-none-match"));

    // 401 and not 503: a 304 is a good fetch.
    skip(COOLDOWN).await;
    let response = call(&service, &scripted.token("k2")).await;
    assert_eq!(response.status(), 401);
    assert!(scripted.last_head().contains("if-none-match: \"v1\"\r\n"));
    assert_eq!(call_now(&service, &known), 200);

    scripted.keys(Answer::json(&jwk_set(&["k2"])).etag("\"v2\""));
    skip(COOLDOWN).await;
    let response = call(&service, &scripted.token("k2")).await;
    assert_eq!(response.status(), 200);
    assert!(scripted.last_head().contains("if-none-match: \"v1\"\r\n"));
    assert_eq!(call_now(&service, &known), 401, "withdrawn");

    skip(COOLDOWN).await;
    call(&service, &scripted.token("k3")).await;
    assert!(scripted.last_head().contains("if-none-match: \"v2\"\r\n"));
    assert_eq!(scripted.fetches("/openid-configuration"), 1);
    assert_eq!(scripted.fetches("/keys"), 4);
}

#[tokio::test]
async fn max_age_is_honoured_within_bounds_and_nobody_has_to_ask() {
    // The jitter is a tenth.
    let rows = [
        ("max-age=300", Duration::from_secs(300)),
        ("max-age=1", SHORTEST),
        ("max-age=86400", LONGEST),
        ("no-store", SHORTEST),
        ("max-age=-1", LONGEST),
    ];
    for (text, age) in rows {
        let scripted = Scripted::start().await;
        let headers = format!("cache-control: {text}\r\n");
        scripted.keys(Answer::new(200, &headers, jwks()));
        let service = protected(&scripted.authority());
        let known = scripted.token("k1");
        assert_eq!(call(&service, &known).await.status(), 200, "{text}");
        skip(age * 8 / 10).await;
        assert_eq!(call_now(&service, &known), 200, "{text}");
        assert_eq!(scripted.requests(), 2, "{text}: too early");
        skip(age * 3 / 10).await;
        scripted.received(3).await;
        assert_eq!(call_now(&service, &known), 200, "{text}");
    }
}
