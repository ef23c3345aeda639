//! Which file is which service's, and what it says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use listening::Tls;
use toml::Table;

use super::finding::{Check, Finding, Service};
use crate::config::{
    ConfigError, DownstreamApiConfig, MiddleTierConfig, ServiceConfig, SpaBackendConfig, TlsConfig,
    load,
};
use crate::spa_backend::{MsalError, find_msal};
use crate::{downstream_api, middle_tier, plain_file, spa_backend};

/// Where configurations are.
#[derive(Clone, Debug)]
pub enum Sources {
    /// A folder with `spa-backend.toml`, `middle-tier.toml` and `downstream-api.toml`.
    Directory(PathBuf),
    /// These files; which is which is told by its name, else by its keys.
    Files(Vec<PathBuf>),
}

/// What was read, at most one of each service.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Configurations {
    /// Of the SPA backend.
    pub spa: Option<SpaBackendConfig>,
    /// Of the middle tier.
    pub middle: Option<MiddleTierConfig>,
    /// Of the downstream API.
    pub downstream: Option<DownstreamApiConfig>,
}

/// Variables that override keys.
type Environment<'a> = &'a [(OsString, OsString)];

impl Configurations {
    /// Reads them, overridden by the environment as the services do it, and says what is wrong with each. The second part is in the
    /// order of the files.
    #[must_use]
    pub fn read(sources: &Sources, environment: Environment<'_>) -> (Self, Vec<Finding>) {
        let mut read = Self::default();
        let mut findings = Vec::new();
        match sources {
            Sources::Directory(directory) => {
                let paths = Service::ALL.map(|service| directory.join(format!("{service}.toml")));
                if paths.iter().all(|path| !path.exists()) {
                    findings.push(Check::File.error(
                        None,
                        format!("{} holds no configuration", directory.display()),
                        "name the folder of spa-backend.toml, middle-tier.toml and downstream-api.toml",
                    ));
                    return (read, findings);
                }
                for (service, path) in Service::ALL.into_iter().zip(&paths) {
                    if path.exists() {
                        findings.extend(read.take(service, path, environment));
                        continue;
                    }
                    let missing = Check::File.error(
                        service,
                        format!("{} is not there", path.display()),
                        "put it there (`register` writes all three), or name the files that there are with --config",
                    );
                    findings.extend([missing, left_out(service)]);
                }
            }
            Sources::Files(files) => {
                let mut seen = Vec::new();
                for path in files {
                    match service_of(path) {
                        Ok(service) if seen.contains(&service) => findings.push(Check::File.error(
                            service,
                            format!(
                                "{} is a second configuration of this service",
                                path.display()
                            ),
                            "name one file for each service",
                        )),
                        Ok(service) => {
                            seen.push(service);
                            findings.extend(read.take(service, path, environment));
                        }
                        Err(finding) => findings.push(*finding),
                    }
                }
            }
        }
        (read, findings)
    }

    /// Reads one file, and asks the service whether it can be used. What cannot be used is still checked further.
    fn take(
        &mut self,
        service: Service,
        path: &Path,
        environment: Environment<'_>,
    ) -> Vec<Finding> {
        let usable = match service {
            Service::SpaBackend => read_into(&mut self.spa, path, environment).map(|config| {
                match spa_backend::router(config) {
                    // Told by a check of its own, whatever else is wrong.
                    Ok(_) | Err(spa_backend::ConfigError::Msal(MsalError::NoBundle { .. })) => {
                        Ok(())
                    }
                    Err(error) => Err(words(&error)),
                }
            }),
            Service::MiddleTier => read_into(&mut self.middle, path, environment).map(|config| {
                middle_tier::service(config)
                    .map(drop)
                    .map_err(|error| words(&error))
            }),
            Service::DownstreamApi => {
                read_into(&mut self.downstream, path, environment).map(|config| {
                    downstream_api::service(config)
                        .map(drop)
                        .map_err(|error| words(&error))
                })
            }
        };
        let mut findings = match usable {
            Ok(Ok(())) => vec![Check::File.ok(service, format!("{} is complete", path.display()))],
            Ok(Err(why)) => vec![Check::Settings.error(
                service,
                format!(
                    "{} reads well, but the service does not take it: {why}",
                    path.display()
                ),
                "mend the key that is named; demo-services/config has a file with every key",
            )],
            Err(error) => {
                let unread = Check::File.error(service, words(&error), way_on(&error));
                return vec![unread, left_out(service)];
            }
        };
        let place = self
            .places()
            .into_iter()
            .find(|place| place.service == service);
        findings.extend(place.and_then(|place| tls(service, place.network.tls?)));
        if service == Service::SpaBackend {
            findings.extend(self.spa.as_ref().and_then(bundle));
        }
        findings
    }
}

