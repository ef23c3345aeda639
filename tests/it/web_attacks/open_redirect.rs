//! 140: after a sign-in the browser is at a path of this origin, whatever `return_to` was; so is every `go`.

use std::collections::BTreeSet;

use integration_tests::{person::Person, visitor::Visitor, world::World};
use reqwest::{Method, header::LOCATION};
use url::{Url, form_urlencoded};

use super::{Session, silent_callback, wire};

/// Ways to begin an address so that somebody takes what follows for a host.
const BEGINNINGS: [&str; 62] = [
    "//",
    "///",
    "////",
    "/////",
    "/\\",
    "\\\\",
    "\\/",
    "/\\/",
    "/\\\\",
    "\\",
    "/\t/",
    "/\n/",
    "/\r/",
    "/\r\n/",
    "/\t\t//",
    "\t//",
    "\n//",
    "\r\n//",
    " //",
    "/ /",
    "/ //",
    "\u{b}//",
    "\u{0}//",
    "/\u{0}/",
    "/%09/",
    "/%0a/",
    "/%0d/",
    "/%0d%0a/",
    "/%00/",
    "/%5c",
    "/%5C/",
    "/%255c",
    "%2f%2f",
    "/%2f",
    "/%2F/",
    "/%252f",
    "/%252F%252F",
    "%5c%5c",
    "/.//",
    "/..//",
    "/./",
    "/../",
    "/foo/..//",
    "/foo/../../",
    "/;//",
    "/;@",
    "/@",
    "@",
    ".",
    "/.",
    "/?next=//",
    "/#//",
    "?//",
    "#//",
    "\u{ff0f}\u{ff0f}",
    "/\u{2215}",
    "/\u{29f8}/",
    "\u{200b}//",
    "\u{feff}//",
    "/\u{2028}/",
    "/\u{a0}/",
    "/%e2%80%a8/",
];

/// Ways to name a scheme.
const SCHEMES: [&str; 26] = [
    "http://",
    "https://",
    "HTTP://",
    "hTTps://",
    "http:",
    "https:",
    "http:/",
    "https:///",
    "http:\\\\",
    "http:/\\",
    "https:\\/",
    "//http://",
    "/http://",
    "ftp://",
    "ws://",
    "file://",
    "blob:https://",
    "filesystem:http://",
    "view-source:http://",
    "javascript://",
    "javascript:",
    "java\tscript:",
    " javascript:",
    "JaVaScRiPt:",
    "data:text/html,",
    "vbscript:",
];

const HOSTS: [&str; 5] = [
    "evil.example",
    "user:pass@evil.example",
    "localhost@evil.example",
    "evil%2eexample",
    "evil\u{3002}example",
];

const ENDS: [&str; 6] = ["", "/", "/%2e%2e", "?a=b", "#x", "/auth/callback?code=x"];

fn payloads() -> Vec<String> {
    let mut payloads = Vec::new();
    let beginnings = BEGINNINGS.iter().chain(&SCHEMES);
    for (at, beginning) in beginnings.enumerate() {
        for (host_at, host) in HOSTS.iter().enumerate() {
            payloads.push(format!(
                "{beginning}{host}{}",
                ENDS[(at + host_at) % ENDS.len()]
            ));
        }
    }
    payloads.extend(
        [
            "",
            "/\r\nSet-Cookie: planted=1",
            "/\r\n\r\n<script>alert(1)</script>",
            "/%0d%0aSet-Cookie:%20planted=1",
            "/%0d%0aLocation:%20//evil.example",
            "/\u{e560a}Location: //evil.example",
            "/\u{560d}\u{560a}Location: //evil.example",
            "/\"><script>alert(1)</script>",
            "/%c0%af%c0%afevil.example",
            "/%e0%80%afevil.example",
            "/auth/sign-in?return_to=//evil.example",
            "/auth/sign-in?return_to=%2F%2Fevil.example",
            "/auth/callback?code=x&state=y",
            "/auth/step-up?op=x",
            "/auth/sign-out",
            "/api/api",
            "/healthz",
            "/?op=x",
            "/a:b@evil.example",
            "evil.example",
            "evil.example/",
            "*",
            "/\u{7f}/evil.example",
            "/%ff%fe",
            "/&return_to=//evil.example",
        ]
        .map(str::to_owned),
    );
    payloads.push(format!("/{}", "a".repeat(5000)));
    payloads.push(format!("/{}//evil.example", "../".repeat(200)));
    payloads
}

/// A browser at any path of the SPA stays there with this `Location`, read as it is and read by somebody who decodes once too often.
fn assert_stays(spa: &Url, location: &[u8], payload: &str) {
    let text =
        std::str::from_utf8(location).unwrap_or_else(|_| panic!("{payload:?}: {location:?}"));
    assert!(text.starts_with('/'), "{payload:?} -> {text:?}");
    assert!(!text.starts_with("//"), "{payload:?} -> {text:?}");
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\\\"<>".contains(&b));
    assert!(plain, "{payload:?} -> {text:?}");
    let mut read = text.to_owned();
    for _ in 0..4 {
        let there = spa.join(&read);
        let there = there.unwrap_or_else(|error| panic!("{payload:?} -> {read:?}: {error}"));
        assert_eq!(there.origin(), spa.origin(), "{payload:?} -> {read:?}");
        // A plus is no space in a path.
        let encoded = read
            .replace('+', "%2B")
            .replace('&', "%26")
            .replace('=', "%3D");
        read = form_urlencoded::parse(encoded.as_bytes())
            .map(|(name, _)| name.into_owned())
            .collect();
    }
}

