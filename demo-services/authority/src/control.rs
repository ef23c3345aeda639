//! `POST /control`: what a test or the demo does to the authority from outside its process.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::uri::Authority as HostAndPort;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use crate::authority::{Authority, Shared};
use crate::meter::{Endpoint, Fault};
use crate::server;

/// One command.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    Counters {},
    FailNext {
        endpoint: String,
        n: u32,
        status: Option<u16>,
        #[serde(default)]
        delay_ms: u64,
        #[serde(default)]
        body: String,
        retry_after: Option<u32>,
    },
    Policy {
        name: String,
        enabled: bool,
    },
    Revoke {
        user: String,
    },
    RotateKeys {},
    Skew {
        seconds: i64,
    },
    WithdrawKey {
        kid: String,
    },
}

/// Guarded by a token, a loopback host, the absence of a foreign origin, and a content type that no HTML form can send.
pub(crate) async fn control(
    State(authority): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(token) = &authority.control_token else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Err((status, reason)) = check(&authority, token, &uri, &headers) {
        tracing::info!(reason, "control refused");
        return refuse(status, reason);
    }
    match serde_json::from_slice(&body) {
        Ok(command) => run(&authority, command),
        // The text may quote what was sent; position and kind say enough.
        Err(error) => refuse(
            StatusCode::BAD_REQUEST,
            &format!(
                "not a command: {:?} error at column {}",
                error.classify(),
                error.column()
            ),
        ),
    }
}

fn check(
    authority: &Authority,
    token: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    let presented = headers
        .get("x-control")
        .map(|value| digest(&SHA256, value.as_bytes()));
    if presented.is_none_or(|presented| {
        verify_slices_are_equal(
            presented.as_ref(),
            digest(&SHA256, token.as_bytes()).as_ref(),
        )
        .is_err()
    }) {
        return Err((StatusCode::UNAUTHORIZED, "X-Control is missing or wrong"));
    }
    // HTTP/1.1 has the host in the header, HTTP/2 in the URI; one of them is there, or the request would not have come this far.
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let named = host.or_else(|| uri.authority().map(|name| name.as_str().as_bytes()));
    if !named.is_some_and(is_loopback_host) {
        return Err((StatusCode::FORBIDDEN, "only on a loopback host"));
    }
    if !headers
        .get(header::ORIGIN)
        .is_none_or(|origin| server::is_own_origin(authority, origin))
    {
        return Err((StatusCode::FORBIDDEN, "foreign origin"));
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
    {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
    }
    Ok(())
}

fn is_loopback_host(name: &[u8]) -> bool {
    HostAndPort::try_from(name).is_ok_and(|name| {
        let ip = name.host().parse::<std::net::Ipv4Addr>();
        matches!(name.host(), "localhost" | "[::1]") || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

fn run(authority: &Authority, command: Command) -> Response {
    let done = |done: bool, missing: &str| {
        if done {
            Json(json!({ "done": true })).into_response()
        } else {
            refuse(StatusCode::NOT_FOUND, missing)
        }
    };
    match command {
        Command::Counters {} => Json(authority.meter.counters()).into_response(),
        Command::FailNext {
            endpoint,
            n,
            status,
            delay_ms,
            body,
            retry_after,
        } => {
            let Ok(endpoint) = named(&endpoint) else {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "no such endpoint: it is one of authorize, discovery, keys, me and token",
                );
            };
            authority.meter.fail_next(
                endpoint,
                n,
                Fault {
                    status,
                    delay_ms,
                    body,
                    retry_after,
                },
            );
            done(true, "")
        }
        Command::Policy { name, enabled } => {
            done(authority.set_policy(&name, enabled), "no such policy")
        }
        Command::Revoke { user } => done(authority.revoke(&user), "no such user"),
        Command::RotateKeys {} => match authority.keys.rotate() {
            Ok(kid) => Json(json!({ "done": true, "kid": kid })).into_response(),
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "no key could be made"),
        },
        Command::Skew { seconds } => {
            authority.skew.store(seconds, Ordering::Relaxed);
            done(true, "")
        }
        Command::WithdrawKey { kid } => match authority.keys.withdraw(&kid) {
            Ok(found) => done(found, "no such key"),
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "no key could be made"),
        },
    }
}

fn named(endpoint: &str) -> Result<Endpoint, serde::de::value::Error> {
    Endpoint::deserialize(endpoint.into_deserializer())
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (
        status,
        Json(Value::from(serde_json::Map::from_iter([(
            "error".to_owned(),
            error.into(),
        )]))),
    )
        .into_response()
}
