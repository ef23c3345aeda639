//! The record of recent requests, policies and state that change while it runs, and that nothing secret is on record.

use std::time::Duration;

use crate::admin::Admin;
use crate::graph::GRAPH;
use crate::harness::{Answer, Browser, C1, CHALLENGE, DOWNSTREAM, Harness, MIDDLE, VERIFIER};
use local_authority::{Consent, Endpoint, Fault, Mfa, Policy, RecentRequest, TokenSpec};
use serde_json::{Value, json};

async fn control(authority: &Harness, command: Value) -> Answer {
    let request = authority
        .http
        .post(format!("{}/control", authority.running.url()))
        .header("x-control", "control-me")
        .json(&command);
    Answer::of(request.send().await.unwrap()).await
}

fn last(authority: &Harness) -> RecentRequest {
    authority.running.requests().pop().unwrap()
}

#[tokio::test]
async fn a_request_to_graph_is_on_record_with_who_asked_and_what_came_of_it() {
    let authority = Harness::start().await;
    let user = || {
        TokenSpec::user("alice", GRAPH)
            .client("spa-backend")
            .scopes(["User.Read"])
    };
    let (alice, client) = (Some("alice@contoso.example"), Some("spa-backend"));
    let refused = Some("InvalidAuthenticationToken");
    for (spec, method, who, status, error) in [
        (user(), "GET", (client, alice), 200, None),
        (
            user().version(local_authority::TokenVersion::V1),
            "GET",
            (client, alice),
            200,
            None,
        ),
        (
            user(),
            "DELETE",
            (client, alice),
            405,
            Some("Request_BadRequest"),
        ),
        (
            user().scopes(["openid"]),
            "GET",
            (client, alice),
            403,
            Some("Authorization_RequestDenied"),
        ),
        (user().expires_in(-1), "GET", (client, alice), 401, refused),
        (user().without("uti"), "GET", (client, alice), 401, refused),
        // What somebody else has signed says nothing about who asks.
        (user().foreign_key(), "GET", (None, None), 401, refused),
        (
            TokenSpec::app("daemon", GRAPH),
            "GET",
            (Some("daemon"), None),
            400,
            Some("BadRequest"),
        ),
    ] {
        let token = authority.running.issue(spec);
        let answer = authority.graph(&token, method, "me", None).await;
        let asked = last(&authority);
        assert_eq!((asked.endpoint, asked.path.as_str()), ("graph", "/v1.0/me"));
        assert_eq!(
            (asked.client.as_deref(), asked.user.as_deref()),
            who,
            "{status} {error:?}"
        );
        assert_eq!((asked.status, asked.error), (Some(status), error));
        assert_eq!(answer.status, status);
        for (id, header) in [
            (asked.trace_id, "request-id"),
            (asked.correlation_id, "client-request-id"),
        ] {
            assert_eq!(
                id.unwrap().to_string(),
                answer.headers[header].to_str().unwrap()
            );
        }
        let text = serde_json::to_string(&asked).unwrap();
        assert!(!text.contains(&token), "{text}");
    }
}

