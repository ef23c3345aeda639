//! Who may speak to this service at all: its own host names, its own page, and the page's own account.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::App;
use super::cookies::Cookies;
use super::message::Message;
use super::problem::Problem;
use super::session::{Known, Visitor};
use super::vault::Seat;
use crate::loopback::is_loopback;
use crate::random;

/// Nothing inline, nothing from elsewhere, no forms: the page is one script that calls its own origin.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// One year. For this name alone, since others of its domain are not ours; not for the lists that browsers are shipped with.
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Sent with every answer; an asset sets its own `Cache-Control`.
const HEADERS: [(HeaderName, &str); 7] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// A call of the signed-in page: from this origin, in a session, by the account that the page was drawn for, with the
/// session's header token.
pub(super) struct Caller {
    pub(super) visitor: Visitor,
    pub(super) seat: Arc<Seat>,
}

/// The browser opens this address as a page. What some page embeds or fetches must not set anything going at the authority.
///
/// Browsers that do not say what they fetch for are believed.
pub(super) struct Navigation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// The configured one.
    Own,
    /// Another name of this machine, at the same port: the browser is sent to the configured one.
    Alias,
    /// Somebody else's name that points here (DNS rebinding).
    Foreign,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if !is_same_origin(&parts.headers, &app.settings.origin) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "cross_site",
                "This may only be called by this service's own page.",
            ));
        }
        let Known(visitor) = Known::from_request_parts(parts, app).await?;
        let seat = visitor.seat.clone().ok_or_else(Problem::signed_out)?;
        let said = |name: &str| parts.headers.get_all(name).iter();
        let account = seat.account.id();
        if said("x-account").any(|given| given != account.as_str()) {
            let detail = format!(
                "You are now signed in as {}. This page was drawn for another account, so nothing was sent.",
                seat.account.username
            );
            return Err(Problem::new(StatusCode::CONFLICT, "account_changed", detail).go("/"));
        }
        let mut tokens = said("x-session-token");
        let token = match (tokens.next(), tokens.next()) {
            (Some(token), None) => token.to_str().ok(),
            _ => None,
        };
        if !token.is_some_and(|token| random::equal(token, &seat.header_token)) {
            let detail = "This page is out of date. Load it again; nothing was sent.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "page_out_of_date", detail).go("/"));
        }
        Ok(Self { visitor, seat })
    }
}

impl<S: Sync> FromRequestParts<S> for Navigation {
    type Rejection = Message;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Message> {
        let only = |name: &str, wanted: &str| {
            let mut values = parts.headers.get_all(name).iter();
            values.all(|value| value == wanted)
        };
        if only("sec-fetch-mode", "navigate") && only("sec-fetch-dest", "document") {
            Ok(Self)
        } else {
            Err(Message::not_a_page())
        }
    }
}

/// Refuses requests of foreign peers and to foreign names, and sends browsers from aliases to the configured name, where their cookies
/// are, and from plain http to https. What a trusted proxy was asked for must be ours as well as what it asks for itself.
pub(super) async fn host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    if !app.settings.peers.admit(request.extensions()) {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_peer",
            "This service is reached through its proxy only; nothing was done.",
        )
        .into_response();
    }
    let proxies = &app.settings.trusted_proxies;
    let forwarded = proxies.forwarded(request.extensions(), request.headers());
    let plain_http = forwarded.plain_http && app.settings.base_url.scheme() == "https";
    let mut asked = forwarded.hosts;
    asked.extend(request.uri().authority().cloned());
    asked.extend(host_header(request.headers()));
    let names = asked
        .into_iter()
        .map(|authority| name(&app.settings.base_url, &authority));
    // The least trusted of them decides, and naming none is as bad as naming a foreign one.
    let worst = names.reduce(|one, other| match (one, other) {
        (Name::Own, Name::Own) => Name::Own,
        (Name::Foreign, _) | (_, Name::Foreign) => Name::Foreign,
        _ => Name::Alias,
    });
    let reads_page =
        matches!(*request.method(), Method::GET | Method::HEAD) && !path.starts_with("/api/");
    match worst {
        Some(Name::Own) if !plain_http => next.run(request).await,
        Some(Name::Own | Name::Alias) if reads_page => {
            // `*` is a target, too, and would end up in the port.
            let target = request
                .uri()
                .path_and_query()
                .map(|target| target.as_str())
                .filter(|target| target.starts_with('/'))
                .unwrap_or("/");
            Redirect::temporary(&app.settings.absolute(target)).into_response()
        }
        Some(Name::Own) => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "wrong_scheme",
            "This service is called by https only; nothing was done.",
        )
        .into_response(),
        _ => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "wrong_host",
            "This service does not answer under that name.",
        )
        .into_response(),
    }
}

