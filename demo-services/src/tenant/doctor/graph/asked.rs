//! What the configuration wants of the tenant: applications, delegated permissions, and policies.

use crate::tenant::doctor::files::Configurations;
use crate::tenant::doctor::finding::Service;
use crate::tenant::doctor::subject::{Api, resource_of};

/// An application of the configuration.
pub(super) struct Wanted<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    /// Web, then single-page.
    pub(super) redirects: [Vec<String>; 2],
    pub(super) api: Option<Api<'a>>,
    pub(super) has_credential: bool,
}

/// A delegated permission that a client needs.
pub(super) struct Edge<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    pub(super) scope: &'a str,
}

/// What must stand behind a policy.
pub(super) struct Guarded<'a> {
    pub(super) what: &'static str,
    pub(super) resource: &'a str,
}

pub(super) fn wanted(configurations: &Configurations) -> Vec<Wanted<'_>> {
    let mut all = Vec::new();
    if let Some(config) = &configurations.spa {
        let base = config.base_url.origin().ascii_serialization();
        let of = |paths: [&str; 2]| paths.map(|path| format!("{base}{path}")).to_vec();
        all.push(Wanted {
            service: Service::SpaBackend,
            client_id: &config.client_id,
            redirects: [of(["/auth/callback", "/"]), Vec::new()],
            api: None,
            has_credential: true,
        });
        all.extend(config.msal.iter().map(|msal| Wanted {
            service: Service::SpaBackend,
            client_id: &msal.client_id,
            redirects: [Vec::new(), of(["/msal", "/msal/redirect"])],
            api: None,
            has_credential: false,
        }));
    }
    all.extend(configurations.apis().into_iter().map(|api| Wanted {
        service: api.service,
        client_id: api.client_id,
        redirects: [Vec::new(), Vec::new()],
        has_credential: api.service == Service::MiddleTier,
        api: Some(api),
    }));
    all
}

pub(super) fn edges(configurations: &Configurations) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    let edge = |service, client_id, scope| Edge {
        service,
        client_id,
        scope,
    };
    if let Some(config) = &configurations.spa {
        edges.push(edge(
            Service::SpaBackend,
            config.client_id.as_str(),
            config.scope.as_str(),
        ));
        edges.extend(
            config
                .msal
                .iter()
                .map(|msal| edge(Service::SpaBackend, &msal.client_id, &msal.scope)),
        );
    }
    if let Some(config) = &configurations.middle {
        edges.push(edge(
            Service::MiddleTier,
            &config.client_id,
            &config.downstream_scope,
        ));
        if let Some(profile) = &config.profile {
            for scope in [
                &profile.read_scope,
                &profile.write_scope,
                &profile.gate_scope,
            ] {
                edges.push(edge(Service::MiddleTier, &config.client_id, scope));
            }
        }
    }
    edges
}

/// What a second factor should stand before.
pub(super) fn guarded(configurations: &Configurations) -> Vec<Guarded<'_>> {
    let downstream = configurations.downstream.iter().map(|config| Guarded {
        what: "the downstream API",
        resource: &config.client_id,
    });
    let profile = configurations
        .middle
        .iter()
        .filter_map(|config| config.profile.as_ref());
    let gate = profile.map(|profile| Guarded {
        what: "the application that guards the profile",
        resource: resource_of(&profile.gate_scope),
    });
    downstream.chain(gate).collect()
}
