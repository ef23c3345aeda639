//! An authorization request and where its answer goes: what the endpoint reads, and what the stores keep of it.

mod kept;
mod reply;
mod request;

pub(crate) use kept::KeptRequest;
pub(crate) use request::{
    AuthorizeRequest, Prompt, Redirect, RedirectKind, Rejected, redirect_uri_mismatch, registered,
};
