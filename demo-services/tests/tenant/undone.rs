//! Unregistering when not all goes well.

use std::error::Error as _;

use axum::http::Method;
use demo_services::tenant::{
    graph::GraphError,
    plan::Request,
    record::{Kind, Object, StateFile},
    unregister::{self, Removal, UnregisterError},
};
use local_authority::TokenSpec;
use serde_json::json;

use crate::harness::{Fault, GRAPH, Tenant};

const CONTEXT: &str = "identity/conditionalAccess/authenticationContextClassReferences/c1";

/// As if the run had been killed before it could take note of the youngest object of this kind.
pub(crate) fn forget_last(tenant: &Tenant, kind: Kind) -> Object {
    let (state, record) = StateFile::open(&tenant.files.state()).unwrap();
    let mut record = record.unwrap();
    let mut objects = record.objects.iter();
    let last = objects.rfind(|object| object.kind == kind).unwrap().clone();
    record.forget(kind, &last.key);
    record.finished = false;
    state.save(&record).unwrap();
    tenant.writes();
    last
}

/// Ours goes, and somebody makes one of the same id, to which nobody's policy belongs.
pub(crate) async fn replace_context(tenant: &Tenant) {
    let graph = tenant.admin();
    let policy = tenant
        .record()
        .object(Kind::Policy, "c1")
        .unwrap()
        .id
        .clone();
    graph
        .delete(&format!("identity/conditionalAccess/policies/{policy}"))
        .await
        .unwrap();
    let set = async |body| {
        let request = Request {
            method: Method::PATCH,
            path: CONTEXT.to_owned(),
            body,
        };
        graph.write(&request).await.unwrap();
    };
    set(json!({ "isAvailable": false })).await;
    graph.delete(CONTEXT).await.unwrap();
    set(json!({ "displayName": "Payments", "isAvailable": true })).await;
}

#[tokio::test]
async fn it_is_shown_before_it_is_done() {
    let tenant = Tenant::without_door().await;
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
    let tenant = Tenant::without_door().await;
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
    let tenant = Tenant::without_door().await;
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

/// M1: every kind that does not go with another on its own, and all of them.
#[tokio::test]
async fn what_no_run_took_note_of_is_removed_as_well() {
    let tenant = Tenant::without_door().await;
    let before = tenant.everything().await;
    for kinds in [
        vec![Kind::Application],
        // These go with their application.
        vec![
            Kind::ServicePrincipal,
            Kind::Certificate,
            Kind::Grant,
            Kind::RoleAssignment,
        ],
        vec![Kind::Policy],
        vec![Kind::AuthenticationContext],
    ] {
        tenant.register().await.unwrap();
        for kind in &kinds {
            forget_last(&tenant, *kind);
        }
        tenant.unregister().await.unwrap();
        assert_eq!(tenant.everything().await, before, "{kinds:?}");
    }
    tenant.register().await.unwrap();
    let (state, record) = StateFile::open(&tenant.files.state()).unwrap();
    let mut record = record.unwrap();
    record.objects.clear();
    state.save(&record).unwrap();
    drop(state);
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn two_of_one_name_are_both_removed_and_one_of_others_is_not() {
    let tenant = Tenant::without_door().await;
    let make = async |tags: serde_json::Value| {
        let request = Request {
            method: Method::POST,
            path: "applications".to_owned(),
            body: json!({ "displayName": "demo-daemon", "tags": tags }),
        };
        tenant.admin().write(&request).await.unwrap();
    };
    let report = tenant.register().await;
    report.unwrap();
    let run = tenant.record().run;
    let theirs = json!(["tower-bearer:00000000-0000-4000-8000-000000000001"]);
    make(theirs).await;
    make(json!([format!("tower-bearer:{run}")])).await;
    assert_eq!(tenant.count("applications", "demo-daemon").await, 3);
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.count("applications", "demo-daemon").await, 1);
    assert!(!tenant.files.state().exists());
}

/// M6: an address where something else answers is not a tenant where all is gone.
#[tokio::test]
async fn what_is_not_graph_has_nothing_gone() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let record = tenant.record();
    let page = || Fault::Answer(404, &[], "<html>Not Found</html>".to_owned());
    tenant.fail(Method::GET, "", 0, 1000, page());
    tenant.fail(Method::DELETE, "", 0, 1000, page());
    let error = tenant.unregister().await.unwrap_err();
    assert!(
        matches!(error, UnregisterError::Asking(GraphError::Unusable { .. })),
        "{error}"
    );
    assert_eq!(tenant.record(), record);
    tenant.heal();
    // In the middle as well.
    tenant.fail(Method::DELETE, "applications/", 0, 1, page());
    let error = tenant.unregister().await.unwrap_err();
    assert!(matches!(error, UnregisterError::Graph { .. }), "{error}");
    let left = tenant.record().objects;
    assert!(left.iter().any(|object| object.key == "daemon"), "{left:?}");
    tenant.unregister().await.unwrap();
}

