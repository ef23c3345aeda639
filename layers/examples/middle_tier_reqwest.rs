//! A middle tier on axum and reqwest: `GET /api` is the next tier's `/api`, called On-Behalf-Of the caller.
//!
//! The environment is that of `middle_tier_hyper`; `cargo run -p tower-bearer --features axum,reqwest --example middle_tier_reqwest`.

#[path = "support/middle_tier.rs"]
mod support;

use std::error::Error;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{Request, Response};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_bearer::{
    CallError, CloneBody, HttpClient, OnBehalfOf, OnBehalfOfExt as _, Principal, Target,
};

/// A client whose every call carries a token of the caller for the next tier, and the URL that it calls.
type Next = (OnBehalfOf<HttpClient, CloneBody>, String);

async fn api(
    caller: Principal,
    State((next, url)): State<Next>,
) -> Result<Response<Body>, CallError> {
    let request = Request::get(url).body(String::new())?.on_behalf_of(&caller);
    // A challenge of the authority or of the next tier goes up by `?`; `protect` prints it as one of ours.
    let (head, body) = next.oneshot(request).await?.into_parts();
    Ok(Response::builder()
        .status(head.status)
        .body(Body::new(body))?)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = support::Settings::from_env();
    let url = format!("{}/api", settings.next);
    // On this machine no proxy of the environment may see the tokens.
    let client = HttpClient::new(reqwest::Client::builder().no_proxy())?;
    let next = settings
        .me
        .on_behalf_of([&*settings.next_scope], Target::origin(&settings.next)?)?
        .replay(CloneBody)
        .wrap(client);
    let protect = ServiceBuilder::new()
        .layer(settings.api.protect())
        .layer(settings.scope);
    let app = Router::new()
        .route("/api", get(api))
        .layer(protect)
        .with_state((next, url));

    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let stop = support::told_to_stop();
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;
    Ok(())
}
