//! Signing keys: made at start, rotated on demand, published in Entra's shape. The signer is this package's own.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::clock::{Clock, SystemClock};

/// How many keys are published at once, the signing one included.
const MAX_PUBLISHED: usize = 8;

/// One RSA key pair and its public names.
pub(crate) struct SigningKey {
    pair: KeyPair,
    kid: String,
    n: String,
    e: String,
    /// When it was made, by the machine's clock.
    made: u64,
}

impl SigningKey {
    pub(crate) fn generate() -> Result<Self, Unspecified> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let n = URL_SAFE_NO_PAD.encode(
            pair.public_key()
                .modulus()
                .big_endian_without_leading_zero(),
        );
        let e = URL_SAFE_NO_PAD.encode(
            pair.public_key()
                .exponent()
                .big_endian_without_leading_zero(),
        );
        // RFC 7638: the digest of the required members in lexicographic order.
        let thumbprint = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes(),
        );
        Ok(Self {
            pair,
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            n,
            e,
            made: SystemClock.now(),
        })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// Seconds since it was made.
    pub(crate) fn age(&self) -> u64 {
        SystemClock.now().saturating_sub(self.made)
    }

    /// The header of a v2.0 access token: `typ` is `JWT`, never `at+jwt`, and there is no `x5t`.
    pub(crate) fn header(&self) -> Map<String, Value> {
        let mut header = Map::new();
        header.insert("typ".into(), "JWT".into());
        header.insert("alg".into(), "RS256".into());
        header.insert("kid".into(), self.kid.as_str().into());
        header
    }

    /// A JWS in compact form.
    pub(crate) fn sign(
        &self,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<String, Unspecified> {
        let part = |map: &Map<String, Value>| {
            serde_json::to_vec(map)
                .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
                .map_err(|_| Unspecified)
        };
        let input = format!("{}.{}", part(header)?, part(claims)?);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            input.as_bytes(),
            &mut signature,
        )?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn verifies(&self, input: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key())
            .verify(input, signature)
            .is_ok()
    }

    /// Entra's JWK has an `issuer` member and no `alg`.
    fn jwk(&self, issuer: &str) -> Value {
        json!({ "kty": "RSA", "use": "sig", "kid": self.kid, "n": self.n, "e": self.e, "issuer": issuer })
    }

    /// The public key as a DER `SubjectPublicKeyInfo`.
    #[cfg(test)]
    fn spki(&self) -> Vec<u8> {
        let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            aws_lc_rs::encoding::AsDer::as_der(self.pair.public_key()).unwrap();
        der.as_ref().to_vec()
    }
}

/// The published keys; the first one signs.
pub(crate) struct KeyRing(RwLock<Vec<Arc<SigningKey>>>);

impl KeyRing {
    pub(crate) fn generate() -> Result<Self, Unspecified> {
        Ok(Self(RwLock::new(vec![Arc::new(SigningKey::generate()?)])))
    }

    pub(crate) fn current(&self) -> Option<Arc<SigningKey>> {
        self.read().first().cloned()
    }

    /// Puts a new key in front. Older ones stay published, so that their tokens still verify.
    pub(crate) fn rotate(&self) -> Result<String, Unspecified> {
        let key = Arc::new(SigningKey::generate()?);
        let kid = key.kid.clone();
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(0, key);
        keys.truncate(MAX_PUBLISHED);
        Ok(kid)
    }

    /// Takes a key out of publication; a new one is made first if it was the signing key. Whether it was published.
    pub(crate) fn withdraw(&self, kid: &str) -> Result<bool, Unspecified> {
        if self.current().is_some_and(|key| key.kid == kid) {
            self.rotate()?;
        }
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = keys.len();
        keys.retain(|key| key.kid != kid);
        Ok(keys.len() < before)
    }

    pub(crate) fn jwks(&self, issuer: &str) -> Value {
        json!({ "keys": self.read().iter().map(|key| key.jwk(issuer)).collect::<Vec<_>>() })
    }

    /// The published keys, the signing one first.
    pub(crate) fn published(&self) -> Vec<Arc<SigningKey>> {
        self.read().clone()
    }

    /// The claims of a token that one of the published keys signed.
    pub(crate) fn open(&self, token: &str) -> Option<Map<String, Value>> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let object = |part: &str| {
            serde_json::from_slice::<Map<String, Value>>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = object(header)?;
        if header.get("alg")?.as_str()? != "RS256" {
            return None;
        }
        let kid = header.get("kid")?.as_str()?;
        let key = self.read().iter().find(|key| key.kid == kid).cloned()?;
        key.verifies(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .then(|| object(claims))
            .flatten()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<SigningKey>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Map<String, Value> {
        json!({ "sub": "x" }).as_object().unwrap().clone()
    }

    fn token(ring: &KeyRing) -> String {
        let key = ring.current().unwrap();
        key.sign(&key.header(), &claims()).unwrap()
    }

    #[test]
    fn a_signed_token_opens() {
        let ring = KeyRing::generate().unwrap();
        assert_eq!(ring.open(&token(&ring)), Some(claims()));
    }

    #[test]
    fn a_changed_token_does_not_open() {
        let ring = KeyRing::generate().unwrap();
        let token = token(&ring);
        let parts: Vec<_> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"sub":"y"}"#);
        assert_eq!(
            ring.open(&format!("{}.{forged}.{}", parts[0], parts[2])),
            None
        );
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(ring.open(&format!("{none}.{}.", parts[1])), None);
        for text in ["", ".", "..", "a.b.c"] {
            assert_eq!(ring.open(text), None);
        }
    }

    #[test]
    fn rotation_keeps_old_tokens_and_withdrawal_ends_them() {
        let ring = KeyRing::generate().unwrap();
        let (old, kid) = (token(&ring), ring.current().unwrap().kid().to_owned());
        let new = ring.rotate().unwrap();
        assert_ne!(kid, new);
        assert_eq!(ring.jwks("i")["keys"].as_array().unwrap().len(), 2);
        assert!(ring.open(&old).is_some());
        assert!(ring.withdraw(&kid).unwrap());
        assert!(!ring.withdraw(&kid).unwrap());
        assert!(ring.open(&old).is_none());
        assert!(ring.withdraw(&new).unwrap());
        assert!(ring.open(&token(&ring)).is_some());
    }

    #[test]
    fn jwk_has_the_shape_of_entra() {
        let ring = KeyRing::generate().unwrap();
        let jwks = ring.jwks("http://localhost:8080/t/v2.0");
        let mut members: Vec<_> = jwks["keys"][0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        members.sort();
        assert_eq!(members, ["e", "issuer", "kid", "kty", "n", "use"]);
        assert_eq!(jwks["keys"][0]["e"], "AQAB");
        let n = URL_SAFE_NO_PAD
            .decode(jwks["keys"][0]["n"].as_str().unwrap())
            .unwrap();
        assert_eq!(n.len(), 256);
        let spki = ring.current().unwrap().spki();
        assert!(spki.windows(n.len()).any(|window| window == n));
    }
}
