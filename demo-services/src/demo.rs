//! Everything on one machine: four services on loopback ports, wired to each other, with secrets made at start.

mod controls;

use std::{error::Error, fmt::Write, path::PathBuf, sync::Arc};

use listening::{BindError, Listeners, LocalCa, Reach, Tls, serve};
use local_authority::{App, Directory, LocalAuthority, Options, StartError};
use secrecy::SecretString;
use tokio::{sync::watch, task::JoinSet};
use url::Url;

use crate::{
    config::{
        AllowedOrigins, AuthorityConfig, DownstreamApiConfig, MiddleTierConfig, MsalConfig,
        ProfileConfig, ResponseMode, SpaBackendConfig,
    },
    downstream_api,
    how_to_trust::{how_to_trust, shell_word},
    middle_tier,
    revocations::Revocations,
    spa_backend::{self, Demo, DemoUser},
    trust::Trust,
};

use self::controls::DemoControls;

/// Names of the applications that the demo needs in its directory.
const SPA: &str = "spa-backend";
/// Only with MSAL.js.
const MSAL: &str = "msal-spa";
const MIDDLE_TIER: &str = "middle-tier";
const DOWNSTREAM: &str = "downstream-api";
const DAEMON: &str = "daemon";
/// Carries the scope that guards the edit of the profile.
const MFA_APP: &str = "mfa-app";
const DOWNSTREAM_PORT: u16 = 7000;
/// The app role of `GET /admin`.
const ADMIN_ROLE: &str = "Task.Run";
/// The authentication context of `GET /secure`.
const SECURE_CONTEXT: &str = "c1";
/// Where the authority sends the browser back to, after sign-in and after sign-out.
const RETURNS: [&str; 2] = ["/auth/callback", "/"];
/// The same for MSAL.js: its page, and the page of its silent requests.
const MSAL_RETURNS: [&str; 2] = ["/msal", "/msal/redirect"];

/// What to start and where.
#[derive(Debug)]
pub struct DemoOptions {
    /// Users, applications and policies. Secrets and the SPA's redirect URI are put in at start.
    pub directory: Directory,
    /// Port of the SPA backend; must be free.
    pub spa_port: u16,
    /// Port of the authority; must be free.
    pub authority_port: u16,
    /// Host of the authority's URLs: `localhost`, or `127.0.0.1` for a site of its own.
    pub authority_host: String,
    /// Wished port of the middle tier; another is taken if it is in use.
    pub middle_tier_port: u16,
    /// Wished port of the downstream API; another is taken if it is in use.
    pub downstream_port: u16,
    /// What commands to the authority's control endpoint need; random when absent.
    pub control_token: Option<String>,
    /// TLS for every service; plain http without it.
    pub https: Option<Https>,
    /// Where `npm install @azure/msal-browser@5.30.0` was run: serves the page `/msal`. Needs [`https`](Self::https).
    pub msal: Option<PathBuf>,
    /// How the authority's answers reach the SPA backend.
    pub response_mode: ResponseMode,
}

/// The certificate of all services.
#[derive(Debug)]
pub struct Https {
    /// It, and the CA that vouches for it.
    pub ca: LocalCa,
    /// The file of the CA, to tell how to trust it.
    pub file: Option<PathBuf>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            directory: Directory::demo(),
            spa_port: 3000,
            authority_port: 8080,
            authority_host: "localhost".into(),
            middle_tier_port: 5000,
            downstream_port: DOWNSTREAM_PORT,
            control_token: None,
            https: None,
            msal: None,
            response_mode: ResponseMode::Query,
        }
    }
}

impl DemoOptions {
    /// Free ports everywhere, for tests.
    #[must_use]
    pub fn on_free_ports() -> Self {
        Self {
            spa_port: 0,
            authority_port: 0,
            middle_tier_port: 0,
            downstream_port: 0,
            ..Self::default()
        }
    }
}

