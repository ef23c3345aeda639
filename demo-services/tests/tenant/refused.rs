//! What is refused before anything is made, and what is left as somebody else has made it.

use std::error::Error as _;
use std::fs;

use axum::http::Method;
use demo_services::tenant::{
    plan::{Choices, permissions},
    record::{Kind, RecordError, StateFile},
    register::RegisterError,
};
use local_authority::TokenSpec;
use serde_json::json;

use crate::harness::{Fault, GRAPH, Tenant};
use crate::undone::replace_context;

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
    let tenant = Tenant::without_door().await;
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
    let tenant = Tenant::without_door().await;
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
    let tenant = Tenant::without_door().await;
    let choices = Choices {
        mfa_users: Vec::new(),
        ..tenant.choices()
    };
    // These permissions are enough for that.
    let enough = |choices: &Choices| {
        let mut enough = permissions(choices);
        enough.push("User.Read");
        tenant.client(tenant.tokens(&enough))
    };
    assert!(
        !permissions(&choices)
            .iter()
            .any(|name| name.contains("Policy") || name.contains("Context"))
    );
    let report = tenant
        .register_as(&enough(&choices), &choices)
        .await
        .unwrap();
    assert_eq!(report.left_out.len(), 4);
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
    let contexts = "identity/conditionalAccess/authenticationContextClassReferences";
    assert_eq!(
        tenant.admin().list(contexts, "").await.unwrap(),
        [] as [serde_json::Value; 0]
    );
    // Somebody is named: the rest comes to it. Nobody is named again: it is there all the same.
    let named = tenant.choices();
    let report = tenant.register_as(&enough(&named), &named).await.unwrap();
    assert_eq!((report.left_out.len(), report.changes), (0, 4));
    let report = tenant
        .register_as(&enough(&choices), &choices)
        .await
        .unwrap();
    assert_eq!(
        (report.left_out.len(), report.changes),
        (0, 0),
        "{:?}",
        report.left_out
    );
    assert!(
        report
            .objects
            .iter()
            .any(|row| row.name.starts_with("demo-c1: require MFA"))
    );
}

/// Without Microsoft Entra ID P1.
#[tokio::test]
async fn a_tenant_without_conditional_access_has_the_demo_all_the_same() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;
    let unlicensed = json!({ "error": { "code": "AccessDenied", "message": "Your tenant is not licensed for this feature." } });
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let fault = Fault::Answer(403, &[], unlicensed.to_string());
        tenant.fail(method, "identity/conditionalAccess", 0, 1000, fault);
    }
    let report = tenant.register().await.unwrap();
    let left: Vec<&str> = report
        .left_out
        .iter()
        .map(|left| left.why.as_str())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(
        left[1].contains("no licence") && left[1].contains("It says: Your tenant"),
        "{left:?}"
    );
    assert!(tenant.record().finished && !tenant.record().policies);
    let names = tenant.files.names();
    assert!(names.iter().any(|name| name.ends_with("middle-tier.toml")));
    tenant.writes();
    assert_eq!(tenant.register().await.unwrap().changes, 0);
    tenant.unregister().await.unwrap();
    tenant.heal();
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn a_context_that_came_in_between_stays_theirs() {
    let tenant = Tenant::start().await;
    let context = "authenticationContextClassReferences/c1";
    let body = json!({ "id": "c1", "displayName": "Payments", "isAvailable": true });
    create(
        &tenant,
        "identity/conditionalAccess/authenticationContextClassReferences",
        body,
    )
    .await;
    // Not there when it is looked for, and the last word is theirs.
    let unknown = json!({ "error": { "code": "Request_ResourceNotFound", "message": "none" } });
    tenant.fail(
        Method::GET,
        context,
        0,
        1,
        Fault::Answer(404, &[], unknown.to_string()),
    );
    tenant.fail(
        Method::PATCH,
        context,
        0,
        1,
        Fault::Answer(204, &[], String::new()),
    );
    let report = tenant.register().await.unwrap();
    assert_eq!(report.left_out.len(), 2, "{:?}", report.left_out);
    assert!(
        !tenant
            .record()
            .objects
            .iter()
            .any(|object| object.id == "c1")
    );
}

