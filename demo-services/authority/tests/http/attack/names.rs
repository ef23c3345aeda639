//! What names, ids and bodies can be made to mean.

use super::*;

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
            let told = app
                .secret()
                .is_some_and(|secret| answer.text.contains(secret));
            assert!(!told, "{query}");
        }
    }
}
