//! What the files say about each other. Pure: nothing is asked.

use url::Url;

use super::files::Configurations;
use super::finding::{Check, Finding, Service};
use super::subject::{Api, Place, resource_of};
use crate::loopback::is_loopback;

pub(super) fn check(configurations: &Configurations) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(authorities(configurations));
    findings.extend(scopes(configurations));
    findings.extend(addresses(configurations));
    findings.extend(ports(&configurations.places()));
    findings.extend(origins(configurations));
    findings
}

fn authorities(configurations: &Configurations) -> Vec<Finding> {
    let all = configurations.authorities();
    let Some(((first, expected, _), others)) = all.split_first() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (service, authority, _) in others {
        let mut differs = |what: &str, key: &str| {
            findings.push(Check::SameAuthority.error(
                *service,
                format!("it names another {what} than the {first}"),
                format!("give `{key}` the same value in both files: a token of one is none for the other"),
            ));
        };
        if !authority.tenant.eq_ignore_ascii_case(&expected.tenant) {
            differs("tenant", "authority.tenant");
        }
        if authority.instance != expected.instance {
            differs("authority", "authority.instance");
        }
    }
    if findings.is_empty() && !others.is_empty() {
        findings
            .push(Check::SameAuthority.ok(None, "all services name the same authority and tenant"));
    }
    findings
}

fn scopes(configurations: &Configurations) -> Vec<Finding> {
    let apis = configurations.apis();
    let api = |service| apis.iter().find(move |api| api.service == service);
    let mut findings = Vec::new();
    if let (Some(spa), Some(middle)) = (&configurations.spa, api(Service::MiddleTier)) {
        findings.push(scope(
            Service::SpaBackend,
            "scope",
            &spa.scope,
            middle,
            &apis,
        ));
        if let Some(msal) = &spa.msal {
            findings.push(scope(
                Service::SpaBackend,
                "msal.scope",
                &msal.scope,
                middle,
                &apis,
            ));
        }
    }
    if let (Some(config), Some(downstream)) = (&configurations.middle, api(Service::DownstreamApi))
    {
        let asked = &config.downstream_scope;
        findings.push(scope(
            Service::MiddleTier,
            "downstream_scope",
            asked,
            downstream,
            &apis,
        ));
    }
    findings
}

fn scope(service: Service, key: &str, asked: &str, api: &Api<'_>, all: &[Api<'_>]) -> Finding {
    let resource = resource_of(asked);
    let name = asked.rsplit_once('/').map_or("", |(_, name)| name);
    let mend = format!("set `{key}` to \"{}/{}\"", api.app_id_uri, api.scope);
    if !api.is_named_by(resource) {
        let of_another = all.iter().any(|other| other.is_named_by(resource));
        // If it is of none, either of the two may be wrong.
        let mend = match of_another {
            true => mend,
            false => format!(
                "if the application ID URI under Expose an API is {resource}, set `app_id_uri` of the {} to it; else {mend}",
                api.service
            ),
        };
        let says = format!(
            "`{key}` is a scope of another application than the {}",
            api.service
        );
        Check::Scopes.error(service, says, mend)
    } else if name != api.scope && name != ".default" {
        let says = format!(
            "`{key}` is not the scope that the {} demands (`required_scope`)",
            api.service
        );
        Check::Scopes.error(service, says, mend)
    } else {
        Check::Scopes.ok(
            service,
            format!("`{key}` is what the {} demands", api.service),
        )
    }
}

fn addresses(configurations: &Configurations) -> Vec<Finding> {
    let places = configurations.places();
    let place = |service| places.iter().find(move |place| place.service == service);
    let mut findings = Vec::new();
    if let (Some(spa), Some(middle)) = (&configurations.spa, place(Service::MiddleTier)) {
        findings.push(address(
            Service::SpaBackend,
            "middle_tier",
            &spa.middle_tier,
            middle,
        ));
    }
    if let (Some(config), Some(downstream)) =
        (&configurations.middle, place(Service::DownstreamApi))
    {
        findings.push(address(
            Service::MiddleTier,
            "downstream",
            &config.downstream,
            downstream,
        ));
    }
    if let Some((spa, place)) = configurations.spa.as_ref().zip(place(Service::SpaBackend)) {
        findings.push(address(
            Service::SpaBackend,
            "base_url",
            &spa.base_url,
            place,
        ));
    }
    findings
}

/// Only what is on this machine can be compared: elsewhere a proxy may stand in between.
fn address(service: Service, key: &str, called: &Url, place: &Place<'_>) -> Finding {
    let other = place.service;
    if place
        .public_url
        .is_some_and(|url| url.origin() == called.origin())
    {
        return Check::Addresses.ok(service, format!("`{key}` is where the {other} is known"));
    }
    let port = place
        .network
        .listen
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    let proxied = !place.network.trusted_proxies.is_empty();
    match port {
        Some(port) if port != 0 && is_loopback(called) && !proxied => {
            let scheme = if place.network.tls.is_some() {
                "https"
            } else {
                "http"
            };
            if called.port_or_known_default() != Some(port) {
                Check::Addresses.error(
                    service,
                    format!(
                        "`{key}` is another port than the one on which the {other} listens ({port})"
                    ),
                    format!("make `{key}` and the {other}'s `listen` agree"),
                )
            } else if called.scheme() != scheme {
                Check::Addresses.error(
                    service,
                    format!(
                        "`{key}` is {}, and the {other} speaks {scheme} there",
                        called.scheme()
                    ),
                    format!("write {scheme}:// in `{key}`, or change `[tls]` of the {other}"),
                )
            } else {
                Check::Addresses.ok(service, format!("`{key}` is where the {other} listens"))
            }
        }
        _ => Check::Addresses.skipped(
            service,
            format!("whether `{key}` leads to the {other} cannot be told from the files"),
        ),
    }
}

fn ports(places: &[Place<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let (_, port) = place.network.listen.rsplit_once(':').unwrap_or_default();
        let earlier = places.iter().take(at).find(|other| {
            let (_, other) = other.network.listen.rsplit_once(':').unwrap_or_default();
            other == port && port != "0"
        });
        if let Some(other) = earlier {
            findings.push(Check::Port.error(
                place.service,
                format!("it listens on the same port as the {}", other.service),
                "give each service a port of its own in `listen`",
            ));
        }
    }
    findings
}

/// What the page of MSAL.js calls must allow its origin.
fn origins(configurations: &Configurations) -> Vec<Finding> {
    let (Some(spa), Some(middle)) = (&configurations.spa, &configurations.middle) else {
        return Vec::new();
    };
    if spa.msal.is_none() {
        return Vec::new();
    }
    let origin = spa.base_url.origin().ascii_serialization();
    let allowed = middle.allowed_origins.to_headers();
    let finding = match allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
        true => Check::Cors.ok(Service::MiddleTier, "`allowed_origins` names the page of MSAL.js"),
        false => Check::Cors.error(
            Service::MiddleTier,
            "`allowed_origins` does not name the origin of the page of MSAL.js, whose calls browsers will refuse",
            format!("add \"{origin}\" to `allowed_origins` of the middle tier"),
        ),
    };
    vec![finding]
}
