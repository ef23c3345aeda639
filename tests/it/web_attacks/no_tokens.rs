//! 147: of all that reaches a browser in a whole story, nothing is a token. What is logged is searched in `tests/logs`.

use std::collections::BTreeSet;

use integration_tests::{person::Page, visitor::Visitor, world::World};
use reqwest::Method;
use serde_json::Value;

use super::{OTP, Session, VERIFIER, at_token_endpoint, callback_of, redeem};

/// Signs in, is asked for more by the policy and by the API, is refused, is revoked, looks at every page, and signs out.
async fn whole_story(world: &World) -> Visitor {
    let mut alice = Visitor::signed_in(world, "alice").await;
    for path in ["/api/api", "/api/secure", "/api/grpc/secure"] {
        let mut answer = alice.call(path).await;
        for _ in 0..2 {
            if answer.status == 401 {
                let page = alice.go(&answer).await;
                let back = match page.find_form("code") {
                    Some(_) => alice.give_code(&page, OTP).await,
                    None => page,
                };
                answer = alice.complete(back).await;
            }
        }
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    for path in [
        "/id-token",
        "/session",
        "/nowhere",
        "/?notice=other-account",
        "/auth/callback?code=x&state=y",
    ] {
        alice
            .person
            .open(&world.demo.spa().join(path).unwrap())
            .await;
    }
    alice.call("/api/nowhere").await;
    assert!(world.demo.authority().revoke("alice"));
    alice.call("/api/api").await;
    let held = Session::of(world, &alice);
    let headers = [("x-session-token", &*held.token)];
    let ended = alice
        .person
        .fetch(&alice.page, Method::POST, "/auth/sign-out", &headers, None)
        .await;
    let go = ended.json()["go"].as_str().unwrap().to_owned();
    alice.person.follow(&alice.page.clone(), &go).await;
    alice
}

/// All that reached the browser with this answer: address, header fields, body.
fn bytes(page: &Page) -> String {
    let mut all = format!("{}\n", page.url);
    for (name, value) in &page.headers {
        all += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    all + &page.body
}

#[tokio::test]
async fn no_token_is_in_anything_that_reaches_the_browser() {
    let world = World::start().await;
    let alice = whole_story(&world).await;
    let spa = world.demo.spa().origin();
    let secret = world
        .demo
        .authority()
        .directory()
        .app("spa-backend")
        .unwrap()
        .secret()
        .unwrap()
        .to_owned();
    assert!(alice.person.seen.len() > 25, "{}", alice.person.seen.len());

    let mut candidates = BTreeSet::new();
    for page in &alice.person.seen {
        let all = bytes(page);
        // A JWT, and JSON in base64, begin so.
        for mark in [
            "eyJ",
            "access_token\":\"",
            "refresh_token",
            "id_token\":",
            "Bearer ",
            &secret,
        ] {
            assert!(!all.contains(mark), "`{mark}` in {page:?}");
        }
        if page.url.origin() == spa {
            let words = all.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.~".contains(c)));
            candidates.extend(words.filter(|word| word.len() >= 20).map(str::to_owned));
        }
    }
    // Opaque tokens look like anything, so each word that might be one is tried: none is taken at the token endpoint.
    assert!(candidates.len() > 20, "{candidates:?}");
    for word in candidates {
        let (status, body) = refresh(&world, &word).await;
        assert_eq!(status, 400, "`{word}` is a refresh token");
        assert_eq!(body["error"], "invalid_grant", "{body}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_real_refresh_token_would_have_been_found() {
    let world = World::start().await;
    let mut alice = Visitor::new(&world).await;
    callback_of(&world, &mut alice, "alice").await;
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    let authorize = alice.person.open_once(&sign_in).await.redirect().unwrap();
    let (status, tokens) = redeem(&world, &mut alice.person, &authorize, Some(VERIFIER)).await;
    assert_eq!(status, 200, "{tokens}");
    assert!(tokens["access_token"].as_str().unwrap().starts_with("eyJ"));
    let (status, _) = refresh(&world, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(status, 200);
    world.stop().await;
}

#[tokio::test]
async fn addresses_carry_nothing_on_to_other_sites() {
    let world = World::start().await;
    let alice = whole_story(&world).await;
    let spa = world.demo.spa().origin();
    let mut session_tokens = BTreeSet::new();
    for page in alice
        .person
        .seen
        .iter()
        .filter(|page| page.url.origin() == spa)
    {
        let policy = page
            .headers
            .get("referrer-policy")
            .unwrap_or_else(|| panic!("{page:?}"));
        assert!(
            matches!(policy.to_str().unwrap(), "same-origin" | "no-referrer"),
            "{policy:?}"
        );
        assert_eq!(page.headers["cache-control"], "no-store", "{page:?}");
        if let Some(token) =
            integration_tests::html::attribute(&page.body, ("name", "session-token"), "content")
        {
            session_tokens.insert(token);
        }
    }
    assert!(!session_tokens.is_empty());
    for page in &alice.person.seen {
        let location = page.redirect().map(String::from).unwrap_or_default();
        for token in &session_tokens {
            assert!(
                !page.url.as_str().contains(token) && !location.contains(token),
                "{page:?}"
            );
        }
        // What is in the address of a callback is used up before any page is drawn there.
        if page.status == 200 && page.url.path() == "/auth/callback" {
            panic!("a page at the address with the code: {page:?}");
        }
    }
    world.stop().await;
}

async fn refresh(world: &World, token: &str) -> (u16, Value) {
    let scope = "openid offline_access api://middle-tier/user_impersonation";
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("scope", scope),
    ];
    at_token_endpoint(world, &form).await
}
