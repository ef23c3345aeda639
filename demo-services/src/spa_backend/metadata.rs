//! What the authority says about itself.

use serde::Deserialize;
use url::Url;

use super::authority::AuthorityError;
use super::settings::is_protected;

/// What is taken from the authority's metadata (OpenID Connect Discovery 1.0, RFC 8414).
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) end_session_endpoint: Option<Url>,
    /// RFC 9207: the authority always names itself in authorization responses.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// The document must be this authority's own, and a person or a secret goes to protected endpoints only.
    pub(super) fn check(&self, issuer: &str, loopback: bool) -> Result<(), AuthorityError> {
        let endpoints = [
            Some(&self.authorization_endpoint),
            Some(&self.token_endpoint),
            self.end_session_endpoint.as_ref(),
        ];
        let protected = |url: &Url| {
            if loopback {
                is_protected(url)
            } else {
                url.scheme() == "https"
            }
        };
        if self.issuer == issuer && endpoints.into_iter().flatten().all(protected) {
            Ok(())
        } else {
            tracing::error!(
                expected = issuer,
                "the authority's metadata names another issuer or an unprotected endpoint"
            );
            Err(AuthorityError::Unusable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(issuer: &str, token_endpoint: &str) -> Metadata {
        serde_json::from_value(serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": "http://localhost:8080/t/oauth2/v2.0/authorize",
            "token_endpoint": token_endpoint,
        }))
        .unwrap()
    }

    #[test]
    fn metadata_of_this_authority_is_taken() {
        assert_eq!(
            metadata(
                "http://localhost:8080/t/v2.0",
                "http://127.0.0.1:8080/token"
            )
            .check("http://localhost:8080/t/v2.0", true),
            Ok(())
        );
    }

    #[test]
    fn metadata_with_another_issuer_or_open_endpoints_is_refused() {
        let issuer = "http://localhost:8080/t/v2.0";
        let refused = Err(AuthorityError::Unusable);
        assert_eq!(
            metadata(
                "http://localhost:8080/t/v2.0/",
                "http://localhost:8080/token"
            )
            .check(issuer, true),
            refused
        );
        assert_eq!(
            metadata(issuer, "http://evil.example/token").check(issuer, true),
            refused
        );
        assert_eq!(
            metadata(issuer, "http://localhost:8080/token").check(issuer, false),
            refused
        );
    }
}
