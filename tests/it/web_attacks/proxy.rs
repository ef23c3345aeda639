//! 148: the SPA backend calls the middle tier and the authority that it was told of, whatever a request says; and one request is one
//! request.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use integration_tests::{visitor::Visitor, world::World};
use reqwest::Method;
use tokio::net::TcpListener;

use super::{
    Session, parameter,
    wire::{self, head, host, raw, statuses},
};

/// A server that nothing of ours has any reason to call; counts who does.
async fn elsewhere() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let called = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&called);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, called)
}

/// Signed in, with no policy in the way, so that a call that is passed on is answered with 200.
async fn signed_in(world: &World) -> Session {
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let alice = Visitor::signed_in(world, "alice").await;
    Session::of(world, &alice)
}

/// The lines of a call of the page.
fn lines(held: &Session) -> Vec<String> {
    vec![
        format!("Cookie: {}", held.cookie),
        format!("X-Session-Token: {}", held.token),
        "Sec-Fetch-Site: same-origin".to_owned(),
    ]
}

fn call(held: &Session, method: &str, target: &str, host: &str, more: &[&str]) -> String {
    let own = lines(held);
    let lines: Vec<&str> = own
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    head(method, target, host, &lines)
}

#[tokio::test]
async fn no_target_leads_anywhere_but_to_the_middle_tier() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    let (evil, called) = elsewhere().await;
    let spa = world.demo.spa();
    let own = host(spa);
    let downstream = host(world.demo.downstream());
    let good = raw(spa, call(&held, "GET", "/api/api", &own, &[]).as_bytes()).await;
    assert_eq!(statuses(&good), [200], "{good}");
    let good = raw(
        spa,
        call(&held, "GET", &format!("http://{own}/api/api"), &own, &[]).as_bytes(),
    )
    .await;
    assert_eq!(
        statuses(&good),
        [200],
        "absolute form of the own name: {good}"
    );

    for target in [
        format!("http://{evil}/api/api"),
        format!("http://{evil}/api"),
        format!("https://{evil}/api/api"),
        format!("http://{downstream}/api/api"),
        format!("http://{own}@{evil}/api/api"),
        format!("//{evil}/api/api"),
        format!("/api//{evil}/api"),
        format!("/api/http://{evil}/api"),
        format!("/api/http:%2f%2f{evil}/api"),
        format!("/api/@{evil}/api"),
        format!("/api/:80@{evil}/api"),
        format!("/api/%40{evil}/api"),
        format!("/api/\\{evil}/api"),
        format!("/api\\\\{evil}/api"),
        format!("/api/.{evil}"),
        "/api/../api/api".into(),
        "/api/./api".into(),
        "/api/%2e%2e/api".into(),
        "/api/%2E/api".into(),
        "/api/.%2e/healthz".into(),
        "/api/%2fapi".into(),
        "/api/%5capi".into(),
        "/api/%252e%252e/api".into(),
        "/api/api%00".into(),
        "/api/api%0d%0aHost:%20evil".into(),
        "/api/api;/../../x".into(),
        "/api/\u{e9}".into(),
        "/api/{api}".into(),
        "/api".into(),
        "/api/".into(),
        "/api//api".into(),
        "/API/api".into(),
        "*".into(),
        "api/api".into(),
        "?x".into(),
        evil.clone(),
    ] {
        for method in ["GET", "POST"] {
            let answer = raw(spa, call(&held, method, &target, &own, &[]).as_bytes()).await;
            let status = statuses(&answer);
            let refused =
                status.len() <= 1 && status.iter().all(|status| (300..500).contains(status));
            assert!(refused, "{method} {target}: {answer}");
            assert!(
                !answer.contains("Alice Liddell"),
                "{method} {target}: {answer}"
            );
        }
    }
    assert_eq!(
        called.load(Ordering::SeqCst),
        0,
        "somebody called elsewhere"
    );
    world.stop().await;
}

