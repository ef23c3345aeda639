//! Keys of each kind, from aws-lc.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as aws, KeyPair as _, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};

pub(crate) struct Key {
    pub(crate) algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(aws::RsaKeyPair, &'static dyn aws::RsaEncoding),
    Ec(aws::EcdsaKeyPair),
    Ed(aws::Ed25519KeyPair),
}

pub(crate) const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

impl Key {
    pub(crate) fn generate(algorithm: &'static str) -> Self {
        let rsa = |padding| {
            Pair::Rsa(
                aws::RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
                padding,
            )
        };
        let ec = |curve| Pair::Ec(aws::EcdsaKeyPair::generate(curve).unwrap());
        let pair = match algorithm {
            "RS256" => rsa(&aws::RSA_PKCS1_SHA256),
            "PS256" => rsa(&aws::RSA_PSS_SHA256),
            "ES256" => ec(&aws::ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ec(&aws::ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" => Pair::Ed(aws::Ed25519KeyPair::generate().unwrap()),
            other => unreachable!("{other}"),
        };
        Self { algorithm, pair }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(*padding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// As Entra publishes it: with the issuer that it signs for.
    pub(crate) fn jwk(&self, kid: &str, issuer: &str) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair, _) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
                json!({"kty": "RSA", "n": B64.encode(public.n), "e": B64.encode(public.e)})
            }
            Pair::Ec(pair) => {
                // An uncompressed point: a byte 4 and both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": B64.encode(x), "y": B64.encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = Value::from(kid);
        jwk["use"] = Value::from("sig");
        jwk["issuer"] = Value::from(issuer);
        jwk
    }

    /// What every verification costs at least.
    pub(crate) fn parsed(&self) -> ParsedPublicKey {
        let algorithm: &'static dyn aws::VerificationAlgorithm = match self.algorithm {
            "RS256" => &aws::RSA_PKCS1_2048_8192_SHA256,
            "PS256" => &aws::RSA_PSS_2048_8192_SHA256,
            "ES256" => &aws::ECDSA_P256_SHA256_FIXED,
            "ES384" => &aws::ECDSA_P384_SHA384_FIXED,
            _ => &aws::ED25519,
        };
        let public = match &self.pair {
            Pair::Rsa(pair, _) => pair.public_key().as_ref(),
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Ed(pair) => pair.public_key().as_ref(),
        };
        ParsedPublicKey::new(algorithm, public).unwrap()
    }
}
