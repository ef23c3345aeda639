//! The service as a browser meets it, between an authority and a middle tier that do as they are told.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};
use tower_bearer::ClaimsRequest;

use super::doubles::{Stage, come_back, param};

fn challenge(context: &str) -> String {
    let claims = ClaimsRequest::acrs(context).unwrap().to_base64();
    format!("Bearer realm=\"t\", error=\"insufficient_claims\", claims=\"{claims}\"")
}

#[tokio::test]
async fn sign_in_gives_a_session_and_no_token_to_the_browser() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let sent = browser.get("/auth/sign-in?return_to=/id-token").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    let request = sent.url();
    for (name, value) in [
        ("response_type", "code"),
        ("response_mode", "query"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", "http://localhost:3000/auth/callback"),
        (
            "scope",
            "openid profile offline_access api://middle/user_impersonation",
        ),
        (
            "claims",
            r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#,
        ),
        ("prompt", ""),
    ] {
        assert_eq!(param(&request, name), value);
    }
    assert!(
        browser.set_cookies[0].starts_with("__Host-spa-tx-")
            && browser.set_cookies[0].contains("SameSite=None; Secure")
    );

    let landed = browser.get(&come_back(&request, "alice")).await;
    assert_eq!(
        (landed.status, landed.location()),
        (StatusCode::SEE_OTHER, "/id-token")
    );
    let session = browser
        .set_cookies
        .iter()
        .find(|line| line.starts_with("__Host-spa-session="))
        .unwrap();
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(session.contains(attribute), "{session}");
    }
    assert_eq!(
        browser.cookies.len(),
        1,
        "the transaction cookie is gone: {:?}",
        browser.cookies
    );

    let form = stage.authority.forms.lock().unwrap()[0].clone();
    assert_eq!(
        form["claims"],
        r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#
    );
    assert_eq!(form["client_secret"], "test-secret");
    assert_eq!(
        browser.draw_page().await["username"],
        "alice@contoso.example"
    );
    for path in ["/", "/id-token", "/session"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            !page.text.contains("access-token") && !page.text.contains("refresh-token"),
            "{path}"
        );
        assert!(
            page.headers[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
        assert_eq!(page.headers[CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_state_is_good_for_one_callback_in_one_browser() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let callback = come_back(&browser.get("/auth/sign-in").await.url(), "alice");
    assert_eq!(
        stage.browser().get(&callback).await.status,
        StatusCode::BAD_REQUEST,
        "another browser"
    );
    let kept = browser.cookies.clone();
    assert_eq!(browser.get(&callback).await.status, StatusCode::SEE_OTHER);
    browser.cookies.extend(kept);
    assert_eq!(
        browser.get(&callback).await.status,
        StatusCode::BAD_REQUEST,
        "replayed"
    );
    for wrong in [
        "/auth/callback",
        "/auth/callback?state=x&code=y",
        "/auth/callback?code=y",
        "/auth/callback?state=a&state=b",
        "/auth/callback?state=%ff",
    ] {
        let page = browser.get(wrong).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{wrong}");
        // Who is signed in has nothing to sign in to.
        assert!(page.text.contains("primary\" href=\"/\""), "a way on");
    }
    assert_eq!(stage.authority.token_requests("authorization_code"), 1);
}

#[tokio::test]
async fn parallel_tabs_sign_in_side_by_side() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let one = browser.get("/auth/sign-in?return_to=/id-token").await.url();
    let two = browser.get("/auth/sign-in").await.url();
    assert_eq!(browser.get(&come_back(&two, "alice")).await.location(), "/");
    assert_eq!(
        browser.get(&come_back(&one, "alice")).await.location(),
        "/id-token"
    );
}

#[tokio::test]
async fn no_other_page_starts_a_sign_in_by_embedding_it() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let step_up = browser.fetch(Method::GET, "/api/secure", "").await.go();
    for path in ["/auth/sign-in", &step_up] {
        for (mode, dest, status) in [
            ("navigate", "document", StatusCode::SEE_OTHER),
            ("no-cors", "document", StatusCode::FORBIDDEN),
            ("navigate", "iframe", StatusCode::FORBIDDEN),
            ("navigate", "image", StatusCode::FORBIDDEN),
        ] {
            // From wherever it comes: a bookmark, a link in a mail, another site.
            let headers = [
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
                ("sec-fetch-site", "cross-site"),
            ];
            let page = browser.send(Method::GET, path, &headers, "").await;
            assert_eq!(page.status, status, "{path} {mode} {dest}");
            assert_eq!(
                browser.set_cookies.is_empty(),
                status != StatusCode::SEE_OTHER
            );
        }
    }
}

#[tokio::test]
async fn a_browser_holds_at_most_eight_sign_ins_under_way() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    browser
        .cookies
        .insert("__Host-spa-tx-unknown".into(), "x".into());
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.push(browser.get("/auth/sign-in").await.url());
        assert!(browser.cookies.len() <= 8, "{:?}", browser.cookies);
    }
    let (given_up, kept) = requests.split_at(12);
    for (requests, status) in [
        (given_up, StatusCode::BAD_REQUEST),
        (kept, StatusCode::SEE_OTHER),
    ] {
        for request in requests {
            assert_eq!(
                browser.get(&come_back(request, "alice")).await.status,
                status
            );
        }
    }
}

