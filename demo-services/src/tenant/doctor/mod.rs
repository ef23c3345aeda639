//! `doctor`: configurations against reality, in words, each with the way on.
//!
//! Nothing is changed anywhere. What is asked: the authority's metadata, a token request with each service's own credential, a sign-in
//! request that shows no page, the services' ports, and Microsoft Graph if there is a token for it. Each question has a deadline, those
//! that do not need each other's answers are asked together, and no token or secret stands in what comes out.

mod agreement;
pub mod codes;
mod dates;
mod discovery;
mod explain;
mod files;
mod finding;
mod grant;
mod graph;
mod probe;
mod redirects;
mod running;
mod subject;
mod token;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::join;
use tower_bearer::clock::{Clock, SystemClock};

pub use files::{Configurations, Sources};
pub use finding::{Check, Finding, Report, Service, Severity};
pub use graph::{GraphAccess, GraphAccessError};
pub use token::{LONGEST as LONGEST_TOKEN, explain};

/// How to look.
#[derive(Clone)]
pub struct Options {
    /// Longest wait for each answer, and for each list of Graph with all its pages; 10 seconds by default.
    pub deadline: Duration,
    /// Reads the tenant's own words about the applications; without it their checks are left out or inferred.
    pub graph: Option<GraphAccess>,
    /// This machine's time of day.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            graph: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// All checks; those of the files come from [`Configurations::read`].
pub async fn examine(configurations: &Configurations, options: &Options) -> Report {
    let mut findings = agreement::check(configurations);
    findings.extend(tokens::certificates(configurations, options));
    let (authority, running, graph) = join!(
        authority(configurations, options),
        running::check(configurations, options),
        graph::check(configurations, options),
    );
    for found in [authority, running, graph] {
        findings.extend(found);
    }
    Report { findings }
}

/// Each authority once; where one is not as it should be, what would be asked of it is left out.
async fn authority(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let mut named = configurations.authorities();
    let mut seen = Vec::new();
    named.retain(|(_, authority, _)| {
        let key = (authority.instance.clone(), authority.tenant.clone());
        let new = !seen.contains(&key);
        if new {
            seen.push(key);
        }
        new
    });
    let asked = named
        .iter()
        .map(|(service, authority, trust)| discovery::check(*service, authority, trust, options));
    let discovered = join_all(asked).await;
    let usable = discovered.iter().all(|discovered| discovered.usable);
    let mut findings: Vec<Finding> = discovered
        .into_iter()
        .flat_map(|discovered| discovered.findings)
        .collect();
    if !usable {
        let says = "left out: mend the authority first";
        findings.extend(
            [Check::Credential, Check::Audience, Check::RedirectUri]
                .map(|check| check.skipped(None, says)),
        );
        return findings;
    }
    let (tokens, redirects) = join!(
        tokens::check(configurations, options),
        redirects::check(configurations, options)
    );
    findings.extend(tokens);
    findings.extend(redirects);
    findings
}
