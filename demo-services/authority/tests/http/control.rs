//! `POST /control`: its guard and its verbs.

use crate::harness::{Answer, Harness};
use local_authority::{Directory, LocalAuthority, Options, TokenSpec};
use serde_json::{Value, json};

pub(crate) async fn control(authority: &Harness, command: Value) -> Answer {
    let request = authority
        .http
        .post(format!("{}/control", authority.running.url()))
        .header("x-control", "control-me")
        .json(&command);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn each_part_of_the_guard_is_needed() {
    let authority = Harness::start().await;
    let own = authority.running.url().to_owned();
    for (change, value, status) in [
        ("", "", 200),
        ("x-control", "", 401),
        ("x-control", "wrong", 401),
        ("content-type", "text/plain", 415),
        ("content-type", "application/json; charset=utf-8", 200),
        ("origin", "https://evil.example", 403),
        ("origin", own.as_str(), 200),
    ] {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("x-control", "control-me".parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        match change.parse::<reqwest::header::HeaderName>() {
            Ok(name) if value.is_empty() => drop(headers.remove(name)),
            Ok(name) => drop(headers.insert(name, value.parse().unwrap())),
            Err(_) => {}
        }
        let request = authority
            .http
            .post(format!("{own}/control"))
            .headers(headers)
            .body(r#"{"do":"counters"}"#);
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            status,
            "{change}: {value}"
        );
    }
}

#[tokio::test]
async fn without_the_option_there_is_no_control() {
    let running = LocalAuthority::start(Directory::demo(), Options::default())
        .await
        .unwrap();
    assert_eq!(running.control_token(), None);
    let request = reqwest::Client::new()
        .post(format!("{}/control", running.url()))
        .header("x-control", "")
        .json(&json!({ "do": "counters" }));
    assert_eq!(request.send().await.unwrap().status(), 404);
    let running = LocalAuthority::start(Directory::demo(), Options::default().control())
        .await
        .unwrap();
    assert_eq!(running.control_token().map(str::len), Some(64));
}

#[tokio::test]
async fn what_is_no_command_is_refused_without_being_quoted() {
    let authority = Harness::start().await;
    for command in [
        json!({ "do": "hunter2" }),
        json!({ "do": "revoke" }),
        json!({ "do": "counters", "hunter2": 1 }),
        json!([]),
    ] {
        let answer = control(&authority, command.clone()).await;
        assert_eq!(answer.status, 400, "{command}");
        assert!(!answer.text.contains("hunter2"));
    }
    for (endpoint, status) in [("me", 200), ("hunter2", 400), ("keys", 200)] {
        let command = json!({ "do": "fail_next", "endpoint": endpoint, "n": 0, "status": 503 });
        let answer = control(&authority, command).await;
        assert_eq!(answer.status, status, "{endpoint}");
        assert_eq!(answer.text.contains("no such endpoint"), status == 400);
        assert!(!answer.text.contains("hunter2"));
    }
    for command in [
        json!({ "do": "revoke", "user": "nobody" }),
        json!({ "do": "policy", "name": "nope", "enabled": true }),
        json!({ "do": "withdraw_key", "kid": "nope" }),
    ] {
        assert_eq!(control(&authority, command).await.status, 404);
    }
}

#[tokio::test]
async fn keys_rotate_and_are_withdrawn() {
    let authority = Harness::start().await;
    let keys = async || {
        Answer::of(
            authority
                .http
                .get(authority.endpoint("discovery/v2.0/keys"))
                .send()
                .await
                .unwrap(),
        )
        .await
        .json()
    };
    let old = authority.running.kid();
    let new = control(&authority, json!({ "do": "rotate_keys" }))
        .await
        .json()["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(authority.running.kid(), new);
    assert_eq!(keys().await["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        control(&authority, json!({ "do": "withdraw_key", "kid": old }))
            .await
            .status,
        200
    );
    assert_eq!(keys().await["keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        keys().await["keys"][0]["issuer"],
        authority.running.issuer()
    );
}

#[tokio::test]
async fn revoke_policy_and_skew_take_effect() {
    let authority = Harness::start().await;
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        50_076
    );
    control(
        &authority,
        json!({ "do": "policy", "name": crate::harness::MFA_POLICY, "enabled": false }),
    )
    .await;
    assert_eq!(authority.on_behalf_of(&weak, &[]).await.status, 200);
    control(&authority, json!({ "do": "skew", "seconds": -120 })).await;
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        500_133,
        "not valid yet"
    );
    control(&authority, json!({ "do": "skew", "seconds": 0 })).await;
    control(&authority, json!({ "do": "revoke", "user": "alice" })).await;
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        50_173
    );
}

#[tokio::test]
async fn a_failure_that_cannot_be_as_told_is_refused() {
    let authority = Harness::start().await;
    let told = json!({ "do": "fail_next", "endpoint": "keys", "n": 1, "status": 200, "delay_ms": 20_000, "body": "{" });
    assert_eq!(control(&authority, told.clone()).await.status, 200);
    for (name, value) in [
        ("status", json!(101)),
        ("status", json!(42)),
        ("status", json!(600)),
        ("status", json!(null)),
        ("delay_ms", json!(20_001)),
    ] {
        let mut other = told.clone();
        other[name] = value;
        let answer = control(&authority, other).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text.contains(name), "{}", answer.text);
    }
}

#[tokio::test]
async fn the_next_requests_fail_as_told_and_the_one_after_does_not() {
    let authority = Harness::start().await;
    control(&authority, json!({ "do": "fail_next", "endpoint": "token", "n": 2, "status": 503, "body": "{\"error\":\"temporarily_unavailable\"}", "retry_after": 7 })).await;
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    for _ in 0..2 {
        let answer = authority.on_behalf_of(&weak, &[]).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (503, Some("temporarily_unavailable"))
        );
        assert_eq!(
            (
                &answer.headers["retry-after"],
                &answer.headers["content-type"]
            ),
            (&"7".parse().unwrap(), &"application/json".parse().unwrap())
        );
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    assert_eq!(authority.on_behalf_of(&weak, &[]).await.status, 200);
    let counters = control(&authority, json!({ "do": "counters" }))
        .await
        .json();
    assert_eq!(
        (
            counters["token"].as_u64(),
            counters["on_behalf_of"].as_u64(),
            counters["keys"].as_u64()
        ),
        (Some(3), Some(1), Some(0))
    );
}

#[tokio::test]
async fn control_is_for_loopback_names_only() {
    let url = "https://login.example".parse().unwrap();
    let options = Options::default()
        .public_url(url)
        .control_token("control-me");
    let running = LocalAuthority::start(Directory::demo(), options)
        .await
        .unwrap();
    let port = running.port();
    for (host, status) in [
        ("login.example".to_owned(), 403),
        (format!("127.0.0.1:{port}"), 200),
        (format!("[::1]:{port}"), 200),
    ] {
        let request = reqwest::Client::new().post(format!("http://localhost:{port}/control"));
        let request = request
            .header("host", &host)
            .header("x-control", "control-me")
            .json(&json!({ "do": "counters" }));
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            status,
            "{host}"
        );
    }
    let empty =
        LocalAuthority::start(Directory::demo(), Options::default().control_token("")).await;
    assert!(matches!(
        empty,
        Err(local_authority::StartError::ControlToken)
    ));
}
