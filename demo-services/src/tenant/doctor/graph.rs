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
use super::subject::resource_of;
pub use access::{GraphAccess, GraphAccessError};
use reader::Reader;

pub(super) async fn check(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let authorities = configurations.authorities();
    let Some((_, _, trust)) = authorities.first() else {
        return skipped("no configuration can be read: there is nothing to look for in the tenant");
    };
    let Some(access) = &options.graph else {
        return skipped(
            "GRAPH_ACCESS_TOKEN is not set: what only the tenant knows is not looked at (docs/entra.md says which token)",
        );
    };
    let Some(reader) = Reader::new(access, trust, options.deadline) else {
        return skipped("no client can be made to ask Graph");
    };
    let (registered, policies) = join!(
        registrations(configurations, &reader, options),
        policies(configurations, &reader),
    );
    registered.into_iter().chain(policies).collect()
}

fn skipped(says: &str) -> Vec<Finding> {
    let checks = [
        Check::Registration,
        Check::CredentialExpiry,
        Check::Consent,
        Check::MfaPolicy,
        Check::StepUpPolicy,
    ];
    checks.map(|check| check.skipped(None, says)).into()
}

async fn registrations(
    configurations: &Configurations,
    reader: &Reader,
    options: &Options,
) -> Vec<Finding> {
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
    findings
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
