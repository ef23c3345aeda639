//! Whatever is sent, the answer is in words, shows nothing of the inside, has the security headers, and costs nobody else anything.

use futures_util::future::join_all;
use integration_tests::{html, person::Person, visitor::Visitor, world::World};
use local_authority::{Endpoint, Fault};
use reqwest::Method;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use url::Url;

use super::{
    Session, assert_no_internals,
    wire::{self, Answer, head, host, raw, statuses},
};

fn assert_headers(what: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{what}: {policy}");
    for open in ["unsafe-inline", "unsafe-eval", "*", "http:", "https:"] {
        assert!(!policy.contains(open), "{what}: {policy}");
    }
    assert!(
        policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"),
        "{what}: {policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{what}: {name}");
    }
    assert!(!answer.header("x-correlation-id").is_empty(), "{what}");
    for name in ["server", "x-powered-by"] {
        assert_eq!(answer.header(name), "", "{what}: {name}");
    }
}

/// Says something to the person, on a page with a way on or as a problem document with a sentence.
fn assert_words(what: &str, answer: &Answer) {
    assert_no_internals(what, &answer.body);
    if answer.header("content-type").starts_with("text/html") {
        assert!(html::text(&answer.body).len() > 40, "{what}: {answer:?}");
        assert!(
            answer.body.contains("href=\"/"),
            "{what}: a way on: {answer:?}"
        );
    } else {
        let problem: serde_json::Value =
            serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{what}: {answer:?}"));
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(
            detail.len() > 20 && detail.ends_with('.'),
            "{what}: {answer:?}"
        );
        assert!(
            !problem["error"].as_str().unwrap_or_default().is_empty(),
            "{what}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn each_refusal_is_in_words_with_the_security_headers() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let own = [
        ("cookie", &*held.cookie),
        ("x-session-token", &*held.token),
        ("sec-fetch-site", "same-origin"),
    ];
    let large = "x".repeat(64 * 1024 + 1);
    for (method, path, headers, body, expected) in [
        ("GET", "/nowhere", &[][..], "", 404),
        ("GET", "/nowhere/../..%2f..%2fetc/passwd", &[], "", 404),
        ("GET", "/assets/nowhere.js", &[], "", 404),
        ("GET", "/assets/..%2f..%2fCargo.toml", &[], "", 404),
        ("GET", "/<script>alert(1)</script>", &[], "", 404),
        ("GET", "/auth/callback", &[], "", 400),
        ("GET", "/auth/callback?error=%3Cscript%3E", &[], "", 400),
        ("GET", "/auth/step-up?op=x", &[], "", 401),
        ("GET", "/auth/step-up?op=x", &own, "", 410),
        (
            "GET",
            "/auth/sign-in",
            &[("sec-fetch-mode", "no-cors")],
            "",
            403,
        ),
        ("GET", "/api/api", &[], "", 403),
        ("GET", "/api/api", &own[2..], "", 401),
        ("GET", "/api//", &own, "", 404),
        ("POST", "/api/api", &own, &large, 413),
        ("OPTIONS", "/api/api", &own, "", 405),
        ("POST", "/api/ops/x", &own, "", 410),
        ("POST", "/api/ops/%00", &own, "", 410),
        ("POST", "/api/ops/%ff", &own, "", 410),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = wire::send(world.demo.spa(), method.clone(), path, headers, body).await;
        let what = format!("{method} {path}");
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
        assert_headers(&what, &answer);
        assert!(!answer.body.contains("<script>alert"), "{what}");
        assert_words(&what, &answer);
    }
    world.stop().await;
}

#[tokio::test]
async fn each_page_and_asset_has_the_security_headers() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    for path in [
        "/",
        "/?op=x",
        "/?notice=other-account",
        "/id-token",
        "/session",
        "/assets/app.js",
        "/assets/app.css",
        "/readyz",
    ] {
        for cookie in [&*held.cookie, "x=y"] {
            let answer = wire::send(
                world.demo.spa(),
                Method::GET,
                path,
                &[("cookie", cookie)],
                "",
            )
            .await;
            assert!(answer.status < 400, "{path}: {answer:?}");
            assert_headers(path, &answer);
            let page = answer.body.to_ascii_lowercase();
            if answer.header("content-type").starts_with("text/html") {
                for inline in [
                    "<style",
                    " onclick=",
                    " onload=",
                    " style=",
                    "javascript:",
                    "src=\"http",
                    "href=\"//",
                ] {
                    assert!(!page.contains(inline), "{path}: {inline}");
                }
                for script in page.split("<script").skip(1) {
                    let tag = script.split('>').next().unwrap();
                    assert!(
                        tag.contains(" src=\"/assets/"),
                        "{path}: a script of its own: {tag}"
                    );
                }
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_page_for_signed_in_people_leads_to_the_sign_in_and_back() {
    let world = World::start().await;
    let mut person = Person::new();
    let address = world.demo.spa().join("/id-token").unwrap();
    let form = person.open(&address).await;
    assert!(!form.body.contains("preferred_username"), "{form:?}");
    let alice = world
        .demo
        .authority()
        .directory()
        .user("alice")
        .unwrap()
        .clone();
    let fields = [
        ("username", &*alice.username),
        ("password", alice.password()),
    ];
    let page = person
        .submit(&form, &form.form_with("password"), &fields)
        .await;
    assert_eq!(page.url, address);
    for claim in ["preferred_username", "alice@contoso.example", "nonce"] {
        assert!(page.says(claim), "{claim}: {page:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body_and_options_opens_nothing() {
    let world = World::start().await;
    let authority: Url = world.demo.authority().url().parse().unwrap();
    let services = [
        world.demo.spa(),
        world.demo.middle_tier(),
        world.demo.downstream(),
        &authority,
    ];
    for base in services {
        for path in ["/", "/healthz", "/readyz", "/api", "/nowhere"] {
            let get = raw(base, head("GET", path, &host(base), &[]).as_bytes()).await;
            let only_head = raw(base, head("HEAD", path, &host(base), &[]).as_bytes()).await;
            let same = statuses(&get) == statuses(&only_head) || statuses(&only_head) == [405];
            assert!(same, "{base}{path}: {get} but {only_head}");
            let (_, body) = only_head.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, "", "{base}{path}");
            assert_no_internals(path, &get);
        }
        let preflight = [
            "Origin: http://evil.example",
            "Access-Control-Request-Method: GET",
        ];
        for path in ["/", "/api", "/session", "/api/api"] {
            let answer = raw(
                base,
                head("OPTIONS", path, &host(base), &preflight).as_bytes(),
            )
            .await;
            assert!(!answer.contains("evil.example"), "{base}{path}: {answer}");
            assert!(
                !answer
                    .to_ascii_lowercase()
                    .contains("access-control-allow-origin: *"),
                "{base}{path}: {answer}"
            );
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_the_next_request_is_answered() {
    let world = World::start().await;
    let authority: Url = world.demo.authority().url().parse().unwrap();
    let services = [
        world.demo.spa(),
        world.demo.middle_tier(),
        world.demo.downstream(),
        &authority,
    ];
    for base in services {
        let own = host(base);
        let long = "a".repeat(100_000);
        let many: Vec<String> = (0..500).map(|n| format!("X-{n}: y")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (what, request) in [
            ("address", head("GET", &format!("/{long}"), &own, &[])),
            ("query", head("GET", &format!("/?{long}"), &own, &[])),
            ("header", head("GET", "/", &own, &[&format!("X: {long}")])),
            (
                "cookie",
                head("GET", "/", &own, &[&format!("Cookie: a={long}")]),
            ),
            (
                "name of a header",
                head("GET", "/", &own, &[&format!("{long}: x")]),
            ),
            ("method", head(&long, "/", &own, &[])),
            ("number of headers", head("GET", "/", &own, &many)),
            ("host", head("GET", "/", &long, &[])),
        ] {
            let answer = raw(base, request.as_bytes()).await;
            let refused = statuses(&answer)
                .iter()
                .all(|status| (400..500).contains(status));
            assert!(refused, "{base}: {what}: {:.200}", answer);
            assert_no_internals(what, &answer);
        }
        let answer = raw(base, head("GET", "/healthz", &own, &[]).as_bytes()).await;
        assert!(!statuses(&answer).is_empty(), "{base} lives");
    }
    world.stop().await;
}

#[tokio::test]
async fn slow_requests_hold_up_nobody_else() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let own = host(world.demo.spa());
    let mut slow = Vec::new();
    for n in 0..100 {
        let port = world.demo.spa().port().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let lines = format!(
            "POST /api/profile HTTP/1.1\r\nHost: {own}\r\nCookie: {}\r\nX-Session-Token: {}\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 1000\r\n",
            held.cookie, held.token
        );
        // Half of them stop in the head, half in the body.
        let sent = if n % 2 == 0 {
            lines
        } else {
            format!("{lines}\r\n{{")
        };
        stream.write_all(sent.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..10 {
        let answer = alice.call("/api/api").await;
        assert_eq!(answer.json()["name"], "Alice Liddell", "{answer:?}");
    }
    // None of the slow ones was answered as if it were complete.
    for stream in slow {
        let mut answer = [0; 16];
        let read = stream.try_read(&mut answer).unwrap_or_default();
        assert!(!answer[..read].starts_with(b"HTTP/1.1 2"), "{answer:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn two_users_at_once_see_only_their_own() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let mut held = Vec::new();
    for (user, name) in [
        ("alice", "Alice Liddell"),
        ("bob", "Bob Stone"),
        ("carol", "Carol Singer"),
    ] {
        let visitor = Visitor::signed_in(&world, user).await;
        held.push((Session::of(&world, &visitor), name));
    }
    let spa = world.demo.spa();
    let calls = (0..90).map(|n| {
        let (held, name) = &held[n % held.len()];
        let path = ["/api/api", "/api/grpc/api", "/session"][n / 30];
        let headers = [
            ("cookie", held.cookie.clone()),
            ("x-session-token", held.token.clone()),
            ("x-account", held.account.clone()),
            ("sec-fetch-site", "same-origin".to_owned()),
        ];
        async move {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            (
                *name,
                wire::send(spa, Method::GET, path, &headers, "").await,
            )
        }
    });
    for (name, answer) in join_all(calls).await {
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["name"], name, "{answer:?}");
    }
    // What one may do helps nobody else: bob's header token and account with alice's cookie, and the other way round.
    for (cookie, page) in [(0, 1), (1, 0)] {
        let headers = [
            ("cookie", &*held[cookie].0.cookie),
            ("x-session-token", &held[page].0.token),
            ("sec-fetch-site", "same-origin"),
        ];
        let answer = wire::send(spa, Method::GET, "/api/api", &headers, "").await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_broken_authority_is_told_in_words_without_its_own() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    for (status, body) in [
        (500, "at src/internals.rs:1 <b>panicked</b>"),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS70000: <b>text</b>"}"#,
        ),
        (200, r#"{"access_token":"x"}"#),
        (200, "<html>captive portal</html>"),
        (
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#,
        ),
    ] {
        let callback = super::silent_callback(&mut alice.person, &sign_in).await;
        world
            .demo
            .authority()
            .fail_next(Endpoint::Token, 1, Fault::status(status).with_body(body));
        let page = alice.person.open_once(&callback).await;
        assert!(page.status.as_u16() >= 400, "{status} {body}: {page:?}");
        assert!(
            page.body.contains("href=\"/auth/sign-in"),
            "{status} {body}: {page:?}"
        );
        assert_no_internals(body, &page.body);
        for word in ["AADSTS", "captive", "<b>", "internals"] {
            assert!(!page.body.contains(word), "{status} {body}: {page:?}");
        }
    }
    world.stop().await;
}