/// Why the demo did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A service does not accept what it is told.
    #[error("the {service} cannot be set up")]
    Setup {
        /// Its name.
        service: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The authority does not start.
    #[error(transparent)]
    Authority(#[from] StartError),
    /// No port.
    #[error("the {service} cannot listen")]
    Bind {
        /// Its name.
        service: &'static str,
        /// Why.
        source: BindError,
    },
    /// The directory lacks what the demo needs.
    #[error("the directory file: {0}")]
    Directory(String),
    /// MSAL.js was asked for without https.
    #[error("--msal needs --https: MSAL.js insists on an https authority")]
    MsalWithoutHttps,
    /// A port that redirect URIs name is taken.
    #[error(
        "port {port} is in use, and the {service} needs it: stop the other program, or choose another port: cargo run -- {option} PORT"
    )]
    Taken {
        /// The port.
        port: u16,
        /// Who needs it.
        service: &'static str,
        /// The option that chooses another.
        option: &'static str,
    },
}

/// The four services, running. Dropping it ends them.
#[derive(Debug)]
pub struct Running {
    /// The controls of the page know it as well, without keeping it.
    authority: Arc<local_authority::Running>,
    spa: Url,
    middle_tier: Url,
    downstream: Url,
    /// What a person should know about the ports.
    notes: Vec<String>,
    /// The file of the CA that clients must trust, and whether it is new.
    ca: Option<(PathBuf, bool)>,
    /// The page of MSAL.js is there.
    msal: bool,
    stop: watch::Sender<()>,
    services: JoinSet<()>,
}

