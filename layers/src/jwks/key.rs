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
        let x = decode(x).filter(|x| x.len() == 32)?;
        (!has_small_order(&x)).then_some(Self::Ed(x))
    }

    /// A key that cannot be parsed (a point that is not on its NIST curve, say) is no key. Parsing looks at no more than the length of
    /// an Ed25519 key: one that is no point verifies nothing.
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

/// Is this Ed25519 key one of the points under which a signature can be written down without a private key, for some messages or for
/// all? Neither RFC 8032 nor the library refuses them.
fn has_small_order(x: &[u8]) -> bool {
    /// The y-coordinates of orders 4, 1, 8, 8 and 2, and the first two again, each larger by the prime.
    const SMALL_ORDER: [&[u8; 32]; 7] = [
        &y(0x00, 0x00, 0x00),
        &y(0x01, 0x00, 0x00),
        b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
        &y(0xec, 0xff, 0x7f),
        &y(0xed, 0xff, 0x7f),
        &y(0xee, 0xff, 0x7f),
    ];
    let Some((last, rest)) = x.split_last() else {
        return false;
    };
    // The highest bit is the sign of the other coordinate.
    SMALL_ORDER
        .iter()
        .any(|point| matches!(point.split_last(), Some((l, r)) if r == rest && *l == last & 0x7f))
}

const fn y(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair as _,
    };
    use serde_json::json;

    use super::*;

    fn b64(bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn is_key(jwk: &Value) -> bool {
        Key::from_jwk(jwk.as_object().unwrap()).is_some()
    }

    fn is_ed25519_key(x: &[u8]) -> bool {
        is_key(&json!({"kty": "OKP", "crv": "Ed25519", "x": b64(x)}))
    }

    /// Both signs of a y-coordinate.
    fn points(y: [u8; 32]) -> [[u8; 32]; 2] {
        let mut other = y;
        other[31] |= 0x80;
        [y, other]
    }

    #[test]
    fn a_point_that_is_not_on_its_curve_is_no_key() {
        let curves: [(&str, &'static EcdsaSigningAlgorithm); 2] = [
            ("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        for (curve, signing) in curves {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            let point = pair.public_key().as_ref();
            let (x, y) = point[1..].split_at(point.len() / 2);
            let is_key = |x: &[u8], y: &[u8]| {
                is_key(&json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)}))
            };
            assert!(is_key(x, y), "{curve}");
            let mut beside = y.to_vec();
            beside[0] ^= 1;
            let infinity = vec![0; x.len()];
            let beyond = vec![0xFF; x.len()];
            for (x, y) in [
                (x, beside.as_slice()),
                (y, x),
                (&infinity, &infinity),
                (&beyond, &beyond),
                (&x[1..], y),
                (x, &y[1..]),
            ] {
                assert!(!is_key(x, y), "{curve} {x:x?} {y:x?}");
            }
            let other = if curve == "P-256" { "P-384" } else { "P-256" };
            let of_other = json!({"kty": "EC", "crv": other, "x": b64(x), "y": b64(y)});
            assert!(!super::tests::is_key(&of_other), "{curve} as {other}");
        }
    }

    #[test]
    fn ed25519_points_of_small_order_are_no_keys() {
        let (order_8, other_8) = (
            "JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU",
            "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o",
        );
        let [order_8, other_8] =
            [order_8, other_8].map(|text| <[u8; 32]>::try_from(decode(text).unwrap()).unwrap());
        let order_4 = y(0, 0, 0);
        let order_1 = y(1, 0, 0);
        let order_2 = y(0xec, 0xff, 0x7f);
        let known = [order_1, order_2, order_4, order_8, other_8];
        let unreduced = [y(0xed, 0xff, 0x7f), y(0xee, 0xff, 0x7f)];
        for point in known.into_iter().chain(unreduced).flat_map(points) {
            assert!(!is_ed25519_key(&point), "{point:x?}");
        }

        // R is the identity, S is zero: made without any private key.
        let mut forged = [0_u8; 64];
        forged[0] = 1;
        for point in known {
            let parsed = ParsedPublicKey::new(&ED25519, point).unwrap();
            let fooled = (0..=255_u8).any(|n| parsed.verify_sig(&[n], &forged).is_ok());
            assert!(fooled, "the rule is not needed for {point:x?}");
        }
    }

    #[test]
    fn ed25519_points_beside_those_of_small_order_are_keys() {
        // RFC 8037 A.2.
        assert!(is_ed25519_key(
            &decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap()
        ));
        for point in [
            y(2, 0, 0),
            y(0xeb, 0xff, 0x7f),
            y(0xef, 0xff, 0x7f),
            y(0, 0, 1),
        ] {
            assert!(is_ed25519_key(&point), "{point:x?}");
        }
        assert!(!is_ed25519_key(&[7; 31]));
        assert!(!is_ed25519_key(&[7; 33]));
    }
}
