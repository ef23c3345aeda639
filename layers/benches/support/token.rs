//! Access tokens of the size and shape of Entra's version 2.0.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};
use tower_bearer::clock::{Clock as _, SystemClock};

use super::key::Key;
use super::{CLIENT, SCOPE, TENANT};

/// As long as the thumbprints that Entra takes for names.
pub(crate) const KID: &str = "0123456789-0123456789-01234";

/// With a signature of RSA-2048 these make a token of 2,064 bytes.
const CLAIMS_BYTES: usize = 1227;

/// The `number`th token of an authority: of another user and with another id than all others.
pub(crate) fn token(key: &Key, issuer: &str, number: usize) -> String {
    named(key, KID, issuer, number)
}

/// One whose key names itself otherwise.
pub(crate) fn named(key: &Key, kid: &str, issuer: &str, number: usize) -> String {
    let header = format!(r#"{{"typ":"JWT","alg":"{}","kid":"{kid}"}}"#, key.algorithm);
    let claims = claims(issuer, number).to_string();
    let message = format!("{}.{}", B64.encode(header), B64.encode(claims));
    let signature = B64.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn header(algorithm: &str, kid: &str) -> String {
    format!(r#"{{"typ":"JWT","alg":"{algorithm}","kid":"{kid}"}}"#)
}

/// Another signature of the same length, which no key made.
pub(crate) fn forged(token: &str) -> String {
    let at = (token.rfind('.').unwrap() + token.len()) / 2;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

/// The same under another key's name, which no key can verify.
pub(crate) fn with_kid(token: &str, kid: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", B64.encode(header("RS256", kid)))
}

/// Two of three parts.
pub(crate) fn malformed(token: &str) -> String {
    token[..token.rfind('.').unwrap()].to_owned()
}

fn claims(issuer: &str, number: usize) -> Value {
    let now = SystemClock.now();
    let mut claims = json!({
        "acct": 0,
        "acr": "1",
        "acrs": ["c1", "p1"],
        "aio": "",
        "aud": CLIENT,
        "auth_time": now - 60,
        "azp": "33333333-2222-3333-4444-555555555555",
        "azpacr": "1",
        "email": "alice@contoso.example",
        "exp": now + 4000,
        "family_name": "Example",
        "given_name": "Alice",
        "iat": now,
        "idtyp": "user",
        "ipaddr": "203.0.113.7",
        "iss": issuer,
        "name": "Alice Example",
        "nbf": now,
        "oid": format!("44444444-2222-3333-4444-{number:012}"),
        "preferred_username": "alice@contoso.example",
        "rh": "1.AAAAAREREREiIjMzRERVVVVVVVUiIiIiIiIzM0REVVVVVVVVAAA.",
        "scp": format!("{SCOPE} read write"),
        "sid": "55555555-2222-3333-4444-555555555555",
        "sub": format!("{number:043}"),
        "tid": TENANT,
        "uti": format!("{number:022}"),
        "ver": "2.0",
        "xms_cc": ["cp1"],
        "xms_ftd": "AAAAAREREREiIjMzRERVVVVVVVUiIiIiIiIzM0REVVVVVVVVAAA",
    });
    assert_eq!(claims.as_object().unwrap().len(), 29);
    let missing = CLAIMS_BYTES - claims.to_string().len();
    claims["aio"] = Value::from("A".repeat(missing));
    claims
}
