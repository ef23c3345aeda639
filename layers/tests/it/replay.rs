//! `Tee` over real clients: a next tier that challenges before it has read the body gets all of it the second time.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{AUTHORIZATION, CONNECTION, WWW_AUTHENTICATE};
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::sync::Notify;
use tonic::service::LayerExt as _;
use tonic::transport::{Channel, Server};
use tonic::{Response as Answer, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{Service, ServiceExt, service_fn};
use tower_bearer::{
    BoxError, Credential, HttpClient, OnBehalfOfError, OnBehalfOfErrorKind, OnBehalfOfExt,
    OnBehalfOfLayer, RequireScopeLayer, Target, Tee,
};

use crate::compositions::serve;
use crate::support::*;

type Boxed = UnsyncBoxBody<Bytes, BoxError>;

const ROUNDS: usize = 300;
const CAP: usize = 64 * 1024;
const DEMANDS_C1: &str = "Bearer error=\"insufficient_claims\", \
     claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\"";

/// An authority whose token endpoint gives `strong` for claims and `weak` without. Not the scripted one, which remembers every request.
async fn world(weak: &str, strong: &str) -> World {
    let [weak, strong] = [weak, strong].map(|token| {
        let answer = json!({"token_type": "Bearer", "access_token": token, "expires_in": 3600});
        Bytes::from(answer.to_string())
    });
    let answer = move |request: Request<Incoming>| {
        let (weak, strong) = (weak.clone(), strong.clone());
        async move {
            let form = request.into_body().collect().await.unwrap().to_bytes();
            let demanded = form.windows(4).any(|part| part == b"acrs");
            Ok::<_, Infallible>(Response::new(Body::from(if demanded {
                strong
            } else {
                weak
            })))
        }
    };
    World::at(&format!("http://{}", serve(service_fn(answer)).await))
}

/// A layer whose token cache is its own, so that each round begins with the weak token.
fn layer(world: &World, target: Target) -> OnBehalfOfLayer {
    let credential = Credential::secret("hush").unwrap();
    let client = world.authority.client(CLIENT, credential).unwrap();
    client.on_behalf_of(["a"], target).unwrap()
}

/// Challenges the weak token without a look at the body, and tells whoever waits for that; echoes the body with the strong one.
///
/// Over HTTP/1 it says that the connection ends, as hyper ends it with an unread body in it: otherwise the second attempt may take that
/// connection from the pool and fail with it.
async fn challenge_or_echo(
    challenged: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if request.headers()[AUTHORIZATION] == "Bearer weak" {
        challenged.notify_one();
        let mut refusal = Response::builder()
            .status(401)
            .header(WWW_AUTHENTICATE, DEMANDS_C1);
        if request.version() == Version::HTTP_11 {
            refusal = refusal.header(CONNECTION, "close");
        }
        return Ok(refusal.body(Body::default()).unwrap());
    }
    match request.into_body().collect().await {
        Ok(body) => Ok(Response::new(Body::from(body.to_bytes()))),
        Err(_) => {
            let broken = Response::builder().status(400);
            Ok(broken.body(Body::default()).unwrap())
        }
    }
}

/// Frames of different sizes.
fn frames(round: usize) -> Vec<Bytes> {
    let frame = |index: usize| vec![u8::try_from(index).unwrap(); (round * 37 + index) % 900 + 1];
    (0..round % 5 + 2).map(frame).map(Bytes::from).collect()
}

/// A body of these frames; the last one comes only when the next tier has challenged, if it is to be so.
fn body(frames: Vec<Bytes>, gate: Option<Arc<Notify>>) -> Boxed {
    let last = frames.len() - 1;
    let stream = futures_util::stream::unfold((0, frames, gate), move |(at, frames, gate)| {
        Box::pin(async move {
            let frame: Result<_, BoxError> = Ok(Frame::data(frames.get(at)?.clone()));
            if let Some(gate) = gate.as_ref().filter(|_| at == last) {
                gate.notified().await;
            }
            Some((frame, (at + 1, frames, gate)))
        })
    });
    StreamBody::new(stream).boxed_unsync()
}

async fn rounds<S, Res>(name: &str, client: S, world: &World, url: &str, challenged: &Arc<Notify>)
where
    S: Service<Request<Boxed>, Response = Response<Res>> + Clone,
    S::Error: Into<BoxError>,
    Res: http_body::Body,
    Res::Error: std::fmt::Debug,
{
    let caller = world.principal(json!({}));
    for round in 0..ROUNDS {
        // Every second one ends when the challenge of this round is on its way, at the earliest.
        let _ = challenged.notified().now_or_never();
        let gate = (round % 2 == 0).then(|| Arc::clone(challenged));
        let frames = frames(round);
        let whole = frames.concat();
        let request = Request::post(url).body(body(frames, gate)).unwrap();
        let answer = layer(world, Target::origin(url).unwrap())
            .replay(Tee::new(CAP, Boxed::new))
            .wrap(client.clone())
            .oneshot(request.on_behalf_of(&caller))
            .await;
        let answer =
            answer.unwrap_or_else(|error| unreachable!("{name}, round {round}: {error:?}"));
        assert_eq!(answer.status(), 200, "{name}, round {round}");
        let echoed = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(echoed, whole, "{name}, round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_lost_over_http_1_and_2() {
    let world = world("weak", "strong").await;
    let challenged = Arc::new(Notify::new());
    let tell = Arc::clone(&challenged);
    let next = serve(service_fn(move |request| {
        challenge_or_echo(Arc::clone(&tell), request)
    }))
    .await;
    let url = format!("http://{next}/");
    for http2 in [false, true] {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build::<_, Boxed>(connector);
        let name = if http2 { "HTTP/2" } else { "HTTP/1" };
        rounds(name, client, &world, &url, &challenged).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_lost_over_reqwest() {
    let world = world("weak", "strong").await;
    let challenged = Arc::new(Notify::new());
    let tell = Arc::clone(&challenged);
    let next = serve(service_fn(move |request| {
        challenge_or_echo(Arc::clone(&tell), request)
    }))
    .await;
    let url = format!("http://{next}/");
    let client = HttpClient::new(reqwest::Client::builder().no_proxy()).unwrap();
    let caller = world.principal(json!({}));
    for round in 0..ROUNDS {
        let frames = frames(round);
        let whole = frames.concat();
        let frames = frames.into_iter().map(|data| Ok(Frame::data(data)));
        let stream = futures_util::stream::iter(frames.collect::<Vec<Result<_, BoxError>>>());
        let body = reqwest::Body::wrap(StreamBody::new(stream));
        let answer = layer(&world, Target::origin(&url).unwrap())
            .replay(Tee::new(CAP, reqwest::Body::wrap))
            .wrap(client.clone())
            .oneshot(
                Request::post(&url)
                    .body(body)
                    .unwrap()
                    .on_behalf_of(&caller),
            )
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        assert_eq!(answer.status(), 200, "round {round}");
        let echoed = http_body_util::BodyExt::collect(answer.into_body()).await;
        assert_eq!(echoed.unwrap().to_bytes(), whole, "round {round}");
    }
}

/// Answers with a status if the message arrived whole.
struct Whole;

#[tonic::async_trait]
impl Health for Whole {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Answer<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let length: usize = service.trim_end_matches('s').parse().unwrap();
        if service.len() == length {
            Ok(Answer::new(HealthCheckResponse::default()))
        } else {
            Err(Status::data_loss("not what was sent"))
        }
    }

    type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Answer<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_over_a_tonic_channel() {
    let down = World::new();
    let world = world(&down.token(json!({})), &down.token(json!({"acrs": ["c1"]}))).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Refuses by the headers alone.
    let demands = RequireScopeLayer::auth_context("c1").unwrap();
    let server = Server::builder()
        .layer(down.api.protect())
        .add_service(demands.named_layer(HealthServer::new(Whole)));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();

    let caller = world.principal(json!({}));
    for round in 0..ROUNDS {
        let length = [10, 900, 40_000][round % 3];
        let digits = length.to_string();
        let service = format!("{digits}{}", "s".repeat(length - digits.len()));
        let on_behalf_of = layer(&world, Target::bound_client())
            .replay(Tee::new(CAP, tonic::body::Body::new))
            .wrap(channel.clone());
        let message = tonic::Request::new(HealthCheckRequest { service }).on_behalf_of(&caller);
        let answer = HealthClient::new(on_behalf_of).check(message).await;
        answer.unwrap_or_else(|status| panic!("round {round}: {status}"));
    }
}

#[tokio::test]
async fn what_exceeds_the_cap_is_for_the_caller_to_repeat() {
    let world = world("weak", "strong").await;
    let next = serve(service_fn(async |request: Request<Incoming>| {
        // Read first: all of it was sent.
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut answer = Response::new(Body::from(body));
        if head.headers[AUTHORIZATION] == "Bearer weak" {
            *answer.status_mut() = http::StatusCode::UNAUTHORIZED;
            let demand = DEMANDS_C1.parse().unwrap();
            answer.headers_mut().insert(WWW_AUTHENTICATE, demand);
        }
        Ok::<_, Infallible>(answer)
    }))
    .await;
    let url = format!("http://{next}/");
    let client = Client::builder(TokioExecutor::new()).build_http::<Boxed>();
    let caller = world.principal(json!({}));
    for (cap, again) in [(8, true), (7, false)] {
        let frames = vec![Bytes::from_static(b"four"), Bytes::from_static(b"more")];
        let request = Request::post(&url).body(body(frames, None)).unwrap();
        let answer = layer(&world, Target::origin(&url).unwrap())
            .replay(Tee::new(cap, Boxed::new))
            .wrap(client.clone())
            .oneshot(request.on_behalf_of(&caller))
            .await;
        match answer {
            Ok(answer) => assert!(again && answer.status() == 200, "{cap}"),
            Err(error) => {
                let error = error.downcast_ref::<OnBehalfOfError>().unwrap();
                assert_eq!(error.kind(), OnBehalfOfErrorKind::Unavailable, "{cap}");
                assert!(!again, "{cap}");
            }
        }
    }
}