#[tokio::test]
async fn in_another_tenant_nothing_is_gone() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let record = tenant.record();
    let other = json!({ "value": [{ "id": "99999999-2222-3333-4444-555555555555", "verifiedDomains": [] }] });
    tenant.fail(
        Method::GET,
        "organization",
        0,
        1,
        Fault::Answer(200, &[], other.to_string()),
    );
    tenant.writes();
    let error = tenant.unregister().await.unwrap_err();
    assert!(
        matches!(error, UnregisterError::AnotherTenant { .. }),
        "{error}"
    );
    assert_eq!((tenant.writes(), tenant.record()), (vec![], record));
}

/// M13: the id of a context is the same for everybody.
#[tokio::test]
async fn a_context_that_somebody_made_since_is_left_to_them() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    replace_context(&tenant).await;
    tenant.unregister().await.unwrap();
    let told = tenant.told();
    assert!(
        told.iter()
            .any(|line| line.ends_with("it is somebody else's, and stays")),
        "{told:?}"
    );
    let context = tenant.admin().get(CONTEXT, "").await.unwrap().unwrap();
    assert_eq!(
        (&context["displayName"], &context["isAvailable"]),
        (&json!("Payments"), &json!(true))
    );
    assert!(!tenant.files.state().exists());
}

/// M15: what a record has decides what is asked for.
#[tokio::test]
async fn what_is_asked_for_is_what_is_needed() {
    let tenant = Tenant::without_door().await;
    let before = tenant.everything().await;
    let record = tenant.choices().record();
    assert_eq!(
        unregister::permissions(&record),
        ["Application.ReadWrite.All"]
    );
    tenant.register().await.unwrap();
    let permissions = unregister::permissions(&tenant.record());
    assert_eq!(
        permissions,
        [
            "Application.ReadWrite.All",
            "AppRoleAssignment.ReadWrite.All",
            "DelegatedPermissionGrant.ReadWrite.All",
            "Policy.Read.All",
            "Policy.ReadWrite.ConditionalAccess",
            "AuthenticationContext.ReadWrite.All",
        ]
    );
    let tokens = tenant.tokens_of(TokenSpec::app("daemon", GRAPH).roles(permissions));
    tenant.unregister_as(&tenant.client(tokens)).await.unwrap();
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn files_alone_need_no_sign_in() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    let nobody = || {
        demo_services::tenant::graph::Graph::new(
            tenant.graph.clone(),
            Default::default(),
            std::sync::Arc::new(()),
        )
    };
    let record = tenant.record();
    assert!(Removal::of(record.clone()).needs_graph());
    let error = tenant.unregister_as(&nobody()).await.unwrap_err();
    assert!(
        matches!(error, UnregisterError::Asking(GraphError::SignIn(_))),
        "{error}"
    );
    // As after a run that could not restore a file.
    let (state, _) = StateFile::open(&tenant.files.state()).unwrap();
    let mut emptied = record;
    emptied.objects.clear();
    emptied.emptied = true;
    state.save(&emptied).unwrap();
    drop(state);
    assert!(!Removal::of(emptied.clone()).needs_graph());
    assert!(unregister::permissions(&emptied).is_empty());
    let removed = tenant.unregister_as(&nobody()).await.unwrap();
    assert!(removed.removed == 0 && removed.files > 0, "{removed:?}");
    assert!(!tenant.files.state().exists());
}

/// T3: Entra is many machines, and one of them may not have heard yet of what was made a moment ago.
#[tokio::test]
async fn what_graph_does_not_know_yet_is_looked_for_again() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    let unknown = json!({ "error": { "code": "Request_ResourceNotFound", "message": "Resource 'x' does not exist." } });
    let unknown = Fault::Answer(404, &[], unknown.to_string());
    for method in [Method::GET, Method::DELETE] {
        tenant.register().await.unwrap();
        // What is not recorded is looked for before.
        let skip = usize::from(method == Method::GET);
        tenant.fail(method.clone(), CONTEXT, skip, 1, unknown.clone());
        for (path, skip) in [
            ("conditionalAccess/policies/", 0),
            ("oauth2PermissionGrants/", 0),
            ("appRoleAssignedTo", 0),
            // The second look at the role assignment is one of these.
            ("servicePrincipals/", 1),
            ("applications/", 0),
        ] {
            tenant.fail(method.clone(), path, skip, 1, unknown.clone());
        }
        tenant.waited();
        let removed = tenant.unregister().await.unwrap();
        let waits = tenant.waited();
        assert_eq!((removed.gone, removed.removed), (0, 24), "{method}");
        assert!(
            waits.len() >= 5 && waits.iter().all(|wait| *wait == 3),
            "{waits:?}"
        );
        assert_eq!(tenant.everything().await, before, "{method}");
        tenant.heal();
    }
}

