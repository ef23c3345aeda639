//! Credentials that the authority takes or not, and the tokens that it makes for the configured APIs.

use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tower_bearer::jwt::VerifyError;

use super::Options;
use super::codes;
use super::dates::how_long;
use super::explain::{self, Claims};
use super::files::Configurations;
use super::finding::{Check, Finding, Service};
use super::grant::{Granted, client_credentials};
use super::subject::{Api, Client};
use crate::plain_file;

/// A certificate that ends sooner is told.
const SOON: u64 = 30 * 86_400;

/// Numbers that say the client itself is refused, not what it asks for.
const OF_THE_CLIENT: [u32; 10] = [
    50_012, 700_016, 700_024, 700_025, 700_027, 1_000_502, 7_000_112, 7_000_215, 7_000_216,
    7_000_222,
];
/// Numbers of refusals whose reason is the API, a permission or a policy: the authority had nothing against the client.
const OF_THE_REQUEST: [u32; 17] = [
    28_000, 50_001, 50_105, 53_003, 65_001, 65_005, 70_011, 90_009, 90_094, 500_011, 500_014,
    501_051, 650_052, 650_053, 650_056, 650_057, 1_002_012,
];

/// The files of certificates, without asking anybody.
pub(super) fn certificates(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let clients = configurations.clients();
    let with_files = clients
        .iter()
        .filter_map(|client| Some((client.service, client.certificate()?)));
    let findings = with_files.filter_map(|(service, file)| {
        let ends = local_authority::certificate_not_after(&plain_file::read(file).ok()?)?;
        let now = options.clock.now();
        let mend = "make a new certificate, upload it to the application, and name its files in `client_certificate`";
        let ends = u64::try_from(ends).unwrap_or(0);
        Some(match ends.checked_sub(now) {
            None => Check::CertificateExpiry.error(
                service,
                format!("the client's certificate expired {} ago", how_long(now - ends)),
                mend,
            ),
            Some(left) if left < SOON => Check::CertificateExpiry.warning(
                service,
                format!("the client's certificate expires in {}", how_long(left)),
                mend,
            ),
            Some(left) => Check::CertificateExpiry.ok(service, format!("the client's certificate is good for {}", how_long(left))),
        })
    });
    findings.collect()
}

/// Each client proves itself, and each API gets a token made for it.
pub(super) async fn check(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let clients = configurations.clients();
    let apis = configurations.apis();
    // The middle tier can ask for itself, by its client id alone (AADSTS90009); for all others the next tier stands in the scope.
    let asked = clients.iter().flat_map(|client| {
        let own = (client.service == Service::MiddleTier).then(|| client.client_id.to_owned());
        [own, Some(client.next().to_owned())]
            .into_iter()
            .flatten()
            .map(move |resource| (client, resource))
    });
    let asked: Vec<_> = asked.collect();
    let granted = asked.iter().map(|(client, resource)| async move {
        let scope = format!("{resource}/.default");
        client_credentials(client, &scope, options).await
    });
    let granted = join_all(granted).await;
    let outcomes: Vec<_> = asked.into_iter().zip(granted).collect();

    let mut findings = Vec::new();
    for client in &clients {
        let own = outcomes
            .iter()
            .filter(|((asker, _), _)| asker.service == client.service);
        let own: Vec<_> = own
            .map(|((_, resource), granted)| (resource.as_str(), granted))
            .collect();
        findings.extend(credential(client, &own));
    }
    for api in &apis {
        let odd = outcomes.iter().find_map(|((_, resource), granted)| {
            let Granted::Token(token) = granted else {
                return None;
            };
            let known = apis.iter().any(|api| api.is_named_by(resource));
            let is_its = Claims::of(token.expose_secret()).is_some_and(|claims| claims.is_for(api));
            (!known && is_its).then_some(resource)
        });
        if let Some(uri) = odd {
            findings.push(Check::Audience.error(
                api.service,
                format!(
                    "`app_id_uri` is not that of its application: the authority makes tokens for its client id where it is asked for {uri}"
                ),
                format!("set `app_id_uri` of the {} to {uri}", api.service),
            ));
            continue;
        }
        let mut tokens = outcomes
            .iter()
            .filter_map(|((_, resource), granted)| match granted {
                Granted::Token(token) if api.is_named_by(resource) => Some(token),
                _ => None,
            });
        match tokens.next() {
            Some(token) => findings.extend(of_api(api, token, options).await),
            None => findings.push(Check::Audience.skipped(
                api.service,
                "no token could be had for this API: its version and audience are not known",
            )),
        }
    }
    findings
}

