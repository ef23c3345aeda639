//! Runs that did not come to their end, and answers that did not come: nothing is made twice, nothing is forgotten.

use std::error::Error as _;

use axum::http::Method;
use demo_services::tenant::{
    plan::{Choices, CredentialKind},
    record::{Kind, StateFile},
    register::RegisterError,
};
use serde_json::json;

use crate::harness::{Fault, Tenant};

fn error(status: u16, code: &str, message: &str) -> Fault {
    let body = json!({ "error": { "code": code, "message": message } });
    Fault::Answer(status, &[], body.to_string())
}

fn denied() -> Fault {
    error(
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    )
}

/// A whole registration, once.
async fn is_whole(tenant: &Tenant, before: &std::collections::BTreeMap<String, serde_json::Value>) {
    tenant.heal();
    for key in [
        "downstream-api",
        "mfa-app",
        "middle-tier",
        "spa-backend",
        "msal-spa",
        "daemon",
    ] {
        assert_eq!(
            tenant.count("applications", &format!("demo-{key}")).await,
            1,
            "{key}"
        );
    }
    tenant.writes();
    assert_eq!(
        tenant.register().await.unwrap().changes,
        0,
        "{:?}",
        tenant.told()
    );
    assert_eq!(tenant.writes(), []);
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.everything().await, *before);
}

#[tokio::test]
async fn an_answer_that_is_lost_does_not_make_a_second_object() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    let paths = [
        "applications",
        "servicePrincipals",
        "oauth2PermissionGrants",
        "appRoleAssignedTo",
        "conditionalAccess/policies",
    ];
    for path in paths {
        tenant.fail(Method::POST, path, 0, 1, Fault::LoseAnswer);
    }
    for path in ["applications/", "authenticationContextClassReferences"] {
        tenant.fail(Method::PATCH, path, 0, 1, Fault::LoseAnswer);
    }
    tenant.register().await.unwrap();
    assert_eq!(
        tenant.waited(),
        [2; 7],
        "each is found at the first look, or set again"
    );
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn an_owner_who_was_taken_away_is_added_once() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    let graph = tenant.admin();
    let path = format!(
        "applications/{}/owners",
        tenant.record().app("daemon").unwrap().id
    );
    let owners = graph.list(&path, "").await.unwrap();
    let owner = owners[0]["id"].as_str().unwrap();
    graph.delete(&format!("{path}/{owner}/$ref")).await.unwrap();
    tenant.fail(Method::POST, "owners/$ref", 0, 1, Fault::LoseAnswer);
    tenant.register().await.unwrap();
    assert!(
        tenant.told().contains(&"+ owner of demo-daemon".to_owned()),
        "{:?}",
        tenant.told()
    );
    assert_eq!(graph.list(&path, "").await.unwrap(), owners);
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn what_was_not_carried_out_is_made_after_all() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.fail(
        Method::POST,
        "servicePrincipals",
        2,
        1,
        error(503, "x", "y"),
    );
    tenant.register().await.unwrap();
    assert_eq!(tenant.waited(), [2, 4, 8], "it is looked for three times");
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn the_secret_of_a_lost_answer_is_removed_and_another_made() {
    let tenant = Tenant::start().await;
    let choices = Choices {
        credential: CredentialKind::Secret,
        ..tenant.choices()
    };
    let graph = tenant.admin();
    tenant.fail(Method::POST, "addPassword", 0, 1, Fault::LoseAnswer);
    tenant.register_as(&graph, &choices).await.unwrap();
    let record = tenant.record();
    for key in ["middle-tier", "spa-backend", "daemon"] {
        let path = format!("applications/{}", record.app(key).unwrap().id);
        let app = graph.get(&path, "").await.unwrap().unwrap();
        let secrets = app["passwordCredentials"].as_array().unwrap();
        let known = record.object(Kind::Secret, key).unwrap();
        assert_eq!(secrets.len(), 1, "{key}");
        assert_eq!(secrets[0]["keyId"], known.id);
        assert!(tenant.files.names().contains(&format!("config/{key}.env")));
    }
    // No secret is in the record or on the terminal.
    let secret = tenant.files.read("daemon.env");
    let (_, secret) = secret.trim_end().split_once("CLIENT_SECRET=").unwrap();
    let record = std::fs::read_to_string(tenant.files.state()).unwrap();
    assert!(!record.contains(secret) && !tenant.told().concat().contains(secret));
    // A secret whose file is gone is another one.
    std::fs::remove_file(tenant.files.out().join("daemon.env")).unwrap();
    let report = tenant.register_as(&graph, &choices).await.unwrap();
    assert_eq!(report.changes, 2, "{:?}", tenant.told());
}

