//! One access token: would the configured services take it, and what could it do there?

use secrecy::{ExposeSecret as _, SecretString};
use tower_bearer::Principal;
use tower_bearer::jwt::VerifyError;

use super::codes;
use super::explain::{self, Claims};
use super::files::Configurations;
use super::finding::{Check, Finding, Report, Service};
use super::grant::{Granted, on_behalf_of};
use super::subject::Api;
use super::{Options, finding::Severity};

/// Longest text that is taken for a token, in bytes: more than any service reads.
pub const LONGEST: usize = 64 * 1024;

/// Explains an access token. Nothing of it is repeated but the id of the application that it is for.
/// A good one for the middle tier is exchanged once, as the middle tier would do it, and the outcome is told.
pub async fn explain(
    configurations: &Configurations,
    token: &SecretString,
    options: &Options,
) -> Report {
    let token: SecretString = bare(token.expose_secret()).into();
    let mut findings = Vec::new();
    let apis = configurations.apis();
    if token.expose_secret().is_empty() || token.expose_secret().len() > LONGEST {
        findings.push(Check::TokenFormat.error(
            None,
            format!("there is no token on standard input, or more than {LONGEST} bytes"),
            "pipe the token alone: doctor --token - <token.txt",
        ));
    } else if apis.is_empty() {
        findings.push(Check::Token.error(
            None,
            "none of the configurations is of a service that takes tokens",
            "add middle-tier.toml or downstream-api.toml",
        ));
    } else {
        match Claims::of(token.expose_secret()) {
            None => findings.push(explain::no_jwt(token.expose_secret())),
            Some(claims) => {
                examine(
                    configurations,
                    &apis,
                    &token,
                    &claims,
                    options,
                    &mut findings,
                )
                .await
            }
        }
    }
    Report { findings }
}

/// Without what is often copied along.
fn bare(text: &str) -> &str {
    let text = text.trim();
    match text.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim(),
        _ => text,
    }
}

