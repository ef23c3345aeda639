//! Keys: a pure lookup ([`KeySet`]), the seam to where they come from ([`KeySource`]), and the snapshot that requests read.

pub(crate) mod discovery;
mod jwks_client;
mod key;
mod remote;
mod source;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::key::identity;
use crate::json;
use crate::token::sha256;

pub(crate) use self::discovery::{DiscoverySource, Expected};
pub use self::jwks_client::JwksClientSource;
pub(crate) use self::key::Key;
pub(crate) use self::remote::{Attempts, Bounds, Generation, Lookup, RemoteKeySet, Unavailable};
pub use self::remote::{KeyState, KeyStatus};
pub use self::source::{FetchError, FetchFuture, Fetched, KeySource};

/// A set with more entries than this is refused as a whole.
pub const MAX_KEYS: usize = 200;
/// Deepest nesting of a JWK set.
const MAX_DEPTH: usize = 32;

/// An immutable set of verification keys, looked up by `kid`, with what the metadata say of whose they are.
#[derive(Clone, Default)]
pub struct KeySet {
    by_kid: HashMap<Box<str>, Arc<Key>>,
    /// The only key of the set, which need not have a name.
    only: Option<Arc<Key>>,
    /// SHA-256 over all keys with their names and restrictions, in whatever order they were published.
    digest: [u8; 32],
    issuer: Option<Box<str>>,
    cloud_instance: Option<Box<str>>,
}

/// The text is not a JWK set, or holds more than [`MAX_KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JWK set (RFC 7517 5) of at most 200 keys")]
pub struct InvalidKeySet;

