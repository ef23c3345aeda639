//! Microsoft Graph.

use async_trait::async_trait;
use secrecy::SecretString;

use super::sign_in::SignInError;

/// Where access tokens for Graph come from.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token; another than the one that Graph has just refused.
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError>;
}
