//! The smallest resource server, on plain hyper: `GET /api` for callers whose token has the scope.
//!
//! ```sh
//! PORT=8080 ISSUER=https://login.example AUDIENCE=api://orders SCOPE=read cargo run --release -p tower-bearer --example resource_server
//! ```
//!
//! `METADATA_URL` is for an issuer whose metadata stand elsewhere than under `<issuer>/.well-known/openid-configuration`.

mod support;

use std::io;
use std::pin::pin;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::{ServiceBuilder, service_fn};
use tower_bearer::Principal;

#[derive(Serialize)]
struct Caller<'a> {
    sub: Option<&'a str>,
}

async fn api(request: Request<Incoming>) -> serde_json::Result<Response<Full<Bytes>>> {
    let caller = request.extensions().get::<Principal>();
    let mut response = Response::<Full<Bytes>>::default();
    if let (&Method::GET, "/api", Some(caller)) = (request.method(), request.uri().path(), caller) {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        let sub = caller.subject();
        *response.body_mut() = serde_json::to_vec(&Caller { sub })?.into();
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command says where it listens")]
async fn main() -> io::Result<()> {
    let settings = support::Settings::from_env();
    let service = ServiceBuilder::new()
        .layer(settings.api.protect())
        .layer(settings.scope)
        .service(service_fn(api));

    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let mut stop = pin!(support::told_to_stop());
    println!("listening on http://{}", listener.local_addr()?);
    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files: some of them will be closed.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(service.clone());
        let connection = server
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        tokio::spawn(connections.watch(connection));
    }
    connections.shutdown().await;
    Ok(())
}
