//! Calls that leave this service: one deadline, no redirects, and never more of an answer than expected.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::Url;

use crate::loopback::is_loopback;
use crate::trust::Trust;

/// Why there is no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The connection broke after something was sent, or the answer is not HTTP.
    #[error("the connection broke")]
    Broken,
    #[error("the answer is too large")]
    TooLarge,
    #[error("no answer in time")]
    TimedOut,
    /// No connection, so nothing was sent.
    #[error("not reachable")]
    Unreachable,
}

/// A client for one service. A proxy from the environment never gets to see a call to this machine.
pub(super) fn client(target: &Url, timeout: Duration, trust: &Trust) -> reqwest::Result<Client> {
    let builder = trust
        .http(Client::builder())
        .redirect(Policy::none())
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(5)));
    if is_loopback(target) {
        builder.no_proxy().build()
    } else {
        builder.build()
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Bytes, NoAnswer> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(NoAnswer::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> Self {
        match error {
            error if error.is_connect() => Self::Unreachable,
            error if error.is_timeout() => Self::TimedOut,
            _ => Self::Broken,
        }
    }
}
