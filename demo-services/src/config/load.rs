//! From a TOML file and the environment to a configuration that can be used, or to a message that names the key.
//!
//! A variable overrides the key of its name: `SPA_BACKEND__CLIENT_SECRET` is `client_secret` of the SPA backend,
//! `MIDDLE_TIER__AUTHORITY__TENANT` is `authority.tenant` of the middle tier. A list is written with commas:
//! `SPA_BACKEND__TRUSTED_PROXIES=10.0.0.0/8,::1`. A relative path, of the file or of a variable, begins in the file's directory.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};
use url::Url;

use super::{DownstreamApiConfig, MiddleTierConfig, Network, SpaBackendConfig};
use crate::loopback::is_loopback;
use crate::plain_file;

/// Separates the parts of an environment variable's name.
const NESTING: &str = "__";

/// What is wrong with a configuration. Values are never part of a message: any of them may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An environment variable overrides something that is no key, or holds no text.
    #[error("{variable} in the environment {problem}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key is missing, unknown, or of the wrong type.
    #[error("{path}: {problem}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the value.
        problem: String,
    },
    /// Values still hold what the sample file says to replace.
    #[error("{path}: {}", placeholders(.keys))]
    Placeholder {
        /// The file.
        path: PathBuf,
        /// The keys, dotted; one or more.
        keys: Vec<String>,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What the TOML parser says, without the line's text.
        problem: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Environment variables of this service override something that is no key, or leave one of the wrong type.
    #[error("one of the environment variables {variables} does not fit: {problem}")]
    Variables {
        /// Their names.
        variables: String,
        /// What is wrong, without the value.
        problem: String,
    },
    /// A URL that must not be used.
    #[error("{path}: `{key}` {problem}")]
    Url {
        /// The file.
        path: PathBuf,
        /// The key, dotted.
        key: &'static str,
        /// The rule that it breaks.
        problem: &'static str,
    },
}

/// A service's configuration: its variables' prefix and the URLs that must obey the rules.
pub trait ServiceConfig: DeserializeOwned {
    /// The first part of the names of the environment variables that override keys.
    const PREFIX: &str;

    /// The keys whose values are paths, dotted.
    const PATHS: &[&str];

    /// The URLs, by dotted key.
    fn urls(&self) -> Vec<(&'static str, &Url)>;

    /// How the service is reached.
    fn network(&self) -> Network<'_>;

    /// Whether flow events are kept and served.
    fn flow_events(&self) -> bool;
}

impl ServiceConfig for SpaBackendConfig {
    const PREFIX: &str = "SPA_BACKEND";
    const PATHS: &[&str] = &[
        "ca_file",
        "client_certificate.certificate",
        "client_certificate.private_key",
        "msal.bundle",
        "tls.certificate",
        "tls.private_key",
    ];

    fn urls(&self) -> Vec<(&'static str, &Url)> {
        let mut urls = vec![
            ("authority.instance", &self.authority.instance),
            ("base_url", &self.base_url),
            ("middle_tier", &self.middle_tier),
        ];
        urls.extend(
            self.msal
                .iter()
                .map(|msal| ("msal.middle_tier", &msal.middle_tier)),
        );
        urls.extend(self.flow_sources.iter().map(|url| ("flow_sources", url)));
        urls
    }

    fn network(&self) -> Network<'_> {
        Network {
            listen: &self.listen,
            tls: self.tls.as_ref(),
            trusted_proxies: &self.trusted_proxies,
            public_url: Some(&self.base_url),
        }
    }

    fn flow_events(&self) -> bool {
        self.flow_events
    }
}

impl ServiceConfig for MiddleTierConfig {
    const PREFIX: &str = "MIDDLE_TIER";
    const PATHS: &[&str] = &[
        "ca_file",
        "client_certificate.certificate",
        "client_certificate.private_key",
        "tls.certificate",
        "tls.private_key",
    ];

    fn urls(&self) -> Vec<(&'static str, &Url)> {
        let mut urls = vec![
            ("authority.instance", &self.authority.instance),
            ("downstream", &self.downstream),
        ];
        urls.extend(
            self.profile
                .as_ref()
                .map(|part| ("profile.graph", &part.graph)),
        );
        urls
    }

