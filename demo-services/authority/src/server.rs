//! Routes, and the rules for every request.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::authority::Shared;
use crate::hosts::is_own_host;
use crate::known::Known;
use crate::meter::Endpoint;
use crate::metering::meter;
use crate::version::{Segment, TokenVersion};
use crate::{admin, authorize, control, discovery, grants, graph, logout, pages, recording, state};

const MAX_BODY: usize = 64 * 1024;
/// Longer than the longest delay that `fail_next` can ask for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn router(authority: Shared) -> Router {
    let counted = |endpoint: Endpoint, route: MethodRouter<Shared>| {
        route.layer(middleware::from_fn_with_state(
            (authority.clone(), endpoint),
            meter,
        ))
    };
    // Browsers' scripts read metadata and redeem codes, failures included; no cookie matters there.
    let cross_origin = || {
        SetResponseHeaderLayer::overriding(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        )
    };
    let metadata = |version: TokenVersion| {
        let route = get(discovery::metadata).layer(Extension(version));
        counted(Endpoint::Discovery, route)
    };
    let keys = |version: TokenVersion| {
        let route = get(discovery::keys).layer(Extension(version));
        counted(Endpoint::Keys, route)
    };
    let known = || middleware::from_fn_with_state(authority.clone(), known_tenant);
    let for_scripts = Router::new()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            metadata(TokenVersion::V2),
        )
        .route(
            "/{tenant}/.well-known/openid-configuration",
            metadata(TokenVersion::V1),
        )
        .route(
            "/{tenant}/discovery/instance",
            counted(Endpoint::Discovery, get(discovery::instance)),
        )
        .route("/{tenant}/discovery/v2.0/keys", keys(TokenVersion::V2))
        .route("/{tenant}/discovery/keys", keys(TokenVersion::V1))
        .route(
            "/{tenant}/oauth2/v2.0/token",
            counted(Endpoint::Token, post(grants::token)),
        )
        .route_layer(known())
        .layer(cross_origin());
    let tenant = Router::new()
        .route(
            "/{tenant}/oauth2/v2.0/authorize",
            counted(
                Endpoint::Authorize,
                get(authorize::authorize).post(authorize::authorize),
            ),
        )
        .route(
            "/{tenant}/oauth2/v2.0/devicecode",
            counted(Endpoint::DeviceCode, post(grants::device_authorization)),
        )
        .route(
            "/{tenant}/oauth2/deviceauth",
            get(authorize::device_page).post(authorize::device_code),
        )
        .route("/{tenant}/device", post(authorize::device_confirmed))
        .route("/{tenant}/oauth2/v2.0/logout", get(logout::logout))
        .route("/{tenant}/sign-in", post(authorize::sign_in))
        .route("/{tenant}/mfa", post(authorize::mfa))
        .route("/{tenant}/consent", post(authorize::consent))
        .route_layer(known());
    Router::new()
        .merge(for_scripts)
        .merge(tenant)
        .merge(graph::routes(&authority))
        .merge(admin::routes())
        .route("/control", post(control::control))
        .fallback(|| async { pages::nothing_here() })
        .layer(middleware::from_fn_with_state(
            authority.clone(),
            state::on_disk_first,
        ))
        // These tell of nothing, and must speak when the disk does not.
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/", get(home))
        .route("/error", get(pages::error_code))
        .route(
            "/assets/authority.css",
            get(|| asset("text/css; charset=utf-8", pages::STYLE)),
        )
        .route(
            "/assets/form-post.js",
            get(|| asset("text/javascript; charset=utf-8", pages::FORM_POST_SCRIPT)),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(
            authority.clone(),
            recording::record,
        ))
        .layer(middleware::from_fn_with_state(authority.clone(), own_host))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
        .layer(CatchPanicLayer::new())
        .with_state(authority)
}

async fn home(State(authority): State<Shared>) -> Response {
    let admin = authority.control_token.as_ref();
    let admin = admin.map(|_| format!("{}/admin", authority.base));
    pages::home(&authority.issuer, admin)
}

