//! The harness of the stories in `it/`: all services in one process on free ports, a person with a browser's cookie
//! rules and no browser, and a real Chromium.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a harness fails the test by panicking, with the place and the reason"
)]

pub mod browser;
pub mod challenge;
pub mod cookies;
pub mod door;
pub mod graph_fields;
pub mod html;
pub mod person;
pub mod visitor;
pub mod world;