#[tokio::test]
async fn headers_of_a_proxy_that_nobody_configured_are_not_believed() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    let (evil, called) = elsewhere().await;
    let spa = world.demo.spa().clone();
    let spoofed: Vec<(&str, String)> = [
        "x-forwarded-host",
        "x-forwarded-server",
        "x-original-host",
        "x-host",
        "x-forwarded-for",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-forwarded-prefix",
        "x-forwarded-port",
        "via",
        "x-wap-profile",
    ]
    .into_iter()
    .map(|name| (name, evil.clone()))
    .chain([
        ("x-forwarded-proto", "https".into()),
        ("x-forwarded-scheme", "https".into()),
        ("x-forwarded-ssl", "on".into()),
        ("front-end-https", "on".into()),
        (
            "forwarded",
            format!("for=127.0.0.1;host={evil};proto=https"),
        ),
        ("x-original-url", format!("http://{evil}/")),
        ("x-rewrite-url", "/healthz".into()),
        ("x-http-method-override", "DELETE".into()),
        ("x-method-override", "DELETE".into()),
        ("x-accel-redirect", "/healthz".into()),
        ("destination", format!("http://{evil}/")),
        ("proxy", format!("http://{evil}/")),
        ("authorization", "Bearer planted".into()),
        ("x-ms-client-principal", "planted".into()),
        ("x-correlation-id", "planted\u{e9}".into()),
        (
            "traceparent",
            "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01".into(),
        ),
    ])
    .collect();
    let redirect_uri = spa.join("/auth/callback").unwrap();
    let each = spoofed.iter().map(|one| vec![one.clone()]);
    for spoofed in each.chain([spoofed.clone()]) {
        let headers: Vec<(&str, &str)> = spoofed
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let sent = wire::send(&spa, Method::GET, "/auth/sign-in", &headers, "").await;
        assert_eq!(sent.status, 303, "{headers:?}: {sent:?}");
        let authorize = sent.header("location");
        assert!(
            authorize.starts_with(world.demo.authority().url()),
            "{headers:?}: {authorize}"
        );
        let authorize = authorize.parse().unwrap();
        assert_eq!(
            parameter(&authorize, "redirect_uri").unwrap(),
            redirect_uri.as_str(),
            "{headers:?}"
        );
        for line in sent.header("set-cookie").lines() {
            assert!(
                line.starts_with("__Host-") && line.contains("Secure"),
                "{headers:?}: {line}"
            );
        }
        let own = [
            ("cookie", &*held.cookie),
            ("x-session-token", &*held.token),
            ("sec-fetch-site", "same-origin"),
        ];
        let answer = wire::send(
            &spa,
            Method::GET,
            "/api/api",
            &[&own[..], &headers].concat(),
            "",
        )
        .await;
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
        assert!(
            answer.body.contains("Alice Liddell"),
            "{headers:?}: {answer:?}"
        );
        assert!(
            !answer.header("x-correlation-id").contains("planted"),
            "{headers:?}"
        );
    }
    assert_eq!(
        called.load(Ordering::SeqCst),
        0,
        "somebody called elsewhere"
    );
    world.stop().await;
}

