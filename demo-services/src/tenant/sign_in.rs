//! The ways to a token for Microsoft Graph. Tokens are in memory only.

mod browser;
mod client_credential;
mod device_code;
mod endpoint;
mod environment;
mod person;
mod redirect;
#[cfg(test)]
mod stage;

pub use client_credential::ClientCredential;
pub use environment::EnvironmentToken;
pub use person::{PersonTokens, PublicClient, Tell};

pub(super) use endpoint::get;

use clap::ValueEnum;

use super::graph::SignInError;

/// The environment variable with an access token for Graph.
pub const ACCESS_TOKEN: &str = "GRAPH_ACCESS_TOKEN";
/// The environment variable of a client of one's own: a public one that people sign in with, or one with a secret and application
/// permissions of Graph.
pub const CLIENT_ID: &str = "GRAPH_CLIENT_ID";
/// The secret of such a client.
pub const CLIENT_SECRET: &str = "GRAPH_CLIENT_SECRET";

/// A token that ends sooner than this many seconds is not begun with.
const MARGIN: u64 = 60;

/// How to come by a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// A person signs in with a browser on this machine (RFC 8252).
    #[default]
    Browser,
    /// A person opens a page on any device, types a code in and signs in (RFC 8628).
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
    /// Somebody else has issued it, and it is nothing for the Graph that would get it.
    #[error(
        "the token in {ACCESS_TOKEN} was not issued by {authority}, and does not go to the Graph at {graph}: get one there, or correct --cloud \
         or --authority"
    )]
    Issuer {
        /// Base URL of the place's authority.
        authority: String,
        /// Base URL of its Graph.
        graph: String,
    },
    /// It is for something else.
    #[error(
        "the token in {ACCESS_TOKEN} is for another API than {wanted}: sign in with --sign-in browser, or get one for {wanted} with a \
         client of your own that has the permissions (the Azure CLI's has none on policies)"
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
        "the token in {ACCESS_TOKEN} cannot do this: it lacks {}. Sign in with --sign-in browser, or get a token of a client of your own \
         that has them with an administrator's consent",
        .0.join(", ")
    )]
    Lacks(Vec<&'static str>),
    /// Graph does not take it any more.
    #[error(
        "Graph refuses the token in {ACCESS_TOKEN}: it may have been revoked. Get a new one and run the command again; what is recorded is not made twice"
    )]
    Refused,
    /// China's cloud has no client of Microsoft's for command lines.
    #[error(
        "this cloud has no client of Microsoft's to sign in with: register a public client in the tenant, with the redirect URI \
         http://localhost of the platform \"Mobile and desktop applications\", and give its id with --client-id or {CLIENT_ID}"
    )]
    Client,
    /// The person pressed Cancel.
    #[error("the sign-in was declined at the page. Run the command again to start over")]
    Declined,
    /// Nobody signed in in time.
    #[error(
        "nobody signed in before the code ended. Run the command again and type the new code in at once"
    )]
    CodeEnded,
    /// Nobody signed in with the browser in time.
    #[error(
        "nobody signed in for a quarter of an hour. Run the command again and open the new address. If the page showed an error, look \
         its code up in docs/entra.md; over ssh use --sign-in device-code"
    )]
    NobodyCame,
    /// There is no port for the browser's answer.
    #[error("{0}: the browser could not come back. Choose another way with --sign-in")]
    Port(#[from] listening::BindError),
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
    /// It does not answer, or not now.
    #[error("{url} {problem}")]
    Unreachable {
        /// The endpoint.
        url: String,
        /// How it is.
        problem: &'static str,
    },
    /// Its certificate is not taken.
    #[error(
        "{url} shows a certificate that is not trusted here ({why}): if it is of a private CA, name that one's certificate (PEM) with \
         --ca-file"
    )]
    Untrusted {
        /// The endpoint.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// It answers nonsense.
    #[error("{url} {problem}")]
    Unexpected {
        /// The endpoint.
        url: String,
        /// How it is.
        problem: &'static str,
    },
}

impl NoToken {
    /// Whether the same request may well be answered a little later.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

fn code(aadsts: &Option<u64>) -> String {
    aadsts.map_or_else(String::new, |code| format!(" (AADSTS{code})"))
}

impl From<NoToken> for SignInError {
    fn from(error: NoToken) -> Self {
        Self::new(error.to_string())
    }
}