#[tokio::test]
async fn a_run_that_was_killed_before_it_took_note_finds_what_it_made() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    for kind in [
        Kind::Application,
        Kind::ServicePrincipal,
        Kind::Certificate,
        Kind::Grant,
        Kind::RoleAssignment,
        Kind::Policy,
        Kind::AuthenticationContext,
    ] {
        tenant.register().await.unwrap();
        let (state, record) = StateFile::open(&tenant.files.state()).unwrap();
        let mut record = record.unwrap();
        let last = record
            .objects
            .iter()
            .rfind(|object| object.kind == kind)
            .unwrap()
            .clone();
        record.forget(kind, &last.key);
        record.finished = false;
        state.save(&record).unwrap();
        drop(state);
        tenant.writes();
        tenant.register().await.unwrap();
        assert_eq!(tenant.writes(), [], "{kind}");
        assert_eq!(tenant.record().object(kind, &last.key), Some(&last));
        let found: Vec<String> = tenant
            .told()
            .into_iter()
            .filter(|line| line.ends_with("(an earlier run had made it)"))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
    }
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn a_permission_that_is_lost_is_named_and_the_next_run_goes_on() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    for (method, path, permission) in [
        (Method::POST, "applications", "Application.ReadWrite.All"),
        (
            Method::POST,
            "servicePrincipals",
            "Application.ReadWrite.All",
        ),
        (
            Method::POST,
            "oauth2PermissionGrants",
            "DelegatedPermissionGrant.ReadWrite.All",
        ),
        (
            Method::POST,
            "appRoleAssignedTo",
            "AppRoleAssignment.ReadWrite.All",
        ),
        (
            Method::PATCH,
            "authenticationContextClassReferences",
            "Policy.ReadWrite.ConditionalAccess",
        ),
        (
            Method::POST,
            "conditionalAccess/policies",
            "Policy.ReadWrite.ConditionalAccess",
        ),
    ] {
        let skip = usize::from(path == "applications") * 3;
        tenant.fail(method.clone(), path, skip, 100, denied());
        let error = tenant.register().await.unwrap_err();
        let why = error.source().unwrap().to_string();
        assert!(
            why.contains(&format!("the permission {permission} is missing")),
            "{why}"
        );
        assert!(
            error
                .to_string()
                .contains("the same command goes on from there"),
            "{error}"
        );
        assert!(!tenant.record().finished);
        assert!(tenant.waited().is_empty());
        if path == "applications" {
            assert_eq!(tenant.record().objects.len(), 3);
        }
        tenant.heal();
    }
    tenant.register().await.unwrap();
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn what_is_gone_from_the_tenant_is_made_anew() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    let graph = tenant.admin();
    let old = tenant.record().app("daemon").unwrap().clone();
    assert!(
        graph
            .delete(&format!("applications/{}", old.id))
            .await
            .unwrap()
    );
    tenant.register().await.unwrap();
    let told = tenant.told();
    let anew = |what: &str| {
        told.contains(&format!(
            "+ {what} (made anew: it was gone from the tenant)"
        ))
    };
    assert!(
        anew("application demo-daemon") && anew("certificate of demo-daemon"),
        "{told:?}"
    );
    assert!(
        anew("role assignment daemon -> downstream-api: Task.Run"),
        "{told:?}"
    );
    assert!(told.contains(&"= application demo-middle-tier (kept)".to_owned()));
    assert_ne!(tenant.record().app("daemon").unwrap().id, old.id);
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn what_graph_does_not_know_yet_is_asked_for_again() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    let unknown = || {
        error(
            404,
            "Request_ResourceNotFound",
            "Resource 'x' does not exist or one of its queried reference-property objects are not present.",
        )
    };
    tenant.fail(Method::PATCH, "applications/", 0, 2, unknown());
    let no_backing = error(
        400,
        "NoBackingApplicationObject",
        "The appId 'x' of the service principal does not reference a valid application object.",
    );
    tenant.fail(Method::POST, "servicePrincipals", 0, 1, no_backing);
    tenant.register().await.unwrap();
    assert_eq!(tenant.waited(), [2, 4, 2]);
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn waiting_for_graph_has_an_end() {
    let tenant = Tenant::start().await;
    let unknown = error(
        404,
        "Request_ResourceNotFound",
        "Resource 'x' does not exist.",
    );
    tenant.fail(Method::PATCH, "applications/", 0, 1000, unknown);
    let error = tenant.register().await.unwrap_err();
    assert!(matches!(error, RegisterError::Graph { .. }), "{error}");
    assert_eq!(tenant.waited(), [2, 4, 8, 16, 32, 32]);
}

#[tokio::test]
async fn another_refusal_is_not_tried_again() {
    let tenant = Tenant::start().await;
    tenant.fail(
        Method::PATCH,
        "applications/",
        0,
        1000,
        error(
            400,
            "Request_BadRequest",
            "Invalid value specified for property 'web'.",
        ),
    );
    let error = tenant.register().await.unwrap_err();
    let why = error.source().unwrap().to_string();
    assert!(
        why.contains("400") && why.contains("Invalid value specified for property 'web'."),
        "{why}"
    );
    assert!(tenant.waited().is_empty());
}