    fn network(&self) -> Network<'_> {
        Network {
            listen: &self.listen,
            tls: self.tls.as_ref(),
            trusted_proxies: &self.trusted_proxies,
            public_url: self.public_url.as_ref(),
        }
    }

    fn flow_events(&self) -> bool {
        self.flow_events
    }
}

impl ServiceConfig for DownstreamApiConfig {
    const PREFIX: &str = "DOWNSTREAM_API";
    const PATHS: &[&str] = &["ca_file", "tls.certificate", "tls.private_key"];

    fn urls(&self) -> Vec<(&'static str, &Url)> {
        vec![("authority.instance", &self.authority.instance)]
    }

    fn network(&self) -> Network<'_> {
        Network {
            listen: &self.listen,
            tls: self.tls.as_ref(),
            trusted_proxies: &self.trusted_proxies,
            public_url: self.public_url.as_ref(),
        }
    }

    fn flow_events(&self) -> bool {
        self.flow_events
    }
}

/// Reads a service's configuration from `path`, overridden by `environment` (`std::env::vars_os()` in `main`).
///
/// # Errors
///
/// The file cannot be read, is no regular file of at most 1 MiB, or is not TOML; a key is missing, unknown, of the wrong type, empty or
/// a placeholder; a URL is neither https nor http to this machine, or carries a user, query or fragment.
pub fn load<T: ServiceConfig>(
    path: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let text = plain_file::read_text(path).map_err(|source| ConfigError::Unreadable {
        path: path.into(),
        source,
    })?;
    parse(path, &text, environment)
}

fn parse<T: ServiceConfig>(
    path: &Path,
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    // The parser's `Display` quotes the offending line, which may hold a secret: only its message is kept.
    let mut table: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        ConfigError::Syntax {
            path: path.into(),
            line: before.unwrap_or_default().matches('\n').count() + 1,
            problem: error.message().trim().replace('\n', ", "),
        }
    })?;
    let mut of_file = table.clone();
    let variables = override_with(&mut table, T::PREFIX, environment)?;
    let mut keys = Vec::new();
    check_values(path, "", &table, &mut keys)?;
    if !keys.is_empty() {
        return Err(ConfigError::Placeholder {
            path: path.into(),
            keys,
        });
    }
    for key in T::PATHS {
        for table in [&mut table, &mut of_file] {
            resolve(table, key, path.parent().unwrap_or(Path::new("")));
        }
    }

    let config = T::deserialize(table).map_err(|error| {
        let problem = error.to_string().trim().replace('\n', " ");
        // What the file alone does not get wrong came from the environment.
        let file_alone = T::deserialize(of_file).err().map(|error| error.to_string());
        let by_file = file_alone.is_some_and(|text| text.trim().replace('\n', " ") == problem);
        match variables.as_slice() {
            [] => ConfigError::Key {
                path: path.into(),
                problem,
            },
            _ if by_file => ConfigError::Key {
                path: path.into(),
                problem,
            },
            variables => ConfigError::Variables {
                variables: variables.join(", "),
                problem,
            },
        }
    })?;
    for (key, url) in config.urls() {
        check_url(url).map_err(|problem| ConfigError::Url {
            path: path.into(),
            key,
            problem,
        })?;
    }
    let network = config.network();
    let checked = network.check_flow_events(config.flow_events());
    checked.map_err(|error| ConfigError::Key {
        path: path.into(),
        problem: error.to_string(),
    })?;
    Ok(config)
}

fn override_with(
    table: &mut Table,
    prefix: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<String>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let Some(key) = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix(NESTING))
        else {
            continue;
        };
        let wrong = |problem| ConfigError::Environment {
            variable: name.into(),
            problem,
        };
        let value = value.into_string().map_err(|_| wrong("is not UTF-8"))?;
        let key = key.to_ascii_lowercase();
        let mut parts: Vec<&str> = key.split(NESTING).collect();
        let last = parts.pop().unwrap_or_default();
        let mut place = &mut *table;
        for part in parts {
            place = place
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .ok_or_else(|| wrong("names a key below one that has none"))?;
        }
        // Every key is text but for switches and times.
        let value = match (value.as_str(), value.parse()) {
            ("true", _) => Value::Boolean(true),
            ("false", _) => Value::Boolean(false),
            (_, Ok(number)) if last.ends_with("_ms") => Value::Integer(number),
            _ => Value::String(value),
        };
        place.insert(last.into(), value);
        variables.push(name.to_owned());
    }
    Ok(variables)
}

