//! One token request to Entra (On-Behalf-Of, `urn:ietf:params:oauth:grant-type:jwt-bearer`) and what its answer means.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::Url;
use url::form_urlencoded::Serializer;

use super::credential::{Credential, Proof};
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use crate::challenge::{Answer, ChallengeRequired};
use crate::claims::{CP1, ClaimsRequest, client_capabilities, peek_payload};
use crate::error::causes;
use crate::json;
use crate::principal::Principal;
use crate::token::AccessToken;

/// Longest body of a token response.
const MAX_BODY: usize = 256 * 1024;
/// Longest time that a `Retry-After` is believed, in seconds.
const MAX_RETRY_AFTER: u64 = 3600;

/// What one exchange needs.
pub(super) struct Exchange<'a> {
    pub(super) http: &'a reqwest::Client,
    /// For the proof of who we are; the client has its own.
    pub(super) timeout: Duration,
    pub(super) token_endpoint: &'a Url,
    pub(super) client_id: &'a str,
    pub(super) credential: &'a Credential,
    pub(super) caller: &'a Principal,
    pub(super) scope: &'a str,
    pub(super) claims: Option<&'a ClaimsRequest>,
    pub(super) now: u64,
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

/// The parts of a token response that decide.
struct Received {
    status: StatusCode,
    retry_after: Option<u64>,
    body: Vec<u8>,
}

