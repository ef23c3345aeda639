//! What is refused before anything is made, and what is left as somebody else has made it.

use std::error::Error as _;
use std::fs;

use axum::http::Method;
use demo_services::tenant::{
    plan::Choices,
    record::{RecordError, StateFile},
    register::RegisterError,
};
use local_authority::TokenSpec;
use serde_json::json;

use crate::harness::{GRAPH, Tenant};

/// Refused in these words, and nothing was written.
async fn refused(tenant: &Tenant, change: impl FnOnce(&mut Choices), words: &str) {
    tenant.writes();
    let mut choices = tenant.choices();
    change(&mut choices);
    let error = tenant
        .register_as(&tenant.admin(), &choices)
        .await
        .unwrap_err();
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        text.push_str(&source.to_string());
    }
    assert!(text.contains(words), "{text}");
    assert_eq!(tenant.writes(), []);
}

async fn create(tenant: &Tenant, path: &str, body: serde_json::Value) -> String {
    let request = demo_services::tenant::plan::Request {
        method: Method::POST,
        path: path.to_owned(),
        body,
    };
    let made = tenant.admin().write(&request).await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn choices_that_cannot_be() {
    let tenant = Tenant::start().await;
    let base =
        |text: &'static str| move |choices: &mut Choices| choices.base_url = text.parse().unwrap();
    for prefix in ["", "a'b", "-a", "a b", &"a".repeat(61)] {
        refused(
            &tenant,
            |choices| choices.prefix = prefix.to_owned(),
            "--prefix",
        )
        .await;
    }
    for url in [
        "http://demo.example",
        "https://demo.example/x",
        "https://u@demo.example",
        "ftp://localhost",
    ] {
        refused(&tenant, base(url), "--base-url").await;
    }
    let unknown =
        |user: &'static str| move |choices: &mut Choices| choices.mfa_users = vec![user.to_owned()];
    for user in ["nobody@contoso.example", "", "../me", "a/b", "$ref"] {
        refused(
            &tenant,
            unknown(user),
            &format!("--mfa-user {user}: the tenant has no such user"),
        )
        .await;
    }
    for group in ["Staff", "00000000-0000-4000-8000-000000000009"] {
        refused(
            &tenant,
            |choices| choices.mfa_groups = vec![group.to_owned()],
            "--mfa-group",
        )
        .await;
    }
    assert!(!tenant.files.state().exists());
    // The twin: nothing of all that.
    let choices = Choices {
        base_url: "https://demo.example".parse().unwrap(),
        prefix: "a.b_c-1".to_owned(),
        ..tenant.choices()
    };
    tenant.register_as(&tenant.admin(), &choices).await.unwrap();
}

#[tokio::test]
async fn a_sign_in_to_another_tenant() {
    let tenant = Tenant::start().await;
    let other =
        |choices: &mut Choices| choices.tenant = "99999999-2222-3333-4444-555555555555".to_owned();
    refused(
        &tenant,
        other,
        "the sign-in is to the tenant 11111111-2222-3333-4444-555555555555",
    )
    .await;
    // By its domain it is the same, and the record has the id.
    let choices = Choices {
        tenant: "contoso.example".to_owned(),
        ..tenant.choices()
    };
    tenant.register_as(&tenant.admin(), &choices).await.unwrap();
    assert_eq!(
        tenant.record().tenant,
        "11111111-2222-3333-4444-555555555555"
    );
}

#[tokio::test]
async fn a_name_that_is_taken() {
    let tenant = Tenant::start().await;
    create(&tenant, "applications", json!({ "displayName": "Demo-Daemon", "tags": ["tower-bearer:00000000-0000-4000-8000-000000000001"] })).await;
    refused(
        &tenant,
        |_| {},
        "an application demo-daemon is there already",
    )
    .await;
    assert!(!tenant.files.state().exists());
    let choices = Choices {
        prefix: "other".to_owned(),
        ..tenant.choices()
    };
    tenant.register_as(&tenant.admin(), &choices).await.unwrap();
}

#[tokio::test]
async fn a_record_of_something_else() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let record = fs::read(tenant.files.state()).unwrap();
    let words = "is the record of another registration";
    refused(
        &tenant,
        |choices| choices.prefix = "other".to_owned(),
        words,
    )
    .await;
    refused(&tenant, |choices| choices.cloud = "usgov".to_owned(), words).await;
    refused(
        &tenant,
        |choices| choices.authority = "http://localhost:1".parse().unwrap(),
        words,
    )
    .await;
    assert_eq!(fs::read(tenant.files.state()).unwrap(), record);
}

