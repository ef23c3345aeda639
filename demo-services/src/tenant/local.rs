//! What registering needs of this machine's files, whoever keeps them.

use std::error::Error;

use secrecy::SecretString;

use super::plan::Certificate;
use super::record::{Record, WrittenFile};

/// Why a file of this machine could not be made, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LocalError(Box<dyn Error + Send + Sync>);

/// Credentials and configuration on this machine.
pub trait LocalFiles: Send + Sync {
    /// Whether the credential of the application `key` is in its file.
    fn has_credential(&self, key: &str) -> bool;

    /// The end of a credential that is made now (RFC 3339); Graph decides if it is not said.
    fn credential_end(&self) -> Option<String> {
        None
    }

    /// The certificate of the application `key`, made with its private key if it is not there, and the files that it is in.
    ///
    /// # Errors
    ///
    /// It cannot be made or read.
    fn certificate(&self, key: &str) -> Result<(Certificate, Vec<WrittenFile>), LocalError>;

    /// Keeps the secret of the application `key`, which nobody will tell again.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn keep_secret(&self, key: &str, secret: SecretString) -> Result<Vec<WrittenFile>, LocalError>;

    /// Writes the configuration of the services for what is in the record. A file of `record.files` is one that an earlier run wrote.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn write(&self, record: &Record) -> Result<Vec<WrittenFile>, LocalError>;

    /// Removes a file that was written, and puts back what it replaced. That it is gone is no error.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    fn restore(&self, file: &WrittenFile) -> Result<(), LocalError>;
}

impl LocalError {
    /// With these words, or the error that tells them.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}