#[tokio::test]
async fn wrong_nonce_wrong_key_and_wrong_issuer_give_no_session() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let mut request = browser.get("/auth/sign-in").await.url();
    let swapped = request
        .as_str()
        .replace(&param(&request, "nonce"), "another-nonce");
    request = swapped.parse().unwrap();
    assert_eq!(
        browser.get(&come_back(&request, "alice")).await.status,
        StatusCode::BAD_GATEWAY
    );

    *stage.authority.forge.lock().unwrap() = true;
    assert_eq!(
        browser.sign_in("/auth/sign-in", "alice").await.status,
        StatusCode::BAD_GATEWAY
    );
    *stage.authority.forge.lock().unwrap() = false;

    let request = browser.get("/auth/sign-in").await.url();
    let mixed_up = format!("{}&iss=https://evil.example", come_back(&request, "alice"));
    assert_eq!(browser.get(&mixed_up).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.draw_page().await, json!({ "signed_in": false }));
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_no_fault_of_the_id_token() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let request = browser.get("/auth/sign-in").await.url();
    *stage.authority.away.lock().unwrap() = true;
    let page = browser.get(&come_back(&request, "alice")).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text.contains("does not answer") && page.text.contains("Try again"));
    assert_eq!(browser.draw_page().await, json!({ "signed_in": false }));
}

#[tokio::test]
async fn a_cancelled_sign_in_is_a_page_with_a_way_on_and_echoes_nothing() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let state = param(
        &browser.get("/auth/sign-in?return_to=/id-token").await.url(),
        "state",
    );
    let page = browser
        .get(&format!(
            "/auth/callback?state={state}&error=access_denied&error_description=%3Cscript%3Epwned"
        ))
        .await;
    assert!(
        page.text.contains("The sign-in was not completed") && page.text.contains("access_denied")
    );
    assert!(page.text.contains("/auth/sign-in?return_to=%2Fid-token"));
    assert!(!page.text.contains("pwned"));
    let state = param(&browser.get("/auth/sign-in").await.url(), "state");
    let page = browser
        .get(&format!(
            "/auth/callback?state={state}&error=%3Cimg+src=x%3E"
        ))
        .await;
    assert!(
        !page.text.contains("<img src=x") && !page.text.contains("&lt;img"),
        "an unusual code is not shown at all"
    );
}

#[tokio::test]
async fn return_targets_never_leave_this_origin() {
    let stage = Stage::new().await;
    for target in [
        "//evil.example",
        "/%5Cevil.example",
        "https://evil.example",
        "/%09/evil.example",
        "%2F%2Fevil.example",
        "javascript:alert(1)",
        "/%2F/evil.example",
    ] {
        let landed = stage
            .browser()
            .sign_in(&format!("/auth/sign-in?return_to={target}"), "alice")
            .await;
        assert_eq!(landed.location(), "/", "{target}");
    }
}

#[tokio::test]
async fn a_planted_session_id_is_not_adopted_and_the_id_changes_at_sign_in() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    browser
        .cookies
        .insert("__Host-spa-session".into(), "AAAAAAAAAAAAAAAAAAAAAA".into());
    browser.sign_in("/auth/sign-in", "alice").await;
    let first = browser.cookies.clone();
    assert_ne!(first["__Host-spa-session"], "AAAAAAAAAAAAAAAAAAAAAA");
    browser.sign_in("/auth/sign-in", "alice").await;
    assert_ne!(first, browser.cookies);
    browser.cookies = first;
    assert_eq!(
        browser.draw_page().await,
        json!({ "signed_in": false }),
        "the old id is dead"
    );
}

