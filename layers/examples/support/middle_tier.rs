//! What a middle tier is told by the environment.

mod environment;

use std::convert::Infallible;

use tower_bearer::{AuthorityBuilder, ConfidentialClient, Credential, RequireScopeLayer, Resource};

pub(crate) use self::environment::told_to_stop;
use self::environment::{log_to_stderr, variable};

pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) api: Resource,
    pub(crate) scope: RequireScopeLayer,
    /// Who we are at the authority: the application that `api` is, too.
    pub(crate) me: ConfidentialClient,
    /// The next tier, `https://host:port`.
    pub(crate) next: String,
    /// What is asked for there.
    pub(crate) next_scope: String,
}

impl Settings {
    /// The authority is Microsoft Entra ID or behaves like it: On-Behalf-Of is its dialect.
    ///
    /// Ends the program with status 2 and the variable's name where one is missing or cannot be used.
    pub(crate) fn from_env() -> Self {
        log_to_stderr();
        let text = |name| variable(name, |text| Ok::<_, Infallible>(text.to_owned()));
        let instance = text("INSTANCE");
        let authority = variable("TENANT", |tenant| {
            let builder = AuthorityBuilder::entra(tenant).instance(&instance);
            // For an authority on this machine only.
            match instance.starts_with("http:") {
                true => builder.dangerous_loopback_http(),
                false => builder,
            }
            .build()
        });
        let secret = variable("CLIENT_SECRET", |secret| Credential::secret(secret));
        Self {
            port: variable("PORT", str::parse),
            api: variable("CLIENT_ID", |id| authority.resource(id)),
            scope: variable("SCOPE", RequireScopeLayer::new),
            me: variable("CLIENT_ID", |id| authority.client(id, secret)),
            next: text("NEXT"),
            next_scope: text("NEXT_SCOPE"),
        }
    }
}