impl KeySet {
    /// Reads a JWK set (RFC 7517 5), key by key: a key that cannot be used to verify signatures is left out and never spoils the rest.
    ///
    /// Left out are keys without `kid`, unless there is but one key; of unknown type or curve; with `use` other than `sig`, `key_ops`
    /// without `verify`, or an algorithm that is not an asymmetric signature; RSA keys under 2048 or over 8192 bits or with an even or
    /// tiny exponent; points beside their NIST curve, and of small order on Ed25519; private and symmetric keys; and all keys of a `kid`
    /// that stands for two keys, or for one under different restrictions.
    ///
    /// # Errors
    /// Text that is not an object with an array `keys`, with a member twice, or with more than [`MAX_KEYS`] entries.
    pub fn from_jwks(text: &[u8]) -> Result<Self, InvalidKeySet> {
        let document = json::parse_object(text, MAX_DEPTH).map_err(|_| InvalidKeySet)?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err(InvalidKeySet);
        };
        if entries.len() > MAX_KEYS {
            return Err(InvalidKeySet);
        }
        Ok(Self::from_entries(
            entries.iter().filter_map(Value::as_object),
        ))
    }

    /// States the `issuer` of the metadata that led to these keys, perhaps with `{tenantid}` in it: they then verify no token
    /// of another. For a [`KeySource`]; needed where the issuer is only known from the metadata (Entra External ID).
    #[must_use]
    pub fn of_issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// States the `cloud_instance_name` of Entra's metadata: a key that names another is not used. For a [`KeySource`].
    #[must_use]
    pub fn of_cloud_instance(mut self, name: &str) -> Self {
        self.cloud_instance = Some(name.into());
        self
    }

    fn from_entries<'a>(entries: impl Iterator<Item = &'a Map<String, Value>>) -> Self {
        let mut usable: Vec<(Option<&str>, String, Arc<Key>)> = entries
            .filter_map(|entry| {
                let kid = match entry.get("kid") {
                    None => None,
                    Some(kid) => Some(kid.as_str().filter(|kid| !kid.is_empty())?),
                };
                Some((kid, identity(entry), Arc::new(Key::from_jwk(entry)?)))
            })
            .collect();
        usable.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        usable.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
        let named: Vec<(&str, &Arc<Key>)> = usable
            .iter()
            .filter_map(|(kid, _, key)| kid.map(|kid| (kid, key)))
            .collect();
        let by_kid: HashMap<Box<str>, Arc<Key>> = named
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|of_one_name| match of_one_name {
                [(kid, key)] => Some((Box::from(*kid), Arc::clone(key))),
                _ => None,
            })
            .collect();
        let only = match usable.as_slice() {
            [(_, _, key)] => Some(Arc::clone(key)),
            _ => None,
        };
        let published: Vec<(Option<&str>, &str)> = usable
            .iter()
            .map(|(kid, identity, _)| (*kid, identity.as_str()))
            .collect();
        Self {
            by_kid,
            only,
            digest: sha256(json!(published).to_string().as_bytes()),
            issuer: None,
            cloud_instance: None,
        }
    }

    /// Are both the same keys under the same restrictions? Then a token that one of them verified, the other verifies too.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
            && self.issuer == other.issuer
            && self.cloud_instance == other.cloud_instance
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub(crate) fn cloud_instance(&self) -> Option<&str> {
        self.cloud_instance.as_deref()
    }

    /// The key of a token: by its `kid`, or the only key of the set for a token without one (OpenID Connect Core 10.1).
    pub(crate) fn key(&self, kid: Option<&str>) -> Option<&Key> {
        let key = match kid {
            Some(kid) => self.by_kid.get(kid),
            None => self.only.as_ref(),
        };
        key.map(Arc::as_ref)
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_kid.len().max(usize::from(self.only.is_some()))
    }

    /// Is there no usable key?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn rsa_jwk() -> Value {
        let mut modulus = vec![0xC3_u8; 256];
        modulus[255] = 0xC5;
        json!({"kty": "RSA", "kid": "a", "use": "sig", "n": BASE64_URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
    }

    fn count(keys: &[Value]) -> usize {
        KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes())
            .unwrap()
            .len()
    }

    fn with(name: &str, value: Value) -> Value {
        let mut jwk = rsa_jwk();
        jwk[name] = value;
        jwk
    }

    #[test]
    fn unusable_keys_are_left_out_and_spoil_nothing() {
        let short = BASE64_URL_SAFE_NO_PAD.encode([0xC3_u8; 128]);
        let rows = [
            ("encryption", with("use", json!("enc"))),
            ("use of wrong type", with("use", json!(1))),
            ("operations", with("key_ops", json!(["encrypt"]))),
            ("symmetric", json!({"kty": "oct", "kid": "b", "k": "AAAA"})),
            ("private", with("d", json!("AAAA"))),
            ("HMAC", with("alg", json!("HS256"))),
            ("none", with("alg", json!("none"))),
            ("algorithm of another type", with("alg", json!("ES256"))),
            (
                "unknown type",
                json!({"kty": "AKP", "kid": "b", "alg": "ML-DSA-44", "pub": "AA"}),
            ),
            ("numeric kid", with("kid", json!(7))),
            ("1024 bits", with("n", json!(short))),
            ("exponent 1", with("e", json!("AQ"))),
            ("exponent 1 behind a zero", with("e", json!("AAE"))),
            ("even exponent", with("e", json!("BA"))),
            (
                "padded modulus",
                with("n", json!(format!("{}=", rsa_jwk()["n"].as_str().unwrap()))),
            ),
            ("issuer of wrong type", with("issuer", json!(["x"]))),
            ("cloud of wrong type", with("cloud_instance_name", json!(1))),
            ("not an object", json!("x")),
            (
                "short EC",
                json!({"kty": "EC", "kid": "b", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
            ),
        ];
        assert_eq!(count(&[rsa_jwk()]), 1);
        for (name, bad) in rows {
            assert_eq!(count(std::slice::from_ref(&bad)), 0, "{name} alone");
            let mut good = rsa_jwk();
            good["kid"] = json!("good");
            assert_eq!(count(&[bad, good]), 1, "{name} beside a good key");
        }
    }

    #[test]
    fn one_kid_for_two_keys_is_no_key() {
        assert_eq!(count(&[rsa_jwk(), with("e", json!("Aw"))]), 0);
        assert_eq!(count(&[rsa_jwk(), rsa_jwk()]), 1);
        assert_eq!(count(&[rsa_jwk(), with("x5t", json!("other metadata"))]), 1);
        for restriction in ["issuer", "cloud_instance_name"] {
            let restricted = with(restriction, json!("https://a"));
            for keys in [[rsa_jwk(), restricted.clone()], [restricted, rsa_jwk()]] {
                assert_eq!(
                    count(&keys),
                    0,
                    "the same key under two restrictions: {restriction}"
                );
            }
        }
        assert_eq!(count(&[rsa_jwk(), with("alg", json!("PS256"))]), 0);
    }

    #[test]
    fn set_is_refused_whole_when_it_is_none() {
        let mut many: Vec<Value> = (0..MAX_KEYS)
            .map(|n| with("kid", json!(n.to_string())))
            .collect();
        assert_eq!(count(&many), MAX_KEYS);
        many.push(with("kid", json!("one more")));
        let rows = ["", "[]", "{}", r#"{"keys":{}}"#, "<html>", r#"{"keys":["#].map(str::to_owned);
        for text in rows
            .into_iter()
            .chain([json!({ "keys": many }).to_string()])
        {
            assert!(KeySet::from_jwks(text.as_bytes()).is_err(), "{text:.40}");
        }
        assert!(KeySet::from_jwks(br#"{"keys":[]}"#).unwrap().is_empty());
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn unnamed() -> Value {
        let mut key = rsa_jwk();
        key.as_object_mut().unwrap().remove("kid");
        key["e"] = json!("Aw");
        key
    }

    #[test]
    fn token_without_kid_takes_only_an_only_key() {
        assert!(set(&[rsa_jwk()]).key(None).is_some());
        let two = set(&[rsa_jwk(), with("kid", json!("b"))]);
        assert!(two.key(None).is_none());
        assert!(set(&[rsa_jwk()]).key(Some("A")).is_none());
    }

    #[test]
    fn key_without_kid_counts_only_alone() {
        let alone = set(&[unnamed()]);
        assert_eq!(alone.len(), 1);
        assert!(alone.key(None).is_some() && alone.key(Some("a")).is_none());
        let with_a_named_one = set(&[unnamed(), rsa_jwk()]);
        assert_eq!(with_a_named_one.len(), 1);
        assert!(with_a_named_one.key(None).is_none() && with_a_named_one.key(Some("a")).is_some());
    }

    #[test]
    fn the_same_keys_in_another_order_are_the_same_keys() {
        let (a, b) = (rsa_jwk(), with("kid", json!("b")));
        let both = set(&[a.clone(), b.clone()]);
        assert!(both.is_same(&set(&[b.clone(), a.clone()])));
        assert!(both.is_same(&set(&[
            a.clone(),
            b.clone(),
            json!({"kty": "oct", "k": "AA"})
        ])));
        for other in [
            set(std::slice::from_ref(&a)),
            set(&[a.clone(), with("kid", json!("c"))]),
            set(&[a.clone(), with("e", json!("Aw")), b.clone()]),
            set(&[a.clone(), with("kid", json!("b")), unnamed()]),
            set(&[with("issuer", json!("https://a")), b.clone()]),
            set(&[a.clone(), b.clone()]).of_issuer("https://a"),
            set(&[a, b]).of_cloud_instance("c"),
        ] {
            assert!(!both.is_same(&other));
        }
    }
}
