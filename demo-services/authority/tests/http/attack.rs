//! Attacks, each named after the rule that holds against it.

use std::path::Path;

use local_authority::{
    Consent, Directory, LocalAuthority, ManualClock, Options, Policy, TokenSpec,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admin::Admin;
use crate::graph::{GRAPH, code, text};
use crate::harness::{
    Answer, Browser, C1, DOWNSTREAM, Harness, MFA_POLICY, MIDDLE, REDIRECT, START, claims,
};
use crate::made::{Made, TYPE};

const MIDDLE_DEFAULT: &str = "api://middle-tier/.default openid profile offline_access";
/// Graph's ids of its permission `Application.ReadWrite.All`, delegated.
const WRITE_APPS: &str = "bdfbf15f-ee85-4955-8675-146e8e5296b5";
const HOSTILE: &str =
    "\"><script src=//evil.example></script>\r\nSet-Cookie: a=b\u{0}{{7*7}}\u{202e}'";

/// Sends bytes as they are and reads until the other side closes.
async fn raw(authority: &Harness, request: &str) -> String {
    let address = ("127.0.0.1", authority.running.port());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn by_writer(authority: &Harness, method: &str, path: &str, body: Value) -> Answer {
    let writer = authority.graph_token("bob", &["Application.ReadWrite.All"]);
    let body = (!body.is_null()).then_some(body);
    authority.graph(&writer, method, path, body).await
}

fn app_path(authority: &Harness, name: &str) -> String {
    format!("applications(appId='{}')", authority.id(name))
}

async fn control(authority: &Harness, command: Value) -> Answer {
    let request = authority
        .http
        .post(format!("{}/control", authority.running.url()))
        .header("x-control", "control-me")
        .json(&command);
    Answer::of(request.send().await.unwrap()).await
}

// Consent and permissions.

#[tokio::test]
async fn combined_consent_grants_nothing_that_only_an_administrator_may() {
    let authority = Harness::with(|directory| {
        let middle = directory.app_mut("middle-tier").unwrap();
        middle.consent = Consent::Required;
        for name in ["User.Read", "Application.ReadWrite.All"] {
            middle.delegated.push(format!("{GRAPH}/{name}"));
        }
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
        assert_eq!(
            code(&answer),
            (403, "Authorization_RequestDenied".to_owned()),
            "{method} {path}"
        );
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

// Names that look like others.

#[tokio::test]
async fn an_application_named_like_a_client_id_takes_no_policy_away() {
    let authority = Harness::start().await;
    let down = authority.id("downstream-api");
    authority
        .running
        .require(Policy::mfa_for_app(down.as_str()))
        .unwrap();
    assert!(authority.running.set_policy(MFA_POLICY, false));
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        50_076
    );
    let made = by_writer(
        &authority,
        "POST",
        "applications",
        json!({ "displayName": down }),
    )
    .await;
    assert_eq!(text(&made.json(), "displayName"), down);
    let path = format!("applications/{}", text(&made.json(), "id"));
    for (method, body) in [
        ("PATCH", json!({ "displayName": "x" })),
        ("DELETE", Value::Null),
    ] {
        assert_eq!(by_writer(&authority, method, &path, body).await.status, 204);
        assert_eq!(
            authority.on_behalf_of(&weak, &[]).await.error_code(),
            50_076,
            "{method}"
        );
    }
}

#[tokio::test]
async fn an_application_of_the_same_name_takes_no_policy_away() {
    let authority = Harness::start().await;
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    let policies = format!("{:?}", authority.running.directory().policies);
    let body = json!({ "displayName": "downstream-api" });
    let made = by_writer(&authority, "POST", "applications", body).await;
    assert_eq!(made.status, 201);
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        50_076
    );
    let path = format!("applications/{}", text(&made.json(), "id"));
    for (method, body) in [
        ("PATCH", json!({ "displayName": "x" })),
        ("PATCH", json!({ "displayName": "downstream-api" })),
        ("DELETE", Value::Null),
    ] {
        assert_eq!(by_writer(&authority, method, &path, body).await.status, 204);
        assert_eq!(
            authority.on_behalf_of(&weak, &[]).await.error_code(),
            50_076
        );
    }
    assert_eq!(
        format!("{:?}", authority.running.directory().policies),
        policies
    );
}

#[tokio::test]
async fn an_application_named_like_another_is_not_taken_for_it() {
    let authority = Harness::start().await;
    let (spa, middle) = (
        app_path(&authority, "spa-backend"),
        authority.id("middle-tier"),
    );
    for name in [middle.as_str(), "api://middle-tier"] {
        let body = json!({ "displayName": name });
        assert_eq!(by_writer(&authority, "PATCH", &spa, body).await.status, 204);
        let command = json!({ "do": "consent", "app": name, "consent": "required" });
        assert_eq!(control(&authority, command).await.status, 200);
        let directory = authority.running.directory();
        let consent = |id: &str| {
            let mut apps = directory.apps.iter();
            apps.find(|app| app.client_id.to_string() == id)
                .unwrap()
                .consent
        };
        assert_eq!(
            consent(&authority.id("spa-backend")),
            Consent::Granted,
            "{name}"
        );
        assert_eq!(consent(&middle), Consent::Required, "{name}");
        authority.running.set_consent(&middle, Consent::Granted);
    }
}

#[tokio::test]
async fn reserved_ids_and_graph_itself_cannot_be_taken_or_deleted() {
    let authority = Harness::start().await;
    let graph = "00000003-0000-0000-c000-000000000000";
    let (app, principal) = (
        format!("applications(appId='{graph}')"),
        format!("servicePrincipals(appId='{graph}')"),
    );
    let other = app_path(&authority, "daemon");
    for (method, path, body, status) in [
        ("DELETE", app.as_str(), Value::Null, 404),
        ("PATCH", &app, json!({ "displayName": "x" }), 404),
        ("POST", &format!("{app}/addPassword"), json!({}), 404),
        ("DELETE", &principal, Value::Null, 400),
        ("POST", "servicePrincipals", json!({ "appId": graph }), 409),
        (
            "POST",
            "applications",
            json!({ "displayName": "x", "appId": graph }),
            400,
        ),
        (
            "POST",
            "applications",
            json!({ "displayName": "x", "id": graph }),
            400,
        ),
        ("PATCH", &other, json!({ "appId": graph }), 400),
        ("PATCH", &other, json!({ "identifierUris": [GRAPH] }), 400),
        (
            "PATCH",
            &other,
            json!({ "identifierUris": ["api://middle-tier"] }),
            400,
        ),
        ("PATCH", &other, json!({ "identifierUris": [graph] }), 400),
        (
            "PATCH",
            &other,
            json!({ "identifierUris": [authority.id("middle-tier")] }),
            400,
        ),
        (
            "PATCH",
            &other,
            json!({ "identifierUris": ["https://graph.microsoft.com/"] }),
            400,
        ),
        (
            "PATCH",
            &other,
            json!({ "identifierUris": ["https://evilcontoso.example"] }),
            400,
        ),
    ] {
        let answer = by_writer(&authority, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    let me = authority.graph_token("alice", &["User.Read"]);
    assert_eq!(authority.graph(&me, "GET", "me", None).await.status, 200);
}

#[tokio::test]
async fn a_body_cannot_set_what_graph_does_not_let_it_set() {
    let authority = Harness::start().await;
    let before = authority.running.directory();
    let path = app_path(&authority, "middle-tier");
    let me = authority.graph_token("bob", &["User.ReadWrite"]);
    for body in [
        json!({ "secrets": ["s"] }),
        json!({ "consent": "granted" }),
        json!({ "registration": { "withoutPrincipal": false } }),
        json!({ "delegated": [format!("{GRAPH}/Application.ReadWrite.All")] }),
        json!({ "appPermissions": [format!("{GRAPH}/Application.ReadWrite.All")] }),
        json!({ "passwordCredentials": [{ "displayName": "x" }] }),
        json!({ "api": { "preAuthorized": [] } }),
        json!({ "owners": [] }),
        json!({ "web": { "redirectUris": ["javascript:alert(1)"] } }),
        json!({ "web": { "redirectUris": ["http://evil.example/"] } }),
        json!({ "web": { "redirectUris": ["https://*.example/"] } }),
        json!({ "web": { "redirectUris": ["https://user@evil.example/"] } }),
        json!({ "publicClient": { "redirectUris": ["data:text/html,x"] } }),
        json!({ "web": { "implicitGrantSettings": { "enableIdTokenIssuance": true } } }),
    ] {
        let answer = by_writer(&authority, "PATCH", &path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
    }
    for (body, status) in [
        (json!({ "id": authority.directory.users[0].oid }), 400),
        (json!({ "password": "x" }), 400),
        (json!({ "otp": "x" }), 400),
        (json!({ "mfa": "registered" }), 400),
        (json!({ "groups": ["staff"] }), 400),
        (json!({ "roles": ["api://downstream-api/Task.Run"] }), 400),
        (json!({ "profile": {} }), 400),
        (json!({ "userPrincipalName": "alice@contoso.example" }), 403),
        (json!({ "passwordProfile": { "password": "x" } }), 403),
    ] {
        let answer = authority
            .graph(&me, "PATCH", "me", Some(body.clone()))
            .await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    }
    let after = authority.running.directory();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}

#[tokio::test]
async fn hostile_json_is_refused_or_taken_as_text_and_never_a_fault() {
    let authority = Harness::start().await;
    let token = authority.graph_token("bob", &["Application.ReadWrite.All", "User.ReadWrite"]);
    let deep = format!(
        "{{\"displayName\":{}1{}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    let nested = format!("{}1{}", "{\"api\":".repeat(200), "}".repeat(200));
    let long = format!("{{\"displayName\":\"{}\"}}", "x".repeat(60_000));
    for body in [
        "",
        "null",
        "[]",
        "1e999",
        "{\"displayName\":1e999}",
        "{\"displayName\":\"\\ud800\"}",
        "{\"displayName\":\"\\u0000\"",
        "\u{feff}{\"displayName\":\"x\"}",
        "{\"api\":{\"requestedAccessTokenVersion\":18446744073709551616}}",
        "{\"api\":{\"requestedAccessTokenVersion\":-1}}",
        "{\"api\":{\"requestedAccessTokenVersion\":1.5}}",
        "{\"tags\":{\"0\":\"x\"}}",
        &deep,
        &nested,
        &long,
    ] {
        for (method, path) in [
            ("POST", "applications".to_owned()),
            ("PATCH", app_path(&authority, "daemon")),
            ("PATCH", "me".to_owned()),
            ("POST", "servicePrincipals".to_owned()),
        ] {
            let request = authority
                .http
                .request(
                    method.parse().unwrap(),
                    format!("{}/v1.0/{path}", authority.running.url()),
                )
                .bearer_auth(&token)
                .header("content-type", "application/json")
                .body(body.to_owned());
            let status = request.send().await.unwrap().status().as_u16();
            assert_eq!(status, 400, "{method} {path} {:.60}", body);
        }
    }
    let filters = [
        "displayName eq '%27 or 1 eq 1",
        "displayName eq '' or 'a' eq 'a'",
        "displayName eq 'x') or (1 eq 1",
        "secrets/any(s:s eq 'x')",
        "passwordCredentials/any(s:s eq 'x')",
        "displayName/any(:eq 'x')",
        &"displayName eq 'a' and ".repeat(50),
    ];
    for filter in filters {
        let url = format!("{}/v1.0/applications", authority.running.url());
        let url = url::Url::parse_with_params(&url, [("$filter", filter)]).unwrap();
        let request = authority.http.get(url).bearer_auth(&token);
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            400,
            "{filter}"
        );
    }
    for (query, status) in [
        ("$top=99999999999999999999", 400),
        ("$top=-1", 400),
        ("$skiptoken=18446744073709551615&$top=999", 200),
        ("$skiptoken=18446744073709551616", 400),
        ("$select=secrets", 400),
        ("$select=passwordCredentials,passwordCredentials", 200),
    ] {
        let path = format!("applications?{query}");
        let answer = authority.graph(&token, "GET", &path, None).await;
        assert_eq!(answer.status, status, "{query}");
        for app in &authority.directory.apps {
            assert!(!answer.text.contains(app.secret().unwrap()));
        }
    }
}

// Tokens.

#[tokio::test]
async fn what_was_issued_to_one_client_is_worth_nothing_to_another() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let (daemon, secret) = (authority.id("daemon"), authority.secret("daemon"));
    let other = [
        ("client_id", daemon.as_str()),
        ("client_secret", secret.as_str()),
    ];
    assert_eq!(authority.redeem(&code, &other).await.error_code(), 70_000);
    let body = authority.redeem(&code, &[]).await.json();
    let refresh = text(&body, "refresh_token");
    assert_eq!(
        authority.refresh(&refresh, &other).await.error_code(),
        700_007
    );
    let without = [("client_secret", "")];
    assert_eq!(
        authority.refresh(&refresh, &without).await.error_code(),
        7_000_218
    );
    // The thief has not spent it.
    assert_eq!(authority.refresh(&refresh, &[]).await.status, 200);
    for name in ["access_token", "id_token"] {
        let answer = authority.on_behalf_of(&text(&body, name), &other).await;
        assert_eq!(answer.error_code(), 500_131, "{name}");
    }
    for name in ["access_token", "id_token", "refresh_token"] {
        let answer = authority.graph(&text(&body, name), "GET", "me", None).await;
        assert_eq!(answer.status, 401, "{name}");
    }
}

#[tokio::test]
async fn an_id_token_is_neither_an_assertion_nor_a_bearer_token() {
    // The middle tier is a client with a sign-in of its own as well: the ID token's audience is the one an assertion needs.
    let callback = "http://localhost:5000/cb";
    let authority = Harness::with(|directory| {
        let middle = directory.app_mut("middle-tier").unwrap();
        middle.redirect_uris.web = vec![callback.to_owned()];
        middle.delegated.push(format!("{GRAPH}/User.Read"));
    })
    .await;
    let (id, secret) = (authority.id("middle-tier"), authority.secret("middle-tier"));
    let mut browser = Browser::default();
    let scope = "openid User.Read";
    let asked = [
        ("client_id", id.as_str()),
        ("redirect_uri", callback),
        ("scope", scope),
    ];
    let page = authority.authorize(&browser, &asked).await;
    let answer = authority.sign_in(&mut browser, &page, "alice").await;
    let code = answer.parameters()["code"].clone();
    let form = [asked[0], asked[1], asked[2], ("client_secret", &secret)];
    let body = authority.redeem(&code, &form).await.json();
    let (id_token, for_graph) = (text(&body, "id_token"), text(&body, "access_token"));
    assert_eq!(claims(&id_token)["aud"], id);
    assert_eq!(
        authority.on_behalf_of(&id_token, &[]).await.error_code(),
        50_013
    );
    assert_eq!(
        authority.on_behalf_of(&for_graph, &[]).await.error_code(),
        500_131
    );
    assert_eq!(
        authority.graph(&id_token, "GET", "me", None).await.status,
        401
    );
    assert_eq!(
        authority.graph(&for_graph, "GET", "me", None).await.status,
        200
    );
}

#[tokio::test]
async fn an_assertion_whose_uti_was_changed_is_not_on_record() {
    let authority = Harness::start().await;
    let spec = || TokenSpec::user("bob", "middle-tier").mfa();
    let assertion = authority.running.issue(spec().claim("uti", "another"));
    assert_eq!(
        authority.on_behalf_of(&assertion, &[]).await.error_code(),
        50_013
    );
    // And it takes nobody's record away.
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    let uti = claims(&weak)["uti"].clone();
    let _ = authority.running.issue(spec().claim("uti", uti));
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        50_076
    );
}

#[tokio::test]
async fn a_code_is_redeemed_for_what_the_directory_says_now() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let path = app_path(&authority, "middle-tier");
    let body = json!({ "displayName": "renamed" });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    authority
        .running
        .require(Policy::mfa_for_app("renamed"))
        .unwrap();
    for scope in [MIDDLE, ""] {
        let answer = authority.redeem(&code, &[("scope", scope)]).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (400, 50_076),
            "{scope}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_came_during_the_sign_in_counts() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    authority
        .running
        .require(Policy::mfa_for_app("middle-tier"))
        .unwrap();
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_mfa());
    authority
        .running
        .require(Policy::block_app("middle-tier"))
        .unwrap();
    let answer = authority.confirm(&mut browser, &page).await;
    assert!(answer.parameters()["error_description"].contains("53003"));
}

#[tokio::test]
async fn a_code_goes_only_to_a_redirect_uri_that_is_still_registered() {
    for delete in [false, true] {
        let authority = Harness::start().await;
        let mut browser = Browser::default();
        let page = authority.authorize(&browser, &[]).await;
        let path = app_path(&authority, "spa-backend");
        let body = json!({ "web": { "redirectUris": ["http://localhost:3000/other"] } });
        let (method, body) = if delete {
            ("DELETE", Value::Null)
        } else {
            ("PATCH", body)
        };
        assert_eq!(by_writer(&authority, method, &path, body).await.status, 204);
        let answer = authority.sign_in(&mut browser, &page, "alice").await;
        assert_eq!(answer.status, 400, "{delete}: {}", answer.text);
        assert!(!answer.headers.contains_key("location"));
    }
}

#[tokio::test]
async fn a_deleted_client_has_nothing_left() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let refresh = text(&authority.redeem(&code, &[]).await.json(), "refresh_token");
    let code = authority.code(&mut browser).await;
    let path = app_path(&authority, "spa-backend");
    assert_eq!(
        by_writer(&authority, "DELETE", &path, Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(authority.redeem(&code, &[]).await.error_code(), 700_016);
    assert_eq!(authority.refresh(&refresh, &[]).await.error_code(), 700_016);
    let page = authority.authorize(&browser, &[]).await;
    assert!(page.status == 400 && page.text.contains("AADSTS700016"));
    let logout = format!("oauth2/v2.0/logout?post_logout_redirect_uri={REDIRECT}");
    let answer = authority
        .http
        .get(authority.endpoint(&logout))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn neither_refresh_nor_common_nor_a_spare_context_gets_around_a_policy() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let weak = authority.redeem(&code, &[]).await.json();
    // Another browser of the same user steps up.
    let mut other = Browser::default();
    let page = authority.authorize(&other, &[("claims", C1)]).await;
    let page = authority.sign_in(&mut other, &page, "alice").await;
    assert!(
        authority
            .confirm(&mut other, &page)
            .await
            .parameters()
            .contains_key("code")
    );
    let both =
        r#"{"access_token":{"acrs":{"essential":true,"values":["c1"]},"capolids":{"values":[]}}}"#;
    let refreshed = authority
        .refresh(&text(&weak, "refresh_token"), &[("claims", both)])
        .await;
    assert_eq!(refreshed.error_code(), 50_076);
    let refreshed = authority
        .refresh(&text(&weak, "refresh_token"), &[])
        .await
        .json();
    let assertion = text(&refreshed, "access_token");
    assert!(claims(&assertion).get("acrs").is_none());
    for tenant in ["common", "organizations", "contoso.example"] {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.running.url());
        let (id, secret) = (authority.id("middle-tier"), authority.secret("middle-tier"));
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", &id),
            ("client_secret", &secret),
            ("assertion", &assertion),
            ("requested_token_use", "on_behalf_of"),
            ("scope", DOWNSTREAM),
        ];
        let answer = Answer::of(authority.http.post(url).form(&form).send().await.unwrap()).await;
        assert_eq!(answer.error_code(), 50_076, "{tenant}");
    }
}

#[tokio::test]
async fn a_client_assertion_is_for_this_endpoint_by_a_registered_key_and_an_algorithm_of_it() {
    let made = Made::new();
    let authority = Harness::with(|directory| {
        directory.app_mut("daemon").unwrap().certificates = vec![made.pem.clone()];
    })
    .await;
    let (id, endpoint) = (
        authority.id("daemon"),
        authority.endpoint("oauth2/v2.0/token"),
    );
    let token = async |assertion: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "api://downstream-api/.default"),
            ("client_assertion_type", TYPE),
            ("client_assertion", assertion),
        ];
        authority.token(&form).await
    };
    let good = made.assertion(&id, &endpoint, START);
    assert_eq!(token(&good).await.status, 200);
    for audience in [
        authority.endpoint("oauth2/v2.0/authorize"),
        format!("{endpoint}/"),
        endpoint.to_uppercase(),
        endpoint.replace("localhost", "127.0.0.1"),
        authority.running.issuer_v1(),
        authority.running.url().to_owned(),
        String::new(),
    ] {
        let answer = token(&made.assertion(&id, &audience, START)).await;
        assert_eq!(answer.error_code(), 700_023, "{audience}");
    }
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = good.split('.').collect();
    let header = |change: Value| {
        let mut header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        header
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{}.{}", parts[1], parts[2])
    };
    for (assertion, number) in [
        (header(json!({ "alg": "none" })), 5_002_738),
        (header(json!({ "alg": "HS256" })), 5_002_738),
        (header(json!({ "alg": "ps256" })), 5_002_738),
        (header(json!({ "alg": ["PS256"] })), 5_002_738),
        (header(json!({ "alg": "RS256" })), 700_027),
        (header(json!({ "crit": [] })), 50_027),
        (header(json!({ "x5t": "AAAA" })), 700_027),
        (header(json!({ "x5c": ["AAAA"] })), 700_027),
        (format!("{}.{}.", parts[0], parts[1]), 700_027),
        (format!("{good}="), 50_027),
        (format!("{good}."), 50_027),
        (format!(" {good}"), 50_027),
        (format!("{}..{}", parts[0], parts[2]), 50_027),
    ] {
        assert_eq!(token(&assertion).await.error_code(), number, "{assertion}");
    }
}

