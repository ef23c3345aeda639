//! Calls that leave this service: one deadline, no redirects, and never more of an answer than expected.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use url::Url;

use crate::loopback::is_loopback;
use crate::trust::Trust;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
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

/// A client for these servers: follows no redirect, which could carry a token or a secret elsewhere, and gives up after `timeout`.
///
/// A proxy from the environment would see tokens of plain http in clear and does not reach this machine: it is used for neither.
///
/// # Errors
///
/// TLS cannot be set up.
pub fn client(targets: &[&Url], timeout: Duration, trust: &Trust) -> reqwest::Result<Client> {
    let settings = settings(targets, trust)
        .timeout(timeout)
        .connect_timeout(timeout.min(CONNECT));
    settings.build()
}

/// The same before its times are set.
pub(crate) fn settings(targets: &[&Url], trust: &Trust) -> ClientBuilder {
    let settings = trust.http(Client::builder()).redirect(Policy::none());
    let direct = |target: &&Url| target.scheme() == "http" || is_loopback(target);
    if targets.iter().any(direct) {
        settings.no_proxy()
    } else {
        settings
    }
}

/// Why the server's certificate is not taken, in at most 200 letters, if that is what stands in the way.
#[must_use]
pub fn certificate_problem(error: &(dyn Error + 'static)) -> Option<String> {
    // As rustls says it. Its error is behind those of three libraries and an `io::Error`, which shows it and does not give it away.
    const BEFORE: &str = "invalid peer certificate: ";
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if let Some((_, why)) = text.split_once(BEFORE) {
            // A name in it is the peer's.
            let why = why.chars().filter(|letter| !letter.is_control());
            return Some(why.take(200).collect());
        }
        cause = error.source();
    }
    None
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(mut response: Response, limit: usize) -> Result<Bytes, NoAnswer> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn why_a_certificate_is_not_taken_is_found_among_the_causes() {
        let of = |text: &str| certificate_problem(&Outer(std::io::Error::other(text.to_owned())));
        let why = of("invalid peer certificate: Unknown\u{1b}Issuer");
        assert_eq!(why.as_deref(), Some("UnknownIssuer"));
        assert_eq!(of("connection refused"), None);
        let long = of(&format!("invalid peer certificate: {}", "x".repeat(300)));
        assert_eq!(long.map(|why| why.len()), Some(200));
    }
}
