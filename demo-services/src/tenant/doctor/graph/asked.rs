//! What the configuration wants of the tenant: applications, delegated permissions, and policies.

use crate::tenant::doctor::files::Configurations;
use crate::tenant::doctor::finding::Service;
use crate::tenant::doctor::subject::{Api, Platform, RedirectUri, resource_of};

/// An application of the configuration.
pub(super) struct Wanted<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    pub(super) redirects: Vec<RedirectUri<'a>>,
    pub(super) api: Option<Api<'a>>,
    pub(super) has_credential: bool,
}

/// A delegated permission that a client needs.
pub(super) struct Edge<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    /// The key of the configuration that names the scope.
    pub(super) key: &'static str,
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
        let (of_page, of_backend): (Vec<_>, Vec<_>) = configurations
            .redirect_uris()
            .into_iter()
            .partition(|wanted| wanted.platform == Platform::SinglePage);
        all.push(Wanted {
            service: Service::SpaBackend,
            client_id: &config.client_id,
            redirects: of_backend,
            api: None,
            has_credential: true,
        });
        all.extend(config.msal.as_ref().map(|msal| Wanted {
            service: Service::SpaBackend,
            client_id: &msal.client_id,
            redirects: of_page,
            api: None,
            has_credential: false,
        }));
    }
    all.extend(configurations.apis().into_iter().map(|api| Wanted {
        service: api.service,
        client_id: api.client_id,
        redirects: Vec::new(),
        has_credential: api.service == Service::MiddleTier,
        api: Some(api),
    }));
    all
}

pub(super) fn edges(configurations: &Configurations) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    if let Some(config) = &configurations.spa {
        let mut edge = |client_id, key, scope| {
            edges.push(Edge {
                service: Service::SpaBackend,
                client_id,
                key,
                scope,
            });
        };
        edge(&config.client_id, "scope", &config.scope);
        if let Some(msal) = &config.msal {
            edge(&msal.client_id, "msal.scope", &msal.scope);
        }
    }
    if let Some(config) = &configurations.middle {
        let mut edge = |key, scope| {
            edges.push(Edge {
                service: Service::MiddleTier,
                client_id: &config.client_id,
                key,
                scope,
            });
        };
        edge("downstream_scope", &config.downstream_scope);
        if let Some(profile) = &config.profile {
            edge("profile.read_scope", &profile.read_scope);
            edge("profile.write_scope", &profile.write_scope);
            edge("profile.gate_scope", &profile.gate_scope);
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
