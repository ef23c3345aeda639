//! Applications, service principals and grants: the rules of each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local_authority::TokenSpec;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::graph::{ADMIN, GRAPH, code, text};
use crate::harness::{Browser, DOWNSTREAM, Harness};

async fn new_app(authority: &Harness) -> (String, String) {
    let body = Some(json!({ "displayName": "app", "signInAudience": "AzureADMyOrg" }));
    let app = authority.admin("POST", "applications", body, 201).await;
    (
        format!("applications/{}", text(&app, "id")),
        text(&app, "appId"),
    )
}

fn scope(id: &str, value: &str) -> Value {
    json!({ "id": id, "value": value, "type": "User", "isEnabled": true })
}

#[tokio::test]
async fn a_new_application_has_the_defaults_of_graph() {
    let authority = Harness::start().await;
    let body = json!({ "displayName": "one", "signInAudience": "AzureADMyOrg" });
    let app = authority
        .admin("POST", "applications", Some(body), 201)
        .await;
    assert_eq!(app["api"]["requestedAccessTokenVersion"], Value::Null);
    assert_eq!(app["publisherDomain"], "contoso.example");
    assert_eq!(app["createdDateTime"], "2026-11-22T03:49:26Z");
    let told = authority
        .admin(
            "GET",
            &format!("applications/{}", text(&app, "id")),
            None,
            200,
        )
        .await;
    assert_eq!(told["appId"], app["appId"]);
    let body = json!({ "displayName": "one" });
    let app = authority
        .admin("POST", "applications", Some(body), 201)
        .await;
    assert_eq!(app["displayName"], "one", "names may be shared");
    assert_eq!(app["signInAudience"], "AzureADandPersonalMicrosoftAccount");
    assert_eq!(app["api"]["requestedAccessTokenVersion"], 2);
    let path = "applications?$filter=displayName%20eq%20'one'&$select=id,displayName";
    let listed = authority.admin("GET", path, None, 200).await;
    assert_eq!(listed["value"].as_array().unwrap().len(), 2);
    assert_eq!(listed["value"][0].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn an_application_of_the_file_is_told_as_graph_would() {
    let authority = Harness::start().await;
    let find = async |filter: &str| {
        let path = format!("applications?$filter={filter}");
        authority.admin("GET", &path, None, 200).await["value"][0].clone()
    };
    let middle = find("identifierUris/any(u:u%20eq%20'api://middle-tier')").await;
    assert_eq!(middle["displayName"], "middle-tier");
    let down = find(&format!(
        "appId%20eq%20'{}'",
        authority.id("downstream-api")
    ))
    .await;
    let access = &middle["requiredResourceAccess"][0];
    assert_eq!(access["resourceAppId"], down["appId"]);
    assert_eq!(
        access["resourceAccess"][0]["id"],
        down["api"]["oauth2PermissionScopes"][0]["id"]
    );
    assert_eq!(middle["optionalClaims"]["accessToken"][1]["name"], "acrs");
    // No secret of the file is told, only that there is one.
    let told = middle.to_string();
    assert!(!told.contains(&authority.secret("middle-tier")));
    assert_eq!(middle["passwordCredentials"].as_array().unwrap().len(), 1);
    let graph = authority
        .admin(
            "GET",
            "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')",
            None,
            200,
        )
        .await;
    let scopes = graph["oauth2PermissionScopes"].as_array().unwrap();
    let read = scopes
        .iter()
        .find(|scope| scope["value"] == "User.Read")
        .unwrap();
    assert_eq!(read["id"], "e1fe6dd8-ba31-4d61-89e7-88639da4683d");
}

#[tokio::test]
async fn each_property_has_its_rules() {
    let authority = Harness::start().await;
    let (path, _) = new_app(&authority).await;
    let id = Uuid::new_v4().to_string();
    let other = Uuid::new_v4().to_string();
    for (good, bad) in [
        (json!({ "displayName": "x" }), json!({ "displayName": "" })),
        (
            json!({ "displayName": "x" }),
            json!({ "displayName": null }),
        ),
        (
            json!({ "displayName": "x" }),
            json!({ "displayName": "x".repeat(257) }),
        ),
        (json!({ "notes": null }), json!({ "notess": null })),
        (json!({ "tags": ["x"] }), json!({ "tags": "x" })),
        (json!({ "tags": [] }), json!({ "tags": vec!["x"; 101] })),
        (json!({ "web": {} }), json!({ "web": { "colour": 1 } })),
        (json!({ "web": {} }), json!({ "id": id })),
        (json!({ "web": {} }), json!({ "appId": id })),
        (
            json!({ "web": { "redirectUris": ["https://app.example/cb"] } }),
            json!({ "web": { "redirectUris": ["http://app.example/cb"] } }),
        ),
        (
            json!({ "web": { "redirectUris": [] } }),
            json!({ "web": { "redirectUris": ["https://*.example/"] } }),
        ),
        (
            json!({ "web": {} }),
            json!({ "web": { "implicitGrantSettings": { "enableIdTokenIssuance": true } } }),
        ),
        (
            json!({ "web": { "homePageUrl": "https://app.example" } }),
            json!({ "web": { "homePageUrl": "javascript:alert(1)" } }),
        ),
        (
            json!({ "identifierUris": ["api://x"] }),
            json!({ "identifierUris": ["api://middle-tier"] }),
        ),
        (
            json!({ "identifierUris": ["https://sub.contoso.example/x"] }),
            json!({ "identifierUris": ["https://notcontoso.example/x"] }),
        ),
        (
            json!({ "identifierUris": [] }),
            json!({ "identifierUris": [GRAPH] }),
        ),
        (
            json!({ "api": { "requestedAccessTokenVersion": 1 } }),
            json!({ "api": { "requestedAccessTokenVersion": 3 } }),
        ),
        (
            json!({ "signInAudience": "AzureADMultipleOrgs" }),
            json!({ "signInAudience": "Everybody" }),
        ),
        (
            json!({ "signInAudience": "AzureADMyOrg" }),
            json!({ "signInAudience": "PersonalMicrosoftAccount" }),
        ),
        (
            json!({ "api": { "knownClientApplications": [authority.id("daemon")] } }),
            json!({ "api": { "knownClientApplications": [id] } }),
        ),
        (
            json!({ "requiredResourceAccess": [{ "resourceAppId": id, "resourceAccess": [{ "id": id, "type": "Role" }] }] }),
            json!({ "requiredResourceAccess": [{ "resourceAppId": id, "resourceAccess": [{ "id": id, "type": "Other" }] }] }),
        ),
        (
            json!({ "optionalClaims": null }),
            json!({ "optionalClaims": { "refreshToken": [] } }),
        ),
        (
            json!({ "api": { "oauth2PermissionScopes": [scope(&id, "read")] } }),
            json!({ "api": { "oauth2PermissionScopes": [scope(&id, "read"), scope(&id, "write")] } }),
        ),
        (
            json!({ "api": { "oauth2PermissionScopes": [scope(&id, "read"), scope(&other, "write")] } }),
            json!({ "api": { "oauth2PermissionScopes": [scope(&id, "read"), scope(&other, "write"), scope(&Uuid::new_v4().to_string(), "a b")] } }),
        ),
        (
            json!({ "api": { "preAuthorizedApplications": [{ "appId": authority.id("daemon"), "delegatedPermissionIds": [id] }] } }),
            json!({ "api": { "preAuthorizedApplications": [{ "appId": authority.id("daemon"), "delegatedPermissionIds": [path[13..]] }] } }),
        ),
    ] {
        authority
            .admin("PATCH", &path, Some(good.clone()), 204)
            .await;
        let before = authority.admin("GET", &path, None, 200).await;
        let error = authority
            .admin("PATCH", &path, Some(bad.clone()), 400)
            .await;
        assert!(error["error"]["code"].is_string(), "{bad}");
        assert_eq!(
            authority.admin("GET", &path, None, 200).await,
            before,
            "{bad} changed something"
        );
    }
    let token = authority.graph_token("alice", &ADMIN);
    let answer = authority
        .graph(&token, "PATCH", &path, Some(json!({ "colour": "hunter2" })))
        .await;
    assert_eq!(code(&answer), (400, "Request_BadRequest".to_owned()));
    assert!(
        answer.text.contains("'colour'") && !answer.text.contains("hunter2"),
        "{}",
        answer.text
    );
    authority
        .admin("POST", "applications", Some(json!({})), 400)
        .await;
}

#[tokio::test]
async fn a_scope_goes_only_after_it_was_switched_off() {
    let authority = Harness::start().await;
    let (path, _) = new_app(&authority).await;
    let id = Uuid::new_v4().to_string();
    let scopes = |list: Value| Some(json!({ "api": { "oauth2PermissionScopes": list } }));
    authority
        .admin("PATCH", &path, scopes(json!([scope(&id, "read")])), 204)
        .await;
    let error = authority
        .admin("PATCH", &path, scopes(json!([])), 400)
        .await;
    assert_eq!(
        error["error"]["code"],
        "CannotDeleteOrUpdateEnabledEntitlement"
    );
    let mut off = scope(&id, "read");
    off["isEnabled"] = false.into();
    authority
        .admin("PATCH", &path, scopes(json!([off])), 204)
        .await;
    authority
        .admin("PATCH", &path, scopes(json!([])), 204)
        .await;
}

#[tokio::test]
async fn secrets_are_told_once_and_stop_working_when_removed() {
    let authority = Harness::start().await;
    let (path, app_id) = new_app(&authority).await;
    let body = Some(json!({ "appId": app_id }));
    authority
        .admin("POST", "servicePrincipals", body, 201)
        .await;
    let mut secrets = Vec::new();
    for name in ["first", "second"] {
        let body = Some(json!({ "passwordCredential": { "displayName": name } }));
        secrets.push(
            authority
                .admin("POST", &format!("{path}/addPassword"), body, 200)
                .await,
        );
    }
    assert_eq!(secrets[0]["endDateTime"], "2028-11-21T03:49:26Z");
    let works = async |secret: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", app_id.as_str()),
            ("client_secret", secret),
            ("scope", "api://downstream-api/.default"),
        ];
        authority.token(&form).await.status == 200
    };
    let (first, second) = (
        text(&secrets[0], "secretText"),
        text(&secrets[1], "secretText"),
    );
    assert!(works(&first).await && works(&second).await);
    let told = authority.admin("GET", &path, None, 200).await.to_string();
    assert!(told.contains("first") && !told.contains(&first));
    let remove = Some(json!({ "keyId": secrets[0]["keyId"] }));
    authority
        .admin(
            "POST",
            &format!("{path}/removePassword"),
            remove.clone(),
            204,
        )
        .await;
    assert!(!works(&first).await && works(&second).await);
    authority
        .admin("POST", &format!("{path}/removePassword"), remove, 400)
        .await;
    for bad in [
        json!({ "endDateTime": "2020-01-01T00:00:00Z" }),
        json!({ "endDateTime": "soon" }),
        json!({ "secretText": "mine" }),
    ] {
        let body = Some(json!({ "passwordCredential": bad }));
        authority
            .admin("POST", &format!("{path}/addPassword"), body, 400)
            .await;
    }
}

