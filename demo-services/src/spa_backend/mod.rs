//! The SPA backend: a page, and the session behind it that holds the tokens so that the browser never has one.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /` | the page, signed out or in; `?op=<id>` makes its script run a kept operation |
//! | `GET /assets/{*name}` | scripts, style, icon |
//! | `GET /auth/sign-in?return_to=` | to the authority: code, PKCE S256, state, nonce, `cp1` |
//! | `GET /auth/callback` | back from it: a session, or fresh tokens for a kept operation |
//! | `POST /auth/callback` | with `response_mode = "form_post"` only: keeps the answer and leads to the one above |
//! | `GET /auth/step-up?op=<id>` | to the authority with what the operation's last answer demanded |
//! | `POST /auth/sign-out` | ends the session; `{"go": "<the authority's end-session URL>"}` |
//! | `GET /session` | `{"signed_in", "name", "username", "account", "session_token"}` |
//! | `GET /id-token` | the ID token's claims as a table |
//! | `GET /profile` | the person's own profile, viewed and edited; `?op=<id>` makes its script run a kept operation |
//! | `ANY /api/{rest}` | `/{rest}` of the middle tier with the session's token, so `/api/api`, `/api/secure` and `/api/grpc/api` |
//! | `POST /api/ops/{id}` | runs a kept operation at most once; answers as the call itself |
//! | `GET /msal`, `/msal/redirect`, `/msal/{name}` | the page of the other way to be a client, MSAL.js in the browser; only with `[msal]` |
//! | `GET /demo` | how the demo's switches stand: `{"policy": {"name", "enabled"}, "samples_way"}`; 404 outside of the demo |
//! | `POST /demo/policy` | `{"enabled"}` switches that policy |
//! | `POST /demo/revoke` | revokes the session's own user |
//! | `POST /flows`, `GET /flows/{id}` | begins a flow, tells what happened in it; with `flow_events` only |
//! | `GET /healthz`, `GET /readyz` | alive; authority, middle tier and the store of sessions reachable |
//!
//! `/api/*`, `/demo*`, `/flows*` and `/auth/sign-out` need the session cookie, the header `X-Session-Token` of `GET /session`, and an `Origin` or
//! `Sec-Fetch-Site` of this origin; `X-Account`, when sent, must be the session's `account` (409 `account_changed` otherwise).
//! Refusals there are `application/problem+json` with `error`, `detail`, perhaps `go` (where to navigate) and `correlation_id`.
//!
//! An answer of the middle tier that demands something of the person (a claims challenge, RFC 9470, a refused token, missing
//! consent) becomes 401 `step_up_required`, `sign_in_required` or `consent_required` with `go`; the operation is kept and can be
//! run once, by the same person, when the demand is satisfied.
//!
//! Everything that a stranger can make grow is bounded. It is in memory, so that a restart signs everybody out and drops what
//! waited, or sealed in a Redis (`[sessions]`), so that several instances share it and a restart of one loses nothing:
//!
//! | what | how many in memory | in Redis | how long |
//! |---|---|---|---|
//! | sign-ins under way | 10 000, the least recently touched go first | as Redis is bounded | 10 minutes; 8 in one browser |
//! | sessions with their tokens | 10 000, the least recently used go first | as Redis is bounded | 1 hour idle, 8 hours in all |
//! | flows, with their events | 50 a session, of 2 000 sessions; events of 500 flows, a session's oldest go first | no, in memory | 15 minutes |
//! | kept operations | 64 MiB, then none is kept; 50 000, then the least recently used go | as Redis is bounded | 10 minutes; 5 a session, 64 KiB a body |
//!
//! A Redis of its own with `maxmemory` and `volatile-ttl` drops first what ends soonest, as far as it samples that: sign-ins under
//! way and kept operations before sessions that were used in the last 50 minutes. When Redis cannot be reached, pages say so (503,
//! `sessions_unavailable` to scripts) and nobody is signed out; when it has lost its records, people sign in again. An operation
//! that it has lost is not sent. Refresh tokens are rotated by one instance at a time.

mod api;
mod assets;
mod authority;
mod callback;
mod controls;
mod cookies;
#[cfg(test)]
mod credential;
mod demand;
#[cfg(test)]
mod doubles;
mod flow;
mod flows;
#[cfg(test)]
mod form_post;
mod guard;
mod health;
mod id_token;
#[cfg(test)]
mod instances;
mod message;
mod metadata;
mod msal;
mod operations;
mod pages;
mod problem;
mod profile;
mod proxy;
mod query;
mod return_to;
mod session;
mod settings;
mod sign_in;
mod sign_out;
mod store;
#[cfg(test)]
mod stories;
mod token_events;
mod tokens;
mod transactions;
mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post};