#[tokio::test]
async fn insecure_cookies_work_without_prefix_and_secure() {
    let stage = Stage::new().await;
    let mut config = super::doubles::config(&stage.authority.url, "http://127.0.0.1:1");
    config.insecure_cookies = true;
    let mut browser = stage.browser_of(super::router(&config).unwrap());
    browser.sign_in("/auth/sign-in", "alice").await;
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["spa-session"]);
    browser.draw_page().await;
    browser.fetch(Method::POST, "/auth/sign-out", "").await;
    assert!(browser.cookies.is_empty());
}

#[tokio::test]
async fn a_tampered_or_doubled_session_cookie_is_no_session() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    let genuine = browser.cookies["__Host-spa-session"].clone();
    for position in 0..genuine.len() {
        let mut tampered = genuine.clone().into_bytes();
        tampered[position] = if tampered[position] == b'A' {
            b'B'
        } else {
            b'A'
        };
        browser.cookies.insert(
            "__Host-spa-session".into(),
            String::from_utf8(tampered).unwrap(),
        );
        assert_eq!(
            browser.draw_page().await,
            json!({ "signed_in": false }),
            "position {position}"
        );
        browser
            .cookies
            .insert("__Host-spa-session".into(), genuine.clone());
    }
    assert_eq!(browser.draw_page().await["signed_in"], true);
    browser
        .cookies
        .insert("a; __Host-spa-session".into(), genuine);
    assert_eq!(
        browser.draw_page().await,
        json!({ "signed_in": false }),
        "twice"
    );
}

#[tokio::test]
async fn nobody_can_swap_the_session_by_a_cookie_in_disguise() {
    let stage = Stage::new().await;
    let mut alice = stage.signed_in("alice").await;
    let attacker = stage.signed_in("bob").await.cookies["__Host-spa-session"].clone();
    for (planted, expected) in [
        ("x", "alice"),
        ("__Host-spa-other", "alice"),
        ("%5F_Host-spa-session", ""),
        ("__Host-spa-session ", ""),
        ("x=\u{e9}; __Host-spa-session", ""),
    ] {
        let planted = format!("{planted}={attacker}");
        let session = alice
            .send(Method::GET, "/session", &[("cookie", &planted)], "")
            .await
            .json();
        assert_eq!(
            session["name"].as_str().unwrap_or_default(),
            expected,
            "{planted}"
        );
        let nobody = stage
            .browser()
            .send(Method::GET, "/session", &[("cookie", &planted)], "")
            .await
            .json();
        let own = planted.ends_with(&format!("\u{e9}; __Host-spa-session={attacker}"));
        assert_eq!(nobody["signed_in"], own, "alone: {planted}");
    }
}

#[tokio::test]
async fn an_unknown_session_id_is_removed_and_a_known_one_stays() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    browser.draw_page().await;
    assert_eq!(browser.cookies.len(), 1, "{:?}", browser.set_cookies);
    browser
        .cookies
        .insert("__Host-spa-session".into(), "AAAAAAAAAAAAAAAAAAAAAA".into());
    browser.draw_page().await;
    assert!(browser.cookies.is_empty(), "{:?}", browser.set_cookies);
}

#[tokio::test]
async fn calls_need_session_header_token_and_same_origin() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    let token = browser.session_token.clone();
    let account = browser.account.clone();
    let same = ("sec-fetch-site", "same-origin");
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Headers<'_>, StatusCode, &str); 9] = [
        (
            &[("x-session-token", &token)],
            StatusCode::FORBIDDEN,
            "cross_site",
        ),
        (
            &[
                ("x-session-token", &token),
                ("origin", "http://localhost:8080"),
            ],
            StatusCode::FORBIDDEN,
            "cross_site",
        ),
        (
            &[("x-session-token", &token), ("sec-fetch-site", "same-site")],
            StatusCode::FORBIDDEN,
            "cross_site",
        ),
        (&[same], StatusCode::FORBIDDEN, "page_out_of_date"),
        (
            &[same, ("x-session-token", "wrong")],
            StatusCode::FORBIDDEN,
            "page_out_of_date",
        ),
        (
            &[
                same,
                ("x-session-token", &token),
                ("x-session-token", "wrong"),
            ],
            StatusCode::FORBIDDEN,
            "page_out_of_date",
        ),
        (
            &[
                same,
                ("x-session-token", &token),
                ("x-session-token", &token),
            ],
            StatusCode::FORBIDDEN,
            "page_out_of_date",
        ),
        (
            &[
                same,
                ("x-session-token", &token),
                ("x-account", "somebody.else"),
            ],
            StatusCode::CONFLICT,
            "account_changed",
        ),
        (
            &[
                same,
                ("x-session-token", &token),
                ("x-account", &account),
                ("x-account", "somebody.else"),
            ],
            StatusCode::CONFLICT,
            "account_changed",
        ),
    ];
    for (headers, status, error) in cases {
        for (method, path) in [
            (Method::GET, "/api/api"),
            (Method::POST, "/api/profile"),
            (Method::POST, "/auth/sign-out"),
            (Method::POST, "/api/ops/x"),
        ] {
            let page = browser.send(method, path, headers, "").await;
            assert_eq!(
                (page.status, page.error().as_str()),
                (status, error),
                "{path} {headers:?}"
            );
        }
    }
    let page = stage
        .browser()
        .send(
            Method::GET,
            "/api/api",
            &[same, ("x-session-token", &token)],
            "",
        )
        .await;
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::UNAUTHORIZED, "sign_in_required")
    );
    assert_eq!(stage.middle_tier.calls(), 0);
    let valid = [same, ("x-session-token", &token), ("x-account", &account)];
    let page = browser.send(Method::GET, "/api/api", &valid, "").await;
    assert_eq!(page.status, StatusCode::OK);
}

