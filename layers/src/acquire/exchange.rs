//! One token request: the shell around what is sent ([`grant`](super::grant)) and what its answer means ([`answer`](super::answer)).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_TYPE};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use url::Url;
use url::form_urlencoded::Serializer;

use super::answer::{ExchangeError, Identity, Issued, Presented, Received};
use super::credential::{Credential, Proof};
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::grant::{Dialect, Grant};
use super::pause::{Attempt, Change, Pause, random};
use super::wanted::Requested;
use crate::claims::ClaimsRequest;
use crate::error::causes;
use crate::telemetry;

/// Longest body of a token response.
const MAX_BODY: usize = 256 * 1024;
/// The header under which Entra takes a client's own id of a request, a GUID, and returns it in its answer.
const CLIENT_REQUEST_ID: &str = "client-request-id";

/// What one exchange needs.
pub(super) struct Exchange<'a> {
    pub(super) http: &'a reqwest::Client,
    /// For the proof of who we are; the client has its own.
    pub(super) timeout: Duration,
    pub(super) token_endpoint: &'a Url,
    /// When the token endpoint is left alone.
    pub(super) pause: &'a Mutex<Pause>,
    pub(super) client_id: &'a str,
    pub(super) credential: &'a Credential,
    pub(super) dialect: Dialect,
    pub(super) grant: Grant<'a>,
    pub(super) requested: &'a Requested,
    pub(super) claims: Option<&'a ClaimsRequest>,
    /// Whom the token must be for.
    pub(super) identity: &'a Identity,
    pub(super) presented: Presented,
    pub(super) correlation_id: Option<HeaderValue>,
    pub(super) now: u64,
}

impl Exchange<'_> {
    pub(super) async fn run(&self) -> Result<Issued, ExchangeError> {
        let id = self.correlation_id.as_ref();
        let span = tracing::info_span!(
            "token_request",
            grant = self.grant.name(),
            correlation_id = id.and_then(|id| id.to_str().ok()),
        );
        let started = Instant::now();
        let outcome = self.attempt().instrument(span).await;
        telemetry::token_request(
            self.grant.name(),
            match &outcome {
                Ok(_) => "issued",
                Err(ExchangeError::Challenge { .. }) => "challenge",
                Err(ExchangeError::Other(error)) => error.kind().name(),
            },
            started.elapsed(),
        );
        outcome
    }

    async fn attempt(&self) -> Result<Issued, ExchangeError> {
        let attempt = self.pause().attempt(Instant::now()).map_err(|wait| {
            tracing::debug!(
                kind = "authority_left_alone",
                "the token endpoint failed too often and is not asked now"
            );
            ExchangeError::Other(OnBehalfOfError::unavailable(seconds(wait)))
        })?;
        let proof = self.proof().await?;
        let received = match self.send(&proof).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(
                    kind = "authority_unreachable",
                    cause = %causes(&error),
                    "the token endpoint could not be reached"
                );
                self.failed(attempt, None);
                return Err(ExchangeError::Other(OnBehalfOfError::unavailable(1)));
            }
        };
        let outcome = received.read(self.identity, self.presented, self.now);
        match &outcome {
            Err(ExchangeError::Other(error)) => match error.kind() {
                OnBehalfOfErrorKind::Unavailable => {
                    self.failed(attempt, received.asks_to_wait().map(Duration::from_secs));
                }
                // A proxy's page, perhaps.
                OnBehalfOfErrorKind::MalformedAnswer => self.failed(attempt, None),
                // Who is throttled has been answered as well; for how long is his business alone.
                _ => self.answered(attempt),
            },
            _ => self.answered(attempt),
        }
        outcome
    }

    fn answered(&self, attempt: Attempt) {
        self.pause().succeeded(attempt);
    }

    fn failed(&self, attempt: Attempt, asked: Option<Duration>) {
        let change = self
            .pause()
            .failed(attempt, Instant::now(), asked, random());
        if let Some(Change::Failed { pause }) = change {
            tracing::warn!(
                kind = "authority_failing",
                pause_ms = pause.as_millis(),
                "the token endpoint fails and is left alone between probes"
            );
        }
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn proof(&self) -> Result<Proof, ExchangeError> {
        let prove = self
            .credential
            .prove(self.client_id, self.token_endpoint, self.now);
        timeout(self.timeout, prove)
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|error| {
                tracing::error!(
                    kind = "credential_unavailable",
                    cause = %causes(error.as_ref()),
                    "this client cannot prove who it is"
                );
                ExchangeError::Other(OnBehalfOfError::unavailable(1))
            })
    }

    fn form(&self, proof: &Proof) -> String {
        let fields = self.grant.fields(self.dialect, self.requested, self.claims);
        Serializer::new(String::new())
            .append_pair("client_id", self.client_id)
            .extend_pairs(proof.fields())
            .extend_pairs(fields)
            .finish()
    }

    async fn send(&self, proof: &Proof) -> Result<Received, reqwest::Error> {
        let mut request = self
            .http
            .post(self.token_endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form(proof));
        if let Some(id) = &self.correlation_id {
            request = request.header(CLIENT_REQUEST_ID, id);
        }
        let mut response = request.send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY {
                // What is too long is no answer, whatever it begins with.
                body.clear();
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Received::new(response.status(), response.headers(), body))
    }
}

/// Whole seconds, at least one.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn form_escapes_everything() {
        let credential = Credential::secret("s&=%+").unwrap();
        let claims = ClaimsRequest::from_json(r#"{"access_token":{"a&b=c%+":null}}"#).unwrap();
        let exchange = Exchange {
            http: &reqwest::Client::new(),
            timeout: Duration::from_secs(5),
            token_endpoint: &Url::parse("https://as.example/token").unwrap(),
            pause: &Mutex::new(Pause::new(1, Duration::ZERO, Duration::ZERO)),
            client_id: "me",
            credential: &credential,
            dialect: Dialect::Standard,
            grant: Grant::Exchange {
                assertion: "a.b.c",
                offline: false,
            },
            requested: &Requested::scopes(["api://y/.default"]).unwrap(),
            claims: Some(&claims),
            identity: &Identity::default(),
            presented: Presented::Nothing,
            correlation_id: None,
            now: 1000,
        };
        let proof = exchange.proof().await.unwrap();
        let form = exchange.form(&proof);
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes())
            .into_owned()
            .collect();
        for (name, value) in [
            ("client_id", "me"),
            ("client_secret", "s&=%+"),
            ("subject_token", "a.b.c"),
            ("scope", "api://y/.default"),
            ("claims", claims.as_str()),
        ] {
            let sent: Vec<&str> = fields
                .iter()
                .filter(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
                .collect();
            assert_eq!(sent, [value], "{name}");
        }
    }

    #[test]
    fn waits_are_told_in_whole_seconds() {
        for (milliseconds, told) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), told);
        }
    }
}
