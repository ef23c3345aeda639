//! Faults of the authority, each cold (no key was ever obtained), warm (keys are held) and healed.

use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::scripted::*;
use crate::support::*;

/// Metadata are read again after this time.
const METADATA_AGE: Duration = Duration::from_secs(3600);
const MAX_BODY: usize = 512 * 1024;
const MAX_KEYS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Metadata,
    Keys,
}

impl At {
    /// What a healthy authority says there.
    fn good(self, scripted: &Scripted) -> String {
        match self {
            Self::Metadata => scripted.good_metadata().to_string(),
            Self::Keys => jwks(),
        }
    }

    fn set(self, scripted: &Scripted, answer: Answer) {
        match self {
            Self::Metadata => scripted.metadata(answer),
            Self::Keys => scripted.keys(answer),
        }
    }
}

/// A fault that ends by itself, or one that only a deadline ends.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Itself,
    AtTheDeadline,
}

fn start_call(service: &Protected, token: &str) -> JoinHandle<Response<Body>> {
    let response = service.clone().oneshot(request(token));
    tokio::spawn(async { response.await.unwrap() })
}

/// The answer to a request that needs the faulty server.
async fn through_the_fault(
    scripted: &Scripted,
    service: &Protected,
    kid: &str,
    requests: usize,
    ends: Ends,
) -> Response<Body> {
    let waiting = start_call(service, &scripted.token(kid));
    scripted.received(requests).await;
    if ends == Ends::AtTheDeadline {
        assert!(!waiting.is_finished());
        skip(DEADLINE + Duration::from_secs(1)).await;
    }
    waiting.await.unwrap()
}

/// Repeats the request as `Retry-After` says: one repetition is enough, unless a fetch began just before the healing.
async fn healed(
    scripted: &Scripted,
    service: &Protected,
    name: &str,
    kid: &str,
    mut wait: Duration,
) {
    let token = scripted.token(kid);
    let mut status = 503;
    for _ in 0..3 {
        skip(wait).await;
        let response = call(service, &token).await;
        status = response.status().as_u16();
        if status != 503 {
            break;
        }
        wait = not_now(name, &response);
    }
    assert_eq!(status, 200, "{name}: healed");
}

async fn cold_warm_and_healed(name: &str, at: At, ends: Ends, fault: impl Fn(&Scripted) -> Answer) {
    let scripted = Scripted::start().await;
    let name = &format!("{name} ({at:?})");
    let break_it = || at.set(&scripted, fault(&scripted));
    let authority = scripted.authority();
    let service = protected(&authority);

    break_it();
    let requests = if at == At::Metadata { 1 } else { 2 };
    let response = through_the_fault(&scripted, &service, "k1", requests, ends).await;
    let wait = not_now(name, &response);
    assert_eq!(scripted.requests(), requests, "{name}: cold");
    scripted.heal();
    healed(&scripted, &service, name, "k1", wait).await;

    let known = scripted.token("k1");
    let requests = scripted.requests() + 1;
    break_it();
    // The keys are asked for by a request with an unknown key, metadata again when they are old.
    skip(match at {
        At::Metadata => METADATA_AGE + COOLDOWN,
        At::Keys => COOLDOWN + Duration::from_secs(1),
    })
    .await;
    assert_eq!(call_now(&service, &known), 200, "{name}: before");
    let waiting = start_call(&service, &scripted.token("k2"));
    scripted.received(requests).await;
    assert_eq!(call_now(&service, &known), 200, "{name}: meanwhile");
    if ends == Ends::AtTheDeadline {
        skip(DEADLINE + Duration::from_secs(1)).await;
    }
    let wait = not_now(name, &waiting.await.unwrap());
    assert_eq!(call_now(&service, &known), 200, "{name}: after");

    scripted.heal();
    scripted.keys(Answer::json(&jwk_set(&["k1", "k2"])));
    healed(&scripted, &service, name, "k2", wait).await;
    assert_eq!(call_now(&service, &known), 200, "{name}: healed");
}

