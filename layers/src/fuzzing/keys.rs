//! What an authority publishes.

use serde_json::{Value, json};
use url::Url;

use super::seeds::ISSUER;
use crate::json;
use crate::jwks::discovery::Metadata;
use crate::jwks::{Expected, KeySet, MAX_KEYS};

/// A JWK set.
pub fn jwks(data: &[u8]) -> bool {
    let Ok(keys) = KeySet::from_jwks(data) else {
        return false;
    };
    let document: Value = serde_json::from_slice(data).unwrap_or_default();
    let Some(entries) = document.get("keys").and_then(Value::as_array) else {
        unreachable!("keys of nothing");
    };
    assert!(entries.len() <= MAX_KEYS && keys.len() <= entries.len());
    // A token without a name means the only key there is, named or not.
    assert!(keys.key(None).is_none() || keys.len() == 1);
    let usable = |entry: &&Value| {
        let kid = entry.get("kid").and_then(Value::as_str);
        kid.is_some_and(|kid| keys.key(Some(kid)).is_some())
    };
    for entry in entries.iter().filter(usable) {
        let kind = entry.get("kty").and_then(Value::as_str);
        let alone = KeySet::from_jwks(json!({"keys": [entry]}).to_string().as_bytes());
        // A kid that stands for a key and for something unusable is the key's.
        if alone.is_ok_and(|alone| !alone.is_empty()) {
            assert!(matches!(kind, Some("RSA" | "EC" | "OKP")));
            assert!(
                ["d", "p", "q", "k"]
                    .iter()
                    .all(|secret| entry.get(*secret).is_none())
            );
        }
    }
    if entries.len() < MAX_KEYS {
        let mut more = entries.clone();
        more.push(json!({"kty": "oct", "kid": "symmetric", "k": "AAAA"}));
        let more = KeySet::from_jwks(json!({"keys": more}).to_string().as_bytes());
        assert_eq!(
            more.map(|more| more.len()),
            Ok(keys.len()),
            "a bad key spoiled the rest"
        );
    }
    assert!(KeySet::from_jwks(data).is_ok_and(|again| again.is_same(&keys)));
    !keys.is_empty()
}

/// Discovery metadata.
pub fn metadata(data: &[u8]) -> bool {
    let path = "/t/v2.0";
    let mut good = false;
    for loopback_http in [false, true] {
        for expected in [
            Expected::Exactly(ISSUER.to_owned()),
            Expected::EndingIn(path.to_owned()),
        ] {
            if Metadata::parse(data, &expected, loopback_http).is_err() {
                continue;
            }
            let members = json::parse_object(data, 32).unwrap_or_default();
            let text = |name: &str| {
                members
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let secure = |url: &str| {
                Url::parse(url).is_ok_and(|url| {
                    let loopback = ["127.0.0.1", "[::1]", "localhost"];
                    url.scheme() == "https"
                        || loopback_http
                            && url.scheme() == "http"
                            && url.host_str().is_some_and(|host| {
                                loopback.contains(&host) || host.starts_with("127.")
                            })
                })
            };
            assert!(secure(text("jwks_uri")));
            match expected {
                Expected::Exactly(issuer) => assert_eq!(text("issuer"), issuer),
                Expected::EndingIn(path) => {
                    assert!(secure(text("issuer")) && text("issuer").ends_with(&path))
                }
            }
            good = true;
        }
    }
    good
}
