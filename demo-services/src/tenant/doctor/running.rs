//! What is on the services' ports, and what a running middle tier tells a browser.

use futures_util::future::join_all;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, LOCATION, ORIGIN,
};
use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::Options;
use super::files::Configurations;
use super::finding::{Check, Finding, Service};
use super::probe::{Answer, NoAnswer, Probe};
use super::subject::{Api, Place};

/// What our services answer where TLS was expected, and plain http came.
const SPEAKS_TLS: &str = "This port speaks TLS";

pub(super) async fn check(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let (places, apis) = (configurations.places(), configurations.apis());
    let ports = join_all(places.iter().map(|place| {
        let api = apis.iter().find(|api| api.service == place.service);
        port(place, api, options)
    }));
    let (ports, cors) = futures_util::join!(ports, cors(configurations, options));
    ports.into_iter().chain(cors).collect()
}

/// From this machine: `localhost` for both loopback addresses, loopback for all addresses.
fn local_url(place: &Place<'_>) -> Option<Url> {
    let (host, port) = place.network.listen.rsplit_once(':')?;
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let scheme = if place.network.tls.is_some() {
        "https"
    } else {
        "http"
    };
    Url::parse(&format!("{scheme}://{host}:{port}")).ok()
}

async fn port(place: &Place<'_>, api: Option<&Api<'_>>, options: &Options) -> Finding {
    let service = place.service;
    if place.network.listen.ends_with(":0") {
        return Check::Port.skipped(service, "it takes a free port");
    }
    let Some(url) = local_url(place) else {
        return Check::Port.error(
            service,
            "`listen` is no address",
            "write localhost:PORT or IP:PORT",
        );
    };
    let Some(probe) = Probe::new(&url, place.trust, options.deadline) else {
        return Check::Port.skipped(service, "no client can be made to look");
    };
    let taken = |what: &str| {
        Check::Port.error(
            service,
            format!("its port is taken, by {what}"),
            "stop the other program, or change `listen` and the addresses that lead there",
        )
    };
    let at = |path: &str| url.join(path).unwrap_or_else(|_| url.clone());
    let health = match probe.ask(|http| http.get(at("/healthz"))).await {
        Err(NoAnswer::Refused) => return Check::Port.ok(service, "its port is free"),
        // With its own certificate it cannot be reached by a loopback name; that it listens is all that can be told.
        Err(error) if place.network.tls.is_some() && error.is_of_certificate() => {
            return Check::Port.skipped(
                service,
                "something speaks TLS there, under a name that this machine does not trust",
            );
        }
        Err(error) => return taken(&format!("something that {}", error.words())),
        Ok(answer) => answer,
    };
    if health.text().contains(SPEAKS_TLS) {
        return Check::Port.error(
            service,
            "what is on its port speaks TLS, and the file has no `[tls]`: the service was started with another file, or before this one was changed",
            "stop it and start it with this file, or set `[tls]`",
        );
    }
    if health.status != StatusCode::OK {
        return taken("a program that is none of the services (/healthz is not there)");
    }
    let ours = match service {
        Service::SpaBackend => match probe.ask(|http| http.get(at("/auth/callback"))).await {
            // Only the SPA backend has a page there; the APIs want a token first.
            Ok(answer)
                if answer.status != StatusCode::UNAUTHORIZED
                    && answer.text().contains("<title>") =>
            {
                let client = client_of(&probe, at("/auth/sign-in")).await;
                if client.is_some_and(|client| !client.eq_ignore_ascii_case(place.client_id)) {
                    return Check::Port.error(
                        service,
                        "it runs with another `client_id` than the file has: it was started with another file, or before this one was changed",
                        "stop it and start it with this file",
                    );
                }
                Some(true)
            }
            Ok(_) => Some(false),
            Err(_) => None,
        },
        Service::MiddleTier | Service::DownstreamApi => match place.public_url {
            // RFC 9728: the service describes itself.
            Some(known) => {
                let path = "/.well-known/oauth-protected-resource";
                let path = format!("{path}{}", known.path().trim_end_matches('/'));
                let answer = probe.ask(|http| http.get(at(&path))).await.ok();
                answer.map(|answer| describes(&answer, known, api))
            }
            None => match probe.ask(|http| http.get(at("/api"))).await {
                Ok(answer) => Some(answer.status == StatusCode::UNAUTHORIZED),
                Err(_) => None,
            },
        },
    };
    match ours {
        Some(true) => Check::Port.ok(service, "it runs and answers"),
        Some(false) => taken("another service, or this one with another configuration"),
        None => Check::Port.skipped(
            service,
            "what is on its port does not say which service it is",
        ),
    }
}

/// What a running SPA backend signs in as: where it sends a browser. `None` if that cannot be seen, with another host than the one that
/// is asked for example.
async fn client_of(probe: &Probe, url: Url) -> Option<String> {
    let answer = probe.ask(|http| http.get(url)).await.ok()?;
    let location = Url::parse(answer.header(LOCATION)?).ok()?;
    let mut query = location.query_pairs();
    let (_, client) = query.find(|(name, _)| name == "client_id")?;
    Some(client.into_owned())
}

/// Whether a service's description of itself is of this address and this API.
fn describes(answer: &Answer, address: &Url, api: Option<&Api<'_>>) -> bool {
    let described = answer.json().unwrap_or_default();
    let resource = described.get("resource").and_then(Value::as_str);
    let scopes = described.get("scopes_supported").and_then(Value::as_array);
    let scope = api.map(|api| format!("{}/{}", api.app_id_uri, api.scope));
    let has_scope = scopes.is_some_and(|scopes| {
        let mut scopes = scopes.iter().filter_map(Value::as_str);
        scopes.any(|supported| Some(supported) == scope.as_deref())
    });
    resource == Some(address.as_str().trim_end_matches('/')) && has_scope
}

/// The preflight of the page of MSAL.js, as its browser would send it.
async fn cors(configurations: &Configurations, options: &Options) -> Option<Finding> {
    let spa = configurations.spa.as_ref()?;
    let msal = spa.msal.as_ref()?;
    let service = Service::MiddleTier;
    let probe = Probe::new(&msal.middle_tier, &spa.trust, options.deadline)?;
    let origin = spa.base_url.origin().ascii_serialization();
    let url = msal.middle_tier.join("/api").ok()?;
    let preflight = probe.ask(|http| {
        http.request(Method::OPTIONS, url)
            .header(ORIGIN, &origin)
            .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization")
    });
    let answer = match preflight.await {
        Ok(answer) => answer,
        Err(error) => {
            let says = format!(
                "the middle tier {}: its preflight is not known",
                error.words()
            );
            return Some(Check::Cors.skipped(service, says));
        }
    };
    let allows = answer.header(ACCESS_CONTROL_ALLOW_ORIGIN) == Some(&origin);
    let headers = answer
        .header(ACCESS_CONTROL_ALLOW_HEADERS)
        .unwrap_or_default();
    let token = headers.to_ascii_lowercase().contains("authorization");
    Some(match allows && token {
        true => Check::Cors.ok(
            service,
            "the running middle tier lets the page of MSAL.js call it",
        ),
        false => Check::Cors.error(
            service,
            "the running middle tier does not let the page of MSAL.js call it",
            format!("add \"{origin}\" to `allowed_origins` of the middle tier and start it again"),
        ),
    })
}