#[tokio::test]
async fn the_header_token_is_told_to_this_origin_alone() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    for (header, status) in [
        (("origin", "http://localhost:3000"), StatusCode::OK),
        (("sec-fetch-site", "same-origin"), StatusCode::OK),
        (("origin", "http://localhost:8080"), StatusCode::FORBIDDEN),
        (("origin", "null"), StatusCode::FORBIDDEN),
        (("sec-fetch-site", "same-site"), StatusCode::FORBIDDEN),
    ] {
        let page = browser.send(Method::GET, "/session", &[header], "").await;
        assert_eq!(page.status, status, "{header:?}");
        let told = page.text.contains(&browser.session_token);
        assert_eq!(told, status == StatusCode::OK, "{header:?}");
    }
}

#[tokio::test]
async fn a_call_carries_the_token_and_nothing_of_the_browser() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    let page = browser.fetch(Method::POST, "/api/profile?x=1", "{}").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.headers.contains_key("set-cookie") && !page.headers.contains_key("x-secret"));
    let seen = stage.middle_tier.seen.lock().unwrap();
    let (method, uri, headers, body) = &seen[0];
    assert_eq!(
        (method, uri.as_str(), body.as_ref()),
        (&Method::POST, "/profile?x=1", b"{}".as_slice())
    );
    assert_eq!(headers["authorization"], "Bearer access-token-1");
    let id = page.headers["x-correlation-id"].to_str().unwrap();
    assert_eq!(headers["x-correlation-id"], id);
    let traceparent = headers["traceparent"].to_str().unwrap();
    assert!(traceparent.contains(&id.replace('-', "")));
    for name in [
        "cookie",
        "x-session-token",
        "x-account",
        "origin",
        "referer",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn paths_beyond_the_api_and_bodies_beyond_64_kib_are_not_passed_on() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    for path in [
        "/api/",
        "/api//evil.example/",
        "/api/../secret",
        "/api/%2e%2e/secret",
        "/api/a%2Fb",
        "/api/{x}",
    ] {
        assert_eq!(
            browser.fetch(Method::GET, path, "").await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let large: &'static str = Box::leak("x".repeat(64 * 1024 + 1).into_boxed_str());
    assert_eq!(
        browser
            .fetch(Method::POST, "/api/profile", large)
            .await
            .status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(stage.middle_tier.calls(), 0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    type Chunk = Result<bytes::Bytes, std::convert::Infallible>;
    let chunk = |text: &'static str| Chunk::Ok(bytes::Bytes::from_static(text.as_bytes()));
    let beginning = futures_util::stream::iter([chunk("a"), chunk("b")]);
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    let whole = axum::body::Body::from_stream(beginning.clone());
    let page = browser.fetch(Method::POST, "/api/profile", whole).await;
    assert_eq!(
        (page.status, stage.middle_tier.calls()),
        (StatusCode::OK, 1)
    );

    // From here on nothing but the body is waited for, so that time may run ahead.
    tokio::time::pause();
    let endless = beginning.chain(futures_util::stream::pending());
    let endless = axum::body::Body::from_stream(endless);
    let page = browser.fetch(Method::POST, "/api/profile", endless);
    let page = tokio::time::timeout(std::time::Duration::from_secs(600), page).await;
    let page = page.unwrap();
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::REQUEST_TIMEOUT, "slow_request")
    );
    assert_eq!(stage.middle_tier.calls(), 1);
}

#[tokio::test]
async fn after_step_up_the_operation_runs_once() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let refused = browser.fetch(Method::POST, "/api/change", "change").await;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (StatusCode::UNAUTHORIZED, "step_up_required")
    );
    assert!(!refused.headers.contains_key("www-authenticate"));

    let sent = browser.get(&refused.go()).await;
    let claims: serde_json::Value = serde_json::from_str(&param(&sent.url(), "claims")).unwrap();
    assert_eq!(
        claims,
        json!({"access_token": {"acrs": {"essential": true, "value": "c1"}, "xms_cc": {"values": ["cp1"]}}})
    );
    assert_eq!(param(&sent.url(), "login_hint"), "alice@contoso.example");
    assert_eq!(param(&sent.url(), "prompt"), "");
    let landed = browser.get(&come_back(&sent.url(), "alice")).await;
    let operation = landed.location().strip_prefix("/?op=").unwrap().to_owned();
    assert_eq!(
        stage.authority.forms.lock().unwrap()[1]["claims"],
        param(&sent.url(), "claims")
    );
    assert!(browser.get(landed.location()).await.text.contains(&format!(
        "data-operation=\"{operation}\" data-path=\"/api/change\""
    )));

    let done = browser
        .fetch(Method::POST, &format!("/api/ops/{operation}"), "")
        .await;
    assert_eq!(
        (done.status, done.json()),
        (StatusCode::OK, json!({ "name": "Alice" }))
    );
    let again = browser
        .fetch(Method::POST, &format!("/api/ops/{operation}"), "")
        .await;
    assert_eq!(
        (again.status, again.error().as_str()),
        (StatusCode::GONE, "operation_sent")
    );
    let seen = stage.middle_tier.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    let (method, uri, headers, body) = &seen[1];
    assert_eq!(
        (method, uri.as_str(), body.as_ref()),
        (&Method::POST, "/change", b"change".as_slice())
    );
    assert_eq!(headers["authorization"], "Bearer access-token-2");
}

