//! The smallest resource server, on axum: `GET /api` for callers whose token has the scope.
//!
//! ```sh
//! PORT=8080 ISSUER=https://login.example AUDIENCE=api://orders SCOPE=read \
//!     cargo run --release -p tower-bearer --features axum --example resource_server_axum
//! ```

mod support;

use std::io;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_bearer::{CallError, Principal};

#[derive(Serialize)]
struct Caller<'a> {
    sub: Option<&'a str>,
}

async fn api(caller: Principal) -> Result<impl IntoResponse, CallError> {
    let sub = caller.subject();
    let body = serde_json::to_vec(&Caller { sub })?;
    Ok(([(CONTENT_TYPE, "application/json")], body))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command says where it listens")]
async fn main() -> io::Result<()> {
    let settings = support::Settings::from_env();
    let protect = ServiceBuilder::new()
        .layer(settings.api.protect())
        .layer(settings.scope);
    let app = Router::new().route("/api", get(api)).layer(protect);

    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let stop = support::told_to_stop();
    println!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
}
