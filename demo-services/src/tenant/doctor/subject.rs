//! The configured services as the checks see them: APIs that take tokens, and clients that ask for them.

use std::path::Path;

use tower_bearer::{Certificate, Credential, Resource};
use url::Url;

use super::files::Configurations;
use super::finding::Service;
use crate::config::{
    AuthorityConfig, ClientCertificateConfig, MiddleTierConfig, Network, ServiceConfig as _,
};
use crate::plain_file;
use crate::trust::Trust;
use secrecy::SecretString;

/// A service that takes tokens.
pub(super) struct Api<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    pub(super) app_id_uri: &'a str,
    /// The scope's short name.
    pub(super) scope: &'a str,
    /// The app role that applications need.
    pub(super) role: Option<&'a str>,
    pub(super) authority: &'a AuthorityConfig,
    pub(super) trust: &'a Trust,
}

/// A service that asks for tokens.
pub(super) struct Client<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    pub(super) authority: &'a AuthorityConfig,
    pub(super) trust: &'a Trust,
    /// The whole scope that it asks the next tier for.
    pub(super) scope: &'a str,
    proof: Proof<'a>,
}

enum Proof<'a> {
    Certificate(&'a ClientCertificateConfig),
    None,
    Secret(&'a SecretString),
}

/// A redirect URI and who needs it.
pub(super) struct RedirectUri<'a> {
    pub(super) client_id: &'a str,
    /// What the client asks for at a sign-in.
    pub(super) scope: &'a str,
    pub(super) uri: String,
    pub(super) platform: Platform,
    /// Signing in does not work without it.
    pub(super) needed: bool,
}

/// Of a redirect URI, as the portal names them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    Web,
    SinglePage,
}

/// Where a service is.
pub(super) struct Place<'a> {
    pub(super) service: Service,
    pub(super) client_id: &'a str,
    pub(super) network: Network<'a>,
    pub(super) public_url: Option<&'a Url>,
    pub(super) trust: &'a Trust,
}

impl Configurations {
    pub(super) fn apis(&self) -> Vec<Api<'_>> {
        let middle = self.middle.iter().map(|config| Api {
            service: Service::MiddleTier,
            client_id: &config.client_id,
            app_id_uri: &config.app_id_uri,
            scope: &config.required_scope,
            role: None,
            authority: &config.authority,
            trust: &config.trust,
        });
        let downstream = self.downstream.iter().map(|config| Api {
            service: Service::DownstreamApi,
            client_id: &config.client_id,
            app_id_uri: &config.app_id_uri,
            scope: &config.required_scope,
            role: Some(&config.admin_role),
            authority: &config.authority,
            trust: &config.trust,
        });
        middle.chain(downstream).collect()
    }

    pub(super) fn clients(&self) -> Vec<Client<'_>> {
        let spa = self.spa.iter().map(|config| Client {
            service: Service::SpaBackend,
            client_id: &config.client_id,
            authority: &config.authority,
            trust: &config.trust,
            scope: &config.scope,
            proof: match (&config.client_certificate, &config.client_secret) {
                (Some(files), _) => Proof::Certificate(files),
                (None, Some(secret)) => Proof::Secret(secret),
                (None, None) => Proof::None,
            },
        });
        let middle = self.middle.iter().map(|config| Client {
            service: Service::MiddleTier,
            client_id: &config.client_id,
            authority: &config.authority,
            trust: &config.trust,
            scope: &config.downstream_scope,
            proof: proof_of(config),
        });
        spa.chain(middle).collect()
    }

    pub(super) fn redirect_uris(&self) -> Vec<RedirectUri<'_>> {
        let Some(config) = &self.spa else {
            return Vec::new();
        };
        let base = config.base_url.origin().ascii_serialization();
        let of_backend =
            [("/auth/callback", true), ("/", false)].map(|(path, needed)| RedirectUri {
                client_id: &config.client_id,
                scope: &config.scope,
                uri: format!("{base}{path}"),
                platform: Platform::Web,
                needed,
            });
        let of_page = config.msal.iter().flat_map(|msal| {
            ["/msal", "/msal/redirect"].map(|path| RedirectUri {
                client_id: &msal.client_id,
                scope: &msal.scope,
                uri: format!("{base}{path}"),
                platform: Platform::SinglePage,
                needed: true,
            })
        });
        of_backend.into_iter().chain(of_page).collect()
    }

    pub(super) fn places(&self) -> Vec<Place<'_>> {
        let spa = self.spa.iter().map(|config| Place {
            service: Service::SpaBackend,
            client_id: &config.client_id,
            network: config.network(),
            public_url: None,
            trust: &config.trust,
        });
        let middle = self.middle.iter().map(|config| Place {
            service: Service::MiddleTier,
            client_id: &config.client_id,
            network: config.network(),
            public_url: config.public_url.as_ref(),
            trust: &config.trust,
        });
        let downstream = self.downstream.iter().map(|config| Place {
            service: Service::DownstreamApi,
            client_id: &config.client_id,
            network: config.network(),
            public_url: config.public_url.as_ref(),
            trust: &config.trust,
        });
        spa.chain(middle).chain(downstream).collect()
    }

    /// All authorities that are named, by whom.
    pub(super) fn authorities(&self) -> Vec<(Service, &AuthorityConfig, &Trust)> {
        let spa = self
            .spa
            .iter()
            .map(|c| (Service::SpaBackend, &c.authority, &c.trust));
        let middle = self
            .middle
            .iter()
            .map(|c| (Service::MiddleTier, &c.authority, &c.trust));
        let downstream = self
            .downstream
            .iter()
            .map(|c| (Service::DownstreamApi, &c.authority, &c.trust));
        spa.chain(middle).chain(downstream).collect()
    }
}

