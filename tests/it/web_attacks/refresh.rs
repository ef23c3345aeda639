//! 150: many calls that need a new token at one time make one token request, and the refresh token that was rotated is used next.

use futures_util::future::join_all;
use integration_tests::{visitor::Visitor, world::World};
use local_authority::{Endpoint, Fault, TokenSpec};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SESSION, Session, VERIFIER, parameter, redeem, wire, with};

fn refreshes(world: &World) -> usize {
    let requests = world.demo.authority().requests();
    let refreshed = requests
        .iter()
        .filter(|request| request.grant_type == Some("refresh_token"));
    refreshed.count()
}

fn for_middle_tier() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier").capabilities(["cp1"])
}

/// Alice, signed in with genuine tokens but for the access token and what is said of its lifetime.
async fn signed_in_with(world: &World, access_token: &str, expires_in: u64) -> Visitor {
    let mut alice = Visitor::signed_in(world, "alice").await;
    alice.person.jar.forget(SESSION);
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    let authorize = alice.person.open_once(&sign_in).await.redirect().unwrap();
    let (status, mut tokens) = redeem(world, &mut alice.person, &authorize, Some(VERIFIER)).await;
    assert_eq!(status, 200, "{tokens}");
    tokens["access_token"] = access_token.into();
    tokens["expires_in"] = expires_in.into();

    // These are what the backend gets for its code.
    let answer = Fault::status(200).with_body(tokens.to_string());
    world.demo.authority().fail_next(Endpoint::Token, 1, answer);
    let mut callback = world.demo.spa().join("/auth/callback").unwrap();
    callback.set_query(Some("code=x"));
    let state = parameter(&authorize, "state").unwrap();
    let issuer = world.demo.authority().issuer().to_owned();
    let callback = with(
        &callback,
        &[("state", Some(&state)), ("iss", Some(&issuer))],
    );
    alice.page = alice.person.open(&callback).await;
    assert!(alice.page.says("Alice Liddell"), "{:?}", alice.page);
    alice
}

#[tokio::test]
async fn fifty_calls_that_need_a_new_token_make_one_refresh() {
    for (what, spec, expires_in) in [
        ("at its end", for_middle_tier(), 30),
        (
            "refused by the API",
            for_middle_tier().expires_in(-600),
            3600,
        ),
    ] {
        let world = World::start().await;
        let authority = world.demo.authority();
        assert!(authority.set_policy("MFA for the downstream API", false));
        let mut alice = signed_in_with(&world, &world.token(spec), expires_in).await;
        assert_eq!(refreshes(&world), 0, "{what}");

        let held = Session::of(&world, &alice);
        let headers = [
            ("cookie", &*held.cookie),
            ("x-session-token", &*held.token),
            ("sec-fetch-site", "same-origin"),
        ];
        let calls =
            (0..50).map(|_| wire::send(world.demo.spa(), Method::GET, "/api/api", &headers, ""));
        for answer in join_all(calls).await {
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["name"], json!("Alice Liddell"), "{what}");
        }
        assert_eq!(refreshes(&world), 1, "{what}");
        // Reuse of a rotated refresh token would have ended them all.
        assert_eq!(alice.call("/api/api").await.status, 200, "{what}");
        assert_eq!(refreshes(&world), 1, "{what}");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_good_token_is_not_renewed() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let token = world.token(for_middle_tier());
    let mut alice = signed_in_with(&world, &token, 3600).await;
    assert_eq!(alice.call("/api/api").await.status, 200);
    assert_eq!(refreshes(&world), 0);
    world.stop().await;
}
