//! The same layers over plain hyper, axum, hyper-util's client and reqwest, on real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{
    CallError, CloneBody, ConfidentialClient, Credential, HttpClient, Never, OnBehalfOf,
    OnBehalfOfExt, Principal, RequireScopeLayer, Target,
};

use crate::support::*;

pub(crate) async fn serve<S>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn me(world: &World) -> ConfidentialClient {
    world
        .authority
        .client(CLIENT, Credential::secret("x").unwrap())
        .unwrap()
}

async fn echo_bearer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::from(
        request.headers()[AUTHORIZATION].as_bytes().to_vec(),
    )))
}

#[tokio::test]
async fn plain_hyper_over_http_1_and_2() {
    let world = World::new();
    let handler = |request: Request<Incoming>| async move {
        let name = request
            .extensions()
            .get::<Principal>()
            .unwrap()
            .object_id()
            .unwrap()
            .to_owned();
        Ok::<_, Infallible>(Response::new(Body::from(name)))
    };
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(service_fn(handler));
    let address = serve(service).await;
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http::<Body>();
        for (changes, status) in [
            (json!({}), 200),
            (json!({"scp": "x"}), 403),
            (json!({"aud": "x"}), 401),
        ] {
            let token = format!("Bearer {}", world.token(changes));
            let request = Request::get(format!("http://{address}/")).header(AUTHORIZATION, token);
            let response = client
                .request(request.body(Body::default()).unwrap())
                .await
                .unwrap();
            assert_eq!(response.status(), status, "HTTP/2: {http2}");
        }
        let twice = Request::get(format!("http://{address}/"))
            .header(AUTHORIZATION, format!("Bearer {}", world.token(json!({}))))
            .header(AUTHORIZATION, format!("Bearer {}", world.token(json!({}))));
        let response = client
            .request(twice.body(Body::default()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "two fields, HTTP/2: {http2}");
    }
}

#[tokio::test]
async fn the_token_size_limit_holds_on_the_wire() {
    let world = World::new();
    let address = serve(
        ServiceBuilder::new()
            .layer(world.api.protect())
            .service(service_fn(echo_bearer)),
    )
    .await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let padded = |bytes: usize| {
        let short = world.token(json!({"pad": ""})).len();
        // Three bytes of claims are four of base64.
        world.token(json!({"pad": "x".repeat((bytes - short) / 4 * 3)}))
    };
    let (below, above) = (padded(12 * 1024 - 8), padded(12 * 1024 + 8));
    assert!(below.len() <= 12 * 1024 && above.len() > 12 * 1024);
    for (token, status) in [(below, 200), (above, 400)] {
        let request = Request::get(format!("http://{address}/"))
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let response = client
            .request(request.body(Body::default()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{}", token.len());
    }
}

#[tokio::test]
async fn axum_router_per_route_and_with_extractors() {
    let world = World::new();
    let app = Router::new()
        .route(
            "/hello",
            get(async |caller: Principal| caller.object_id().unwrap().to_owned()),
        )
        .route(
            "/maybe",
            get(async |caller: Option<Principal>| caller.is_some().to_string()),
        )
        .route(
            "/both",
            get(async || "read")
                .layer(RequireScopeLayer::new("read").unwrap())
                .merge(post(async || "write").layer(RequireScopeLayer::new("write").unwrap())),
        )
        .route(
            "/context",
            get(async |caller: Principal| {
                Ok::<_, CallError>(caller.require_auth_context("c1").map(|()| "")?)
            }),
        )
        .route(
            "/scope",
            get(async |caller: Principal| caller.require_scope("write").map(|()| "")),
        )
        .route_layer(world.api.protect());
    let status = async |method: &str, path: &str, token: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let response = app
            .clone()
            .oneshot(request.body(axum::body::Body::empty()).unwrap())
            .await
            .unwrap();
        (response.status().as_u16(), challenge(&response).to_owned())
    };
    let token = world.token(json!({}));
    for (method, path, expected) in [
        ("GET", "/hello", 200),
        ("GET", "/maybe", 200),
        ("GET", "/both", 200),
        ("POST", "/both", 403),
        ("GET", "/context", 401),
        ("GET", "/scope", 403),
        ("GET", "/unknown", 404),
    ] {
        assert_eq!(
            status(method, path, &token).await.0,
            expected,
            "{method} {path}"
        );
    }
    assert!(
        status("GET", "/context", &token)
            .await
            .1
            .contains(C1_BASE64)
    );
    assert!(
        status("GET", "/scope", &token)
            .await
            .1
            .contains("scope=\"write\"")
    );
    assert_eq!(status("GET", "/hello", "bad").await.0, 401);

    let principal = world.principal(json!({}));
    let demand =
        async move || Err::<(), _>(CallError::from(principal.require_scope("x").unwrap_err()));
    let unprotected = Router::new()
        .route("/hello", get(async |_: Principal| ""))
        .route("/demand", get(demand));
    for path in ["/hello", "/demand"] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(
            unprotected.clone().oneshot(request).await.unwrap().status(),
            500,
            "a forgotten layer shows"
        );
    }
}

