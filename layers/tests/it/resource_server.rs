//! `ValidateBearer` and `RequireScope` as a caller sees them.

use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION};
use http::{Request, StatusCode};
use serde_json::json;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{RefusalKind, Refused, RequireScopeLayer};

use crate::support::*;

#[tokio::test]
async fn row_by_row_what_a_caller_sees() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .layer(RequireScopeLayer::new("read").unwrap())
        .layer(RequireScopeLayer::auth_context("c1").unwrap())
        .service(service_fn(hello));
    let realm = format!("Bearer realm=\"{TENANT}\"");
    let invalid = format!("{realm}, error=\"invalid_token\", ");
    let rows = [
        ("valid", json!({"acrs": ["c1"]}), 200, String::new()),
        (
            "expired",
            json!({"exp": NOW - 61, "acrs": ["c1"]}),
            401,
            invalid.clone(),
        ),
        (
            "expired and without scope",
            json!({"exp": NOW - 61, "scp": "x"}),
            401,
            invalid.clone(),
        ),
        ("wrong audience", json!({"aud": "x"}), 401, invalid),
        (
            "no scope",
            json!({"scp": "x"}),
            403,
            format!("{realm}, error=\"insufficient_scope\", scope=\"read\""),
        ),
        (
            "application",
            json!({"idtyp": "app", "scp": null, "roles": ["read"]}),
            403,
            String::new(),
        ),
        (
            "context missing, capable client",
            json!({}),
            401,
            format!("error=\"insufficient_claims\", claims=\"{C1_BASE64}\""),
        ),
        (
            "context missing, other client",
            json!({"xms_cc": null}),
            403,
            String::new(),
        ),
    ];
    for (name, changes, status, challenged) in rows {
        let response = service
            .clone()
            .oneshot(request(&world.token(changes)))
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{name}");
        let header = challenge(&response);
        assert!(
            header.contains(&challenged) && header.is_empty() == challenged.is_empty(),
            "{name}: {header}"
        );
        let exposed = response
            .headers()
            .contains_key(ACCESS_CONTROL_EXPOSE_HEADERS);
        assert_eq!(exposed, !header.is_empty(), "{name}");
    }

    let anonymous = Request::get("/x").body(Body::default()).unwrap();
    let response = service.clone().oneshot(anonymous).await.unwrap();
    assert_eq!(
        (response.status(), challenge(&response)),
        (StatusCode::UNAUTHORIZED, realm.as_str())
    );

    let token = world.token(json!({"acrs": ["c1"]}));
    let twice = Request::get("/x").header(AUTHORIZATION, format!("Bearer {token}, Bearer {token}"));
    let response = service
        .clone()
        .oneshot(twice.body(Body::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(
        challenge(&response),
        format!("{realm}, error=\"invalid_request\"")
    );
}

#[tokio::test]
async fn a_check_without_validation_fails_closed() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(service_fn(hello));
    let response = service
        .oneshot(request(&world.token(json!({}))))
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(
        response.extensions().get::<Refused>().unwrap().kind(),
        RefusalKind::Internal
    );
}

#[tokio::test]
async fn a_principal_planted_outside_is_not_believed() {
    let world = World::new();
    let mut service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(hello));
    let mut planted = Request::get("/x").body(Body::default()).unwrap();
    planted.extensions_mut().insert(world.principal(json!({})));
    let response = service.ready().await.unwrap().call(planted).await.unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn expiry_follows_the_clock() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(hello));
    let token = world.token(json!({}));
    for (now, status) in [(NOW, 200), (NOW + 3659, 200), (NOW + 3660, 401)] {
        world.clock.set(now);
        let response = service.clone().oneshot(request(&token)).await.unwrap();
        assert_eq!(response.status(), status, "{now}");
    }
}

#[tokio::test]
async fn one_resource_does_not_take_the_tokens_of_another() {
    let world = World::new();
    let other = world.authority.resource("api://other").unwrap();
    let service = ServiceBuilder::new()
        .layer(other.protect())
        .service(service_fn(hello));
    let response = service
        .oneshot(request(&world.token(json!({}))))
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_caller_cannot_turn_a_refusal_into_a_200() {
    let world = World::new();
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .layer(RequireScopeLayer::new("write").unwrap())
        .service(service_fn(hello));
    let call = |method: &str, token: Option<String>| {
        let mut request = http::Request::builder().method(method).uri("/x");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/grpc");
        let service = service.clone();
        async move {
            let response = service
                .oneshot(request.body(Body::default()).unwrap())
                .await;
            response.unwrap().status().as_u16()
        }
    };
    for (token, status) in [
        (None, 401),
        (Some(world.token(json!({"exp": NOW - 3600}))), 401),
        (Some(world.token(json!({}))), 403),
    ] {
        assert_eq!(call("GET", token.clone()).await, status);
        assert_eq!(call("HEAD", token.clone()).await, status);
        assert_eq!(
            call("POST", token).await,
            200,
            "a call of gRPC has its status elsewhere"
        );
    }
}
