//! Tokens for the next tier: who we are at the authority, what we ask it for, and what we keep of its answers.
//!
//! `cache` is the first level, of one process. The second one is shared by several: `store` is its seam and `redis` one
//! implementation, `sealing` is what it gets to see, `shared` is how it is used, and `pause` when it is left alone.

mod cache;
mod client;
mod credential;
mod error;
mod exchange;
mod pause;
#[cfg(feature = "redis")]
mod redis;
mod sealing;
#[cfg_attr(not(test), expect(dead_code, reason = "the client is about to use it"))]
mod shared;
mod store;

#[cfg(test)]
mod scripted_store;

pub use self::client::ConfidentialClient;
pub(crate) use self::client::Wanted;
pub use self::credential::{
    AssertionFuture, AssertionRequest, Certificate, ClientAssertion, Credential,
};
pub use self::error::{OnBehalfOfError, OnBehalfOfErrorKind};
pub(crate) use self::exchange::ExchangeError;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use self::sealing::SealingKeys;
pub use self::shared::SharedTokens;
pub use self::store::{StoreFuture, TokenStore};