async fn examine(
    configurations: &Configurations,
    apis: &[Api<'_>],
    token: &SecretString,
    claims: &Claims,
    options: &Options,
    findings: &mut Vec<Finding>,
) {
    // A token is for one API, and that the others refuse it is as it must be.
    let meant = apis.iter().find(|api| claims.is_for(api));
    for api in apis {
        match meant {
            Some(meant) if meant.service != api.service => findings.push(Check::Token.skipped(
                api.service,
                format!(
                    "it is for the {}; this service refuses it, as it must",
                    meant.service
                ),
            )),
            _ => examine_for(configurations, api, apis, token, claims, options, findings).await,
        }
        if meant.is_none() {
            // All would say the same.
            break;
        }
    }
}

async fn examine_for(
    configurations: &Configurations,
    api: &Api<'_>,
    apis: &[Api<'_>],
    token: &SecretString,
    claims: &Claims,
    options: &Options,
    findings: &mut Vec<Finding>,
) {
    let service = api.service;
    let Some(resource) = api.resource() else {
        findings.push(Check::Settings.error(
            service,
            "the service does not take its own settings",
            "mend what `doctor` without --token says first",
        ));
        return;
    };
    let verified =
        tokio::time::timeout(options.deadline, resource.verify(token.expose_secret())).await;
    match verified.unwrap_or(Err(VerifyError::KeysUnavailable)) {
        Ok(principal) => {
            findings.push(Check::Token.ok(
                service,
                "the service takes it: audience, issuer, times and signature are right",
            ));
            findings.extend(rights(configurations, api, &principal));
            let usable = findings
                .iter()
                .all(|finding| finding.severity != Severity::Error);
            if usable && service == Service::MiddleTier {
                findings.extend(exchange(configurations, &principal, token, options).await);
            }
        }
        Err(error) => {
            findings.push(Check::Token.error(
                service,
                format!("the service refuses it: {error}"),
                "mend what is named below, then get a new token",
            ));
            findings.extend(explain::details(
                claims,
                error,
                api,
                apis,
                options.clock.now(),
            ));
        }
    }
}

/// What an accepted token may do.
fn rights(configurations: &Configurations, api: &Api<'_>, principal: &Principal) -> Vec<Finding> {
    let service = api.service;
    let downstream = configurations
        .downstream
        .as_ref()
        .filter(|_| service == Service::DownstreamApi);
    if principal.is_app() {
        let admin = downstream.is_some_and(|config| principal.has_role(&config.admin_role));
        return vec![match admin {
            true => Check::TokenCaller.ok(service, "it is an application's own and holds the app role of GET /admin; all else wants a user"),
            false => Check::TokenCaller.error(
                service,
                "it is an application's own (no user), and the service acts for users",
                "get it by a sign-in (authorization code) instead of client credentials; for GET /admin grant the app role",
            ),
        }];
    }
    let mut findings = Vec::new();
    findings.push(match principal.has_scope(api.scope) {
        true => Check::TokenScope.ok(service, format!("it holds the scope {}", api.scope)),
        false => Check::TokenScope.error(
            service,
            format!("it lacks the scope {}: the service answers 403", api.scope),
            format!("ask for {}/{}", api.app_id_uri, api.scope),
        ),
    });
    findings.push(match principal.accepts_claims_challenge() {
        true => Check::TokenChallenges.ok(service, "its client can answer challenges (xms_cc has cp1)"),
        false => Check::TokenChallenges.warning(
            service,
            "it does not say that its client can answer challenges: a demand for more becomes a plain 403",
            "add the optional claim xms_cc to the API, and let the client declare the capability cp1",
        ),
    });
    if let Some(config) = downstream {
        let context = &config.secure_context;
        findings.push(Check::TokenContext.ok(
            service,
            match principal.has_auth_context(context) {
                true => format!("it satisfies the authentication context {context} of GET /secure"),
                false => format!("it does not satisfy the authentication context {context}: GET /secure demands it first"),
            },
        ));
    }
    findings
}

/// What the middle tier would meet.
async fn exchange(
    configurations: &Configurations,
    principal: &Principal,
    token: &SecretString,
    options: &Options,
) -> Option<Finding> {
    let service = Service::MiddleTier;
    let clients = configurations.clients();
    let client = clients.iter().find(|client| client.service == service)?;
    Some(match on_behalf_of(client, token, options).await {
        Granted::Token(_) => Check::OnBehalfOf.ok(
            service,
            "the authority exchanges it for a token of the downstream API",
        ),
        Granted::NoAnswer(words) => {
            Check::OnBehalfOf.skipped(service, format!("the authority's token endpoint {words}"))
        }
        Granted::NoCredential => Check::OnBehalfOf.skipped(
            service,
            "the middle tier has no credential that can be used",
        ),
        Granted::Refused {
            number,
            interaction,
        } => {
            let (meaning, mend) = number.map_or_else(
                || {
                    (
                        "it gives no reason that is known".to_owned(),
                        "look at the log of the middle tier".to_owned(),
                    )
                },
                codes::explain,
            );
            match (number, interaction) {
                (Some(65_001), _) => Check::Consent.error(service, format!("the exchange fails: {meaning}"), mend),
                (_, true) if principal.accepts_claims_challenge() => Check::OnBehalfOf.ok(
                    service,
                    format!("the authority demands more of the user first ({meaning}); the client gets a challenge that it can answer"),
                ),
                (_, true) => Check::OnBehalfOf.warning(
                    service,
                    format!("the authority demands more of the user first ({meaning}), and the client cannot answer a challenge"),
                    "add the optional claim xms_cc to the middle tier, and let the client declare the capability cp1",
                ),
                (_, false) => Check::OnBehalfOf.error(service, format!("the exchange fails: {meaning}"), mend),
            }
        }
    })
}
