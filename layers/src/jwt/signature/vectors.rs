//! The published examples of JOSE, through the same doors as a token's key and signature.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::agreement::both;
use crate::algorithm::Algorithm;
use crate::jwks::KeySet;

struct Example {
    source: &'static str,
    algorithm: Algorithm,
    /// Its `alg`, which makes the key one that is parsed for this algorithm.
    name: &'static str,
    jwk: fn() -> Value,
    header: &'static str,
    payload: &'static str,
    signature: &'static str,
}

/// The payload of RFC 7515 A.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// The payload of RFC 7520 4.
const FRODO: &str = "\
    SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW\
    5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0\
    by4";

const EXAMPLES: [Example; 5] = [
    Example {
        source: "RFC 7515 A.2",
        algorithm: Algorithm::Rs256,
        name: "RS256",
        jwk: || json!({"kty": "RSA", "e": "AQAB", "n": RFC7515_N}),
        header: "eyJhbGciOiJSUzI1NiJ9",
        payload: JOE,
        signature: "\
    cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr\
    7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--x\
    i12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_Ioy\
    pGlUPQGe77Rw",
    },
    Example {
        source: "RFC 7515 A.3",
        algorithm: Algorithm::Es256,
        name: "ES256",
        jwk: || json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
        header: "eyJhbGciOiJFUzI1NiJ9",
        payload: JOE,
        signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    },
    Example {
        source: "RFC 7520 4.1",
        algorithm: Algorithm::Rs256,
        name: "RS256",
        jwk: || json!({"kty": "RSA", "use": "sig", "e": "AQAB", "n": RFC7520_N}),
        header: "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
        payload: FRODO,
        signature: "\
    MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoB\
    wA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0\
    ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vj\
    bU5y18kDquDg",
    },
    Example {
        source: "RFC 7520 4.2",
        algorithm: Algorithm::Ps384,
        name: "PS384",
        jwk: || json!({"kty": "RSA", "use": "sig", "e": "AQAB", "n": RFC7520_N}),
        header: "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
        payload: FRODO,
        signature: "\
    cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPp\
    cbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lf\
    JT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifK\
    o8DYM-X72Eaw",
    },
    Example {
        source: "RFC 8037 A.4",
        algorithm: Algorithm::EdDsa,
        name: "EdDSA",
        jwk: || json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        header: "eyJhbGciOiJFZERTQSJ9",
        payload: "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    },
];

const RFC7515_N: &str = "\
    ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-\
    pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Ca\
    pHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb5\
    4h4FRWyuXpoQ";
const RFC7520_N: &str = "\
    n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqV\
    wGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJls\
    de3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkq\
    gc5gHdrNP5zw";

fn set(mut jwk: Value, algorithm: Option<&str>) -> KeySet {
    jwk["kid"] = json!("a");
    if let Some(name) = algorithm {
        jwk["alg"] = json!(name);
    }
    KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap()
}

#[test]
fn pass_the_examples_and_none_of_their_damaged_copies() {
    for example in EXAMPLES {
        let source = example.source;
        let message = format!("{}.{}", example.header, example.payload);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(example.signature).unwrap();
        // As it is published, and named for its algorithm: the two ways that a key is prepared.
        for named in [None, Some(example.name)] {
            let keys = set((example.jwk)(), named);
            let key = keys.key(Some("a")).unwrap();
            let verifies =
                |message: &[u8], signature: &[u8]| both(example.algorithm, key, message, signature);
            assert!(verifies(message.as_bytes(), &signature), "{source}");
            for position in [0, signature.len() / 2, signature.len() - 1] {
                let mut damaged = signature.clone();
                damaged[position] ^= 1;
                assert!(
                    !verifies(message.as_bytes(), &damaged),
                    "{source}, byte {position}"
                );
            }
            let other = format!("{message}x");
            assert!(!verifies(other.as_bytes(), &signature), "{source}");
        }
    }
}

#[test]
fn key_of_an_algorithm_that_we_do_not_have_is_left_out() {
    // RFC 7520 4.3: ES512.
    let p521 = json!({
        "kty": "EC", "use": "sig", "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
    });
    for named in [None, Some("ES512"), Some("ES384"), Some("ES256")] {
        assert!(set(p521.clone(), named).is_empty(), "{named:?}");
    }
}
