//! What Graph can answer besides what was asked for.

use axum::http::Method;
use demo_services::tenant::graph::GraphError;
use serde_json::json;

use crate::harness::{Fault, Tenant};

async fn answered(fault: Fault, times: usize) -> (Tenant, Result<usize, GraphError>, usize) {
    let tenant = Tenant::start().await;
    tenant.fail(Method::GET, "applications", 0, times, fault);
    let tokens = tenant.tokens(&Tenant::permissions());
    let listed = tenant.client(tokens.clone()).list("applications", "").await;
    let refused = *tokens.refused.lock().unwrap();
    (tenant, listed.map(|list| list.len()), refused)
}

fn answer(status: u16, headers: &'static [(&'static str, &'static str)]) -> Fault {
    Fault::Answer(status, headers, String::new())
}

#[tokio::test]
async fn throttling_is_waited_for_as_long_as_it_says() {
    let (tenant, listed, _) = answered(answer(429, &[("retry-after", "7")]), 2).await;
    assert_eq!((tenant.waited(), listed.is_ok()), (vec![7, 7], true));
    assert!(
        tenant.told()[0].contains("waiting 7 s"),
        "{:?}",
        tenant.told()
    );
    // Without a time it is ours, and not without end.
    let (tenant, listed, _) = answered(answer(429, &[]), 100).await;
    assert_eq!(tenant.waited(), [2, 4, 8, 16, 32]);
    assert!(matches!(listed, Err(GraphError::Throttled { .. })));
    // Nor are long waits one after the other.
    let (tenant, listed, _) = answered(answer(429, &[("retry-after", "170")]), 100).await;
    assert_eq!(tenant.waited(), [170, 170, 170]);
    assert!(matches!(listed, Err(GraphError::Throttled { .. })));
    // A wait of an hour is not waited.
    let (tenant, listed, _) = answered(answer(429, &[("retry-after", "3600")]), 1).await;
    assert!(tenant.waited().is_empty() && matches!(listed, Err(GraphError::Throttled { .. })));
}

#[tokio::test]
async fn a_creation_that_is_throttled_is_sent_again() {
    let tenant = Tenant::start().await;
    tenant.fail(
        Method::POST,
        "applications",
        1,
        1,
        answer(429, &[("retry-after", "3")]),
    );
    tenant.register().await.unwrap();
    assert_eq!(tenant.waited(), [3]);
}

#[tokio::test]
async fn failures_of_graph_are_waited_for() {
    for status in [500, 502, 503, 504] {
        let (tenant, listed, _) = answered(answer(status, &[]), 1).await;
        assert_eq!(
            (tenant.waited(), listed.is_ok()),
            (vec![2], true),
            "{status}"
        );
    }
    let (_, listed, _) = answered(answer(503, &[]), 100).await;
    assert!(matches!(listed, Err(GraphError::Unreachable { .. })));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let (_, listed, refused) = answered(answer(401, &[]), 1).await;
    assert!(listed.is_ok() && refused == 1);
    let (_, listed, refused) = answered(answer(401, &[]), 2).await;
    assert!(matches!(listed, Err(GraphError::SignInAgain { .. })) && refused == 1);
}

#[tokio::test]
async fn a_claims_challenge_is_told_in_words() {
    let challenge = &[(
        "www-authenticate",
        r#"Bearer error="insufficient_claims", claims="eyJ4IjoxfQ==""#,
    )];
    let (_, listed, refused) = answered(answer(401, challenge), 1).await;
    let error = listed.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GraphError::ClaimsChallenge { .. }) && refused == 0);
    assert!(
        text.contains("sign in again") && !text.contains("eyJ4"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_not_graphs_is_refused() {
    let next =
        json!({ "value": [], "@odata.nextLink": "https://elsewhere.example/v1.0/applications" });
    let large = "x".repeat(5 * 1024 * 1024);
    for (fault, why) in [
        (
            answer(302, &[("location", "https://elsewhere.example/")]),
            "a redirect",
        ),
        (Fault::Answer(200, &[], "<html>".to_owned()), "not JSON"),
        (
            Fault::Answer(404, &[], "<html>".to_owned()),
            "404 without an error of Microsoft Graph",
        ),
        (Fault::Answer(200, &[], "{}".to_owned()), "without values"),
        (Fault::Answer(200, &[], next.to_string()), "elsewhere"),
        (Fault::Answer(200, &[], large), "too large"),
    ] {
        let (_, listed, _) = answered(fault, 1).await;
        let text = listed.unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }
}

/// Each page is within bounds, and all of them together would fill the memory.
#[tokio::test]
async fn a_list_is_bounded_as_a_whole() {
    for (pages, is_bounded) in [(4, false), (5, true)] {
        let tenant = Tenant::start().await;
        let next = format!("{}v1.0/applications", tenant.graph);
        let page = json!({ "value": ["x".repeat(3_500_000)], "@odata.nextLink": next });
        let page = Fault::Answer(200, &[], page.to_string());
        tenant.fail(Method::GET, "applications", 0, pages, page);
        let listed = tenant.admin().list("applications", "").await;
        match listed {
            Err(GraphError::Unusable { why, .. }) => assert!(is_bounded, "{why}"),
            Err(error) => panic!("{error}"),
            Ok(values) => assert!(!is_bounded && values.len() > pages),
        }
    }
}
