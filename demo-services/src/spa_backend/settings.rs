//! The configuration, checked once; what is here needs no further doubt.

use tower_bearer::{Credential, Resource};
use url::Url;

use super::id_token;
use super::msal::MsalError;
use super::store::{MemoryStore, Records, RedisStore};
use crate::config::{
    CredentialError, ResponseMode, ServiceConfig as _, SetupError, SpaBackendConfig, credential,
    network,
};
use crate::forwarded::TrustedProxies;
use crate::loopback::is_loopback;
use crate::peers::Peers;
use crate::trust::Trust;

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
    pub(super) credential: Credential,
    pub(super) response_mode: ResponseMode,
    /// Keep ID tokens and send them back at sign-out.
    pub(super) id_token_hint: bool,
    /// The one scope of the middle tier.
    pub(super) scope: String,
    /// `{application ID URI}/.default` of the middle tier, asked for when consent is missing.
    pub(super) consent_scope: String,
    pub(super) middle_tier: Url,
    /// `__Host-` prefix and `Secure`.
    pub(super) secure_cookies: bool,
    /// Browsers are told to keep to https: at a public name that is served so.
    pub(super) strict_transport: bool,
    pub(super) trusted_proxies: TrustedProxies,
    /// Who may connect.
    pub(super) peers: Peers,
    /// Whose certificates are taken from authority and middle tier.
    pub(super) trust: Trust,
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
    /// Cookies that any plain http request carries, beyond http on this machine.
    #[error(
        "insecure_cookies is for http on this machine only: remove it, or make base_url and listen local"
    )]
    InsecureCookies,
    /// A page that is served by https cannot be found at an http address.
    #[error("base_url must be https, since [tls] is set")]
    NotTheTlsUrl,
    /// A required text is empty, holds white space, or is still a placeholder.
    #[error("{0} is empty, holds white space or is a placeholder")]
    Text(&'static str),
    /// A tenant's name, or something else that is no GUID.
    #[error("authority.tenant must be the tenant's id, a GUID: Entra ID > Overview")]
    Tenant,
    /// A form of the authority comes from another site, and only `SameSite=None` cookies come with it.
    #[error(
        "response_mode \"form_post\" does not go with insecure_cookies: only a cookie with SameSite=None comes along with the \
         authority's form, and browsers take such a one with Secure alone"
    )]
    FormPost,
    /// No usable one of the two credentials.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No URL of a Redis.
    #[error("sessions.redis must be a URL redis://, rediss:// or redis+unix:// without a fragment")]
    Redis,
    /// A sealing secret that is too short, one byte over and over, or there twice.
    #[error(
        "sessions.sealing_secret must be 32 random bytes or more, and another than sessions.previous_sealing_secret"
    )]
    SealingSecret,
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be made")]
    HttpClient(#[from] reqwest::Error),
    /// Flow events beyond this machine, or a time out of its range.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The page of MSAL.js cannot be served.
    #[error(transparent)]
    Msal(#[from] MsalError),
}

impl Settings {
    /// Checks every value.
    pub(super) fn new(config: &SpaBackendConfig) -> Result<Self, ConfigError> {
        let base_url = service_url("base_url", &config.base_url)?;
        if base_url.path() != "/" {
            return Err(ConfigError::NotPlain("base_url"));
        }
        if config.tls.is_some() && base_url.scheme() != "https" {
            return Err(ConfigError::NotTheTlsUrl);
        }
        let local = base_url.scheme() == "http" && network::is_loopback_only(&config.listen);
        if config.insecure_cookies && !local {
            return Err(ConfigError::InsecureCookies);
        }
        config.network().check_flow_events(config.flow_events)?;
        let instance = service_url("authority.instance", &config.authority.instance)?;
        let tenant = text("authority.tenant", &config.authority.tenant)?;
        if tenant.contains(['/', '?', '#', '\\']) {
            return Err(ConfigError::Text("authority.tenant"));
        }
        if config.response_mode == ResponseMode::FormPost && config.insecure_cookies {
            return Err(ConfigError::FormPost);
        }
        let scope = text("scope", &config.scope)?;
        let resource = scope
            .rsplit_once('/')
            .map_or(scope, |(resource, _)| resource);
        Ok(Self {
            strict_transport: base_url.scheme() == "https" && !is_loopback(&base_url),
            trusted_proxies: config.trusted_proxies.clone(),
            peers: config.network().peers(),
            origin: base_url.origin().ascii_serialization(),
            base_url,
            issuer: format!("{}/{tenant}/v2.0", instance.as_str().trim_end_matches('/')),
            id_tokens: id_token::audience(
                &config.authority,
                text("client_id", &config.client_id)?,
                &config.trust,
            )?,
            client_id: config.client_id.clone(),
            credential: credential(
                config.client_secret.as_ref(),
                config.client_certificate.as_ref(),
            )?,
            response_mode: config.response_mode,
            id_token_hint: config.id_token_hint,
            consent_scope: format!("{resource}/.default"),
            scope: scope.to_owned(),
            middle_tier: service_url("middle_tier", &config.middle_tier)?,
            secure_cookies: !config.insecure_cookies,
            trust: config.trust.clone(),
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

/// https, or http that stays on this machine.
pub(super) fn is_protected(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Where sessions are kept.
pub(super) fn records(config: &SpaBackendConfig) -> Result<Records, ConfigError> {
    let Some(shared) = &config.sessions else {
        return Ok(Records::new(MemoryStore::new()));
    };
    let keys = shared.keys().map_err(|_| ConfigError::SealingSecret)?;
    let timeout = shared.timeout("sessions.timeout_ms", 1000)?;
    let store = RedisStore::new(&shared.redis, keys, timeout);
    let store = store.map_err(|_| ConfigError::Redis)?;
    store.warn_if_unbounded();
    Ok(Records::new(store))
}

pub(super) fn service_url(key: &'static str, url: &Url) -> Result<Url, ConfigError> {
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

pub(super) fn text<'a>(key: &'static str, value: &'a str) -> Result<&'a str, ConfigError> {
    let placeholder = value.starts_with('<') || value.to_ascii_lowercase().starts_with("enter_the");
    if value.is_empty() || value.contains(char::is_whitespace) || placeholder {
        return Err(ConfigError::Text(key));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientCertificateConfig, SealedRedisConfig, TlsConfig};
    use crate::spa_backend::doubles::config;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn nowhere() -> ClientCertificateConfig {
        ClientCertificateConfig {
            certificate: "/nowhere/certificate.pem".into(),
            private_key: "/nowhere/key.pem".into(),
        }
    }

    fn sessions(redis: &str, secret: &str) -> SealedRedisConfig {
        SealedRedisConfig {
            redis: redis.into(),
            sealing_secret: secret.into(),
            previous_sealing_secret: None,
            timeout_ms: None,
        }
    }

    #[test]
    fn sessions_in_redis_and_forms_are_taken() {
        let mut config = config("http://localhost:8080", "http://localhost:5000");
        config.sessions = Some(sessions("redis://r", SECRET));
        config.response_mode = ResponseMode::FormPost;
        assert!(Settings::new(&config).is_ok() && records(&config).is_ok());
    }

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
    fn insecure_cookies_stay_on_this_machine() {
        for (base_url, listen, expected) in [
            ("http://localhost:3000", "localhost:3000", true),
            ("http://127.0.0.1:3000", "127.0.0.1:3000", true),
            ("https://localhost:3000", "localhost:3000", false),
            ("https://shop.example", "localhost:3000", false),
            ("http://localhost:3000", "0.0.0.0:3000", false),
            ("http://localhost:3000", "localhost", false),
            ("http://localhost:3000", "", false),
        ] {
            let mut config = config("http://localhost:8080", "http://localhost:5000");
            config.base_url = base_url.parse().unwrap();
            config.listen = listen.into();
            assert!(Settings::new(&config).is_ok(), "{base_url} {listen}");
            config.insecure_cookies = true;
            let taken = Settings::new(&config);
            assert_eq!(taken.is_ok(), expected, "{base_url} {listen}");
            if let Err(error) = taken {
                assert!(error.to_string().starts_with("insecure_cookies"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_served_by_https_has_an_https_address() {
        let mut config = config("http://localhost:8080", "http://localhost:5000");
        config.tls = Some(TlsConfig {
            certificate: "chain.pem".into(),
            private_key: "key.pem".into(),
        });
        let message = Settings::new(&config).err().unwrap().to_string();
        assert!(message.starts_with("base_url must be https"), "{message}");
        config.base_url = "https://localhost:3000".parse().unwrap();
        assert!(Settings::new(&config).is_ok());
    }

    #[test]
    fn each_unusable_value_is_named() {
        type Spoil = fn(&mut SpaBackendConfig);
        let cases: [(&str, Spoil); 21] = [
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
            ("client_secret", |c| c.client_secret = Some("".into())),
            ("set either client_secret or client_certificate", |c| {
                c.client_secret = None
            }),
            ("set either client_secret or client_certificate", |c| {
                c.client_certificate = Some(nowhere())
            }),
            ("client_certificate.certificate", |c| {
                (c.client_secret, c.client_certificate) = (None, Some(nowhere()))
            }),
            (
                "response_mode \"form_post\" does not go with insecure_cookies",
                |c| (c.response_mode, c.insecure_cookies) = (ResponseMode::FormPost, true),
            ),
            ("flow_events", |c| {
                (c.flow_events, c.listen) = (true, "0.0.0.0:3000".into())
            }),
            ("flow_events", |c| {
                c.flow_events = true;
                c.base_url = "https://shop.example".parse().unwrap();
            }),
            ("sessions.timeout_ms", |c| {
                let mut sessions = sessions("redis://r", SECRET);
                sessions.timeout_ms = Some(9);
                c.sessions = Some(sessions)
            }),
            ("sessions.timeout_ms", |c| {
                let mut sessions = sessions("redis://r", SECRET);
                sessions.timeout_ms = Some(5001);
                c.sessions = Some(sessions)
            }),
            ("sessions.redis", |c| {
                c.sessions = Some(sessions("http://r", SECRET))
            }),
            ("sessions.sealing_secret", |c| {
                c.sessions = Some(sessions("redis://r", "short"))
            }),
            ("sessions.sealing_secret", |c| {
                let mut sessions = sessions("redis://r", SECRET);
                sessions.previous_sealing_secret = Some(SECRET.into());
                c.sessions = Some(sessions)
            }),
        ];
        for (key, spoil) in cases {
            let mut config = config("http://localhost:8080", "http://localhost:5000");
            spoil(&mut config);
            let checked = Settings::new(&config).map(drop);
            let checked = checked.and_then(|()| records(&config).map(drop));
            let message = checked.unwrap_err().to_string();
            assert!(message.starts_with(key), "{key}: {message}");
        }
    }
}
