//! Assertions that somebody else signs.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use secrecy::SecretString;
use url::Url;

use crate::refusal::BoxError;

/// Where client assertions come from: a managed identity, a vault that signs, a file. Closures that return a future implement
/// it.
///
/// Asked once for each token request, which the cache and single flight keep few; what is costly to obtain should be kept.
pub trait ClientAssertion: Send + Sync + 'static {
    /// An assertion for this client, valid now (RFC 7523 3). An error makes the call a 503; its text goes to the log.
    fn assertion(&self, request: AssertionRequest) -> AssertionFuture<'_>;
}

/// The token request that an assertion is wanted for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AssertionRequest {
    /// This client: `iss` and `sub`.
    pub client_id: String,
    /// Where the request goes: `aud`. Of the user's own tenant.
    pub token_endpoint: Url,
    /// The time, in seconds since the epoch.
    pub now: u64,
}

/// The future of [`ClientAssertion::assertion`].
pub type AssertionFuture<'a> =
    Pin<Box<dyn Future<Output = Result<SecretString, BoxError>> + Send + 'a>>;

impl<F, R> ClientAssertion for F
where
    F: Fn(AssertionRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Result<SecretString, BoxError>> + Send + 'static,
{
    fn assertion(&self, request: AssertionRequest) -> AssertionFuture<'_> {
        Box::pin(self(request))
    }
}

pub(super) struct AssertionFile(PathBuf);

impl AssertionFile {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl ClientAssertion for AssertionFile {
    fn assertion(&self, _: AssertionRequest) -> AssertionFuture<'_> {
        let path = self.0.clone();
        Box::pin(async move {
            let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await??;
            let assertion = text.trim();
            if assertion.is_empty() {
                return Err("the file of the client assertion is empty".into());
            }
            Ok(assertion.into())
        })
    }
}
