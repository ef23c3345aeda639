//! What the admin page shows. Names and numbers; never a password, code, secret or token.

use std::sync::atomic::Ordering;

use askama::Template;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::admin_sessions::Notice;
use crate::authority::Authority;
use crate::clock;
use crate::directory::{App, Consent, Directory, Mfa, Policy, Require, Target, User};
use crate::meter::{ENDPOINTS, Endpoint, Fault};
use crate::pages;
use crate::requests::RecentRequest;

/// As on all pages, but for `form-action`: a form of this page leads nowhere else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// So that the page stays one that can be read on a phone.
const MAX_SHOWN: usize = 64;

#[derive(Template)]
#[template(path = "admin_enter.html")]
struct Enter<'a> {
    base: &'a str,
    complaint: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "admin.html")]
struct Admin<'a> {
    directory: &'a Directory,
    issuer: &'a str,
    now: String,
    skew: i64,
    counters: Vec<(String, String)>,
    policies: Vec<PolicyRow<'a>>,
    users: Vec<UserRow<'a>>,
    keys: Vec<KeyRow>,
    endpoints: Vec<String>,
    faults: Vec<FaultRow>,
    apps: Vec<AppRow<'a>>,
    requests: Vec<RequestRow>,
    /// How many requests are on record; the page shows the newest.
    remembered: usize,
    form_token: &'a str,
    notice: Option<&'a Notice>,
}

struct PolicyRow<'a> {
    policy: &'a Policy,
    effect: String,
    whom: String,
}

struct UserRow<'a> {
    user: &'a User,
    registered: bool,
    has_code: bool,
    sessions: usize,
}

struct KeyRow {
    kid: String,
    age: String,
    signs: bool,
}

struct FaultRow {
    endpoint: String,
    words: String,
}

struct AppRow<'a> {
    app: &'a App,
    redirect_uris: Vec<(&'static str, &'a str)>,
    asks: bool,
    /// Whether there is anything to consent to.
    delegates: bool,
}

struct RequestRow {
    request: RecentRequest,
    time: String,
    kind: String,
    error: Option<String>,
}

/// The form that asks for the control token.
pub(super) fn enter(
    authority: &Authority,
    status: StatusCode,
    complaint: Option<&'static str>,
) -> Response {
    guarded(pages::render(
        status,
        &Enter {
            base: &authority.base,
            complaint,
        },
    ))
}

/// The page itself.
pub(super) fn admin(authority: &Authority, form_token: &str, notice: Option<&Notice>) -> Response {
    let directory = authority.directory();
    let now = authority.now();
    let requests = authority.recent.all();
    let counters = serde_json::to_value(authority.meter.counters()).unwrap_or_default();
    let counters = counters.as_object().into_iter().flatten();
    let stores = authority.stores();
    let users = directory.users.iter().map(|user| UserRow {
        user,
        registered: user.mfa == Mfa::Registered,
        has_code: user.otp.is_some(),
        sessions: stores.sessions_of(user.oid, now),
    });
    let users = users.collect();
    drop(stores);
    guarded(pages::render(
        StatusCode::OK,
        &Admin {
            directory: &directory,
            issuer: &authority.issuer,
            now: clock::timestamp(now),
            skew: authority.skew.load(Ordering::Relaxed),
            counters: counters
                .map(|(name, count)| (name.replace('_', " "), count.to_string()))
                .collect(),
            policies: directory.policies.iter().map(policy).collect(),
            users,
            keys: keys(authority),
            endpoints: ENDPOINTS.map(name).into(),
            faults: authority.meter.pending().iter().map(fault).collect(),
            apps: directory.apps.iter().map(app).collect(),
            remembered: requests.len(),
            requests: requests
                .into_iter()
                .rev()
                .take(MAX_SHOWN)
                .map(request)
                .collect(),
            form_token,
            notice,
        },
    ))
}

