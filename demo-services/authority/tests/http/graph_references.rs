//! Who holds a permission goes on holding it when the API takes other names.

use local_authority::TokenSpec;
use serde_json::{Value, json};

use crate::graph::text;
use crate::harness::{Harness, claims};

/// An authority in which alice has the role that the daemon has.
async fn with_roles() -> Harness {
    Harness::with(|directory| {
        directory.user_mut("alice").unwrap().roles = vec!["api://downstream-api/Task.Run".into()];
    })
    .await
}

fn api(authority: &Harness) -> String {
    format!("applications(appId='{}')", authority.id("downstream-api"))
}

/// `scp` or the error's number, and `roles`, of what the middle tier gets for alice.
async fn exchanged(authority: &Harness, uri: &str) -> (Value, Value) {
    let assertion = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    let scope = format!("{uri}/.default");
    let answer = authority
        .on_behalf_of(&assertion, &[("scope", &scope)])
        .await;
    if answer.status != 200 {
        return (answer.error_code().into(), Value::Null);
    }
    let told = claims(&text(&answer.json(), "access_token"));
    (told["scp"].clone(), told["roles"].clone())
}

/// `roles` of what the daemon gets.
async fn own_roles(authority: &Harness, uri: &str) -> Value {
    let (id, secret) = (authority.id("daemon"), authority.secret("daemon"));
    let scope = format!("{uri}/.default");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &id),
        ("client_secret", &secret),
        ("scope", &scope),
    ];
    let answer = authority.token(&form).await;
    claims(&text(&answer.json(), "access_token"))["roles"].clone()
}

#[tokio::test]
async fn another_uri_takes_no_permission_away_and_gives_none_to_who_gets_the_old_one() {
    let authority = with_roles().await;
    let held = (json!("user_impersonation"), json!(["Task.Run"]));
    assert_eq!(exchanged(&authority, "api://downstream-api").await, held);
    let middle = format!("applications(appId='{}')", authority.id("middle-tier"));
    let needs =
        async || authority.admin("GET", &middle, None, 200).await["requiredResourceAccess"].clone();
    let before = needs().await;
    let uris = |uri: &str| Some(json!({ "identifierUris": [uri] }));
    authority
        .admin("PATCH", &api(&authority), uris("api://renamed"), 204)
        .await;
    assert_eq!(exchanged(&authority, "api://renamed").await, held);
    assert_eq!(
        own_roles(&authority, "api://renamed").await,
        json!(["Task.Run"])
    );
    assert_eq!(needs().await, before);

    // The old name is free for another API, to which nobody has permissions.
    let body = json!({
        "displayName": "another", "identifierUris": ["api://downstream-api"],
        "api": { "oauth2PermissionScopes": [{
            "id": "0d1c0000-0000-4000-8000-000000000001", "value": "user_impersonation", "type": "User", "isEnabled": true,
        }] },
        "appRoles": [{
            "id": "0d1c0000-0000-4000-8000-000000000002", "value": "Task.Run", "displayName": "Run", "description": "Run",
            "allowedMemberTypes": ["User", "Application"], "isEnabled": true,
        }],
    });
    let other = authority
        .admin("POST", "applications", Some(body), 201)
        .await;
    let body = json!({ "appId": other["appId"] });
    authority
        .admin("POST", "servicePrincipals", Some(body), 201)
        .await;
    assert_eq!(
        exchanged(&authority, "api://downstream-api").await,
        (json!(65_001), Value::Null)
    );
    assert_eq!(
        own_roles(&authority, "api://downstream-api").await,
        Value::Null
    );
    assert_eq!(exchanged(&authority, "api://renamed").await, held);
}

#[tokio::test]
async fn a_scope_or_role_that_is_off_is_held_but_not_told_and_comes_back_under_its_new_value() {
    let authority = with_roles().await;
    let uri = "api://downstream-api";
    let told = authority.admin("GET", &api(&authority), None, 200).await;
    let change = async |value: (&str, &str), enabled: bool| {
        let mut scope = told["api"]["oauth2PermissionScopes"][0].clone();
        (scope["value"], scope["isEnabled"]) = (value.0.into(), enabled.into());
        let mut role = told["appRoles"][0].clone();
        (role["value"], role["isEnabled"]) = (value.1.into(), enabled.into());
        let body = json!({ "api": { "oauth2PermissionScopes": [scope] }, "appRoles": [role] });
        authority
            .admin("PATCH", &api(&authority), Some(body), 204)
            .await;
    };
    let (old, new) = (("user_impersonation", "Task.Run"), ("act", "Job.Run"));
    change(old, false).await;
    assert_eq!(exchanged(&authority, uri).await.0, json!(65_001));
    assert_eq!(own_roles(&authority, uri).await, Value::Null);
    change(old, true).await;
    assert_eq!(
        exchanged(&authority, uri).await,
        (json!("user_impersonation"), json!(["Task.Run"]))
    );
    change(old, false).await;
    change(new, false).await;
    change(new, true).await;
    assert_eq!(
        exchanged(&authority, uri).await,
        (json!("act"), json!(["Job.Run"]))
    );
    assert_eq!(own_roles(&authority, uri).await, json!(["Job.Run"]));
    // Only what is deleted is lost.
    change(new, false).await;
    let none = json!({ "api": { "oauth2PermissionScopes": [] }, "appRoles": [] });
    authority
        .admin("PATCH", &api(&authority), Some(none), 204)
        .await;
    change(new, true).await;
    assert_eq!(own_roles(&authority, uri).await, Value::Null);
    assert_eq!(exchanged(&authority, uri).await.0, json!(65_001));
}
