//! `POST /control`: what a test or the demo does to the authority from outside its process.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::uri::Authority as HostAndPort;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tokio::task::spawn_blocking;

use crate::authority::{Authority, Shared};
use crate::directory::{Consent, DirectoryError, Mfa, Policy};
use crate::hosts;
use crate::meter::{Endpoint, Fault};

const COMMANDS: &str = "consent, counters, fail_next, policy, remove_policy, requests, require, revoke, rotate_keys, skew, user, withdraw_consent, withdraw_key";

/// One command.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    Consent {
        app: String,
        consent: Consent,
    },
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
        /// Does what is asked for first: an answer that got lost.
        #[serde(default)]
        after: bool,
        /// Requests that go through before that.
        #[serde(default)]
        skip: u32,
    },
    Policy {
        name: String,
        enabled: bool,
    },
    RemovePolicy {
        name: String,
    },
    Requests {},
    Require {
        policy: Policy,
    },
    Revoke {
        user: String,
    },
    RotateKeys {},
    Skew {
        seconds: i64,
    },
    User {
        user: String,
        mfa: Mfa,
        otp: Option<SecretString>,
    },
    WithdrawConsent {
        user: String,
    },
    WithdrawKey {
        kid: String,
    },
}

/// A command that was not carried out: a status, and why in words.
pub(crate) type Refused = (StatusCode, String);

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
        Ok(command) => match run(&authority, command).await {
            Ok(answer) => Json(answer).into_response(),
            Err((status, reason)) => refuse(status, &reason),
        },
        // The text may quote what was sent; position and kind say enough.
        Err(error) => refuse(
            StatusCode::BAD_REQUEST,
            &format!(
                "not a command: {:?} error at column {}; `do` is one of {COMMANDS}",
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
    let presented = headers.get("x-control").map(HeaderValue::as_bytes);
    if !presented.is_some_and(|presented| is_token(token, presented)) {
        return Err((StatusCode::UNAUTHORIZED, "X-Control is missing or wrong"));
    }
    if !is_on_loopback(uri, headers) {
        return Err((StatusCode::FORBIDDEN, "only on a loopback host"));
    }
    if !headers
        .get(header::ORIGIN)
        .is_none_or(|origin| hosts::is_own_origin(authority, origin))
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

/// Compares digests, so that neither content nor length shows in the time.
pub(crate) fn is_token(token: &str, presented: &[u8]) -> bool {
    let (token, presented) = (
        digest(&SHA256, token.as_bytes()),
        digest(&SHA256, presented),
    );
    verify_slices_are_equal(presented.as_ref(), token.as_ref()).is_ok()
}

/// Whether this service is called by a loopback name.
pub(crate) fn is_on_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    // HTTP/1.1 has the host in the header, HTTP/2 in the URI; one of them is there, or the request would not have come this far.
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let named = host.or_else(|| uri.authority().map(|name| name.as_str().as_bytes()));
    named.is_some_and(is_loopback_host)
}

fn is_loopback_host(name: &[u8]) -> bool {
    HostAndPort::try_from(name).is_ok_and(|name| {
        let ip = name.host().parse::<std::net::Ipv4Addr>();
        matches!(name.host(), "localhost" | "[::1]") || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

/// What `POST /control` and the admin page do. Apart from the runtime's threads: to make a key takes its time.
pub(crate) async fn run(authority: &Shared, command: Command) -> Result<Value, Refused> {
    let authority = authority.clone();
    let ran = spawn_blocking(move || carry_out(&authority, command)).await;
    ran.unwrap_or_else(|_| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Err((status, "the command was not carried out".to_owned()))
    })
}

fn carry_out(authority: &Authority, command: Command) -> Result<Value, Refused> {
    let done = |done: bool, missing: &str| {
        if done {
            Ok(json!({ "done": true }))
        } else {
            Err((StatusCode::NOT_FOUND, missing.to_owned()))
        }
    };
    let kept = |changed: Result<(), DirectoryError>| match changed {
        Ok(()) => done(true, ""),
        Err(error) => Err((StatusCode::BAD_REQUEST, error.to_string())),
    };
    let no_key = || {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "no key could be made".to_owned(),
        )
    };
    match command {
        Command::Consent { app, consent } => {
            done(authority.set_consent(&app, consent), "no such application")
        }
        Command::Counters {} => Ok(json!(authority.meter.counters())),
        Command::FailNext {
            endpoint,
            n,
            status,
            delay_ms,
            body,
            retry_after,
            after,
            skip,
        } => {
            let Ok(endpoint) = named(&endpoint) else {
                return Err((
                    StatusCode::BAD_REQUEST,
                    "no such endpoint: it is one of authorize, device_code, discovery, graph, keys, me and token"
                        .to_owned(),
                ));
            };
            let fault = Fault {
                status,
                delay_ms,
                body,
                retry_after,
                after,
                skip,
            };
            fault
                .check()
                .map_err(|reason| (StatusCode::BAD_REQUEST, reason.to_owned()))?;
            authority.meter.fail_next(endpoint, n, fault);
            done(true, "")
        }
        Command::Policy { name, enabled } => {
            done(authority.set_policy(&name, enabled), "no such policy")
        }
        Command::RemovePolicy { name } => done(authority.remove_policy(&name), "no such policy"),
        Command::Requests {} => Ok(json!({ "requests": authority.recent.all() })),
        Command::Require { policy } => kept(authority.require(policy)),
        Command::Revoke { user } => done(authority.revoke(&user), "no such user"),
        Command::RotateKeys {} => match authority.rotate_keys() {
            Ok(kid) => Ok(json!({ "done": true, "kid": kid })),
            Err(_) => Err(no_key()),
        },
        Command::Skew { seconds } => {
            authority.skew.store(seconds, Ordering::Relaxed);
            done(true, "")
        }
        Command::User { user, .. } if authority.directory().user(&user).is_none() => {
            done(false, "no such user")
        }
        Command::User { user, mfa, otp } => {
            let otp = otp.as_ref().map(ExposeSecret::expose_secret);
            kept(authority.set_mfa(&user, mfa, otp))
        }
        Command::WithdrawConsent { user } => {
            done(authority.withdraw_consent(&user), "no such user")
        }
        Command::WithdrawKey { kid } => match authority.withdraw_key(&kid) {
            Ok(found) => done(found, "no such key"),
            Err(_) => Err(no_key()),
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
