//! A client that knows nothing but the URL of an API finds its authority (RFC 9728).

use std::convert::Infallible;

use http::header::{ALLOW, CONTENT_LENGTH};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{
    Algorithm, Authority, AuthorityBuilder, ConfigError, ProtectedResource,
    ProtectedResourceMetadataLayer, Resource, challenge as challenges,
};

use crate::compositions::serve;
use crate::support::*;

const PLACE: &str = "/.well-known/oauth-protected-resource/v1";

fn described(resource: Resource) -> Resource {
    let described = ProtectedResource::new("https://api.example/v1").unwrap();
    resource.metadata(described.scopes(["api://middle/read"]).unwrap())
}

async fn document(resource: &Resource) -> Value {
    let service = ServiceBuilder::new()
        .layer(ProtectedResourceMetadataLayer::new(resource).unwrap())
        .service(service_fn(hello));
    let request = Request::get(PLACE).body(Body::default()).unwrap();
    let body = service.oneshot(request).await.unwrap().into_body();
    serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn the_first_refusal_leads_to_the_authority() {
    let world = World::new();
    let api = described(world.api.clone());
    let service = ServiceBuilder::new()
        .layer(ProtectedResourceMetadataLayer::new(&api).unwrap())
        .layer(api.protect())
        .service(service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Body::from("api")))
        }));
    let address = serve(service).await;
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http::<Body>();
        let call = async |method: &str, path: &str| {
            let request = Request::builder()
                .method(method)
                .uri(format!("http://{address}{path}"));
            let request = request.body(Body::default()).unwrap();
            client.request(request).await.unwrap()
        };
        let refused = call("GET", "/v1/orders").await;
        assert_eq!(refused.status(), 401);
        let parsed = challenges::parse(refused.headers());
        let place = parsed[0].param("resource_metadata").unwrap();
        assert_eq!(place, format!("https://api.example{PLACE}"));

        let found = call("GET", PLACE).await;
        assert_eq!(found.status(), 200);
        for (name, value) in [
            ("content-type", "application/json"),
            ("access-control-allow-origin", "*"),
            ("cache-control", "public, max-age=3600"),
        ] {
            assert_eq!(found.headers()[name], value);
        }
        let length = found.headers()[CONTENT_LENGTH].clone();
        let body = found.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(length, body.len().to_string());
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "resource": "https://api.example/v1",
                "authorization_servers": [format!("http://127.0.0.1:9/{TENANT}/v2.0")],
                "scopes_supported": ["api://middle/read"],
                "bearer_methods_supported": ["header"],
            })
        );

        let head = call("HEAD", PLACE).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()[CONTENT_LENGTH]),
            (200, &length)
        );
        assert!(
            head.into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
        assert_eq!(call("GET", &format!("{PLACE}?x=y")).await.status(), 200);
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let refused = call(method, PLACE).await;
            assert_eq!(refused.status(), 405, "{method}");
            assert_eq!(refused.headers()[ALLOW], "GET, HEAD", "{method}");
        }
        for other in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/v1/",
            "/.well-known/oauth-protected-resource/v2",
            "/x/.well-known/oauth-protected-resource/v1",
            "/.well-known/oauth-protected-resource/%76%31",
        ] {
            assert_eq!(call("GET", other).await.status(), 401, "{other}");
        }
    }
}

#[tokio::test]
async fn under_axum_it_stands_around_the_router() {
    let api = described(World::new().api);
    let app = axum::Router::new()
        .route("/v1/orders", axum::routing::get(async || "orders"))
        .layer(api.protect())
        .layer(ProtectedResourceMetadataLayer::new(&api).unwrap());
    for (path, status) in [(PLACE, 200), ("/v1/orders", 401), ("/unknown", 401)] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_body_without_from_bytes_is_made_as_told() {
    let api = described(World::new().api);
    let layer = ProtectedResourceMetadataLayer::new(&api).unwrap();
    let service = ServiceBuilder::new()
        .layer(layer.body(|document| tonic::body::Body::new(Body::new(document))))
        .layer(api.protect())
        .service(service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(tonic::body::Body::empty()))
        }));
    let request = Request::get(PLACE).body(Body::default()).unwrap();
    let body = service.oneshot(request).await.unwrap().into_body();
    let body = body.collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["resource"], "https://api.example/v1");
}

#[tokio::test]
async fn every_authority_is_named_as_clients_look_for_it() {
    let second = "22222222-2222-3333-4444-555555555555";
    let of = |builder: AuthorityBuilder| {
        let authority = builder.build().unwrap();
        described(authority.resource(CLIENT).unwrap())
    };
    let v2 = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let named = Authority::issuer("https://as.example", [Algorithm::Es256]).unwrap();
    let both = of(AuthorityBuilder::entra(TENANT))
        .or(named.resource(CLIENT).unwrap())
        .unwrap();
    for (resource, expected) in [
        (
            of(AuthorityBuilder::entra(TENANT).v1_tokens()),
            vec![v2(TENANT)],
        ),
        (
            of(AuthorityBuilder::entra_tenants([second, TENANT])),
            vec![v2(TENANT), v2(second)],
        ),
        (
            of(AuthorityBuilder::dangerous_entra_any_tenant()),
            vec![v2("common")],
        ),
        (
            of(AuthorityBuilder::external_id(
                "https://t.ciamlogin.com",
                TENANT,
            )),
            vec![format!("https://t.ciamlogin.com/{TENANT}/v2.0")],
        ),
        (
            described(named.resource(CLIENT).unwrap()),
            vec!["https://as.example".to_owned()],
        ),
        (both, vec![v2(TENANT), "https://as.example".to_owned()]),
    ] {
        assert_eq!(
            document(&resource).await["authorization_servers"],
            json!(expected),
            "{resource:?}"
        );
    }
}

#[test]
fn a_resource_that_was_not_described_has_nothing_to_serve() {
    let world = World::new();
    assert_eq!(
        ProtectedResourceMetadataLayer::new(&world.api).err(),
        Some(ConfigError::ResourceMetadata)
    );
    assert!(ProtectedResourceMetadataLayer::new(&described(world.api)).is_ok());
}
