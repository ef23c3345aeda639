//! One bounded question to another server: a deadline, no redirects, the beginning of an answer, and words instead of an error.

use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use url::Url;

use crate::outbound;
use crate::trust::Trust;

/// Sign-in pages are long; what we look for stands in their first part.
const LIMIT: usize = 512 * 1024;

/// A client for one server.
#[derive(Clone)]
pub(super) struct Probe {
    http: Client,
    deadline: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// At most [`LIMIT`] bytes of it.
    body: Vec<u8>,
}

/// Nothing came back, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Nothing listens there.
    Refused,
    /// No CA that is trusted here has certified it.
    Untrusted,
    /// Its certificate is for another name.
    Misnamed,
    /// Its certificate has ended.
    Ended,
    /// Another reason, in words that go on from "the server".
    Other(String),
}

impl Probe {
    /// `None` if no client can be made, for lack of certificates to trust.
    pub(super) fn new(target: &Url, trust: &Trust, deadline: Duration) -> Option<Self> {
        let http = outbound::client(&[target], deadline, trust).ok()?;
        Some(Self { http, deadline })
    }

    pub(super) async fn ask(
        &self,
        question: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<Answer, NoAnswer> {
        let failed = |error: reqwest::Error| self.why(&error);
        let mut response = question(&self.http).send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while body.len() < LIMIT {
            match response.chunk().await.map_err(failed)? {
                Some(chunk) => body.extend_from_slice(&chunk),
                None => break,
            }
        }
        body.truncate(LIMIT);
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// The error's own text names the URL, whose query may say more than the terminal needs; only its causes are read.
    fn why(&self, error: &reqwest::Error) -> NoAnswer {
        let mut causes = String::new();
        let mut cause = error.source();
        while let Some(next) = cause {
            causes.push_str(&next.to_string().to_ascii_lowercase());
            causes.push(' ');
            cause = next.source();
        }
        let says = |words: &[&str]| words.iter().any(|word| causes.contains(word));
        if error.is_timeout() {
            NoAnswer::Other(format!(
                "does not answer within {} seconds",
                self.deadline.as_secs()
            ))
        } else if says(&["not valid for name", "notvalidforname"]) {
            NoAnswer::Misnamed
        } else if says(&["certificate expired", "certexpired", "certificate: expired"]) {
            NoAnswer::Ended
        } else if says(&["certificate", "unknownissuer"]) {
            NoAnswer::Untrusted
        } else if says(&["dns", "lookup"]) {
            NoAnswer::Other(
                "has a name that is not known here: check the spelling and the network".into(),
            )
        } else if says(&["refused"]) {
            NoAnswer::Refused
        } else if error.is_connect() {
            NoAnswer::Other("cannot be connected to".into())
        } else {
            NoAnswer::Other(
                "breaks the connection, or speaks another protocol (https on a port of http, say)"
                    .into(),
            )
        }
    }
}

impl NoAnswer {
    /// Goes on from "the server".
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Refused => "does not listen there",
            Self::Untrusted => "has a certificate that this machine does not trust",
            Self::Misnamed => "has a certificate for another name",
            Self::Ended => "has a certificate that has expired",
            Self::Other(words) => words,
        }
    }

    /// The way on, where `key` of the configuration leads to the server.
    pub(super) fn mend(&self, key: &str) -> String {
        match self {
            Self::Refused => {
                format!("check `{key}`; if it is right, start what should listen there")
            }
            Self::Untrusted => format!(
                "set `ca_file` to the certificate (PEM) of the CA that has certified it, if that is a private one of yours; else something \
                 else than `{key}` means has answered"
            ),
            Self::Misnamed => format!("write the name in `{key}` that the certificate is for"),
            Self::Ended => {
                "have the certificate renewed there; check the clock of this machine".to_owned()
            }
            Self::Other(_) => format!("check `{key}` and the network"),
        }
    }

    /// It listens and speaks TLS, but this machine does not believe that it is the one.
    pub(super) fn is_of_certificate(&self) -> bool {
        matches!(self, Self::Untrusted | Self::Misnamed | Self::Ended)
    }
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
