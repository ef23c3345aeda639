//! Tokens for the next tier: who we are at the authority, what we ask it for, and what we keep of its answers.

mod cache;
mod client;
mod credential;
mod error;
mod exchange;

pub use self::client::ConfidentialClient;
pub(crate) use self::client::Wanted;
pub use self::credential::{
    AssertionFuture, AssertionRequest, Certificate, ClientAssertion, Credential,
};
pub use self::error::{OnBehalfOfError, OnBehalfOfErrorKind};
pub(crate) use self::exchange::ExchangeError;
