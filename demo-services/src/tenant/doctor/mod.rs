//! `doctor`: configurations against reality, in words, each with the way on.
//!
//! Nothing is changed anywhere. What is asked: the authority's metadata, a token request with each service's own credential, a sign-in
//! request that shows no page, the services' ports (of a running SPA backend, where it sends a browser to sign in), and Microsoft Graph if
//! there is a token for it. Each question has a deadline, those
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
use redirects::About;
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
    let ([authority, graph], running) = join!(
        authority_and_graph(configurations, options),
        running::check(configurations, options),
    );
    for found in [authority, running, graph] {
        findings.extend(found);
    }
    Report { findings }
}

/// Nothing is asked before it is known that the authority is the one that is meant: it gets secrets, and Graph a token.
async fn authority_and_graph(
    configurations: &Configurations,
    options: &Options,
) -> [Vec<Finding>; 2] {
    let (mut findings, usable) = discover(configurations, options).await;
    let (of_tokens, of_redirects, seen) = join!(
        async {
            match usable {
                true => tokens::check(configurations, options).await,
                false => [Check::Credential, Check::Audience, Check::RedirectUri]
                    .map(|check| check.skipped(None, "left out: mend the authority first"))
                    .into(),
            }
        },
        async {
            match usable {
                true => redirects::check(configurations, options).await,
                false => Vec::new(),
            }
        },
        graph::check(configurations, usable, options),
    );
    findings.extend(of_tokens);
    let told = of_redirects
        .into_iter()
        .filter(|about| !is_told(about, &seen.redirects));
    findings.extend(told.map(|about| about.finding));
    let mut of_graph = seen.findings;
    of_graph.extend(seen.redirects.into_iter().map(|about| about.finding));
    [findings, of_graph]
}

/// Whether Graph says the same, or worse, of this redirect URI.
fn is_told(about: &About, by_graph: &[About]) -> bool {
    let is_bad = |about: &About| about.finding.mend.is_some();
    let mut same = by_graph
        .iter()
        .filter(|seen| seen.uri.is_some() && seen.uri == about.uri);
    same.any(|seen| is_bad(seen) || !is_bad(about))
}

/// Each authority once, and whether all are as they should be.
async fn discover(configurations: &Configurations, options: &Options) -> (Vec<Finding>, bool) {
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
    let findings = discovered
        .into_iter()
        .flat_map(|discovered| discovered.findings);
    (findings.collect(), usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_graph_says_worse_or_the_same_is_told_once() {
        let about = |uri: &str, good: bool| About {
            uri: Some(uri.to_owned()),
            finding: match good {
                true => Check::RedirectUri.ok(None, uri),
                false => Check::RedirectUri.error(None, uri, "add it"),
            },
        };
        for (by_authority, by_graph, told) in [
            (about("/a", true), about("/a", true), true),
            (about("/a", false), about("/a", false), true),
            (about("/a", true), about("/a", false), true),
            // Graph may lag behind.
            (about("/a", false), about("/a", true), false),
            (about("/a", true), about("/b", true), false),
        ] {
            assert_eq!(is_told(&by_authority, &[by_graph]), told);
        }
        let general = About {
            uri: None,
            finding: Check::RedirectUri.skipped(None, "x"),
        };
        assert!(!is_told(&general, &[about("/a", true)]));
    }
}