#[tokio::test]
async fn a_step_up_by_somebody_else_drops_the_operation_and_keeps_the_session() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let go = browser
        .fetch(Method::POST, "/api/profile", "alice's change")
        .await
        .go();
    let landed = browser.sign_in(&go, "bob").await;
    assert_eq!(landed.location(), "/?notice=other-account");
    assert!(
        browser
            .get(landed.location())
            .await
            .text
            .contains("id=\"notice\"")
    );
    assert_eq!(browser.draw_page().await["name"], "alice");
    let operation = go.strip_prefix("/auth/step-up?op=").unwrap().to_owned();
    let page = browser
        .fetch(Method::POST, &format!("/api/ops/{operation}"), "")
        .await;
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::GONE, "operation_unknown")
    );
    assert_eq!(stage.middle_tier.calls(), 1);
}

#[tokio::test]
async fn operations_are_out_of_reach_for_other_sessions() {
    let stage = Stage::new().await;
    let mut alice = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let go = alice.fetch(Method::GET, "/api/secure", "").await.go();
    let mut bob = stage.signed_in("bob").await;
    assert_eq!(bob.get(&go).await.status, StatusCode::GONE);
    assert_eq!(
        stage.browser().get(&go).await.status,
        StatusCode::UNAUTHORIZED
    );
    let path = go.replace("/auth/step-up?op=", "/api/ops/");
    assert_eq!(
        bob.fetch(Method::POST, &path, "").await.error(),
        "operation_unknown"
    );

    // Alice goes to the authority, but bob has the session when she comes back.
    let request = alice.get(&go).await.url();
    alice.sign_in("/auth/sign-in", "bob").await;
    let page = alice.get(&come_back(&request, "alice")).await;
    assert!(
        page.text.contains("Your session has ended"),
        "{}",
        page.text
    );
    assert_eq!(stage.middle_tier.calls(), 1);
}

#[tokio::test]
async fn equal_claims_twice_end_the_loop_and_two_different_rounds_are_answered() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    for context in ["c1", "c2", "c2"] {
        stage.middle_tier.challenge(401, &challenge(context));
    }
    let mut answer = browser.fetch(Method::GET, "/api/secure", "").await;
    for _ in 0..2 {
        assert_eq!(answer.error(), "step_up_required");
        let landed = browser.sign_in(&answer.go(), "alice").await;
        answer = browser
            .fetch(
                Method::POST,
                &landed.location().replace("/?op=", "/api/ops/"),
                "",
            )
            .await;
    }
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (StatusCode::FORBIDDEN, "step_up_failed")
    );
    assert_eq!(answer.go(), "");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_then_the_person_is_asked() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage
        .middle_tier
        .challenge(401, "Bearer error=\"invalid_token\"");
    assert_eq!(
        browser.fetch(Method::GET, "/api/api", "").await.status,
        StatusCode::OK
    );
    assert_eq!(stage.authority.token_requests("refresh_token"), 1);

    stage
        .middle_tier
        .challenge(401, "Bearer error=\"invalid_token\"");
    stage
        .middle_tier
        .challenge(401, "Bearer error=\"invalid_token\"");
    let page = browser.fetch(Method::GET, "/api/api", "").await;
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::UNAUTHORIZED, "sign_in_required")
    );
    let landed = browser.sign_in(&page.go(), "alice").await;
    let page = browser
        .fetch(
            Method::POST,
            &landed.location().replace("/?op=", "/api/ops/"),
            "",
        )
        .await;
    assert_eq!(page.status, StatusCode::OK);
}

