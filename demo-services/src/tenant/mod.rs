//! The demo in a tenant of Microsoft Entra: what is created there through Microsoft Graph, and how it is removed again.

pub mod doctor;
pub mod graph;
pub mod local;
mod merge;
pub mod plan;
pub mod progress;
pub mod record;
pub mod register;
pub mod report;
pub mod unregister;