/// Headers of all that `/admin` answers.
pub(super) fn guard(headers: &mut HeaderMap) {
    pages::guard(headers);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
}

fn guarded(mut response: Response) -> Response {
    guard(response.headers_mut());
    response
}

fn policy(policy: &Policy) -> PolicyRow<'_> {
    let target = match &policy.target {
        Target::App(name) => name.clone(),
        Target::AuthContext(id) => format!("authentication context {id}"),
    };
    let mut effect = match policy.require {
        Require::Block => format!("Block {target}"),
        Require::Mfa => format!("Second factor for {target}"),
    };
    if let Some(seconds) = policy.sign_in_frequency {
        effect = format!("{effect}; sign in again after {}", span(seconds));
    }
    PolicyRow {
        policy,
        effect,
        whom: match &policy.users {
            None => "everybody".to_owned(),
            Some(users) => users.join(", "),
        },
    }
}

fn keys(authority: &Authority) -> Vec<KeyRow> {
    let published = authority.keys.published();
    let rows = published.iter().enumerate().map(|(index, key)| KeyRow {
        kid: key.kid().to_owned(),
        age: span(authority.clock.now().saturating_sub(key.made())),
        signs: index == 0,
    });
    rows.collect()
}

fn fault((endpoint, left, fault): &(Endpoint, u32, Fault)) -> FaultRow {
    let mut words = match fault.status {
        Some(status) => format!("status {status}, {}", super::form::times(*left)),
        None => format!("the proper answer, {}", super::form::times(*left)),
    };
    if fault.delay_ms > 0 {
        words = format!("{words}, {} ms late", fault.delay_ms);
    }
    if fault.after {
        words.push_str(", after the request was carried out");
    }
    if fault.skip > 0 {
        words = format!("{words}, {} more go through before", fault.skip);
    }
    FaultRow {
        endpoint: name(*endpoint),
        words,
    }
}

fn app(app: &App) -> AppRow<'_> {
    let uris = &app.redirect_uris;
    let kinds = [
        ("web", &uris.web),
        ("single-page", &uris.spa),
        ("native", &uris.native),
    ];
    AppRow {
        app,
        redirect_uris: kinds
            .into_iter()
            .flat_map(|(kind, list)| list.iter().map(move |uri| (kind, uri.as_str())))
            .collect(),
        asks: app.consent == Consent::Required,
        delegates: !app.delegated.is_empty(),
    }
}

fn request(request: RecentRequest) -> RequestRow {
    let grant = match request.grant_type {
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => Some("On-Behalf-Of"),
        other => other,
    };
    let flags = [
        (request.client_secret, "secret"),
        (request.client_assertion, "assertion"),
        (request.pkce, "PKCE"),
        (request.claims, "claims"),
        (request.on_demand, "failed on demand"),
    ];
    let labelled = |label: &str, value: Option<&str>| value.map(|value| format!("{label}={value}"));
    let kind: Vec<_> = [
        grant.map(|grant| grant.replace('_', " ")),
        labelled("prompt", request.prompt),
        labelled("mode", request.response_mode),
    ]
    .into_iter()
    .flatten()
    .chain(
        flags
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, word)| word.to_owned()),
    )
    .collect();
    RequestRow {
        time: clock::timestamp(request.time),
        kind: kind.join(", "),
        error: request.description.as_ref().map(|description| {
            let error = request.error.unwrap_or_default();
            format!("{error}. {description}")
        }),
        request,
    }
}

/// As commands name it.
fn name(endpoint: Endpoint) -> String {
    let mut name = String::new();
    for letter in format!("{endpoint:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_the_list_is_understood_by_the_command() {
        for endpoint in ENDPOINTS {
            let json = serde_json::Value::String(name(endpoint));
            assert_eq!(serde_json::from_value::<Endpoint>(json).unwrap(), endpoint);
        }
    }

    #[test]
    fn spans_are_in_words() {
        for (seconds, words) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (604_800, "7 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }
}
