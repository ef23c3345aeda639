//! What the middle tier answers where it writes a demand as Microsoft's samples do, beside the same call with its challenge.

use integration_tests::world::World;
use local_authority::TokenSpec;
use reqwest::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use crate::what_reaches_downstream::middle_tier_before;

fn weak() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier").capabilities(["cp1"])
}

#[tokio::test]
async fn a_demand_in_a_body_is_a_dead_end() {
    let world = World::start().await;
    let token = world.token(weak());
    let base = world.demo.middle_tier();

    let ours = world.get(base, "/api", Some(&token)).await;
    assert_eq!(ours.status(), 401);
    let challenge = ours.headers()[WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.contains("insufficient_claims"), "{challenge}");

    let theirs = world.get(base, "/samples/api", Some(&token)).await;
    assert_eq!(theirs.status(), 403);
    assert!(!theirs.headers().contains_key(WWW_AUTHENTICATE));
    let body: Value = theirs.json().await.unwrap();
    let expected = json!({ "error": "interaction_required", "error_codes": [50_076] });
    assert_eq!(body, expected);

    // Nothing else is different: who satisfies the policy is served, and who has no token is told so.
    let token = world.token(weak().mfa());
    let served = world.get(base, "/samples/api", Some(&token)).await;
    assert_eq!(served.status(), 200);
    let nobody = world.get(base, "/samples/api", None).await;
    assert_eq!(nobody.status(), 401);
    assert!(nobody.headers().contains_key(WWW_AUTHENTICATE));
    world.stop().await;
}

#[tokio::test]
async fn a_service_of_its_own_has_no_such_route() {
    let world = World::start().await;
    let base = middle_tier_before(&world, world.demo.downstream().as_str()).await;
    let token = world.token(weak().mfa());
    for (path, status) in [("/api", 200), ("/samples/api", 404)] {
        let answer = world.get(&base, path, Some(&token)).await;
        assert_eq!(answer.status(), status, "{path}");
    }
    world.stop().await;
}
