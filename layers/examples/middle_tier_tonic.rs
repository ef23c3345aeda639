//! A middle tier on tonic: the gRPC health service, which asks that of the next tier On-Behalf-Of the caller.
//!
//! The environment is that of `middle_tier_hyper`, with a gRPC server as `NEXT` that has the health service, as `resource_server_tonic` has;
//! `cargo run -p tower-bearer --features tonic --example middle_tier_tonic`.

#[path = "support/middle_tier.rs"]
mod support;

use std::error::Error;

use futures_util::stream::{Empty, empty};
use tokio::net::TcpListener;
use tonic::service::LayerExt as _;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_bearer::{OnBehalfOf, OnBehalfOfExt as _, Principal, Target};

/// A generated client whose every call carries a token of the caller for the next tier.
struct MiddleTier(HealthClient<OnBehalfOf<Channel>>);

#[tonic::async_trait]
impl Health for MiddleTier {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = request.extensions().get::<Principal>().cloned();
        let caller = caller.ok_or_else(|| Status::internal("no caller"))?;
        let request = Request::new(request.into_inner()).on_behalf_of(&caller);
        // A challenge of the authority or of the next tier goes up by `?`; `protect` prints it as one of ours.
        let answer = self.0.clone().check(request).await?;
        // Not the next tier's metadata.
        Ok(Response::new(answer.into_inner()))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(empty()))
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = support::Settings::from_env();
    // Above a channel a request names no origin: the channel itself is bound to one.
    let next = settings
        .me
        .on_behalf_of([&*settings.next_scope], Target::bound_client())?
        .wrap(Endpoint::from_shared(settings.next)?.connect_lazy());
    let health = HealthServer::new(MiddleTier(HealthClient::new(next)));

    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
    let stop = support::told_to_stop();
    println!("listening on http://{}", listener.local_addr()?);
    Server::builder()
        .layer(settings.api.protect())
        .add_service(settings.scope.named_layer(health))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await?;
    Ok(())
}
