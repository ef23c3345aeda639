//! The commands about a tenant, and what they have in common.

pub(crate) mod doctor;
