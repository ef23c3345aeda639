//! A client that is the first party learns what an answer demands of it.

use std::convert::Infallible;

use http::header::WWW_AUTHENTICATE;
use http::{Request, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::challenge::{Demand, demand_in};
use tower_bearer::{BoxError, ChallengeRequired, DetectChallengeLayer, RequireScopeLayer};

use crate::support::*;

fn api(
    status: u16,
    challenge: String,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError> {
    let answer = service_fn(move |_: Request<Body>| {
        let answer = Response::builder()
            .status(status)
            .header(WWW_AUTHENTICATE, &challenge);
        let answer = answer.body(Body::from("said")).unwrap();
        async move { Ok::<_, Infallible>(answer) }
    });
    ServiceBuilder::new()
        .layer(DetectChallengeLayer::new())
        .service(answer)
}

#[tokio::test]
async fn a_demand_is_an_error_that_says_what_to_send() {
    let claims = format!("Bearer error=\"insufficient_claims\", claims=\"{C1_BASE64}\"");
    for status in [401, 403] {
        let error = api(status, claims.clone()).oneshot(request("t")).await;
        let error = error.unwrap_err();
        let demand = ChallengeRequired::find(error.as_ref()).unwrap();
        assert_eq!(demand.claims().unwrap().as_str(), C1, "{status}");
        assert!(demand.step_up().is_none());
    }
    let step_up =
        "Bearer error=\"insufficient_user_authentication\", acr_values=\"urn:mfa\", max_age=\"60\"";
    let error = api(401, step_up.to_owned()).oneshot(request("t")).await;
    let error = error.unwrap_err();
    let demand = ChallengeRequired::find(error.as_ref()).unwrap();
    let step_up = demand.step_up().unwrap();
    assert_eq!(
        (step_up.acr_values.as_deref(), step_up.max_age),
        (Some("urn:mfa"), Some(60))
    );
    assert!(demand.claims().is_none());
}

#[tokio::test]
async fn every_other_answer_passes_as_it_is() {
    let claims = format!("Bearer error=\"insufficient_claims\", claims=\"{C1_BASE64}\"");
    // {"id_token":{}}: nothing of that concerns the token of the call.
    let nothing = "Bearer claims=\"eyJpZF90b2tlbiI6e319\"".to_owned();
    for (status, challenge) in [
        (200, claims.clone()),
        (500, claims),
        (401, "Bearer error=\"invalid_token\"".to_owned()),
        (403, "Bearer error=\"insufficient_scope\"".to_owned()),
        (401, nothing),
    ] {
        let answer = api(status, challenge.clone()).oneshot(request("t")).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status, "{challenge}");
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], challenge);
    }
}

#[tokio::test]
async fn over_grpc_it_is_found_in_the_status() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(world.api.protect())
        .layer(RequireScopeLayer::auth_context("c1").unwrap())
        .add_service(health);
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let call = async |token: String| -> Result<(), Status> {
        let client = ServiceBuilder::new()
            .layer(DetectChallengeLayer::new())
            .service(channel.clone());
        let mut message = tonic::Request::new(HealthCheckRequest::default());
        let bearer = format!("Bearer {token}").parse().unwrap();
        message.metadata_mut().insert("authorization", bearer);
        HealthClient::new(client).check(message).await.map(drop)
    };
    assert!(call(world.token(json!({"acrs": ["c1"]}))).await.is_ok());
    let status = call(world.token(json!({}))).await.unwrap_err();
    let demand = ChallengeRequired::find(&status).unwrap();
    assert_eq!(demand.claims().unwrap().as_str(), C1);
    assert!(!status.message().contains("c1"), "{}", status.message());
    // Without a demand the status is the server's.
    let status = call("bad".to_owned()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(ChallengeRequired::find(&status).is_none());
}

#[test]
fn one_look_serves_http_and_grpc() {
    let claims = format!("Bearer claims=\"{C1_BASE64}\"");
    let response = |status: u16, kind: &str, grpc: &str| {
        Response::builder()
            .status(status)
            .header(WWW_AUTHENTICATE, &claims)
            .header("content-type", kind)
            .header("grpc-status", grpc)
            .body(())
            .unwrap()
    };
    for (status, kind, grpc, demanded) in [
        (401, "text/html", "", true),
        (200, "application/grpc", "16", true),
        (200, "application/grpc+proto", "7", true),
        (200, "application/grpc", "0", false),
        (200, "application/json", "16", false),
    ] {
        let found = demand_in(&response(status, kind, grpc));
        let found = matches!(found, Some(Demand::Claims(claims)) if claims.as_str() == C1);
        assert_eq!(found, demanded, "{status} {kind} {grpc}");
    }
}