#[tokio::test]
async fn missing_consent_is_asked_for_by_default_scope() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(
        403,
        "Bearer error=\"insufficient_scope\", scope=\"api://evil/.default\"",
    );
    let page = browser.fetch(Method::GET, "/api/api", "").await;
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::UNAUTHORIZED, "consent_required")
    );
    let request = browser.get(&page.go()).await.url();
    assert_eq!(
        param(&request, "scope"),
        "openid profile offline_access api://middle/.default",
        "our own, not the header's"
    );
    assert_eq!(param(&request, "prompt"), "consent");
}

#[tokio::test]
async fn concurrent_calls_share_one_refresh_and_the_rotated_token_is_used_next() {
    let stage = Stage::new().await;
    stage.authority.lifetimes.lock().unwrap().extend([1, 3600]);
    let browser = stage.signed_in("alice").await;
    let calls = (0..50).map(|_| {
        let mut tab = stage.browser();
        (tab.cookies, tab.account, tab.session_token) = (
            browser.cookies.clone(),
            browser.account.clone(),
            browser.session_token.clone(),
        );
        async move { tab.fetch(Method::GET, "/api/api", "").await.status }
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(
        statuses.iter().all(|status| *status == StatusCode::OK),
        "{statuses:?}"
    );
    assert_eq!(stage.authority.token_requests("refresh_token"), 1);
    let mut tab = browser;
    stage
        .middle_tier
        .challenge(401, "Bearer error=\"invalid_token\"");
    tab.fetch(Method::GET, "/api/api", "").await;
    let forms = stage.authority.forms.lock().unwrap();
    assert_eq!(forms[1]["refresh_token"], "refresh-token-1");
    assert_eq!(forms[2]["refresh_token"], "refresh-token-2");
    assert_eq!(
        forms[2]["claims"],
        r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#
    );
}

#[tokio::test]
async fn a_failed_refresh_names_who_can_help() {
    let stage = Stage::new().await;
    let claims = r#"{"access_token":{"capolids":{"essential":true,"values":["p"]}}}"#;
    let cases = [
        (
            400,
            json!({ "error": "interaction_required", "claims": claims }),
            401,
            "step_up_required",
        ),
        (
            400,
            json!({ "error": "invalid_grant" }),
            401,
            "sign_in_required",
        ),
        (401, json!({ "error": "invalid_client" }), 500, "internal"),
        (503, json!({}), 503, "authority_unavailable"),
    ];
    for (status, body, expected, error) in cases {
        stage.authority.lifetimes.lock().unwrap().push_back(1);
        let mut browser = stage.signed_in("alice").await;
        // A second's token is within the margin but still good, so it must be refused first to matter.
        stage
            .middle_tier
            .challenge(401, "Bearer error=\"invalid_token\"");
        stage.authority.refuse(status, body.clone());
        stage.authority.refuse(status, body);
        let page = browser.fetch(Method::GET, "/api/api", "").await;
        assert_eq!(
            (page.status.as_u16(), page.error().as_str()),
            (expected, error)
        );
        stage.authority.refusals.lock().unwrap().clear();
        stage.middle_tier.answers.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn sign_out_ends_the_session_here_and_leads_to_the_authority() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    let cookies = browser.cookies.clone();
    let page = browser.fetch(Method::POST, "/auth/sign-out", "").await;
    let go: url::Url = page.go().parse().unwrap();
    assert_eq!(go.path(), "/logout");
    assert_eq!(
        param(&go, "post_logout_redirect_uri"),
        "http://localhost:3000/"
    );
    assert_eq!(param(&go, "logout_hint"), "alice@contoso.example");
    assert!(browser.cookies.is_empty(), "{:?}", browser.set_cookies);
    browser.cookies = cookies;
    assert_eq!(browser.draw_page().await, json!({ "signed_in": false }));
}

#[tokio::test]
async fn without_an_authority_the_page_stands_and_says_so() {
    let config = super::doubles::config("http://127.0.0.1:1", "http://127.0.0.1:1");
    let mut browser = Stage::new()
        .await
        .browser_of(super::router(&config).unwrap());
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    let page = browser.get("/auth/sign-in").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text.contains("does not answer") && page.text.contains("Try again"));
    assert_eq!(page.headers[RETRY_AFTER], "5");
    assert_eq!(browser.get("/healthz").await.status, StatusCode::OK);
    let ready = browser.get("/readyz").await;
    assert_eq!(ready.headers[RETRY_AFTER], "5");
    assert_eq!(
        (ready.status, ready.json()),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "authority": false, "middle_tier": false })
        )
    );
}

