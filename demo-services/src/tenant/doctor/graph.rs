//! What the tenant itself says about the applications, read through Microsoft Graph. Only GET, and only with a token that was given for it.

mod access;
mod asked;
mod consent;
mod policies;
mod reader;
mod registration;

use futures_util::future::join_all;
use futures_util::join;
use serde_json::Value;
use uuid::Uuid;

use super::Options;
use super::files::Configurations;
use super::finding::{Check, Finding};
use super::redirects::About;
use super::subject::resource_of;
pub use access::{GraphAccess, GraphAccessError};
use reader::Reader;

/// What the tenant says.
pub(super) struct Seen {
    pub(super) findings: Vec<Finding>,
    /// Those about single redirect URIs.
    pub(super) redirects: Vec<About>,
}

/// `usable` says that the authority is the one that the configuration names.
pub(super) async fn check(
    configurations: &Configurations,
    usable: bool,
    options: &Options,
) -> Seen {
    let authorities = configurations.authorities();
    let Some((_, authority, trust)) = authorities.first() else {
        let says = "no configuration can be read: there is nothing to look for in the tenant";
        return nothing(Check::GraphToken.skipped(None, says));
    };
    let Some(access) = &options.graph else {
        return nothing(Check::GraphToken.skipped(
            None,
            "GRAPH_ACCESS_TOKEN is not set: what only the tenant knows is not looked at (docs/entra.md says which token)",
        ));
    };
    let place = access.place(authority, options.clock.now());
    // Whoever answers in place of the authority must not get it.
    if place.is_ok() && !usable && !access.is_named() {
        return nothing(Check::GraphToken.skipped(None, "not used: mend the authority first"));
    }
    let graph = match place {
        Ok(graph) => graph,
        Err(why) => return nothing(Check::GraphToken.warning(None, why.says, why.mend)),
    };
    let Some(reader) = Reader::new(graph, access.token.clone(), trust, options.deadline) else {
        return nothing(Check::GraphToken.skipped(None, "no client can be made to ask Graph"));
    };
    let (mut seen, policies) = join!(
        registrations(configurations, &reader, options),
        policies(configurations, &reader),
    );
    if let Some(why) = reader.refused() {
        return nothing(Check::GraphToken.warning(
            None,
            format!("Microsoft Graph {why}: the token in GRAPH_ACCESS_TOKEN is of no use"),
            "get a new one (docs/entra.md says how), or unset the variable",
        ));
    }
    seen.findings.extend(policies);
    seen
}

/// Why is told once, and what is left out by name.
fn nothing(why: Finding) -> Seen {
    let checks = [
        Check::Registration,
        Check::CredentialExpiry,
        Check::Consent,
        Check::MfaPolicy,
        Check::StepUpPolicy,
    ];
    let left_out = checks.map(|check| check.skipped(None, "left out: see graph-token"));
    Seen {
        findings: [why].into_iter().chain(left_out).collect(),
        redirects: Vec::new(),
    }
}

async fn registrations(
    configurations: &Configurations,
    reader: &Reader,
    options: &Options,
) -> Seen {
    let wanted = asked::wanted(configurations);
    let applications = join_all(wanted.iter().map(|wanted| async {
        // Nothing but a GUID gets into the query.
        match Uuid::try_parse(wanted.client_id) {
            Ok(id) => reader.application(id).await,
            Err(_) => Ok(Vec::new()),
        }
    }));
    let edges = asked::edges(configurations);
    let grants = join_all(edges.iter().map(|edge| async {
        let client = Uuid::try_parse(edge.client_id).unwrap_or_default();
        join!(
            reader.grants(client),
            reader.principal(resource_of(edge.scope))
        )
    }));
    let (applications, grants) = join!(applications, grants);
    let mut findings: Vec<Finding> = wanted
        .iter()
        .zip(&applications)
        .flat_map(|(wanted, told)| registration::check(wanted, told, options))
        .collect();
    let redirects = wanted
        .iter()
        .zip(&applications)
        .flat_map(|(wanted, told)| registration::redirects(wanted, told))
        .collect();
    let found: Vec<&Value> = applications
        .iter()
        .flatten()
        .filter_map(|found| found.first())
        .collect();
    for (edge, (grants, resources)) in edges.iter().zip(&grants) {
        let finding = consent::check(edge, grants, resources, &found);
        // A client without a service principal comes once, though each of its scopes meets it.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    Seen {
        findings,
        redirects,
    }
}

async fn policies(configurations: &Configurations, reader: &Reader) -> Vec<Finding> {
    let guarded = asked::guarded(configurations);
    let principals = guarded
        .iter()
        .map(|guarded| reader.principal(guarded.resource));
    let (policies, principals) = join!(reader.policies(), join_all(principals));
    let downstream = configurations.downstream.as_ref();
    let context = downstream.map(|config| config.secure_context.as_str());
    policies::check(&guarded, &principals, &policies, context)
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
