//! The three ways to a token for Microsoft Graph. Tokens are in memory only.

mod client_credential;
mod device_code;
mod endpoint;
mod environment;

pub use client_credential::ClientCredential;
pub use device_code::{DeviceCode, Tell};
pub use environment::EnvironmentToken;

pub(super) use endpoint::get;

use clap::ValueEnum;

use super::graph::SignInError;

/// The environment variable with an access token for Graph.
pub const ACCESS_TOKEN: &str = "GRAPH_ACCESS_TOKEN";
/// The environment variables of a client that has application permissions of Graph.
pub const CLIENT_ID: &str = "GRAPH_CLIENT_ID";
/// The same client's secret.
pub const CLIENT_SECRET: &str = "GRAPH_CLIENT_SECRET";

/// A token that ends sooner than this many seconds is not begun with.
const MARGIN: u64 = 60;

/// How to come by a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// A person opens a page, types a code in and signs in (RFC 8628).
    #[default]
    DeviceCode,
    /// One that is there already: `GRAPH_ACCESS_TOKEN`.
    Token,
    /// A client of its own: `GRAPH_CLIENT_ID` and `GRAPH_CLIENT_SECRET` (RFC 6749 section 4.4).
    ClientCredential,
}

/// Why there is no token. No text holds a token, a code or a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoToken {
    /// An environment variable that the chosen way needs.
    #[error("{0} is not set: set it, or choose another way with --sign-in")]
    Variable(&'static str),
    /// What is in the environment is no access token.
    #[error(
        "{ACCESS_TOKEN} holds no access token: it must be the token alone, three parts with dots between them, without the word Bearer"
    )]
    NotAToken,
    /// It is for something else.
    #[error(
        "the token in {ACCESS_TOKEN} is for another API: get one for {wanted}, for example with \
         `az account get-access-token --resource {wanted} --query accessToken --output tsv`"
    )]
    Audience {
        /// What it must be for.
        wanted: String,
    },
    /// It is of another tenant.
    #[error(
        "the token in {ACCESS_TOKEN} is of another tenant than --tenant: sign in to that one and get a token there"
    )]
    Tenant,
    /// It has ended, or ends within a minute.
    #[error(
        "the token in {ACCESS_TOKEN} has ended: get a new one and run the command again; what is recorded is not made twice"
    )]
    Ended,
    /// It lacks permissions.
    #[error(
        "the token in {ACCESS_TOKEN} cannot do this: it lacks {}. Sign in with --sign-in device-code, or get a token of a client that has \
         them with an administrator's consent",
        .0.join(", ")
    )]
    Lacks(Vec<&'static str>),
    /// Graph does not take it any more.
    #[error(
        "Graph refuses the token in {ACCESS_TOKEN}: it may have been revoked. Get a new one and run the command again; what is recorded is not made twice"
    )]
    Refused,
    /// The person pressed Cancel.
    #[error("the sign-in was declined at the page. Run the command again to start over")]
    Declined,
    /// Nobody signed in in time.
    #[error(
        "nobody signed in before the code ended. Run the command again and type the new code in at once"
    )]
    CodeEnded,
    /// The authority refuses.
    #[error("the authority refuses: {error}{}. {way_on}", code(.aadsts))]
    Authority {
        /// Its error (RFC 6749 section 5.2).
        error: String,
        /// The number of its AADSTS code.
        aadsts: Option<u64>,
        /// What to do.
        way_on: &'static str,
    },
    /// It does not answer, or answers nonsense.
    #[error("{url} {problem}")]
    Unreachable {
        /// The endpoint.
        url: String,
        /// How it is.
        problem: &'static str,
    },
}

fn code(aadsts: &Option<u64>) -> String {
    aadsts.map_or_else(String::new, |code| format!(" (AADSTS{code})"))
}

impl From<NoToken> for SignInError {
    fn from(error: NoToken) -> Self {
        Self::new(error.to_string())
    }
}