#[tokio::test]
async fn a_certificate_is_der_of_the_right_kind() {
    let authority = Harness::start().await;
    let (path, _) = new_app(&authority).await;
    let key = |kind: &str, key: &str| {
        Some(json!({ "keyCredentials": [{ "type": kind, "usage": "Verify", "key": key }] }))
    };
    let good = "AsymmetricX509Cert";
    for (kind, text) in [
        ("Symmetric", STANDARD.encode([0x30, 0x82])),
        (good, STANDARD.encode("x")),
        (good, "!".to_owned()),
    ] {
        authority.admin("PATCH", &path, key(kind, &text), 400).await;
    }
}

#[tokio::test]
async fn owners_are_users_or_service_principals_and_stand_once() {
    let authority = Harness::start().await;
    let (path, _) = new_app(&authority).await;
    let owners = async || {
        let list = authority
            .admin("GET", &format!("{path}/owners"), None, 200)
            .await;
        let list = list["value"].as_array().unwrap().clone();
        list.iter()
            .map(|owner| text(owner, "displayName"))
            .collect::<Vec<_>>()
    };
    assert_eq!(owners().await, ["Alice Liddell"], "whoever registers owns");
    let add =
        |id: &str| Some(json!({ "@odata.id": format!("{GRAPH}/v1.0/directoryObjects/{id}") }));
    let reference = format!("{path}/owners/$ref");
    let bob = "b0b00000-0000-4000-8000-000000000002";
    authority.admin("POST", &reference, add(bob), 204).await;
    assert_eq!(owners().await, ["Alice Liddell", "Bob Stone"]);
    authority.admin("POST", &reference, add(bob), 400).await;
    authority
        .admin("POST", &reference, add(&Uuid::new_v4().to_string()), 404)
        .await;
    authority.admin("POST", &reference, add("x"), 400).await;
    authority
        .admin("DELETE", &format!("{path}/owners/{bob}/$ref"), None, 204)
        .await;
    assert_eq!(owners().await, ["Alice Liddell"]);
}

