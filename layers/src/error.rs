//! What can be wrong with a configuration, and how causes are written to the log.

use std::error::Error;

/// A configuration that cannot be used. Found when a value is built, never while a request is served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no signature algorithm to accept.
    #[error("at least one signature algorithm must be accepted")]
    Algorithms,
    /// An audience, client id or application ID URI is empty or holds characters that cannot be printed in a header.
    #[error(
        "audience, client id and application ID URI must be non-empty visible ASCII without quotes"
    )]
    Audience,
    /// No authentication class and no age was demanded, or a class has a space or quote in it.
    #[error("demand at least one acr value (visible ASCII without spaces and quotes) or a max_age")]
    Authentication,
    /// An authentication context is not `c1` to `c99`.
    #[error("an authentication context is written c1 to c99")]
    AuthenticationContext,
    /// A client certificate cannot be read.
    #[error(
        "there is no client certificate in PEM (BEGIN CERTIFICATE), or one that cannot be read"
    )]
    Certificate,
    /// The private key of a client certificate is not that certificate's own.
    #[error("the private key does not belong to the client certificate")]
    CertificateMismatch,
    /// The HTTP client that fetches keys and tokens could not be built.
    #[error("the HTTP client could not be built")]
    HttpClient,
    /// The URL is not https. Plain http is taken on loopback only, where the builder was told so.
    #[error(
        "the authority must be an https URL without query, fragment or user name; http on this machine only, with \
         dangerous_loopback_http()"
    )]
    Insecure,
    /// Instance, cloud or v1.0 tokens were named for an authority that is not named by its tenants.
    #[error("instance, cloud and v1.0 tokens belong to an authority that is named by its tenants")]
    Instance,
    /// The key source does not tell each key's own issuer, which Entra's rules need.
    #[error("an authority of Entra's kind needs a key source that supplies each key's issuer")]
    KeyIssuer,
    /// A source of v2.0 keys without one of v1.0 keys, or the reverse.
    #[error("v1_tokens() needs two key sources or none, and v1_key_source() needs v1_tokens()")]
    KeySource,
    /// A metadata URL was named for an authority whose own is known.
    #[error("a metadata URL belongs to an authority that is named by its issuer")]
    Metadata,
    /// An origin is not `scheme://host[:port]`.
    #[error("an origin is scheme://host[:port], http or https, without path, query or user name")]
    Origin,
    /// A protected resource is not named by one https URL in its normal form.
    #[error(
        "a protected resource is named by an https URL (http on loopback) in its normal form, without query, fragment or user name"
    )]
    ResourceIdentifier,
    /// The private key of a client certificate cannot be read, or is not RSA.
    #[error(
        "there is no RSA private key in PEM (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY), or one that cannot be read"
    )]
    PrivateKey,
    /// A resource whose metadata are to be served has none.
    #[error("the resource was not described: call metadata() on it")]
    ResourceMetadata,
    /// A root certificate cannot be read.
    #[error("a root certificate is given in PEM: one or several blocks CERTIFICATE")]
    RootCertificate,
    /// Two resources that are accepted side by side trust the same authority.
    #[error("resources that are accepted side by side need different authorities")]
    SameAuthority,
    /// RFC 9068 was demanded of Entra, whose access tokens follow another profile.
    #[error("Microsoft Entra ID issues no tokens of RFC 9068")]
    Rfc9068,
    /// Not a scope-token of RFC 6749 3.3.
    #[error(
        "a scope, role or client is one scope-token (RFC 6749 3.3), without spaces, and at least one is needed"
    )]
    Scope,
    /// A secret that seals tokens in a shared cache is too short, a placeholder, there already, or one too many.
    #[error(
        "a sealing secret has 32 random bytes or more, is given once, and has three previous ones at most"
    )]
    SealingSecret,
    /// A client secret is empty.
    #[error("the client secret is empty")]
    Secret,
    /// A table of step-ups is empty, or gives a class of authentication two contexts.
    #[error("a table of step-ups has entries, and each acr value one authentication context")]
    StepUpTable,
    /// An authority of Entra's kind is asked for no `audience` and `resource`, only for scopes.
    #[error("Microsoft Entra ID is asked for scopes, not for an audience or resource")]
    AudienceOrResource,
    /// A client of an authority that is named by its issuer, without a token endpoint; or a token endpoint for one of Entra's kind.
    #[error(
        "an authority that is named by its issuer needs token_endpoint() before it can be asked for tokens, and only such a one takes it"
    )]
    TokenEndpoint,
    /// The address of a shared store is not a URL of Redis, or has a fragment.
    #[error("a store is redis://, rediss:// or redis+unix://, without a fragment")]
    StoreUrl,
    /// A tenant is not a GUID, or there is none.
    #[error("tenants are written as their GUIDs, and there must be one")]
    Tenant,
}

/// An error and what caused it, in one line. For errors of the transport, which know hosts and certificates and no secret.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
