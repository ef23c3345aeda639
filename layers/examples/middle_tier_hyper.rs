//! A middle tier on plain hyper, client and server: `GET /api` is the next tier's `/api`, called On-Behalf-Of the caller.
//!
//! ```sh
//! PORT=8081 INSTANCE=https://login.microsoftonline.com TENANT=<id> CLIENT_ID=<id> CLIENT_SECRET=<secret> SCOPE=access_as_user \
//!     NEXT=http://localhost:7000 NEXT_SCOPE=api://orders/.default cargo run --release -p tower-bearer --example middle_tier_hyper
//! ```
//!
//! `CLIENT_ID` is the application that this program is: what tokens are accepted for, and who asks for those of the next tier.

#[path = "support/middle_tier.rs"]
mod support;

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;

use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{CallError, CloneBody, OnBehalfOf, OnBehalfOfExt as _, Principal, Target};

/// A client whose every call carries a token of the caller for the next tier. For https: `hyper_rustls::HttpsConnector`.
type Next = OnBehalfOf<Client<HttpConnector, Full<Bytes>>, CloneBody>;
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

async fn api(
    next: Next,
    url: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, CallError> {
    let caller = request.extensions().get::<Principal>().ok_or("no caller")?;
    let request = Request::get(url)
        .body(Full::default())?
        .on_behalf_of(caller);
    // A challenge of the authority or of the next tier goes up by `?`; `protect` prints it as one of ours.
    let (head, body) = next.oneshot(request).await?.into_parts();
    Ok(Response::builder()
        .status(head.status)
        .body(body.boxed_unsync())?)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = support::Settings::from_env();
    let url = format!("{}/api", settings.next);
    let next: Next = settings
        .me
        .on_behalf_of([&*settings.next_scope], Target::origin(&settings.next)?)?
        .replay(CloneBody)
        .wrap(Client::builder(TokioExecutor::new()).build_http());
    let service = ServiceBuilder::new()
        .layer(settings.api.protect())
        .layer(settings.scope)
        .service(service_fn(move |request| {
            let answer = api(next.clone(), url.clone(), request);
            async { Ok::<_, Infallible>(answer.await.unwrap_or_else(CallError::into_response)) }
        }));

    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let mut stop = pin!(support::told_to_stop());
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut stop => return Ok(()),
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await
        });
    }
}