#[tokio::test]
async fn an_authority_that_has_gone_is_noticed_within_seconds() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let step_up = browser.fetch(Method::GET, "/api/secure", "").await.go();
    *stage.authority.away.lock().unwrap() = true;
    for (age, status) in [
        (
            5,
            [StatusCode::OK, StatusCode::SEE_OTHER, StatusCode::SEE_OTHER],
        ),
        (10, [StatusCode::SERVICE_UNAVAILABLE; 3]),
    ] {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(age)).await;
        tokio::time::resume();
        for (path, status) in ["/readyz", "/auth/sign-in", &step_up]
            .into_iter()
            .zip(status)
        {
            let page = browser.get(path).await;
            assert_eq!(page.status, status, "{path}");
            if path != "/readyz" && status == StatusCode::SERVICE_UNAVAILABLE {
                assert!(page.text.contains("does not answer") && page.text.contains("Try again"));
                assert!(browser.set_cookies.is_empty(), "nothing was begun");
            }
        }
    }
    assert_eq!(
        browser
            .fetch(Method::POST, "/auth/sign-out", "")
            .await
            .status,
        StatusCode::OK,
        "what needs the metadata alone goes on"
    );
    *stage.authority.away.lock().unwrap() = false;
    assert_eq!(browser.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(
        browser.get("/auth/sign-in").await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn readiness_asks_the_authority_once_for_everybody() {
    let stage = Stage::new().await;
    for away in [true, false] {
        *stage.authority.away.lock().unwrap() = away;
        *stage.authority.looked_up.lock().unwrap() = 0;
        let visits = (0..50).map(|_| {
            let mut browser = stage.browser();
            async move { browser.get("/readyz").await.json()["authority"] == !away }
        });
        let answers = futures_util::future::join_all(visits).await;
        assert_eq!(answers, [true; 50], "away: {away}");
        assert_eq!(
            *stage.authority.looked_up.lock().unwrap(),
            1,
            "away: {away}"
        );
    }
}

#[tokio::test]
async fn a_dead_middle_tier_is_named() {
    let stage = Stage::new().await;
    let config = super::doubles::config(&stage.authority.url, "http://127.0.0.1:1");
    let mut browser = stage.browser_of(super::router(&config).unwrap());
    browser.sign_in("/auth/sign-in", "alice").await;
    browser.draw_page().await;
    let page = browser.fetch(Method::GET, "/api/api", "").await;
    assert_eq!(
        (page.status, page.error().as_str()),
        (StatusCode::BAD_GATEWAY, "api_unreachable")
    );
}

#[tokio::test]
async fn foreign_host_names_are_refused_and_aliases_led_home() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    for host in ["evil.example", "evil.example:3000", "localhost:3001", ""] {
        let page = browser
            .send(Method::GET, "/session", &[("host", host)], "")
            .await;
        assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    let page = browser
        .send(Method::GET, "/?a=b", &[("host", "127.0.0.1:3000")], "")
        .await;
    assert_eq!(
        (page.status, page.location()),
        (StatusCode::TEMPORARY_REDIRECT, "http://localhost:3000/?a=b")
    );
    let page = browser
        .send(
            Method::POST,
            "/auth/sign-out",
            &[("host", "127.0.0.1:3000")],
            "",
        )
        .await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST);
    let page = browser
        .send(
            Method::GET,
            "http://evil.example:3000/session",
            &[("host", "localhost:3000")],
            "",
        )
        .await;
    assert_eq!(
        page.status,
        StatusCode::MISDIRECTED_REQUEST,
        "absolute form"
    );
}

#[tokio::test]
async fn after_step_up_the_page_that_made_the_call_runs_it() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    for (call, page) in [
        ("/api/profile", "/profile?op="),
        ("/api/profile/edit", "/profile?op="),
        ("/api/secure", "/?op="),
    ] {
        stage.middle_tier.challenge(401, &challenge("c1"));
        let go = browser.fetch(Method::GET, call, "").await.go();
        let operation = go.strip_prefix("/auth/step-up?op=").unwrap().to_owned();
        let landed = browser.sign_in(&go, "alice").await;
        assert_eq!(landed.location(), format!("{page}{operation}"));
    }
}