#[tokio::test]
async fn a_service_principal_needs_an_application_and_stands_once() {
    let authority = Harness::start().await;
    let (_, app_id) = new_app(&authority).await;
    let post = |id: &str| Some(json!({ "appId": id }));
    authority
        .admin(
            "GET",
            &format!("servicePrincipals(appId='{app_id}')"),
            None,
            404,
        )
        .await;
    authority
        .admin(
            "POST",
            "servicePrincipals",
            post(&Uuid::new_v4().to_string()),
            400,
        )
        .await;
    let made = authority
        .admin("POST", "servicePrincipals", post(&app_id), 201)
        .await;
    let error = authority
        .admin("POST", "servicePrincipals", post(&app_id), 409)
        .await;
    assert_eq!(
        error["error"]["code"],
        "Request_MultipleObjectsWithSameKeyValue"
    );
    let path = format!("servicePrincipals?$filter=appId%20eq%20'{app_id}'");
    let listed = authority.admin("GET", &path, None, 200).await;
    assert_eq!(listed["value"][0]["id"], made["id"]);
    authority
        .admin(
            "DELETE",
            "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')",
            None,
            400,
        )
        .await;
}

/// Consent of the file is a grant like others: it can be seen, and taken back.
#[tokio::test]
async fn consent_of_the_file_is_a_grant_that_can_be_taken_back() {
    let authority = Harness::start().await;
    let principal = async |app: &str| {
        let path = format!("servicePrincipals(appId='{}')", authority.id(app));
        text(&authority.admin("GET", &path, None, 200).await, "id")
    };
    let (middle, down) = (
        principal("middle-tier").await,
        principal("downstream-api").await,
    );
    let path = format!("oauth2PermissionGrants?$filter=clientId%20eq%20'{middle}'");
    let grants = authority.admin("GET", &path, None, 200).await["value"].clone();
    assert_eq!(
        (
            &grants[0]["resourceId"],
            &grants[0]["consentType"],
            &grants[0]["scope"]
        ),
        (
            &json!(down),
            &json!("AllPrincipals"),
            &json!("user_impersonation")
        )
    );
    let assertion = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    assert_eq!(
        authority
            .on_behalf_of(&assertion, &[("scope", DOWNSTREAM)])
            .await
            .status,
        200
    );
    let one = format!("oauth2PermissionGrants/{}", text(&grants[0], "id"));
    authority.admin("DELETE", &one, None, 204).await;
    assert_eq!(
        authority.on_behalf_of(&assertion, &[]).await.error_code(),
        65_001
    );
    // The others of the file are as they were.
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
    for bad in [
        json!({ "consentType": "Everybody", "scope": "x" }),
        json!({ "consentType": "AllPrincipals", "principalId": middle, "scope": "x" }),
        json!({ "consentType": "Principal", "scope": "x" }),
        json!({ "consentType": "AllPrincipals" }),
    ] {
        let mut body = bad.as_object().unwrap().clone();
        body.insert("clientId".into(), middle.clone().into());
        body.insert("resourceId".into(), down.clone().into());
        authority
            .admin("POST", "oauth2PermissionGrants", Some(body.into()), 400)
            .await;
    }
}