#[tokio::test]
async fn a_context_that_somebody_made_since_is_not_kept_as_ours() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    replace_context(&tenant).await;
    let report = tenant.register().await.unwrap();
    assert!(
        report.left_out[0].why.contains("\"Payments\""),
        "{:?}",
        report.left_out
    );
    assert!(
        !tenant
            .record()
            .objects
            .iter()
            .any(|object| object.id == "c1")
    );
}

#[tokio::test]
async fn a_tenant_without_graphs_own_application() {
    let tenant = Tenant::start().await;
    let unknown = json!({ "error": { "code": "Request_ResourceNotFound", "message": "none" } });
    tenant.fail(
        Method::GET,
        "servicePrincipals(appId='",
        0,
        1,
        Fault::Answer(404, &[], unknown.to_string()),
    );
    refused(&tenant, |_| {}, "no service principal of Microsoft Graph").await;
    tenant.register().await.unwrap();
}

/// Lists are the last to hear of a removal.
#[tokio::test]
async fn a_name_that_was_removed_a_moment_ago_is_free() {
    let tenant = Tenant::start().await;
    let removed = json!({ "value": [{ "id": "0d1c0000-0000-4000-8000-000000000001", "appId": "0d1c0000-0000-4000-8000-000000000002", "tags": [] }] });
    tenant.fail(
        Method::GET,
        "applications",
        0,
        2,
        Fault::Answer(200, &[], removed.to_string()),
    );
    tenant.register().await.unwrap();
    assert_eq!(tenant.waited(), [3, 3]);
}

