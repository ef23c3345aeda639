//! The SPA backend: a page, and the session behind it that holds the tokens so that the browser never has one.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /` | the page, signed out or in; `?op=<id>` makes its script run a kept operation |
//! | `GET /assets/{name}` | script, style, icon |
//! | `GET /auth/sign-in?return_to=` | to the authority: code, PKCE S256, state, nonce, `cp1` |
//! | `GET /auth/callback` | back from it: a session, or fresh tokens for a kept operation |
//! | `GET /auth/step-up?op=<id>` | to the authority with what the operation's last answer demanded |
//! | `POST /auth/sign-out` | ends the session; `{"go": "<the authority's end-session URL>"}` |
//! | `GET /session` | `{"signed_in", "name", "username", "account", "session_token"}` |
//! | `GET /id-token` | the ID token's claims as a table |
//! | `ANY /api/{rest}` | `/{rest}` of the middle tier with the session's token, so `/api/api`, `/api/secure` and `/api/grpc/api` |
//! | `POST /api/ops/{id}` | runs a kept operation at most once; answers as the call itself |
//! | `GET /msal`, `/msal/redirect`, `/msal/{name}` | the page of the other way to be a client, MSAL.js in the browser; only with `[msal]` |
//! | `GET /healthz`, `GET /readyz` | alive; authority and middle tier reachable |
//!
//! `/api/*` and `/auth/sign-out` need the session cookie, the header `X-Session-Token` of `GET /session`, and an `Origin` or
//! `Sec-Fetch-Site` of this origin; `X-Account`, when sent, must be the session's `account` (409 `account_changed` otherwise).
//! Refusals there are `application/problem+json` with `error`, `detail`, perhaps `go` (where to navigate) and `correlation_id`.
//!
//! An answer of the middle tier that demands something of the person (a claims challenge, RFC 9470, a refused token, missing
//! consent) becomes 401 `step_up_required`, `sign_in_required` or `consent_required` with `go`; the operation is kept and can be
//! run once, by the same person, when the demand is satisfied.
//!
//! Everything that a stranger can make grow is bounded and in memory, so a restart signs everybody out and drops what waited:
//!
//! | what | how many | how long |
//! |---|---|---|
//! | sign-ins under way | 10 000, 8 in one browser; the oldest go first | 10 minutes |
//! | sessions with their tokens | 10 000, the least recently used go first | 1 hour idle, 8 hours in all |
//! | kept operations | 5 a session, 64 KiB a body, 64 MiB in all | 10 minutes |

mod api;
mod assets;
mod authority;
mod callback;
mod cookies;
mod demand;
#[cfg(test)]
mod doubles;
mod flow;
mod guard;
mod health;
mod id_token;
mod message;
mod metadata;
mod msal;
mod operations;
mod outbound;
mod pages;
mod problem;
mod proxy;
mod query;
mod random;
mod return_to;
mod session;
mod settings;
mod sign_in;
mod sign_out;
#[cfg(test)]
mod stories;
mod tokens;
mod transactions;
mod vault;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

pub use self::msal::{MsalError, find_msal};
pub use self::settings::ConfigError;

use self::authority::Authority;
use self::cookies::Cookies;
use self::proxy::MiddleTier;
use self::settings::Settings;
use self::transactions::Transactions;
use self::vault::Vault;
use crate::config::SpaBackendConfig;

/// Memory that the bodies of all kept operations share, in bytes.
const ROOM: usize = 64 * 1024 * 1024;

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

/// Everything that the handlers share.
struct App {
    settings: Settings,
    authority: Arc<Authority>,
    middle_tier: MiddleTier,
    transactions: Transactions,
    vault: Vault,
    room: Arc<Semaphore>,
    demo_users: Vec<DemoUser>,
}

/// The SPA backend as a router, without demo users on its page.
///
/// # Errors
/// A configuration value that cannot be used; the message names the key.
pub fn router(config: &SpaBackendConfig) -> Result<Router, ConfigError> {
    router_with_demo_users(config, Vec::new())
}

/// The SPA backend as a router; its page shows these users to whoever opens it, so they must be worth nothing elsewhere.
///
/// # Errors
/// A configuration value that cannot be used; the message names the key.
pub fn router_with_demo_users(
    config: &SpaBackendConfig,
    demo_users: Vec<DemoUser>,
) -> Result<Router, ConfigError> {
    let settings = Settings::new(config)?;
    let msal = msal::routes(config)?;
    let sessions = session::layer(
        Cookies::new(settings.secure_cookies),
        settings.secure_cookies,
    );
    let app = Arc::new(App {
        authority: Arc::new(Authority::new(&settings)?),
        middle_tier: MiddleTier::new(&settings)?,
        transactions: Transactions::new(),
        vault: Vault::new(),
        room: Arc::new(Semaphore::new(ROOM)),
        demo_users,
        settings,
    });
    Ok(Router::new()
        .route("/", get(pages::start))
        .route("/id-token", get(pages::id_token))
        .route("/session", get(pages::session))
        .route("/auth/callback", get(callback::receive))
        .route("/auth/step-up", get(sign_in::step_up))
        .route("/auth/sign-out", post(sign_out::end))
        .route("/api/ops/{id}", post(api::repeat))
        .route("/api/{*path}", any(api::call))
        // Only the routes above need to know who is there.
        .layer(sessions)
        .route("/auth/sign-in", get(sign_in::begin))
        .route("/assets/{name}", get(assets::serve))
        .merge(msal)
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(pages::not_found)
        // Before the session layer, which reads cookies more leniently than browsers write them.
        .layer(from_fn_with_state(Arc::clone(&app), guard::cookies))
        // Before anything looks at cookies: a foreign name has none of ours.
        .layer(from_fn_with_state(Arc::clone(&app), guard::host))
        // Outside of all guards, so that refusals carry them as well.
        .layer(from_fn(guard::headers))
        // Outermost, so that whatever is logged of a request says of which.
        .layer(from_fn(flow::begin))
        .with_state(app))
}
