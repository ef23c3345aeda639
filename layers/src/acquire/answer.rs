//! What a token response means (RFC 6749 5, Entra's additions): by `claims`, `error` and `suberror`. AADSTS numbers are for people.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use crate::challenge::{Answer, ChallengeRequired};
use crate::claims::{ClaimsRequest, looks_like_jwt, peek_payload};
use crate::json;
use crate::token::AccessToken;

/// Longest time that a `Retry-After` is believed, in seconds.
const MAX_RETRY_AFTER: u64 = 3600;
/// Longest access token and refresh token: what is longer stands in no header.
const MAX_TOKEN: usize = 32 * 1024;

/// The parts of a token response that decide.
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// A token, and what came with it.
pub(crate) struct Issued {
    pub(crate) token: AccessToken,
    /// Seconds after which the authority would like to be asked for a newer one.
    pub(crate) refresh_in: Option<u64>,
    pub(crate) refresh_token: Option<SecretString>,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(crate) enum ExchangeError {
    /// The user must act; the flag tells whether the authority itself named the claims.
    Challenge {
        challenge: ChallengeRequired,
        with_claims: bool,
    },
    Other(OnBehalfOfError),
}

/// Whom the issued token must be for: claims that, where it has them, have these values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity(Vec<(String, String)>);

/// What was presented for the token, and so whose business an `invalid_grant` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// This client's own right.
    Nothing,
    /// An assertion to Entra, and whether it has run out by our clock.
    Assertion {
        expired: bool,
    },
    /// A subject token (RFC 8693), and the same.
    SubjectToken {
        expired: bool,
    },
    RefreshToken,
}

impl Presented {
    /// Does the error say that it is no longer good? Of Entra, without a suberror, it may as well never have been meant for this
    /// client, which is ours to mend.
    fn is_no_longer_good(self, error: &str) -> bool {
        match (self, error) {
            (Self::Assertion { expired }, "invalid_grant" | "invalid_request")
            // What RFC 8693 2.2.2 says of a subject token that is not valid, and of other faults.
            | (Self::SubjectToken { expired }, "invalid_request") => expired,
            (Self::SubjectToken { .. }, "invalid_grant" | "invalid_token")
            // RFC 6749 5.2.
            | (Self::RefreshToken, "invalid_grant") => true,
            _ => false,
        }
    }
}

impl ExchangeError {
    pub(crate) fn of(kind: OnBehalfOfErrorKind) -> Self {
        Self::Other(OnBehalfOfError::new(kind))
    }

    /// The session is over: its user must sign in again.
    pub(crate) fn over() -> Self {
        challenge(Answer::InvalidToken, false)
    }

    /// Has the authority decided against this user?
    pub(crate) fn is_a_no(&self) -> bool {
        match self {
            Self::Challenge { .. } => true,
            Self::Other(error) => error.kind() == OnBehalfOfErrorKind::Blocked,
        }
    }

    /// Will the same request perhaps succeed later, without anybody's doing?
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Other(error) if matches!(
            error.kind(),
            OnBehalfOfErrorKind::Unavailable | OnBehalfOfErrorKind::Throttled
        ))
    }
}

impl Identity {
    pub(crate) fn new<'a>(
        claims: impl IntoIterator<Item = (&'static str, Option<&'a str>)>,
    ) -> Self {
        let known = claims.into_iter();
        Self(
            known
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect(),
        )
    }

    /// A token that is no JWT tells nothing; one that cannot be read is nobody's.
    fn is_of(&self, token: &str) -> bool {
        if !looks_like_jwt(token) {
            return true;
        }
        let Some(claims) = peek_payload(token) else {
            return false;
        };
        self.0.iter().all(|(name, expected)| {
            claims
                .get(name)
                .is_none_or(|value| value.as_str() == Some(expected))
        })
    }
}

