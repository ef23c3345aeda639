//! The two implementations, side by side.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{verifies, verifies_by_jsonwebtoken};
use crate::algorithm::Algorithm;
use crate::jwks::{Key, KeySet};

/// What both implementations say; that they say the same is part of every test that asks.
///
/// For a key that is parsed for another algorithm there is only one implementation.
pub(super) fn both(algorithm: Algorithm, key: &Key, message: &[u8], signature: &[u8]) -> bool {
    let ours = verifies(algorithm, key, message, signature);
    let theirs = verifies_by_jsonwebtoken(algorithm, key, message, signature);
    assert_eq!(ours, theirs, "{algorithm:?}");
    ours
}

const MESSAGE: &[u8] = b"header.payload";

struct Case {
    algorithm: Algorithm,
    jwk: Value,
    signature: Vec<u8>,
}

fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(
    pair: &RsaKeyPair,
    algorithm: Algorithm,
    name: &str,
    encoding: &'static dyn RsaEncoding,
) -> Case {
    let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature)
        .unwrap();
    Case {
        algorithm,
        jwk: json!({"kty": "RSA", "alg": name, "n": b64(&public.n), "e": b64(&public.e)}),
        signature,
    }
}

fn ec(
    algorithm: Algorithm,
    name: &str,
    curve: &str,
    signing: &'static EcdsaSigningAlgorithm,
) -> Case {
    let pair = EcdsaKeyPair::generate(signing).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
    Case {
        algorithm,
        jwk: json!({"kty": "EC", "alg": name, "crv": curve, "x": b64(x), "y": b64(y)}),
        signature: signature.as_ref().to_vec(),
    }
}

fn ed() -> Case {
    let pair = Ed25519KeyPair::generate().unwrap();
    Case {
        algorithm: Algorithm::EdDsa,
        jwk: json!({"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
        signature: pair.sign(MESSAGE).as_ref().to_vec(),
    }
}

#[test]
fn both_implementations_agree_on_every_algorithm() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let cases = [
        rsa(&pair, Algorithm::Rs256, "RS256", &RSA_PKCS1_SHA256),
        rsa(&pair, Algorithm::Rs384, "RS384", &RSA_PKCS1_SHA384),
        rsa(&pair, Algorithm::Rs512, "RS512", &RSA_PKCS1_SHA512),
        rsa(&pair, Algorithm::Ps256, "PS256", &RSA_PSS_SHA256),
        rsa(&pair, Algorithm::Ps384, "PS384", &RSA_PSS_SHA384),
        rsa(&pair, Algorithm::Ps512, "PS512", &RSA_PSS_SHA512),
        ec(
            Algorithm::Es256,
            "ES256",
            "P-256",
            &ECDSA_P256_SHA256_FIXED_SIGNING,
        ),
        ec(
            Algorithm::Es384,
            "ES384",
            "P-384",
            &ECDSA_P384_SHA384_FIXED_SIGNING,
        ),
        ed(),
    ];
    for case in &cases {
        let mut jwk = case.jwk.clone();
        jwk["kid"] = json!("a");
        let keys = KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        let key = keys.key(Some("a")).unwrap();
        let algorithm = case.algorithm;
        assert_eq!(
            key.parsed.0, algorithm,
            "else one implementation would be compared with itself"
        );
        assert!(
            both(algorithm, key, MESSAGE, &case.signature),
            "{algorithm:?}"
        );
        for position in 0..case.signature.len() {
            let mut damaged = case.signature.clone();
            damaged[position] ^= 1 << (position % 8);
            assert!(
                !both(algorithm, key, MESSAGE, &damaged),
                "{algorithm:?}, byte {position}"
            );
        }
        let length = case.signature.len();
        for resized in [0, 1, length / 2, length - 1, length + 1, 2 * length] {
            let mut damaged = case.signature.clone();
            damaged.resize(resized, 0);
            assert!(
                !both(algorithm, key, MESSAGE, &damaged),
                "{algorithm:?}, {resized} bytes"
            );
        }
        // The signature of one algorithm is none of another of the same key.
        for other in cases.iter().filter(|other| other.algorithm != algorithm) {
            assert!(
                !both(algorithm, key, MESSAGE, &other.signature),
                "{algorithm:?} took {:?}",
                other.algorithm
            );
        }
    }
}

#[test]
fn unusual_key_verifies_nothing() {
    let ones = |length: usize| b64(&vec![0xFF; length]);
    let even = b64(&[0xFE; 256]);
    for (n, e) in [(ones(256), ones(64)), (even, "AQAB".to_owned())] {
        let jwk = json!({"kty": "RSA", "kid": "a", "n": n, "e": e});
        let keys = KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        // A set is read without a verification, where aws-lc would notice.
        let key = keys.key(Some("a")).unwrap();
        for byte in [0, 1, 0x7F, 0xFE] {
            assert!(
                !both(Algorithm::Rs256, key, MESSAGE, &[byte; 256]),
                "{byte}"
            );
        }
    }
}
