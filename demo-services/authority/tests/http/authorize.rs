//! The authorization endpoint: requests, pages and answers.

use crate::harness::{Answer, Browser, CHALLENGE, Harness, REDIRECT};

#[tokio::test]
async fn state_comes_back_to_the_byte_in_each_response_mode() {
    let authority = Harness::start().await;
    let state = "a b+c/%&=\u{e9}\"'<>#?";
    let mut browser = Browser::default();
    authority.code(&mut browser).await;
    let query = authority
        .authorize(&browser, &[("state", state), ("response_mode", "query")])
        .await;
    assert_eq!(query.parameters()["state"], state);
    assert!(query.location().fragment().is_none());
    let fragment = authority
        .authorize(&browser, &[("state", state), ("response_mode", "fragment")])
        .await
        .location();
    assert!(fragment.query().is_none());
    let pairs: Vec<_> = url::form_urlencoded::parse(fragment.fragment().unwrap().as_bytes())
        .into_owned()
        .collect();
    assert!(
        pairs.contains(&("state".into(), state.into()))
            && pairs.iter().any(|(name, _)| name == "code")
    );
    let page = authority
        .authorize(
            &browser,
            &[("state", state), ("response_mode", "form_post")],
        )
        .await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains(&format!("action=\"{REDIRECT}\""))
            && page.text.contains("name=\"code\"")
            && page.text.contains("Continue</button>")
    );
    assert!(
        !page.text.contains("'<>") && page.text.contains("&#60;&#62;"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn client_info_is_given_on_request() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    authority.code(&mut browser).await;
    assert!(
        !authority
            .authorize(&browser, &[])
            .await
            .parameters()
            .contains_key("client_info")
    );
    assert!(
        authority
            .authorize(&browser, &[("client_info", "1")])
            .await
            .parameters()
            .contains_key("client_info")
    );
}

#[tokio::test]
async fn unknown_clients_and_redirects_stay_on_a_page() {
    let authority = Harness::start().await;
    for changes in [
        ("client_id", ""),
        ("client_id", "nobody"),
        ("client_id", "00000000-0000-4000-8000-000000000000"),
        ("client_id", "{5ba00000-0000-4000-8000-000000003000}"),
        ("client_id", "urn:uuid:5ba00000-0000-4000-8000-000000003000"),
        ("client_id", "5ba00000000040008000000000003000"),
        ("redirect_uri", ""),
        ("redirect_uri", "http://localhost:3000/auth/callback/"),
        ("redirect_uri", "http://localhost:3000/auth/callback?x"),
        ("redirect_uri", "http://localhost:3001/auth/callback"),
        (
            "redirect_uri",
            "https://evil.example/\"><script>alert(1)</script>",
        ),
        ("redirect_uri", "javascript:alert(1)"),
    ] {
        let answer = authority.authorize(&Browser::default(), &[changes]).await;
        assert_eq!(
            (answer.status, answer.headers.contains_key("location")),
            (400, false),
            "{changes:?}"
        );
        assert!(!answer.text.contains("<script>alert"));
    }
}

#[tokio::test]
async fn other_faults_go_back_to_the_client() {
    let authority = Harness::start().await;
    let short = &CHALLENGE[1..];
    for (changes, error, number) in [
        (("response_type", ""), "invalid_request", "900144"),
        (
            ("response_type", "token"),
            "unsupported_response_type",
            "700054",
        ),
        (("response_mode", "web_message"), "invalid_request", "90023"),
        (("code_challenge", ""), "invalid_request", "9002325"),
        (("code_challenge", short), "invalid_request", "501491"),
        (
            ("code_challenge_method", "plain"),
            "invalid_request",
            "501491",
        ),
        (("code_challenge_method", ""), "invalid_request", "501491"),
        (("scope", ""), "invalid_request", "900144"),
        (("scope", "api://nobody/x"), "invalid_resource", "500011"),
        (
            (
                "scope",
                "api://middle-tier/user_impersonation api://downstream-api/user_impersonation",
            ),
            "invalid_request",
            "28000",
        ),
        (("prompt", "create"), "invalid_request", "90023"),
        (("max_age", "-1"), "invalid_request", "90023"),
        (("claims", "not json"), "invalid_request", "90023"),
    ] {
        let parameters = authority
            .authorize(&Browser::default(), &[changes])
            .await
            .parameters();
        assert_eq!(parameters["error"], error, "{changes:?}");
        assert!(
            parameters["error_description"].starts_with(&format!("AADSTS{number}: ")),
            "{changes:?}"
        );
        assert_eq!(parameters["state"], "a b+c/%");
    }
}

#[tokio::test]
async fn a_repeated_parameter_is_refused_on_a_page() {
    let authority = Harness::start().await;
    let mut url = url::Url::parse(&authority.endpoint("oauth2/v2.0/authorize")).unwrap();
    url.query_pairs_mut()
        .extend_pairs(authority.request())
        .append_pair("redirect_uri", "https://evil.example/");
    let answer = Answer::of(authority.http.get(url).send().await.unwrap()).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn authorize_also_takes_a_post() {
    let authority = Harness::start().await;
    let request = authority
        .http
        .post(authority.endpoint("oauth2/v2.0/authorize"))
        .form(&authority.request());
    assert!(Answer::of(request.send().await.unwrap()).await.is_sign_in());
}

#[tokio::test]
async fn sign_in_answers_with_303_and_a_cookie_with_all_attributes() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let answer = authority.sign_in(&mut browser, &page, "alice").await;
    assert_eq!(answer.status, 303);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with(local_authority::SESSION_COOKIE)
            && cookie.ends_with("; HttpOnly; SameSite=None; Secure; Path=/")
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn pages_cannot_be_framed_and_their_forms_may_redirect() {
    let authority = Harness::start().await;
    let page = authority.authorize(&Browser::default(), &[]).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("frame-ancestors 'none'")
            && !policy.contains("form-action")
            && !policy.contains("unsafe-inline")
    );
    assert_eq!(
        (
            &page.headers["x-frame-options"],
            &page.headers["referrer-policy"]
        ),
        (&"DENY".parse().unwrap(), &"same-origin".parse().unwrap())
    );
    assert!(
        !page.text.contains("<style")
            && !page.text.contains("style=\"")
            && !page.text.contains("<script")
    );
}

#[tokio::test]
async fn wrong_passwords_can_be_repeated_a_few_times() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let mut page = authority.authorize(&browser, &[]).await;
    for _ in 0..4 {
        let flow = page.field("flow");
        page = authority
            .submit(
                &mut browser,
                "sign-in",
                &[
                    ("flow", &flow),
                    ("username", "alice@contoso.example"),
                    ("password", "wrong"),
                ],
            )
            .await;
        assert!(
            page.is_sign_in()
                && page.text.contains("role=\"alert\"")
                && page.text.contains("value=\"alice@contoso.example\"")
        );
        assert_eq!(browser.cookie, None);
    }
    let flow = page.field("flow");
    let last = authority
        .submit(
            &mut browser,
            "sign-in",
            &[
                ("flow", &flow),
                ("username", "alice@contoso.example"),
                ("password", "wrong"),
            ],
        )
        .await;
    assert_eq!(last.parameters()["error"], "access_denied");
    assert_eq!(
        authority
            .submit(&mut browser, "sign-in", &[("flow", &flow)])
            .await
            .status,
        400,
        "the flow is over"
    );
    // The twin: one wrong, then right.
    let page = authority.authorize(&browser, &[]).await;
    let page = authority
        .submit(
            &mut browser,
            "sign-in",
            &[
                ("flow", &page.field("flow")),
                ("username", "nobody"),
                ("password", "x"),
            ],
        )
        .await;
    assert!(
        authority
            .sign_in(&mut browser, &page, "bob")
            .await
            .parameters()
            .contains_key("code")
    );
}

