//! Project Wycheproof's keys and signatures, the ones that map to our algorithms.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wycheproof::{EdwardsCurve, EllipticCurve, HashFunction, Mgf, TestResult};
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::agreement::both;
use crate::algorithm::Algorithm;
use crate::jwks::{Key, KeySet};

/// Vectors that may be judged either way: comment, our verdict, reason.
const EITHER_WAY: [(&str, bool, &str); 1] = [(
    "Missing NULL in the ASN encoding",
    false,
    "RFC 8017 8.2.2 compares with the one encoding of 9.2, which has it",
)];

/// How many vectors ran, by algorithm.
type Ran = BTreeMap<&'static str, usize>;

struct Vector<'a> {
    number: usize,
    comment: &'a str,
    message: &'a [u8],
    signature: &'a [u8],
    result: TestResult,
}

/// Their modules have one type of this shape each.
macro_rules! vectors {
    ($group:ident) => {
        $group.tests.iter().map(|test| Vector {
            number: test.tc_id,
            comment: &test.comment,
            message: &test.msg,
            signature: &test.sig,
            result: test.result,
        })
    };
}

struct Group {
    set: String,
    algorithm: Algorithm,
    name: &'static str,
    jwk: Value,
}

fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Group {
    fn rsa(set: String, algorithm: Algorithm, name: &'static str, n: &[u8], e: &[u8]) -> Self {
        Self {
            set,
            algorithm,
            name,
            jwk: json!({"kty": "RSA", "n": b64(n), "e": b64(e)}),
        }
    }

    fn run<'a>(self, ran: &mut Ran, vectors: impl Iterator<Item = Vector<'a>>) {
        let mut jwk = self.jwk;
        jwk["kid"] = json!("a");
        jwk["alg"] = json!(self.name);
        let keys = KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        let key = keys.key(Some("a"));
        assert!(key.is_none_or(|key| key.parsed.0 == self.algorithm));
        for vector in vectors {
            let verdict = |key: &Key| both(self.algorithm, key, vector.message, vector.signature);
            let expected = match vector.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => {
                    let known = |(comment, ..): &&(&str, bool, &str)| *comment == vector.comment;
                    EITHER_WAY.iter().find(known).expect(vector.comment).1
                }
            };
            assert_eq!(
                key.is_some_and(verdict),
                expected,
                "{} {} {}",
                self.set,
                vector.number,
                vector.comment
            );
            *ran.entry(self.name).or_default() += 1;
        }
    }
}

#[test]
fn rsa_pkcs1() {
    let mut ran = Ran::new();
    for name in rsa_pkcs1_verify::TestName::all() {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let (algorithm, alg) = match group.hash {
                HashFunction::Sha2_256 => (Algorithm::Rs256, "RS256"),
                HashFunction::Sha2_384 => (Algorithm::Rs384, "RS384"),
                HashFunction::Sha2_512 => (Algorithm::Rs512, "RS512"),
                _ => continue,
            };
            let public = &group.key;
            Group::rsa(format!("{name:?}"), algorithm, alg, &public.n, &public.e)
                .run(&mut ran, vectors!(group));
        }
    }
    assert_eq!(
        ran,
        Ran::from([("RS256", 1034), ("RS384", 1035), ("RS512", 1037)])
    );
}

#[test]
fn rsa_pss() {
    let mut ran = Ran::new();
    for name in rsa_pss_verify::TestName::all() {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let (algorithm, alg, salt) = match group.hash {
                HashFunction::Sha2_256 => (Algorithm::Ps256, "PS256", 32),
                HashFunction::Sha2_384 => (Algorithm::Ps384, "PS384", 48),
                HashFunction::Sha2_512 => (Algorithm::Ps512, "PS512", 64),
                _ => continue,
            };
            let ours = group.mgf == Mgf::Mgf1
                && group.mgf_hash == Some(group.hash)
                && group.salt_size == salt;
            if !ours {
                continue;
            }
            let public = &group.key;
            Group::rsa(format!("{name:?}"), algorithm, alg, &public.n, &public.e)
                .run(&mut ran, vectors!(group));
        }
    }
    assert_eq!(
        ran,
        Ran::from([("PS256", 542), ("PS384", 284), ("PS512", 360)])
    );
}

#[test]
fn ecdsa_in_the_fixed_form() {
    let mut ran = Ran::new();
    for name in ecdsa::TestName::all() {
        let set = ecdsa::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            if group.test_type != ecdsa::TestGroupTypeId::EcdsaP1363 {
                continue;
            }
            let (algorithm, alg, curve) = match (group.key.curve, group.hash) {
                (EllipticCurve::Secp256r1, HashFunction::Sha2_256) => {
                    (Algorithm::Es256, "ES256", "P-256")
                }
                (EllipticCurve::Secp384r1, HashFunction::Sha2_384) => {
                    (Algorithm::Es384, "ES384", "P-384")
                }
                _ => continue,
            };
            let point = &group.key.key;
            let (x, y) = point[1..].split_at(point.len() / 2);
            let group_of = Group {
                set: format!("{name:?}"),
                algorithm,
                name: alg,
                jwk: json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)}),
            };
            group_of.run(&mut ran, vectors!(group));
        }
    }
    assert_eq!(ran, Ran::from([("ES256", 262), ("ES384", 280)]));
}

#[test]
fn ed25519() {
    let mut ran = Ran::new();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in &set.test_groups {
        assert_eq!(group.key.curve, EdwardsCurve::Ed25519);
        let group_of = Group {
            set: "Ed25519".to_owned(),
            algorithm: Algorithm::EdDsa,
            name: "EdDSA",
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": b64(&group.key.pk)}),
        };
        group_of.run(&mut ran, vectors!(group));
    }
    assert_eq!(ran, Ran::from([("EdDSA", 151)]));
}
