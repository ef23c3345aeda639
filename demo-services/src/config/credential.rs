//! What a service proves itself with at the authority: exactly one of a secret and a certificate.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use tower_bearer::{Certificate, ConfigError, Credential};

use super::ClientCertificateConfig;
use crate::plain_file;

/// Why there is no credential; the text names the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// Neither or both of the two.
    #[error("set either client_secret or client_certificate, and not both")]
    One,
    /// A secret that cannot be one.
    #[error("client_secret is empty, holds white space or is a placeholder")]
    Secret,
    /// A file that cannot be read.
    #[error("{key} cannot be read from {}", path.display())]
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The two files cannot be used, or do not belong together.
    #[error("client_certificate ({} with {}) cannot be used", certificate.display(), private_key.display())]
    Certificate {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the private key.
        private_key: PathBuf,
        /// Why.
        source: ConfigError,
    },
}

/// The credential of a client that is given these two.
///
/// # Errors
///
/// Both are there or none is; the secret is empty; a file cannot be read, or the two do not belong together.
pub fn credential(
    secret: Option<&SecretString>,
    certificate: Option<&ClientCertificateConfig>,
) -> Result<Credential, CredentialError> {
    match (secret, certificate) {
        (Some(secret), None) => {
            Credential::secret(secret.clone()).map_err(|_| CredentialError::Secret)
        }
        (None, Some(files)) => {
            let read = |key, path: &Path| {
                plain_file::read(path).map_err(|source| CredentialError::Unreadable {
                    key,
                    path: path.to_owned(),
                    source,
                })
            };
            let certificate = read("client_certificate.certificate", &files.certificate)?;
            let private_key = read("client_certificate.private_key", &files.private_key)?;
            match Certificate::from_pem(&certificate, &private_key) {
                Ok(certificate) => Ok(Credential::certificate(certificate)),
                Err(source) => Err(CredentialError::Certificate {
                    certificate: files.certificate.clone(),
                    private_key: files.private_key.clone(),
                    source,
                }),
            }
        }
        (None, None) | (Some(_), Some(_)) => Err(CredentialError::One),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_the_two_is_taken() {
        let files = ClientCertificateConfig {
            certificate: "/nowhere/certificate.pem".into(),
            private_key: "/nowhere/key.pem".into(),
        };
        let said = |secret: Option<&str>, files: Option<&ClientCertificateConfig>| {
            let secret = secret.map(SecretString::from);
            credential(secret.as_ref(), files)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(said(Some("s"), None), None);
        for (secret, files, named) in [
            (None, None, "set either "),
            (Some("s"), Some(&files), "set either "),
            (Some(""), None, "client_secret "),
            (
                None,
                Some(&files),
                "client_certificate.certificate cannot be read from /nowhere/certificate.pem",
            ),
        ] {
            let message = said(secret, files).unwrap();
            assert!(message.starts_with(named), "{message}");
        }
    }
}