#[tokio::test]
async fn a_wrong_one_time_code_can_be_repeated_and_proves_nothing() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority
        .authorize(&browser, &[("claims", crate::harness::C1)])
        .await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_mfa());
    let page = authority
        .submit(
            &mut browser,
            "mfa",
            &[("flow", &page.field("flow")), ("code", "000000")],
        )
        .await;
    assert!(page.is_mfa() && page.text.contains("role=\"alert\""));
    // The password step cannot be repeated with the flow of the second factor, and the other way round.
    let flow = page.field("flow");
    assert_eq!(
        authority
            .submit(
                &mut browser,
                "sign-in",
                &[
                    ("flow", &flow),
                    ("username", "bob@contoso.example"),
                    ("password", "bob-the-builder")
                ]
            )
            .await
            .status,
        400
    );
    let fresh = authority
        .authorize(&Browser::default(), &[])
        .await
        .field("flow");
    assert_eq!(
        authority
            .submit(
                &mut Browser::default(),
                "mfa",
                &[("flow", &fresh), ("code", "123456")]
            )
            .await
            .status,
        400
    );
    assert!(
        authority
            .confirm(&mut browser, &page)
            .await
            .parameters()
            .contains_key("code")
    );
}

/// Wrong answers count against the user, however many sign-ins they are spread over.
#[tokio::test]
async fn guesses_are_counted_over_all_sign_ins() {
    let authority = Harness::start().await;
    let mfa_page = async |browser: &mut Browser, user: &str| {
        let page = authority
            .authorize(browser, &[("claims", crate::harness::C1)])
            .await;
        authority.sign_in(browser, &page, user).await
    };
    for _ in 0..5 {
        let mut browser = Browser::default();
        let page = mfa_page(&mut browser, "alice").await;
        let flow = page.field("flow");
        let wrong = [("flow", flow.as_str()), ("code", "000000")];
        authority.submit(&mut browser, "mfa", &wrong).await;
    }
    let mut browser = Browser::default();
    let page = mfa_page(&mut browser, "alice").await;
    let locked = authority.confirm(&mut browser, &page).await.parameters();
    assert_eq!(locked["error"], "access_denied");
    assert!(locked["error_description"].starts_with("AADSTS50053: The account is locked"));
    // Another user is not, nor is the first one ten minutes later.
    for (user, later) in [("bob", 0), ("alice", 600)] {
        authority.clock.advance(later);
        let mut browser = Browser::default();
        let page = mfa_page(&mut browser, user).await;
        let answer = authority.confirm(&mut browser, &page).await.parameters();
        assert!(answer.contains_key("code"), "{user}");
    }
}