#[tokio::test]
async fn a_certificate_that_graph_has_replaced_proves_nothing_at_once() {
    let (old, new) = (Made::new(), Made::new());
    let authority = Harness::with(|directory| {
        directory.app_mut("daemon").unwrap().certificates = vec![old.pem.clone()];
    })
    .await;
    let (id, endpoint) = (
        authority.id("daemon"),
        authority.endpoint("oauth2/v2.0/token"),
    );
    let status = async |made: &Made| {
        let assertion = made.assertion(&id, &endpoint, START);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "api://downstream-api/.default"),
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
        ];
        authority.token(&form).await.status
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    let path = app_path(&authority, "daemon");
    let told = by_writer(&authority, "GET", &path, Value::Null).await;
    assert!(!told.text.contains("BEGIN CERTIFICATE"));
    let key_id = told.json()["keyCredentials"][0]["keyId"].clone();
    let der: String = new
        .pem
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    // Under the id of the old one: the name of a key is not its value.
    let key = |der: Value| json!({ "keyId": key_id, "type": "AsymmetricX509Cert", "usage": "Verify", "key": der });
    let body = json!({ "keyCredentials": [key(json!(der)), key(json!(der))] });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        400
    );
    let body = json!({ "keyCredentials": [key(json!(der))] });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    let body = json!({ "keyCredentials": [] });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    assert_eq!((status(&old).await, status(&new).await), (401, 401));
}

