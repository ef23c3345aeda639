//! The claims request that a challenge carries (OpenID Connect Core 5.5, Entra's claims challenge).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::ConfigError;
use crate::json;

/// Longest claims request that is taken, in bytes of JSON.
pub const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// Deepest nesting that is taken, the outermost object included.
pub const MAX_CLAIMS_DEPTH: usize = 16;

/// The client capability by which a client says that it can answer a claims challenge.
pub(crate) const CP1: &str = "cp1";

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// A claims request: the JSON text as it was received, known to be one object of at most [`MAX_CLAIMS_BYTES`] and
/// [`MAX_CLAIMS_DEPTH`] without duplicate members.
///
/// The text is opaque otherwise: Entra sends `capolids`, `polids`, `acrs`, `nbf` and what it may invent tomorrow.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimsRequest(Arc<str>);

/// The text is not a claims request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a claims request: one JSON object of at most 8 KiB and depth 16 without duplicate members"
)]
pub struct InvalidClaims;

impl ClaimsRequest {
    /// Takes JSON text and keeps it byte for byte.
    ///
    /// # Errors
    /// Anything but one object within the bounds.
    pub fn from_json(text: &str) -> Result<Self, InvalidClaims> {
        if text.len() > MAX_CLAIMS_BYTES {
            return Err(InvalidClaims);
        }
        json::parse_object(text.as_bytes(), MAX_CLAIMS_DEPTH).map_err(|_| InvalidClaims)?;
        Ok(Self(text.into()))
    }

    /// Takes the value of a `claims` parameter in any form seen in the field: base64 or base64url, padded or not, or raw JSON.
    ///
    /// # Errors
    /// Anything that does not decode to one object within the bounds.
    pub fn from_parameter(value: &str) -> Result<Self, InvalidClaims> {
        let value = value.trim();
        if value.starts_with('{') {
            return Self::from_json(value);
        }
        if value.len() > MAX_CLAIMS_BYTES.div_ceil(3) * 4 {
            return Err(InvalidClaims);
        }
        let decoded = STANDARD
            .decode(value)
            .or_else(|_| URL_SAFE.decode(value))
            .map_err(|_| InvalidClaims)?;
        Self::from_json(std::str::from_utf8(&decoded).map_err(|_| InvalidClaims)?)
    }

    /// Asks for an authentication context: `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`.
    ///
    /// # Errors
    /// A context that is not `c1` to `c99`.
    pub fn acrs(context: &str) -> Result<Self, ConfigError> {
        check_context(context)?;
        Ok(Self(
            json!({"access_token": {"acrs": {"essential": true, "value": context}}})
                .to_string()
                .into(),
        ))
    }

    /// Asks for a token issued after a time: `{"access_token":{"nbf":{"essential":true,"value":"<seconds>"}}}`, seconds since
    /// the epoch as a string, as Continuous Access Evaluation writes it.
    #[must_use]
    pub fn not_before(seconds: u64) -> Self {
        let value = seconds.to_string();
        Self(
            json!({"access_token": {"nbf": {"essential": true, "value": value}}})
                .to_string()
                .into(),
        )
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `claims` parameter of a challenge: base64 of exactly this text, standard alphabet, padded.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(self.0.as_bytes())
    }

    /// What of a *downstream's* request may be relayed: its raw `access_token` member and nothing else.
    pub(crate) fn access_token_only(&self) -> Option<Self> {
        #[derive(Deserialize)]
        struct Top<'a> {
            #[serde(borrow)]
            access_token: Option<&'a RawValue>,
        }
        let member = serde_json::from_str::<Top<'_>>(&self.0)
            .ok()?
            .access_token?;
        let object = member.get().starts_with('{');
        object.then(|| Self(format!("{{\"access_token\":{}}}", member.get()).into()))
    }

    /// The authentication contexts that are demanded, any of which will do; `None` if anything else is demanded as well.
    pub(crate) fn contexts(&self) -> Option<Vec<String>> {
        let only = |members: &Map<String, Value>, name: &str| {
            let member = members.get(name).filter(|_| members.len() == 1);
            member.and_then(Value::as_object).cloned()
        };
        let members = json::parse_object(self.0.as_bytes(), MAX_CLAIMS_DEPTH).ok()?;
        let acrs = only(&only(&members, "access_token")?, "acrs")?;
        match (acrs.get("value"), acrs.get("values")) {
            (Some(Value::String(value)), None) => Some(vec![value.clone()]),
            (None, Some(Value::Array(values))) => values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        }
    }

    /// The `claims` parameter of a request that declares client capabilities as well (as `access_token.xms_cc`, beside what is demanded).
    #[must_use]
    pub fn with_client_capabilities(&self, capabilities: &[&str]) -> String {
        // Checked at construction, so an empty map can only stand for `{}`.
        let members = json::parse_object(self.0.as_bytes(), MAX_CLAIMS_DEPTH).unwrap_or_default();
        declare(members, capabilities)
    }
}

/// The `claims` parameter of a request that declares client capabilities and demands nothing:
/// `{"access_token":{"xms_cc":{"values":["cp1"]}}}`.
#[must_use]
pub fn client_capabilities(capabilities: &[&str]) -> String {
    declare(Map::new(), capabilities)
}