#[tokio::test]
async fn an_authority_that_does_not_answer_is_left_at_the_deadline() {
    for at in [At::Metadata, At::Keys] {
        for (name, answer) in [
            ("hang", Answer::hang()),
            ("drip", Answer::drip()),
            ("drip of headers", Answer::drip_of_headers()),
        ] {
            cold_warm_and_healed(name, at, Ends::AtTheDeadline, |_| answer.clone()).await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_answer() {
    for at in [At::Metadata, At::Keys] {
        for (name, answer) in [
            ("reset", Answer::reset()),
            ("reset in the body", Answer::reset_in_the_body()),
            ("no HTTP", Answer::no_http()),
        ] {
            cold_warm_and_healed(name, at, Ends::Itself, |_| answer.clone()).await;
        }
        let truncated = |scripted: &Scripted| Answer::truncated(&at.good(scripted));
        cold_warm_and_healed("truncated", at, Ends::Itself, truncated).await;
    }
}

#[tokio::test]
async fn another_status_than_200_is_no_answer_whatever_its_body_says() {
    for at in [At::Metadata, At::Keys] {
        for status in [203, 206, 404, 429, 500] {
            let answer = |scripted: &Scripted| Answer::new(status, "", at.good(scripted));
            cold_warm_and_healed(&status.to_string(), at, Ends::Itself, answer).await;
        }
        for status in [204, 304] {
            let answer = |_: &Scripted| Answer::new(status, "", "");
            cold_warm_and_healed(&status.to_string(), at, Ends::Itself, answer).await;
        }
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let canary = Scripted::start().await;
    for (at, path) in [
        (
            At::Metadata,
            format!("/{TENANT}/v2.0/.well-known/openid-configuration"),
        ),
        (At::Keys, "/keys".to_owned()),
    ] {
        for (status, base) in [
            (301, canary.uri()),
            (302, canary.uri()),
            (308, String::new()),
        ] {
            let headers = format!("location: {base}{path}\r\n");
            let answer = |scripted: &Scripted| Answer::new(status, &headers, at.good(scripted));
            cold_warm_and_healed(&status.to_string(), at, Ends::Itself, answer).await;
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_body_is_bounded() {
    let padded = |body: String, length: usize| {
        let padding = " ".repeat(length - body.len());
        Answer::new(200, "", padding + &body)
    };
    let gzip = "content-encoding: gzip\r\ncontent-type: application/json\r\n";
    for at in [At::Metadata, At::Keys] {
        let over = |scripted: &Scripted| padded(at.good(scripted), MAX_BODY + 1);
        cold_warm_and_healed("one byte over", at, Ends::Itself, over).await;
        for (name, answer) in [
            ("endless", Answer::endless()),
            ("gzip bomb", Answer::new(200, gzip, gzip_bomb())),
        ] {
            cold_warm_and_healed(name, at, Ends::Itself, |_| answer.clone()).await;
        }

        let scripted = Scripted::start().await;
        at.set(&scripted, padded(at.good(&scripted), MAX_BODY));
        let service = protected(&scripted.authority());
        let response = call(&service, &scripted.token("k1")).await;
        assert_eq!(response.status(), 200, "at the limit ({at:?})");
    }
}

#[tokio::test]
async fn an_endless_body_is_left() {
    let scripted = Scripted::start().await;
    scripted.keys(Answer::endless());
    let service = protected(&scripted.authority());
    not_now("endless", &call(&service, &scripted.token("k1")).await);
    scripted.abandoned(1).await;
}

#[tokio::test]
async fn what_is_no_key_set_keeps_the_old_keys() {
    let bad = json!({"kty": "oct", "kid": "k1", "k": "AAAA"});
    let many = |count: usize| -> Value {
        let rest = (1..count).map(|n| json!({"kty": "RSA", "kid": n.to_string()}));
        json!({"keys": std::iter::once(jwk("k1")).chain(rest).collect::<Vec<_>>()})
    };
    let rows = [
        ("html", "<html></html>".to_owned()),
        ("nothing", String::new()),
        ("array", json!([jwk("k1")]).to_string()),
        ("a bare key", jwk("k1").to_string()),
        ("null", "null".to_owned()),
        (
            "keys is an object",
            json!({"keys": {"k1": jwk("k1")}}).to_string(),
        ),
        ("no keys", json!({"keys": []}).to_string()),
        ("no member", "{}".to_owned()),
        ("only a bad key", json!({"keys": [bad]}).to_string()),
        ("text after the end", format!("{}x", jwks())),
        ("cut off", jwks()[..jwks().len() - 2].to_owned()),
        ("one key too many", many(MAX_KEYS + 1).to_string()),
        ("10,000 keys", many(10_000).to_string()),
    ];
    for (name, text) in rows {
        assert!(text.len() < MAX_BODY, "{name}: another rule is broken too");
        let answer = |_: &Scripted| Answer::new(200, "", &text);
        cold_warm_and_healed(name, At::Keys, Ends::Itself, answer).await;
    }

    let scripted = Scripted::start().await;
    scripted.keys(Answer::json(&many(MAX_KEYS)));
    let service = protected(&scripted.authority());
    let response = call(&service, &scripted.token("k1")).await;
    assert_eq!(response.status(), 200, "as many as are allowed");
}

#[tokio::test]
async fn metadata_that_name_another_issuer_or_no_safe_place_lead_nowhere() {
    let canary = Scripted::start().await;
    let port = canary.uri().rsplit_once(':').unwrap().1.to_owned();
    let replaced = |name: &'static str, value: Value| {
        move |scripted: &Scripted| {
            let mut metadata = scripted.good_metadata();
            metadata[name] = value.clone();
            metadata
        }
    };
    let issuer = |change: fn(String) -> String| {
        move |scripted: &Scripted| {
            let mut metadata = scripted.good_metadata();
            let good = metadata["issuer"].as_str().unwrap().to_owned();
            metadata["issuer"] = change(good).into();
            metadata
        }
    };
    let without = |name: &'static str| {
        move |scripted: &Scripted| {
            let mut metadata = scripted.good_metadata();
            metadata.as_object_mut().unwrap().remove(name);
            metadata
        }
    };
    type Row<'a> = (&'a str, Box<dyn Fn(&Scripted) -> Value + 'a>);
    let rows: Vec<Row<'_>> = vec![
        (
            "issuer: another",
            Box::new(replaced("issuer", json!("https://evil.example"))),
        ),
        ("issuer: slash", Box::new(issuer(|good| good + "/"))),
        (
            "issuer: case",
            Box::new(issuer(|good| good.replace("http", "HTTP"))),
        ),
        (
            "issuer: template",
            Box::new(issuer(|good| good.replace(TENANT, "{tenantid}"))),
        ),
        (
            "issuer: array",
            Box::new(replaced(
                "issuer",
                json!([format!("{}/{TENANT}/v2.0", canary.uri())]),
            )),
        ),
        ("issuer: missing", Box::new(without("issuer"))),
        (
            "uri: file",
            Box::new(replaced("jwks_uri", json!("file:///etc/passwd"))),
        ),
        (
            "uri: data",
            Box::new(replaced("jwks_uri", json!(format!("data:,{}", jwks())))),
        ),
        (
            "uri: http elsewhere",
            Box::new(replaced(
                "jwks_uri",
                json!(format!("http://keys.example:{port}/keys")),
            )),
        ),
        (
            "uri: metadata service",
            Box::new(replaced("jwks_uri", json!("http://169.254.169.254/keys"))),
        ),
        (
            "uri: any address",
            Box::new(replaced(
                "jwks_uri",
                json!(format!("http://0.0.0.0:{port}/keys")),
            )),
        ),
        (
            "uri: suffix host",
            Box::new(replaced(
                "jwks_uri",
                json!(format!("http://localhost.example:{port}/keys")),
            )),
        ),
        (
            "uri: loopback as user",
            Box::new(replaced(
                "jwks_uri",
                json!(format!("http://127.0.0.1@0.0.0.0:{port}/keys")),
            )),
        ),
        (
            "uri: ftp",
            Box::new(replaced(
                "jwks_uri",
                json!(format!("ftp://127.0.0.1:{port}/keys")),
            )),
        ),
        (
            "uri: relative",
            Box::new(replaced("jwks_uri", json!("/keys"))),
        ),
        ("uri: number", Box::new(replaced("jwks_uri", json!(1)))),
        ("uri: missing", Box::new(without("jwks_uri"))),
        (
            "array",
            Box::new(|scripted| json!([scripted.good_metadata()])),
        ),
    ];
    for (name, metadata) in rows {
        let answer = |scripted: &Scripted| Answer::json(&metadata(scripted));
        cold_warm_and_healed(name, At::Metadata, Ends::Itself, answer).await;
    }
    for (name, text) in [("html", "<html>"), ("nothing", "")] {
        let answer = |_: &Scripted| Answer::new(200, "", text);
        cold_warm_and_healed(name, At::Metadata, Ends::Itself, answer).await;
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn bad_entries_spoil_no_good_one() {
    let mut other = jwk("twice");
    other["e"] = json!("Aw");
    let bad = [
        json!({"kty": "oct", "kid": "secret", "k": "AAAA"}),
        json!({"kty": "RSA", "kid": "cut off"}),
        json!({"kty": "AKP", "kid": "new kind"}),
        json!("no object"),
        Value::Null,
    ];
    let scripted = Scripted::start().await;
    let mut set = jwk_set(&["twice", "k1"]);
    let keys = set["keys"].as_array_mut().unwrap();
    keys.extend(bad);
    keys.push(other);
    scripted.keys(Answer::json(&set));
    let service = protected(&scripted.authority());
    for (kid, status) in [
        ("k1", 200),
        ("twice", 401),
        ("secret", 401),
        ("cut off", 401),
        ("new kind", 401),
    ] {
        let response = call(&service, &scripted.token(kid)).await;
        assert_eq!(response.status(), status, "{kid}");
    }
}

/// 50 MB of blanks in 325 KB: deflate's fixed code for "the last byte, 258 times", over and over.
fn gzip_bomb() -> Vec<u8> {
    const BLOCK_OF_FIXED_CODES: &str = "010";
    const BLANK: &str = "01010000";
    const SAME_258_TIMES: &str = "1100010100000";
    let bits = [BLOCK_OF_FIXED_CODES, BLANK]
        .into_iter()
        .chain(std::iter::repeat_n(SAME_258_TIMES, 200_000))
        .flat_map(str::bytes);
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    for (at, bit) in bits.enumerate() {
        if at % 8 == 0 {
            bomb.push(0);
        }
        *bomb.last_mut().unwrap() |= (bit - b'0') << (at % 8);
    }
    assert!(bomb.len() < MAX_BODY);
    bomb
}
