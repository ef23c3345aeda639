//! Counting requests, and failing the next ones on demand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

/// An endpoint that is counted and can be told to fail.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `/oauth2/v2.0/authorize`.
    Authorize,
    /// `/oauth2/v2.0/devicecode`.
    DeviceCode,
    /// `/.well-known/openid-configuration` of either version, and instance discovery.
    Discovery,
    /// All of `/v1.0` but `/v1.0/me`.
    Graph,
    /// `/discovery/v2.0/keys` and `/discovery/keys`.
    Keys,
    /// `/v1.0/me`.
    Me,
    /// `/oauth2/v2.0/token`.
    Token,
}

/// Shorter than any request's own deadline.
pub(crate) const MAX_DELAY_MS: u64 = 20_000;

/// All of them, for lists to choose from.
pub(crate) const ENDPOINTS: [Endpoint; 7] = [
    Endpoint::Authorize,
    Endpoint::DeviceCode,
    Endpoint::Discovery,
    Endpoint::Graph,
    Endpoint::Keys,
    Endpoint::Me,
    Endpoint::Token,
];

/// How the next requests to an endpoint fail.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Fault {
    /// Status to answer with, 200 to 599 (else 500); without one the request is only delayed.
    pub status: Option<u16>,
    /// How long to wait first, at most 20 seconds.
    pub delay_ms: u64,
    /// The answer's body, if there is a status.
    pub body: String,
    /// Value of `Retry-After`.
    pub retry_after: Option<u32>,
    /// Does what the request asks for, and then answers with the status: an answer that got lost.
    pub after: bool,
    /// How many requests go through unharmed before this begins.
    pub skip: u32,
}

impl Fault {
    /// Fails with this status and an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Answers late, but properly.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            ..Self::default()
        }
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// After the request was carried out.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.after = true;
        self
    }

    /// Not before this many more requests have gone through.
    #[must_use]
    pub fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Why this would not be done as it stands.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self {
                status: Some(..200 | 600..),
                ..
            } => Err("`status` is not from 200 to 599"),
            Self { delay_ms, .. } if *delay_ms > MAX_DELAY_MS => {
                Err("`delay_ms` is more than 20000")
            }
            Self {
                status: None, body, ..
            } if !body.is_empty() => Err("a `body` needs a `status`"),
            Self {
                status: None,
                after: true,
                ..
            } => Err("`after` needs a `status`"),
            _ => Ok(()),
        }
    }

    pub(crate) fn answer(&self) -> Option<Response> {
        let status = StatusCode::from_u16(self.status?)
            .ok()
            .filter(|status| (200..600).contains(&status.as_u16()))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = serde_json::from_str::<serde::de::IgnoredAny>(&self.body).is_ok();
        let content_type = if json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut response = (
            status,
            [(header::CONTENT_TYPE, content_type)],
            self.body.clone(),
        )
            .into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        Some(response)
    }
}

/// Requests so far. The grants are counted when they arrive, whatever comes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Requests to the metadata of either version, and to instance discovery.
    pub discovery: u64,
    /// Requests to the key sets.
    pub keys: u64,
    /// Requests to the authorization endpoint.
    pub authorize: u64,
    /// Requests to the device authorization endpoint.
    pub device_code: u64,
    /// Requests to the token endpoint.
    pub token: u64,
    /// Requests to `/v1.0/me`.
    pub me: u64,
    /// All other requests below `/v1.0`.
    pub graph: u64,
    /// Token requests of the authorization code grant.
    pub authorization_code: u64,
    /// Token requests of the refresh token grant.
    pub refresh_token: u64,
    /// Token requests of the device code grant, one for each poll.
    pub device_code_polls: u64,
    /// Token requests On-Behalf-Of.
    pub on_behalf_of: u64,
    /// Token requests of the client credentials grant.
    pub client_credentials: u64,
}

/// A grant type of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    DeviceCode,
    OnBehalfOf,
    RefreshToken,
}

#[derive(Default)]
pub(crate) struct Meter {
    endpoints: [AtomicU64; ENDPOINTS.len()],
    grants: [AtomicU64; 5],
    faults: Mutex<[Option<(u32, Fault)>; ENDPOINTS.len()]>,
}

impl Meter {
    pub(crate) fn fail_next(&self, endpoint: Endpoint, n: u32, fault: Fault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = faults.get_mut(endpoint as usize) {
            *slot = (n > 0).then_some((n, fault));
        }
    }

    /// Failures that are still to come: where, how often, and how.
    pub(crate) fn pending(&self) -> Vec<(Endpoint, u32, Fault)> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = |endpoint: &Endpoint| {
            let (left, fault) = faults.get(*endpoint as usize)?.clone()?;
            Some((*endpoint, left, fault))
        };
        ENDPOINTS.iter().filter_map(slot).collect()
    }

    pub(crate) fn count_grant(&self, grant: GrantType) {
        if let Some(counter) = self.grants.get(grant as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let endpoint = |endpoint: Endpoint| {
            self.endpoints
                .get(endpoint as usize)
                .map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        let grant = |grant: GrantType| {
            self.grants
                .get(grant as usize)
                .map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        Counters {
            discovery: endpoint(Endpoint::Discovery),
            keys: endpoint(Endpoint::Keys),
            authorize: endpoint(Endpoint::Authorize),
            device_code: endpoint(Endpoint::DeviceCode),
            token: endpoint(Endpoint::Token),
            me: endpoint(Endpoint::Me),
            graph: endpoint(Endpoint::Graph),
            authorization_code: grant(GrantType::AuthorizationCode),
            refresh_token: grant(GrantType::RefreshToken),
            device_code_polls: grant(GrantType::DeviceCode),
            on_behalf_of: grant(GrantType::OnBehalfOf),
            client_credentials: grant(GrantType::ClientCredentials),
        }
    }

    /// Counts a request, and says how it is to fail.
    pub(crate) fn enter(&self, endpoint: Endpoint) -> Option<Fault> {
        if let Some(counter) = self.endpoints.get(endpoint as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = faults.get_mut(endpoint as usize)?;
        let (left, mut fault) = slot.take()?;
        if fault.skip > 0 {
            fault.skip -= 1;
            *slot = Some((left, fault));
            return None;
        }
        if left > 1 {
            *slot = Some((left - 1, fault.clone()));
        }
        Some(fault)
    }
}
