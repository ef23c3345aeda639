//! The configuration, checked once; what is here needs no further doubt.

use secrecy::SecretString;
use tower_bearer::Resource;
use url::{Host, Url};

use super::id_token;
use crate::config::SpaBackendConfig;

/// What the SPA backend was told, in checked form.
pub(super) struct Settings {
    /// Where the browser sees this service; path `/`.
    pub(super) base_url: Url,
    /// `base_url` as a browser writes it in `Origin`.
    pub(super) origin: String,
    /// The issuer whose metadata and ID tokens are taken: `{instance}/{tenant}/v2.0`.
    pub(super) issuer: String,
    /// This client as the audience of its ID tokens; it keeps the authority's keys.
    pub(super) id_tokens: Resource,
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    /// The one scope of the middle tier.
    pub(super) scope: String,
    /// `{application ID URI}/.default` of the middle tier, asked for when consent is missing.
    pub(super) consent_scope: String,
    pub(super) middle_tier: Url,
    /// `__Host-` prefix and `Secure`.
    pub(super) secure_cookies: bool,
    /// Keep flow events.
    pub(super) flow_events: bool,
    /// The services that have more of them.
    pub(super) flow_sources: Vec<Url>,
}

/// The configuration cannot be used; the text names the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A URL that must name a service at its root or below, without query, fragment or user info.
    #[error("{0} must be a plain http or https URL")]
    NotPlain(&'static str),
    /// `http` beyond this machine.
    #[error("{0} must be https, or http on a loopback address")]
    NotSecure(&'static str),
    /// A required text is empty, holds white space, or is still a placeholder.
    #[error("{0} is empty, holds white space or is a placeholder")]
    Text(&'static str),
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be made")]
    HttpClient(#[from] reqwest::Error),
}

impl Settings {
    /// Checks every value.
    pub(super) fn new(config: &SpaBackendConfig) -> Result<Self, ConfigError> {
        let base_url = service_url("base_url", &config.base_url)?;
        if base_url.path() != "/" {
            return Err(ConfigError::NotPlain("base_url"));
        }
        let instance = service_url("authority.instance", &config.authority.instance)?;
        let tenant = text("authority.tenant", &config.authority.tenant)?;
        if tenant.contains(['/', '?', '#', '\\']) {
            return Err(ConfigError::Text("authority.tenant"));
        }
        let scope = text("scope", &config.scope)?;
        let resource = scope
            .rsplit_once('/')
            .map_or(scope, |(resource, _)| resource);
        Ok(Self {
            origin: base_url.origin().ascii_serialization(),
            base_url,
            issuer: format!("{}/{tenant}/v2.0", instance.as_str().trim_end_matches('/')),
            id_tokens: id_token::audience(
                &config.authority,
                text("client_id", &config.client_id)?,
            )?,
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            consent_scope: format!("{resource}/.default"),
            scope: scope.to_owned(),
            middle_tier: service_url("middle_tier", &config.middle_tier)?,
            secure_cookies: !config.insecure_cookies,
            flow_events: config.flow_events,
            flow_sources: config
                .flow_sources
                .iter()
                .map(|url| service_url("flow_sources", url))
                .collect::<Result<_, _>>()?,
        })
    }

    /// A page of this service as an absolute URL.
    pub(super) fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Where the authority sends the browser back to.
    pub(super) fn redirect_uri(&self) -> String {
        self.absolute("/auth/callback")
    }
}

/// A host that cannot leave this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// https, or http that stays on this machine.
pub(super) fn is_protected(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

fn service_url(key: &'static str, url: &Url) -> Result<Url, ConfigError> {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(ConfigError::NotPlain(key));
    }
    if !is_protected(url) {
        return Err(ConfigError::NotSecure(key));
    }
    Ok(url.clone())
}

fn text<'a>(key: &'static str, value: &'a str) -> Result<&'a str, ConfigError> {
    let placeholder = value.starts_with('<') || value.to_ascii_lowercase().starts_with("enter_the");
    if value.is_empty() || value.contains(char::is_whitespace) || placeholder {
        return Err(ConfigError::Text(key));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa_backend::doubles::config;

    #[test]
    fn the_shipped_shape_is_taken() {
        let settings =
            Settings::new(&config("http://localhost:8080", "http://localhost:5000")).unwrap();
        assert_eq!(settings.origin, "http://localhost:3000");
        assert_eq!(
            settings.issuer,
            "http://localhost:8080/11111111-2222-3333-4444-555555555555/v2.0"
        );
        assert_eq!(
            settings.redirect_uri(),
            "http://localhost:3000/auth/callback"
        );
        assert_eq!(settings.consent_scope, "api://middle/.default");
    }

    #[test]
    fn each_unusable_value_is_named() {
        type Spoil = fn(&mut SpaBackendConfig);
        let cases: [(&str, Spoil); 9] = [
            ("base_url", |c| {
                c.base_url = "http://localhost:3000/app".parse().unwrap()
            }),
            ("base_url", |c| {
                c.base_url = "http://shop.example".parse().unwrap()
            }),
            ("authority.instance", |c| {
                c.authority.instance = "http://login.example".parse().unwrap()
            }),
            ("authority.tenant", |c| c.authority.tenant = "a/../b".into()),
            ("middle_tier", |c| {
                c.middle_tier = "http://api.example:5000".parse().unwrap()
            }),
            ("middle_tier", |c| {
                c.middle_tier = "ftp://localhost".parse().unwrap()
            }),
            ("client_id", |c| {
                c.client_id = "Enter_the_Application_Id_Here".into()
            }),
            ("flow_sources", |c| {
                c.flow_sources = vec!["http://api.example".parse().unwrap()]
            }),
            ("scope", |c| c.scope = "api://a/b api://c/d".into()),
        ];
        for (key, spoil) in cases {
            let mut config = config("http://localhost:8080", "http://localhost:5000");
            spoil(&mut config);
            let message = Settings::new(&config).err().unwrap().to_string();
            assert!(message.starts_with(key), "{key}: {message}");
        }
    }
}
