//! Graph fails on demand: throttled, broken, refused in the middle, and an answer that gets lost.

use std::time::Duration;

use local_authority::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::graph::{ADMIN, code};
use crate::harness::{Answer, Harness};

const TAG: &str = "tower-bearer:1";

async fn make(authority: &Harness, name: &str) -> Answer {
    let token = authority.graph_token("alice", &ADMIN);
    let body = json!({ "displayName": name, "tags": [TAG] });
    authority
        .graph(&token, "POST", "applications", Some(body))
        .await
}

async fn made(authority: &Harness) -> usize {
    let path = format!("applications?$filter=tags/any(t:t%20eq%20'{TAG}')");
    let list = authority.admin("GET", &path, None, 200).await;
    list["value"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_throttled_request_changes_nothing_and_the_next_one_goes_through() {
    let authority = Harness::start().await;
    let fault = Fault::status(429).with_retry_after(2);
    authority.running.fail_next(Endpoint::Graph, 1, fault);
    let answer = make(&authority, "throttled").await;
    assert_eq!(
        (
            answer.status,
            answer.headers["retry-after"].to_str().unwrap()
        ),
        (429, "2")
    );
    assert_eq!(made(&authority).await, 0);
    assert_eq!(make(&authority, "throttled").await.status, 201);
    assert_eq!(made(&authority).await, 1);
    // The user's own profile is an endpoint of its own.
    authority
        .running
        .fail_next(Endpoint::Graph, 1, Fault::status(503));
    authority.admin("GET", "me", None, 200).await;
    assert_eq!(make(&authority, "broken").await.status, 503);
    let counters = authority.running.counters();
    assert_eq!((counters.graph, counters.me), (5, 1));
}

#[tokio::test]
async fn a_lost_answer_is_one_of_something_that_was_done() {
    let authority = Harness::start().await;
    let fault = Fault::status(502).after();
    authority.running.fail_next(Endpoint::Graph, 1, fault);
    assert_eq!(make(&authority, "lost").await.status, 502);
    assert_eq!(made(&authority).await, 1);
}

#[tokio::test]
async fn a_permission_can_be_taken_away_in_the_middle() {
    let authority = Harness::start().await;
    let denied = json!({ "error": { "code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation." } });
    let fault = Fault::status(403).with_body(denied.to_string()).skip(2);
    authority.running.fail_next(Endpoint::Graph, 2, fault);
    for name in ["first", "second"] {
        assert_eq!(make(&authority, name).await.status, 201, "{name}");
    }
    for name in ["third", "fourth"] {
        let answer = make(&authority, name).await;
        let expected = (403, "Authorization_RequestDenied".to_owned());
        assert_eq!(code(&answer), expected, "{name}");
    }
    assert_eq!(make(&authority, "fifth").await.status, 201);
    assert_eq!(made(&authority).await, 3);
}

#[tokio::test]
async fn a_late_answer_is_the_proper_one() {
    let authority = Harness::start().await;
    let fault = Fault::delay(Duration::from_millis(50));
    authority.running.fail_next(Endpoint::Graph, 1, fault);
    let began = std::time::Instant::now();
    assert_eq!(make(&authority, "late").await.status, 201);
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn another_process_orders_the_same() {
    let authority = Harness::start().await;
    let control = async |command: Value| {
        let url = format!("{}/control", authority.running.url());
        let request = authority.http.post(url).header("x-control", "control-me");
        Answer::of(request.json(&command).send().await.unwrap()).await
    };
    let order = json!({ "do": "fail_next", "endpoint": "graph", "n": 1, "status": 500, "after": true, "skip": 1 });
    assert_eq!(control(order.clone()).await.status, 200);
    for (name, status) in [("first", 201), ("second", 500), ("third", 201)] {
        assert_eq!(make(&authority, name).await.status, status, "{name}");
    }
    assert_eq!(made(&authority).await, 3);
    // After what, if it is to go through?
    let mut without = order;
    without.as_object_mut().unwrap().remove("status");
    assert_eq!(control(without).await.status, 400);
}

#[tokio::test]
async fn what_was_deleted_is_made_anew_under_the_same_name() {
    let authority = Harness::start().await;
    let first = make(&authority, "again").await.json();
    let path = format!("applications/{}", first["id"].as_str().unwrap());
    authority.admin("DELETE", &path, None, 204).await;
    authority.admin("DELETE", &path, None, 404).await;
    let second = make(&authority, "again").await.json();
    assert!(second["id"] != first["id"] && second["appId"] != first["appId"]);
    assert_eq!(made(&authority).await, 1);
}
