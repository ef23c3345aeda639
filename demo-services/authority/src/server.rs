//! Routes, the rules for every request, and the loop that accepts connections.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use http::uri::Authority as HostAndPort;
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::authority::{Authority, Shared};
use crate::directory::Directory;
use crate::errors::{Refusal, Trace};
use crate::meter::{Endpoint, meter};
use crate::{authorize, control, discovery, grants, logout, pages};

const MAX_BODY: usize = 64 * 1024;
const MAX_HEADER_LIST: u32 = 32 * 1024;
const MAX_CONNECTIONS: usize = 1024;
/// Longer than the longest delay that `fail_next` can ask for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// hyper counts idle time as well: longer than the 90 seconds for which client pools keep a connection, so that the client is the one
/// to close it and no request meets a closing connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The directory that a request with a known tenant works on.
#[derive(Clone)]
pub(crate) struct Known(pub(crate) Arc<Directory>);

pub(crate) fn router(authority: Shared) -> Router {
    let counted = |endpoint: Endpoint, route: MethodRouter<Shared>| {
        route.layer(middleware::from_fn_with_state(
            (authority.clone(), endpoint),
            meter,
        ))
    };
    // Browsers' scripts read metadata and redeem codes, failures included; no cookie matters there.
    let cross_origin = || {
        SetResponseHeaderLayer::overriding(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        )
    };
    let tenant = Router::new()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            counted(Endpoint::Discovery, get(discovery::metadata)).layer(cross_origin()),
        )
        .route(
            "/{tenant}/discovery/v2.0/keys",
            counted(Endpoint::Keys, get(discovery::keys)),
        )
        .route(
            "/{tenant}/oauth2/v2.0/authorize",
            counted(
                Endpoint::Authorize,
                get(authorize::authorize).post(authorize::authorize),
            ),
        )
        .route(
            "/{tenant}/oauth2/v2.0/token",
            counted(Endpoint::Token, post(grants::token)).layer(cross_origin()),
        )
        .route("/{tenant}/oauth2/v2.0/logout", get(logout::logout))
        .route("/{tenant}/sign-in", post(authorize::sign_in))
        .route("/{tenant}/mfa", post(authorize::mfa))
        .route_layer(middleware::from_fn_with_state(
            authority.clone(),
            known_tenant,
        ));
    Router::new()
        .merge(tenant)
        .route("/control", post(control::control))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route(
            "/assets/authority.css",
            get(|| asset("text/css; charset=utf-8", pages::STYLE)),
        )
        .route(
            "/assets/form-post.js",
            get(|| asset("text/javascript; charset=utf-8", pages::FORM_POST_SCRIPT)),
        )
        .fallback(|| async { pages::error(StatusCode::NOT_FOUND, "There is nothing here.") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(authority.clone(), own_host))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::new())
        .with_state(authority)
}

async fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let nosniff = (HeaderName::from_static("x-content-type-options"), "nosniff");
    (
        [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "max-age=3600"),
            nosniff,
        ],
        text,
    )
}

/// Tenant id or domain in the path, or AADSTS90002.
async fn known_tenant(
    State(authority): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let directory = authority.directory();
    let segment = request
        .uri()
        .path()
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    if directory.is_tenant(segment) {
        request.extensions_mut().insert(Known(directory));
        return next.run(request).await;
    }
    let refusal = Refusal::invalid_request(
        90_002,
        "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
    );
    (
        refusal.status,
        Json(refusal.body(Trace::new(None), authority.now())),
    )
        .into_response()
}

/// Only requests to a name of this service: a page that rebinds its own name to a loopback address gets nowhere.
async fn own_host(State(authority): State<Shared>, request: Request, next: Next) -> Response {
    // HTTP/2 has the host in the URI, HTTP/1.1 in the header. RFC 9112 section 3.2: more than one Host is an error.
    let mut headers = request.headers().get_all(header::HOST).iter();
    let named = match (headers.next(), headers.next(), request.uri().authority()) {
        (Some(host), None, None) => host.to_str().ok().map(str::to_owned),
        (None, None, Some(uri)) => Some(uri.as_str().to_owned()),
        (Some(host), None, Some(uri)) => host
            .to_str()
            .ok()
            .filter(|host| host.eq_ignore_ascii_case(uri.as_str()))
            .map(str::to_owned),
        _ => None,
    };
    if named.is_some_and(|name| is_own_host(&authority, &name)) {
        return next.run(request).await;
    }
    tracing::info!("request to a foreign host refused");
    (
        StatusCode::MISDIRECTED_REQUEST,
        "This is not a name of this service.\n",
    )
        .into_response()
}

fn is_own_host(authority: &Authority, name: &str) -> bool {
    name.parse::<HostAndPort>().is_ok()
        && authority
            .hosts
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name))
}

/// Whether an `Origin` is this service.
pub(crate) fn is_own_origin(authority: &Authority, origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|origin| {
        origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
    });
    host.is_some_and(|host| is_own_host(authority, host))
}

/// Accepts connections until told to stop, then lets those that are being answered finish.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut listeners = listeners.into_iter();
    let next = |listener: Option<TcpListener>| {
        let (graceful, permits, router, stop) = (&graceful, &permits, &router, stop.clone());
        async move {
            if let Some(listener) = listener {
                accept(listener, router, graceful, permits, stop).await;
            }
        }
    };
    // At most two: `localhost` has two addresses.
    tokio::join!(next(listeners.next()), next(listeners.next()));
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await;
}

async fn accept(
    listener: TcpListener,
    router: &Router,
    graceful: &GracefulShutdown,
    permits: &Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let connection = async {
            let permit = permits.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = stopped(&mut stop) => return,
            connection = connection => connection,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would spin.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER_LIST as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_LIST)
            .max_concurrent_streams(128);
        let connection = builder
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            )
            .into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
}

/// Told to stop, or nobody is left who could tell.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
