//! Tokens, as a whole and by their parts.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::seeds::{AUDIENCE, ISSUER, JWKS, NOW, TOKENS};
use super::two;
use crate::algorithm::Algorithm;
use crate::authority::Authority;
use crate::json::{self, Members, Node};
use crate::jwks::KeySet;
use crate::jwt::{Policy, VerifyError, verify};
use crate::principal::{MAX_DEPTH, Principal};

static WORLD: LazyLock<(KeySet, Policy)> = LazyLock::new(|| {
    let keys = KeySet::from_jwks(JWKS.as_bytes()).unwrap_or_default();
    assert_eq!(keys.len(), 4);
    let policy = Authority::issuer(ISSUER, [Algorithm::Rs256, Algorithm::EdDsa])
        .and_then(|authority| authority.resource(AUDIENCE))
        .map(|resource| resource.policy());
    match policy {
        Ok(policy) => (keys, policy),
        Err(error) => unreachable!("{error}"),
    }
});

fn verified(token: &str) -> Result<Principal, VerifyError> {
    verify(token, &WORLD.0, &WORLD.1, NOW)
}

/// A token as it is presented: only those that were really signed verify.
pub fn token(data: &[u8]) -> bool {
    let Ok(token) = std::str::from_utf8(data) else {
        return false;
    };
    let result = verified(token);
    assert_eq!(result.is_ok(), TOKENS.contains(&token));
    result.is_ok_and(|caller| caller.issuer() == ISSUER && caller.has_scope("read"))
}

/// A JOSE header, and on the second line claims: what a fuzzer would not find behind base64.
pub fn jose(data: &[u8]) -> bool {
    let (header, claims) = two(data);
    let objects = [header, claims].map(strictly_read);
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let mut good = false;
    for signed in TOKENS {
        let signature = signed.rsplit('.').next().unwrap_or_default();
        let token = format!("{message}.{signature}");
        let result = verified(&token);
        assert_eq!(result.is_ok(), TOKENS.contains(&token.as_str()));
        if matches!(result, Ok(_) | Err(VerifyError::Signature)) {
            let [Some(header), Some(claims)] = &objects else {
                unreachable!("what was read is no object");
            };
            assert_rules(header, claims);
        }
        good |= result.is_ok();
    }
    good
}

/// Every rule that needs no key, once more, over what another reader sees.
fn assert_rules(header: &Value, claims: &Value) {
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
    let now = NOW as f64;
    for foreign in ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"] {
        assert!(header.get(foreign).is_none(), "{foreign}");
    }
    assert!(
        ["RS256", "EdDSA", "Ed25519"]
            .map(Value::from)
            .contains(&header["alg"])
    );
    assert!(header.get("kid").is_none_or(Value::is_string));
    assert!(header.get("typ").is_none_or(Value::is_string));
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    let audiences = audience
        .as_array()
        .map_or(std::slice::from_ref(audience), Vec::as_slice);
    assert!(audiences.iter().all(Value::is_string));
    assert!(audiences.iter().any(|audience| audience == AUDIENCE));
    assert!(number("exp").is_some_and(|expires| expires > now - 3600.0));
    for begins in ["nbf", "iat"] {
        assert!(
            claims
                .get(begins)
                .is_none_or(|_| number(begins).is_some_and(|at| at < now + 3600.0))
        );
    }
    assert!(claims.get("cnf").is_none());
}

/// Takes note of all members.
struct Names {
    wanted: bool,
    names: Vec<String>,
}

impl Members<'_> for Names {
    fn wants(&self, _: &str) -> bool {
        self.wanted
    }

    fn take(&mut self, name: &str, _: Node<'_>) {
        self.names.push(name.to_owned());
    }
}

/// Our two readers agree, and serde_json reads what they read.
fn strictly_read(text: &[u8]) -> Option<Value> {
    let mut deep = None;
    for depth in [1, 3, MAX_DEPTH] {
        let parsed = json::parse_object(text, depth).ok();
        for wanted in [false, true] {
            let mut members = Names {
                wanted,
                names: Vec::new(),
            };
            let read = json::read_object(text, depth, &mut members);
            assert_eq!(read.is_ok(), parsed.is_some());
            if let Some(parsed) = &parsed {
                assert_eq!(members.names.len(), parsed.len());
                let names: BTreeSet<&str> = members.names.iter().map(String::as_str).collect();
                assert!(parsed.keys().all(|name| names.contains(name.as_str())));
            }
        }
        let parsed = parsed.map(Value::Object);
        if parsed.is_some() {
            assert_eq!(serde_json::from_slice(text).ok(), parsed);
        }
        assert!(deep.is_none() || parsed.is_some(), "deeper than deeper");
        deep = parsed;
    }
    deep
}