/// Lets in our own cookies alone, and lets the browser follow when the session's is removed.
pub(super) async fn cookies(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let cookies = Cookies::new(app.settings.secure_cookies);
    cookies.keep_ours(request.headers_mut());
    let mut response = next.run(request).await;
    cookies.complete_removal(response.headers_mut());
    response
}

/// Puts the security headers on every answer.
pub(super) async fn headers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if app.settings.strict_transport {
        response
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, ONE_YEAR);
    }
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Comes from a page of this origin: the browser must say so in one way and may deny it in none.
pub(super) fn is_same_origin(headers: &HeaderMap, origin: &str) -> bool {
    let said = |name: &HeaderName, wanted: &str| {
        let mut values = headers.get_all(name).iter().peekable();
        values
            .peek()
            .is_some()
            .then(|| values.all(|value| value == wanted))
    };
    match (said(&ORIGIN, origin), said(&SEC_FETCH_SITE, "same-origin")) {
        (None, None) => false,
        (origin, site) => origin.unwrap_or(true) && site.unwrap_or(true),
    }
}

/// The browser says that somebody else asks: another site, another port of this host, or a page without an origin.
pub(super) fn is_foreign(headers: &HeaderMap, origin: &str) -> bool {
    let other = |name: &HeaderName, own: &[&str]| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| !own.iter().any(|own| value == own))
    };
    // `none` is the person, who typed the address.
    other(&ORIGIN, &[origin]) || other(&SEC_FETCH_SITE, &["same-origin", "none"])
}

fn host_header(headers: &HeaderMap) -> Option<Authority> {
    let mut values = headers.get_all(HOST).iter();
    let value = values.next()?;
    // Two of them, or one that is no authority, must not pass as none.
    let single = values.next().is_none();
    let parsed = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|_| single);
    Some(parsed.unwrap_or_else(|| Authority::from_static("invalid.invalid")))
}

fn name(base_url: &Url, asked: &Authority) -> Name {
    let port = asked.port_u16().or(if base_url.scheme() == "https" {
        Some(443)
    } else {
        Some(80)
    });
    if port != base_url.port_or_known_default() || asked.as_str().contains('@') {
        return Name::Foreign;
    }
    let host = asked.host().to_ascii_lowercase();
    match base_url.host_str() {
        Some(own) if own == host => Name::Own,
        _ if is_loopback(base_url)
            && matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") =>
        {
            Name::Alias
        }
        _ => Name::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let base = "http://localhost:3000".parse().unwrap();
        let cases = [
            ("localhost:3000", Name::Own),
            ("LOCALHOST:3000", Name::Own),
            ("127.0.0.1:3000", Name::Alias),
            ("[::1]:3000", Name::Alias),
            ("localhost", Name::Foreign),
            ("localhost:3001", Name::Foreign),
            ("evil.example:3000", Name::Foreign),
            ("localhost.evil.example:3000", Name::Foreign),
            ("user@localhost:3000", Name::Foreign),
        ];
        for (host, expected) in cases {
            assert_eq!(name(&base, &host.parse().unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn a_public_name_has_no_aliases() {
        let base = "https://shop.example".parse().unwrap();
        assert_eq!(name(&base, &"shop.example".parse().unwrap()), Name::Own);
        assert_eq!(name(&base, &"shop.example:443".parse().unwrap()), Name::Own);
        assert_eq!(
            name(&base, &"localhost:443".parse().unwrap()),
            Name::Foreign
        );
    }

    #[test]
    fn same_origin_must_be_said_and_not_denied() {
        let origin = "http://localhost:3000";
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[], false),
            (&[("origin", origin)], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (
                &[("origin", origin), ("sec-fetch-site", "same-origin")],
                true,
            ),
            (&[("origin", "http://localhost:8080")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[("origin", origin), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (
                &[("origin", origin), ("origin", "http://evil.example")],
                false,
            ),
        ];
        for (pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(is_same_origin(&headers, origin), expected, "{pairs:?}");
        }
    }

    #[test]
    fn foreign_is_whoever_is_said_to_be() {
        let origin = "http://localhost:3000";
        for (name, value, expected) in [
            ("accept", "*/*", false),
            ("origin", origin, false),
            ("origin", "http://localhost:8080", true),
            ("origin", "https://localhost:3000", true),
            ("origin", "null", true),
            ("origin", "", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(is_foreign(&headers, origin), expected, "{name}: {value}");
        }
    }
}
