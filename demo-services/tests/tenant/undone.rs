//! Unregistering when not all goes well.

use std::error::Error as _;

use axum::http::Method;
use demo_services::tenant::{
    plan::Request,
    record::{Kind, StateFile},
    unregister::{Removal, UnregisterError},
};
use serde_json::json;

use crate::harness::{Fault, Tenant};

#[tokio::test]
async fn it_is_shown_before_it_is_done() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let lines = Removal::of(tenant.record()).lines();
    assert_eq!(lines.len(), 6 + 6 + 7 + 1 + 1 + 3 + 9, "{lines:#?}");
    assert!(
        lines[0].starts_with("- policy demo-c1: require MFA ("),
        "{}",
        lines[0]
    );
    assert!(
        lines[3].starts_with("- authentication context"),
        "{}",
        lines[3]
    );
    assert!(
        lines[23].starts_with("- application demo-downstream-api ("),
        "{}",
        lines[23]
    );
    assert!(lines[27].starts_with("- /"), "{}", lines[27]);
}

#[tokio::test]
async fn what_is_gone_already_is_no_error() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    let record = tenant.record();
    let graph = tenant.admin();
    for key in ["daemon", "downstream-api"] {
        graph
            .delete(&format!("applications/{}", record.app(key).unwrap().id))
            .await
            .unwrap();
    }
    let policy = record.object(Kind::Policy, "mfa-app").unwrap();
    graph
        .delete(&format!(
            "identity/conditionalAccess/policies/{}",
            policy.id
        ))
        .await
        .unwrap();
    let removed = tenant.unregister().await.unwrap();
    assert!(removed.gone >= 3, "{removed:?}");
    assert!(
        tenant
            .told()
            .iter()
            .any(|line| line.ends_with("(was gone already)"))
    );
    assert_eq!(tenant.everything().await, before);
    assert!(!tenant.files.state().exists());
}

#[tokio::test]
async fn what_is_refused_stays_in_the_record_and_the_rest_goes() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    let denied = json!({ "error": { "code": "Authorization_RequestDenied", "message": "no" } });
    tenant.fail(
        Method::DELETE,
        "oauth2PermissionGrants",
        0,
        2,
        Fault::Answer(403, &[], denied.to_string()),
    );
    let error = tenant.unregister().await.unwrap_err();
    let why = error.source().unwrap().to_string();
    assert!(
        why.contains("DelegatedPermissionGrant.ReadWrite.All"),
        "{why}"
    );
    assert!(
        error.to_string().contains("2 objects remain in the record"),
        "{error}"
    );
    let record = tenant.record();
    assert_eq!(record.objects.len(), 2);
    assert_eq!(
        record.files().len(),
        9,
        "files are there as long as objects are"
    );
    tenant.heal();
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.everything().await, before);
    assert_eq!(tenant.files.names(), Vec::<String>::new());
}

#[tokio::test]
async fn an_outage_stops_it_and_it_goes_on_later() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    tenant.fail(
        Method::DELETE,
        "servicePrincipals/",
        3,
        100,
        Fault::Answer(503, &[], String::new()),
    );
    let error = tenant.unregister().await.unwrap_err();
    assert!(matches!(error, UnregisterError::Graph { .. }), "{error}");
    assert_eq!(tenant.waited(), [2, 4, 8, 16, 32]);
    tenant.heal();
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn a_lost_answer_to_a_removal_is_none() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    tenant.fail(Method::DELETE, "applications/", 0, 2, Fault::LoseAnswer);
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn the_token_goes_to_no_other_graph() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    tenant.writes();
    let mut record = tenant.record();
    record.graph = "https://graph.example/".parse().unwrap();
    let (state, _) = StateFile::open(&tenant.files.state()).unwrap();
    let removal = Removal::of(record).run(&tenant.admin(), state).await;
    assert!(matches!(removal, Err(UnregisterError::AnotherGraph { .. })));
    assert_eq!(tenant.writes(), []);
}

#[tokio::test]
async fn a_context_that_others_use_by_now_stays_published() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let graph = tenant.admin();
    let body = json!({
        "displayName": "Theirs",
        "state": "enabled",
        "conditions": {
            "applications": { "includeAuthenticationContextClassReferences": ["c1"] },
            "users": { "includeUsers": ["a11ce000-0000-4000-8000-000000000001"] },
        },
        "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
    });
    let request = Request {
        method: Method::POST,
        path: "identity/conditionalAccess/policies".to_owned(),
        body,
    };
    let theirs = graph.write(&request).await.unwrap();
    let error = tenant.unregister().await.unwrap_err();
    let why = error.source().unwrap().to_string();
    assert!(why.contains("used by the policy \"Theirs\""), "{why}");
    assert_eq!(tenant.waited(), [2, 4, 8]);
    assert_eq!(tenant.record().objects.len(), 1);
    let path = "identity/conditionalAccess/authenticationContextClassReferences/c1";
    let context = graph.get(path, "").await.unwrap().unwrap();
    assert_eq!(context["isAvailable"], true);
    let theirs = theirs["id"].as_str().unwrap();
    let theirs = format!("identity/conditionalAccess/policies/{theirs}");
    graph.delete(&theirs).await.unwrap();
    tenant.unregister().await.unwrap();
    assert_eq!(graph.get(path, "").await.unwrap(), None);
}
