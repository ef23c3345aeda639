//! The layers over real tower services, clients and servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod compositions;
mod credentials;
mod examples;
mod grpc;
mod keys;
mod on_behalf_of;
mod readiness;
mod relay;
mod resource_server;
mod support;
mod tenants;
mod verified_tokens;
