//! What a resource server is told by the environment.

mod environment;

use std::env;

use tower_bearer::{Algorithm, AuthorityBuilder, RequireScopeLayer, Resource};

pub(crate) use self::environment::told_to_stop;
use self::environment::{log_to_stderr, variable};

pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) api: Resource,
    pub(crate) scope: RequireScopeLayer,
}

/// Whatever an OpenID Connect issuer may sign with.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
];

impl Settings {
    /// Warnings of the layers go to stderr, and with `RUST_LOG=tower_bearer=debug` why each token was refused.
    ///
    /// Ends the program with status 2 and the variable's name where one is missing or cannot be used.
    pub(crate) fn from_env() -> Self {
        log_to_stderr();
        let authority = variable("ISSUER", |issuer| {
            let builder = AuthorityBuilder::issuer(issuer, ALGORITHMS);
            let builder = match env::var("METADATA_URL") {
                Ok(url) => builder.metadata_url(&url),
                Err(_) => builder,
            };
            // For an authority on this machine only.
            match issuer.starts_with("http:") {
                true => builder.dangerous_loopback_http(),
                false => builder,
            }
            .build()
        });
        Self {
            port: variable("PORT", str::parse),
            api: variable("AUDIENCE", |audience| authority.resource(audience)),
            scope: variable("SCOPE", RequireScopeLayer::new),
        }
    }
}