impl Received {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: Vec<u8>) -> Self {
        Self {
            status,
            retry_after: headers.get(RETRY_AFTER).and_then(retry_after),
            body,
        }
    }

    /// Seconds that the authority wants to be left alone for, within reason.
    pub(crate) fn asks_to_wait(&self) -> Option<u64> {
        self.retry_after.map(|seconds| seconds.min(MAX_RETRY_AFTER))
    }

    fn is_throttled(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Did the server itself fail?
    fn is_failure(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::REQUEST_TIMEOUT
    }

    /// The token, for the right user; or why there is none.
    pub(crate) fn read(
        &self,
        identity: &Identity,
        presented: Presented,
        now: u64,
    ) -> Result<Issued, ExchangeError> {
        if self.status != StatusCode::OK {
            return Err(self.refusal(presented));
        }
        self.issued(identity, now).ok_or_else(|| {
            tracing::error!(
                kind = "token_answer_malformed",
                "the authority's token response cannot be used"
            );
            ExchangeError::of(OnBehalfOfErrorKind::MalformedAnswer)
        })
    }

    /// A successful answer (RFC 6749 5.1, RFC 8693 2.2.1): a bearer token with a lifetime, and for this user.
    fn issued(&self, identity: &Identity, now: u64) -> Option<Issued> {
        let answer = json::parse_object(&self.body, 16).ok()?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let token = text("access_token").filter(|token| token.len() <= MAX_TOKEN)?;
        let bearer = text("token_type")?.eq_ignore_ascii_case("bearer");
        let lifetime = answer
            .get("expires_in")
            .and_then(Value::as_u64)
            .filter(|seconds| (1..=366 * 86400).contains(seconds))?;
        let access_token = answer.get("issued_token_type").is_none_or(|kind| {
            matches!(
                kind.as_str(),
                Some(
                    "urn:ietf:params:oauth:token-type:access_token"
                        | "urn:ietf:params:oauth:token-type:jwt"
                )
            )
        });
        let usable = bearer && access_token && identity.is_of(token);
        let refresh_token = text("refresh_token")
            .filter(|token| (1..=MAX_TOKEN).contains(&token.len()))
            .map(SecretString::from);
        Some(Issued {
            token: AccessToken::new(token, now.saturating_add(lifetime)).filter(|_| usable)?,
            refresh_in: answer.get("refresh_in").and_then(Value::as_u64),
            refresh_token,
        })
    }

    /// An error (RFC 6749 5.2 with Entra's additions).
    fn refusal(&self, presented: Presented) -> ExchangeError {
        let wait = self.asks_to_wait().unwrap_or(1);
        let answer = json::parse_object(&self.body, 16).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let (error, suberror) = (text("error"), text("suberror"));
        tracing::info!(
            kind = "token_refused",
            status = self.status.as_u16(),
            error = id(error),
            suberror = id(suberror),
            codes = %codes(&answer),
            trace_id = id(text("trace_id")),
            correlation_id = id(text("correlation_id")),
            "the authority issued no token"
        );
        if self.is_throttled() {
            return ExchangeError::Other(OnBehalfOfError::throttled(wait));
        }
        let transient = matches!(
            error,
            "temporarily_unavailable" | "request_timeout" | "server_error"
        );
        if self.is_failure() || transient {
            return ExchangeError::Other(OnBehalfOfError::unavailable(wait));
        }
        if !self.status.is_client_error() {
            return ExchangeError::of(OnBehalfOfErrorKind::MalformedAnswer);
        }
        let interactive = matches!(
            error,
            "interaction_required" | "invalid_grant" | "login_required" | "consent_required"
        );
        match answer.get("claims") {
            Some(Value::String(claims)) if interactive && !claims.is_empty() => {
                match ClaimsRequest::from_json(claims) {
                    Ok(claims) => return challenge(Answer::InsufficientClaims(claims), true),
                    Err(_) => return ExchangeError::of(OnBehalfOfErrorKind::MalformedAnswer),
                }
            }
            _ => {}
        }
        match (error, suberror) {
            ("consent_required", _)
            | ("interaction_required" | "invalid_grant", "consent_required") => {
                challenge(Answer::ConsentRequired, false)
            }
            ("invalid_grant" | "interaction_required", "message_only") => {
                ExchangeError::of(OnBehalfOfErrorKind::Blocked)
            }
            ("interaction_required" | "login_required", _) => {
                challenge(Answer::InvalidToken, false)
            }
            (
                "invalid_grant",
                "bad_token"
                | "token_expired"
                | "user_password_expired"
                | "basic_action"
                | "additional_action",
            ) => challenge(Answer::InvalidToken, false),
            _ if presented.is_no_longer_good(error) => challenge(Answer::InvalidToken, false),
            ("", _) => ExchangeError::of(OnBehalfOfErrorKind::MalformedAnswer),
            _ => {
                tracing::error!(
                    kind = "client_misconfigured",
                    error = id(error),
                    codes = %codes(&answer),
                    "the authority refuses this client: check its id, credential, scope and the audience of its tokens"
                );
                ExchangeError::of(OnBehalfOfErrorKind::Misconfigured)
            }
        }
    }
}

