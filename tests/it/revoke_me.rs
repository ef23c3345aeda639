//! A person who revokes themselves on the demo's page: their tokens are refused before they end, nobody else's are.

use integration_tests::{
    visitor::{Visitor, error_of},
    world::World,
};
use reqwest::Method;

#[tokio::test]
async fn whoever_revokes_themselves_signs_in_again_and_others_go_on() {
    let world = World::start().await;
    let authority = world.demo.authority();
    assert!(authority.set_policy("MFA for the downstream API", false));
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let mut bob = Visitor::signed_in(&world, "bob").await;
    for path in ["/api/api", "/api/grpc/api"] {
        for visitor in [&mut alice, &mut bob] {
            assert_eq!(visitor.call(path).await.status, 200, "{path}");
        }
    }

    // Over HTTP and over gRPC: the token that the middle tier holds is refused by the downstream API.
    for path in ["/api/api", "/api/grpc/api"] {
        let revoked = bob.send_with(Method::POST, "/demo/revoke", &[], None).await;
        assert_eq!(revoked.status, 204, "{revoked:?}");
        assert_eq!(alice.call(path).await.status, 200, "{path}");
        let refused = bob.call(path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(error_of(&refused), "step_up_required");

        // The session at the authority has ended as well. What is issued now is good, in whichever second that is.
        let form = bob.go(&refused).await;
        let page = bob
            .give_password(&form, "bob@contoso.example", "bob-the-builder")
            .await;
        assert_eq!(bob.complete(page).await.status, 200, "{path}");
    }
    world.stop().await;
}
