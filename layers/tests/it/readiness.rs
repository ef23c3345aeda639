//! The readied service is the one called: proven over services that fail when it is not.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use serde_json::json;
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{
    Authority, CloneBody, Credential, OnBehalfOfExt, OnBehalfOfLayer, ProtectedResource,
    ProtectedResourceMetadataLayer, RequireScopeLayer, Target, ValidateBearerLayer,
};

use crate::support::*;

/// Panics when it is called without having been polled ready.
#[derive(Default)]
struct Strict {
    readied: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.readied = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.readied),
            "called without being ready"
        );
        ready(Ok(Response::new(Body::default())))
    }
}

fn on_behalf_of(authority: &Authority) -> OnBehalfOfLayer<CloneBody> {
    let client = authority
        .client(CLIENT, Credential::secret("x").unwrap())
        .unwrap();
    client
        .on_behalf_of(["a"], Target::bound_client())
        .unwrap()
        .replay(CloneBody)
}

async fn call_many<S>(service: S, world: &World)
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
    S::Error: std::fmt::Debug,
{
    let caller = world.principal(json!({}));
    let calls = (0..20).map(|_| {
        service
            .clone()
            .oneshot(request(&world.token(json!({}))).on_behalf_of(&caller))
    });
    let all = futures_util::future::join_all(calls);
    let answers = tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("a permit was kept");
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().status() == 200)
    );
}

#[tokio::test]
async fn resource_server_over_one_permit_and_a_buffer_inside_and_outside() {
    // Twenty callers at once on a fresh authority: the first requests wait for the keys with the permit in hand.
    let layers = |world: &World| {
        ServiceBuilder::new()
            .layer(ValidateBearerLayer::new(&world.api))
            .layer(RequireScopeLayer::new("read").unwrap())
            .into_inner()
    };
    let world = World::new();
    call_many(
        ServiceBuilder::new()
            .layer(layers(&world))
            .service(Strict::default()),
        &world,
    )
    .await;
    let world = World::new();
    let inside = ServiceBuilder::new()
        .layer(layers(&world))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::default());
    call_many(inside, &world).await;
    let world = World::new();
    let outside = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .layer(layers(&world))
        .service(Strict::default());
    call_many(outside, &world).await;
    let world = World::new();
    let inside = ServiceBuilder::new()
        .layer(layers(&world))
        .layer(BufferLayer::new(1))
        .service(Strict::default());
    call_many(inside, &world).await;
    let world = World::new();
    let outside = ServiceBuilder::new()
        .layer(BufferLayer::new(1))
        .layer(layers(&world))
        .service(Strict::default());
    call_many(outside, &world).await;
}

#[tokio::test]
async fn client_over_one_permit_and_a_buffer_inside_and_outside() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let world = endpoint.world();
    let layer = || on_behalf_of(&world.authority);
    call_many(
        ServiceBuilder::new()
            .layer(layer())
            .service(Strict::default()),
        &world,
    )
    .await;
    call_many(
        ServiceBuilder::new()
            .layer(layer())
            .layer(ConcurrencyLimitLayer::new(1))
            .service(Strict::default()),
        &world,
    )
    .await;
    call_many(
        ServiceBuilder::new()
            .layer(ConcurrencyLimitLayer::new(1))
            .layer(layer())
            .service(Strict::default()),
        &world,
    )
    .await;
    call_many(
        ServiceBuilder::new()
            .layer(layer())
            .layer(BufferLayer::new(1))
            .service(Strict::default()),
        &world,
    )
    .await;
    call_many(
        ServiceBuilder::new()
            .layer(BufferLayer::new(1))
            .layer(layer())
            .service(Strict::default()),
        &world,
    )
    .await;
}

#[tokio::test]
async fn a_retry_over_one_permit_gives_the_first_permit_back() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let world = endpoint.world();
    let next = NextTier::new(&[(401, ""), (200, "")]);
    let service = ServiceBuilder::new()
        .layer(on_behalf_of(&world.authority))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(move |request| next.answer(request)));
    call_many(service, &world).await;
}