/// Not ready while what it remembers would not survive it.
async fn ready(State(authority): State<Shared>) -> (StatusCode, &'static str) {
    match &authority.saving {
        Some(saving) if !saving.is_well() => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the state file cannot be written",
        ),
        _ => (StatusCode::OK, "ok"),
    }
}

async fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let nosniff = (HeaderName::from_static("x-content-type-options"), "nosniff");
    (
        [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "max-age=3600"),
            nosniff,
        ],
        text,
    )
}

/// Tenant id or domain in the path, or what stands for any tenant; else AADSTS90002.
async fn known_tenant(
    State(authority): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let directory = authority.directory();
    let segment = request
        .uri()
        .path()
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    let Some(segment) = Segment::parse(directory.tenant.id, &directory.tenant.domain, segment)
    else {
        return discovery::refused(&authority, &discovery::unknown_tenant());
    };
    request.extensions_mut().insert(segment);
    request.extensions_mut().insert(Known(directory));
    next.run(request).await
}

/// Only requests to a name of this service: a page that rebinds its own name to a loopback address gets nowhere.
async fn own_host(State(authority): State<Shared>, request: Request, next: Next) -> Response {
    // HTTP/2 has the host in the URI, HTTP/1.1 in the header. RFC 9112 section 3.2: more than one Host is an error.
    let mut headers = request.headers().get_all(header::HOST).iter();
    let named = match (headers.next(), headers.next(), request.uri().authority()) {
        (Some(host), None, None) => host.to_str().ok().map(str::to_owned),
        (None, None, Some(uri)) => Some(uri.as_str().to_owned()),
        (Some(host), None, Some(uri)) => host
            .to_str()
            .ok()
            .filter(|host| host.eq_ignore_ascii_case(uri.as_str()))
            .map(str::to_owned),
        _ => None,
    };
    if named.is_some_and(|name| is_own_host(&authority, &name)) {
        return next.run(request).await;
    }
    tracing::info!("request to a foreign host refused");
    (
        StatusCode::MISDIRECTED_REQUEST,
        "This is not a name of this service.\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use tokio::time::timeout;
    use tower::ServiceExt;

    use super::*;
    use crate::authority::Authority;
    use crate::changes::{Changes, Swapped};
    use crate::clock::ManualClock;
    use crate::directory::Directory;
    use crate::keys::KeyRing;
    use crate::records::Stores;
    use crate::saving::{Saved, saving};

    /// An authority whose state file nobody writes, though there is a change.
    fn unsaved() -> (Shared, Saved) {
        let (changes, (saved, saving)) = (Changes::default(), saving());
        let authority = Authority {
            base: "http://localhost:8080".into(),
            issuer: String::new(),
            hosts: vec!["localhost:8080".into()],
            keys: KeyRing::new(Vec::new(), &changes),
            meter: Default::default(),
            recent: Default::default(),
            admin: Default::default(),
            control_token: None,
            directory: Swapped::new(Directory::demo(), &changes),
            stores: Mutex::new(Stores::new()),
            changes,
            saving: Some(saving),
            clock: Box::new(ManualClock::at(0)),
            skew: AtomicI64::new(0),
        };
        authority.set_policy("Step-up for c1", false);
        (Arc::new(authority), saved)
    }

    #[tokio::test(start_paused = true)]
    async fn probes_and_assets_do_not_wait_for_the_disk_and_all_else_does() {
        let (authority, _saved) = unsaved();
        let router = router(authority);
        for (path, waits) in [
            ("/healthz", false),
            ("/readyz", false),
            ("/assets/authority.css", false),
            ("/assets/form-post.js", false),
            ("/assets/nothing", true),
            ("/contoso.example/discovery/v2.0/keys", true),
            ("/admin", true),
        ] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = path.parse().unwrap();
            let host = HeaderValue::from_static("localhost:8080");
            request.headers_mut().insert(header::HOST, host);
            let answer = router.clone().oneshot(request);
            let answer = timeout(Duration::from_secs(20), answer).await;
            assert_eq!(answer.is_err(), waits, "{path}");
            if let Ok(Ok(answer)) = answer {
                assert_eq!(answer.status(), StatusCode::OK, "{path}");
            }
        }
    }
}
