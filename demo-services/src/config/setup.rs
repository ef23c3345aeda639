//! Why a service cannot be made of a configuration that reads well.

use super::CredentialError;

/// A configuration of which no service can be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A value that the library does not take.
    #[error(transparent)]
    Library(#[from] tower_bearer::ConfigError),
    /// The authority's client has no usable credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Flow events are served to whoever knows a flow's id, and others than this machine could ask.
    #[error(
        "flow_events is for a service that this machine alone reaches: listen on localhost, without trusted_proxies, and under no \
         public name"
    )]
    FlowEvents,
    /// A time that is too short to get any answer, or longer than anybody waits.
    #[error("{0} must be 10 to 5000 (milliseconds)")]
    Timeout(&'static str),
}