#[tokio::test]
async fn policies_of_the_tenant_about_credentials_are_told_with_the_way_on() {
    for (code, way_on) in [
        (
            "CredentialInvalidLifetimeAsPerAppPolicy",
            "how long the credentials",
        ),
        (
            "CredentialTypeNotAllowedAsPerAppPolicy",
            "leave --secret out",
        ),
        ("Request_BadRequest", "It says: no."),
    ] {
        let tenant = Tenant::start().await;
        let body = json!({ "error": { "code": code, "message": "no." } });
        tenant.fail(
            Method::PATCH,
            "applications/",
            5,
            1000,
            Fault::Answer(400, &[], body.to_string()),
        );
        let error = tenant.register().await.unwrap_err();
        let why = error.source().unwrap().to_string();
        assert!(why.contains(way_on) && why.contains(code), "{why}");
        assert_eq!(
            why.contains("A policy of the tenant"),
            code != "Request_BadRequest",
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_policy_whose_application_was_made_anew_is_told_of_when_nobody_is_named() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    let app = tenant.record().app("mfa-app").unwrap().id.clone();
    let graph = tenant.admin();
    assert!(graph.delete(&format!("applications/{app}")).await.unwrap());
    let nobody = Choices {
        mfa_users: Vec::new(),
        ..tenant.choices()
    };
    let report = tenant.register_as(&graph, &nobody).await.unwrap();
    assert_eq!(report.left_out.len(), 1, "{:?}", report.left_out);
    let left = &report.left_out[0];
    assert!(
        left.what.starts_with("policy demo-mfa-app") && left.why.contains("--mfa-user"),
        "{left:?}"
    );
    // The twin: nothing was made anew.
    let report = tenant.register_as(&graph, &nobody).await.unwrap();
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
}

#[tokio::test]
async fn an_application_that_only_a_list_still_has_is_made_anew() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let record = tenant.record();
    let old = record.app("downstream-api").unwrap();
    let graph = tenant.admin();
    assert!(
        graph
            .delete(&format!("applications/{}", old.id))
            .await
            .unwrap()
    );
    let stale = json!({ "value": [{ "id": old.id, "appId": old.app_id, "tags": [record.tag()] }] });
    // It is asked for twice by its id, and then by its name.
    tenant.fail(
        Method::GET,
        "applications",
        2,
        1,
        Fault::Answer(200, &[], stale.to_string()),
    );
    tenant.register().await.unwrap();
    assert_ne!(tenant.record().app("downstream-api").unwrap().id, old.id);
    // And its two consents were looked for again.
    assert_eq!(tenant.waited(), [2, 2, 2]);
}

/// M20: what others have set in a policy outlives an application that is made anew, and a user that comes to it.
#[tokio::test]
async fn exclusions_of_a_policy_stay() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let graph = tenant.admin();
    let policy = tenant
        .record()
        .object(Kind::Policy, "downstream-api")
        .unwrap()
        .id
        .clone();
    let policy = format!("identity/conditionalAccess/policies/{policy}");
    let bob = graph
        .get("users/bob@contoso.example", "$select=id")
        .await
        .unwrap()
        .unwrap();
    let mut conditions = graph.get(&policy, "").await.unwrap().unwrap()["conditions"].take();
    conditions["users"]["excludeUsers"] = json!([bob["id"]]);
    let theirs = tenant
        .record()
        .app("daemon")
        .unwrap()
        .app_id
        .clone()
        .unwrap();
    let apps = conditions["applications"]["includeApplications"]
        .as_array_mut()
        .unwrap();
    apps.push(json!(theirs));
    let request = demo_services::tenant::plan::Request {
        method: Method::PATCH,
        path: policy.clone(),
        body: json!({ "conditions": conditions }),
    };
    graph.write(&request).await.unwrap();
    let old = tenant.record().app("downstream-api").unwrap().clone();
    graph
        .delete(&format!("applications/{}", old.id))
        .await
        .unwrap();
    let choices = Choices {
        mfa_users: vec!["admin@contoso.example".to_owned()],
        ..tenant.choices()
    };
    tenant.register_as(&graph, &choices).await.unwrap();
    let new = tenant
        .record()
        .app("downstream-api")
        .unwrap()
        .app_id
        .clone()
        .unwrap();
    let now = graph.get(&policy, "").await.unwrap().unwrap();
    let conditions = &now["conditions"];
    assert_eq!(
        conditions["applications"]["includeApplications"],
        json!([theirs, new])
    );
    assert_eq!(conditions["users"]["excludeUsers"], json!([bob["id"]]));
    assert_eq!(
        conditions["users"]["includeUsers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    tenant.writes();
    assert_eq!(
        tenant.register_as(&graph, &choices).await.unwrap().changes,
        0
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
    let tenant = Tenant::without_door().await;
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
    let report = tenant.register().await.unwrap();
    assert_eq!(report.changes, 0, "{:?}", tenant.told());
    // What is there is told, not what was asked for.
    let told = tenant.told();
    let states = ["(report-only) (kept)", "(enforced) (kept)"];
    let of = |state: &str| told.iter().filter(|line| line.ends_with(state)).count();
    assert_eq!(states.map(of), [2, 1], "{told:?}");
    let rows = report.objects.iter().filter_map(|row| row.state.as_deref());
    assert_eq!(
        rows.collect::<Vec<_>>(),
        ["report-only", "report-only", "enforced"]
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

/// It goes into the record, addresses, configurations and onto the terminal.
#[tokio::test]
async fn a_tenant_whose_id_is_none() {
    let tenant = Tenant::start().await;
    let id = "x\nca_file = \"/tmp/evil.pem\"\n#";
    let domains = json!([{ "name": tenant.choices().tenant }]);
    let body = json!({ "value": [{ "id": id, "verifiedDomains": domains }] });
    let answer = Fault::Answer(200, &[], body.to_string());
    tenant.fail(Method::GET, "organization", 0, 1, answer);
    let error = tenant.register().await.unwrap_err();
    let why = error.source().unwrap().to_string();
    assert!(why.contains("is no GUID"), "{why}");
    assert_eq!((tenant.writes(), tenant.files.names()), (vec![], vec![]));
}
