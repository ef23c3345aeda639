//! The checklist.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::header::Header;
use super::policy::{Kind, Policy};
use super::signature;
use crate::json::{self, numeric_date};
use crate::jwks::{Key, KeySet};
use crate::principal::Principal;
use crate::token::Assertion;

/// Deepest nesting of header and claims.
const MAX_DEPTH: usize = 32;

/// Why a token is refused. Says which rule, never what the token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The algorithm is none that the policy or the key accepts.
    #[error("the algorithm is not accepted")]
    Algorithm,
    /// `aud` names none of our audiences, or is malformed.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has passed, or is missing or malformed.
    #[error("the token is expired")]
    Expired,
    /// The JOSE header is not that of a plain signed access token.
    #[error("the token's header is not accepted")]
    Header,
    /// `iss` is not our authority, the key may not sign for it, or the tenant differs.
    #[error("the token is of another issuer")]
    Issuer,
    /// Keys that might decide cannot be fetched: the token may be good.
    #[error("verification keys cannot be fetched")]
    KeysUnavailable,
    /// Not a compact JWS of strict base64url and JSON, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// An ID token, or nothing that says which client it was issued to.
    #[error("the token is no access token")]
    NotAccessToken,
    /// `nbf` or `iat` lies in the future, or is malformed.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is bound to a key (`cnf`), which a bearer cannot prove to hold.
    #[error("the token is sender-constrained")]
    SenderConstrained,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// No key has this `kid`.
    #[error("the signing key is unknown")]
    UnknownKey,
}

/// Verifies a token (RFC 7519 7.2, RFC 8725): `now` in seconds since the epoch.
///
/// In this order: size; three parts of unpadded base64url; header (algorithm accepted, `typ` absent, `JWT` or
/// `at+jwt`, nothing critical, embedded or compressed); claims (`iss` exact, `aud` holds ours, `exp`, `nbf` and
/// `iat` within the leeway, no `cnf`; for Entra `tid` equal to the tenant and, in an access token, the client that
/// it was issued to); key by `kid`, its own algorithm and issuer; signature. A token that no key could save is
/// refused before a key is looked for.
///
/// # Errors
/// The first rule that is broken.
pub fn verify(
    token: &str,
    keys: &KeySet,
    policy: &Policy,
    now: u64,
) -> Result<Principal, VerifyError> {
    if token.len() > policy.resource().longest_token() {
        return Err(VerifyError::Malformed);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(VerifyError::Malformed);
    };
    let signed = token.len() - signature.len() - 1;
    let message = token
        .as_bytes()
        .get(..signed)
        .ok_or(VerifyError::Malformed)?;
    let signature = BASE64_URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| VerifyError::Malformed)?;
    let header = Header::new(&object(header)?)?;
    if !policy
        .resource()
        .authority()
        .algorithms()
        .contains(&header.algorithm)
    {
        return Err(VerifyError::Algorithm);
    }
    let claims = object(payload)?;
    check_claims(&claims, policy, now)?;

    let key = keys
        .key(header.kid.as_deref())
        .ok_or(VerifyError::UnknownKey)?;
    let of_this_key = key
        .algorithm
        .is_none_or(|algorithm| algorithm == header.algorithm);
    if !of_this_key || key.key_type != header.algorithm.key_type() {
        return Err(VerifyError::Algorithm);
    }
    check_key_issuer(&claims, key)?;
    if !signature::verifies(header.algorithm, key, message, &signature) {
        return Err(VerifyError::Signature);
    }
    Ok(Principal::new(
        Assertion::new(token),
        claims,
        policy.resource().clone(),
    ))
}

fn object(part: &str) -> Result<Map<String, Value>, VerifyError> {
    let text = BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| VerifyError::Malformed)?;
    json::parse_object(&text, MAX_DEPTH).map_err(|_| VerifyError::Malformed)
}

fn check_claims(claims: &Map<String, Value>, policy: &Policy, now: u64) -> Result<(), VerifyError> {
    let resource = policy.resource();
    let authority = resource.authority();
    let leeway = resource.leeway_seconds();
    let text = |name: &str| claims.get(name).and_then(Value::as_str);

    if text("iss") != Some(authority.name()) {
        return Err(VerifyError::Issuer);
    }
    if let Some(entra) = authority.as_entra() {
        if text("tid") != Some(&entra.tenant) {
            return Err(VerifyError::Issuer);
        }
        // An ID token for an API's own client id differs from its access tokens in this alone.
        if policy.kind() == Kind::AccessToken && text("azp").or_else(|| text("appid")).is_none() {
            return Err(VerifyError::NotAccessToken);
        }
    }

    let ours = |audience: &Value| {
        audience
            .as_str()
            .is_some_and(|audience| resource.audiences().iter().any(|our| our == audience))
    };
    let for_us = match claims.get("aud") {
        Some(Value::Array(audiences)) => {
            audiences.iter().all(Value::is_string) && audiences.iter().any(ours)
        }
        Some(audience) => ours(audience),
        None => false,
    };
    if !for_us {
        return Err(VerifyError::Audience);
    }

    let expires = claims
        .get("exp")
        .and_then(numeric_date)
        .ok_or(VerifyError::Expired)?;
    if now >= expires.saturating_add(leeway) {
        return Err(VerifyError::Expired);
    }
    for name in ["nbf", "iat"] {
        if let Some(value) = claims.get(name) {
            let begins = numeric_date(value).ok_or(VerifyError::NotYetValid)?;
            if begins > now.saturating_add(leeway) {
                return Err(VerifyError::NotYetValid);
            }
        }
    }
    if claims.contains_key("cnf") {
        return Err(VerifyError::SenderConstrained);
    }
    Ok(())
}

/// Entra's keys name the issuer that they sign for, perhaps with `{tenantid}` in it.
fn check_key_issuer(claims: &Map<String, Value>, key: &Key) -> Result<(), VerifyError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let may_sign = match &key.issuer {
        Some(of_key) => of_key.replace("{tenantid}", text("tid")) == text("iss"),
        None => true,
    };
    if may_sign {
        Ok(())
    } else {
        Err(VerifyError::Issuer)
    }
}

#[cfg(test)]
mod tests;
