//! Registering in a tenant and undoing it, against the local authority's Graph-like API.

#![cfg(test)]

mod harness;
mod story;