#[tokio::test]
async fn cancel_goes_back_with_access_denied() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let answer = authority
        .submit(
            &mut browser,
            "sign-in",
            &[("flow", &page.field("flow")), ("cancel", "1")],
        )
        .await;
    assert_eq!(
        (answer.status, answer.parameters()["error"].as_str()),
        (303, "access_denied")
    );
    let page = authority
        .authorize(&browser, &[("claims", crate::harness::C1)])
        .await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    let answer = authority
        .submit(
            &mut browser,
            "mfa",
            &[("flow", &page.field("flow")), ("cancel", "1")],
        )
        .await;
    assert_eq!(
        (answer.status, answer.parameters()["state"].as_str()),
        (303, "a b+c/%")
    );
}

#[tokio::test]
async fn a_flow_expires() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    authority.clock.advance(600);
    assert_eq!(
        authority.sign_in(&mut browser, &page, "alice").await.status,
        400
    );
}

#[tokio::test]
async fn forms_from_elsewhere_are_refused() {
    let authority = Harness::start().await;
    let own = authority.running.url().to_owned();
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:1", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "same-origin", 303),
        ("origin", own.as_str(), 303),
    ] {
        let page = authority.authorize(&Browser::default(), &[]).await;
        let user = authority.directory.user("alice").unwrap();
        let form = [
            ("flow", page.field("flow")),
            ("username", user.username.clone()),
            ("password", user.password().to_owned()),
        ];
        let answer = authority
            .http
            .post(authority.endpoint("sign-in"))
            .header(name, value)
            .form(&form)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_kept() {
    let authority = Harness::start().await;
    for (length, status) in [(8 * 1024, 200), (17 * 1024, 400)] {
        let state = "x".repeat(length);
        assert_eq!(
            authority
                .authorize(&Browser::default(), &[("state", &state)])
                .await
                .status,
            status
        );
    }
}