#[tokio::test]
async fn the_own_name_is_the_only_one() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    let spa = world.demo.spa();
    let own = host(spa);
    let port = spa.port().unwrap();
    for name in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("evil.example@localhost:{port}"),
        format!("localhost:{port}@evil.example"),
        format!("localhost:{port}.evil.example"),
        format!("localhost:{}", port ^ 1),
        "localhost".into(),
        format!("localhost.:{port}"),
        format!("localhost:{port}, evil.example"),
        format!("{own} evil.example"),
        format!("[::ffff:7f00:1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("2130706433:{port}"),
        format!("127.1:{port}"),
        String::new(),
        "/".into(),
        format!("{own}/evil.example"),
        format!("{own}#"),
        format!("local\u{200b}host:{port}"),
    ] {
        let answer = raw(spa, call(&held, "GET", "/api/api", &name, &[]).as_bytes()).await;
        assert!(
            statuses(&answer)
                .iter()
                .all(|status| matches!(status, 400 | 421)),
            "{name}: {answer}"
        );
        assert!(!answer.contains("Alice"), "{name}: {answer}");
    }
    for (what, more) in [
        ("a second", format!("Host: {own}")),
        ("another", "Host: evil.example".into()),
    ] {
        let answer = raw(
            spa,
            call(&held, "GET", "/api/api", &own, &[&more]).as_bytes(),
        )
        .await;
        assert!(
            statuses(&answer)
                .iter()
                .all(|status| matches!(status, 400 | 421)),
            "{what} Host: {answer}"
        );
    }
    let none = call(&held, "GET", "/api/api", &own, &[]).replace(&format!("Host: {own}\r\n"), "");
    for request in [none.clone(), none.replace("HTTP/1.1", "HTTP/1.0")] {
        let answer = raw(spa, request.as_bytes()).await;
        assert!(
            statuses(&answer)
                .iter()
                .all(|status| matches!(status, 400 | 421)),
            "no Host: {answer}"
        );
    }
    // Another name of this machine is led to the own one, for pages only, and nowhere else.
    for target in [
        "/",
        "/?a=b",
        "/.evil.example",
        "/@evil.example",
        "//evil.example/",
        "*",
    ] {
        let answer = raw(
            spa,
            head("GET", target, &format!("127.0.0.1:{port}"), &[]).as_bytes(),
        )
        .await;
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        let home = location.is_none_or(|location| location.starts_with(&format!("http://{own}/")));
        assert!(home, "{target}: {answer}");
    }
    world.stop().await;
}

#[tokio::test]
async fn no_method_makes_a_tunnel_or_an_echo() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    let (evil, called) = elsewhere().await;
    let own = host(world.demo.spa());
    for (method, target) in [
        ("CONNECT", evil.as_str()),
        ("CONNECT", &own),
        ("TRACE", "/"),
        ("TRACE", "/api/api"),
        ("TRACK", "/api/api"),
        ("OPTIONS", "/api/api"),
        ("OPTIONS", "*"),
        ("PROPFIND", "/api/api"),
        ("get", "/api/api"),
        ("PRI", "*"),
        ("G\u{0}T", "/"),
        ("", "/"),
    ] {
        let answer = raw(
            world.demo.spa(),
            call(&held, method, target, &own, &[]).as_bytes(),
        )
        .await;
        let refused = statuses(&answer)
            .iter()
            .all(|status| (400..600).contains(status) && *status != 500);
        assert!(refused, "{method} {target}: {answer}");
        assert!(
            !answer.contains(&held.token),
            "{method} {target} is an echo: {answer}"
        );
    }
    assert_eq!(
        called.load(Ordering::SeqCst),
        0,
        "somebody called elsewhere"
    );
    world.stop().await;
}

