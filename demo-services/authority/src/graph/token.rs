//! Who calls Graph: only access tokens that this authority has issued for it are good.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::GraphError;
use crate::authority::Authority;
use crate::directory::{Directory, GRAPH};
use crate::requests;

/// The bearer of a good token.
pub(super) struct Caller {
    /// `None` for a token without a user.
    pub(super) user: Option<Uuid>,
    /// Delegated permissions with a user, application permissions without.
    permissions: BTreeSet<String>,
}

impl Caller {
    /// One of these permissions will do.
    pub(super) fn require(&self, any: &[&str]) -> Result<(), GraphError> {
        if any.iter().any(|name| self.permissions.contains(*name)) {
            Ok(())
        } else {
            Err(GraphError::denied())
        }
    }

    /// The same for Conditional Access.
    pub(super) fn require_scope(&self, any: &[&str]) -> Result<(), GraphError> {
        self.require(any).map_err(|_| GraphError::scopes_missing())
    }

    pub(super) fn identify(
        authority: &Authority,
        directory: &Directory,
        headers: &HeaderMap,
    ) -> Result<Self, GraphError> {
        let invalid = |message: &str| unauthorized(authority, "invalid_token", message);
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let token = match (values.next(), values.next()) {
            (None, _) => {
                return Err(unauthorized(authority, "", "Access token is empty."));
            }
            (Some(value), None) => bearer(value.as_bytes()),
            (Some(_), Some(_)) => None,
        };
        let token = token.ok_or_else(|| invalid("CompactToken parsing failed."))?;
        let claims = authority
            .keys
            .open(token)
            .ok_or_else(|| invalid("Access token validation failure. Invalid signature."))?;
        requests::note(|request| request.token(directory, &claims));
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let number = |name: &str| claims.get(name).and_then(Value::as_u64);
        let version_1 = authority.issuer.strip_suffix("v2.0");
        if text("iss").is_none_or(|iss| iss != authority.issuer && Some(iss) != version_1) {
            return Err(invalid("Access token validation failure. Invalid issuer."));
        }
        if text("aud")
            .is_none_or(|aud| aud != GRAPH.to_string() && aud != "https://graph.microsoft.com")
        {
            return Err(invalid(
                "Access token validation failure. Invalid audience.",
            ));
        }
        let now = authority.now();
        if number("exp").is_none_or(|exp| exp <= now) {
            return Err(invalid("Lifetime validation failed, the token is expired."));
        }
        if number("nbf").is_none_or(|nbf| nbf > now) {
            return Err(invalid(
                "Lifetime validation failed, the token is not yet valid.",
            ));
        }
        let unknown = || invalid("Access token validation failure.");
        let record = {
            let stores = authority.stores();
            let record = text("uti").and_then(|uti| stores.records.get(uti, now).cloned());
            let authentication = record
                .as_ref()
                .and_then(|record| record.authentication.as_ref());
            if let Some(at) = authentication.and_then(|known| stores.revoked_since(known)) {
                drop(stores);
                return Err(revoked(authority, at));
            }
            record
        };
        let record = record
            .filter(|record| record.resource == GRAPH)
            .ok_or_else(unknown)?;
        let user = record
            .authentication
            .map(|authentication| authentication.user);
        let permissions = match user {
            None => claims
                .get("roles")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Some(user) => {
                let known = directory.users.iter().any(|known| known.oid == user);
                if !known {
                    return Err(unknown());
                }
                text("scp")
                    .unwrap_or_default()
                    .split(' ')
                    .map(str::to_owned)
                    .collect()
            }
        };
        Ok(Self { user, permissions })
    }
}

fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `error` is empty when there was no token (RFC 6750 section 3.1).
fn unauthorized(authority: &Authority, error: &str, message: &str) -> GraphError {
    let mut challenge = challenge(authority);
    if !error.is_empty() {
        challenge.push_str(&format!(", error=\"{error}\""));
    }
    GraphError::new(
        StatusCode::UNAUTHORIZED,
        "InvalidAuthenticationToken",
        message,
    )
    .challenge(challenge)
}

/// Continuous access evaluation: the token was good until its user's sessions were revoked.
fn revoked(authority: &Authority, at: u64) -> GraphError {
    let claims =
        json!({ "access_token": { "nbf": { "essential": true, "value": at.to_string() } } });
    let message = "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp";
    let challenge = format!(
        "{}, error=\"insufficient_claims\", claims=\"{}\"",
        challenge(authority),
        STANDARD.encode(claims.to_string())
    );
    GraphError::new(
        StatusCode::UNAUTHORIZED,
        "InvalidAuthenticationToken",
        message,
    )
    .challenge(challenge)
}

fn challenge(authority: &Authority) -> String {
    let tenant = authority.issuer.trim_end_matches("/v2.0");
    format!(
        "Bearer realm=\"\", authorization_uri=\"{tenant}/oauth2/v2.0/authorize\", client_id=\"{GRAPH}\""
    )
}