#[tokio::test]
async fn each_step_of_a_sign_in_is_on_record() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let request = "0d1c0000-0000-4000-8000-000000000001";
    let page = authority
        .authorize(&browser, &[("claims", C1), ("client-request-id", request)])
        .await;
    let asked = last(&authority);
    assert_eq!(asked.time, crate::harness::START);
    assert_eq!((asked.endpoint, asked.method), ("authorize", "GET"));
    assert_eq!(
        asked.path,
        format!("/{}/oauth2/v2.0/authorize", authority.running.tenant())
    );
    assert_eq!(asked.client.as_deref(), Some("spa-backend"));
    assert_eq!(asked.scopes.join(" "), MIDDLE);
    assert!(asked.claims && asked.pkce && !asked.client_secret && !asked.client_assertion);
    assert_eq!(
        (asked.user, asked.status, asked.error),
        (None, Some(200), None)
    );
    assert_eq!(asked.correlation_id.unwrap().to_string(), request);

    let page = authority.sign_in(&mut browser, &page, "alice").await;
    let asked = last(&authority);
    assert_eq!((asked.endpoint, asked.method), ("sign-in", "POST"));
    assert_eq!(asked.user.as_deref(), Some("alice@contoso.example"));
    assert_eq!(asked.client.as_deref(), Some("spa-backend"));
    assert_eq!(asked.correlation_id.unwrap().to_string(), request);
    let answer = authority.confirm(&mut browser, &page).await;
    assert_eq!(
        (last(&authority).endpoint, last(&authority).status),
        ("mfa", Some(303))
    );

    let code = answer.parameters()["code"].clone();
    authority.redeem(&code, &[]).await;
    let asked = last(&authority);
    assert_eq!(
        (asked.endpoint, asked.grant_type),
        ("token", Some("authorization_code"))
    );
    assert!(asked.client_secret && asked.pkce && !asked.claims);
    assert_eq!(asked.user.as_deref(), Some("alice@contoso.example"));
    assert_eq!((asked.status, asked.aadsts), (Some(200), None));
    let body = authority.redeem(&code, &[]).await.json();
    let asked = last(&authority);
    assert_eq!(
        (asked.status, asked.error, asked.aadsts),
        (Some(400), Some("invalid_grant"), Some(54_005))
    );
    assert!(asked.description.unwrap().starts_with("AADSTS54005: "));
    assert_eq!(body["trace_id"], asked.trace_id.unwrap().to_string());
    assert_eq!(
        body["correlation_id"],
        asked.correlation_id.unwrap().to_string()
    );

    let answer = authority
        .authorize(
            &Browser::default(),
            &[("prompt", "none"), ("response_mode", "fragment")],
        )
        .await;
    assert_eq!(answer.status, 302);
    let asked = last(&authority);
    assert_eq!(
        (asked.prompt, asked.response_mode),
        (Some("none"), Some("fragment"))
    );
    assert_eq!(
        (asked.error, asked.aadsts),
        (Some("login_required"), Some(50_058))
    );
    let endpoints: Vec<_> = authority
        .running
        .requests()
        .iter()
        .map(|asked| asked.endpoint)
        .collect();
    assert_eq!(
        endpoints,
        ["authorize", "sign-in", "mfa", "token", "token", "authorize"],
        "oldest first"
    );
}

#[tokio::test]
async fn other_requests_are_on_record_and_assets_are_not() {
    let authority = Harness::start().await;
    let url = authority.running.url().to_owned();
    for (path, endpoint) in [
        (
            authority.endpoint("v2.0/.well-known/openid-configuration?x=secret"),
            "discovery",
        ),
        (authority.endpoint("discovery/v2.0/keys"), "keys"),
        (
            authority.endpoint("oauth2/v2.0/logout?id_token_hint=secret"),
            "logout",
        ),
    ] {
        authority.http.get(path).send().await.unwrap();
        let asked = last(&authority);
        assert_eq!((asked.endpoint, asked.status), (endpoint, Some(200)));
        assert!(!asked.path.contains("secret"));
    }
    let count = authority.running.requests().len();
    for path in ["/healthz", "/assets/authority.css", "/admin", "/nothing"] {
        authority
            .http
            .get(format!("{url}{path}"))
            .send()
            .await
            .unwrap();
    }
    assert_eq!(authority.running.requests().len(), count);
    authority
        .http
        .get(format!("{url}/other.example/discovery/v2.0/keys"))
        .send()
        .await
        .unwrap();
    assert_eq!(last(&authority).aadsts, Some(90_002));
    authority
        .running
        .fail_next(Endpoint::Keys, 1, Fault::status(503));
    for (status, on_demand) in [(503, true), (200, false)] {
        authority
            .http
            .get(authority.endpoint("discovery/v2.0/keys"))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (last(&authority).status, last(&authority).on_demand),
            (Some(status), on_demand)
        );
    }
}

