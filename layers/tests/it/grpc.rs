//! The same layers around a tonic server and a tonic channel.

use std::net::SocketAddr;

use serde_json::json;
use tokio::net::TcpListener;
use tonic::service::LayerExt as _;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_bearer::{Credential, OnBehalfOf, OnBehalfOfExt, Principal, RequireScopeLayer, Target};

use crate::support::*;

/// A stream that no test reads.
type Watch = futures_util::stream::Empty<Result<HealthCheckResponse, Status>>;

/// Calls the next tier, if there is one, as its caller; else demands a context itself.
#[derive(Clone)]
struct Tier {
    next: Option<HealthClient<OnBehalfOf<Channel>>>,
}

#[tonic::async_trait]
impl Health for Tier {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = request
            .extensions()
            .get::<Principal>()
            .cloned()
            .ok_or_else(|| Status::internal("no principal"))?;
        match &self.next {
            Some(next) => {
                next.clone()
                    .check(Request::new(request.into_inner()).on_behalf_of(&caller))
                    .await
            }
            None => {
                caller.require_auth_context("c1")?;
                Ok(Response::new(HealthCheckResponse::default()))
            }
        }
    }

    type WatchStream = Watch;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        Err(Status::unimplemented(""))
    }
}

async fn serve(world: &World, tier: Tier) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = RequireScopeLayer::new("read")
        .unwrap()
        .named_layer(HealthServer::new(tier));
    let server = Server::builder()
        .layer(world.api.protect())
        .add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn check(address: SocketAddr, token: Option<&str>) -> Result<(), Status> {
    let mut client = HealthClient::new(channel(address).await);
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    client.check(request).await.map(drop)
}

fn challenge_of(status: &Status) -> &str {
    status
        .metadata()
        .get("www-authenticate")
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn refusals_and_own_challenge_over_grpc() {
    let world = World::new();
    let address = serve(&world, Tier { next: None }).await;
    let rows = [
        ("valid", json!({"acrs": ["c1"]}), Code::Ok, ""),
        (
            "wrong audience",
            json!({"aud": "x"}),
            Code::Unauthenticated,
            "error=\"invalid_token\"",
        ),
        (
            "no scope",
            json!({"scp": "x"}),
            Code::PermissionDenied,
            "error=\"insufficient_scope\", scope=\"read\"",
        ),
        ("no context", json!({}), Code::Unauthenticated, C1_BASE64),
        (
            "no context, not capable",
            json!({"xms_cc": null}),
            Code::PermissionDenied,
            "",
        ),
    ];
    for (name, changes, code, text) in rows {
        let status = check(address, Some(&world.token(changes)))
            .await
            .err()
            .unwrap_or_else(|| Status::ok(""));
        assert_eq!(status.code(), code, "{name}");
        assert!(
            challenge_of(&status).contains(text),
            "{name}: {}",
            challenge_of(&status)
        );
    }
    let anonymous = check(address, None).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    assert_eq!(
        challenge_of(&anonymous),
        format!("Bearer realm=\"{TENANT}\"")
    );
}

#[tokio::test]
async fn relay_from_grpc_to_grpc_prints_its_own_challenge() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    // The token that the middle tier gets lacks the context, and the authority demands interaction for it.
    endpoint.on("acrs", interaction_required(C1)).await;
    endpoint
        .on(
            "jwt-bearer",
            issued(&world.token(json!({"jti": "downstream"}))),
        )
        .await;
    let down = serve(&world, Tier { next: None }).await;
    let client = world
        .authority
        .client(CLIENT, Credential::secret("x").unwrap())
        .unwrap();
    let on_behalf_of = client.on_behalf_of(["a"], Target::bound_client()).unwrap();
    let next = HealthClient::new(on_behalf_of.wrap(channel(down).await));
    let middle = serve(&world, Tier { next: Some(next) }).await;

    let status = check(middle, Some(&world.token(json!({}))))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        challenge_of(&status).contains(C1_BASE64),
        "{}",
        challenge_of(&status)
    );
    assert!(challenge_of(&status).contains(&format!("client_id=\"{CLIENT}\"")));
    assert_eq!(
        status.message(),
        "",
        "no text of the authority or of an error reaches the caller"
    );
}
