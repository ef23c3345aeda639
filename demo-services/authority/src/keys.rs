//! Signing keys: made at the first start, rotated on demand, published in Entra's shape. The signer is this package's own.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretSlice;
use serde_json::{Map, Value, json};

use crate::changes::{Changes, Watched};
use crate::key_certificate::Certificate;
use crate::version::TokenVersion;

/// How many keys are published at once, the signing one included.
pub(crate) const MAX_PUBLISHED: usize = 8;

/// Whom the keys of a version 2.0 key set belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) cloud_instance: &'a str,
    /// The tenant's, or with `{tenantid}` the one of all tenants.
    pub(crate) issuer: &'a str,
}

/// No signing key could be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no signing key could be made")]
#[non_exhaustive]
pub struct KeyError;

/// One RSA key pair and its public names.
pub(crate) struct SigningKey {
    pair: KeyPair,
    /// Its thumbprint is the `kid`.
    certificate: Certificate,
    n: String,
    e: String,
    /// When it was made, by the authority's clock without its skew.
    made: u64,
}

impl SigningKey {
    pub(crate) fn generate(now: u64) -> Result<Self, Unspecified> {
        Self::new(KeyPair::generate(KeySize::Rsa2048)?, now)
    }

    /// The key that [`to_pkcs8`](Self::to_pkcs8) wrote, under the same `kid`.
    pub(crate) fn from_pkcs8(der: &[u8], made: u64) -> Result<Self, Unspecified> {
        Self::new(KeyPair::from_pkcs8(der)?, made)
    }

    /// The private key as a DER `PrivateKeyInfo` (RFC 5208).
    pub(crate) fn to_pkcs8(&self) -> Result<SecretSlice<u8>, Unspecified> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der()?;
        Ok(der.as_ref().to_vec().into())
    }

    fn new(pair: KeyPair, made: u64) -> Result<Self, Unspecified> {
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
        Ok(Self {
            certificate: Certificate::of(&pair)?,
            pair,
            n,
            e,
            made,
        })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.certificate.x5t
    }

    /// When it was made, in seconds since 1970.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// The header of a token: `typ` is `JWT`, never `at+jwt`; version 1.0 repeats the `kid` as `x5t`.
    pub(crate) fn header(&self, version: TokenVersion) -> Map<String, Value> {
        let mut header = Map::new();
        header.insert("typ".into(), "JWT".into());
        header.insert("alg".into(), "RS256".into());
        header.insert("kid".into(), self.kid().into());
        if version == TokenVersion::V1 {
            header.insert("x5t".into(), self.kid().into());
        }
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

    /// Entra's JWK has no `alg`, and in the version 2.0 key set it says whose it is.
    fn jwk(&self, owner: Option<Owner<'_>>) -> Value {
        let Certificate { x5t, x5c } = &self.certificate;
        let mut jwk = json!({ "kty": "RSA", "use": "sig", "kid": x5t, "x5t": x5t, "n": self.n, "e": self.e, "x5c": [x5c] });
        if let (Some(owner), Some(members)) = (owner, jwk.as_object_mut()) {
            members.insert("cloud_instance_name".into(), owner.cloud_instance.into());
            members.insert("issuer".into(), owner.issuer.into());
        }
        jwk
    }

    /// The public key as a DER `SubjectPublicKeyInfo`.
    #[cfg(test)]
    fn spki(&self) -> Vec<u8> {
        let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            self.pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }
}

/// The published keys; the first one signs.
pub(crate) struct KeyRing(Watched<Vec<Arc<SigningKey>>>);

impl KeyRing {
    /// The first of `keys` signs.
    pub(crate) fn new(keys: Vec<SigningKey>, changes: &Changes) -> Self {
        Self(Watched::new(
            keys.into_iter().map(Arc::new).collect(),
            changes,
        ))
    }

    pub(crate) fn generate(now: u64, changes: &Changes) -> Result<Self, Unspecified> {
        Ok(Self::new(vec![SigningKey::generate(now)?], changes))
    }

    pub(crate) fn current(&self) -> Option<Arc<SigningKey>> {
        self.read().first().cloned()
    }

    /// Puts a new key in front. Older ones stay published, so that their tokens still verify.
    pub(crate) fn rotate(&self, now: u64) -> Result<String, Unspecified> {
        let key = Arc::new(SigningKey::generate(now)?);
        let kid = key.kid().to_owned();
        let mut keys = self.0.write();
        keys.insert(0, key);
        keys.truncate(MAX_PUBLISHED);
        Ok(kid)
    }

    /// Takes a key out of publication; a new one is made first if it was the signing key. Whether it was published.
    pub(crate) fn withdraw(&self, kid: &str, now: u64) -> Result<bool, Unspecified> {
        if self.current().is_some_and(|key| key.kid() == kid) {
            self.rotate(now)?;
        }
        let mut keys = self.0.write();
        let before = keys.len();
        keys.retain(|key| key.kid() != kid);
        Ok(keys.len() < before)
    }