/// Decodes the payload of a token that somebody else is the audience of, only to compare who it is for.
pub(crate) fn peek_payload(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    json::parse_object(&URL_SAFE.decode(payload).ok()?, 32).ok()
}

/// Three parts, of which the first is an object in base64url.
pub(crate) fn looks_like_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let header = parts.next().and_then(|part| URL_SAFE.decode(part).ok());
    header.is_some_and(|header| header.starts_with(b"{")) && parts.count() == 2
}

/// `^c[1-9][0-9]?$`
pub(crate) fn check_context(context: &str) -> Result<(), ConfigError> {
    match context.as_bytes() {
        [b'c', b'1'..=b'9'] | [b'c', b'1'..=b'9', b'0'..=b'9'] => Ok(()),
        _ => Err(ConfigError::AuthenticationContext),
    }
}

fn declare(mut members: Map<String, Value>, capabilities: &[&str]) -> String {
    let wanted = json!({ "values": capabilities });
    match members.get_mut("access_token") {
        Some(Value::Object(access_token)) => {
            access_token.insert("xms_cc".to_owned(), wanted);
        }
        _ => {
            members.insert("access_token".to_owned(), json!({ "xms_cc": wanted }));
        }
    }
    Value::Object(members).to_string()
}

impl fmt::Debug for ClaimsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimsRequest({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE;

    use super::*;

    const ACRS: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;

    #[test]
    fn every_form_of_the_parameter_decodes_to_the_same_text() {
        let claims = ClaimsRequest::from_json(ACRS).unwrap();
        let standard = BASE64_STANDARD.encode(ACRS);
        let url = BASE64_URL_SAFE.encode(ACRS);
        for form in [
            ACRS,
            &standard,
            &url,
            standard.trim_end_matches('='),
            url.trim_end_matches('='),
        ] {
            assert_eq!(
                ClaimsRequest::from_parameter(form).unwrap(),
                claims,
                "{form}"
            );
        }
    }

    #[test]
    fn text_is_kept_byte_for_byte() {
        let odd = r#"{"access_token":{"nbf":{"essential":true, "value":"1604106651"}}}"#;
        let claims = ClaimsRequest::from_parameter(&BASE64_STANDARD.encode(odd)).unwrap();
        assert_eq!(claims.as_str(), odd);
        assert_eq!(claims.to_base64(), BASE64_STANDARD.encode(odd));
    }

    #[test]
    fn fail_hostile_text() {
        let deep = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_CLAIMS_BYTES));
        let array = BASE64_STANDARD.encode("[]");
        let not_utf8 = BASE64_STANDARD.encode(b"{\"a\":\"\xff\"}");
        for bad in [
            "",
            "%%%",
            "{",
            "[]",
            "{}{}",
            r#"{"a":1,"a":1}"#,
            &deep,
            &long,
            &array,
            &not_utf8,
        ] {
            assert!(ClaimsRequest::from_parameter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_exact() {
        let fill = |total: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(total - 8));
        assert!(ClaimsRequest::from_json(&fill(MAX_CLAIMS_BYTES)).is_ok());
        assert!(
            ClaimsRequest::from_parameter(&BASE64_STANDARD.encode(fill(MAX_CLAIMS_BYTES))).is_ok()
        );
        assert!(ClaimsRequest::from_json(&fill(MAX_CLAIMS_BYTES + 1)).is_err());
    }

    #[test]
    fn only_the_raw_access_token_member_of_a_downstream_survives() {
        let claims = ClaimsRequest::from_json(
            r#"{"id_token":{"x":null},"access_token":{"acrs" : {"value":"c1"}}}"#,
        )
        .unwrap();
        assert_eq!(
            claims.access_token_only().unwrap().as_str(),
            r#"{"access_token":{"acrs" : {"value":"c1"}}}"#
        );
        for nothing in [
            r#"{"id_token":{}}"#,
            r#"{"access_token":null}"#,
            r#"{"access_token":"x"}"#,
            "{}",
        ] {
            assert!(
                ClaimsRequest::from_json(nothing)
                    .unwrap()
                    .access_token_only()
                    .is_none(),
                "{nothing}"
            );
        }
    }

    #[test]
    fn capabilities_are_merged_beside_the_demand() {
        let merged = ClaimsRequest::from_json(ACRS)
            .unwrap()
            .with_client_capabilities(&[CP1]);
        let expected = json!({"access_token": {"acrs": {"essential": true, "value": "c1"}, "xms_cc": {"values": ["cp1"]}}});
        assert_eq!(serde_json::from_str::<Value>(&merged).unwrap(), expected);
        assert_eq!(
            client_capabilities(&[CP1]),
            r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#
        );
    }

    #[test]
    fn contexts_are_c1_to_c99() {
        for good in ["c1", "c9", "c10", "c99"] {
            assert!(ClaimsRequest::acrs(good).is_ok(), "{good}");
        }
        for bad in ["", "c", "c0", "c01", "c100", "C1", "1", "c1 "] {
            assert!(ClaimsRequest::acrs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_claim() {
        assert_eq!(
            format!("{:?}", ClaimsRequest::from_json(r#"{"a":"b"}"#).unwrap()),
            "ClaimsRequest(9 bytes)"
        );
    }
}
