//! Whether an application is registered as the configuration of its service says.

use std::collections::BTreeSet;

use serde_json::Value;

use super::array;
use super::asked::Wanted;
use super::reader::Told;
use crate::tenant::doctor::Options;
use crate::tenant::doctor::codes;
use crate::tenant::doctor::dates::{how_long, rfc3339};
use crate::tenant::doctor::finding::{Check, Finding, Service};
use crate::tenant::doctor::redirects::{About, not_registered};
use crate::tenant::doctor::subject::{Api, Platform, RedirectUri};

/// A secret or certificate that ends sooner is told, in seconds.
const SOON: i64 = 30 * 86_400;
/// What an API's access tokens should carry.
const OPTIONAL: [&str; 3] = ["xms_cc", "acrs", "idtyp"];

pub(super) fn check(
    wanted: &Wanted<'_>,
    told: &Told<Vec<Value>>,
    options: &Options,
) -> Vec<Finding> {
    match told.as_ref().map(|applications| applications.first()) {
        Err(untold) => {
            let reason = untold.reason("Application.Read.All");
            vec![Check::Registration.skipped(wanted.service, format!("not looked at: {reason}"))]
        }
        Ok(Some(application)) => registration(wanted, application, options),
        Ok(None) => vec![Check::Registration.error(
            wanted.service,
            format!("the tenant has no application {}", wanted.client_id),
            "check `client_id`; `demo-services register` creates the applications and writes their ids",
        )],
    }
}

fn registration(wanted: &Wanted<'_>, application: &Value, options: &Options) -> Vec<Finding> {
    let service = wanted.service;
    let mut findings = vec![Check::Registration.ok(
        service,
        format!("application {} is registered", wanted.client_id),
    )];
    if let Some(api) = &wanted.api {
        findings.extend(of_api(api, application));
    }
    if wanted.has_credential {
        findings.extend(expiry(service, application, options));
    }
    findings
}

/// What the application says of the redirect URIs; nothing if it is not told.
pub(super) fn redirects(wanted: &Wanted<'_>, told: &Told<Vec<Value>>) -> Vec<About> {
    let application = told.as_ref().ok().and_then(|found| found.first());
    let Some(application) = application else {
        return Vec::new();
    };
    let about = wanted.redirects.iter().map(|redirect| About {
        uri: Some(redirect.uri.clone()),
        finding: of_redirect(redirect, application),
    });
    about.collect()
}

fn of_redirect(wanted: &RedirectUri<'_>, application: &Value) -> Finding {
    let (service, uri) = (Service::SpaBackend, &wanted.uri);
    let (platform, name) = (wanted.platform.key(), wanted.platform.name());
    let has = |platform: &str| {
        let uris = application
            .get(platform)
            .map(|part| array(part, "redirectUris"));
        uris.is_some_and(|uris| uris.iter().any(|known| known.as_str() == Some(uri)))
    };
    let others = ["web", "spa", "publicClient"]
        .into_iter()
        .filter(|other| *other != platform);
    if has(platform) {
        Check::RedirectUri.ok(
            service,
            format!("{uri} is registered with the platform {name}"),
        )
    } else if others.into_iter().any(has) {
        let number = match wanted.platform {
            Platform::Web => 9_002_327,
            Platform::SinglePage => 9_002_326,
        };
        let (meaning, mend) = codes::explain(number);
        Check::RedirectUri.error(
            service,
            format!("{uri} is registered with another platform than {name}: {meaning}"),
            mend,
        )
    } else {
        not_registered(wanted)
    }
}