/// Makes a path begin where the configuration file is, unless it is absolute.
fn resolve(table: &mut Table, key: &str, directory: &Path) {
    let place = match key.split_once('.') {
        Some((part, key)) => {
            let inner = table.get_mut(part).and_then(Value::as_table_mut);
            return inner
                .into_iter()
                .for_each(|inner| resolve(inner, key, directory));
        }
        None => table.get_mut(key),
    };
    // A path that is no UTF-8 cannot stand in TOML, so that of the file has to be.
    if let Some(Value::String(text)) = place
        && let Some(joined) = directory.join(&*text).to_str()
    {
        *text = joined.to_owned();
    }
}

/// Collects the keys whose values are missing.
fn check_values(
    path: &Path,
    prefix: &str,
    table: &Table,
    missing: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => check_values(path, &format!("{key}."), inner, missing)?,
            Value::String(text) if is_placeholder(text) => missing.push(key),
            Value::String(_) => {}
            // serde's own message for a value of the wrong type quotes the value.
            _ if name.contains("secret") => {
                return Err(ConfigError::Key {
                    path: path.into(),
                    problem: format!("`{key}` must be text, in quotes"),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn placeholders(keys: &[String]) -> String {
    match keys {
        [key] => format!("`{key}` is empty or still a placeholder; put the real value there"),
        keys => format!(
            "`{}` are empty or still placeholders; put the real values there",
            keys.join("`, `")
        ),
    }
}

/// What samples, Microsoft's and ours, write where a value is to be put.
fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || text.contains("Enter_the_")
        || text.contains("Enter the ")
        || (text.contains('<') && text.contains('>'))
}

fn check_url(url: &Url) -> Result<(), &'static str> {
    if !url.has_host() {
        return Err("names no host");
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(url) => {}
        "http" => return Err("must be https; http is for this machine only"),
        _ => return Err("must be an https URL"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not carry a query or fragment");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use secrecy::ExposeSecret;

    const GOOD: &str = r#"
        listen = "localhost:5000"
        client_id = "c"
        app_id_uri = "api://middle-tier"
        client_secret = "s3cret-value"
        required_scope = "user_impersonation"
        downstream = "http://localhost:7000"
        downstream_scope = "api://downstream-api/user_impersonation"

        [authority]
        instance = "https://login.example"
        tenant = "t"
    "#;

    fn middle_tier(
        text: &str,
        environment: &[(&str, &str)],
    ) -> Result<MiddleTierConfig, ConfigError> {
        let environment = environment.iter().map(|(k, v)| (k.into(), v.into()));
        parse(Path::new("middle-tier.toml"), text, environment)
    }

    #[test]
    fn the_environment_overrides_keys_of_its_service_only() {
        let config = middle_tier(
            GOOD,
            &[
                ("MIDDLE_TIER__CLIENT_SECRET", "from the environment"),
                ("MIDDLE_TIER__AUTHORITY__TENANT", "other"),
                ("SPA_BACKEND__CLIENT_ID", "not ours"),
                ("MIDDLE_TIER_CLIENT_ID", "one underscore"),
            ],
        )
        .unwrap();
        let secret = config.client_secret.unwrap();
        assert_eq!(secret.expose_secret(), "from the environment");
        assert_eq!(config.authority.tenant, "other");
        assert_eq!(config.client_id, "c");
    }

    #[test]
    fn the_profile_may_be_left_out_and_stand_in_the_environment() {
        assert!(middle_tier(GOOD, &[]).unwrap().profile.is_none());
        let config = middle_tier(
            GOOD,
            &[
                ("MIDDLE_TIER__PROFILE__GRAPH", "https://graph.example"),
                ("MIDDLE_TIER__PROFILE__READ_SCOPE", "r"),
                ("MIDDLE_TIER__PROFILE__WRITE_SCOPE", "w"),
                ("MIDDLE_TIER__PROFILE__GATE_SCOPE", "g"),
            ],
        );
        let profile = config.unwrap().profile.unwrap();
        assert_eq!(profile.graph.as_str(), "https://graph.example/");
        assert_eq!(profile.gate_scope, "g");
    }

    #[test]
    fn a_misspelt_variable_is_named_and_the_file_is_not_blamed() {
        let error = middle_tier(GOOD, &[("MIDDLE_TIER__CLIENT_SECRT", "s3cret-value")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("MIDDLE_TIER__CLIENT_SECRT") && error.contains("client_secrt"),
            "{error}"
        );
        assert!(
            !error.contains("middle-tier.toml") && !error.contains("s3cret-value"),
            "{error}"
        );
        let text = GOOD.replace("client_id", "clientid");
        let error = middle_tier(&text, &[("MIDDLE_TIER__LISTEN", "localhost:1")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("middle-tier.toml"), "{error}");
    }

    #[test]
    fn a_secret_may_stand_in_the_environment_alone() {
        let text = GOOD.replace(r#"client_secret = "s3cret-value""#, "");
        assert!(middle_tier(&text, &[]).unwrap().client_secret.is_none());
        let config = middle_tier(&text, &[("MIDDLE_TIER__CLIENT_SECRET", "x")]);
        assert!(config.unwrap().client_secret.is_some());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_shown() {
        let rows = [
            ("missing key", r#"client_id = "c""#, "", "client_id"),
            (
                "unknown key",
                r#"client_id = "c""#,
                "client_id = \"c\"\nclientid = \"s3cret-value\"",
                "clientid",
            ),
            (
                "unknown nested key",
                r#"tenant = "t""#,
                "tenant = \"t\"\ntenent = \"s3cret-value\"",
                "tenent",
            ),
            (
                "placeholder of the sample",
                r#""c""#,
                r#""Enter_the_Application_Id_Here""#,
                "client_id",
            ),
            (
                "placeholder in brackets",
                r#""t""#,
                r#""<tenant id>""#,
                "authority.tenant",
            ),
            (
                "placeholder within a URL",
                r#""https://login.example""#,
                r#""https://<instance>""#,
                "authority.instance",
            ),
            (
                "empty",
                r#""user_impersonation""#,
                r#"" ""#,
                "required_scope",
            ),
            ("wrong type", r#""c""#, "7", "client_id"),
            (
                "secret of the wrong type",
                r#""s3cret-value""#,
                "31337",
                "client_secret",
            ),
            (
                "secret without quotes",
                r#""s3cret-value""#,
                "s3cret-value",
                "line 5",
            ),
            (
                "secret without closing quote",
                r#""s3cret-value""#,
                r#""s3cret-value"#,
                "line 5",
            ),
            (
                "no URL",
                r#""http://localhost:7000""#,
                r#""seven thousand""#,
                "downstream",
            ),
            (
                "http to another machine",
                "http://localhost:7000",
                "http://api.example",
                "downstream",
            ),
            (
                "other scheme",
                "http://localhost:7000",
                "ftp://localhost",
                "downstream",
            ),
            (
                "user in a URL",
                "http://localhost:7000",
                "https://u:s3cret-value@api.example",
                "downstream",
            ),
            (
                "http to another machine's profiles",
                "[authority]",
                "[profile]\ngraph = \"http://graph.example\"\nread_scope = \"r\"\nwrite_scope = \"w\"\ngate_scope = \"g\"\n[authority]",
                "profile.graph",
            ),
            (
                "unknown key of a part",
                "[authority]",
                "[profile]\ngate = \"s3cret-value\"\n[authority]",
                "gate",
            ),
            (
                "query in a URL",
                "https://login.example",
                "https://login.example?x",
                "authority.instance",
            ),
            (
                "section twice",
                "[authority]",
                "[authority]\n[authority]",
                "line",
            ),
        ];
        for (name, good, bad, named) in rows {
            let text = GOOD.replacen(good, bad, 1);
            assert_ne!(text, GOOD, "{name}");
            let error = middle_tier(&text, &[]).expect_err(name).to_string();
            assert!(error.contains("middle-tier.toml"), "{name}: {error}");
            assert!(error.contains(named), "{name}: {error}");
            assert!(!error.contains("s3cret"), "{name}: {error}");
            assert!(!error.contains("31337"), "{name}: {error}");
            assert_eq!(error.lines().count(), 1, "{name}: {error}");
        }
    }

    #[test]
    fn the_network_can_stand_in_the_environment() {
        let config = middle_tier(
            GOOD,
            &[
                ("MIDDLE_TIER__LISTEN", "0.0.0.0:5000"),
                ("MIDDLE_TIER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
                ("MIDDLE_TIER__TLS__CERTIFICATE", "chain.pem"),
                ("MIDDLE_TIER__TLS__PRIVATE_KEY", "/run/key.pem"),
            ],
        )
        .unwrap();
        let network = config.network();
        assert_eq!(network.listen, "0.0.0.0:5000");
        assert!(!network.trusted_proxies.is_empty());
        let tls = network.tls.unwrap();
        assert_eq!(tls.certificate, Path::new("chain.pem"));
        assert_eq!(tls.private_key, Path::new("/run/key.pem"));

        let config = middle_tier(GOOD, &[]).unwrap();
        assert!(config.network().tls.is_none() && config.network().trusted_proxies.is_empty());
    }

    #[test]
    fn an_unusable_network_is_named() {
        for (variables, named) in [
            (
                &[("MIDDLE_TIER__TRUSTED_PROXIES", "10.0.0.0/8,proxy")][..],
                "trusted_proxies",
            ),
            (&[("MIDDLE_TIER__TRUSTED_PROXIES", "")], "trusted_proxies"),
            (
                &[("MIDDLE_TIER__TRUSTED_PROXIES", "0.0.0.0/0")],
                "every address",
            ),
            (
                &[("MIDDLE_TIER__TLS__CERTIFICATE", "chain.pem")],
                "private_key",
            ),
            (&[("MIDDLE_TIER__TLS__KEY", "key.pem")], "key"),
        ] {
            let error = middle_tier(GOOD, variables).unwrap_err().to_string();
            assert!(error.contains(named), "{variables:?}: {error}");
        }
        let in_file = format!("trusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\n{GOOD}");
        let error = middle_tier(&in_file, &[]).unwrap_err().to_string();
        assert!(
            error.contains("trusted_proxies") && error.contains("entry 2"),
            "{error}"
        );
    }

    #[test]
    fn a_variable_that_overrides_nothing_is_refused() {
        let error = middle_tier(GOOD, &[("MIDDLE_TIER__CLIENT_SECRT", "s3cret-value")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("client_secrt"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        let below = [("MIDDLE_TIER__CLIENT_ID__X", "s3cret-value")];
        let error = middle_tier(GOOD, &below).unwrap_err().to_string();
        assert!(error.contains("MIDDLE_TIER__CLIENT_ID__X"), "{error}");
    }

    #[test]
    fn flow_events_stay_on_this_machine() {
        let on = |listen: &str| {
            let text = GOOD.replace("localhost:5000", listen);
            middle_tier(&text, &[("MIDDLE_TIER__FLOW_EVENTS", "true")])
        };
        for listen in ["localhost:5000", "127.0.0.1:5000", "[::1]:0"] {
            assert!(on(listen).unwrap().flow_events, "{listen}");
        }
        for listen in [
            "0.0.0.0:5000",
            "192.0.2.1:5000",
            "[::]:5000",
            "localhost.example:5000",
        ] {
            let error = on(listen).unwrap_err().to_string();
            assert!(error.contains("flow_events"), "{listen}: {error}");
            let text = GOOD.replace("localhost:5000", listen);
            assert!(!middle_tier(&text, &[]).unwrap().flow_events, "{listen}");
        }
    }

    #[test]
    fn flow_events_stay_on_this_machine_behind_a_proxy_as_well() {
        let on = [("MIDDLE_TIER__FLOW_EVENTS", "true")];
        for (variable, value, expected) in [
            ("MIDDLE_TIER__TRUSTED_PROXIES", "127.0.0.1", false),
            ("MIDDLE_TIER__PUBLIC_URL", "https://api.example", false),
            ("MIDDLE_TIER__PUBLIC_URL", "http://localhost:5000", true),
        ] {
            let off = middle_tier(GOOD, &[(variable, value)]);
            assert!(off.is_ok(), "{variable}={value}");
            let watched = middle_tier(GOOD, &[on[0], (variable, value)]);
            assert_eq!(watched.is_ok(), expected, "{variable}={value}");
            if let Err(error) = watched {
                assert!(error.to_string().contains("flow_events"), "{error}");
            }
        }
    }

    #[test]
    fn lists_stand_in_the_environment_with_commas() {
        let config = middle_tier(
            GOOD,
            &[
                ("MIDDLE_TIER__TRUSTED_PROXIES", "10.0.0.0/8 , ::1"),
                (
                    "MIDDLE_TIER__ALLOWED_ORIGINS",
                    "https://a.example, https://b.example",
                ),
            ],
        )
        .unwrap();
        assert!(!config.trusted_proxies.is_empty());
        assert_eq!(config.allowed_origins.to_headers().len(), 2);
        let sources = "http://localhost:5000, http://localhost:7000";
        let config = spa_backend(&[("SPA_BACKEND__FLOW_SOURCES", sources)]).unwrap();
        assert_eq!(config.flow_sources.len(), 2);
    }

    fn spa_backend(environment: &[(&str, &str)]) -> Result<SpaBackendConfig, ConfigError> {
        let text = r#"
            listen = "localhost:3000"
            base_url = "http://localhost:3000"
            client_id = "c"
            client_certificate = { certificate = "own.pem", private_key = "../own-key.pem" }
            scope = "api://middle-tier/user_impersonation"
            middle_tier = "http://localhost:5000"
            tls = { certificate = "/etc/chain.pem", private_key = "tls/key.pem" }

            [authority]
            instance = "https://login.example"
            tenant = "t"

            [msal]
            bundle = "node_modules"
            client_id = "p"
            scope = "api://middle-tier/user_impersonation"
            middle_tier = "https://localhost:5000"
        "#;
        let environment = environment.iter().map(|(k, v)| (k.into(), v.into()));
        parse(Path::new("conf/spa-backend.toml"), text, environment)
    }

    #[test]
    fn relative_paths_begin_where_the_file_is() {
        let config = spa_backend(&[]).unwrap();
        let own = config.client_certificate.unwrap();
        assert_eq!(own.certificate, Path::new("conf/own.pem"));
        assert_eq!(own.private_key, Path::new("conf/../own-key.pem"));
        let tls = config.tls.unwrap();
        assert_eq!(tls.certificate, Path::new("/etc/chain.pem"));
        assert_eq!(tls.private_key, Path::new("conf/tls/key.pem"));
        assert_eq!(config.msal.unwrap().bundle, Path::new("conf/node_modules"));
        let config = spa_backend(&[("SPA_BACKEND__MSAL__BUNDLE", "elsewhere")]).unwrap();
        assert_eq!(config.msal.unwrap().bundle, Path::new("conf/elsewhere"));
    }

    #[test]
    fn the_certificates_of_a_private_ca_are_beside_the_file() {
        let directory = std::env::temp_dir().join(format!("load-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("middle-tier.toml");
        fs::write(&file, format!("ca_file = \"ca.pem\"\n{GOOD}")).unwrap();
        let missing = load::<MiddleTierConfig>(&file, []).unwrap_err().to_string();
        assert!(missing.contains("ca_file cannot be read"), "{missing}");
        let ca = listening::LocalCa::in_memory(1_795_319_366).unwrap();
        fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
        let config = load::<MiddleTierConfig>(&file, []);
        fs::remove_dir_all(directory).unwrap();
        assert!(config.is_ok());
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let missing = Path::new("/nowhere/middle-tier.toml");
        let error = load::<MiddleTierConfig>(missing, []).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nowhere/middle-tier.toml"),
            "{error}"
        );
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let config = middle_tier(GOOD, &[]).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