/// Starts the four services, each reachable when this returns.
///
/// # Errors
///
/// A port is taken, or the directory lacks one of the demo's applications or breaks a rule.
pub async fn start(options: DemoOptions) -> Result<Running, DemoError> {
    if options.msal.is_some() && options.https.is_none() {
        return Err(DemoError::MsalWithoutHttps);
    }
    if let Some(directory) = &options.msal {
        spa_backend::find_msal(directory).map_err(setup("page of MSAL.js"))?;
    }
    let tls = options.https.as_ref().map(|https| https.ca.tls());
    let tls = tls.transpose().map_err(setup("certificate"))?;
    let trust = match &options.https {
        Some(https) => Trust::pem(https.ca.pem()).map_err(setup("certificate"))?,
        None => Trust::default(),
    };
    let mut notes = Vec::new();
    // All ports first: the services name each other's.
    let spa_listeners = fixed_port(options.spa_port, "SPA backend", "--spa-port").await?;
    let middle_listeners = wished_port(options.middle_tier_port, "middle tier", &mut notes).await?;
    let downstream_listeners =
        wished_port(options.downstream_port, "downstream API", &mut notes).await?;
    let [spa_listeners, middle_listeners, downstream_listeners] =
        [spa_listeners, middle_listeners, downstream_listeners].map(|listeners| match &tls {
            Some(tls) => listeners.tls(tls.clone()),
            None => listeners,
        });
    let spa = local_url(&spa_listeners)?;
    let middle_tier_url = local_url(&middle_listeners)?;
    let downstream_url = local_url(&downstream_listeners)?;
    let spa_origin = spa.origin().ascii_serialization();
    let listen = |listeners: &Listeners| format!("localhost:{}", listeners.port());

    let mut directory = options.directory;
    let spa_app = directory.app_mut(SPA).ok_or_else(|| no_app(SPA))?;
    for path in RETURNS {
        let uri = format!("{spa_origin}{path}");
        if !spa_app.redirect_uris.web.contains(&uri) {
            spa_app.redirect_uris.web.push(uri);
        }
    }
    if options.msal.is_some() {
        let msal_app = directory.app_mut(MSAL).ok_or_else(|| no_app(MSAL))?;
        for path in MSAL_RETURNS {
            let uri = format!("{spa_origin}{path}");
            if !msal_app.redirect_uris.spa.contains(&uri) {
                msal_app.redirect_uris.spa.push(uri);
            }
        }
    }
    let authority = start_authority(
        directory,
        &options.authority_host,
        options.authority_port,
        options.control_token,
        tls,
    )
    .await?;
    let authority = Arc::new(authority);
    let directory = authority.directory();

    let config = AuthorityConfig {
        instance: authority.url().parse().map_err(setup("authority"))?,
        tenant: authority.tenant().to_string(),
    };
    let [spa_app, middle_app, downstream_app] =
        [SPA, MIDDLE_TIER, DOWNSTREAM].map(|name| app(&directory, name));
    let (spa_app, middle_app, downstream_app) = (spa_app?, middle_app?, downstream_app?);

    let revocations = Revocations::new();
    let downstream_config = DownstreamApiConfig {
        listen: listen(&downstream_listeners),
        authority: config.clone(),
        client_id: downstream_app.client_id.to_string(),
        app_id_uri: app_id_uri(downstream_app)?.to_owned(),
        required_scope: scope(downstream_app)?.to_owned(),
        public_url: Some(downstream_url.clone()),
        admin_role: ADMIN_ROLE.into(),
        secure_context: SECURE_CONTEXT.into(),
        tls: None,
        trusted_proxies: Default::default(),
        trust: trust.clone(),
        flow_events: true,
    };
    let downstream =
        downstream_api::service_with_revocations(&downstream_config, revocations.clone())
            .map_err(setup("downstream API"))?;
    let msal = match options.msal {
        Some(bundle) => Some(MsalConfig {
            bundle,
            client_id: app(&directory, MSAL)?.client_id.to_string(),
            scope: full_scope(middle_app)?,
            middle_tier: middle_tier_url.clone(),
        }),
        None => None,
    };
    // Only the page of MSAL.js calls the middle tier from the browser.
    let allowed_origins = msal.iter().map(|_| spa_origin.as_str());
    let allowed_origins = AllowedOrigins::new(allowed_origins).map_err(setup("middle tier"))?;
    let with_msal = msal.is_some();
    let middle_tier = middle_tier::service(&MiddleTierConfig {
        listen: listen(&middle_listeners),
        authority: config.clone(),
        client_id: middle_app.client_id.to_string(),
        app_id_uri: app_id_uri(middle_app)?.to_owned(),
        client_secret: Some(secret(middle_app)?),
        client_certificate: None,
        required_scope: scope(middle_app)?.to_owned(),
        public_url: Some(middle_tier_url.clone()),
        downstream: downstream_url.clone(),
        downstream_scope: full_scope(downstream_app)?,
        shared_tokens: None,
        profile: Some(profile(&directory, &config)?),
        tls: None,
        trusted_proxies: Default::default(),
        allowed_origins,
        trust: trust.clone(),
        samples_way: true,
        flow_events: true,
    })
    .map_err(setup("middle tier"))?;
    let users = directory.users.iter().map(|user| DemoUser {
        username: user.username.clone(),
        password: user.password().into(),
        code: user.otp().unwrap_or("none registered").into(),
    });
    let controls = DemoControls::new(Arc::downgrade(&authority), revocations);
    let spa_backend = spa_backend::router_for_demo(
        &SpaBackendConfig {
            listen: listen(&spa_listeners),
            base_url: spa.clone(),
            authority: config,
            client_id: spa_app.client_id.to_string(),
            client_secret: Some(secret(spa_app)?),
            client_certificate: None,
            response_mode: options.response_mode,
            id_token_hint: false,
            scope: full_scope(middle_app)?,
            middle_tier: middle_tier_url.clone(),
            insecure_cookies: false,
            tls: None,
            trusted_proxies: Default::default(),
            msal,
            trust,
            flow_events: true,
            flow_sources: vec![middle_tier_url.clone(), downstream_url.clone()],
            sessions: None,
        },
        Demo {
            users: users.collect(),
            controls: Some(Arc::new(controls)),
            ca_file: options.https.as_ref().and_then(|https| https.file.clone()),
        },
    )
    .map_err(setup("SPA backend"))?;

    let (stop, stopped) = watch::channel(());
    let until_stop = || {
        let mut stopped = stopped.clone();
        async move {
            // A dropped sender is a stop as well.
            let _ = stopped.changed().await;
        }
    };
    let mut services = JoinSet::new();
    services.spawn(serve(downstream_listeners, downstream, until_stop()));
    services.spawn(serve(middle_listeners, middle_tier, until_stop()));
    services.spawn(serve(spa_listeners, spa_backend, until_stop()));
    Ok(Running {
        authority,
        spa,
        middle_tier: middle_tier_url,
        downstream: downstream_url,
        notes,
        ca: options
            .https
            .and_then(|https| Some((https.file?, https.ca.is_new()))),
        msal: with_msal,
        stop,
        services,
    })
}

impl Running {
    /// The address to open.
    #[must_use]
    pub fn spa(&self) -> &Url {
        &self.spa
    }