fn challenge(answer: Answer, with_claims: bool) -> ExchangeError {
    ExchangeError::Challenge {
        challenge: ChallengeRequired::new(answer),
        with_claims,
    }
}

/// What may be logged of the authority's answer: words and ids, never sentences.
fn id(text: &str) -> &str {
    let harmless = text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if harmless { text } else { "?" }
}

fn codes(answer: &Map<String, Value>) -> String {
    let codes = answer
        .get("error_codes")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    codes
        .iter()
        .take(4)
        .filter_map(Value::as_u64)
        .map(|code| code.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// Seconds; the date form of RFC 9110 10.2.3 is not used by authorities.
fn retry_after(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    fn received(status: u16, body: &Value) -> Received {
        Received {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(9),
            body: body.to_string().into(),
        }
    }

    const GOOD: Presented = Presented::Assertion { expired: false };

    fn outcome(status: u16, body: &Value) -> String {
        outcome_of(GOOD, status, body)
    }

    fn outcome_of(presented: Presented, status: u16, body: &Value) -> String {
        let read = received(status, body).read(&Identity::default(), presented, 1000);
        match read.err().unwrap() {
            ExchangeError::Challenge {
                challenge,
                with_claims,
            } => format!("{:?} {with_claims}", challenge.kind()),
            ExchangeError::Other(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_is_to_be_done() {
        let claims = r#"{"access_token":{"capolids":{"essential":true,"values":["x"]}}}"#;
        let rows = [
            (
                400,
                json!({"error": "interaction_required", "claims": claims}),
                "InsufficientClaims true",
            ),
            (
                400,
                json!({"error": "invalid_grant", "suberror": "basic_action", "claims": claims}),
                "InsufficientClaims true",
            ),
            (
                400,
                json!({"error": "invalid_grant", "suberror": "message_only", "claims": claims}),
                "InsufficientClaims true",
            ),
            (
                400,
                json!({"error": "invalid_grant", "suberror": "bad_token", "claims": claims}),
                "InsufficientClaims true",
            ),
            (
                400,
                json!({"error": "invalid_grant", "suberror": "message_only"}),
                "Blocked",
            ),
            (
                400,
                json!({"error": "invalid_grant", "suberror": "consent_required"}),
                "ConsentRequired false",
            ),
            (
                400,
                json!({"error": "interaction_required"}),
                "InvalidToken false",
            ),
            (
                400,
                json!({"error": "invalid_grant", "suberror": "bad_token"}),
                "InvalidToken false",
            ),
            (
                400,
                json!({"error": "invalid_grant", "error_codes": [50013]}),
                "Misconfigured",
            ),
            (401, json!({"error": "invalid_client"}), "Misconfigured"),
            (
                400,
                json!({"error": "unauthorized_client"}),
                "Misconfigured",
            ),
            (400, json!({"error": "invalid_scope"}), "Misconfigured"),
            (
                400,
                json!({"error": "invalid_client", "claims": claims}),
                "Misconfigured",
            ),
            (
                400,
                json!({"error": "interaction_required", "claims": "[]"}),
                "MalformedAnswer",
            ),
            (400, json!({"error": 7}), "MalformedAnswer"),
            (400, json!([]), "MalformedAnswer"),
            (302, json!({"error": "invalid_grant"}), "MalformedAnswer"),
            (429, json!({}), "Throttled"),
            (408, json!({}), "Unavailable"),
            (400, json!({"error": "invalid_request"}), "Misconfigured"),
            (400, json!({"error": "invalid_target"}), "Misconfigured"),
            (503, json!("<html>"), "Unavailable"),
            (
                400,
                json!({"error": "temporarily_unavailable"}),
                "Unavailable",
            ),
        ];
        for (status, body, expected) in rows {
            assert_eq!(outcome(status, &body), expected, "{body}");
        }
    }

    #[test]
    fn whose_business_an_invalid_grant_is_depends_on_what_was_presented() {
        let (ours, users) = ("Misconfigured", "InvalidToken false");
        for (presented, grant, request, token) in [
            (Presented::Nothing, ours, ours, ours),
            (Presented::Assertion { expired: false }, ours, ours, ours),
            (Presented::Assertion { expired: true }, users, users, ours),
            (
                Presented::SubjectToken { expired: false },
                users,
                ours,
                users,
            ),
            (
                Presented::SubjectToken { expired: true },
                users,
                users,
                users,
            ),
            (Presented::RefreshToken, users, ours, ours),
        ] {
            for (error, expected) in [
                ("invalid_grant", grant),
                ("invalid_request", request),
                ("invalid_token", token),
                ("invalid_client", ours),
                ("invalid_target", ours),
            ] {
                let outcome = outcome_of(presented, 400, &json!({ "error": error }));
                assert_eq!(outcome, expected, "{presented:?} {error}");
            }
        }
    }

    #[test]
    fn answer_must_be_a_bearer_token_with_a_lifetime_for_this_user() {
        use base64::Engine as _;
        let token = |claims: Value| {
            format!(
                "e30.{}.sig",
                base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())
            )
        };
        let good = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600});
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body
        };
        let identity = Identity::new([("oid", Some("alice")), ("tid", Some(TENANT))]);
        let rows = [
            (good.clone(), true),
            (
                with(
                    "issued_token_type",
                    json!("urn:ietf:params:oauth:token-type:access_token"),
                ),
                true,
            ),
            (
                with(
                    "issued_token_type",
                    json!("urn:ietf:params:oauth:token-type:saml2"),
                ),
                false,
            ),
            (
                with("access_token", json!(token(json!({"oid": ["alice"]})))),
                false,
            ),
            (with("token_type", json!("bearer")), true),
            (
                with(
                    "access_token",
                    json!(token(json!({"oid": "alice", "tid": TENANT}))),
                ),
                true,
            ),
            (
                with(
                    "access_token",
                    json!(token(json!({"oid": "bob", "tid": TENANT}))),
                ),
                false,
            ),
            (
                with(
                    "access_token",
                    json!(token(json!({"oid": "alice", "tid": "other"}))),
                ),
                false,
            ),
            (with("access_token", json!("")), false),
            (with("access_token", json!("a\r\nb")), false),
            (with("access_token", json!(7)), false),
            (with("token_type", json!("mac")), false),
            (with("token_type", Value::Null), false),
            (with("expires_in", json!("3600")), false),
            (with("expires_in", json!(-1)), false),
            (with("expires_in", json!(0)), false),
            (with("expires_in", json!(1e308)), false),
            (with("expires_in", Value::Null), false),
            (json!([]), false),
        ];
        for (body, accepted) in rows {
            let issued = received(200, &body).read(&identity, GOOD, 1000);
            assert_eq!(issued.is_ok(), accepted, "{body}");
        }
    }

    #[test]
    fn what_comes_with_a_token_is_taken_within_bounds() {
        let body = json!({
            "access_token": "opaque", "token_type": "Bearer", "expires_in": 3600, "refresh_in": 1800, "refresh_token": "R",
        });
        let issued = received(200, &body).read(&Identity::default(), GOOD, 1000);
        let issued = issued.ok().unwrap();
        assert_eq!(issued.token.expires_at(), 4600);
        assert_eq!(issued.refresh_in, Some(1800));
        assert!(issued.refresh_token.is_some());
        let mut long = body.clone();
        long["refresh_token"] = json!("x".repeat(MAX_TOKEN + 1));
        let issued = received(200, &long).read(&Identity::default(), GOOD, 1000);
        assert!(issued.ok().unwrap().refresh_token.is_none());
    }

    #[test]
    fn only_ids_are_logged() {
        assert_eq!(id("invalid_grant"), "invalid_grant");
        assert_eq!(id("AADSTS50076: Due to a"), "?");
    }
}
