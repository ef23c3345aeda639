//! Each request goes on record when it is answered.

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use tokio::time::Instant;

use crate::authority::Shared;
use crate::requests::{Facts, RecentRequest, answering, lock};

/// Middleware around all endpoints. Health, assets, control and the admin page are not recorded.
pub(crate) async fn record(
    State(authority): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let Some(endpoint) = endpoint(request.uri().path()) else {
        return next.run(request).await;
    };
    let entry = Entry {
        facts: Arc::new(Mutex::new(RecentRequest::new(
            authority.now(),
            endpoint,
            &request,
        ))),
        began: Instant::now(),
        authority,
    };
    let response = answering(entry.facts.clone(), next.run(request)).await;
    entry.answered(response.status());
    response
}

/// A request under way; it goes on record when this is dropped, which a client that went away does as well.
struct Entry {
    authority: Shared,
    facts: Facts,
    began: Instant,
}

impl Entry {
    fn answered(&self, status: StatusCode) {
        lock(&self.facts).status = Some(status.as_u16());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut request = lock(&self.facts).clone();
        request.duration_ms = self
            .began
            .elapsed()
            .as_millis()
            .try_into()
            .unwrap_or(u64::MAX);
        self.authority.recent.push(request);
    }
}

fn endpoint(path: &str) -> Option<&'static str> {
    let mut segments = path.trim_start_matches('/').split('/');
    match segments.next()? {
        "admin" | "assets" | "control" => return None,
        "beta" | "oidc" | "v1.0" => return Some("graph"),
        _ => {}
    }
    match segments.next_back()? {
        "authorize" => Some("authorize"),
        "consent" => Some("consent"),
        "device" | "deviceauth" => Some("device"),
        "devicecode" => Some("device_code"),
        "instance" | "openid-configuration" => Some("discovery"),
        "keys" => Some("keys"),
        "logout" => Some("logout"),
        "mfa" => Some("mfa"),
        "sign-in" => Some("sign-in"),
        "token" => Some("token"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_known_by_their_paths() {
        for (path, name) in [
            ("/t/oauth2/v2.0/authorize", Some("authorize")),
            ("/t/oauth2/token", Some("token")),
            (
                "/t/v2.0/.well-known/openid-configuration",
                Some("discovery"),
            ),
            ("/common/discovery/instance", Some("discovery")),
            ("/t/discovery/v2.0/keys", Some("keys")),
            ("/t/oauth2/v2.0/logout", Some("logout")),
            ("/t/sign-in", Some("sign-in")),
            ("/t/mfa", Some("mfa")),
            ("/t/consent", Some("consent")),
            ("/t/oauth2/v2.0/devicecode", Some("device_code")),
            ("/t/oauth2/deviceauth", Some("device")),
            ("/t/device", Some("device")),
            ("/v1.0/me", Some("graph")),
            ("/admin/sign-in", None),
            ("/control", None),
            ("/assets/token", None),
            ("/healthz", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(endpoint(path), name, "{path}");
        }
    }
}