/// What the middle tier proves itself with.
fn proof_of(config: &MiddleTierConfig) -> Proof<'_> {
    match (&config.client_certificate, &config.client_secret) {
        (Some(files), _) => Proof::Certificate(files),
        (None, Some(secret)) => Proof::Secret(secret),
        (None, None) => Proof::None,
    }
}

impl Platform {
    /// As the portal writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Web => "Web",
            Self::SinglePage => "Single-page application",
        }
    }

    /// As an application's object names it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::SinglePage => "spa",
        }
    }
}

impl Api<'_> {
    /// As the service itself builds it; `None` if it cannot, which the service says at its start.
    pub(super) fn resource(&self) -> Option<Resource> {
        let authority = self.authority.authority(self.trust).ok()?;
        authority
            .resource(self.client_id)
            .ok()?
            .app_id_uri(self.app_id_uri)
            .ok()
    }

    /// Whether a scope or audience begins with this API.
    pub(super) fn is_named_by(&self, resource: &str) -> bool {
        resource.trim_end_matches('/') == self.app_id_uri.trim_end_matches('/')
            || resource.eq_ignore_ascii_case(self.client_id)
    }
}

impl Client<'_> {
    /// `None` if it has none, or its files cannot be used, which the service says at its start.
    pub(super) fn credential(&self) -> Option<Credential> {
        match self.proof {
            Proof::None => None,
            Proof::Secret(secret) => Credential::secret(secret.clone()).ok(),
            Proof::Certificate(files) => {
                let certificate = plain_file::read(&files.certificate).ok()?;
                let key = plain_file::read(&files.private_key).ok()?;
                Some(Credential::certificate(
                    Certificate::from_pem(&certificate, &key).ok()?,
                ))
            }
        }
    }

    /// The file of its certificate.
    pub(super) fn certificate(&self) -> Option<&Path> {
        match self.proof {
            Proof::Certificate(files) => Some(&files.certificate),
            Proof::None | Proof::Secret(_) => None,
        }
    }

    /// The API that the scope belongs to.
    pub(super) fn next(&self) -> &str {
        resource_of(self.scope)
    }
}

/// `api://x` of `api://x/scope`.
pub(super) fn resource_of(scope: &str) -> &str {
    scope
        .rsplit_once('/')
        .map_or(scope, |(resource, _)| resource)
}

/// `{instance}/{tenant}`, without a slash at its end.
pub(super) fn base(authority: &AuthorityConfig) -> String {
    format!(
        "{}/{}",
        authority.instance.as_str().trim_end_matches('/'),
        authority.tenant
    )
}

/// A path below [`base`]; `None` for a tenant that would lead elsewhere: credentials go there.
pub(super) fn endpoint(authority: &AuthorityConfig, path: &str) -> Option<Url> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    let tenant = &authority.tenant;
    if tenant.is_empty() || tenant.contains("..") || !tenant.chars().all(plain) {
        return None;
    }
    Url::parse(&format!("{}{path}", base(authority))).ok()
}