// Races.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_refreshes_at_once_at_most_one_succeeds() {
    let authority = std::sync::Arc::new(Harness::start().await);
    for round in 0..5 {
        let code = authority.code(&mut Browser::default()).await;
        let token = text(&authority.redeem(&code, &[]).await.json(), "refresh_token");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (authority, token) = (authority.clone(), token.clone());
            tasks.spawn(async move { authority.refresh(&token, &[]).await.status });
        }
        let statuses = tasks.join_all().await;
        let good = statuses.iter().filter(|status| **status == 200).count();
        assert!(good <= 1, "{round}: {statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 400)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_between_exchanges_leaves_no_refresh_token_that_works() {
    let authority = std::sync::Arc::new(Harness::start().await);
    let assertion = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..12 {
        let (authority, assertion) = (authority.clone(), assertion.clone());
        tasks.spawn(async move {
            if index == 6 {
                assert!(authority.running.revoke("alice"));
            }
            let scope = format!("{DOWNSTREAM} offline_access");
            authority
                .on_behalf_of(&assertion, &[("scope", &scope)])
                .await
        });
    }
    let (id, secret) = (authority.id("middle-tier"), authority.secret("middle-tier"));
    let changes = [
        ("client_id", id.as_str()),
        ("client_secret", &secret),
        ("scope", DOWNSTREAM),
    ];
    for answer in tasks.join_all().await {
        if answer.status == 200 {
            let token = text(&answer.json(), "refresh_token");
            assert_eq!(
                authority.refresh(&token, &changes).await.error_code(),
                50_173
            );
        }
    }
    assert_eq!(
        authority.on_behalf_of(&assertion, &[]).await.error_code(),
        50_173
    );
}

