//! The whole story on one machine: SPA backend, middle tier, downstream API and the local authority.

pub mod config;
pub mod spa_backend;
