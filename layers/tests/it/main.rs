//! The layers over real tower services, clients and servers.

mod compositions;
mod grpc;
mod keys;
mod on_behalf_of;
mod readiness;
mod relay;
mod resource_server;
mod support;
