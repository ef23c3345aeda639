//! A small, strict stand-in for Microsoft Entra ID, for demos and tests on one machine.
//!
//! It signs users in on pages of its own, issues tokens of version 2.0 or 1.0 as the API wants them, exchanges them On-Behalf-Of, and
//! evaluates Conditional Access at every issuance, so that claims challenges are real: a refused exchange names the policy, and only a grant that has met it
//! goes through. What it does and what Entra does stands in `TABLE.md`, line by line.
//!
//! It listens on loopback addresses only, makes new signing keys at each start and keeps nothing on disk, unless it is given a state
//! file ([`Options::state`]), and is not for production.
//!
//! ```
//! use local_authority::{Directory, LocalAuthority, Options, TokenSpec};
//! use serde_json::Value;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A directory is a plain value: change it before the start.
//! let mut directory = Directory::demo();
//! directory.app_mut("spa-backend").unwrap().redirect_uris.web = vec!["http://localhost:4000/cb".into()];
//! let middle_tier = directory.app("middle-tier").unwrap().clone();
//! let authority = LocalAuthority::start(directory, Options::default()).await?;
//!
//! // Point a service at `authority.issuer()`, then call it with tokens that are right, or wrong in one thing.
//! let valid = authority.issue(TokenSpec::user("alice", "middle-tier"));
//! let expired = authority.issue(TokenSpec::user("alice", "middle-tier").expires_in(-1));
//! # assert_ne!(valid, expired);
//!
//! // Exchange one On-Behalf-Of: the policy on the downstream API stands in the way.
//! let refused: Value = reqwest::Client::new()
//!     .post(format!("{}/{}/oauth2/v2.0/token", authority.url(), authority.tenant()))
//!     .form(&[
//!         ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
//!         ("requested_token_use", "on_behalf_of"),
//!         ("client_id", &middle_tier.client_id.to_string()),
//!         ("client_secret", middle_tier.secret().unwrap()),
//!         ("assertion", &valid),
//!         ("scope", "api://downstream-api/user_impersonation"),
//!     ])
//!     .send()
//!     .await?
//!     .json()
//!     .await?;
//! assert_eq!(refused["error"], "interaction_required");
//! assert!(refused["claims"].as_str().unwrap().contains("capolids"));
//!
//! authority.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Graph
//!
//! Under `/v1.0` the same process serves a part of Microsoft Graph: the profile of the signed-in user, and registrations, consent and
//! Conditional Access policies, for access tokens that it issued for `https://graph.microsoft.com`. `README.md` has the list.
//!
//! # Driving the pages without a browser
//!
//! `GET .../authorize` answers with a page or a redirect. Each page has a form with `flow`, a hidden field. The sign-in form posts it
//! with `username` and `password` to `/{tenant}/sign-in`, the MFA form with `code` to `/{tenant}/mfa`, the consent form with `accept`
//! to `/{tenant}/consent`; each may post `cancel` instead. Each answer is the next page or a 303 to the client. The session is in the
//! cookie [`SESSION_COOKIE`], which is `Secure`: a client with a cookie jar that refuses such cookies over http sends it back by hand.
//! For a device, `POST .../oauth2/deviceauth` with `user_code` begins it, and one form more posts `continue` to `/{tenant}/device`.
//!
//! # Changing things while it runs
//!
//! [`Running::require`] adds or replaces a Conditional Access policy; users' second factors, consent, keys, the clock and failures have
//! methods beside it. [`Running::requests`] tells what was asked of late. With [`Options::control`] the same is there for other processes
//! as `POST /control`, and for people as `GET /admin`.
//!
//! # Randomness, time, memory
//!
//! Time comes from a [`Clock`]. Every store is bounded and its entries expire; at capacity the oldest entry goes. What stays for good is how
//! often and when a user's sessions were revoked: one entry for each such user of the directory.

mod admin;
mod admin_sessions;
mod authority;
mod authorization;
mod authorize;
mod bounded;
mod calendar;
mod certificate;
mod changes;
mod client;
mod client_assertion;
mod clock;
mod control;
mod cookies;
mod demands;
mod device;
mod devices;
mod directory;
mod discovery;
mod errors;
mod form;
mod grants;
mod graph;
mod hosts;
mod issue;
mod key_certificate;
mod keys;
mod known;
mod login_hint;
mod logout;
mod meter;
mod metering;
mod pages;
mod policy;
mod random;
mod recording;
mod records;
mod requests;
mod running;
mod saving;
mod scopes;
mod server;
mod state;
mod tokens;
mod version;

pub use certificate::not_after as certificate_not_after;
pub use certificate::validity as certificate_validity;
pub use clock::{Clock, ManualClock, SystemClock};
pub use cookies::SESSION_COOKIE;
pub use directory::{
    App, Consent, Directory, DirectoryError, Licence, Mfa, OptionalClaim, Policy, Profile,
    RedirectUris, Require, Target, Tenant, User,
};
pub use issue::TokenSpec;
pub use keys::KeyError;
pub use listening::{LocalCa, LocalCaError, Tls, TlsError};
pub use meter::{Counters, Endpoint, Fault};
pub use requests::RecentRequest;
pub use running::{LocalAuthority, Options, Running, StartError};
pub use state::StateError;
pub use version::TokenVersion;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
