//! Callers who were revoked.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{Principal, PropagateChallengeLayer, Revoked, ValidateBearerLayer};

use crate::board::{api, published, status};
use crate::support::{NOW, World, challenge, hello, request};

#[tokio::test]
async fn revocation_is_asked_each_time() {
    let (board, clock, signer) = published();
    let api = api("https://a", &board, &clock);
    let revoked: Arc<Mutex<Option<u64>>> = Arc::default();
    let list = Arc::clone(&revoked);
    let validate = ValidateBearerLayer::new(&api).revocations(move |caller: &Principal| {
        let revoked = *list.lock().unwrap();
        revoked.filter(|_| caller.object_id() == Some("alice"))
    });
    let service = ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(&api))
        .layer(validate)
        .service(service_fn(hello));
    let capable = json!({"xms_cc": ["cp1"]});
    let alice = signer.token("a", "https://a", &capable);
    let plain = signer.token("a", "https://a", &json!({}));
    let bob = signer.token("a", "https://a", &json!({"oid": "bob"}));
    for token in [&alice, &plain, &bob] {
        assert_eq!(status(&service, token).await, 200);
    }
    *revoked.lock().unwrap() = Some(NOW + 10);
    let response = service.clone().oneshot(request(&alice)).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(challenge(&response).contains("error=\"insufficient_claims\""));
    let response = service.clone().oneshot(request(&plain)).await.unwrap();
    assert!(challenge(&response).contains("error=\"invalid_token\""));
    assert_eq!(status(&service, &bob).await, 200);
    let since = json!({"iat": NOW + 10, "xms_cc": ["cp1"]});
    let renewed = signer.token("a", "https://a", &since);
    assert_eq!(status(&service, &renewed).await, 200);
}

#[tokio::test]
async fn what_cannot_be_told_of_a_revocation_is_503() {
    let world = World::new();
    let token = world.token(json!({}));
    for panics in [false, true] {
        let hook = move |_: &Principal| {
            assert!(!panics, "a hook that panics");
            Revoked::Unknown
        };
        let service = ServiceBuilder::new()
            .layer(ValidateBearerLayer::new(&world.api).revocations(hook))
            .service(service_fn(hello));
        assert_eq!(status(&service, &token).await, 503);
    }
}
