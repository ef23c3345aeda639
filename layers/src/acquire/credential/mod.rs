//! How a confidential client proves who it is.

mod assertion;
mod certificate;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use self::assertion::AssertionFile;
pub use self::assertion::{AssertionFuture, AssertionRequest, ClientAssertion};
pub use self::certificate::Certificate;
use crate::error::ConfigError;
use crate::refusal::BoxError;

/// A confidential client's credential. Never printed, never put into a URL.
#[derive(Clone)]
pub struct Credential(Kind);

#[derive(Clone)]
enum Kind {
    Secret(SecretString),
    Certificate(Arc<Certificate>),
    Assertion(Arc<dyn ClientAssertion>),
}

/// The fields of a token request that authenticate it. Not printed.
pub struct Proof(Vec<(&'static str, SecretString)>);

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

    /// A certificate, whose private key signs an assertion for each token request (`private_key_jwt`, RFC 7523).
    #[must_use]
    pub fn certificate(certificate: Certificate) -> Self {
        Self(Kind::Certificate(Arc::new(certificate)))
    }

    /// An assertion that another authority issued to this workload (workload identity federation), or that a vault signs:
    /// asked for at each token request.
    pub fn assertion(source: impl ClientAssertion) -> Self {
        Self(Kind::Assertion(Arc::new(source)))
    }

    /// An assertion in a file that somebody else keeps fresh, as Kubernetes does (`AZURE_FEDERATED_TOKEN_FILE`): read at each
    /// token request.
    pub fn assertion_file(path: impl AsRef<Path>) -> Self {
        Self::assertion(AssertionFile::new(path.as_ref()))
    }

    /// Authenticates one request to a token endpoint at `now`, in seconds since the epoch: for grants that this crate does not
    /// make itself, such as those of a web application that signs people in.
    ///
    /// # Errors
    /// What the source of assertions says, or a key that cannot sign.
    pub async fn prove(
        &self,
        client_id: &str,
        endpoint: &Url,
        now: u64,
    ) -> Result<Proof, BoxError> {
        let assertion = match &self.0 {
            Kind::Secret(secret) => return Ok(Proof(vec![("client_secret", secret.clone())])),
            Kind::Certificate(certificate) => certificate.assert(client_id, endpoint, now)?,
            Kind::Assertion(source) => {
                let request = AssertionRequest {
                    client_id: client_id.to_owned(),
                    token_endpoint: endpoint.clone(),
                    now,
                };
                source.assertion(request).await?
            }
        };
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        Ok(Proof(vec![
            ("client_assertion_type", kind.into()),
            ("client_assertion", assertion),
        ]))
    }
}

impl Proof {
    /// Names and values to put into the form beside `client_id`: `client_secret` (RFC 6749 2.3.1), or
    /// `client_assertion_type` and `client_assertion` (RFC 7523 2.2).
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (*name, value.expose_secret()))
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Secret(_) => "Credential::Secret(..)",
            Kind::Certificate(_) => "Credential::Certificate(..)",
            Kind::Assertion(_) => "Credential::Assertion(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Credential;

    #[tokio::test]
    async fn a_proof_has_the_fields_of_the_form_and_shows_none() {
        let endpoint = "https://login.example/token".parse().unwrap();
        let secret = Credential::secret("hush").unwrap();
        let proof = secret.prove("client", &endpoint, 0).await.unwrap();
        let fields: Vec<_> = proof.fields().collect();
        assert_eq!(fields, [("client_secret", "hush")]);
        assert_eq!(format!("{proof:?}"), "Proof { .. }");

        let signed = Credential::assertion(|_| async { Ok("signed".into()) });
        let proof = signed.prove("client", &endpoint, 0).await.unwrap();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let fields: Vec<_> = proof.fields().collect();
        assert_eq!(fields[0], ("client_assertion_type", kind));
        assert_eq!(fields[1], ("client_assertion", "signed"));
    }

    #[test]
    fn empty_secret_is_refused_and_none_is_shown() {
        assert!(Credential::secret("").is_err());
        assert_eq!(
            format!("{:?}", Credential::secret("hush").unwrap()),
            "Credential::Secret(..)"
        );
    }
}
