//! The whole story on one machine: SPA backend, middle tier, downstream API and the local authority.

pub mod config;
pub mod daemon;
pub mod demo;
pub mod downstream_api;
pub mod downstream_rpc;
pub mod flow_events;
pub mod forwarded;
pub mod health;
pub mod host_guard;
pub mod how_to_trust;
mod lists;
mod loopback;
pub mod middle_tier;
pub mod outbound;
pub mod peers;
pub mod plain_file;
pub mod problem;
mod random;
pub mod revocations;
pub mod routes;
mod samples_way;
pub mod spa_backend;
pub mod tame;
pub mod tenant;
pub mod trust;