    /// The key set; version 1.0's has no owner.
    pub(crate) fn jwks(&self, owner: Option<Owner<'_>>) -> Value {
        json!({ "keys": self.read().iter().map(|key| key.jwk(owner)).collect::<Vec<_>>() })
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
        let key = self.read().iter().find(|key| key.kid() == kid).cloned()?;
        key.verifies(input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .then(|| object(claims))
            .flatten()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<SigningKey>>> {
        self.0.read()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    use base64::engine::general_purpose::STANDARD;
    use secrecy::ExposeSecret;

    use super::*;

    fn claims() -> Map<String, Value> {
        json!({ "sub": "x" }).as_object().unwrap().clone()
    }

    fn token(ring: &KeyRing) -> String {
        let key = ring.current().unwrap();
        key.sign(&key.header(TokenVersion::V2), &claims()).unwrap()
    }

    #[test]
    fn a_signed_token_opens() {
        let ring = KeyRing::generate(0, &Changes::default()).unwrap();
        assert_eq!(ring.open(&token(&ring)), Some(claims()));
    }

    #[test]
    fn a_key_comes_back_from_its_der_as_it_was() {
        let ring = KeyRing::generate(0, &Changes::default()).unwrap();
        let der = ring.current().unwrap().to_pkcs8().unwrap();
        let der = der.expose_secret();
        let again = KeyRing::new(
            vec![SigningKey::from_pkcs8(der, 0).unwrap()],
            &Changes::default(),
        );
        assert_eq!(again.jwks(None), ring.jwks(None));
        assert_eq!(again.open(&token(&ring)), Some(claims()));
        assert_eq!(ring.open(&token(&again)), Some(claims()));
        assert!(SigningKey::from_pkcs8(&der[1..], 0).is_err());
        assert!(SigningKey::from_pkcs8(&[], 0).is_err());
    }

    #[test]
    fn a_changed_token_does_not_open() {
        let ring = KeyRing::generate(0, &Changes::default()).unwrap();
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
        let ring = KeyRing::generate(0, &Changes::default()).unwrap();
        let (old, kid) = (token(&ring), ring.current().unwrap().kid().to_owned());
        let new = ring.rotate(1).unwrap();
        assert_ne!(kid, new);
        assert_eq!(ring.jwks(None)["keys"].as_array().unwrap().len(), 2);
        let made: Vec<_> = ring.published().iter().map(|key| key.made()).collect();
        assert_eq!(made, [1, 0]);
        assert!(ring.open(&old).is_some());
        assert!(ring.withdraw(&kid, 2).unwrap());
        assert!(!ring.withdraw(&kid, 2).unwrap());
        assert!(ring.open(&old).is_none());
        assert!(ring.withdraw(&new, 2).unwrap());
        assert!(ring.open(&token(&ring)).is_some());
    }

    #[test]
    fn jwk_has_the_shape_of_entra() {
        let ring = KeyRing::generate(0, &Changes::default()).unwrap();
        let owner = Owner {
            cloud_instance: "localhost:8080",
            issuer: "http://localhost:8080/t/v2.0",
        };
        let mut of_v1 = ring.jwks(None)["keys"][0].clone();
        let of_v2 = ring.jwks(Some(owner))["keys"][0].clone();
        let members = |jwk: &Value| {
            let mut members: Vec<_> = jwk.as_object().unwrap().keys().cloned().collect();
            members.sort();
            members
        };
        assert_eq!(
            members(&of_v1),
            ["e", "kid", "kty", "n", "use", "x5c", "x5t"]
        );
        assert_eq!(
            (&of_v1["e"], &of_v1["kid"]),
            (&json!("AQAB"), &of_v1["x5t"])
        );
        let n = URL_SAFE_NO_PAD
            .decode(of_v1["n"].as_str().unwrap())
            .unwrap();
        assert_eq!(n.len(), 256);
        let spki = ring.current().unwrap().spki();
        assert!(spki.windows(n.len()).any(|window| window == n));
        of_v1["issuer"] = owner.issuer.into();
        of_v1["cloud_instance_name"] = owner.cloud_instance.into();
        assert_eq!(of_v1, of_v2);
    }

    #[test]
    fn the_certificate_holds_the_key_and_names_it() {
        let ring = KeyRing::generate(0, &Changes::default()).unwrap();
        let key = ring.current().unwrap();
        let jwk = ring.jwks(None)["keys"][0].clone();
        let der = STANDARD.decode(jwk["x5c"][0].as_str().unwrap()).unwrap();
        let spki = key.spki();
        assert!(der.windows(spki.len()).any(|window| window == spki));
        let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &der);
        assert_eq!(key.kid(), URL_SAFE_NO_PAD.encode(thumbprint));
    }

    #[test]
    fn version_1_repeats_the_kid_as_x5t() {
        let key = SigningKey::generate(0).unwrap();
        let kid = key.kid();
        assert_eq!(
            Value::Object(key.header(TokenVersion::V2)),
            json!({ "typ": "JWT", "alg": "RS256", "kid": kid })
        );
        assert_eq!(
            Value::Object(key.header(TokenVersion::V1)),
            json!({ "typ": "JWT", "alg": "RS256", "kid": kid, "x5t": kid })
        );
    }

    #[test]
    fn a_key_that_is_read_back_is_the_same_key() {
        let key = SigningKey::generate(0).unwrap();
        let der = key.to_pkcs8().unwrap();
        let again = SigningKey::from_pkcs8(der.expose_secret(), 0).unwrap();
        assert_eq!(key.jwk(None), again.jwk(None));
        let (header, claims) = (key.header(TokenVersion::V2), claims());
        assert_eq!(
            key.sign(&header, &claims).unwrap(),
            again.sign(&header, &claims).unwrap()
        );
        assert!(SigningKey::from_pkcs8(b"no key", 0).is_err());
    }
}