type Orders = OnBehalfOf<HttpClient, CloneBody>;

#[tokio::test]
async fn axum_middle_tier_over_reqwest() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", interaction_required(C1)).await;
    endpoint.on("jwt-bearer", issued("T2")).await;
    let next = serve(service_fn(echo_bearer)).await;
    let url = format!("http://{next}");
    let orders: Orders = me(&world)
        .on_behalf_of(["api://orders/.default"], Target::origin(&url).unwrap())
        .unwrap()
        .replay(CloneBody)
        .wrap(HttpClient::new(reqwest::Client::builder()).unwrap());

    async fn list(
        caller: Principal,
        State((url, orders)): State<(String, Orders)>,
    ) -> Result<axum::body::Body, CallError> {
        let request = Request::get(url)
            .body(Body::default())?
            .on_behalf_of(&caller);
        Ok(axum::body::Body::new(
            orders.oneshot(request).await?.into_body(),
        ))
    }
    let app = Router::new()
        .route("/orders", get(list))
        .route_layer(world.api.protect())
        .with_state((url, orders));
    let request =
        Request::get("/orders").header(AUTHORIZATION, format!("Bearer {}", world.token(json!({}))));
    let response = app
        .oneshot(request.body(axum::body::Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "Bearer T2"
    );
}

#[tokio::test]
async fn gateway_without_a_handler_over_the_hyper_util_client() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T2")).await;
    let next = serve(service_fn(echo_bearer)).await;
    let origin = Target::origin(&format!("http://{next}")).unwrap();
    let gateway = ServiceBuilder::new()
        .map_response(|response: Response<Incoming>| response.map(|body| body.boxed_unsync()))
        .layer(
            me(&world)
                .on_behalf_of(["a"], origin)
                .unwrap()
                .replay(Never),
        )
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    let gateway = ServiceBuilder::new()
        .layer(tower_bearer::PropagateChallengeLayer::new(&world.api).boxed_errors())
        .layer(tower_bearer::ValidateBearerLayer::new(&world.api))
        .map_response(|response: Response<_>| {
            response.map(
                |_: http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, hyper::Error>| {
                    Body::default()
                },
            )
        })
        .service(gateway);
    let mut request = request(&world.token(json!({})));
    *request.uri_mut() = format!("http://{next}/x").parse().unwrap();
    assert_eq!(
        gateway.clone().oneshot(request).await.unwrap().status(),
        200
    );
    let mut anonymous = Request::new(Body::default());
    *anonymous.uri_mut() = format!("http://{next}/x").parse().unwrap();
    assert_eq!(gateway.oneshot(anonymous).await.unwrap().status(), 401);
}
