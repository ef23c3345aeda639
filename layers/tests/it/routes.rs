//! What stands beside a protected route or outside the layer: public paths, and browsers' preflights.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::routing::get;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;
use tower_bearer::RequireScopeLayer;
use tower_http::cors::CorsLayer;

use crate::support::*;

const SECRET: &str = "what only callers may see";

/// One public route, named exactly; everything else behind the layer.
fn app(world: &World) -> Router {
    Router::new()
        .route("/api", get(async || SECRET))
        .route("/api/{id}", get(async || SECRET))
        .route_layer(RequireScopeLayer::new("read").unwrap())
        .layer(world.api.protect())
        .route("/public", get(async || "for everyone"))
}

async fn get_raw(address: SocketAddr, target: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // A server that closes at once may reset.
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_around_the_layer() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app(&world)).into_future());

    let token = format!("authorization: Bearer {}\r\n", world.token(json!({})));
    assert!(get_raw(address, "/api", &token).await.contains(SECRET));
    let public = get_raw(address, "/public", "").await;
    assert!(public.contains("for everyone"));
    for target in [
        "/api",
        "/api/",
        "/api/1",
        "//api",
        "/./api",
        "/API",
        "/%61pi",
        "/api%2f1",
        "/api%00",
        "/api;/public",
        "/api?/public",
        "/public/../api",
        "/public/..%2fapi",
        "/public%2f..%2fapi",
        "/public/..;/api",
        "/public/%2e%2e/api",
        "/public\\..\\api",
        "/public#/../api",
        "/public?/../api",
        "http://h/api",
        "http://public/api",
        "http://user@h/api",
        "*",
    ] {
        for lines in [
            "",
            "x-original-url: /public\r\n",
            "x-forwarded-uri: /public\r\n",
            "x-http-method-override: OPTIONS\r\n",
            "user-agent: kube-probe/1.30\r\n",
        ] {
            let reply = get_raw(address, target, lines).await;
            assert!(!reply.contains(SECRET), "{target} {lines}: {reply}");
        }
    }
    let reply = get_raw(address, "/api", "").await;
    assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
}

fn preflight() -> http::request::Builder {
    Request::options("/api")
        .header("origin", "https://spa.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization")
}

#[tokio::test]
async fn a_preflight_is_answered_by_a_cors_layer_outside_and_by_nothing_of_ours() {
    let world = World::new();
    let origin: http::HeaderValue = "https://spa.example".parse().unwrap();
    let cors = CorsLayer::new()
        .allow_origin(origin.clone())
        .allow_methods([Method::GET])
        .allow_headers([AUTHORIZATION])
        .expose_headers([WWW_AUTHENTICATE]);
    let (bare, browsers) = (app(&world), app(&world).layer(cors));

    let response = bare
        .oneshot(preflight().body(AxumBody::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 401, "no exception in the layer");

    let send = async |request: http::request::Builder| {
        let request = request.body(AxumBody::empty()).unwrap();
        browsers.clone().oneshot(request).await.unwrap()
    };
    let response = send(preflight()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], origin);
    assert_eq!(
        response.headers()["access-control-allow-headers"],
        "authorization"
    );
    assert_eq!(challenge(&response), "");

    let call = || Request::get("/api").header("origin", "https://spa.example");
    let refused = send(call()).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(challenge(&refused), format!("Bearer realm=\"{TENANT}\""));
    assert_eq!(refused.headers()["access-control-allow-origin"], origin);
    let exposed = refused.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(
        exposed.eq_ignore_ascii_case("www-authenticate"),
        "{exposed}"
    );

    let token = world.token(json!({}));
    let response = send(call().header(AUTHORIZATION, format!("Bearer {token}"))).await;
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, SECRET);

    let posing = call().header("access-control-request-method", "GET");
    assert_eq!(send(posing).await.status(), 401, "no preflight");
}