// Pages.

#[tokio::test]
async fn hostile_texts_stay_texts_on_every_page_and_in_every_header() {
    let authority = Harness::with(|directory| {
        directory.user_mut("alice").unwrap().display_name = HOSTILE.to_owned();
        let spa = directory.app_mut("spa-backend").unwrap();
        spa.name = HOSTILE.to_owned();
        spa.consent = Consent::Required;
    })
    .await;
    let id = authority
        .directory
        .apps
        .iter()
        .find(|app| app.name == HOSTILE)
        .unwrap()
        .client_id
        .to_string();
    let admin = Admin::open(&authority).await;
    let mut pages = Vec::new();
    for mode in ["query", "fragment", "form_post"] {
        let mut browser = Browser::default();
        let asked = [
            ("client_id", id.as_str()),
            ("state", HOSTILE),
            ("nonce", HOSTILE),
            ("login_hint", HOSTILE),
            ("client-request-id", HOSTILE),
            ("response_mode", mode),
            ("prompt", "consent"),
            ("claims", C1),
        ];
        let request: Vec<(&str, &str)> = asked
            .into_iter()
            .chain([
                ("response_type", "code"),
                ("redirect_uri", REDIRECT),
                ("scope", MIDDLE),
                ("code_challenge", crate::harness::CHALLENGE),
                ("code_challenge_method", "S256"),
            ])
            .collect();
        let url = authority.endpoint("oauth2/v2.0/authorize");
        let page = authority
            .http
            .post(&url)
            .form(&request)
            .send()
            .await
            .unwrap();
        let page = Answer::of(page).await;
        assert!(page.is_sign_in());
        pages.push(page.text.clone());
        let page = authority.sign_in(&mut browser, &page, "alice").await;
        assert!(page.is_mfa());
        pages.push(page.text.clone());
        let page = authority.confirm(&mut browser, &page).await;
        assert!(page.is_consent(), "{}", page.text);
        pages.push(page.text.clone());
        let answer = authority.accept(&mut browser, &page).await;
        pages.push(answer.text.clone());
        let cookies = answer.headers.get_all("set-cookie").iter().count();
        assert!(cookies <= 1);
        if let Some(location) = answer.headers.get("location") {
            let location = url::Url::parse(location.to_str().unwrap()).unwrap();
            assert_eq!(location.host_str(), Some("localhost"));
            let parameters = if mode == "query" {
                location.query()
            } else {
                location.fragment()
            };
            let state = url::form_urlencoded::parse(parameters.unwrap().as_bytes())
                .find(|(name, _)| name == "state")
                .unwrap();
            assert_eq!(state.1, HOSTILE);
        }
    }
    pages.push(admin.page(&authority).await.text);
    for page in pages {
        assert!(!page.contains("<script src=//evil"), "{page}");
        assert!(!page.contains("\"><script"), "{page}");
    }
}

