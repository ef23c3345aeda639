//! The demo in a tenant of Microsoft Entra: what is created there through Microsoft Graph, and how it is removed again.

pub mod cloud;
pub mod configure;
pub mod credential_files;
pub mod disk;
pub mod doctor;
pub mod files;
pub mod graph;
mod merge;
pub mod plan;
pub mod progress;
pub mod record;
pub mod register;
pub mod report;
pub mod sign_in;
pub mod stop;
pub mod tenant_id;
pub mod unregister;
mod whose;