#[tokio::test]
async fn the_tenant_its_users_and_its_groups_can_be_read() {
    let authority = Harness::with(|directory| {
        directory.user_mut("bob").unwrap().groups = vec!["staff".into()];
    })
    .await;
    let organization = authority.admin("GET", "organization", None, 200).await;
    assert_eq!(
        organization["value"][0]["verifiedDomains"][0]["name"],
        "contoso.example"
    );
    let path = "users?$filter=userPrincipalName%20eq%20'BOB@contoso.example'";
    let users = authority.admin("GET", path, None, 200).await;
    assert_eq!(users["value"][0]["displayName"], "Bob Stone");
    let id = text(&users["value"][0], "id");
    authority
        .admin("GET", &format!("users/{id}"), None, 200)
        .await;
    authority
        .admin("GET", "users/bob@contoso.example", None, 200)
        .await;
    authority
        .admin("GET", "users/nobody@contoso.example", None, 404)
        .await;
    let groups = authority
        .admin(
            "GET",
            "groups?$filter=displayName%20eq%20'staff'",
            None,
            200,
        )
        .await;
    authority
        .admin(
            "GET",
            &format!("groups/{}", text(&groups["value"][0], "id")),
            None,
            200,
        )
        .await;
    let page = authority.admin("GET", "users?$top=2", None, 200).await;
    assert_eq!(page["value"].as_array().unwrap().len(), 2);
    let next = text(&page, "@odata.nextLink");
    let (_, rest) = next.split_once("/v1.0/").unwrap();
    let page = authority.admin("GET", rest, None, 200).await;
    assert_eq!(page["value"].as_array().unwrap().len(), 2);
    // A user reads their own object, nobody else's, with `User.Read`.
    let token = authority.graph_token("bob", &["User.Read"]);
    assert_eq!(
        authority
            .graph(&token, "GET", &format!("users/{id}"), None)
            .await
            .status,
        200
    );
    assert_eq!(
        authority
            .graph(&token, "GET", "users/alice@contoso.example", None)
            .await
            .status,
        403
    );
    assert_eq!(
        authority
            .graph(&token, "GET", "users/nobody@contoso.example", None)
            .await
            .status,
        403
    );
}
