//! How a confidential client proves who it is.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::error::ConfigError;

/// A confidential client's credential. Never printed, never put into a URL.
#[derive(Clone)]
pub struct Credential(Kind);

#[derive(Clone)]
enum Kind {
    Secret(SecretString),
}

impl Credential {
    /// A client secret, sent in the body of the token request (`client_secret_post`).
    ///
    /// # Errors
    /// An empty secret.
    pub fn secret(secret: impl Into<SecretString>) -> Result<Self, ConfigError> {
        let secret = secret.into();
        if secret.expose_secret().is_empty() {
            Err(ConfigError::Secret)
        } else {
            Ok(Self(Kind::Secret(secret)))
        }
    }

    /// The form fields that authenticate one request.
    pub(super) fn fields(&self) -> [(&'static str, &str); 1] {
        match &self.0 {
            Kind::Secret(secret) => [("client_secret", secret.expose_secret())],
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Secret(_) => f.write_str("Credential::Secret(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Credential;

    #[test]
    fn empty_secret_is_refused_and_none_is_shown() {
        assert!(Credential::secret("").is_err());
        assert_eq!(
            format!("{:?}", Credential::secret("hush").unwrap()),
            "Credential::Secret(..)"
        );
    }
}
