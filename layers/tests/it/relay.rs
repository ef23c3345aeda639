//! `PropagateChallenge`: both roads up, and what never passes.

use std::convert::Infallible;
use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{SET_COOKIE, WWW_AUTHENTICATE};
use http::{Request, Response};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{
    BoxError, CallError, ChallengeRequired, CloneBody, Credential, OnBehalfOfExt,
    PropagateChallengeLayer, Target,
};

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

/// Claims with everything in them that means something in a header, in a form or on a terminal.
const HOSTILE: &str = "{\"access_token\":\r\n{\"x\":{\"value\":\"\\r\\nSet-Cookie: a=b; \\\"c\\\", &claims={}&scope=+%26%00\\u0000\"}}}";

/// A middle tier before `next`, whose answer to its caller is returned.
async fn through_a_middle_tier(world: &World, next: &NextTier) -> Response<Body> {
    let credential = Credential::secret("hush").unwrap();
    let client = world.authority.client(CLIENT, credential).unwrap();
    let layer = client.on_behalf_of(["a"], Target::bound_client()).unwrap();
    let next = next.clone();
    let call = layer
        .replay(CloneBody)
        .wrap(service_fn(move |request| next.answer(request)));
    let tier = ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(&world.api).boxed_errors())
        .service(call);
    let caller = world.principal(json!({}));
    let request = request("t").on_behalf_of(&caller);
    tier.oneshot(request).await.unwrap()
}

#[tokio::test]
async fn claims_leave_as_base64_whatever_is_in_them() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("jwt-bearer", interaction_required(HOSTILE))
        .await;
    let next = NextTier::new(&[(200, "")]);
    let response = through_a_middle_tier(&world, &next).await;
    assert_eq!(response.status(), 401);
    let claims = format!("claims=\"{}\"", BASE64_STANDARD.encode(HOSTILE));
    assert!(challenge(&response).ends_with(&claims));
    assert!(!response.headers().contains_key(SET_COOKIE));
}

#[tokio::test]
async fn claims_of_the_next_tier_cannot_add_a_field_to_the_token_request() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("Cookie", interaction_required(C1)).await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let demand = format!("Bearer claims=\"{}\"", BASE64_STANDARD.encode(HOSTILE));
    let next = NextTier::new(&[(401, Box::leak(demand.into_boxed_str()))]);
    let response = through_a_middle_tier(&world, &next).await;
    assert!(challenge(&response).contains(C1_BASE64), "the authority's");
    let forms = endpoint.forms().await;
    let names = |form: &[(String, String)]| -> Vec<String> {
        form.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&forms[0]), names(&forms[1]));
    let (_, claims) = forms[1].iter().find(|(name, _)| name == "claims").unwrap();
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
    let hostile: serde_json::Value = serde_json::from_str(HOSTILE).unwrap();
    assert_eq!(claims["access_token"]["x"], hostile["access_token"]["x"]);
}

#[tokio::test]
async fn hostile_claims_of_the_next_tier_are_no_demand() {
    let deep = format!(
        "{{\"access_token\":{}1{}}}",
        "{\"a\":".repeat(3000),
        "}".repeat(3000)
    );
    let long = format!(
        "{{\"access_token\":{{\"a\":\"{}\"}}}}",
        "x".repeat(64 * 1024)
    );
    let twice = "{\"access_token\":{},\"access_token\":{}}".to_owned();
    for text in [
        deep,
        long,
        twice,
        "[]".to_owned(),
        "{\"id_token\":{}}".to_owned(),
    ] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued("T")).await;
        let demand = format!("Bearer claims=\"{}\"", BASE64_STANDARD.encode(&text));
        let next = NextTier::new(&[(401, Box::leak(demand.into_boxed_str()))]);
        let response = through_a_middle_tier(&world, &next).await;
        let seen = (response.status().as_u16(), challenge(&response));
        assert_eq!(seen, (502, ""), "{text:.40}");
    }
}
