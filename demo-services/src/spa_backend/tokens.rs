//! Answers of the token endpoint.

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use tower_bearer::ClaimsRequest;

use super::authority::AuthorityError;

/// A successful answer of the token endpoint.
#[derive(Clone, Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: SecretString,
    token_type: String,
    #[serde(deserialize_with = "seconds")]
    pub(super) expires_in: u64,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) id_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    claims: Option<String>,
    #[serde(default)]
    error_codes: Vec<u64>,
    correlation_id: Option<String>,
}

impl Tokens {
    /// Reads an answer of the token endpoint: bearer tokens, or why there are none.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Self, AuthorityError> {
        if status != StatusCode::OK {
            return Err(refusal(status, body));
        }
        let tokens: Self = serde_json::from_slice(body).map_err(|_| AuthorityError::Unusable)?;
        let usable = tokens.token_type.eq_ignore_ascii_case("bearer")
            && !tokens.access_token.expose_secret().is_empty();
        if usable {
            Ok(tokens)
        } else {
            Err(AuthorityError::Unusable)
        }
    }
}

/// Sorts an error answer by who can do something about it; `claims` decide before the code does.
fn refusal(status: StatusCode, body: &[u8]) -> AuthorityError {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return AuthorityError::Unavailable;
    }
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else {
        return AuthorityError::Unusable;
    };
    let claims = body
        .claims
        .as_deref()
        .and_then(|claims| ClaimsRequest::from_json(claims).ok());
    let error = match body.error.as_str() {
        _ if claims.is_some() => AuthorityError::Interaction { claims },
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => {
            AuthorityError::Interaction { claims: None }
        }
        "temporarily_unavailable" | "server_error" => AuthorityError::Unavailable,
        _ => AuthorityError::Misconfigured,
    };
    if error == AuthorityError::Misconfigured {
        let correlation_id = body
            .correlation_id
            .as_deref()
            .and_then(|id| id.parse::<uuid::Uuid>().ok());
        tracing::error!(codes = ?body.error_codes, correlation_id = ?correlation_id, "the authority refuses this client: check client id, secret and scope");
    }
    error
}

/// A number of seconds, as a number or, from some authorities, as a string.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    // A day is far beyond any access token; a larger number is not worth an overflow.
    seconds
        .map(|seconds| seconds.min(24 * 60 * 60))
        .ok_or_else(|| serde::de::Error::custom("not a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_sorted_by_who_can_act() {
        let sorted = |status: u16, body: &str| {
            refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
        };
        assert_eq!(
            sorted(400, r#"{"error":"interaction_required","claims":"{}"}"#),
            AuthorityError::Interaction {
                claims: ClaimsRequest::from_json("{}").ok()
            }
        );
        assert_eq!(
            sorted(400, r#"{"error":"invalid_grant"}"#),
            AuthorityError::Interaction { claims: None }
        );
        assert_eq!(
            sorted(401, r#"{"error":"invalid_client","error_codes":[7000215]}"#),
            AuthorityError::Misconfigured
        );
        assert_eq!(sorted(400, "<html>"), AuthorityError::Unusable);
        assert_eq!(
            sorted(503, r#"{"error":"invalid_client"}"#),
            AuthorityError::Unavailable
        );
        assert_eq!(sorted(429, ""), AuthorityError::Unavailable);
    }

    #[test]
    fn expires_in_may_be_a_string_but_never_overflows() {
        let parse = |value: &str| {
            serde_json::from_str::<Tokens>(&format!(
                r#"{{"access_token":"a","token_type":"Bearer","expires_in":{value}}}"#
            ))
            .map(|t| t.expires_in)
            .ok()
        };
        assert_eq!(parse("3600"), Some(3600));
        assert_eq!(parse("\"3600\""), Some(3600));
        assert_eq!(parse("18446744073709551615"), Some(86400));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("1e308"), None);
        assert_eq!(parse("null"), None);
    }
}
