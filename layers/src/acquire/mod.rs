//! Tokens for the next tier: who we are at the authority, what we ask it for, and what we keep of its answers.

mod answer;
mod breaker;
mod cache;
mod client;
mod credential;
mod error;
mod exchange;
mod flights;
mod grant;
mod long_running;
mod wanted;

pub(crate) use self::answer::ExchangeError;
pub(crate) use self::client::Acquired;
pub use self::client::ConfidentialClient;
pub use self::credential::{
    AssertionFuture, AssertionRequest, Certificate, ClientAssertion, Credential,
};
pub use self::error::{OnBehalfOfError, OnBehalfOfErrorKind};
pub use self::long_running::LongRunning;
pub(crate) use self::wanted::{Refused, Requested, Subject, Wanted};