fn read_into<'a, T: ServiceConfig>(
    place: &'a mut Option<T>,
    path: &Path,
    environment: Environment<'_>,
) -> Result<&'a T, ConfigError> {
    let config = load(path, environment.iter().cloned())?;
    Ok(place.insert(config))
}

/// What cannot be looked at without the configuration of this service.
fn left_out(service: Service) -> Finding {
    let mut checks = vec![
        Check::Settings,
        Check::SameAuthority,
        Check::Scopes,
        Check::Addresses,
    ];
    checks.extend(match service {
        Service::SpaBackend => [
            Check::Credential,
            Check::CertificateExpiry,
            Check::RedirectUri,
            Check::SignInRequest,
        ]
        .as_slice(),
        Service::MiddleTier => &[
            Check::Credential,
            Check::CertificateExpiry,
            Check::TokenVersion,
            Check::Audience,
            Check::OptionalClaims,
        ],
        Service::DownstreamApi => &[Check::TokenVersion, Check::Audience, Check::OptionalClaims],
    });
    checks.extend([Check::Port, Check::Cors]);
    checks.retain(|check| *check != Check::Cors || service != Service::DownstreamApi);
    let names: Vec<&str> = checks.into_iter().map(Check::as_str).collect();
    let says = format!(
        "left out with it, as far as they are about it: {}",
        names.join(", ")
    );
    Check::File.skipped(service, says)
}

/// The files of `[tls]`, which the service reads when it listens.
fn tls(service: Service, files: &TlsConfig) -> Option<Finding> {
    let mend = "name in `[tls]` the PEM file of the service's own certificate and that of the key which belongs to it";
    let error = |says: String| Some(Check::Tls.error(service, says, mend));
    for path in [&files.certificate, &files.private_key] {
        if let Err(why) = plain_file::read(path) {
            return error(format!("cannot read {}: {why}", path.display()));
        }
    }
    match Tls::from_files(&files.certificate, &files.private_key) {
        Ok(_) => Some(Check::Tls.ok(service, "certificate and key of `[tls]` belong together")),
        Err(why) => error(format!(
            "{} with {}: {}",
            files.certificate.display(),
            files.private_key.display(),
            words(&why)
        )),
    }
}

/// The package of MSAL.js, if its page is configured.
fn bundle(config: &SpaBackendConfig) -> Option<Finding> {
    let directory = &config.msal.as_ref()?.bundle;
    let service = Service::SpaBackend;
    Some(match find_msal(directory) {
        Ok(()) => Check::MsalBundle.ok(
            service,
            format!("{} holds the package of MSAL.js", directory.display()),
        ),
        Err(why) => Check::MsalBundle.error(
            service,
            words(&why),
            "correct `msal.bundle`, or take `[msal]` out",
        ),
    })
}

/// An error and what led to it. None of ours quotes a value.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn way_on(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Placeholder { .. } => {
            "put the values of your tenant there: `demo-services register` writes files without placeholders, docs/entra.md tells \
             where each value stands in the portal"
        }
        ConfigError::Url { .. } => "write an https URL; http is for localhost, 127.0.0.1 and [::1]",
        ConfigError::Unreadable { .. } => "check the path and who may read the file",
        ConfigError::Environment { .. } | ConfigError::Variables { .. } => {
            "unset or correct the variable"
        }
        _ => "correct the key; demo-services/config has a file with every key",
    }
}

/// By its name, else by a key that only this service has.
fn service_of(path: &Path) -> Result<Service, Box<Finding>> {
    let name = path
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned());
    let named = Service::ALL.into_iter().find(|service| {
        let name = name.as_deref().unwrap_or_default();
        name.contains(service.as_str())
    });
    if let Some(service) = named {
        return Ok(service);
    }
    let text = plain_file::read_text(path).map_err(|error| {
        let says = format!("cannot read {}: {error}", path.display());
        Box::new(Check::File.error(None, says, "check the path and who may read the file"))
    })?;
    let keys: Table = toml::from_str(&text).unwrap_or_default();
    let by_key = [
        ("base_url", Service::SpaBackend),
        ("downstream_scope", Service::MiddleTier),
        ("admin_role", Service::DownstreamApi),
    ];
    let known = by_key.into_iter().find(|(key, _)| keys.contains_key(*key));
    known.map(|(_, service)| service).ok_or_else(|| {
        Box::new(Check::File.error(
            None,
            format!(
                "{} is a configuration of none of the services",
                path.display()
            ),
            "call it spa-backend.toml, middle-tier.toml or downstream-api.toml",
        ))
    })
}
