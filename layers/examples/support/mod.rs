//! What the examples are told by the environment.

use std::env;
use std::fmt::Display;

use futures_util::FutureExt as _;
use tower_bearer::{Algorithm, AuthorityBuilder, RequireScopeLayer, Resource};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
        let warnings = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
        tracing_subscriber::fmt()
            .with_env_filter(warnings.from_env_lossy())
            .with_writer(std::io::stderr)
            .init();
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

/// Ends when the program is told to. Listens from now on and not only from its first poll, when it may be too late.
pub(crate) fn told_to_stop() -> impl Future<Output = ()> + Send {
    let mut told = Box::pin(tokio::signal::ctrl_c());
    let already = told.as_mut().now_or_never();
    async move {
        if already.is_none() {
            let _ = told.await;
        }
    }
}

fn variable<T, E: Display>(name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> T {
    let text = env::var(name).map_err(|error| error.to_string());
    let value = text.and_then(|text| read(&text).map_err(|error| error.to_string()));
    value.unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "a command says what it misses")]
        {
            eprintln!("{name}: {error}");
        }
        std::process::exit(2)
    })
}