#[tokio::test]
async fn sign_out_and_errors_lead_nowhere_else() {
    let authority = Harness::start().await;
    for target in [
        "https://evil.example/",
        "//evil.example/",
        "javascript:alert(1)",
        "http://localhost:3000/auth/callback@evil.example",
        "http://localhost:3000/auth/callback/..%2f..",
        "http://localhost:3000/auth/callback\r\nX: y",
        " http://localhost:3000/auth/callback",
        "http://localhost:3000\\@evil.example/",
        "HTTP://localhost:3000/auth/callback",
        "",
    ] {
        let url = authority.endpoint("oauth2/v2.0/logout");
        let url =
            url::Url::parse_with_params(&url, [("post_logout_redirect_uri", target)]).unwrap();
        let answer = Answer::of(authority.http.get(url).send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(!answer.headers.contains_key("location") && !answer.text.contains("evil"));
        let target = if target.is_empty() { "x" } else { target };
        for error in [("response_type", "token"), ("scope", "nonsense/x")] {
            let answer = authority
                .authorize(&Browser::default(), &[("redirect_uri", target), error])
                .await;
            assert_eq!(answer.status, 400, "{target}");
            assert!(!answer.headers.contains_key("location"));
            // The page names it, as text and nothing else.
            let mut tags = answer
                .text
                .split('<')
                .filter_map(|piece| piece.split('>').next());
            assert!(!tags.any(|tag| tag.contains("evil")));
        }
    }
}

#[tokio::test]
async fn a_session_value_that_was_planted_or_seen_before_is_worth_nothing_after_sign_in() {
    let authority = Harness::start().await;
    let planted = "__Host-authority-session=planted".to_owned();
    let mut browser = Browser {
        cookie: Some(planted.clone()),
    };
    let page = authority.authorize(&browser, &[]).await;
    authority.sign_in(&mut browser, &page, "alice").await;
    let weak = browser.cookie.clone().unwrap();
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    authority.confirm(&mut browser, &page).await;
    let strong = browser.cookie.clone().unwrap();
    for (cookie, live) in [(planted, false), (weak.clone(), false), (strong, true)] {
        let other = Browser {
            cookie: Some(cookie),
        };
        let answer = authority.authorize(&other, &[("prompt", "none")]).await;
        assert_eq!(answer.parameters().contains_key("code"), live);
    }
    // Of two cookies of the name the first counts, and none of them is a session of another cookie's name.
    let renamed = weak.replace("session", "admin");
    let url = format!("{}/admin", authority.running.url());
    let page = authority
        .http
        .get(url)
        .header("cookie", renamed)
        .send()
        .await
        .unwrap();
    assert!(page.text().await.unwrap().contains("Control token"));
}

#[tokio::test]
async fn a_page_that_was_left_open_signs_nobody_in_after_a_sign_out() {
    for (changes, path) in [(("prompt", "consent"), "consent"), (("claims", C1), "mfa")] {
        for leave in [false, true] {
            let authority = Harness::start().await;
            let mut browser = Browser::default();
            authority.code(&mut browser).await;
            let page = authority.authorize(&browser, &[changes]).await;
            if leave {
                let url = authority.endpoint("oauth2/v2.0/logout");
                let cookie = browser.cookie.take().unwrap();
                let request = authority.http.get(url).header("cookie", cookie);
                request.send().await.unwrap();
            }
            let form = [
                ("flow", &*page.field("flow")),
                ("accept", "1"),
                ("code", "123456"),
            ];
            let answer = authority.submit(&mut browser, path, &form).await;
            assert_eq!(answer.status, if leave { 400 } else { 303 }, "{path}");
            assert_eq!(answer.text.contains("AADSTS50089"), leave);
        }
    }
}

#[tokio::test]
async fn a_form_from_another_origin_moves_no_flow() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority
        .authorize(&browser, &[("prompt", "consent")])
        .await;
    let flow = page.field("flow");
    let own = authority.running.url().to_owned();
    for (name, value) in [
        ("origin", "null"),
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:1"),
        ("origin", "http://localhost"),
        ("origin", &format!("{own}.evil.example")),
        ("origin", &own.replace("http://", "ftp://")),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
    ] {
        for path in ["sign-in", "mfa", "consent"] {
            let form = [
                ("flow", flow.as_str()),
                ("username", "alice"),
                ("password", "alice-in-wonderland"),
            ];
            let request = authority
                .http
                .post(authority.endpoint(path))
                .header(name, value)
                .form(&form);
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status, 403, "{name}: {value} {path}");
            assert!(!answer.headers.contains_key("set-cookie"));
        }
    }
    // The flow is where it was, and each page takes its own form only.
    for path in ["mfa", "consent"] {
        let form = [("flow", flow.as_str()), ("code", "123456"), ("accept", "1")];
        assert_eq!(
            authority.submit(&mut browser, path, &form).await.status,
            400
        );
    }
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_consent());
    let used = authority.accept(&mut browser, &page).await;
    assert_eq!(used.status, 303);
    assert_eq!(authority.accept(&mut browser, &page).await.status, 400);
}

