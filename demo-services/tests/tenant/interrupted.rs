//! Runs that did not come to their end, and answers that did not come: nothing is made twice, nothing is forgotten.

use std::error::Error as _;

use axum::http::Method;
use demo_services::tenant::{
    plan::{Choices, CredentialKind},
    progress::{Event, Progress},
    record::Kind,
    register::RegisterError,
    stop::Stop,
    unregister::UnregisterError,
};
use serde_json::json;

use crate::harness::{Fault, Tenant};
use crate::undone::forget_last;

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
        let last = forget_last(&tenant, kind);
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
            "AuthenticationContext.ReadWrite.All",
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
        // A refusal of Conditional Access does not keep the services from starting.
        let names = tenant.files.names();
        let written = names.iter().any(|name| name.ends_with("middle-tier.toml"));
        assert_eq!(
            written,
            permission.contains("Conditional") || permission.contains("Context"),
            "{path}"
        );
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

/// What is seen of replicas that are behind, each on its own.
#[tokio::test]
async fn other_words_for_the_same_are_known() {
    for (method, path, status, code, message) in [
        (
            Method::POST,
            "appRoleAssignedTo",
            400,
            "Request_BadRequest",
            "Not a valid reference update.",
        ),
        (
            Method::POST,
            "servicePrincipals",
            403,
            "Authorization_RequestDenied",
            "When using this permission, the backing application of the service principal being created must in the local tenant",
        ),
        (
            Method::PATCH,
            "applications/",
            409,
            "Directory_ConcurrencyViolation",
            "Concurrency violation has occurred.",
        ),
        (
            Method::POST,
            "servicePrincipals",
            409,
            "Directory_ConcurrencyViolation",
            "Concurrency violation has occurred.",
        ),
    ] {
        let tenant = Tenant::start().await;
        tenant.fail(method, path, 0, 2, error(status, code, message));
        tenant.register().await.unwrap();
        assert_eq!(tenant.waited(), [2, 4], "{message}");
    }
}

#[tokio::test]
async fn a_policy_whose_application_is_not_known_yet_has_its_reason_inside() {
    let tenant = Tenant::start().await;
    let body = json!({ "error": {
        "code": "BadRequest",
        "message": "The server could not process the request because it is malformed or incorrect.",
        "innerError": { "message": "1034: Policy contains invalid applications: {ServicePrincipalNotFound}" },
    } });
    let fault = Fault::Answer(400, &[], body.to_string());
    tenant.fail(
        Method::POST,
        "conditionalAccess/policies",
        0,
        1,
        fault.clone(),
    );
    tenant.register().await.unwrap();
    assert_eq!(tenant.waited(), [2]);
    let graph = tenant.admin();
    tenant.fail(Method::GET, "applications", 0, 1, fault);
    let said = graph
        .list("applications", "")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("malformed or incorrect. 1034: Policy"),
        "{said}"
    );
}

/// The request was carried out although its answer said something else, and the replica that is asked first has not heard of it.
#[tokio::test]
async fn what_is_said_to_be_there_is_looked_for() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    let nothing = || Fault::Answer(200, &[], json!({ "value": [] }).to_string());
    for (kind, path, behind) in [
        (Kind::Grant, "oauth2PermissionGrants", nothing()),
        (Kind::RoleAssignment, "appRoleAssignedTo", nothing()),
        (
            Kind::ServicePrincipal,
            "servicePrincipals(appId='",
            error(
                404,
                "Request_ResourceNotFound",
                "Resource 'x' does not exist.",
            ),
        ),
    ] {
        let last = forget_last(&tenant, kind);
        // The service principal of Graph is asked for first; what is recorded of grants is asked for by id.
        let skip = match kind {
            Kind::ServicePrincipal => 1,
            Kind::Grant => 6,
            _ => 0,
        };
        tenant.fail(Method::GET, path, skip, 1, behind);
        tenant.register().await.unwrap();
        assert_eq!(tenant.record().object(kind, &last.key), Some(&last));
        assert_eq!(tenant.waited(), [2], "{kind}: {:?}", tenant.told());
        let refused = tenant.writes();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(matches!(refused[0].2, 400 | 409), "{refused:?}");
    }
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn a_name_that_is_said_to_be_taken_of_something_that_is_not_ours_stays_refused() {
    let tenant = Tenant::start().await;
    let taken = error(
        409,
        "Request_MultipleObjectsWithSameKeyValue",
        "Another object with the same value for property identifierUris already exists.",
    );
    tenant.fail(Method::PATCH, "applications/", 0, 1, taken);
    let error = tenant.register().await.unwrap_err();
    assert!(matches!(error, RegisterError::Graph { .. }), "{error}");
    assert!(tenant.waited().is_empty());
}

/// Asks the run to end when a line like this is told.
struct Ends(Stop, &'static str);

impl Progress for Ends {
    fn tell(&self, event: &Event) {
        if event.to_string().starts_with(self.1) {
            self.0.ask();
        }
    }
}

#[tokio::test]
async fn a_run_that_is_asked_to_end_does_so_after_its_step() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    let run = |line: &'static str| {
        let stop = Stop::new();
        let graph = tenant.admin().stopping(stop.clone());
        graph.progress(std::sync::Arc::new(Ends(stop, line)))
    };
    let graph = run("+ application demo-mfa-app");
    let error = tenant
        .register_as(&graph, &tenant.choices())
        .await
        .unwrap_err();
    assert!(matches!(error, RegisterError::Stopped), "{error}");
    assert_eq!(tenant.writes().len(), 2);
    assert_eq!(tenant.record().objects.len(), 2);
    // Also in a wait, when nothing is on its way.
    tenant.fail(Method::POST, "servicePrincipals", 0, 1, Fault::LoseAnswer);
    let graph = run(". waiting");
    let error = tenant
        .register_as(&graph, &tenant.choices())
        .await
        .unwrap_err();
    assert!(matches!(error, RegisterError::Stopped), "{error}");
    tenant.register().await.unwrap();
    let graph = run("- policy demo-c1");
    let error = tenant.unregister_as(&graph).await.unwrap_err();
    // A certificate goes with its application, by no request of its own.
    let mut objects = tenant.record().objects;
    objects.retain(|object| object.kind != Kind::Certificate);
    assert!(
        matches!(error, UnregisterError::Stopped { remaining } if remaining == objects.len()),
        "{error}"
    );
    tenant.register().await.unwrap();
    is_whole(&tenant, &before).await;
}

#[tokio::test]
async fn consents_are_waited_for_longer() {
    let tenant = Tenant::start().await;
    let unknown = error(
        404,
        "Request_ResourceNotFound",
        "Resource 'x' does not exist.",
    );
    tenant.fail(Method::POST, "appRoleAssignedTo", 0, 1000, unknown);
    let error = tenant.register().await.unwrap_err();
    assert!(matches!(error, RegisterError::Graph { .. }), "{error}");
    assert_eq!(tenant.waited().iter().sum::<u64>(), 2 + 4 + 8 + 16 + 8 * 32);
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
