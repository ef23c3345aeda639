//! `doctor` against the local authority: in each test one thing is wrong, and without it nothing is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests fail by panicking"
)]

mod authority;
mod command;
mod external_id;
mod files;
mod graph;
mod graph_answers;
mod machine;
mod stage;
mod token;
