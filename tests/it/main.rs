//! Stories that cross the services, one module each.

#![allow(clippy::print_stderr, reason = "a skipped story says so")]

mod tidy;