#[tokio::test]
async fn a_basic_secret_and_an_assertion_are_told_apart() {
    let authority = Harness::start().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "api://downstream-api/.default"),
    ];
    let request = authority
        .http
        .post(authority.endpoint("oauth2/v2.0/token"))
        .basic_auth(authority.id("daemon"), Some(authority.secret("daemon")))
        .form(&form);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let asked = last(&authority);
    assert_eq!(asked.client.as_deref(), Some("daemon"));
    assert!(asked.client_secret && !asked.client_assertion);
    let id = authority.id("daemon");
    let assertion = [("client_id", id.as_str()), ("client_assertion", "e.y.z")];
    authority.token(&[&form[..], &assertion].concat()).await;
    let asked = last(&authority);
    assert!(asked.client_assertion && !asked.client_secret);
    assert_eq!(
        (asked.client.as_deref(), asked.grant_type),
        (Some("daemon"), Some("client_credentials"))
    );
}

#[tokio::test]
async fn a_client_that_goes_away_is_on_record_without_a_status() {
    let authority = Harness::start().await;
    authority
        .running
        .fail_next(Endpoint::Keys, 1, Fault::delay(Duration::from_secs(20)));
    let request = authority
        .http
        .get(authority.endpoint("discovery/v2.0/keys"));
    let arrived = async {
        while authority.running.counters().keys == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = request.send() => panic!("{answer:?}"),
        () = arrived => {}
    }
    // The server learns of it a moment later: asked again until it has.
    let gone = async {
        loop {
            if let Some(asked) = authority.running.requests().pop() {
                break asked;
            }
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_eq!(
        (asked.endpoint, asked.status, asked.on_demand),
        ("keys", None, true)
    );
}

#[tokio::test]
async fn policies_change_while_it_runs() {
    let authority = Harness::start().await;
    let running = &authority.running;
    let policies = || running.directory().policies.len();
    let before = policies();
    let weak = running.issue(TokenSpec::user("alice", "middle-tier"));
    let strong = running.issue(TokenSpec::user("alice", "middle-tier").mfa());
    let code = async |token: &str| {
        let answer = authority.on_behalf_of(token, &[]).await;
        (answer.status != 200).then(|| answer.error_code())
    };
    assert_eq!(
        (code(&weak).await, code(&strong).await),
        (Some(50_076), None)
    );
    running
        .require(Policy::block_app("downstream-api").users(["bob@contoso.example"]))
        .unwrap();
    assert_eq!(code(&strong).await, None, "another user");
    running
        .require(Policy::block_app("downstream-api"))
        .unwrap();
    assert_eq!(
        code(&strong).await,
        Some(53_003),
        "the policy of that name was replaced"
    );
    assert_eq!(policies(), before + 1);
    assert!(
        running.remove_policy("Block downstream-api")
            && !running.remove_policy("Block downstream-api")
    );
    assert_eq!(code(&strong).await, None);
    for broken in [
        Policy::mfa_for_app("nobody"),
        Policy::mfa_for_context("c0"),
        Policy::mfa_for_app("daemon").users(["nobody"]),
        // The id of another one.
        {
            let mut policy = Policy::mfa_for_app("daemon");
            policy.id = running.directory().policies[0].id;
            policy
        },
    ] {
        assert!(running.require(broken).is_err());
        assert_eq!(policies(), before);
    }
    running.require(Policy::mfa_for_context("c9")).unwrap();
    let c9 = r#"{"access_token":{"acrs":{"essential":true,"value":"c9"}}}"#;
    let answer = authority.on_behalf_of(&strong, &[("claims", c9)]).await;
    assert_eq!(answer.json()["error"], "interaction_required");
    for index in policies()..256 {
        running
            .require(Policy::mfa_for_app("daemon").named(format!("P{index}")))
            .unwrap();
    }
    assert!(
        running.require(Policy::mfa_for_app("daemon")).is_err(),
        "256 are enough"
    );
    running
        .require(Policy::block_app("daemon").named("P7"))
        .unwrap();
}

#[tokio::test]
async fn the_same_by_control() {
    let authority = Harness::start().await;
    let before = authority.running.directory().policies.len();
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    let policy = json!({ "name": "P", "app": "downstream-api", "require": "block", "users": ["alice@contoso.example"], "sign_in_frequency": "1h" });
    assert_eq!(
        control(&authority, json!({ "do": "require", "policy": policy }))
            .await
            .status,
        200
    );
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        53_003
    );
    let asked = control(&authority, json!({ "do": "requests" }))
        .await
        .json();
    let asked = asked["requests"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&asked["endpoint"], &asked["aadsts"]),
        (&json!("token"), &json!(53_003))
    );
    assert_eq!(
        asked["grant_type"],
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    for (command, status) in [
        (
            json!({ "do": "require", "policy": { "name": "Q", "app": "nobody", "require": "mfa" } }),
            400,
        ),
        (
            json!({ "do": "require", "policy": { "name": "Q", "require": "mfa" } }),
            400,
        ),
        (
            json!({ "do": "require", "policy": { "name": "Q", "app": "daemon", "require": "mfa", "x": 1 } }),
            400,
        ),
        (json!({ "do": "remove_policy", "name": "P" }), 200),
        (json!({ "do": "remove_policy", "name": "P" }), 404),
        (
            json!({ "do": "user", "user": "carol", "mfa": "registered" }),
            400,
        ),
        (
            json!({ "do": "user", "user": "carol", "mfa": "registered", "otp": "" }),
            400,
        ),
        (
            json!({ "do": "user", "user": "carol", "mfa": "registered", "otp": "222222" }),
            200,
        ),
        (
            json!({ "do": "user", "user": "nobody", "mfa": "registered" }),
            404,
        ),
        (
            json!({ "do": "consent", "app": "spa-backend", "consent": "required" }),
            200,
        ),
        (
            json!({ "do": "consent", "app": "nobody", "consent": "required" }),
            404,
        ),
        (
            json!({ "do": "consent", "app": "spa-backend", "consent": "maybe" }),
            400,
        ),
        (json!({ "do": "withdraw_consent", "user": "alice" }), 200),
        (json!({ "do": "withdraw_consent", "user": "nobody" }), 404),
    ] {
        let answer = control(&authority, command.clone()).await;
        assert_eq!(answer.status, status, "{command} {}", answer.text);
        assert!(!answer.text.contains("222222"));
    }
    let directory = authority.running.directory();
    assert_eq!(directory.user("carol").unwrap().mfa, Mfa::Registered);
    assert_eq!(
        directory.app("spa-backend").unwrap().consent,
        Consent::Required
    );
    assert_eq!(directory.policies.len(), before);
}

#[tokio::test]
async fn second_factor_and_consent_change_while_it_runs() {
    let authority = Harness::start().await;
    let running = &authority.running;
    running.set_mfa("alice", Mfa::NotRegistered, None).unwrap();
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    let answer = authority
        .sign_in(&mut browser, &page, "alice")
        .await
        .parameters();
    assert_eq!(answer["error"], "access_denied");
    assert_eq!(last(&authority).aadsts, Some(50_079));
    let posted = [("claims", C1), ("response_mode", "form_post")];
    let page = authority.authorize(&browser, &posted).await;
    assert!(
        page.text.contains("class=\"complaint\">AADSTS50079: "),
        "{}",
        page.text
    );
    running.set_mfa("alice", Mfa::Registered, None).unwrap();
    assert!(
        authority
            .authorize(&browser, &[("claims", C1)])
            .await
            .is_mfa()
    );
    assert!(running.set_mfa("nobody", Mfa::Registered, None).is_err());
    assert!(running.set_mfa("carol", Mfa::Registered, None).is_err());
    assert!(
        running
            .set_mfa("carol", Mfa::Registered, Some("<code>"))
            .is_err()
    );
    running
        .set_mfa("carol", Mfa::Registered, Some("222222"))
        .unwrap();

    assert!(
        running.set_consent("spa-backend", Consent::Required)
            && !running.set_consent("nobody", Consent::Required)
    );
    let page = authority.authorize(&browser, &[]).await;
    assert!(page.is_consent());
    let code = authority.accept(&mut browser, &page).await.parameters()["code"].clone();
    let refresh = authority.redeem(&code, &[]).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(running.withdraw_consent("bob") && !running.withdraw_consent("nobody"));
    let next = authority.refresh(&refresh, &[]).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(running.withdraw_consent("alice"));
    assert_eq!(authority.refresh(&next, &[]).await.error_code(), 65_001);
}

#[tokio::test]
async fn nothing_secret_is_on_record() {
    let authority = Harness::with(|directory| {
        directory.user_mut("alice").unwrap().otp = Some("one-time".to_owned().into());
    })
    .await;
    let admin = Admin::open(&authority).await;
    let mut browser = Browser::default();
    let story = [
        ("claims", C1),
        ("state", "the-state"),
        ("nonce", "the-nonce"),
        ("login_hint", "the-hint"),
    ];
    let page = authority.authorize(&browser, &story).await;
    let flow = page.field("flow");
    let wrong = [
        ("flow", flow.as_str()),
        ("username", "not-a-user"),
        ("password", "wrong-password"),
    ];
    let page = authority.submit(&mut browser, "sign-in", &wrong).await;
    assert_eq!(last(&authority).aadsts, Some(50_126));
    authority.sign_in(&mut browser, &page, "alice").await;
    let code = |code| [("flow", flow.as_str()), ("code", code)];
    authority
        .submit(&mut browser, "mfa", &code("wrong-code"))
        .await;
    assert_eq!(last(&authority).aadsts, Some(500_121));
    let answer = authority
        .submit(&mut browser, "mfa", &code("one-time"))
        .await;
    let code = answer.parameters()["code"].clone();
    authority
        .redeem(&code, &[("client_secret", "wrong-secret")])
        .await;
    authority.redeem("wrong-authorization", &[]).await;
    let body = authority.redeem(&code, &[]).await.json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    authority
        .on_behalf_of(&text("access_token"), &[("claims", C1)])
        .await;
    authority
        .on_behalf_of("wrong-assertion", &[("client_assertion", "an-assertion")])
        .await;
    authority.refresh(&text("refresh_token"), &[]).await;
    authority
        .refresh(&text("refresh_token"), &[("scope", DOWNSTREAM)])
        .await;

    let record = control(&authority, json!({ "do": "requests" })).await.text;
    let page = admin.page(&authority).await.text;
    for seen in [&record, &page] {
        for known in [
            "alice@contoso.example",
            "spa-backend",
            "user_impersonation",
            "AADSTS7000215",
            "AADSTS70000",
        ] {
            assert!(seen.contains(known), "{known}: {seen}");
        }
        let cookie = |cookie: &str| cookie.split_once('=').unwrap().1.to_owned();
        let made = [
            text("access_token"),
            text("id_token"),
            text("refresh_token"),
            code.clone(),
            flow.clone(),
            cookie(browser.cookie.as_deref().unwrap()),
            cookie(&admin.cookie),
            authority.secret("spa-backend"),
            authority.secret("middle-tier"),
        ];
        let sent = [
            "alice-in-wonderland",
            "bob-the-builder",
            "one-time\"",
            "control-me",
            "the-state",
            "the-nonce",
            "the-hint",
            "not-a-user",
            "wrong-password",
            "wrong-code",
            "wrong-secret",
            "wrong-authorization",
            "wrong-assertion",
            "an-assertion",
            "essential",
            VERIFIER,
            CHALLENGE,
        ];
        for secret in made.iter().map(String::as_str).chain(sent) {
            assert!(!seen.contains(secret), "{secret}: {seen}");
        }
    }
}