/// Has one request refused, and asks a clone whether the only permit is free while the first handle lives.
async fn refuse_one<S>(name: &str, service: S)
where
    S: Service<Request<Body>> + Clone,
{
    answer_one(name, service, "/x").await;
}

async fn answer_one<S>(name: &str, mut service: S, path: &str)
where
    S: Service<Request<Body>> + Clone,
{
    let mut other = service.clone();
    let anonymous = Request::get(path).body(Body::default()).unwrap();
    assert!(service.ready().await.is_ok());
    let _ = service.call(anonymous).await;
    let ready = std::future::poll_fn(|cx| Poll::Ready(other.poll_ready(cx).is_ready())).await;
    assert!(ready, "{name} keeps its permit");
    drop(service);
}

#[tokio::test]
async fn a_refused_request_keeps_no_permit() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    assert!(world.authority.ready().await);
    let limited = || {
        ServiceBuilder::new()
            .layer(ConcurrencyLimitLayer::new(1))
            .service(Strict::default())
    };
    let validate = ServiceBuilder::new()
        .layer(ValidateBearerLayer::new(&world.api))
        .service(limited());
    refuse_one("ValidateBearer", validate).await;
    let require = ServiceBuilder::new()
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(limited());
    refuse_one("RequireScope", require).await;
    let client = ServiceBuilder::new()
        .layer(on_behalf_of(&world.authority))
        .service(limited());
    refuse_one("OnBehalfOf", client).await;
    let described = ProtectedResource::new("https://api.example").unwrap();
    let metadata = ProtectedResourceMetadataLayer::new(&world.api.clone().metadata(described));
    let metadata = ServiceBuilder::new()
        .layer(metadata.unwrap())
        .service(limited());
    let place = "/.well-known/oauth-protected-resource";
    answer_one("ProtectedResourceMetadata", metadata, place).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_keys_does_not_stall_one_that_has_its_key() {
    let (world, source) = World::with_source_that_hangs_on_demand();
    assert!(world.authority.ready().await);
    let service = ServiceBuilder::new()
        .layer(ValidateBearerLayer::new(&world.api))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Strict::default());
    source.hang();
    tokio::time::advance(Duration::from_secs(31)).await;
    let unknown = sign(
        &json!({"alg": "RS256", "kid": "other"}),
        &world.claims(json!({})),
    );
    let mut waiting = Box::pin(service.clone().oneshot(request(&unknown)));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let before = tokio::time::Instant::now();
    let known = service
        .clone()
        .oneshot(request(&world.token(json!({}))))
        .await
        .unwrap();
    assert_eq!(
        (known.status().as_u16(), before.elapsed()),
        (200, Duration::ZERO)
    );
    let undecided = waiting.await.unwrap();
    assert_eq!(undecided.status(), 503);
}

#[tokio::test]
async fn a_service_that_is_neither_send_nor_static_still_composes() {
    let world = World::new();
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(|request| {
            count.set(count.get() + 1);
            hello(request)
        }));
    service
        .oneshot(request(&world.token(json!({}))))
        .await
        .unwrap();
    assert_eq!(count.get(), 1);
}

#[tokio::test]
async fn the_inner_errors_of_tower_are_taken_boxed() {
    let world = World::new();
    let keep = Arc::new(());
    let service = ServiceBuilder::new()
        .layer(tower_bearer::PropagateChallengeLayer::new(&world.api).boxed_errors())
        .layer(ValidateBearerLayer::new(&world.api))
        .timeout(Duration::from_secs(1))
        .concurrency_limit(1)
        .service(service_fn(move |request| {
            let _ = &keep;
            hello(request)
        }));
    let response: Result<Response<Body>, BoxError> =
        service.oneshot(request(&world.token(json!({})))).await;
    assert_eq!(response.unwrap().status(), 200);
}
