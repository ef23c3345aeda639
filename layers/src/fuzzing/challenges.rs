//! What a response demands.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::two;
use crate::challenge::{self, Challenge, Demand};
use crate::claims::{ClaimsRequest, MAX_CLAIMS_BYTES};

/// A line is a `WWW-Authenticate` header.
pub fn challenge(data: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(4) {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return false;
        };
        headers.append(WWW_AUTHENTICATE, value);
    }
    let challenges = challenge::parse(&headers);
    if let Some(text) = as_text(&headers) {
        assert_eq!(challenge::parse(&text), challenges);
    }
    for mut challenge in challenges {
        challenge.token68 = None;
        assert_printed_is_read(&challenge);
    }
    assert_printed_is_read(&written(data));
    assert!(challenge::demand(StatusCode::OK, &headers).is_none());
    assert_grpc_is_read_alike(&headers);
    let step_up_only_on_401 = challenge::demand(StatusCode::FORBIDDEN, &headers);
    assert!(!matches!(step_up_only_on_401, Some(Demand::StepUp(_))));
    match challenge::demand(StatusCode::UNAUTHORIZED, &headers) {
        Some(Demand::Claims(claims)) => {
            assert_claims(&claims);
            true
        }
        Some(Demand::StepUp(step_up)) => {
            let values = step_up.acr_values.as_deref();
            assert!(values.is_some() || step_up.max_age.is_some());
            assert!(values.is_none_or(|values| {
                !values.is_empty() && values.len() <= 1024 && HeaderValue::from_str(values).is_ok()
            }));
            true
        }
        None => false,
    }
}

/// Over gRPC the same text says the same.
fn assert_grpc_is_read_alike(headers: &HeaderMap) {
    for (grpc, http) in [
        ("16", StatusCode::UNAUTHORIZED),
        ("7", StatusCode::FORBIDDEN),
        ("0", StatusCode::OK),
    ] {
        let mut response = Response::new(());
        *response.headers_mut() = headers.clone();
        let head = [("content-type", "application/grpc"), ("grpc-status", grpc)];
        for (name, value) in head {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        assert_eq!(
            challenge::demand_in(&response),
            challenge::demand(http, headers)
        );
    }
}

/// The same headers with a replacement character for what is no UTF-8, which must make no difference. `None` where an escape stands
/// before a part of a character, which does make one.
fn as_text(headers: &HeaderMap) -> Option<HeaderMap> {
    let as_text = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        let mut pairs = bytes.iter().zip(bytes.iter().skip(1));
        let escaped = pairs.any(|(first, second)| *first == b'\\' && !second.is_ascii());
        let text = String::from_utf8_lossy(bytes);
        (!escaped)
            .then(|| HeaderValue::from_str(&text).ok())
            .flatten()
    };
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values
        .map(|value| as_text(value).map(|text| (WWW_AUTHENTICATE, text)))
        .collect()
}

/// Our own challenge, with arbitrary values.
fn written(data: &[u8]) -> Challenge {
    let (one, other) = two(data);
    let [one, other] = [one, other].map(String::from_utf8_lossy);
    Challenge::new("Bearer")
        .with("realm", one.clone())
        .with("error", other.clone())
        .with("claims", other.clone())
        .with("scope", one)
        .with("resource_metadata", other)
}

/// Except of claims that are a lone brace, behind which the parser may see raw JSON up to a brace in another parameter:
/// `claims="{", scope=":3}"`. What we print there is base64.
fn assert_printed_is_read(challenge: &Challenge) {
    let lone_brace = |(name, value): &(String, String)| {
        name.eq_ignore_ascii_case("claims") && value.trim_end_matches([' ', '\t']) == "{"
    };
    if challenge.params.iter().any(lone_brace) {
        return;
    }
    let Some(value) = challenge.to_header_value() else {
        unreachable!("{challenge:?} holds what no header can");
    };
    let headers: HeaderMap = [(WWW_AUTHENTICATE, value)].into_iter().collect();
    let read = challenge::parse(&headers);
    assert_eq!(read, std::slice::from_ref(challenge));
}

/// A claims request, as JSON or as the parameter of a challenge.
pub fn claims_request(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let as_json = ClaimsRequest::from_json(text);
    if let Ok(claims) = &as_json {
        assert_eq!(claims.as_str(), text);
        assert_claims(claims);
    }
    let as_parameter = ClaimsRequest::from_parameter(text);
    if text.starts_with('{') && text.trim_end() == text {
        assert_eq!(as_json, as_parameter);
    }
    if let Ok(claims) = &as_parameter {
        assert_claims(claims);
    }
    as_parameter.is_ok()
}

fn assert_claims(claims: &ClaimsRequest) {
    let text = claims.as_str();
    assert!(text.len() <= MAX_CLAIMS_BYTES);
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    assert!(value.is_object());
    assert_eq!(ClaimsRequest::from_json(text).as_ref(), Ok(claims));
    for parameter in [claims.to_base64(), BASE64_URL_SAFE_NO_PAD.encode(text)] {
        assert_eq!(
            ClaimsRequest::from_parameter(&parameter).as_ref(),
            Ok(claims)
        );
    }
    if let Some(relayed) = claims.access_token_only() {
        let relayed: Value = serde_json::from_str(relayed.as_str()).unwrap_or_default();
        assert_eq!(relayed.as_object().map(serde_json::Map::len), Some(1));
        assert_eq!(relayed["access_token"], value["access_token"]);
    }
    let declared: Value =
        serde_json::from_str(&claims.with_client_capabilities(&["cp1"])).unwrap_or_default();
    assert_eq!(declared["access_token"]["xms_cc"]["values"][0], "cp1");
}