#[tokio::test]
async fn hop_by_hop_fields_take_nothing_away_and_switch_nothing() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    let own = host(world.demo.spa());
    for more in [
        "Connection: close, X-Session-Token, Cookie, Origin",
        "Connection: close, Authorization, X-Correlation-Id",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: trailers, deflate",
        "Trailer: X-Session-Token",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13",
        "Proxy-Authorization: Basic eDp4",
        "Range: bytes=0-1",
        "Accept-Encoding: gzip;q=1, *;q=0",
    ] {
        let answer = raw(
            world.demo.spa(),
            call(&held, "GET", "/api/api", &own, &[more]).as_bytes(),
        )
        .await;
        assert_eq!(statuses(&answer), [200], "{more}: {answer}");
        assert!(answer.contains("Alice Liddell"), "{more}: {answer}");
    }
    // Without the token the same is refused: no field can stand in for it.
    let without: Vec<String> = lines(&held)
        .into_iter()
        .filter(|line| !line.starts_with("X-Session"))
        .collect();
    let without: Vec<&str> = without.iter().map(String::as_str).collect();
    let answer = raw(
        world.demo.spa(),
        head("GET", "/api/api", &own, &without).as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answer), [403], "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn a_request_whose_length_two_parties_could_read_differently_is_one_or_none() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    // The request that an attacker would put behind the first one's body; its answer would name her.
    let hidden = |own: &str| {
        head(
            "GET",
            "/session",
            own,
            &[&format!("Cookie: {}", held.cookie)],
        )
    };
    for base in [
        world.demo.spa(),
        world.demo.middle_tier(),
        world.demo.downstream(),
    ] {
        let own = host(base);
        let hidden = hidden(&own);
        let first = |lines: &str, body: &str| {
            format!("POST /nowhere HTTP/1.1\r\nHost: {own}\r\n{lines}\r\n\r\n{body}")
        };
        let chunk = format!("0\r\n\r\n{hidden}");
        let refused = [
            first("Content-Length: 5\r\nContent-Length: 6", &chunk),
            first("Content-Length: 5, 6", &chunk),
            first("Content-Length: -1", &chunk),
            first("Content-Length: +5", &chunk),
            first("Content-Length: 0x5", &chunk),
            first("Content-Length: 5 5", &chunk),
            first("Content-Length : 5", &chunk),
            first("Content-Length: 99999999999999999999", &chunk),
            first("Transfer-Encoding: identity", &chunk),
            first("Transfer-Encoding: chunked, identity", &chunk),
            first("Transfer-Encoding: xchunked", &chunk),
            first("Transfer-Encoding : chunked", &chunk),
            first("Transfer-Encoding:\u{b}chunked", &chunk),
            first("X: y\r\n Transfer-Encoding: chunked", &chunk),
            first("X: y\nTransfer-Encoding: chunked\u{0}", &chunk),
            format!("POST /nowhere HTTP/1.1\r\nHost: {own}\r\n X: folded\r\n\r\n{hidden}"),
            format!("POST /nowhere HTTP/1.1 \r\nHost: {own}\r\n\r\n{hidden}")
                .replace("1.1 ", "1.1 x "),
            format!("POST /now here HTTP/1.1\r\nHost: {own}\r\n\r\n{hidden}"),
            format!("POST /nowhere HTTP/9.9\r\nHost: {own}\r\n\r\n{hidden}"),
        ];
        for request in refused {
            let answer = raw(base, request.as_bytes()).await;
            let shown = &request[..request.len().min(120)];
            let found = statuses(&answer);
            assert!(
                found.len() <= 1,
                "{base}: {shown:?} was read as several: {answer}"
            );
            assert!(
                found.iter().all(|status| (400..500).contains(status)),
                "{base}: {shown:?}: {answer}"
            );
            assert!(!answer.contains("Alice"), "{base}: {shown:?}: {answer}");
        }
        // RFC 9112 6.3: chunks count, and nothing that came with a length as well is followed by a second request.
        let both = first("Content-Length: 5\r\nTransfer-Encoding: chunked", &chunk);
        let answer = raw(base, both.as_bytes()).await;
        let found = statuses(&answer);
        assert!(
            found.iter().all(|status| *status != 500) && found.len() <= 2,
            "{base}: {answer}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_call_behind_a_body_is_not_answered_with_it() {
    let world = World::start().await;
    let held = signed_in(&world).await;
    let own = host(world.demo.spa());
    // A whole request as the body of a call: it is passed on as a body and is never a request.
    let hidden = call(&held, "GET", "/api/api", &own, &[]);
    let length = format!("Content-Length: {}", hidden.len());
    let request = call(&held, "POST", "/api/api", &own, &[&length]) + &hidden;
    let answer = raw(world.demo.spa(), request.as_bytes()).await;
    assert_eq!(statuses(&answer), [405], "{answer}");
    assert!(!answer.contains("Alice Liddell"), "{answer}");
    world.stop().await;
}