impl Exchange<'_> {
    pub(super) async fn run(&self) -> Result<AccessToken, ExchangeError> {
        let prove = self
            .credential
            .prove(self.client_id, self.token_endpoint, self.now);
        let proof = timeout(self.timeout, prove)
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|error| {
                tracing::error!(
                    kind = "credential_unavailable",
                    cause = %causes(error.as_ref()),
                    "this client cannot prove who it is"
                );
                ExchangeError::Other(OnBehalfOfError::unavailable(1))
            })?;
        let received = self.send(&proof).await?;
        if received.status == StatusCode::OK {
            self.token(&received.body).ok_or_else(|| {
                tracing::error!(
                    kind = "token_answer_malformed",
                    "the authority's token response cannot be used"
                );
                other(OnBehalfOfErrorKind::MalformedAnswer)
            })
        } else {
            Err(self.refusal(&received))
        }
    }

    fn form(&self, proof: &Proof) -> String {
        let claims = match self.claims {
            Some(claims) => claims.with_client_capabilities(&[CP1]),
            None => client_capabilities(&[CP1]),
        };
        Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("requested_token_use", "on_behalf_of")
            .append_pair("client_id", self.client_id)
            .extend_pairs(proof.fields())
            .append_pair("assertion", self.caller.assertion().expose())
            .append_pair("scope", self.scope)
            .append_pair("claims", &claims)
            .finish()
    }

    async fn send(&self, proof: &Proof) -> Result<Received, ExchangeError> {
        let unreachable = |error: reqwest::Error| {
            tracing::warn!(
                kind = "authority_unreachable",
                cause = %causes(&error),
                "the token endpoint could not be reached"
            );
            ExchangeError::Other(OnBehalfOfError::unavailable(1))
        };
        let mut response = self
            .http
            .post(self.token_endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(self.form(proof))
            .send()
            .await
            .map_err(unreachable)?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(other(OnBehalfOfErrorKind::MalformedAnswer));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Received {
            status: response.status(),
            retry_after,
            body,
        })
    }

    /// A successful answer (RFC 6749 5.1): a bearer token with a lifetime, and for this user.
    fn token(&self, body: &[u8]) -> Option<AccessToken> {
        let answer = json::parse_object(body, 16).ok()?;
        let text = answer.get("access_token").and_then(Value::as_str)?;
        let bearer = answer
            .get("token_type")
            .and_then(Value::as_str)?
            .eq_ignore_ascii_case("bearer");
        let lifetime = answer
            .get("expires_in")
            .and_then(Value::as_u64)
            .filter(|seconds| (1..=366 * 86400).contains(seconds))?;
        let for_this_user = peek_payload(text).is_none_or(|claims| {
            ["oid", "tid"].iter().all(|name| {
                claims
                    .get(*name)
                    .is_none_or(|value| Some(value) == self.caller.claim(name))
            })
        });
        (bearer && for_this_user)
            .then(|| AccessToken::new(text, self.now.saturating_add(lifetime)))
            .flatten()
    }

    /// An error (RFC 6749 5.2 with Entra's additions), told apart by claims, `error` and `suberror`. AADSTS numbers are for people.
    fn refusal(&self, received: &Received) -> ExchangeError {
        let retry_after = received.retry_after.unwrap_or(1).min(MAX_RETRY_AFTER);
        let answer = json::parse_object(&received.body, 16).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let (error, suberror) = (text("error"), text("suberror"));
        tracing::info!(
            kind = "token_refused",
            status = received.status.as_u16(),
            error = id(error),
            suberror = id(suberror),
            codes = %codes(&answer),
            trace_id = id(text("trace_id")),
            correlation_id = id(text("correlation_id")),
            "the authority issued no token"
        );
        let transient = received.status.is_server_error()
            || matches!(
                received.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            )
            || matches!(
                error,
                "temporarily_unavailable" | "request_timeout" | "server_error"
            );
        if transient {
            return ExchangeError::Other(OnBehalfOfError::unavailable(retry_after));
        }
        if !received.status.is_client_error() {
            return other(OnBehalfOfErrorKind::MalformedAnswer);
        }
        let interactive = matches!(
            error,
            "interaction_required" | "invalid_grant" | "login_required" | "consent_required"
        );
        match answer.get("claims") {
            Some(Value::String(claims)) if interactive && !claims.is_empty() => {
                match ClaimsRequest::from_json(claims) {
                    Ok(claims) => return challenge(Answer::InsufficientClaims(claims), true),
                    Err(_) => return other(OnBehalfOfErrorKind::MalformedAnswer),
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
                other(OnBehalfOfErrorKind::Blocked)
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
            // Either the assertion ran out on the way, or it was never meant for this client.
            ("invalid_grant", _) if self.assertion_is_expired() => {
                challenge(Answer::InvalidToken, false)
            }
            ("", _) => other(OnBehalfOfErrorKind::MalformedAnswer),
            _ => {
                tracing::error!(
                    kind = "client_misconfigured",
                    error = id(error),
                    codes = %codes(&answer),
                    "the authority refuses this client: check its id, credential, scope and the audience of its tokens"
                );
                other(OnBehalfOfErrorKind::Misconfigured)
            }
        }
    }

    /// With the leeway with which the assertion was accepted: the authority's clock may be ahead of ours.
    fn assertion_is_expired(&self) -> bool {
        let leeway = self.caller.resource().leeway_seconds();
        self.caller.expires_at() <= self.now.saturating_add(leeway)
    }
}

fn other(kind: OnBehalfOfErrorKind) -> ExchangeError {
    ExchangeError::Other(OnBehalfOfError::new(kind))
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
    use std::sync::LazyLock;

    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::authority::AuthorityBuilder;
    use crate::challenge::RefusalKind;
    use crate::clock::ManualClock;
    use crate::resource::Resource;
    use crate::signer;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    static RESOURCE: LazyLock<Resource> = LazyLock::new(|| {
        let authority = AuthorityBuilder::entra(TENANT).clock(ManualClock::new(1000));
        authority.build().unwrap().resource("api://x").unwrap()
    });

    fn caller(exp: u64) -> Principal {
        signer::caller(&RESOURCE, &json!({"oid": "alice", "exp": exp, "scp": "x"}))
    }

    fn with_exchange<T>(
        exp: u64,
        claims: Option<&ClaimsRequest>,
        run: impl FnOnce(&Exchange<'_>) -> T,
    ) -> T {
        let credential = Credential::secret("s&=%+").unwrap();
        let exchange = Exchange {
            http: &reqwest::Client::new(),
            timeout: Duration::from_secs(5),
            token_endpoint: &Url::parse("https://as.example/token").unwrap(),
            client_id: "me",
            credential: &credential,
            caller: &caller(exp),
            scope: "api://y/.default",
            claims,
            now: 1000,
        };
        run(&exchange)
    }

    fn outcome(status: u16, body: &Value) -> String {
        let received = Received {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(9),
            body: body.to_string().into(),
        };
        match with_exchange(2000, None, |exchange| exchange.refusal(&received)) {
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
            (429, json!({}), "Unavailable"),
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
    fn assertion_that_expired_on_the_way_is_the_callers_business() {
        let body = json!({"error": "invalid_grant"}).to_string().into_bytes();
        let received = Received {
            status: StatusCode::BAD_REQUEST,
            retry_after: None,
            body,
        };
        for (exp, ours) in [(999, false), (1060, false), (1061, true)] {
            let error = with_exchange(exp, None, |exchange| exchange.refusal(&received));
            assert_eq!(matches!(error, ExchangeError::Other(_)), ours, "{exp}");
        }
        let error = with_exchange(1000, None, |exchange| exchange.refusal(&received));
        assert!(
            matches!(error, ExchangeError::Challenge { challenge, .. } if challenge.kind() == RefusalKind::InvalidToken)
        );
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
        let rows = [
            (good.clone(), true),
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
            let token = with_exchange(2000, None, |exchange| {
                exchange.token(body.to_string().as_bytes())
            });
            assert_eq!(token.is_some(), accepted, "{body}");
        }
    }

    #[test]
    fn form_declares_cp1_and_escapes_everything() {
        let claims =
            ClaimsRequest::from_json(r#"{"access_token":{"a&b=c%+":{"essential":true}}}"#).unwrap();
        let form = with_exchange(2000, Some(&claims), |exchange| {
            let proof = exchange
                .credential
                .prove("me", exchange.token_endpoint, 1000);
            exchange.form(&proof.now_or_never().unwrap().unwrap())
        });
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes())
            .into_owned()
            .collect();
        let field = |name: &str| {
            fields
                .iter()
                .filter(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(field("client_secret"), ["s&=%+"]);
        // This kind of signature is the same each time.
        assert_eq!(field("assertion"), [caller(2000).assertion().expose()]);
        assert_eq!(field("requested_token_use"), ["on_behalf_of"]);
        let sent: Value = serde_json::from_str(field("claims")[0]).unwrap();
        assert_eq!(
            sent,
            json!({"access_token": {"a&b=c%+": {"essential": true}, "xms_cc": {"values": ["cp1"]}}})
        );
    }

    #[test]
    fn only_ids_are_logged() {
        assert_eq!(id("invalid_grant"), "invalid_grant");
        assert_eq!(id("AADSTS50076: Due to a"), "?");
    }
}
