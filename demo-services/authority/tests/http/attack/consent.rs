//! What consent and permissions can be made to give.

use super::*;

#[tokio::test]
async fn combined_consent_grants_nothing_that_only_an_administrator_may() {
    let authority = Harness::with(|directory| {
        let middle = directory.app_mut("middle-tier").unwrap();
        middle.consent = Consent::Required;
        middle.delegated = ["User.Read", "Application.ReadWrite.All"]
            .map(|name| format!("{GRAPH}/{name}"))
            .into();
    })
    .await;
    let mut browser = Browser::default();
    let changes = [("prompt", "consent"), ("scope", MIDDLE_DEFAULT)];
    let page = authority.authorize(&browser, &changes).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_consent() && page.text.contains("Read your profile"));
    assert!(!page.text.contains("Application.ReadWrite.All"));
    let answer = authority.accept(&mut browser, &page).await;
    let code = answer.parameters()["code"].clone();
    let body = authority.redeem(&code, &[("scope", MIDDLE_DEFAULT)]).await;
    let assertion = text(&body.json(), "access_token");
    let exchange = async |name: &str| {
        let scope = format!("{GRAPH}/{name}");
        authority
            .on_behalf_of(&assertion, &[("scope", &scope)])
            .await
    };
    let read = exchange("User.Read").await;
    assert_eq!(read.status, 200, "{}", read.text);
    let scp = claims(&text(&read.json(), "access_token"))["scp"].clone();
    assert_eq!(scp, "User.Read");
    assert_eq!(
        exchange("Application.ReadWrite.All").await.error_code(),
        65_001
    );
}

#[tokio::test]
async fn who_may_change_an_application_may_not_consent_for_everybody() {
    let authority = Harness::start().await;
    let path = app_path(&authority, "middle-tier");
    let middle = by_writer(&authority, "GET", &path, Value::Null)
        .await
        .json();
    let middle_scope = &middle["api"]["oauth2PermissionScopes"][0]["id"];
    let body = json!({ "requiredResourceAccess": [
        { "resourceAppId": authority.id("middle-tier"), "resourceAccess": [{ "id": middle_scope, "type": "Scope" }] },
        { "resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": [{ "id": WRITE_APPS, "type": "Scope" }] },
    ] });
    let path = app_path(&authority, "spa-backend");
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    let mut browser = Browser::default();
    // What was granted before stays granted, and no more than that.
    let code = authority.code(&mut browser).await;
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
    let scope = format!("{GRAPH}/Application.ReadWrite.All");
    let answer = authority.authorize(&browser, &[("scope", &scope)]).await;
    assert_eq!(answer.parameters()["error"], "consent_required");
}

#[tokio::test]
async fn consent_goes_with_the_service_principal() {
    let authority = Harness::with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = Consent::Required;
    })
    .await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    authority.accept(&mut browser, &page).await;
    let silent = [("prompt", "none")];
    assert!(
        authority
            .authorize(&browser, &silent)
            .await
            .parameters()
            .contains_key("code")
    );
    for of in ["spa-backend", "middle-tier"] {
        let id = authority.id(of);
        let path = format!("servicePrincipals(appId='{id}')");
        assert_eq!(
            by_writer(&authority, "DELETE", &path, Value::Null)
                .await
                .status,
            204
        );
        let body = json!({ "appId": id });
        assert_eq!(
            by_writer(&authority, "POST", "servicePrincipals", body)
                .await
                .status,
            201
        );
        let answer = authority.authorize(&browser, &silent).await;
        assert_eq!(answer.parameters()["error"], "consent_required", "{of}");
        let page = authority.authorize(&browser, &[]).await;
        authority.accept(&mut browser, &page).await;
    }
}

#[tokio::test]
async fn a_permission_to_write_applications_grants_no_permission() {
    let authority = Harness::start().await;
    let principal = |app: &Value| text(app, "id");
    let path = format!("servicePrincipals(appId='{}')", authority.id("daemon"));
    let daemon = by_writer(&authority, "GET", &path, Value::Null)
        .await
        .json();
    let graph = "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')";
    let graph = by_writer(&authority, "GET", graph, Value::Null)
        .await
        .json();
    let grant = json!({
        "clientId": principal(&daemon), "resourceId": principal(&graph),
        "consentType": "AllPrincipals", "scope": "Application.ReadWrite.All",
    });
    let assignment = json!({
        "principalId": principal(&daemon), "resourceId": principal(&graph),
        "appRoleId": "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9",
    });
    let policy = format!(
        "identity/conditionalAccess/policies/{}",
        authority.directory.policies[0].id
    );
    let roles = format!(
        "servicePrincipals/{}/appRoleAssignments",
        principal(&daemon)
    );
    for (method, path, body) in [
        ("POST", "oauth2PermissionGrants", grant),
        ("POST", roles.as_str(), assignment),
        ("DELETE", policy.as_str(), Value::Null),
        ("PATCH", policy.as_str(), json!({ "state": "disabled" })),
        ("PATCH", "me", json!({ "displayName": "x" })),
        ("GET", "users", Value::Null),
    ] {
        let answer = by_writer(&authority, method, path, body).await;
        let expected = if path == policy {
            "AccessDenied"
        } else {
            "Authorization_RequestDenied"
        };
        assert_eq!(code(&answer), (403, expected.to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn who_may_read_nothing_learns_nothing_of_service_principals() {
    let authority = Harness::start().await;
    let weak = authority.graph_token("bob", &["User.Read"]);
    let (known, unknown) = (authority.id("daemon"), uuid::Uuid::nil().to_string());
    for list in [
        "",
        "/appRoleAssignments",
        "/appRoleAssignedTo",
        "/oauth2PermissionGrants",
    ] {
        for id in [&known, &unknown] {
            let path = format!("servicePrincipals(appId='{id}'){list}");
            let answer = authority.graph(&weak, "GET", &path, None).await;
            assert_eq!(answer.status, 403, "{path}");
        }
    }
}
