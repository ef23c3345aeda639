//! Keys by discovery, from a server that misbehaves.

use http::StatusCode;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{AuthorityBuilder, Resource};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::*;

fn metadata(server: &MockServer) -> Value {
    json!({
        "issuer": format!("{}/{TENANT}/v2.0", server.uri()),
        "jwks_uri": format!("{}/keys", server.uri()),
    })
}

async fn publish(server: &MockServer, metadata: ResponseTemplate, keys: ResponseTemplate) {
    let at = format!("/{TENANT}/v2.0/.well-known/openid-configuration");
    Mock::given(path(at))
        .respond_with(metadata)
        .mount(server)
        .await;
    Mock::given(path("/keys"))
        .respond_with(keys)
        .mount(server)
        .await;
}

fn resource(server: &MockServer) -> Resource {
    let authority = AuthorityBuilder::entra(TENANT)
        .instance(&server.uri())
        .dangerous_loopback_http()
        .clock(ManualClock::new(NOW))
        .build()
        .unwrap();
    authority.resource(CLIENT).unwrap()
}

async fn status(
    server: &MockServer,
    metadata: ResponseTemplate,
    keys: ResponseTemplate,
) -> StatusCode {
    publish(server, metadata, keys).await;
    let world = World::at(&server.uri());
    let service = ServiceBuilder::new()
        .layer(resource(server).protect())
        .service(service_fn(hello));
    let response = service
        .oneshot(request(&world.token(json!({}))))
        .await
        .unwrap();
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        assert!(response.headers().contains_key("retry-after"));
        assert_eq!(challenge(&response), "");
    }
    response.status()
}

fn good_keys() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_string(jwks())
}

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let server = MockServer::start().await;
    let good = ResponseTemplate::new(200).set_body_json(metadata(&server));
    assert_eq!(status(&server, good, good_keys()).await, 200);
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_trusted_or_read_is_503_and_never_a_pass() {
    let elsewhere = MockServer::start().await;
    Mock::given(path("/keys"))
        .respond_with(good_keys())
        .mount(&elsewhere)
        .await;
    let wrong_issuer = |server: &MockServer| json!({"issuer": "https://evil", "jwks_uri": format!("{}/keys", server.uri())});
    let slash = |server: &MockServer| json!({"issuer": format!("{}/{TENANT}/v2.0/", server.uri()), "jwks_uri": format!("{}/keys", server.uri())});
    let not_loopback = |server: &MockServer| json!({"issuer": metadata(server)["issuer"], "jwks_uri": "http://keys.example/keys"});
    let file = |server: &MockServer| json!({"issuer": metadata(server)["issuer"], "jwks_uri": "file:///etc/passwd"});
    let no_uri = |server: &MockServer| json!({"issuer": metadata(server)["issuer"]});
    type Row<'a> = (&'a str, &'a dyn Fn(&MockServer) -> Value);
    let of_metadata: [Row<'_>; 5] = [
        ("wrong issuer", &wrong_issuer),
        ("issuer with a slash", &slash),
        ("keys over http elsewhere", &not_loopback),
        ("keys in a file", &file),
        ("no keys", &no_uri),
    ];
    for (name, document) in of_metadata {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_json(document(&server));
        assert_eq!(status(&server, answer, good_keys()).await, 503, "{name}");
    }

    let redirect =
        ResponseTemplate::new(302).insert_header("location", format!("{}/keys", elsewhere.uri()));
    let answers = [
        ("status 500", ResponseTemplate::new(500)),
        (
            "status 404",
            ResponseTemplate::new(404).set_body_string(jwks()),
        ),
        ("redirect", redirect),
        ("page", ResponseTemplate::new(200).set_body_string("<html>")),
        (
            "empty set",
            ResponseTemplate::new(200).set_body_string(r#"{"keys":[]}"#),
        ),
        (
            "too large",
            ResponseTemplate::new(200).set_body_string(format!(
                "{}{}",
                " ".repeat(600_000),
                jwks()
            )),
        ),
        ("304 unasked", ResponseTemplate::new(304)),
    ];
    for (name, keys) in answers {
        let server = MockServer::start().await;
        let good = ResponseTemplate::new(200).set_body_json(metadata(&server));
        assert_eq!(status(&server, good, keys).await, 503, "{name}");
    }
    assert!(
        elsewhere.received_requests().await.unwrap().is_empty(),
        "a redirect was followed"
    );
}

#[tokio::test]
async fn dead_authority_is_503() {
    let server = MockServer::start().await;
    let resource = resource(&server);
    let world = World::at(&server.uri());
    drop(server);
    let service = ServiceBuilder::new()
        .layer(resource.protect())
        .service(service_fn(hello));
    let response = service
        .oneshot(request(&world.token(json!({}))))
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert!(!resource.authority().ready().await);
}

#[tokio::test]
async fn unknown_key_is_401_after_a_good_fetch() {
    let server = MockServer::start().await;
    let good = ResponseTemplate::new(200).set_body_json(metadata(&server));
    publish(&server, good, good_keys()).await;
    let world = World::at(&server.uri());
    let service = ServiceBuilder::new()
        .layer(resource(&server).protect())
        .service(service_fn(hello));
    for _ in 0..50 {
        let token = sign(
            &json!({"alg": "RS256", "kid": "other"}),
            &world.claims(json!({})),
        );
        let response = service.clone().oneshot(request(&token)).await.unwrap();
        assert_eq!(response.status(), 401);
    }
    assert_eq!(
        server.received_requests().await.unwrap().len(),
        2,
        "metadata and keys, once each"
    );
}
