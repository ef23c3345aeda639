//! Whom a service trusts when it calls others over TLS: the system's certificates, and those of a private CA if one is configured.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::ClientBuilder;
use serde::{Deserialize, Deserializer, de};
use tonic::transport::{Certificate, ClientTlsConfig};
use tower_bearer::AuthorityBuilder;

use crate::plain_file;

/// Certificates (PEM) that are trusted besides the system's; none by default. In a configuration it is the path of their file.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<str>>);

/// Why certificates cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no certificate in the text, or one that cannot be read.
    #[error("there is no certificate in it (PEM, BEGIN CERTIFICATE), or one that cannot be read")]
    Certificate,
}

impl Trust {
    /// Trusts these certificates as well.
    ///
    /// # Errors
    ///
    /// The text holds no certificate, or one that cannot be read.
    pub fn pem(text: &str) -> Result<Self, TrustError> {
        let roots = certificates(text).filter(|roots| !roots.is_empty());
        let roots = roots.ok_or(TrustError::Certificate)?;
        // Beside the system's, one that cannot be read would be passed over in silence; alone it is an error.
        let alone = reqwest::Client::builder().tls_certs_only(roots);
        alone.build().map_err(|_| TrustError::Certificate)?;
        Ok(Self(Some(text.into())))
    }

    /// The same from a regular file of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// Those of [`pem`](Self::pem), or the file cannot be read.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, TrustError> {
        let path = path.as_ref();
        let text = plain_file::read_text(path).map_err(|source| TrustError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::pem(&text)
    }

    /// Makes an HTTP client trust them.
    pub fn http(&self, settings: ClientBuilder) -> ClientBuilder {
        let roots = self.0.as_deref().and_then(certificates);
        settings.tls_certs_merge(roots.unwrap_or_default())
    }

    /// Makes what the library fetches trust them.
    pub fn authority(&self, builder: AuthorityBuilder) -> AuthorityBuilder {
        match &self.0 {
            Some(pem) => builder.root_certificate(pem.as_bytes()),
            None => builder,
        }
    }

    /// How a gRPC channel speaks TLS.
    #[must_use]
    pub fn grpc(&self) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new().with_native_roots();
        match &self.0 {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem.as_bytes())),
            None => tls,
        }
    }
}

/// No certificate is a secret, but three lines of base64 say nothing.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Trust(the system's and a private CA)",
            None => "Trust(the system's)",
        })
    }
}

impl<'de> Deserialize<'de> for Trust {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        Self::file(&path).map_err(|error| {
            de::Error::custom(match error {
                TrustError::Unreadable { source, .. } => {
                    format!("ca_file cannot be read from {path}: {source}")
                }
                TrustError::Certificate => format!("ca_file, {path}: {error}"),
            })
        })
    }
}

fn certificates(pem: &str) -> Option<Vec<reqwest::Certificate>> {
    reqwest::Certificate::from_pem_bundle(pem.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_taken() {
        let ca = listening::LocalCa::in_memory(1_795_319_366).unwrap();
        assert!(Trust::pem(ca.pem()).is_ok());
        assert!(Trust::pem(&ca.pem().repeat(2)).is_ok());
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "ca.pem", ca.key_pem(), garbage] {
            assert!(Trust::pem(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_file_is_said_to_be_unreadable() {
        let error = Trust::file("/nowhere/ca.pem").unwrap_err();
        assert!(matches!(error, TrustError::Unreadable { .. }), "{error}");
    }
}