#[tokio::test]
async fn a_flood_of_sign_ins_pushes_out_the_oldest_and_is_no_fault() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let first = authority.authorize(&browser, &[]).await;
    let state = "x".repeat(8000);
    for _ in 0..1000 {
        authority.authorize(&browser, &[("state", &state)]).await;
    }
    let last = authority.authorize(&browser, &[]).await;
    assert_eq!(
        authority
            .sign_in(&mut browser, &first, "alice")
            .await
            .status,
        400
    );
    assert_eq!(
        authority.sign_in(&mut browser, &last, "alice").await.status,
        303
    );
    assert_eq!(authority.running.requests().len(), 256);
}

// Guards of the whole service.

#[tokio::test]
async fn no_way_of_writing_the_host_gets_another_name_in() {
    let authority = Harness::start().await;
    let port = authority.running.port();
    let own = format!("localhost:{port}");
    for (line, hosts, good) in [
        ("GET /healthz HTTP/1.1".to_owned(), vec![own.clone()], true),
        ("GET /healthz HTTP/1.1".to_owned(), vec![], false),
        ("GET /healthz HTTP/1.0".to_owned(), vec![], false),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![own.clone(), own.clone()],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![own.clone(), "evil.example".into()],
            false,
        ),
        (
            "GET http://evil.example/healthz HTTP/1.1".to_owned(),
            vec![own.clone()],
            false,
        ),
        (
            format!("GET http://{own}/healthz HTTP/1.1"),
            vec!["evil.example".into()],
            false,
        ),
        (
            format!("GET http://{own}/healthz HTTP/1.1"),
            vec![own.clone()],
            true,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("{own}, evil.example")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("evil.example@{own}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("localhost.evil.example:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("localhost.:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("127.1:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("2130706433:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("[::ffff:127.0.0.1]:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("localhost:0{port}")],
            false,
        ),
    ] {
        let hosts: String = hosts
            .iter()
            .map(|host| format!("Host: {host}\r\n"))
            .collect();
        let request = format!("{line}\r\n{hosts}Connection: close\r\n\r\n");
        let answer = raw(&authority, &request).await;
        assert_eq!(answer.contains(" 200 "), good, "{request}{answer}");
    }
    let http = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    for (host, good) in [(own.as_str(), true), ("evil.example", false)] {
        let url = format!("{}/healthz", authority.running.url());
        let answer = http.get(url).header("host", host).send().await;
        assert_eq!(
            answer.is_ok_and(|answer| answer.status() == 200),
            good,
            "{host}"
        );
    }
}

#[tokio::test]
async fn smuggled_and_broken_requests_are_refused() {
    let authority = Harness::start().await;
    let own = format!("localhost:{}", authority.running.port());
    for head in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "Content-Length: -1\r\n\r\n",
        "X : y\r\n\r\n",
        "X: a\0b\r\n\r\n",
    ] {
        let request = format!(
            "POST /control HTTP/1.1\r\nHost: {own}\r\nX-Control: control-me\r\nContent-Type: application/json\r\nConnection: close\r\n{head}"
        );
        let answer = raw(&authority, &request).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{head}: {answer}"
        );
    }
    assert_eq!(
        control(&authority, json!({ "do": "counters" }))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_clock_that_is_set_off_without_measure_breaks_nothing() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    for seconds in [i64::MAX, i64::MIN, -1, 0] {
        let done = control(&authority, json!({ "do": "skew", "seconds": seconds })).await;
        assert_eq!(done.status, 200);
        assert_eq!(admin.page(&authority).await.status, 200);
        let mut browser = Browser::default();
        let page = authority.authorize(&browser, &[]).await;
        let answer = authority.sign_in(&mut browser, &page, "alice").await;
        assert!(answer.status < 500, "{seconds}: {}", answer.text);
        let answer = authority.redeem("nonsense", &[]).await;
        assert_eq!(answer.status, 400, "{seconds}");
        let token = authority.graph_token("alice", &["User.Read", "Application.ReadWrite.All"]);
        let answer = authority.graph(&token, "GET", "me", None).await;
        assert!(
            matches!(answer.status, 200 | 401),
            "{seconds}: {}",
            answer.text
        );
        let body = Some(json!({ "displayName": "x", "passwordCredentials": [{}] }));
        let answer = authority.graph(&token, "POST", "applications", body).await;
        assert!(answer.status < 500, "{seconds}: {}", answer.text);
    }
    let code = authority.code(&mut Browser::default()).await;
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn commands_with_values_beyond_measure_are_refused() {
    let authority = Harness::start().await;
    let policy = |frequency: &str| json!({ "do": "require", "policy": { "name": "x", "app": "middle-tier", "require": "mfa", "sign_in_frequency": frequency } });
    for (command, status) in [
        (policy("18446744073709551615d"), 400),
        (policy("4294967295d"), 200),
        (policy(""), 400),
        (policy("\u{1f600}"), 400),
        (
            json!({ "do": "fail_next", "endpoint": "token", "n": 4294967296u64 }),
            400,
        ),
        (
            json!({ "do": "fail_next", "endpoint": "token", "n": -1 }),
            400,
        ),
        (
            json!({ "do": "user", "user": "alice", "mfa": "registered", "otp": "" }),
            400,
        ),
        (json!({ "do": "withdraw_key", "kid": "\u{0}" }), 404),
        (json!({ "do": "skew", "seconds": 1e300 }), 400),
    ] {
        let answer = control(&authority, command.clone()).await;
        assert_eq!(answer.status, status, "{command}: {}", answer.text);
    }
    for (status, taken) in [
        (100, 400),
        (101, 400),
        (199, 400),
        (204, 200),
        (304, 200),
        (999, 400),
    ] {
        let command =
            json!({ "do": "fail_next", "endpoint": "keys", "n": 1, "status": status, "body": "x" });
        assert_eq!(control(&authority, command).await.status, taken);
        let _ = authority
            .http
            .get(authority.endpoint("discovery/v2.0/keys"))
            .send()
            .await;
    }
    let keys = authority
        .http
        .get(authority.endpoint("discovery/v2.0/keys"))
        .send()
        .await;
    assert_eq!(keys.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_secret_that_graph_made_is_told_once_and_nowhere_else() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    let path = app_path(&authority, "daemon");
    let body = json!({ "passwordCredential": { "displayName": "n" } });
    let made = by_writer(&authority, "POST", &format!("{path}/addPassword"), body).await;
    let secret = text(&made.json(), "secretText");
    let token = authority.graph_token("bob", &["Application.ReadWrite.All"]);
    let seen = [
        by_writer(&authority, "GET", &path, Value::Null).await.text,
        by_writer(
            &authority,
            "GET",
            "applications?$select=passwordCredentials",
            Value::Null,
        )
        .await
        .text,
        by_writer(&authority, "GET", "servicePrincipals", Value::Null)
            .await
            .text,
        control(&authority, json!({ "do": "requests" })).await.text,
        admin.page(&authority).await.text,
        format!(
            "{:?} {:?}",
            authority.running.directory(),
            authority.running
        ),
    ];
    for seen in seen {
        assert!(!seen.contains(&secret) && !seen.contains(&token), "{seen}");
        for app in &authority.directory.apps {
            assert!(!seen.contains(app.secret().unwrap()));
        }
        assert!(!seen.contains("alice-in-wonderland") && !seen.contains("control-me"));
    }
}

// The TLS port.

#[tokio::test]
async fn junk_and_silence_on_the_tls_port_harm_nobody_else() {
    let now = rustls_pki_types::UnixTime::now().as_secs();
    let ca = listening::LocalCa::in_memory(now).unwrap();
    let options = Options::default().tls(ca.tls().unwrap());
    let running = LocalAuthority::start(Directory::demo(), options)
        .await
        .unwrap();
    let address = ("127.0.0.1", running.port());
    let mut silent = Vec::new();
    for junk in [
        &b""[..],
        b"\x16",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x2e\x01\x00\x02",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x16; 20_000],
    ] {
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(junk).await;
            silent.push(stream);
        }
    }
    let pem = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([pem])
        .build()
        .unwrap();
    let url = format!("{}/healthz", running.url());
    assert!(url.starts_with("https://"));
    let answer = http.get(url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
}

// The state file.

/// A state file of its own, changed by `change` between two starts.
async fn restarted(name: &str, change: impl FnOnce(&mut Value)) -> Option<Harness> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("attack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("state.json");
    let directory = Directory::demo();
    let start = async || {
        let options = Options::default().state(&file);
        Harness::start_as(directory.clone(), ManualClock::at(START), options).await
    };
    let first = start().await.unwrap();
    let _ = first.code(&mut Browser::default()).await;
    assert!(first.running.revoke("alice"));
    let _ = first.code(&mut Browser::default()).await;
    first.running.shutdown().await;
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut state);
    std::fs::write(&file, state.to_string()).unwrap();
    let again = start().await.ok();
    let _ = std::fs::remove_dir_all(&folder);
    again
}

#[tokio::test]
async fn counts_at_their_end_in_a_state_file_are_no_panic() {
    let again = restarted("counts", |state| {
        let revocations = state["stores"]["revocations"].as_object_mut().unwrap();
        for revocation in revocations.values_mut() {
            revocation["generation"] = json!(u64::MAX);
            revocation["at"] = json!(u64::MAX);
        }
        for list in ["sessions", "codes", "families", "records", "tries"] {
            for entry in state["stores"][list].as_array_mut().unwrap() {
                entry[1] = json!(u64::MAX);
            }
        }
        for entry in state["stores"]["tries"].as_array_mut().unwrap() {
            entry[2] = json!(255);
        }
    })
    .await
    .unwrap();
    assert!(again.running.revoke("alice"));
    let mut browser = Browser::default();
    let page = again.authorize(&browser, &[]).await;
    assert!(again.sign_in(&mut browser, &page, "alice").await.status < 500);
    again.clock.advance(u64::MAX - START - 1);
    let page = again.authorize(&browser, &[]).await;
    assert!(again.sign_in(&mut browser, &page, "alice").await.status < 500);
    assert!(again.running.revoke("alice"));
}
