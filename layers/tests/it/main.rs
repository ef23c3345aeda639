//! The layers over real tower services, clients and servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod acquisition;
mod attack;
mod board;
#[path = "../../src/campaign.rs"]
mod campaign;
mod compositions;
mod credentials;
mod examples;
mod extraction;
mod faults;
mod first_party;
mod floods;
mod four_tiers;
mod grpc;
mod isolation;
mod keys;
mod lifecycle;
mod long_running;
mod on_behalf_of;
mod protected_resource;
mod readiness;
mod redis;
#[path = "../../src/acquire/redis/server.rs"]
mod redis_server;
mod relay;
mod replay;
mod resource_server;
mod revocation;
mod routes;
mod runtimes;
mod scripted;
mod several_authorities;
mod shared_tokens;
mod step_ups;
mod support;
mod telemetry;
mod tenants;
mod tls;
mod token_exchange;
mod tokens;
mod verified_tokens;
