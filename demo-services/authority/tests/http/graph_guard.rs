//! Who may call Graph, and how it says no.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local_authority::{Endpoint, Fault, TokenSpec};
use serde_json::{Value, json};

use crate::graph::{GRAPH, code};
use crate::harness::{Answer, Harness};

fn spec() -> TokenSpec {
    TokenSpec::user("alice", GRAPH)
        .client("spa-backend")
        .scopes(["User.Read"])
}

fn challenge(answer: &Answer) -> &str {
    answer.headers["www-authenticate"].to_str().unwrap()
}

#[tokio::test]
async fn only_tokens_of_this_authority_for_graph_are_good() {
    let authority = Harness::start().await;
    let good = authority.running.issue(spec());
    assert_eq!(authority.graph(&good, "GET", "me", None).await.status, 200);
    for (reason, spec) in [
        ("expired", spec().expires_in(-1)),
        ("not valid yet", spec().issued_in(60)),
        (
            "another issuer",
            spec().issuer("https://login.example/v2.0"),
        ),
        ("another audience", spec().audience("api://middle-tier")),
        ("a foreign key", spec().foreign_key()),
        ("never issued", spec().without("uti")),
        (
            "for another API",
            TokenSpec::user("alice", "middle-tier").audience(GRAPH),
        ),
        (
            "nobody's",
            TokenSpec::user("nobody", GRAPH).scopes(["User.Read"]),
        ),
    ] {
        let token = authority.running.issue(spec);
        let answer = authority.graph(&token, "GET", "me", None).await;
        assert_eq!(
            code(&answer),
            (401, "InvalidAuthenticationToken".to_owned()),
            "{reason}"
        );
        assert!(
            challenge(&answer).contains("error=\"invalid_token\""),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_refusal_has_the_form_of_graph() {
    let authority = Harness::start().await;
    let id = "0d1c0000-0000-4000-8000-000000000001";
    let url = format!("{}/v1.0/me", authority.running.url());
    let request = authority.http.get(&url).header("client-request-id", id);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        challenge(&answer),
        format!(
            "Bearer realm=\"\", authorization_uri=\"{}\", client_id=\"00000003-0000-0000-c000-000000000000\"",
            authority.endpoint("oauth2/v2.0/authorize")
        )
    );
    let error = &answer.json()["error"];
    let inner = &error["innerError"];
    assert_eq!(error["code"], "InvalidAuthenticationToken");
    assert_eq!(inner["date"], "2026-11-22T03:49:26");
    assert_eq!(inner["client-request-id"], id);
    assert_eq!(answer.headers["client-request-id"], id);
    assert_eq!(
        inner["request-id"].as_str().unwrap(),
        answer.headers["request-id"].to_str().unwrap()
    );
}

#[tokio::test]
async fn two_authorization_headers_and_another_scheme_are_refused() {
    let authority = Harness::start().await;
    let url = format!("{}/v1.0/me", authority.running.url());
    let good = format!("Bearer {}", authority.running.issue(spec()));
    let token = good.trim_start_matches("Bearer ");
    for (values, status) in [
        (vec![good.clone()], 200),
        (vec![good.replace("Bearer", "bearer")], 200),
        (vec![good.clone(), good.clone()], 401),
        (vec![format!("Basic {token}")], 401),
        (vec![token.to_owned()], 401),
    ] {
        let mut request = authority.http.get(&url);
        for value in &values {
            request = request.header("authorization", value);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
}

#[tokio::test]
async fn a_revoked_user_is_told_to_sign_in_again() {
    let authority = Harness::start().await;
    let (alice, bob) = (
        authority.running.issue(spec()),
        authority.graph_token("bob", &["User.Read"]),
    );
    authority.clock.advance(10);
    assert!(authority.running.revoke("alice"));
    let answer = authority.graph(&alice, "GET", "me", None).await;
    assert_eq!(
        code(&answer),
        (401, "InvalidAuthenticationToken".to_owned())
    );
    assert!(answer.text.contains("TokenIssuedBeforeRevocationTimestamp"));
    let (_, claims) = challenge(&answer)
        .split_once("error=\"insufficient_claims\", claims=\"")
        .unwrap();
    let claims = STANDARD.decode(claims.trim_end_matches('"')).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let at = (crate::harness::START + 10).to_string();
    assert_eq!(
        claims,
        json!({ "access_token": { "nbf": { "essential": true, "value": at } } })
    );
    assert_eq!(authority.graph(&bob, "GET", "me", None).await.status, 200);
    let again = authority.running.issue(spec());
    assert_eq!(authority.graph(&again, "GET", "me", None).await.status, 200);
}

#[tokio::test]
async fn each_resource_needs_its_own_permission() {
    let authority = Harness::start().await;
    for (method, path, permission, body) in [
        ("GET", "me", "User.Read", None),
        (
            "PATCH",
            "me",
            "User.ReadWrite",
            Some(json!({ "jobTitle": "x" })),
        ),
        ("GET", "users", "User.ReadBasic.All", None),
        ("GET", "groups", "Group.Read.All", None),
        ("GET", "organization", "Organization.Read.All", None),
        ("GET", "applications", "Application.Read.All", None),
        (
            "POST",
            "applications",
            "Application.ReadWrite.All",
            Some(json!({ "displayName": "x" })),
        ),
        ("GET", "servicePrincipals", "Application.Read.All", None),
        (
            "GET",
            "oauth2PermissionGrants",
            "DelegatedPermissionGrant.ReadWrite.All",
            None,
        ),
        (
            "GET",
            "identity/conditionalAccess/policies",
            "Policy.Read.All",
            None,
        ),
        (
            "PATCH",
            "identity/conditionalAccess/authenticationContextClassReferences/c7",
            "Policy.ReadWrite.ConditionalAccess",
            Some(json!({ "displayName": "x" })),
        ),
    ] {
        let good = authority.graph_token("alice", &["openid", permission]);
        let answer = authority.graph(&good, method, path, body.clone()).await;
        assert!(answer.status < 300, "{method} {path}: {}", answer.text);
        let bad = authority.graph_token("alice", &["openid", "email"]);
        let answer = authority.graph(&bad, method, path, body).await;
        // Conditional Access says it in its own way.
        let expected = if path.starts_with("identity") {
            "AccessDenied"
        } else {
            "Authorization_RequestDenied"
        };
        assert_eq!(code(&answer), (403, expected.to_owned()), "{method} {path}");
    }
    // A permission to read is none to write.
    let reader = authority.graph_token("alice", &["Application.Read.All", "User.Read"]);
    for (method, path) in [("POST", "applications"), ("PATCH", "me")] {
        let body = Some(json!({ "displayName": "x" }));
        assert_eq!(
            authority.graph(&reader, method, path, body).await.status,
            403
        );
    }
}

/// The tables of v1.0 for `authenticationContextClassReference`.
#[tokio::test]
async fn authentication_contexts_have_a_table_for_each_request() {
    const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
    let one = format!("{CONTEXTS}/c7");
    let body = Some(json!({ "displayName": "x" }));
    let rows = [
        ("PATCH", &*one, body, 204),
        ("GET", CONTEXTS, None, 200),
        ("GET", &one, None, 200),
        ("DELETE", &one, None, 204),
    ];
    for (permission, good) in [
        (
            "AuthenticationContext.ReadWrite.All",
            [true, true, true, true],
        ),
        ("AuthenticationContext.Read.All", [false, true, true, false]),
        (
            "Policy.ReadWrite.ConditionalAccess",
            [true, true, false, false],
        ),
        ("Policy.Read.ConditionalAccess", [false, true, true, false]),
        ("Policy.Read.All", [false; 4]),
        ("Application.ReadWrite.All", [false; 4]),
    ] {
        let authority = Harness::start().await;
        let made = Some(json!({ "displayName": "x" }));
        authority.admin("PATCH", &one, made, 204).await;
        let token = authority.graph_token("alice", &["openid", permission]);
        for ((method, path, body, status), good) in rows.clone().into_iter().zip(good) {
            let answer = authority.graph(&token, method, path, body).await;
            let expected = if good { status } else { 403 };
            assert_eq!(answer.status, expected, "{permission}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn an_application_acts_by_its_roles_and_not_by_scopes() {
    let authority = Harness::with(|directory| {
        directory.app_mut("daemon").unwrap().app_permissions =
            vec![format!("{GRAPH}/Application.Read.All")];
    })
    .await;
    let (id, secret) = (authority.id("daemon"), authority.secret("daemon"));
    let scope = format!("{GRAPH}/.default");
    let answer = authority
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", &id),
            ("client_secret", &secret),
            ("scope", &scope),
        ])
        .await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(
        authority
            .graph(&token, "GET", "applications", None)
            .await
            .status,
        200
    );
    assert_eq!(
        authority.graph(&token, "GET", "users", None).await.status,
        403
    );
    let answer = authority.graph(&token, "GET", "me", None).await;
    assert_eq!(code(&answer), (400, "BadRequest".to_owned()));
    assert!(answer.text.contains("delegated authentication flow"));
    let scoped = TokenSpec::app("daemon", GRAPH)
        .roles::<&str>([])
        .claim("scp", "Application.Read.All");
    let token = authority.running.issue(scoped);
    assert_eq!(
        authority
            .graph(&token, "GET", "applications", None)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn unknown_paths_methods_and_options_are_refused() {
    let authority = Harness::start().await;
    for (method, path, status) in [
        ("GET", "nothing", 400),
        ("GET", "me/messages", 400),
        ("DELETE", "me", 405),
        ("PUT", "applications", 405),
        ("GET", "applications/not-a-guid", 404),
        (
            "GET",
            "applications/3edd1e00-0000-4000-8000-00000000ffff",
            404,
        ),
        ("GET", "applications?$expand=owners", 400),
        ("GET", "applications?$filter=notes%20eq%20'x'", 400),
        ("GET", "applications?$select=nothing", 400),
        ("GET", "me?$select=password", 400),
        ("GET", "me?$top=1", 400),
        ("GET", "applications?$top=2", 200),
    ] {
        authority.admin(method, path, None, status).await;
    }
}

#[tokio::test]
async fn a_script_of_any_origin_may_call_and_read_the_challenge() {
    let authority = Harness::start().await;
    let url = format!("{}/v1.0/me", authority.running.url());
    let preflight = authority.http.request(reqwest::Method::OPTIONS, &url);
    let answer = Answer::of(preflight.send().await.unwrap()).await;
    assert_eq!(answer.status, 204);
    let header = |answer: &Answer, name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert!(header(&answer, "access-control-allow-headers").contains("Authorization"));
    assert!(header(&answer, "access-control-allow-methods").contains("PATCH"));
    let answer = Answer::of(authority.http.get(&url).send().await.unwrap()).await;
    assert_eq!(header(&answer, "access-control-allow-origin"), "*");
    assert!(header(&answer, "access-control-expose-headers").contains("WWW-Authenticate"));
    assert!(
        !answer
            .headers
            .contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn me_is_counted_and_fails_on_demand() {
    let authority = Harness::start().await;
    let token = authority.running.issue(spec());
    let url = format!("{}/v1.0/me", authority.running.url());
    let ask = async |method: &str| {
        let request = authority.http.request(method.parse().unwrap(), &url);
        let request = request.header("origin", "https://spa.example");
        let request = if method == "OPTIONS" {
            request
                .header("access-control-request-method", "GET")
                .header("access-control-request-headers", "authorization")
        } else {
            request.bearer_auth(&token)
        };
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        answer
    };
    authority
        .running
        .fail_next(Endpoint::Me, 1, Fault::status(503).with_retry_after(3));
    // A script's question whether it may ask is none of its requests.
    assert_eq!(ask("OPTIONS").await.status, 204);
    let answer = ask("GET").await;
    assert_eq!(
        (
            answer.status,
            answer.headers["retry-after"].to_str().unwrap()
        ),
        (503, "3")
    );
    assert_eq!(ask("OPTIONS").await.status, 204);
    assert_eq!(ask("GET").await.status, 200);
    assert_eq!(authority.running.counters().me, 2);
}

#[tokio::test]
async fn whoever_may_not_ask_does_not_learn_what_there_is() {
    let authority = Harness::start().await;
    let known = format!("servicePrincipals(appId='{}')", authority.id("daemon"));
    let unknown = "servicePrincipals/0d1c0000-0000-4000-8000-000000000001".to_owned();
    let one = "0d1c0000-0000-4000-8000-000000000002";
    let nobody = authority.graph_token("alice", &["User.Read"]);
    let body = json!({ "principalId": one, "resourceId": one, "appRoleId": one });
    for (method, path, body) in [
        ("GET", "oauth2PermissionGrants".to_owned(), None),
        ("GET", "appRoleAssignments".to_owned(), None),
        ("GET", format!("appRoleAssignments/{one}"), None),
        ("POST", "appRoleAssignedTo".to_owned(), Some(body)),
        ("DELETE", format!("appRoleAssignedTo/{one}"), None),
    ] {
        for principal in [&known, &unknown] {
            let path = format!("{principal}/{path}");
            let answer = authority.graph(&nobody, method, &path, body.clone()).await;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
        }
        let path = format!("{unknown}/{path}");
        authority.admin(method, &path, body, 404).await;
    }
    for path in ["appRoleAssignments", "oauth2PermissionGrants"] {
        let path = format!("{known}/{path}");
        authority.admin("GET", &path, None, 200).await;
        authority.admin("PUT", &path, None, 405).await;
    }
}
