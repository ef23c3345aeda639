//! The commands about a tenant, and what they have in common.

pub(crate) mod daemon;
pub(crate) mod doctor;
mod line;
pub(crate) mod register;
mod stopping;
pub(crate) mod unregister;

use std::{
    env,
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum as _};
use demo_services::{
    outbound,
    tenant::{
        cloud::Place,
        graph::{RealPause, TokenSource},
        progress::{Event, Progress},
        sign_in::{
            ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, ClientCredential, EnvironmentToken, NoToken,
            PersonTokens, PublicClient, Way,
        },
    },
    trust::{Trust, TrustError},
};
use local_authority::SystemClock;
use reqwest::Client;
use secrecy::SecretString;

use crate::{Failure, say};
use line::Line;

/// No request to Graph or the authority takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// A command line that cannot be carried out as it is: exit status 2, as with those that clap refuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A failure that the person has been told of: exit status 1.
#[derive(Debug, thiserror::Error)]
#[error("see above")]
pub(crate) struct Told;

/// The end of a command that has done what it was told, which was nothing: exit status 1 without the word error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Nothing(&'static str);

/// How to sign in to Graph.
#[derive(Args, Debug)]
pub(crate) struct SignInArgs {
    /// How to sign in to Microsoft Graph: browser shows an address for an administrator to open on this machine; device-code one for any
    /// device, with a code; token takes GRAPH_ACCESS_TOKEN; client-credential takes GRAPH_CLIENT_ID and GRAPH_CLIENT_SECRET
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    sign_in: Way,
    /// Client to sign in with, instead of Microsoft Graph Command Line Tools: a public one for browser and device-code. Needed with
    /// --cloud china
    #[arg(long, env = CLIENT_ID, value_name = "ID")]
    client_id: Option<String>,
    /// Certificates (PEM) to trust besides the system's, such as a local authority's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl SignInArgs {
    fn http(&self, place: &Place) -> Result<Client, Failure> {
        let trust = trusted(self.ca_file.as_deref())?;
        let places = [&place.authority, &place.graph];
        Ok(outbound::client(&places, DEADLINE, &trust)?)
    }

    fn tokens(
        &self,
        place: &Place,
        tenant: &str,
        permissions: &[&'static str],
        http: &Client,
    ) -> Result<Arc<dyn TokenSource>, Failure> {
        let clock = Arc::new(SystemClock);
        Ok(match self.sign_in {
            Way::Browser => {
                let client = self.public_client(place, tenant, permissions, http)?;
                Arc::new(PersonTokens::by_browser(client))
            }
            Way::DeviceCode => {
                let client = self.public_client(place, tenant, permissions, http)?;
                Arc::new(PersonTokens::by_device_code(client))
            }
            Way::Token => {
                let token = variable(ACCESS_TOKEN)?.into();
                let token = EnvironmentToken::new(token, place, tenant, permissions, clock)?;
                Arc::new(token)
            }
            Way::ClientCredential => {
                let secret = SecretString::from(variable(CLIENT_SECRET)?);
                let id = self.client_id().ok_or(NoToken::Variable(CLIENT_ID))?;
                let (client, place) = ((id.to_owned(), secret), place.clone());
                Arc::new(ClientCredential::new(
                    place,
                    tenant,
                    client,
                    http.clone(),
                    clock,
                ))
            }
        })
    }

    fn public_client(
        &self,
        place: &Place,
        tenant: &str,
        permissions: &[&'static str],
        http: &Client,
    ) -> Result<PublicClient, Usage> {
        let id = self.client_id().or_else(|| place.public_client());
        let id = id.ok_or_else(|| Usage(NoToken::Client.to_string()))?;
        Ok(PublicClient {
            place: place.clone(),
            tenant: tenant.to_owned(),
            client_id: id.to_owned(),
            permissions: permissions.to_vec(),
            http: http.clone(),
            clock: Arc::new(SystemClock),
            pause: Arc::new(RealPause),
            tell: Arc::new(|text: &str| say(&mut io::stderr(), text)),
        })
    }

    /// A command line for the same way to sign in.
    fn again(&self, mut line: Line) -> Line {
        let other = Some(self.sign_in).filter(|way| *way != Way::default());
        if let Some(way) = other.and_then(|way| way.to_possible_value()) {
            line = line.with("--sign-in", way.get_name());
        }
        match self.client_id() {
            Some(id) => line.with("--client-id", id),
            None => line,
        }
    }

    /// A variable that is set to nothing is not set.
    fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// The system's certificates, and those of this file.
fn trusted(ca_file: Option<&Path>) -> Result<Trust, Usage> {
    let Some(file) = ca_file else {
        return Ok(Trust::default());
    };
    Trust::file(file).map_err(|error| {
        Usage(match error {
            // It names the file.
            TrustError::Unreadable { .. } => format!("--ca-file {}", in_full(&error)),
            error => format!("--ca-file {}: {}", file.display(), in_full(&error)),
        })
    })
}

/// An error and what led to it, in a line.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        text.push_str(": ");
        text.push_str(&cause);
    }
    text
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes
}

/// With `--json`, whoever reads the answer reads there also why there is none.
pub(crate) fn answered(json: bool, ended: Result<(), Failure>) -> Result<(), Failure> {
    if let (true, Err(error)) = (json, &ended) {
        let causes = causes(error.as_ref());
        let answer = serde_json::json!({ "error": error.to_string(), "causes": causes });
        say(&mut io::stdout(), &answer.to_string());
    }
    ended
}

fn variable(name: &'static str) -> Result<String, NoToken> {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or(NoToken::Variable(name))
}

/// One line for each thing that happens, for the person at the terminal.
struct Lines {
    /// Whether the report of the run tells what was left out.
    left_out_later: bool,
}

impl Progress for Lines {
    fn tell(&self, event: &Event) {
        match event {
            Event::LeftOut { .. } if self.left_out_later => {}
            event => say(&mut io::stderr(), &event.to_string()),
        }
    }
}

/// Files are named in the configuration, which may be read from another directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let cannot = |error| Usage(format!("{}: {error}", path.display()));
    Ok(std::path::absolute(path).map_err(cannot)?)
}
