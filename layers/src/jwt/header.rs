//! The JOSE header (RFC 7515 4): what is needed, what is refused, and the rest ignored.

use std::borrow::Cow;

use super::verify::VerifyError;
use crate::algorithm::Algorithm;
use crate::json::{self, Members, Node};

pub(crate) struct Header<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<Cow<'a, str>>,
    /// `typ` is `at+jwt`, which RFC 9068 2.1 asks for.
    pub(crate) is_at_jwt: bool,
}

#[derive(Default)]
struct Read<'a> {
    algorithm: Option<Node<'a>>,
    kid: Option<Node<'a>>,
    kind: Option<Node<'a>>,
    refused: bool,
}

impl<'a> Members<'a> for Read<'a> {
    fn wants(&self, name: &str) -> bool {
        matches!(name, "alg" | "kid" | "typ")
    }

    fn take(&mut self, name: &str, value: Node<'a>) {
        match name {
            "alg" => self.algorithm = Some(value),
            "kid" => self.kid = Some(value),
            "typ" => self.kind = Some(value),
            // They change how a token must be processed, or bring their own key: this is not a plain signed token.
            "b64" | "crit" | "enc" | "jku" | "jwk" | "x5c" | "x5u" | "zip" => self.refused = true,
            _ => {}
        }
    }
}

impl<'a> Header<'a> {
    pub(crate) fn read(text: &'a [u8], depth: usize) -> Result<Self, VerifyError> {
        let mut read = Read::default();
        json::read_object(text, depth, &mut read).map_err(|_| VerifyError::Malformed)?;
        if read.refused {
            return Err(VerifyError::Header);
        }
        let is_at_jwt = match read.kind {
            None => false,
            Some(Node::Text(kind)) => is_at_jwt(&kind)?,
            Some(_) => return Err(VerifyError::Header),
        };
        let algorithm = match read.algorithm {
            Some(Node::Text(name)) => Algorithm::from_name(&name),
            _ => None,
        };
        let kid = match read.kid {
            None => None,
            Some(Node::Text(kid)) if !kid.is_empty() => Some(kid),
            Some(_) => return Err(VerifyError::Header),
        };
        Ok(Self {
            algorithm: algorithm.ok_or(VerifyError::Algorithm)?,
            kid,
            is_at_jwt,
        })
    }
}

/// `JWT` is what Entra writes; `at+jwt` is RFC 9068 2.1. Media types compare without case and may omit `application/` (RFC 7515 4.1.9).
fn is_at_jwt(kind: &str) -> Result<bool, VerifyError> {
    const PREFIX: &str = "application/";
    let prefixed = kind
        .get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let kind = if prefixed {
        kind.get(PREFIX.len()..).unwrap_or_default()
    } else {
        kind
    };
    if kind.eq_ignore_ascii_case("jwt") {
        Ok(false)
    } else if kind.eq_ignore_ascii_case("at+jwt") {
        Ok(true)
    } else {
        Err(VerifyError::Header)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn header(members: &Value) -> Result<bool, VerifyError> {
        Header::read(members.to_string().as_bytes(), 8).map(|header| header.is_at_jwt)
    }

    #[test]
    fn at_jwt_is_told_from_jwt() {
        for (kind, expected) in [
            ("JWT", false),
            ("at+jwt", true),
            ("Application/AT+JWT", true),
        ] {
            assert_eq!(
                header(&json!({"alg": "RS256", "typ": kind})),
                Ok(expected),
                "{kind}"
            );
        }
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
