//! Each rule broken alone, and its valid twin.

mod tenants;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{rsa, signature::RsaEncoding};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::algorithm::Algorithm;
use crate::authority::Authority;
use crate::campaign::volume;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "22222222-2222-3333-4444-555555555555";
const NOW: u64 = 1_800_000_000;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

struct World {
    key: RsaKeyPair,
    keys: KeySet,
    policy: Policy,
}

fn rsa_jwk(key: &RsaKeyPair) -> Value {
    let public: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
    json!({"kty": "RSA", "kid": "a", "use": "sig", "n": b64(public.n), "e": b64(public.e)})
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn world() -> World {
    let key = RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let policy = Authority::entra(TENANT)
        .unwrap()
        .resource(CLIENT)
        .unwrap()
        .policy();
    World {
        keys: key_set(&[rsa_jwk(&key)]),
        key,
        policy,
    }
}

fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": "a"})
}

fn claims() -> Value {
    json!({
        "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "aud": CLIENT, "tid": TENANT,
        "exp": NOW + 3600, "nbf": NOW, "iat": NOW, "sub": "s", "oid": "o", "scp": "read", "ver": "2.0", "azp": "spa",
    })
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

impl World {
    fn sign_as(&self, encoding: &'static dyn RsaEncoding, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                encoding,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", b64(signature))
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_as(&RSA_PKCS1_SHA256, &header.to_string(), &claims.to_string())
    }

    fn verify(&self, token: &str) -> Result<Principal, VerifyError> {
        verify(token, &self.keys, &self.policy, NOW)
    }

    fn refusal(&self, header: &Value, claims: &Value) -> Option<VerifyError> {
        self.verify(&self.sign(header, claims)).err()
    }
}

#[test]
fn pass_a_token_of_entra() {
    let principal = world().verify(&world_token()).unwrap_err();
    assert_eq!(
        principal,
        VerifyError::Signature,
        "another key of the same kid"
    );
    let world = world();
    let principal = world.verify(&world.sign(&header(), &claims())).unwrap();
    assert_eq!(principal.object_id(), Some("o"));
    assert!(principal.has_scope("read"));
}

fn world_token() -> String {
    world().sign(&header(), &claims())
}

#[test]
fn claims_rule_by_rule() {
    let world = world();
    let far = format!("https://login.microsoftonline.com/{CLIENT}/v2.0");
    let rows = [
        ("valid", claims(), None),
        (
            "audience in a list",
            with(claims(), "aud", json!(["x", CLIENT])),
            None,
        ),
        (
            "expired within the leeway",
            with(claims(), "exp", json!(NOW - 59)),
            None,
        ),
        (
            "fraction",
            with(claims(), "exp", json!(1_800_003_600.75)),
            None,
        ),
        ("far expiry", with(claims(), "exp", json!(1e300)), None),
        (
            "expiry beyond 63 bits",
            with(claims(), "exp", json!(u64::MAX)),
            None,
        ),
        ("nbf at the epoch", with(claims(), "nbf", json!(0)), None),
        (
            "iat before the epoch",
            with(claims(), "iat", json!(-1.5)),
            None,
        ),
        (
            "no nbf and iat",
            without(without(claims(), "nbf"), "iat"),
            None,
        ),
        (
            "nbf within the leeway",
            with(claims(), "nbf", json!(NOW + 60)),
            None,
        ),
        (
            "no issuer",
            without(claims(), "iss"),
            Some(VerifyError::Issuer),
        ),
        (
            "issuer with a slash",
            with(
                claims(),
                "iss",
                json!(format!("{}/", claims()["iss"].as_str().unwrap())),
            ),
            Some(VerifyError::Issuer),
        ),
        (
            "issuer of another tenant",
            with(claims(), "iss", json!(far)),
            Some(VerifyError::Issuer),
        ),
        (
            "issuer as a list",
            with(claims(), "iss", json!([claims()["iss"]])),
            Some(VerifyError::Issuer),
        ),
        (
            "issuer as a number",
            with(claims(), "iss", json!(7)),
            Some(VerifyError::Issuer),
        ),
        (
            "issuer template",
            with(
                claims(),
                "iss",
                json!("https://login.microsoftonline.com/{tenantid}/v2.0"),
            ),
            Some(VerifyError::Issuer),
        ),
        (
            "no tenant",
            without(claims(), "tid"),
            Some(VerifyError::Issuer),
        ),
        (
            "another tenant",
            with(claims(), "tid", json!(CLIENT)),
            Some(VerifyError::Issuer),
        ),
        (
            "tenant as a list",
            with(claims(), "tid", json!([TENANT])),
            Some(VerifyError::Issuer),
        ),
        (
            "no audience",
            without(claims(), "aud"),
            Some(VerifyError::Audience),
        ),
        (
            "another audience",
            with(claims(), "aud", json!(TENANT)),
            Some(VerifyError::Audience),
        ),
        (
            "no audience at all",
            with(claims(), "aud", json!([])),
            Some(VerifyError::Audience),
        ),
        (
            "audience as an object",
            with(claims(), "aud", json!({CLIENT: 1})),
            Some(VerifyError::Audience),
        ),
        (
            "nested audience",
            with(claims(), "aud", json!([[CLIENT]])),
            Some(VerifyError::Audience),
        ),
        (
            "audience beside a number",
            with(claims(), "aud", json!([CLIENT, 1])),
            Some(VerifyError::Audience),
        ),
        (
            "audience as a prefix",
            with(claims(), "aud", json!(format!("{CLIENT}x"))),
            Some(VerifyError::Audience),
        ),
        (
            "joined audiences",
            with(claims(), "aud", json!(format!("x {CLIENT}"))),
            Some(VerifyError::Audience),
        ),
        (
            "audience null",
            with(claims(), "aud", Value::Null),
            Some(VerifyError::Audience),
        ),
        (
            "no expiry",
            without(claims(), "exp"),
            Some(VerifyError::Expired),
        ),
        (
            "expired",
            with(claims(), "exp", json!(NOW - 60)),
            Some(VerifyError::Expired),
        ),
        (
            "expiry as text",
            with(claims(), "exp", json!("9999999999")),
            Some(VerifyError::Expired),
        ),
        (
            "expiry zero",
            with(claims(), "exp", json!(0)),
            Some(VerifyError::Expired),
        ),
        (
            "negative expiry",
            with(claims(), "exp", json!(-1)),
            Some(VerifyError::Expired),
        ),
        (
            "expiry as a list",
            with(claims(), "exp", json!([NOW + 1])),
            Some(VerifyError::Expired),
        ),
        (
            "expiry true",
            with(claims(), "exp", json!(true)),
            Some(VerifyError::Expired),
        ),
        (
            "not yet valid",
            with(claims(), "nbf", json!(NOW + 61)),
            Some(VerifyError::NotYetValid),
        ),
        (
            "nbf as text",
            with(claims(), "nbf", json!("1")),
            Some(VerifyError::NotYetValid),
        ),
        (
            "nbf at the end of time",
            with(claims(), "nbf", json!(u64::MAX)),
            Some(VerifyError::NotYetValid),
        ),
        (
            "issued in the future",
            with(claims(), "iat", json!(NOW + 61)),
            Some(VerifyError::NotYetValid),
        ),
        (
            "bound to a key",
            with(claims(), "cnf", json!({"jkt": "x"})),
            Some(VerifyError::SenderConstrained),
        ),
    ];
    for (name, claims, expected) in rows {
        assert_eq!(world.refusal(&header(), &claims), expected, "{name}");
    }
}

#[test]
fn id_token_passes_only_under_its_own_policy() {
    let world = world();
    let token = world.sign(&header(), &without(without(claims(), "azp"), "scp"));
    let resource = world.policy.resource();
    assert_eq!(
        world.verify(&token).unwrap_err(),
        VerifyError::NotAccessToken
    );
    let id_tokens = resource.id_token_policy();
    assert!(verify(&token, &world.keys, &id_tokens, NOW).is_ok());
    let both = json!([CLIENT, "evil"]);
    for (name, azp, aud, passes) in [
        ("ours", json!(CLIENT), json!(CLIENT), true),
        ("ours among several", json!(CLIENT), both.clone(), true),
        ("another's", json!("evil"), json!(CLIENT), false),
        (
            "another's among several",
            json!("evil"),
            both.clone(),
            false,
        ),
        ("nobody's among several", Value::Null, both, false),
    ] {
        let mut claims = with(claims(), "aud", aud);
        claims.as_object_mut().unwrap().remove("azp");
        if azp.is_string() {
            claims["azp"] = azp;
        }
        let verified = verify(
            &world.sign(&header(), &claims),
            &world.keys,
            &id_tokens,
            NOW,
        );
        assert_eq!(verified.is_ok(), passes, "{name}");
    }
    let at_jwt = world.sign(&with(header(), "typ", json!("at+jwt")), &claims());
    assert!(world.verify(&at_jwt).is_ok());
    let refused = verify(&at_jwt, &world.keys, &id_tokens, NOW).unwrap_err();
    assert_eq!(refused, VerifyError::Header);
}

#[test]
fn a_token_that_no_key_could_save_is_refused_without_one() {
    let world = world();
    let none = KeySet::default();
    let good = world.sign(&header(), &claims());
    let expired = world.sign(&header(), &with(claims(), "exp", json!(NOW - 3600)));
    for (token, expected) in [
        (good.as_str(), VerifyError::UnknownKey),
        (expired.as_str(), VerifyError::Expired),
        ("e30.e30.e30", VerifyError::Algorithm),
        ("junk", VerifyError::Malformed),
        (
            good.rsplit_once('.').map(|(rest, _)| rest).unwrap(),
            VerifyError::Malformed,
        ),
    ] {
        assert_eq!(
            verify(token, &none, &world.policy, NOW).unwrap_err(),
            expected,
            "{token:.20}"
        );
    }
}

#[test]
fn leeway_is_configurable_and_capped() {
    let world = world();
    let late = world.sign(&header(), &with(claims(), "exp", json!(NOW - 200)));
    let resource = world.policy.resource().clone();
    for (leeway, passes) in [(100, false), (201, true), (u64::MAX, true)] {
        let policy = resource.clone().leeway(leeway).policy();
        assert_eq!(
            verify(&late, &world.keys, &policy, NOW).is_ok(),
            passes,
            "{leeway}"
        );
    }
    let later = world.sign(&header(), &with(claims(), "exp", json!(NOW - 301)));
    assert!(
        verify(
            &later,
            &world.keys,
            &resource.leeway(u64::MAX).policy(),
            NOW
        )
        .is_err()
    );
}

#[test]
fn algorithm_is_pinned_by_policy_and_key() {
    let world = world();
    let text = claims().to_string();
    let named = |name: &str| with(header(), "alg", json!(name)).to_string();
    let rows: [(&str, String, VerifyError); 5] = [
        (
            "RS384 of the same key",
            world.sign_as(&RSA_PKCS1_SHA384, &named("RS384"), &text),
            VerifyError::Algorithm,
        ),
        (
            "PS256 of the same key",
            world.sign_as(&RSA_PSS_SHA256, &named("PS256"), &text),
            VerifyError::Algorithm,
        ),
        (
            "header says RS256, signature is PSS",
            world.sign_as(&RSA_PSS_SHA256, &named("RS256"), &text),
            VerifyError::Signature,
        ),
        (
            "header says RS256, hash is SHA-384",
            world.sign_as(&RSA_PKCS1_SHA384, &named("RS256"), &text),
            VerifyError::Signature,
        ),
        (
            "none",
            format!("{}.{}.", b64(named("none")), b64(&text)),
            VerifyError::Algorithm,
        ),
    ];
    for (name, token, expected) in rows {
        assert_eq!(world.verify(&token).unwrap_err(), expected, "{name}");
    }
    let open = Authority::issuer(
        "https://as.example",
        [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256],
    )
    .unwrap();
    let policy = open.resource(CLIENT).unwrap().policy();
    let text = with(claims(), "iss", json!("https://as.example")).to_string();
    let pss = world.sign_as(&RSA_PSS_SHA256, &named("PS256"), &text);
    assert!(
        verify(&pss, &world.keys, &policy, NOW).is_ok(),
        "accepted by the policy, not pinned by the key"
    );
    let pinned = key_set(&[with(rsa_jwk(&world.key), "alg", json!("RS256"))]);
    assert_eq!(
        verify(&pss, &pinned, &policy, NOW).unwrap_err(),
        VerifyError::Algorithm
    );
    let rsa_as_ec = world.sign_as(&RSA_PKCS1_SHA256, &named("ES256"), &text);
    assert_eq!(
        verify(&rsa_as_ec, &world.keys, &policy, NOW).unwrap_err(),
        VerifyError::Algorithm
    );
}

#[test]
fn elliptic_curves_verify() {
    let authority =
        Authority::issuer("https://as.example", [Algorithm::Es256, Algorithm::EdDsa]).unwrap();
    let policy = authority.resource(CLIENT).unwrap().policy();
    let text = with(claims(), "iss", json!("https://as.example")).to_string();

    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    let ec_jwk = json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(&point[1..33]), "y": b64(&point[33..])});
    let ed = Ed25519KeyPair::generate().unwrap();
    let ed_jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(ed.public_key())});
    let keys = key_set(&[ec_jwk, ed_jwk]);

    let message = format!("{}.{}", b64(r#"{"alg":"ES256","kid":"ec"}"#), b64(&text));
    let signature = ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    assert!(
        verify(
            &format!("{message}.{}", b64(signature)),
            &keys,
            &policy,
            NOW
        )
        .is_ok()
    );
    let zero = format!("{message}.{}", b64([0_u8; 64]));
    assert_eq!(
        verify(&zero, &keys, &policy, NOW).unwrap_err(),
        VerifyError::Signature
    );

    for name in ["EdDSA", "Ed25519"] {
        let message = format!(
            "{}.{}",
            b64(format!(r#"{{"alg":"{name}","kid":"ed"}}"#)),
            b64(&text)
        );
        let signature = ed.sign(message.as_bytes());
        assert!(
            verify(
                &format!("{message}.{}", b64(signature)),
                &keys,
                &policy,
                NOW
            )
            .is_ok(),
            "{name}"
        );
    }
}

#[test]
fn key_signs_only_for_its_own_issuer() {
    let world = world();
    let token = world.sign(&header(), &claims());
    let consumer = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    for (issuer, passes) in [
        ("https://login.microsoftonline.com/{tenantid}/v2.0", true),
        (claims()["iss"].as_str().unwrap(), true),
        (consumer, false),
        ("https://login.microsoftonline.us/{tenantid}/v2.0", false),
    ] {
        let keys = key_set(&[with(rsa_jwk(&world.key), "issuer", json!(issuer))]);
        assert_eq!(
            verify(&token, &keys, &world.policy, NOW).is_ok(),
            passes,
            "{issuer}"
        );
    }
}

#[test]
fn structure_is_strict() {
    let world = world();
    let good = world.sign(&header(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let rows = [
        String::new(),
        ".".repeat(8192),
        h.to_owned(),
        format!("{h}.{p}"),
        format!("{h}.{p}."),
        format!("{h}..{s}"),
        format!("{h}.{p}.{s}.{s}"),
        format!("{h}.{p}.{s}.{s}.{s}"),
        format!("{h}=.{p}.{s}"),
        format!("{h}.{p}=.{s}"),
        format!("{h}.{p}.{s}="),
        format!("{h}.{p}.{s} "),
        format!(" {h}.{p}.{s}"),
        format!("{h}.{p}.{}", s.replace(['-', '_'], "+")),
        format!("{h}.{p}.{}", &s[..s.len() - 2]),
    ];
    assert!(world.verify(&good).is_ok());
    for token in rows {
        assert!(world.verify(&token).is_err(), "{token:.60}");
    }
    for (name, header, claims) in [
        (
            "duplicate in the header",
            r#"{"alg":"RS256","alg":"RS256","kid":"a"}"#.to_owned(),
            claims().to_string(),
        ),
        (
            "duplicate claim",
            header().to_string(),
            claims().to_string().replacen('{', r#"{"aud":"x","#, 1),
        ),
        (
            "claims are a token",
            header().to_string(),
            format!("\"{good}\""),
        ),
        (
            "claims are a list",
            header().to_string(),
            format!("[{}]", claims()),
        ),
        (
            "deep header",
            format!(
                r#"{{"alg":"RS256","kid":"a","x":{}1{}}}"#,
                "[".repeat(6000),
                "]".repeat(6000)
            ),
            claims().to_string(),
        ),
    ] {
        let token = world.sign_as(&RSA_PKCS1_SHA256, &header, &claims);
        assert_eq!(
            world.verify(&token).unwrap_err(),
            VerifyError::Malformed,
            "{name}"
        );
    }
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let world = world();
    let good = world.sign(&header(), &claims());
    for index in 0..good.len() {
        for bit in [0x01, 0x02, 0x20] {
            let mut bytes = good.clone().into_bytes();
            bytes[index] ^= bit;
            let Ok(token) = String::from_utf8(bytes) else {
                continue;
            };
            assert!(world.verify(&token).is_err(), "byte {index}, bit {bit}");
        }
    }
}

#[test]
fn no_mutation_of_a_token_is_accepted() {
    let world = world();
    let good = world.sign(&header(), &claims());
    let mut random = [0_u8; 8];
    let mut pick = |below: usize| {
        aws_lc_rs::rand::fill(&mut random).unwrap();
        usize::try_from(u64::from_le_bytes(random) % below as u64).unwrap()
    };
    for _ in 0..volume(1_000_000) {
        let mut bytes = good.clone().into_bytes();
        let (at, other) = (pick(bytes.len()), pick(bytes.len()));
        match pick(5) {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, b"Aa0-_.=+/ "[pick(10)]),
            2 => bytes[at] = b"Aa0-_.=+/ "[pick(10)],
            3 => bytes.truncate(at),
            _ => bytes.swap(at, other),
        }
        let token = String::from_utf8(bytes).unwrap();
        assert!(token == good || world.verify(&token).is_err(), "{token}");
    }
}

#[test]
fn size_limit_is_exact() {
    let world = world();
    let token = world.sign(&header(), &claims());
    let resource = world.policy.resource();
    let at = resource.clone().max_token_bytes(token.len()).policy();
    let below = resource.clone().max_token_bytes(token.len() - 1).policy();
    assert!(verify(&token, &world.keys, &at, NOW).is_ok());
    assert_eq!(
        verify(&token, &world.keys, &below, NOW).unwrap_err(),
        VerifyError::Malformed
    );
}

#[test]
fn token_that_names_no_key_is_decided_by_the_keys_at_hand() {
    let world = world();
    let key = rsa_jwk(&world.key);
    let unnamed = without(key.clone(), "kid");
    let two = [key.clone(), with(unnamed.clone(), "kid", json!("b"))];
    let token = world.sign(&without(header(), "kid"), &claims());
    let rows = [
        ("no key", KeySet::default(), Some(VerifyError::UnknownKey)),
        ("one", key_set(&[key]), None),
        ("one that has no name either", key_set(&[unnamed]), None),
        ("two", key_set(&two), Some(VerifyError::Header)),
    ];
    for (name, keys, expected) in rows {
        let refused = verify(&token, &keys, &world.policy, NOW).err();
        assert_eq!(refused, expected, "{name}");
    }
}

#[test]
fn unknown_key_is_told_from_a_bad_one() {
    let world = world();
    for kid in ["A", "b", "a ", "../a", "a\r\nX: y"] {
        assert_eq!(
            world.refusal(&with(header(), "kid", json!(kid)), &claims()),
            Some(VerifyError::UnknownKey),
            "{kid}"
        );
    }
}

#[test]
fn granted_scopes_are_the_whole_entries_of_every_list_there_is() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let list = proptest::option::of("( ?(read|reads|Read|a\\tread|\u{a0}read|x|\"read\")){0,4} ?");
    let config = Config::with_cases(volume(100_000));
    TestRunner::new(config)
        .run(&(list.clone(), list), |(scp, scope)| {
            let text = |list: &Option<String>| match list {
                Some(list) => Claim::Text(list.clone().into()),
                None => Claim::Absent,
            };
            let claims = Claims {
                scp: text(&scp),
                scope: text(&scope),
                ..Claims::default()
            };
            let found = facts(&claims, "");
            let lists: Vec<&String> = scp.iter().chain(&scope).collect();
            for wanted in [
                "read", "reads", "Read", "a\tread", "x", "\"read\"", "rea", "",
            ] {
                let in_all = lists
                    .iter()
                    .all(|list| list.split(' ').any(|entry| entry == wanted));
                let expected = !wanted.is_empty() && !lists.is_empty() && in_all;
                prop_assert_eq!(found.lists(Piece::Scopes, wanted), expected, "{}", wanted);
            }
            Ok(())
        })
        .unwrap();
}
