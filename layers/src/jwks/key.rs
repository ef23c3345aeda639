//! One verification key, read from its JWK (RFC 7517 4, RFC 7518 6, RFC 8037 2).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, EcdsaVerificationAlgorithm,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value, json};

use crate::algorithm::{Algorithm, KeyType};

/// One usable key.
pub(crate) struct Key {
    pub(crate) key_type: KeyType,
    /// The only algorithm of this key, when its JWK names one.
    pub(crate) algorithm: Option<Algorithm>,
    /// Entra: the issuer that this key signs for, perhaps with `{tenantid}` in it.
    pub(crate) issuer: Option<Box<str>>,
    /// Entra: the cloud that this key belongs to.
    pub(crate) cloud_instance: Option<Box<str>>,
    /// Parsed once, for the one algorithm that most of its signatures are made with.
    pub(crate) parsed: (Algorithm, ParsedPublicKey),
    /// For the other algorithms of its type.
    pub(crate) decoding: DecodingKey,
}

impl Key {
    /// `None` for a key that cannot be used to verify signatures.
    pub(super) fn from_jwk(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let private = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"]
            .iter()
            .any(|name| jwk.contains_key(*name));
        let for_signatures = jwk.get("use").is_none_or(|usage| usage == "sig");
        let may_verify = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => {
                operations.iter().any(|operation| operation == "verify")
            }
            Some(_) => false,
        };
        if private || !for_signatures || !may_verify {
            return None;
        }
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::from_name(name.as_str()?)?),
        };
        let (key_type, material) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (KeyType::Rsa, Material::rsa(text("n")?, text("e")?)?),
            ("EC", Some("P-256")) => (KeyType::P256, Material::ec(text("x")?, text("y")?, 32)?),
            ("EC", Some("P-384")) => (KeyType::P384, Material::ec(text("x")?, text("y")?, 48)?),
            ("OKP", Some("Ed25519")) => (KeyType::Ed25519, Material::ed(text("x")?)?),
            _ => return None,
        };
        if algorithm.is_some_and(|algorithm| algorithm.key_type() != key_type) {
            return None;
        }
        let scope = |name: &str| match jwk.get(name) {
            None => Some(None),
            Some(value) => value.as_str().map(|text| Some(text.into())),
        };
        let issuer = scope("issuer")?;
        let cloud_instance = scope("cloud_instance_name")?;
        Some(Self {
            key_type,
            algorithm,
            issuer,
            cloud_instance,
            parsed: material.parse(algorithm.unwrap_or(key_type.usual_algorithm()))?,
            decoding: material.decoding()?,
        })
    }
}

/// Numbers and points, as bytes without the encoding of the JWK.
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { x: Vec<u8>, y: Vec<u8> },
    Ed(Vec<u8>),
}

impl Material {
    fn rsa(n: &str, e: &str) -> Option<Self> {
        let [modulus, exponent] = [decode(n)?, decode(e)?].map(|bytes| {
            bytes
                .into_iter()
                .skip_while(|byte| *byte == 0)
                .collect::<Vec<u8>>()
        });
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
        let large = exponent.len() > 1 || exponent.first().is_some_and(|byte| *byte >= 3);
        ((2048..=8192).contains(&bits) && odd && large).then_some(Self::Rsa { modulus, exponent })
    }

    fn ec(x: &str, y: &str, length: usize) -> Option<Self> {
        let (x, y) = (decode(x)?, decode(y)?);
        (x.len() == length && y.len() == length).then_some(Self::Ec { x, y })
    }

    fn ed(x: &str) -> Option<Self> {
        decode(x).filter(|x| x.len() == 32).map(Self::Ed)
    }

    /// A key that cannot be parsed (a point that is not on its curve, say) is no key.
    fn parse(&self, algorithm: Algorithm) -> Option<(Algorithm, ParsedPublicKey)> {
        let rsa = |parameters| match self {
            Self::Rsa { modulus, exponent } => {
                let components = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                components.to_parsed_public_key(parameters).ok()
            }
            Self::Ec { .. } | Self::Ed(_) => None,
        };
        let curve = |algorithm: &'static EcdsaVerificationAlgorithm| match self {
            Self::Ec { x, y } => {
                let uncompressed = [&[4], x.as_slice(), y.as_slice()].concat();
                ParsedPublicKey::new(algorithm, uncompressed).ok()
            }
            Self::Rsa { .. } | Self::Ed(_) => None,
        };
        let parsed = match algorithm {
            Algorithm::EdDsa => match self {
                Self::Ed(x) => ParsedPublicKey::new(&ED25519, x).ok(),
                Self::Rsa { .. } | Self::Ec { .. } => None,
            },
            Algorithm::Es256 => curve(&ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => curve(&ECDSA_P384_SHA384_FIXED),
            Algorithm::Ps256 => rsa(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_2048_8192_SHA512),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_2048_8192_SHA512),
        };
        parsed.map(|parsed| (algorithm, parsed))
    }

    fn decoding(&self) -> Option<DecodingKey> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa { modulus, exponent } => {
                Some(DecodingKey::from_rsa_raw_components(modulus, exponent))
            }
            Self::Ec { x, y } => DecodingKey::from_ec_components(&encode(x), &encode(y)).ok(),
            Self::Ed(x) => DecodingKey::from_ed_components(&encode(x)).ok(),
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// All of an entry that decides what its key verifies, as text.
pub(super) fn identity(jwk: &Map<String, Value>) -> String {
    let decisive = [
        "alg",
        "cloud_instance_name",
        "crv",
        "e",
        "issuer",
        "kty",
        "n",
        "x",
        "y",
    ];
    let values = decisive.map(|name| jwk.get(name).unwrap_or(&Value::Null));
    json!(values).to_string()
}