#[tokio::test]
async fn the_id_token_goes_back_only_to_an_authority_that_wants_it() {
    let stage = Stage::new().await;
    for wanted in [false, true] {
        let instance = stage.instance(|config| config.id_token_hint = wanted);
        let mut browser = stage.signed_in_at(&instance, "alice").await;
        let page = browser.fetch(Method::POST, "/auth/sign-out", "").await;
        let go: url::Url = page.go().parse().unwrap();
        assert_eq!(param(&go, "logout_hint"), "alice@contoso.example");
        assert_eq!(param(&go, "id_token_hint").split('.').count() == 3, wanted);
    }
}

#[tokio::test]
async fn a_step_up_ends_well_when_the_browser_goes_away_in_the_middle() {
    let stage = Stage::new().await;
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let go = browser.fetch(Method::POST, "/api/change", "change").await;
    let callback = come_back(&browser.get(&go.go()).await.url(), "alice");

    let gate = Arc::new(Semaphore::new(0));
    *stage.authority.code_gate.lock().unwrap() = Some(Arc::clone(&gate));
    let mut tab = browser.tab();
    let mut look = interval(Duration::from_millis(1));
    let arrived = async {
        while stage.authority.token_requests("authorization_code") < 2 {
            look.tick().await;
        }
    };
    tokio::select! {
        page = tab.get(&callback) => panic!("{}", page.text),
        () = arrived => {}
    }
    // The request is gone by now; the authority answers.
    gate.add_permits(1);
    let stepped_up = async {
        loop {
            browser.fetch(Method::GET, "/api/api", "").await;
            let seen = stage.middle_tier.seen.lock().unwrap();
            if seen[seen.len() - 1].2["authorization"] == "Bearer access-token-2" {
                break;
            }
        }
    };
    let stepped_up = timeout(Duration::from_secs(60), stepped_up).await;
    assert!(stepped_up.is_ok(), "the tokens of the step-up are lost");
    let run = go.go().replace("/auth/step-up?op=", "/api/ops/");
    let done = browser.fetch(Method::POST, &run, "").await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
}

#[tokio::test]
async fn an_operation_that_was_not_sent_can_be_tried_again_and_still_runs_once() {
    let stage = Stage::new().await;
    stage.authority.lifetimes.lock().unwrap().extend([3600, 0]);
    let mut browser = stage.signed_in("alice").await;
    stage.middle_tier.challenge(401, &challenge("c1"));
    let go = browser.fetch(Method::POST, "/api/change", "change").await;
    let landed = browser.sign_in(&go.go(), "alice").await;
    let run = landed.location().replace("/?op=", "/api/ops/");
    for _ in 0..2 {
        stage.authority.refuse(503, json!({}));
        let page = browser.fetch(Method::POST, &run, "").await;
        assert_eq!(page.error(), "authority_unavailable", "{}", page.text);
        assert!(page.text.contains("try again"), "{}", page.text);
        assert_eq!(stage.middle_tier.calls(), 1);
    }
    let done = browser.fetch(Method::POST, &run, "").await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(stage.middle_tier.calls(), 2);
    let again = browser.fetch(Method::POST, &run, "").await;
    assert_eq!(again.error(), "operation_sent");
    assert_eq!(stage.middle_tier.calls(), 2);
}

#[tokio::test]
async fn a_name_that_is_no_text_meets_the_guard_first_and_then_a_problem() {
    let stage = Stage::new().await;
    let router = stage.instance(|config| config.flow_events = true);
    let mut browser = stage.signed_in_at(&router, "alice").await;
    for (method, path, status, error) in [
        (
            Method::POST,
            "/api/ops/%ff",
            StatusCode::GONE,
            "operation_unknown",
        ),
        (
            Method::GET,
            "/flows/%ff",
            StatusCode::NOT_FOUND,
            "flow_unknown",
        ),
    ] {
        let page = browser.send(method.clone(), path, &[], "").await;
        assert_eq!(
            (page.status, page.error().as_str()),
            (StatusCode::FORBIDDEN, "cross_site")
        );
        let page = browser.fetch(method, path, "").await;
        assert_eq!((page.status, page.error().as_str()), (status, error));
        assert_eq!(page.headers[CONTENT_TYPE], "application/problem+json");
    }
}
