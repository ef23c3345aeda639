//! The demo in a tenant of Microsoft Entra: what is created there through Microsoft Graph, and how it is removed again.

pub mod doctor;
pub mod local;
pub mod plan;
pub mod record;
