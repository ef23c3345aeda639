//! The smallest resource server, on tonic: the gRPC health service, for callers whose token has the scope.
//!
//! ```sh
//! PORT=8080 ISSUER=https://login.example AUDIENCE=api://orders SCOPE=read \
//!     cargo run --release -p tower-bearer --features tonic --example resource_server_tonic
//! ```

mod support;

use std::error::Error;

use tokio::net::TcpListener;
use tonic::service::LayerExt as _;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::health_reporter;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = support::Settings::from_env();
    let (_reporter, health) = health_reporter();

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
