//! The contestants: one handler on one server, protected in different ways.

use std::convert::Infallible;
use std::env;
use std::fmt::Debug;
use std::io::Read as _;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{
    AuthorityBuilder, CloneBody, Credential, OnBehalfOfExt as _, Principal,
    PropagateChallengeLayer, RequireScopeLayer, Resource, Target, ValidateBearerLayer,
};

use super::authority::{Authority, NEXT_TIER};
use super::support::by_hand::ByHand;
use super::support::{CLIENT, SCOPE, TENANT};

type Body = Full<Bytes>;

/// What hyper can serve.
trait Serve:
    Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Serve for S where
    S: Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// hyper, and whoever calls.
    Bare,
    /// These layers.
    Layers,
    /// These layers, when they remember no token.
    Uncached,
    /// `jsonwebtoken` for each request.
    ByHand,
    /// These layers before a handler that calls the next tier.
    Relay,
    /// The same, on behalf of the caller.
    OnBehalfOf,
}

impl Contestant {
    /// They differ in how a caller is verified.
    pub(crate) const RESOURCE_SERVERS: [Self; 4] =
        [Self::Bare, Self::Layers, Self::Uncached, Self::ByHand];
    pub(crate) const MIDDLE_TIERS: [Self; 2] = [Self::Relay, Self::OnBehalfOf];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Layers => "layers",
            Self::Uncached => "uncached",
            Self::ByHand => "by-hand",
            Self::Relay => "relay",
            Self::OnBehalfOf => "on-behalf-of",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = Self::RESOURCE_SERVERS.into_iter().chain(Self::MIDDLE_TIERS);
        all.into_iter().find(|contestant| contestant.name() == name)
    }

    pub(crate) fn of_this_process() -> Option<Self> {
        Self::named(&env::var("LOAD_SERVER").ok()?)
    }

    /// What its process is told.
    pub(crate) fn variables(self, authority: &Authority) -> [(&'static str, String); 3] {
        [
            ("LOAD_SERVER", self.name().to_owned()),
            ("LOAD_INSTANCE", authority.instance.clone()),
            ("LOAD_KEYS", authority.keys().to_string()),
        ]
    }
}

/// Until standard input ends.
pub(crate) fn run(contestant: Contestant) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let instance = env::var("LOAD_INSTANCE").unwrap();
    match contestant {
        Contestant::Bare => runtime.spawn(serve(listener, service_fn(bare))),
        Contestant::Layers => runtime.spawn(serve(listener, layers(&api(&instance), None))),
        Contestant::Uncached => runtime.spawn(serve(listener, layers(&api(&instance), Some(0)))),
        Contestant::ByHand => {
            let keys = serde_json::from_str(&env::var("LOAD_KEYS").unwrap()).unwrap();
            let issuer = format!("{instance}/{TENANT}/v2.0");
            let keys = Arc::new(ByHand::new(&keys, &issuer));
            let service = service_fn(move |request| by_hand(Arc::clone(&keys), request));
            runtime.spawn(serve(listener, service))
        }
        Contestant::Relay => runtime.spawn(serve(
            listener,
            middle_tier(&api(&instance), http_client(), &instance),
        )),
        Contestant::OnBehalfOf => {
            let api = api(&instance);
            let me = api
                .authority()
                .client(CLIENT, Credential::secret("secret").unwrap())
                .unwrap();
            let next = Target::origin(&instance).unwrap();
            let client = me.on_behalf_of(["api://next/.default"], next).unwrap();
            let client = client.replay(CloneBody).wrap(http_client());
            runtime.spawn(serve(listener, middle_tier(&api, client, &instance)))
        }
    };
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// [`Resource::protect`] in its two parts, with as many cached tokens as it has by default or so many.
fn layers(api: &Resource, cached_tokens: Option<usize>) -> impl Serve {
    let validate = ValidateBearerLayer::new(api);
    let validate = match cached_tokens {
        Some(capacity) => validate.cached_tokens(capacity),
        None => validate,
    };
    ServiceBuilder::new()
        .layer(PropagateChallengeLayer::new(api))
        .layer(validate)
        .layer(RequireScopeLayer::new(SCOPE).unwrap())
        .service(service_fn(protected))
}

type HttpClient = Client<HttpConnector, Body>;

fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A handler that passes on what the next tier answers.
fn middle_tier<C>(api: &Resource, client: C, instance: &str) -> impl Serve
where
    C: Service<Request<Body>, Response = Response<Incoming>, Error: Debug, Future: Send>,
    C: Clone + Send + 'static,
{
    let next: Uri = format!("{instance}{NEXT_TIER}").parse().unwrap();
    let handler = move |request: Request<Incoming>| {
        let (client, next) = (client.clone(), next.clone());
        async move {
            let caller = request.extensions().get::<Principal>().unwrap();
            let call = Request::get(next)
                .body(Body::default())
                .unwrap()
                .on_behalf_of(caller);
            let response = client.oneshot(call).await.unwrap();
            let body = response.into_body().collect().await.unwrap();
            Ok(Response::new(Body::from(body.to_bytes())))
        }
    };
    ServiceBuilder::new()
        .layer(api.protect())
        .layer(RequireScopeLayer::new(SCOPE).unwrap())
        .service(service_fn(handler))
}

async fn serve(listener: TcpListener, service: impl Serve) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn api(instance: &str) -> Resource {
    let authority = AuthorityBuilder::entra(TENANT)
        .instance(instance)
        .dangerous_loopback_http();
    authority.build().unwrap().resource(CLIENT).unwrap()
}

#[derive(Serialize)]
struct Caller<'a> {
    sub: &'a str,
}

/// The work that all of them do.
fn hello(sub: &str) -> Result<Response<Body>, Infallible> {
    let body = serde_json::to_vec(&Caller { sub }).unwrap();
    Ok(Response::new(Body::from(body)))
}

async fn bare(_: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    hello("0000000000000000000000000000000000000000000")
}

async fn protected(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let caller = request.extensions().get::<Principal>();
    hello(caller.and_then(Principal::subject).unwrap())
}

async fn by_hand(
    keys: Arc<ByHand>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let credential = request.headers().get(AUTHORIZATION);
    let token = credential.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.ok_or(401).and_then(|token| keys.caller(token)) {
        Ok(claims) => hello(&claims.sub),
        Err(status) => {
            let mut response = Response::<Body>::default();
            *response.status_mut() = status.try_into().unwrap();
            Ok(response)
        }
    }
}