pub use self::controls::{Controls, DemoState, PolicyState};
pub use self::msal::{MsalError, find_msal};
pub use self::settings::ConfigError;

use self::authority::Authority;
use self::cookies::Cookies;
use self::flows::Flows;
use self::proxy::MiddleTier;
use self::settings::Settings;
use self::store::Records;
use self::transactions::Transactions;
use self::vault::Vault;
use crate::config::{ResponseMode, SpaBackendConfig};

/// A person of the local directory, shown on the page so that a newcomer can sign in.
#[derive(Clone, Debug)]
pub struct DemoUser {
    /// What to type as user name.
    pub username: String,
    /// What to type as password.
    pub password: String,
    /// The second factor's code, or why there is none.
    pub code: String,
}

/// What the demo adds to the page.
#[derive(Default)]
pub struct Demo {
    /// Shown to whoever opens the page, so they must be worth nothing elsewhere.
    pub users: Vec<DemoUser>,
    /// What the page may change; without it the page has no switches.
    pub controls: Option<Arc<dyn Controls>>,
    /// The file of the CA that vouches for the services, named in the command lines that the page shows.
    pub ca_file: Option<PathBuf>,
}

/// Everything that the handlers share.
struct App {
    settings: Settings,
    authority: Arc<Authority>,
    middle_tier: MiddleTier,
    transactions: Transactions,
    vault: Vault,
    flows: Flows,
    records: Records,
    demo_users: Vec<DemoUser>,
    controls: Option<Arc<dyn Controls>>,
    ca_file: Option<String>,
    /// Whether the page of the public client in the browser is served.
    msal: bool,
}

/// The SPA backend as a router, with nothing of the demo on its page.
///
/// # Errors
/// A configuration value that cannot be used; the message names the key.
pub fn router(config: &SpaBackendConfig) -> Result<Router, ConfigError> {
    router_for_demo(config, Demo::default())
}

/// The SPA backend as a router, with what the demo adds.
///
/// # Errors
/// A configuration value that cannot be used; the message names the key.
pub fn router_for_demo(config: &SpaBackendConfig, demo: Demo) -> Result<Router, ConfigError> {
    let settings = Settings::new(config)?;
    let msal = msal::routes(config)?;
    let records = settings::records(config)?;
    let sessions = session::layer(
        records.clone(),
        Cookies::new(settings.secure_cookies),
        settings.secure_cookies,
    );
    let app = Arc::new(App {
        authority: Arc::new(Authority::new(&settings)?),
        middle_tier: MiddleTier::new(&settings)?,
        transactions: Transactions::new(records.clone()),
        vault: Vault::new(records.clone(), settings.id_token_hint),
        flows: Flows::new(&settings)?,
        records,
        demo_users: demo.users,
        controls: demo.controls,
        ca_file: demo.ca_file.map(|file| file.display().to_string()),
        msal: config.msal.is_some(),
        settings,
    });
    let routes = if app.flows.is_on() {
        Router::new()
            .route("/flows", post(flows::begin))
            .route("/flows/{id}", get(flows::show))
    } else {
        Router::new()
    };
    let routes = routes
        .route("/", get(pages::start))
        .route("/id-token", get(pages::id_token))
        .route("/profile", get(profile::page))
        .route("/session", get(pages::session))
        .route("/auth/callback", get(callback::receive))
        .route("/auth/step-up", get(sign_in::step_up))
        .route("/auth/sign-out", post(sign_out::end))
        .route("/demo", get(controls::state))
        .route(
            "/demo/policy",
            post(controls::policy).layer(DefaultBodyLimit::max(controls::BODY_LIMIT)),
        )
        .route("/demo/revoke", post(controls::revoke))
        .route("/api/ops/{id}", post(api::repeat))
        .route("/api/{*path}", any(api::call))
        // Only the routes above need to know who is there.
        .layer(sessions);
    let routes = match app.settings.response_mode {
        ResponseMode::Query => routes,
        // The session's cookie does not come with it, so it has nothing to do with the session.
        ResponseMode::FormPost => routes.route("/auth/callback", post(callback::receive_form)),
    };
    Ok(routes
        .route("/auth/sign-in", get(sign_in::begin))
        .route("/assets/{*name}", get(assets::serve))
        .merge(msal)
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(pages::not_found)
        // Before the session layer, which reads cookies more leniently than browsers write them.
        .layer(from_fn_with_state(Arc::clone(&app), guard::cookies))
        // Before anything looks at cookies: a foreign name has none of ours.
        .layer(from_fn_with_state(Arc::clone(&app), guard::host))
        // Outside of all guards, so that refusals carry them as well.
        .layer(from_fn_with_state(Arc::clone(&app), guard::headers))
        // Outermost, so that whatever is logged of a request says of which.
        .layer(from_fn(flow::begin))
        .with_state(app))
}