    /// The middle tier's base URL.
    #[must_use]
    pub fn middle_tier(&self) -> &Url {
        &self.middle_tier
    }

    /// The downstream API's base URL.
    #[must_use]
    pub fn downstream(&self) -> &Url {
        &self.downstream
    }

    /// The authority, to be steered.
    #[must_use]
    pub fn authority(&self) -> &local_authority::Running {
        &self.authority
    }

    /// What to print for the person at the terminal.
    #[must_use]
    pub fn welcome(&self) -> String {
        let directory = self.authority.directory();
        let users = directory.users.iter().map(|user| {
            let code = user.otp().unwrap_or("(none registered)");
            [user.username.as_str(), user.password(), code]
        });
        let users: Vec<_> = [["User name", "Password", "One-time code"]]
            .into_iter()
            .chain(users)
            .collect();
        let open = self.spa.as_str().trim_end_matches('/');
        let msal = format!("{open}/msal");
        let mut services = vec![
            ["SPA backend", open, "the page"],
            [
                "Middle tier",
                self.middle_tier.as_str().trim_end_matches('/'),
                "GET /api, /secure; /grpc/api, /grpc/secure; GET, PATCH /profile",
            ],
            [
                "Downstream API",
                self.downstream.as_str().trim_end_matches('/'),
                "GET /api, /secure, /admin; gRPC demo.downstream.v1.Downstream",
            ],
            [
                "Authority",
                self.authority.url(),
                "sign-in, tokens, /admin, POST /control",
            ],
        ];
        if self.msal {
            services.insert(
                1,
                [
                    "MSAL.js",
                    &msal,
                    "the page that calls the middle tier itself",
                ],
            );
        }
        let mut text = format!("\ntower-bearer demo\n\n  Open {open}\n\n");
        table(&mut text, &users);
        text.push_str(
            "\n  Call API         a policy wants a second factor: give it, and the same call completes by itself\n  \
             Secure           the downstream API itself demands a stronger sign-in (authentication context c1)\n  \
             Revoke me        your tokens are refused from now on, although they have not ended: sign in again\n  \
             Profile          view it freely; editing it wants a second factor, enforced by the middle tier\n\n",
        );
        table(&mut text, &services);
        for note in &self.notes {
            let _ = writeln!(text, "  Note: {note}.");
        }
        if let Some(secret) = directory.app(DAEMON).and_then(App::secret) {
            let daemon = format!(
                "cargo run -- daemon --client-secret {secret}{}",
                self.daemon_options()
            );
            let _ = writeln!(
                text,
                "\n  A call without a user (app role {ADMIN_ROLE}):\n    {daemon}"
            );
        }
        if let Some(token) = self.authority.control_token() {
            let _ = writeln!(
                text,
                "\n  Policies, users, keys, recent requests: {url}/admin\n    control token: {token}\n    the same as commands: POST {url}/control, with the token in the header X-Control",
                url = self.authority.url()
            );
        }
        if let Some((file, new)) = &self.ca {
            for line in how_to_trust(file, *new).lines() {
                let _ = writeln!(text, "{}{line}", if line.is_empty() { "" } else { "  " });
            }
        }
        let kept = if self.ca.is_some() {
            "Nothing is kept but the certificates."
        } else {
            "Nothing is kept."
        };
        let _ = writeln!(text, "\n  Ctrl-C stops everything. {kept}");
        text
    }

    /// What the daemon's command line must say where it differs from its defaults.
    fn daemon_options(&self) -> String {
        let mut options = String::new();
        if self.authority.url() != "http://localhost:8080" {
            let _ = write!(options, " --authority {}", self.authority.url());
        }
        if self.downstream.port() != Some(DOWNSTREAM_PORT) || self.downstream.scheme() != "http" {
            let _ = write!(options, " --url {}admin", self.downstream);
        }
        if let Some((file, _)) = &self.ca {
            let _ = write!(
                options,
                " --ca-file {}",
                shell_word(&file.display().to_string())
            );
        }
        options
    }

    /// Stops accepting, lets requests in flight finish, and ends.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        while self.services.join_next().await.is_some() {}
        // The services have ended, so nobody else holds it.
        if let Some(authority) = Arc::into_inner(self.authority) {
            authority.shutdown().await;
        }
    }
}

