//! The JOSE header (RFC 7515 4): what is needed, what is refused, and the rest ignored.

use serde_json::{Map, Value};

use super::verify::VerifyError;
use crate::algorithm::Algorithm;

pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
}

/// Members that change how a token must be processed, or that bring their own key: a token with one is not a plain signed token.
const REFUSED: [&str; 8] = ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"];

impl Header {
    pub(crate) fn new(members: &Map<String, Value>) -> Result<Self, VerifyError> {
        if REFUSED.iter().any(|name| members.contains_key(*name)) {
            return Err(VerifyError::Header);
        }
        let accepted_type = match members.get("typ") {
            None => true,
            Some(Value::String(kind)) => is_access_token(kind),
            Some(_) => false,
        };
        if !accepted_type {
            return Err(VerifyError::Header);
        }
        let algorithm = members
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::from_name);
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if !kid.is_empty() => Some(kid.clone()),
            Some(_) => return Err(VerifyError::Header),
        };
        Ok(Self {
            algorithm: algorithm.ok_or(VerifyError::Algorithm)?,
            kid,
        })
    }
}

/// `JWT` is what Entra writes; `at+jwt` is RFC 9068 2.1. Media types compare without case and may omit `application/` (RFC 7515 4.1.9).
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    matches!(
        kind.strip_prefix("application/").unwrap_or(&kind),
        "jwt" | "at+jwt"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header(members: &Value) -> Result<Header, VerifyError> {
        Header::new(members.as_object().unwrap())
    }

    #[test]
    fn pass_what_authorities_write() {
        for members in [
            json!({"alg": "RS256"}),
            json!({"alg": "RS256", "typ": "JWT", "kid": "a", "x5t": "a"}),
            json!({"alg": "ES256", "typ": "at+jwt", "kid": "a"}),
            json!({"alg": "EdDSA", "typ": "application/AT+JWT", "kid": "a"}),
            json!({"alg": "RS256", "foo": "bar", "n": 1, "o": {"p": [null]}}),
        ] {
            assert!(header(&members).is_ok(), "{members}");
        }
    }

    #[test]
    fn fail_everything_else() {
        for (name, value) in [
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!(256)),
            ("alg", json!(["RS256"])),
            ("alg", Value::Null),
            ("typ", json!("dpop+jwt")),
            ("typ", json!("logout+jwt")),
            ("typ", json!("secevent+jwt")),
            ("typ", json!("")),
            ("typ", json!(1)),
            ("kid", json!(1)),
            ("kid", json!("")),
            ("kid", Value::Null),
            ("kid", json!(["a"])),
            ("crit", json!([])),
            ("crit", json!(["exp"])),
            ("b64", json!(true)),
            ("zip", json!("DEF")),
            ("enc", json!("A128GCM")),
            ("jwk", json!({})),
            ("jku", json!("https://evil")),
            ("x5u", json!("https://evil")),
            ("x5c", json!([])),
        ] {
            let mut members = json!({"alg": "RS256", "typ": "JWT", "kid": "a"});
            assert!(header(&members).is_ok());
            members[name] = value;
            assert!(header(&members).is_err(), "{members}");
        }
        assert!(header(&json!({"kid": "a"})).is_err(), "no algorithm");
    }
}
