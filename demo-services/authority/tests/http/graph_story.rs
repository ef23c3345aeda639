//! From nothing to a sign-in and an exchange On-Behalf-Of through applications that were registered by HTTP alone, and back.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::graph::text;
use crate::harness::{Answer, Browser, Harness, claims};

pub(crate) const CALLBACK: &str = "http://localhost:4000/auth/redirect";

/// What `POST /applications` and `POST /servicePrincipals` told.
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) app_id: String,
    pub(crate) principal: String,
    scope: String,
}

pub(crate) async fn register(authority: &Harness, name: &str, more: Value) -> Registered {
    let scope = Uuid::new_v4().to_string();
    let mut body = json!({
        "displayName": name,
        "signInAudience": "AzureADMyOrg",
        "api": {
            "requestedAccessTokenVersion": 2,
            "oauth2PermissionScopes": [{
                "id": scope, "value": "access_as_user", "type": "User", "isEnabled": true,
                "adminConsentDisplayName": "Access", "adminConsentDescription": "Access as the user.",
            }],
        },
        "optionalClaims": { "accessToken": [{ "name": "idtyp" }, { "name": "xms_cc" }] },
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let app = authority
        .admin("POST", "applications", Some(body), 201)
        .await;
    let (id, app_id) = (text(&app, "id"), text(&app, "appId"));
    let uri = json!({ "identifierUris": [format!("api://{app_id}")] });
    authority
        .admin("PATCH", &format!("applications/{id}"), Some(uri), 204)
        .await;
    let body = Some(json!({ "appId": app_id }));
    let principal = authority
        .admin("POST", "servicePrincipals", body, 201)
        .await;
    Registered {
        id,
        app_id,
        principal: text(&principal, "id"),
        scope,
    }
}

impl Registered {
    pub(crate) async fn needs(&self, authority: &Harness, api: &Registered) {
        let body = json!({
            "requiredResourceAccess": [{
                "resourceAppId": api.app_id,
                "resourceAccess": [{ "id": api.scope, "type": "Scope" }],
            }],
        });
        let path = format!("applications/{}", self.id);
        authority.admin("PATCH", &path, Some(body), 204).await;
    }

    pub(crate) async fn secret(&self, authority: &Harness) -> String {
        let path = format!("applications/{}/addPassword", self.id);
        let body = Some(json!({ "passwordCredential": { "displayName": "app secret" } }));
        text(
            &authority.admin("POST", &path, body, 200).await,
            "secretText",
        )
    }

    pub(crate) async fn granted(&self, authority: &Harness, api: &Registered) {
        let body = json!({
            "clientId": self.principal, "resourceId": api.principal,
            "consentType": "AllPrincipals", "scope": "access_as_user",
        });
        authority
            .admin("POST", "oauth2PermissionGrants", Some(body), 201)
            .await;
    }
}

/// The page on which a user signs in to this client.
pub(crate) async fn page(authority: &Harness, client: &Registered, scope: &str) -> Answer {
    let changes = [
        ("client_id", client.app_id.as_str()),
        ("redirect_uri", CALLBACK),
        ("scope", scope),
    ];
    let page = authority.authorize(&Browser::default(), &changes).await;
    assert!(page.is_sign_in(), "{}", page.text);
    page
}

async fn sign_in(authority: &Harness, client: &Registered, scope: &str) -> (Browser, Answer) {
    let mut browser = Browser::default();
    let page = page(authority, client, scope).await;
    let answer = authority.sign_in(&mut browser, &page, "alice").await;
    (browser, answer)
}

#[tokio::test]
async fn register_sign_in_exchange_and_unregister() {
    let authority = Harness::start().await;
    let web = register(
        &authority,
        "web",
        json!({ "web": { "redirectUris": [CALLBACK] } }),
    )
    .await;
    let middle = register(&authority, "middle", json!({})).await;
    let down = register(&authority, "down", json!({})).await;
    let (web_secret, middle_secret) = (
        web.secret(&authority).await,
        middle.secret(&authority).await,
    );
    web.needs(&authority, &middle).await;
    middle.needs(&authority, &down).await;
    let to_middle = format!("api://{}/access_as_user openid", middle.app_id);
    let to_down = format!("api://{}/access_as_user", down.app_id);
    let redeem = async |answer: &Answer| {
        let changes = [
            ("client_id", web.app_id.as_str()),
            ("client_secret", &web_secret),
            ("redirect_uri", CALLBACK),
            ("scope", &to_middle),
        ];
        authority
            .redeem(&answer.parameters()["code"], &changes)
            .await
    };
    let exchange = async |assertion: &str| {
        let changes = [
            ("client_id", middle.app_id.as_str()),
            ("client_secret", &middle_secret),
            ("scope", &to_down),
        ];
        authority.on_behalf_of(assertion, &changes).await
    };

    // Nobody has consented: the user is asked. An administrator's grant spares that.
    let (_, page) = sign_in(&authority, &web, &to_middle).await;
    assert!(page.is_consent(), "{}", page.text);
    web.granted(&authority, &middle).await;
    let (mut browser, answer) = sign_in(&authority, &web, &to_middle).await;
    let token = text(&redeem(&answer).await.json(), "access_token");
    let told = claims(&token);
    assert_eq!(
        (&told["aud"], &told["scp"], &told["ver"]),
        (
            &json!(middle.app_id),
            &json!("access_as_user"),
            &json!("2.0")
        )
    );

    // The same for the exchange.
    assert_eq!(exchange(&token).await.error_code(), 65_001);
    middle.granted(&authority, &down).await;
    let answer = exchange(&token).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        claims(&text(&answer.json(), "access_token"))["aud"],
        down.app_id
    );

    // A policy on the API behind. Report-only, it does nothing.
    let policy = json!({
        "displayName": "MFA for down",
        "state": "enabledForReportingButNotEnforced",
        "conditions": {
            "applications": { "includeApplications": [down.app_id] },
            "users": { "includeUsers": ["a11ce000-0000-4000-8000-000000000001"] },
        },
        "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
    });
    let policy = authority
        .admin(
            "POST",
            "identity/conditionalAccess/policies",
            Some(policy),
            201,
        )
        .await;
    let policy = format!(
        "identity/conditionalAccess/policies/{}",
        text(&policy, "id")
    );
    assert_eq!(exchange(&token).await.status, 200);
    authority
        .admin("PATCH", &policy, Some(json!({ "state": "enabled" })), 204)
        .await;
    let refused = exchange(&token).await;
    assert_eq!(refused.error_code(), 50_076);
    let demand = text(&refused.json(), "claims");
    let page = authority
        .authorize(
            &browser,
            &[
                ("client_id", &web.app_id),
                ("redirect_uri", CALLBACK),
                ("scope", &to_middle),
                ("claims", &demand),
            ],
        )
        .await;
    let answer = authority.confirm(&mut browser, &page).await;
    let strong = text(&redeem(&answer).await.json(), "access_token");
    assert_eq!(exchange(&strong).await.status, 200);

    // Unregister, in an order that leaves each step something to break.
    authority
        .admin("DELETE", &format!("applications/{}", down.id), None, 204)
        .await;
    assert_eq!(exchange(&strong).await.error_code(), 500_011);
    authority.admin("DELETE", &policy, None, 204).await;
    authority
        .admin(
            "DELETE",
            &format!("servicePrincipals/{}", middle.principal),
            None,
            204,
        )
        .await;
    assert_eq!(exchange(&strong).await.error_code(), 700_016);
    let page = authority
        .authorize(
            &browser,
            &[
                ("client_id", &web.app_id),
                ("redirect_uri", CALLBACK),
                ("scope", &to_middle),
            ],
        )
        .await;
    assert!(page.parameters()["error_description"].contains("650052"));
    authority
        .admin(
            "DELETE",
            &format!("applications(appId='{}')", middle.app_id),
            None,
            204,
        )
        .await;
    authority
        .admin("DELETE", &format!("applications/{}", web.id), None, 204)
        .await;
    let page = authority
        .authorize(
            &browser,
            &[
                ("client_id", &web.app_id),
                ("redirect_uri", CALLBACK),
                ("scope", "openid"),
            ],
        )
        .await;
    assert!(
        page.status == 400 && page.text.contains("AADSTS700016"),
        "{}",
        page.text
    );
    for registered in [web, middle, down] {
        authority
            .admin("GET", &format!("applications/{}", registered.id), None, 404)
            .await;
        authority
            .admin(
                "GET",
                &format!("servicePrincipals/{}", registered.principal),
                None,
                404,
            )
            .await;
    }
    // What stood in the file is as it was.
    let names = |list: Value| list["value"].as_array().unwrap().len();
    assert_eq!(
        names(authority.admin("GET", "applications", None, 200).await),
        authority.directory.apps.len()
    );
}

#[tokio::test]
async fn an_app_role_counts_once_it_is_assigned() {
    let authority = Harness::start().await;
    let role = Uuid::new_v4().to_string();
    let roles = json!({ "appRoles": [{
        "id": role, "value": "User.MFA", "allowedMemberTypes": ["Application"],
        "displayName": "MFA", "description": "MFA", "isEnabled": true,
    }] });
    let api = register(&authority, "api", roles).await;
    let daemon = register(&authority, "worker", json!({})).await;
    let required = json!({ "requiredResourceAccess": [{
        "resourceAppId": api.app_id, "resourceAccess": [{ "id": role, "type": "Role" }],
    }] });
    authority
        .admin(
            "PATCH",
            &format!("applications/{}", daemon.id),
            Some(required),
            204,
        )
        .await;
    let secret = daemon.secret(&authority).await;
    let scope = format!("api://{}/.default", api.app_id);
    let roles = async || {
        let answer = authority
            .token(&[
                ("grant_type", "client_credentials"),
                ("client_id", &daemon.app_id),
                ("client_secret", &secret),
                ("scope", &scope),
            ])
            .await;
        let told = claims(&text(&answer.json(), "access_token"));
        assert_eq!(told["oid"], daemon.principal);
        told["roles"].clone()
    };
    assert_eq!(roles().await, Value::Null, "required is not granted");
    let body =
        json!({ "principalId": daemon.principal, "resourceId": api.principal, "appRoleId": role });
    let path = format!("servicePrincipals/{}/appRoleAssignedTo", api.principal);
    let assignment = authority
        .admin("POST", &path, Some(body.clone()), 201)
        .await;
    assert_eq!(roles().await, json!(["User.MFA"]));
    authority.admin("POST", &path, Some(body), 400).await;
    let own = format!("servicePrincipals/{}/appRoleAssignments", daemon.principal);
    let listed = authority.admin("GET", &own, None, 200).await;
    assert_eq!(listed["value"][0]["id"], assignment["id"]);
    let one = format!("{own}/{}", text(&assignment, "id"));
    authority.admin("DELETE", &one, None, 204).await;
    assert_eq!(roles().await, Value::Null);
    authority.admin("DELETE", &one, None, 404).await;
}

#[tokio::test]
async fn a_grant_for_one_user_is_none_for_another() {
    let authority = Harness::start().await;
    let api = register(&authority, "api", json!({})).await;
    let web = register(
        &authority,
        "web",
        json!({ "web": { "redirectUris": [CALLBACK] } }),
    )
    .await;
    web.needs(&authority, &api).await;
    let body = json!({
        "clientId": web.principal, "resourceId": api.principal, "consentType": "Principal",
        "principalId": "a11ce000-0000-4000-8000-000000000001", "scope": "access_as_user",
    });
    let grant = authority
        .admin("POST", "oauth2PermissionGrants", Some(body.clone()), 201)
        .await;
    authority
        .admin("POST", "oauth2PermissionGrants", Some(body), 409)
        .await;
    let scope = format!("api://{}/access_as_user", api.app_id);
    let consents = async |user: &str| {
        let mut browser = Browser::default();
        let changes = [
            ("client_id", web.app_id.as_str()),
            ("redirect_uri", CALLBACK),
            ("scope", &scope),
        ];
        let page = authority.authorize(&browser, &changes).await;
        authority
            .sign_in(&mut browser, &page, user)
            .await
            .is_consent()
    };
    assert!(!consents("alice").await && consents("bob").await);
    let path = format!("oauth2PermissionGrants/{}", text(&grant, "id"));
    authority
        .admin("PATCH", &path, Some(json!({ "scope": "another" })), 204)
        .await;
    assert!(consents("alice").await, "the scope is no longer granted");
    authority
        .admin(
            "PATCH",
            &path,
            Some(json!({ "scope": "access_as_user" })),
            204,
        )
        .await;
    assert!(!consents("alice").await);
    authority.admin("DELETE", &path, None, 204).await;
    assert!(consents("alice").await);
}
