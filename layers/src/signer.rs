//! Callers for unit tests, with tokens that were really signed and verified.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::jwks::KeySet;
use crate::jwt::verify;
use crate::principal::Principal;
use crate::resource::Resource;

static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A key set whose only key signed every token of [`sign`].
pub(crate) fn keys() -> KeySet {
    let public: RsaPublicKeyComponents<Vec<u8>> = KEY.public_key().into();
    let key = json!({"kty": "RSA", "kid": "a", "n": b64(public.n), "e": b64(public.e)});
    KeySet::from_jwks(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
}

/// RS256.
pub(crate) fn sign(claims: &Value) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "a"});
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let mut signature = vec![0; KEY.public_modulus_len()];
    let random = SystemRandom::new();
    KEY.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", b64(signature))
}

/// A caller of the resource `api://x` of one tenant, with these claims beside the ones that every token has.
pub(crate) fn caller(resource: &Resource, changes: &Value) -> Principal {
    let authority = resource.authority();
    let now = authority.now();
    let mut claims = json!({
        "iss": authority.name(), "tid": authority.as_entra().unwrap().tenant, "aud": "api://x",
        "exp": now + 3600, "azp": "spa",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    verify(&sign(&claims), &keys(), &resource.policy(), now).unwrap()
}