async fn start_authority(
    directory: Directory,
    host: &str,
    port: u16,
    control_token: Option<String>,
    tls: Option<Tls>,
) -> Result<local_authority::Running, DemoError> {
    let options = Options::default().listen(format!("{host}:{port}"));
    let options = match control_token {
        Some(token) => options.control_token(token),
        None => options.control(),
    };
    let options = match tls {
        Some(tls) => options.tls(tls),
        None => options,
    };
    let started = LocalAuthority::start(directory, options).await;
    started.map_err(|error| match error {
        StartError::Bind {
            source: BindError::Taken(_),
            ..
        } => DemoError::Taken {
            port,
            service: "authority",
            option: "--authority-port",
        },
        other => other.into(),
    })
}

/// The port as it is, because redirect URIs name it.
async fn fixed_port(
    port: u16,
    service: &'static str,
    option: &'static str,
) -> Result<Listeners, DemoError> {
    let bound = Listeners::bind(&format!("localhost:{port}"), Reach::Loopback).await;
    bound.map_err(|source| match source {
        BindError::Taken(port) => DemoError::Taken {
            port,
            service,
            option,
        },
        source => DemoError::Bind { service, source },
    })
}

/// The port, or a free one if another program has it (macOS has 5000 and 7000).
async fn wished_port(
    port: u16,
    service: &'static str,
    notes: &mut Vec<String>,
) -> Result<Listeners, DemoError> {
    let mut bound = Listeners::bind(&format!("localhost:{port}"), Reach::Loopback).await;
    if let Err(BindError::Taken(port)) = bound {
        bound = Listeners::bind("localhost:0", Reach::Loopback).await;
        notes.push(format!(
            "port {port} is in use, so the {service} took another"
        ));
    }
    bound.map_err(|source| DemoError::Bind { service, source })
}

fn local_url(listeners: &Listeners) -> Result<Url, DemoError> {
    let url = format!("{}://localhost:{}", listeners.scheme(), listeners.port());
    url.parse().map_err(setup("URL"))
}

fn setup<E: Into<Box<dyn Error + Send + Sync>>>(
    service: &'static str,
) -> impl FnOnce(E) -> DemoError {
    move |source| DemoError::Setup {
        service,
        source: source.into(),
    }
}

fn app<'a>(directory: &'a Directory, name: &str) -> Result<&'a App, DemoError> {
    directory.app(name).ok_or_else(|| no_app(name))
}

fn no_app(name: &str) -> DemoError {
    DemoError::Directory(format!("the demo needs an app named `{name}`"))
}

fn secret(app: &App) -> Result<SecretString, DemoError> {
    let secret = app.secret().map(|secret| secret.to_owned().into());
    secret.ok_or_else(|| {
        DemoError::Directory(format!(
            "app `{}` has no secret: give it a line `secrets = [\"...\"]`",
            app.name
        ))
    })
}

fn app_id_uri(app: &App) -> Result<&str, DemoError> {
    let uri = app.identifier_uris.first().map(String::as_str);
    uri.ok_or_else(|| DemoError::Directory(format!("app `{}` has no identifier URI", app.name)))
}

fn scope(app: &App) -> Result<&str, DemoError> {
    let scope = app.scopes.first().map(String::as_str);
    scope.ok_or_else(|| DemoError::Directory(format!("app `{}` has no scope", app.name)))
}

fn full_scope(app: &App) -> Result<String, DemoError> {
    Ok(format!("{}/{}", app_id_uri(app)?, scope(app)?))
}

/// Profiles are in the authority's own directory, which is called as Microsoft Graph is.
fn profile(directory: &Directory, authority: &AuthorityConfig) -> Result<ProfileConfig, DemoError> {
    Ok(ProfileConfig {
        graph: authority.instance.clone(),
        read_scope: "https://graph.microsoft.com/User.Read".into(),
        write_scope: "https://graph.microsoft.com/User.ReadWrite".into(),
        gate_scope: full_scope(app(directory, MFA_APP)?)?,
    })
}

/// Rows with aligned columns.
fn table(text: &mut String, rows: &[[&str; 3]]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.len()).max().unwrap_or_default()
    };
    let (first, second) = (width(0), width(1));
    for [a, b, c] in rows {
        let _ = writeln!(text, "  {a:first$}   {b:second$}   {c}");
    }
}