fn of_api(api: &Api<'_>, application: &Value) -> Vec<Finding> {
    let service = api.service;
    let mut findings = Vec::new();
    let part = application.get("api").unwrap_or(&Value::Null);
    findings.push(match part.get("requestedAccessTokenVersion").and_then(Value::as_u64) {
        Some(2) => Check::TokenVersion.ok(service, "requestedAccessTokenVersion is 2"),
        _ => Check::TokenVersion.error(
            service,
            "requestedAccessTokenVersion is not 2: tokens are of version 1.0, which the service refuses",
            "set `requestedAccessTokenVersion` to 2 in the application's manifest (api)",
        ),
    });
    let uris = array(application, "identifierUris");
    if !uris.iter().any(|uri| uri.as_str() == Some(api.app_id_uri)) {
        let mend = match uris.iter().find_map(Value::as_str) {
            Some(uri) => format!(
                "set `app_id_uri` to {uri}, which the application has, or change that under Expose an API"
            ),
            None => "set it under Expose an API".to_owned(),
        };
        findings.push(Check::Registration.error(
            service,
            format!(
                "the application does not have the application ID URI {}",
                api.app_id_uri
            ),
            mend,
        ));
    }
    let exposed = array(part, "oauth2PermissionScopes").iter().any(|scope| {
        scope.get("value").and_then(Value::as_str) == Some(api.scope)
            && scope.get("isEnabled").and_then(Value::as_bool) == Some(true)
    });
    if !exposed {
        findings.push(Check::Registration.error(
            service,
            format!(
                "the application does not expose the scope {}, or it is disabled",
                api.scope
            ),
            "add or enable it under Expose an API, or correct `required_scope`",
        ));
    }
    if let Some(role) = api.role {
        findings.extend(of_role(service, application, role));
    }
    let claims = application.get("optionalClaims").unwrap_or(&Value::Null);
    let claims: BTreeSet<&str> = array(claims, "accessToken")
        .iter()
        .filter_map(|claim| claim.get("name").and_then(Value::as_str))
        .collect();
    let missing: Vec<&str> = OPTIONAL
        .into_iter()
        .filter(|name| !claims.contains(name))
        .collect();
    findings.push(match missing.is_empty() {
        true => Check::OptionalClaims.ok(service, "access tokens carry xms_cc, acrs and idtyp"),
        false => Check::OptionalClaims.warning(
            service,
            format!("access tokens lack {}: without xms_cc a challenge becomes a plain 403", missing.join(", ")),
            "add them under Token configuration, Add optional claim, Access (xms_cc in the manifest)",
        ),
    });
    findings
}

/// One that applications can hold, as the daemon must.
fn of_role(service: Service, application: &Value, role: &str) -> Option<Finding> {
    let roles = array(application, "appRoles").iter();
    let mut named = roles.filter(|one| one.get("value").and_then(Value::as_str) == Some(role));
    let is_for_applications = |one: &Value| {
        let members = array(one, "allowedMemberTypes").iter();
        one.get("isEnabled").and_then(Value::as_bool) == Some(true)
            && members
                .filter_map(Value::as_str)
                .any(|member| member == "Application")
    };
    match named.any(is_for_applications) {
        true => None,
        false => Some(Check::Registration.error(
            service,
            format!("the application has no app role {role} that is enabled for applications: nobody gets to GET /admin"),
            "create it under App roles (allowed member types: Applications), or correct `admin_role`",
        )),
    }
}

/// The last of all is meant: which one the service uses is not known here.
fn expiry(service: Service, application: &Value, options: &Options) -> Option<Finding> {
    let secrets = array(application, "passwordCredentials").iter();
    let all: Vec<&Value> = secrets
        .chain(array(application, "keyCredentials"))
        .collect();
    if all.is_empty() {
        return Some(Check::CredentialExpiry.error(
            service,
            "the application has neither a secret nor a certificate",
            "add one under Certificates & secrets",
        ));
    }
    let ends: Vec<i64> = all
        .iter()
        .filter_map(|one| one.get("endDateTime")?.as_str().and_then(rfc3339))
        .collect();
    if ends.len() < all.len() {
        return Some(Check::CredentialExpiry.ok(service, "a secret or certificate has no end"));
    }
    let now = i64::try_from(options.clock.now()).ok()?;
    let left = ends.into_iter().max()? - now;
    let mend = "make a new one under Certificates & secrets and put it into the configuration";
    let words = how_long(left.unsigned_abs());
    Some(if left <= 0 {
        Check::CredentialExpiry.error(
            service,
            format!("the last secret or certificate expired {words} ago"),
            mend,
        )
    } else if left < SOON {
        Check::CredentialExpiry.warning(
            service,
            format!("the last secret or certificate expires in {words}"),
            mend,
        )
    } else {
        Check::CredentialExpiry.ok(
            service,
            format!("the last secret or certificate is good for {words}"),
        )
    })
}