/// T6: the record is a file. What is removed is what carries the mark of the run, not whatever an id leads to.
#[tokio::test]
async fn nothing_of_others_is_removed_by_a_record_that_was_changed() {
    let tenant = Tenant::without_door().await;
    let before = tenant.everything().await;
    let graph = tenant.admin();
    let make = async |path: &str, body| {
        let request = Request {
            method: Method::POST,
            path: path.to_owned(),
            body,
        };
        graph.write(&request).await.unwrap()
    };
    let id = |object: &serde_json::Value| object["id"].as_str().unwrap().to_owned();
    let role = json!([{
        "id": "00000000-0000-4000-8000-00000000000a", "value": "Pay", "displayName": "Pay", "description": "Pay",
        "allowedMemberTypes": ["Application"], "isEnabled": true,
    }]);
    let app = json!({ "displayName": "payroll", "appRoles": role });
    let app = make("applications", app).await;
    let principal = make("servicePrincipals", json!({ "appId": app["appId"] })).await;
    let graph_principal = "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')";
    let graph_principal = graph.get(graph_principal, "").await.unwrap().unwrap();
    let grant = json!({
        "clientId": principal["id"], "resourceId": graph_principal["id"], "consentType": "AllPrincipals", "scope": "User.Read",
    });
    let grant = make("oauth2PermissionGrants", grant).await;
    let path = format!("servicePrincipals/{}/appRoleAssignedTo", id(&principal));
    let assignment = json!({
        "principalId": principal["id"], "resourceId": principal["id"], "appRoleId": "00000000-0000-4000-8000-00000000000a",
    });
    let assignment = make(&path, assignment).await;
    let policy = json!({
        "displayName": "Theirs",
        "state": "disabled",
        "conditions": {
            "applications": { "includeApplications": [app["appId"]] },
            "users": { "includeUsers": ["a11ce000-0000-4000-8000-000000000001"] },
        },
        "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
    });
    let policy = make("identity/conditionalAccess/policies", policy).await;
    let theirs = tenant.everything().await;

    tenant.register().await.unwrap();
    let (state, record) = StateFile::open(&tenant.files.state()).unwrap();
    let mut record = record.unwrap();
    for (kind, found) in [
        (Kind::Application, &app),
        (Kind::ServicePrincipal, &principal),
        (Kind::Grant, &grant),
        (Kind::RoleAssignment, &assignment),
        (Kind::Policy, &policy),
    ] {
        let mut objects = record.objects.iter();
        let mut object = objects.find(|object| object.kind == kind).unwrap().clone();
        object.key = format!("{}-of-others", object.key);
        object.id = id(found);
        if kind == Kind::RoleAssignment {
            object.parent = Some(id(&principal));
        }
        record.add(object);
    }
    state.save(&record).unwrap();
    drop(state);
    let removed = tenant.unregister().await.unwrap();
    assert_eq!(
        (removed.others, removed.gone),
        (5, 0),
        "{:?}",
        tenant.told()
    );
    assert_eq!(tenant.everything().await, theirs);
    assert!(!tenant.files.state().exists());
    graph
        .delete(&format!(
            "identity/conditionalAccess/policies/{}",
            id(&policy)
        ))
        .await
        .unwrap();
    graph
        .delete(&format!("applications/{}", id(&app)))
        .await
        .unwrap();
    assert_eq!(tenant.everything().await, before);
}

/// T17: what cannot be noted is removed all the same, and found gone when there is room again.
#[tokio::test]
async fn a_full_disk_keeps_nothing_in_the_tenant() {
    let tenant = Tenant::without_door().await;
    let (before, tree) = (tenant.everything().await, tenant.files.tree());
    tenant.register().await.unwrap();
    tenant.machine.stops_after(0);
    let error = tenant.unregister().await.unwrap_err();
    assert!(matches!(error, UnregisterError::NotNoted(_)), "{error}");
    assert_eq!(tenant.everything().await, before);
    let told = tenant.told();
    let noted = told.iter().filter(|line| line.contains("is not noted"));
    assert_eq!(noted.count(), 1, "{told:?}");
    tenant.machine.goes_on();
    let removed = tenant.unregister().await.unwrap();
    assert_eq!(removed.removed, 0);
    assert_eq!(
        (tenant.everything().await, tenant.files.tree()),
        (before, tree)
    );
}
