//! Registering in a tenant and undoing it, against the local authority's Graph-like API.

#![cfg(test)]

mod answers;
mod crashes;
mod files;
mod harness;
mod interrupted;
mod refused;
mod sent;
mod story;
mod undone;