fn credential(client: &Client<'_>, outcomes: &[(&str, &Granted)]) -> Vec<Finding> {
    let service = client.service;
    let is_taken = |granted: &Granted| match granted {
        Granted::Token(_) => true,
        Granted::Refused { number, .. } => {
            number.is_some_and(|number| OF_THE_REQUEST.contains(&number))
        }
        Granted::NoAnswer(_) | Granted::NoCredential => false,
    };
    let taken = outcomes.iter().any(|(_, granted)| is_taken(granted));
    let mut findings = Vec::new();
    for (resource, granted) in outcomes {
        match granted {
            Granted::Token(_) => {}
            Granted::NoCredential => {
                return vec![Check::Credential.error(
                    service,
                    "there is no credential that can be used",
                    "set `client_secret`, or name PEM files with an RSA certificate and its key in `client_certificate`",
                )];
            }
            Granted::NoAnswer(words) => {
                return vec![Check::Credential.error(
                    service,
                    format!("the authority's token endpoint {words}"),
                    "try again; if it stays so, check the network",
                )];
            }
            Granted::Refused { number, .. } => {
                let (meaning, mend) = match number {
                    Some(number) => codes::explain(*number),
                    None => (
                        "it gives no reason that is known".into(),
                        "check `client_id` and the credential".into(),
                    ),
                };
                if number.is_none_or(|number| OF_THE_CLIENT.contains(&number)) {
                    return vec![Check::Credential.error(
                        service,
                        format!("the authority refuses this client: {meaning}"),
                        mend,
                    )];
                }
                if !taken {
                    return vec![Check::Credential.error(
                        service,
                        format!(
                            "the authority makes no token, and whether it takes the credential cannot be told from its reason: {meaning}"
                        ),
                        mend,
                    )];
                }
                findings.push(Check::Audience.error(
                    service,
                    format!("the authority makes no token for {resource}: {meaning}"),
                    mend,
                ));
            }
        }
    }
    if taken {
        let says = "the authority takes this client's credential";
        findings.insert(0, Check::Credential.ok(service, says));
    }
    findings
}

/// The token tells what its API is registered for.
async fn of_api(api: &Api<'_>, token: &SecretString, options: &Options) -> Vec<Finding> {
    let Some(claims) = Claims::of(token.expose_secret()) else {
        return vec![Check::Audience.error(
            api.service,
            "the authority's tokens for this API are no JWTs",
            "check that `app_id_uri` and the scopes name your own API",
        )];
    };
    if claims.text("ver") == Some("1.0") {
        return vec![Check::TokenVersion.error(
            api.service,
            "the authority makes version 1.0 tokens for this API, which the service refuses",
            "set `requestedAccessTokenVersion` to 2 in the application's manifest (api)",
        )];
    }
    let Some(resource) = api.resource() else {
        return vec![
            Check::Audience.skipped(api.service, "the service does not take its own settings"),
        ];
    };
    let verified =
        tokio::time::timeout(options.deadline, resource.verify(token.expose_secret())).await;
    let mut findings = match verified {
        Ok(Ok(_)) => vec![
            Check::TokenVersion.ok(
                api.service,
                "the authority makes version 2.0 tokens for this API",
            ),
            Check::Audience.ok(
                api.service,
                "the service takes what the authority makes for this API",
            ),
        ],
        Ok(Err(error)) => {
            let found = explain::details(&claims, error, api, &[], options.clock.now());
            let words = found
                .first()
                .map_or_else(|| error.to_string(), |finding| finding.says.clone());
            let mend = found.into_iter().next().and_then(|finding| finding.mend);
            let mend = match (error, claims.client_of_audience()) {
                // It was asked for by the API's own name.
                (VerifyError::Audience, Some(id)) => {
                    format!("set `client_id` of the {} to {id}", api.service)
                }
                _ => mend.unwrap_or_else(|| "check `client_id` and `app_id_uri`".into()),
            };
            vec![Check::Audience.error(
                api.service,
                format!("the service refuses what the authority makes for this API: {words}"),
                mend,
            )]
        }
        Err(_) => {
            vec![Check::Audience.skipped(api.service, "the authority's keys do not come in time")]
        }
    };
    if options.graph.is_none() {
        findings.push(optional_claims(api, &claims));
    }
    findings
}

/// An app-only token shows two of the three, and `acrs` never.
fn optional_claims(api: &Api<'_>, claims: &Claims) -> Finding {
    let cp1 = claims
        .get("xms_cc")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    let mut missing = Vec::new();
    if !cp1 {
        missing.push("xms_cc");
    }
    if claims.text("idtyp") != Some("app") {
        missing.push("idtyp");
    }
    if missing.is_empty() {
        Check::OptionalClaims.ok(
            api.service,
            "app-only tokens carry xms_cc and idtyp; acrs shows in users' tokens alone (GRAPH_ACCESS_TOKEN would tell)",
        )
    } else {
        Check::OptionalClaims.warning(
            api.service,
            format!(
                "an app-only token lacks {}: without xms_cc a challenge becomes a plain 403",
                missing.join(" and ")
            ),
            "add xms_cc, acrs and idtyp under Token configuration, Access; set GRAPH_ACCESS_TOKEN to look at the registration itself",
        )
    }
}
