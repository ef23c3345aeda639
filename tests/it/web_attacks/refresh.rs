//! 150: many calls that need a new token at one time make one token request, and the refresh token that was rotated is used next.

use futures_util::future::join_all;
use integration_tests::{visitor::Visitor, world::World};
use local_authority::TokenSpec;
use reqwest::Method;

use super::{Session, wire};

fn refreshes(world: &World) -> usize {
    let requests = world.demo.authority().requests();
    let refreshed = requests
        .iter()
        .filter(|request| request.grant_type == Some("refresh_token"));
    refreshed.count()
}

/// A token with another key than the one that was published: whoever sees it reads the published keys again.
async fn let_the_apis_read_the_keys_again(world: &World) {
    let token = world.token(TokenSpec::user("alice", "middle-tier").mfa());
    let answer = world
        .get(world.demo.middle_tier(), "/api", Some(&token))
        .await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn fifty_calls_whose_token_is_refused_make_one_refresh() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let mut alice = Visitor::signed_in(&world, "alice").await;
    assert_eq!(alice.call("/api/api").await.status, 200);
    assert_eq!(refreshes(&world), 0);

    // The key of alice's token is withdrawn, as after its theft: each of her calls is refused from now on.
    let stolen = world.demo.authority().kid();
    world.demo.authority().rotate_keys().unwrap();
    assert!(world.demo.authority().withdraw_key(&stolen).unwrap());
    let_the_apis_read_the_keys_again(&world).await;

    let held = Session::of(&world, &alice);
    let headers = [
        ("cookie", &*held.cookie),
        ("x-session-token", &*held.token),
        ("sec-fetch-site", "same-origin"),
    ];
    let calls =
        (0..50).map(|_| wire::send(world.demo.spa(), Method::GET, "/api/api", &headers, ""));
    for answer in join_all(calls).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("Alice Liddell"), "{answer:?}");
    }
    assert_eq!(refreshes(&world), 1);
    // Reuse of a rotated refresh token would have ended them all at the authority.
    assert_eq!(alice.call("/api/api").await.status, 200);
    assert_eq!(refreshes(&world), 1);
    world.stop().await;
}
