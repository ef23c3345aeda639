//! Tokens for the next tier: who we are at the authority, what we ask it for, and what we keep of its answers.
//!
//! `cache` is the first level, of one process. The second one is shared by several: `store` is its seam and `redis` one
//! implementation, `sealing` is what it gets to see, `shared` is how it is used, and `pause` when it is left alone.

pub(crate) mod answer;
pub(crate) mod cache;
mod client;
mod credential;
mod error;
mod exchange;
mod flights;
mod grant;
mod long_running;
mod obtain;
mod pause;
#[cfg(feature = "redis")]
mod redis;
mod sealing;
mod shared;
mod store;
mod wanted;

#[cfg(test)]
mod scripted_store;

pub(crate) use self::answer::ExchangeError;
pub use self::client::ConfidentialClient;
pub use self::credential::{
    AssertionFuture, AssertionRequest, Certificate, ClientAssertion, Credential,
};
pub use self::error::{OnBehalfOfError, OnBehalfOfErrorKind};
pub use self::long_running::LongRunning;
pub(crate) use self::obtain::Acquired;
pub use self::obtain::TokenSource;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use self::sealing::SealingKeys;
pub use self::shared::SharedTokens;
pub use self::store::{StoreFuture, TokenStore};
pub(crate) use self::wanted::{Refused, Requested, Subject, Wanted};
