//! Refusals in Entra's words: an OAuth error code, an AADSTS number, and where it helps a `suberror` and `claims`.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock;
use crate::form;

/// Why a request is refused, before it is written as JSON or into a redirect.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) code: u32,
    text: String,
    suberror: Option<&'static str>,
    pub(crate) claims: Option<Value>,
}

/// The names under which one request can be found again.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trace {
    pub(crate) trace_id: Uuid,
    pub(crate) correlation_id: Uuid,
}

impl Trace {
    /// A new trace, correlated with the client's `client-request-id` when that is a GUID.
    pub(crate) fn new(client_request_id: Option<&str>) -> Self {
        let correlation_id = client_request_id
            .and_then(form::guid)
            .unwrap_or_else(Uuid::new_v4);
        Self {
            trace_id: Uuid::new_v4(),
            correlation_id,
        }
    }
}

impl Refusal {
    pub(crate) fn new(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            code,
            text: text.into(),
            suberror: None,
            claims: None,
        }
    }

    /// The same refusal under another OAuth error code: `/authorize` has its own.
    pub(crate) fn error(mut self, error: &'static str) -> Self {
        self.error = error;
        self
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn suberror(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    pub(crate) fn claims(mut self, claims: Value) -> Self {
        self.claims = Some(claims);
        self
    }

    pub(crate) fn invalid_request(code: u32, text: impl Into<String>) -> Self {
        Self::new("invalid_request", code, text)
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::invalid_request(
            900_144,
            format!("The request body must contain the following parameter: '{parameter}'."),
        )
    }

    pub(crate) fn invalid_grant(code: u32, text: impl Into<String>) -> Self {
        Self::new("invalid_grant", code, text)
    }

    pub(crate) fn invalid_client(code: u32, text: impl Into<String>) -> Self {
        Self::new("invalid_client", code, text).status(StatusCode::UNAUTHORIZED)
    }

    pub(crate) fn consent_required() -> Self {
        Self::new("invalid_grant", 65_001, "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource.").suberror("consent_required")
    }

    /// The session was revoked: sign in again, after the revocation.
    pub(crate) fn revoked(at: u64) -> Self {
        Self::invalid_grant(
            50_173,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed.",
        )
        .suberror("bad_token")
        .claims(
            json!({ "access_token": { "nbf": { "essential": true, "value": at.to_string() } } }),
        )
    }

    pub(crate) fn server_error() -> Self {
        Self::new(
            "server_error",
            90_033,
            "A transient error has occurred. Please try again.",
        )
        .status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The sentence with its ids, as Entra puts it into `error_description`.
    pub(crate) fn description(&self, trace: Trace, now: u64) -> String {
        let Trace {
            trace_id,
            correlation_id,
        } = trace;
        format!(
            "AADSTS{}: {} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {}",
            self.code,
            self.text,
            clock::timestamp(now)
        )
    }

    /// The sentence alone, for a person.
    pub(crate) fn sentence(&self) -> String {
        format!("AADSTS{}: {}", self.code, self.text)
    }

    /// The JSON body of the token endpoint of the authority at `base`. `claims` is a JSON **string**.
    pub(crate) fn body(&self, trace: Trace, now: u64, base: &str) -> Value {
        let mut body = Map::new();
        body.insert("error".into(), self.error.into());
        body.insert(
            "error_description".into(),
            self.description(trace, now).into(),
        );
        body.insert("error_codes".into(), json!([self.code]));
        body.insert("timestamp".into(), clock::timestamp(now).into());
        body.insert("trace_id".into(), trace.trace_id.to_string().into());
        body.insert(
            "correlation_id".into(),
            trace.correlation_id.to_string().into(),
        );
        let uri = format!("{base}/error?code={}", self.code);
        body.insert("error_uri".into(), uri.into());
        if let Some(suberror) = self.suberror {
            body.insert("suberror".into(), suberror.into());
        }
        if let Some(claims) = &self.claims {
            body.insert("claims".into(), claims.to_string().into());
        }
        Value::Object(body)
    }
}

/// What a request named, for a sentence: printable ASCII, at most 128 bytes of it.
pub(crate) fn named(text: &str) -> String {
    let mut letters = text.chars();
    let mut shown: String = letters
        .by_ref()
        .take(128)
        .map(|letter| {
            if letter.is_ascii_graphic() && letter != '\'' {
                letter
            } else {
                '?'
            }
        })
        .collect();
    if letters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// Neither tokens nor pages are for caches.
pub(crate) fn no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_the_one_of_entra() {
        let trace = Trace::new(Some("0d1c0000-0000-4000-8000-000000000001"));
        let body = Refusal::revoked(1_604_106_651).body(trace, 1_795_319_366, "http://h");
        assert_eq!(body["error_uri"], "http://h/error?code=50173");
        assert_eq!(body["error"], "invalid_grant");
        assert_eq!(body["suberror"], "bad_token");
        assert_eq!(body["error_codes"], json!([50_173]));
        assert_eq!(body["timestamp"], "2026-11-22 03:49:26Z");
        assert_eq!(
            body["correlation_id"],
            "0d1c0000-0000-4000-8000-000000000001"
        );
        assert_eq!(
            body["claims"],
            r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#
        );
        assert!(
            body["error_description"]
                .as_str()
                .unwrap()
                .starts_with("AADSTS50173: ")
        );
    }

    #[test]
    fn what_is_named_is_short_and_printable() {
        assert_eq!(named("api://x/read"), "api://x/read");
        assert_eq!(named("a b\u{e9}\r\n'"), "a?b????");
        assert_eq!(named(&"x".repeat(128)), "x".repeat(128));
        assert_eq!(named(&"x".repeat(129)).len(), 131);
    }

    #[test]
    fn a_correlation_id_that_is_no_guid_is_not_echoed() {
        assert_ne!(Trace::new(Some("<script>")).correlation_id, Uuid::nil());
    }
}
