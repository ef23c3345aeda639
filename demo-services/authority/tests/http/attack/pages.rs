//! What can be done to people at the pages.

use super::*;

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