/// Signs in with this query and returns the address that the callback leads to.
async fn land(person: &mut Person, spa: &Url, query: &str) -> Vec<u8> {
    let mut begin = spa.join("/auth/sign-in").unwrap();
    begin.set_query(Some(query));
    let callback = silent_callback(person, &begin).await;
    assert_eq!(callback.origin(), spa.origin(), "{query}");
    let landed = person.open_once(&callback).await;
    assert_eq!(landed.status, 303, "{query}: {landed:?}");
    let mut locations = landed.headers.get_all(LOCATION).iter();
    let location = locations.next().unwrap().as_bytes().to_vec();
    assert_eq!(locations.next(), None, "{query}");
    for line in landed.headers.get_all("set-cookie") {
        assert!(
            line.as_bytes().starts_with(b"__Host-spa-"),
            "{query}: {line:?}"
        );
    }
    person.seen.clear();
    location
}

#[tokio::test]
async fn no_target_of_a_sign_in_leaves_this_origin() {
    let world = World::start().await;
    let spa = world.demo.spa().clone();
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let payloads = payloads();
    assert!(payloads.len() > 450, "{}", payloads.len());

    let mut landed = BTreeSet::new();
    for (at, payload) in payloads.iter().enumerate() {
        // Every other one as it would stand in a hand-written link: what is encoded in it is decoded once more.
        let value: String = if at % 2 == 0 || payload.contains(['&', '#', '+']) {
            form_urlencoded::byte_serialize(payload.as_bytes()).collect()
        } else {
            payload.replace(['\t', '\n', '\r'], "%09")
        };
        let location = land(&mut alice.person, &spa, &format!("return_to={value}")).await;
        assert_stays(&spa, &location, payload);
        landed.insert(String::from_utf8(location).unwrap());
    }
    // Wherever they land, nothing there sends the browser on to somewhere else.
    let known = [
        spa.origin(),
        Url::parse(world.demo.authority().url()).unwrap().origin(),
    ];
    for path in landed {
        let page = alice.person.open_once(&spa.join(&path).unwrap()).await;
        assert!(page.status.as_u16() < 500, "{page:?}");
        if let Some(target) = page.redirect() {
            assert!(known.contains(&target.origin()), "{path} -> {target}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_local_target_is_kept_and_a_doubled_one_is_none() {
    let world = World::start().await;
    let spa = world.demo.spa().clone();
    let mut alice = Visitor::signed_in(&world, "alice").await;
    for (query, expected) in [
        ("return_to=/id-token", "/id-token"),
        ("return_to=%2Fid-token%3Fa%3Db", "/id-token?a=b"),
        ("return_to=/id-token&return_to=/id-token", "/"),
        ("return_to=/id-token&return_to=//evil.example", "/"),
        ("return_to[]=//evil.example", "/"),
        ("RETURN_TO=//evil.example", "/"),
        ("", "/"),
    ] {
        let location = land(&mut alice.person, &spa, query).await;
        assert_eq!(String::from_utf8(location).unwrap(), expected, "{query}");
    }
    world.stop().await;
}

#[tokio::test]
async fn no_go_leaves_this_origin_but_for_the_authority() {
    let world = World::start().await;
    let spa = world.demo.spa().clone();
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let mut local =
        vec![alice.call("/api/api?return_to=//evil.example").await.json()["go"].clone()];
    let own = [("cookie", &*held.cookie), ("sec-fetch-site", "same-origin")];
    let with_token = [own[0], own[1], ("x-session-token", &*held.token)];
    let spoofed = [
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=https"),
        ("referer", "http://evil.example/"),
    ];
    for (headers, body) in [
        (vec![own[1]], ""),
        (own.to_vec(), ""),
        (
            [&with_token[..], &[("x-account", "evil.example")]].concat(),
            "//evil.example",
        ),
    ] {
        let headers = [&headers[..], &spoofed].concat();
        let answer = wire::send(
            &spa,
            Method::POST,
            "/api/api?go=//evil.example",
            &headers,
            body,
        )
        .await;
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        local.push(problem["go"].clone());
    }
    for go in local {
        assert_stays(&spa, go.as_str().unwrap().as_bytes(), "go");
    }

    let headers = [&with_token[..], &spoofed].concat();
    let answer = wire::send(
        &spa,
        Method::POST,
        "/auth/sign-out?go=//evil.example",
        &headers,
        "",
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let go: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let go = Url::parse(go["go"].as_str().unwrap()).unwrap();
    assert_eq!(
        go.origin(),
        Url::parse(world.demo.authority().url()).unwrap().origin()
    );
    assert_eq!(
        super::parameter(&go, "post_logout_redirect_uri").unwrap(),
        spa.as_str()
    );
    world.stop().await;
}
