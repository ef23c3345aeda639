//! `PropagateChallenge`: both roads up, and what never passes.

use std::convert::Infallible;
use std::io;

use http::header::{SET_COOKIE, WWW_AUTHENTICATE};
use http::{Request, Response};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{BoxError, CallError, ChallengeRequired, PropagateChallengeLayer};

use crate::support::*;

fn demand(world: &World) -> ChallengeRequired {
    world
        .principal(json!({}))
        .require_auth_context("c1")
        .unwrap_err()
}

#[tokio::test]
async fn a_demand_in_an_error_becomes_a_fresh_challenge() {
    let world = World::new();
    for wrapped in [
        demand(&world).into(),
        BoxError::from(io::Error::other(demand(&world))),
    ] {
        let wrapped = std::sync::Mutex::new(Some(wrapped));
        let service = ServiceBuilder::new()
            .layer(PropagateChallengeLayer::new(&world.api).boxed_errors())
            .service(service_fn(|_: Request<Body>| {
                let error = wrapped.lock().unwrap().take().unwrap();
                async move { Err::<Response<Body>, BoxError>(error) }
            }));
        let response = service.oneshot(request("t")).await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(challenge(&response).ends_with(&format!(
            "error=\"insufficient_claims\", claims=\"{C1_BASE64}\""
        )));
        assert!(challenge(&response).contains(&format!("client_id=\"{CLIENT}\"")));
    }
}

#[tokio::test]
async fn a_demand_in_a_response_amends_that_response() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(&world.api))
        .service(service_fn(|_: Request<Body>| {
            let mut response: Response<Body> = CallError::from(demand(&world)).into_response();
            response
                .headers_mut()
                .insert(SET_COOKIE, "handler=1".parse().unwrap());
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, "Bearer realm=\"evil\"".parse().unwrap());
            async move { Ok::<_, Infallible>(response) }
        }));
    let response = service.oneshot(request("t")).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()[SET_COOKIE], "handler=1");
    assert_eq!(
        response.headers().get_all(WWW_AUTHENTICATE).iter().count(),
        1
    );
    assert!(
        challenge(&response).contains("insufficient_claims")
            && !challenge(&response).contains("evil")
    );
}

#[tokio::test]
async fn another_error_passes_unchanged() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(&world.api))
        .service(service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, _>(io::Error::other("disk"))
        }));
    assert_eq!(
        service.oneshot(request("t")).await.unwrap_err().to_string(),
        "disk"
    );
}

#[tokio::test]
async fn a_foreign_challenge_is_removed() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(&world.api))
        .service(service_fn(|_: Request<Body>| async {
            let foreign = "Bearer realm=\"DOWN\", error=\"invalid_token\"";
            let response = Response::builder()
                .status(403)
                .header(WWW_AUTHENTICATE, foreign);
            Ok::<_, Infallible>(response.body(Body::default()).unwrap())
        }));
    let response = service.oneshot(request("t")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), challenge(&response)),
        (403, "")
    );
}
