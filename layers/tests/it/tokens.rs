//! Tokens of which one thing is nearly right, through the whole stack.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::scripted::{encoded, jwk};
use crate::support::*;

fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
}

async fn status(world: &World, token: &str) -> u16 {
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(hello));
    let response = service.oneshot(request(token)).await.unwrap();
    let told = challenge(&response);
    let invalid = told.contains("error=\"invalid_token\"");
    assert_eq!(invalid, response.status() == 401, "{told}");
    response.status().as_u16()
}

#[tokio::test]
async fn unsigned_by_any_name() {
    let world = World::new();
    let good = world.token(json!({}));
    assert_eq!(status(&world, &good).await, 200);
    let signature = good.rsplit_once('.').unwrap().1;
    let claims = encoded(&world.claims(json!({})));
    for name in [
        "none", "None", "NONE", "nOnE", "none ", " none", "", "\0", "null",
    ] {
        for with_kid in [true, false] {
            let mut header = header();
            header["alg"] = name.into();
            if !with_kid {
                header.as_object_mut().unwrap().remove("kid");
            }
            for signature in ["", "e30", signature] {
                let token = format!("{}.{claims}.{signature}", encoded(&header));
                assert_eq!(status(&world, &token).await, 401, "{header} {signature}");
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let world = World::new();
    let jwk = jwk("k1");
    let modulus = B64.decode(jwk["n"].as_str().unwrap()).unwrap();
    let der = pkcs1(&modulus);
    let lines: Vec<String> = BASE64_STANDARD
        .encode(&der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = |end: &str| {
        let body = lines.join(end);
        format!("-----BEGIN RSA PUBLIC KEY-----{end}{body}{end}-----END RSA PUBLIC KEY-----")
    };
    let secrets: Vec<Vec<u8>> = vec![
        pem("\n").into(),
        (pem("\n") + "\n").into(),
        pem("\r\n").into(),
        (" ".to_owned() + &pem("\n")).into(),
        jwk.to_string().into(),
        jwks().into(),
        jwk["n"].as_str().unwrap().into(),
        b"k1".to_vec(),
        CLIENT.into(),
        world.claims(json!({}))["iss"].as_str().unwrap().into(),
        Vec::new(),
        vec![0],
        modulus,
        der,
    ];
    for (name, algorithm) in [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
        // What is signed by HMAC and says otherwise.
        ("RS256", hmac::HMAC_SHA256),
    ] {
        let mut header = header();
        header["alg"] = name.into();
        let message = format!("{}.{}", encoded(&header), encoded(&world.claims(json!({}))));
        for secret in &secrets {
            let key = hmac::Key::new(algorithm, secret);
            let tag = hmac::sign(&key, message.as_bytes());
            let token = format!("{message}.{}", B64.encode(tag));
            assert_eq!(status(&world, &token).await, 401, "{name}");
        }
    }
}

/// RFC 8017 A.1.1, for a modulus of 256 bytes with its highest bit set and the exponent 65537.
fn pkcs1(modulus: &[u8]) -> Vec<u8> {
    assert!(modulus.len() == 256 && modulus[0] >= 0x80);
    let sequence = [0x30, 0x82, 1, 10, 2, 0x82, 1, 1, 0];
    [&sequence[..], modulus, &[2, 3, 1, 0, 1]].concat()
}

#[tokio::test]
async fn an_encrypted_or_compressed_token_costs_nothing() {
    let world = World::new();
    let good = world.token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let direct = json!({"alg": "dir", "enc": "A128GCM", "zip": "DEF"});
    let password = json!({
        "alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": i32::MAX, "p2s": "c2FsdHNhbHQ",
    });
    for header in [direct, password] {
        for token in [
            format!("{}.{}.{}.AAAA.AAAA", encoded(&header), parts[1], parts[2]),
            format!("{}..{}.AAAA.AAAA", encoded(&header), parts[1]),
            sign(&header, &world.claims(json!({}))),
        ] {
            assert_eq!(status(&world, &token).await, 401, "{header}");
        }
    }
}

#[tokio::test]
async fn a_claim_that_is_nearly_right_is_wrong() {
    let world = World::new();
    let good = world.claims(json!({}));
    let issuer = good["iss"].as_str().unwrap();
    let cased = issuer.replace("http", "HTTP");
    let host = issuer.replace("127.0.0.1", "127.0.0.1.evil.example");
    let user = issuer.replace("127.0.0.1", "127.0.0.1@evil.example");
    let issuers = [
        format!("{issuer}/"),
        format!("{issuer}//"),
        format!("{issuer} "),
        format!(" {issuer}"),
        format!("{issuer}\0"),
        format!("{issuer}\n"),
        format!("{issuer}?"),
        format!("{issuer}#"),
        format!("{issuer}.evil.example"),
        issuer[..issuer.len() - 1].to_owned(),
        issuer.replace("v2.0", "v1.0"),
        issuer.replace("v2.0", "v2%2e0"),
        issuer.replace(TENANT, "common"),
        issuer.replace(TENANT, "organizations"),
        issuer.replace(TENANT, "{tenantid}"),
        issuer.replace(TENANT, ".*"),
        issuer.replace('v', "\u{3bd}"),
        issuer.replace("http:", "https:"),
        String::new(),
        cased,
        host,
        user,
    ];
    let audiences = [
        json!(CLIENT.to_uppercase() + "x"),
        json!(format!("{CLIENT}/")),
        json!(format!("{CLIENT} x")),
        json!(format!("{CLIENT},x")),
        json!(format!("[\"{CLIENT}\"]")),
        json!(&CLIENT[1..]),
        json!("api://Middle"),
        json!("api://middle/"),
        json!("middle"),
        json!("*"),
        json!(true),
        json!([null, CLIENT]),
        json!([[CLIENT]]),
        json!({"0": CLIENT}),
    ];
    let mut rows: Vec<Value> = issuers
        .iter()
        .map(|issuer| json!({"iss": issuer}))
        .collect();
    rows.extend(audiences.map(|audience| json!({"aud": audience})));
    // The right value under a name that is nearly right.
    for name in ["iss", "aud", "exp", "tid"] {
        for wrong in [
            name.to_uppercase(),
            format!("{name} "),
            format!(" {name}"),
            format!("{name}\0"),
            "__proto__".to_owned(),
            "claims".to_owned(),
        ] {
            rows.push(json!({name: null, wrong: good[name]}));
        }
        rows.push(json!({name: null, "claims": {name: good[name]}}));
        rows.push(json!({name: null, "__proto__": {name: good[name]}}));
    }
    assert_eq!(status(&world, &world.token(json!({}))).await, 200);
    let beside = json!({"ISS": "evil", "claims": {"iss": "evil"}, "__proto__": {"iss": "evil"}});
    assert_eq!(status(&world, &world.token(beside)).await, 200, "ignored");
    for changes in rows {
        assert_eq!(
            status(&world, &world.token(changes.clone())).await,
            401,
            "{changes}"
        );
    }
}
