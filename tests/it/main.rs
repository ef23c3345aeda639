//! Stories that cross the services, one module each.

mod browser;
mod rejects;
mod sign_in_and_step_up;
mod start_and_outage;
mod tidy;
