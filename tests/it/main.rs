//! Stories that cross the services, one module each.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, with the place and the reason"
)]

mod authority_pages;
mod browser;
mod flows;
mod graph_bodies;
mod grpc;
mod https_demo;
mod msal;
mod picture;
mod profile;
mod profile_page;
mod rejects;
mod revoke_me;
mod samples_way;
mod sign_in_and_step_up;
mod start_and_outage;
mod tenant;
mod tidy;
mod two_tabs;
mod web_attacks;
mod what_reaches_downstream;