#[tokio::test]
async fn a_record_that_is_damaged_or_in_use() {
    let tenant = Tenant::start().await;
    for damaged in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"version":1}"#,
        r#"{"version":2}"#,
        r#"{"version":3,"x":1}"#,
    ] {
        fs::write(tenant.files.state(), damaged).unwrap();
        let error = tenant.register().await.unwrap_err();
        assert!(
            matches!(
                error,
                RegisterError::Record(RecordError::Damaged { .. } | RecordError::Version { .. })
            ),
            "{error}"
        );
        assert_eq!(fs::read_to_string(tenant.files.state()).unwrap(), damaged);
    }
    fs::remove_file(tenant.files.state()).unwrap();
    let held = StateFile::open(&tenant.files.state()).unwrap();
    let error = tenant.register().await.unwrap_err();
    assert!(
        matches!(error, RegisterError::Record(RecordError::Locked(_))),
        "{error}"
    );
    assert_eq!(tenant.writes(), []);
    drop(held);
    tenant.register().await.unwrap();
}

#[tokio::test]
async fn without_a_user_for_mfa_there_is_no_policy() {
    let tenant = Tenant::start().await;
    let choices = Choices {
        mfa_users: Vec::new(),
        ..tenant.choices()
    };
    let report = tenant.register_as(&tenant.admin(), &choices).await.unwrap();
    assert_eq!(report.left_out.len(), 3);
    assert!(
        report
            .table()
            .contains("all users are never taken by default")
    );
    assert!(
        tenant
            .admin()
            .list("identity/conditionalAccess/policies", "")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_authentication_context_of_others_stays_theirs() {
    let tenant = Tenant::start().await;
    let body = json!({ "id": "c1", "displayName": "Payments", "isAvailable": true });
    create(
        &tenant,
        "identity/conditionalAccess/authenticationContextClassReferences",
        body,
    )
    .await;
    let before = tenant.everything().await;
    let report = tenant.register().await.unwrap();
    let left: Vec<&str> = report
        .left_out
        .iter()
        .map(|left| left.what.as_str())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        report.left_out[0].why.contains("\"Payments\""),
        "{:?}",
        report.left_out
    );
    tenant.writes();
    assert_eq!(tenant.register().await.unwrap().changes, 0);
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn a_sign_in_without_a_user_has_no_owner() {
    let tenant = Tenant::start().await;
    let tokens = tenant.tokens_of(TokenSpec::app("daemon", GRAPH).roles(Tenant::permissions()));
    let report = tenant
        .register_as(&tenant.client(tokens), &tenant.choices())
        .await
        .unwrap();
    assert_eq!(report.left_out.len(), 6, "{:?}", report.left_out);
    let app = tenant.record().app("daemon").unwrap().clone();
    let owners = tenant
        .admin()
        .list(&format!("applications/{}/owners", app.id), "")
        .await
        .unwrap();
    assert!(owners.is_empty());
}

#[tokio::test]
async fn what_somebody_added_stays_and_what_is_asked_for_now_comes_to_it() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let graph = tenant.admin();
    let app = tenant.record().app("spa-backend").unwrap().clone();
    let path = format!("applications/{}", app.id);
    let policy = tenant
        .record()
        .objects
        .iter()
        .rfind(|object| object.kind == demo_services::tenant::record::Kind::Policy)
        .unwrap()
        .clone();
    let policy = format!("identity/conditionalAccess/policies/{}", policy.id);
    let patch = async |path: &str, body| {
        let request = demo_services::tenant::plan::Request {
            method: Method::PATCH,
            path: path.to_owned(),
            body,
        };
        graph.write(&request).await.unwrap();
    };
    let theirs = json!({ "web": { "redirectUris": ["http://localhost:3000/auth/callback", "http://localhost:3000/", "https://theirs.example/"] } });
    patch(&path, theirs).await;
    // Enforced by hand: a run does not take it back.
    patch(&policy, json!({ "state": "enabled" })).await;
    tenant.writes();
    assert_eq!(
        tenant.register().await.unwrap().changes,
        0,
        "{:?}",
        tenant.told()
    );
    // Another address, another user, and enforced.
    let choices = Choices {
        base_url: "https://demo.example".parse().unwrap(),
        mfa_users: vec!["bob@contoso.example".to_owned()],
        enforce: true,
        ..tenant.choices()
    };
    let report = tenant.register_as(&graph, &choices).await.unwrap();
    assert_eq!(report.changes, 5, "{:?}", tenant.told());
    let now = graph.get(&path, "").await.unwrap().unwrap();
    assert_eq!(
        now["web"]["redirectUris"],
        json!([
            "https://theirs.example/",
            "https://demo.example/auth/callback",
            "https://demo.example/"
        ]),
        "those of the address of before are gone"
    );
    let spa = tenant.files.read("spa-backend.toml");
    assert!(spa.contains("base_url = \"https://demo.example\""), "{spa}");
    for policy in graph
        .list("identity/conditionalAccess/policies", "")
        .await
        .unwrap()
    {
        assert_eq!(policy["state"], "enabled");
        assert_eq!(
            policy["conditions"]["users"]["includeUsers"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
    tenant.writes();
    assert_eq!(
        tenant.register_as(&graph, &choices).await.unwrap().changes,
        0
    );
}
