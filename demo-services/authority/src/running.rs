//! Starting the authority and holding on to it.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use listening::{BindError, Listeners, Reach, Tls};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use url::Url;
use uuid::Uuid;

use crate::admin_sessions::Sessions;
use crate::authority::{Authority, Shared};
use crate::changes::{Changes, Swapped};
use crate::clock::{Clock, SystemClock};
use crate::directory::{Consent, Directory, DirectoryError, Mfa, Policy, is_loopback};
use crate::keys::{KeyError, KeyRing, SigningKey};
use crate::meter::{Counters, Endpoint, Fault, Meter};
use crate::random;
use crate::records::Stores;
use crate::requests::{Recent, RecentRequest};
use crate::saving::saving;
use crate::server;
use crate::state::{Opened, Restored, StateError};
use crate::version::TokenVersion;

/// Starts local authorities.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LocalAuthority;

/// Where to listen and what to be called.
pub struct Options {
    listen: String,
    public_url: Option<Url>,
    tls: Option<Tls>,
    control: Control,
    clock: Box<dyn Clock>,
    state: Option<PathBuf>,
}

enum Control {
    Off,
    Generated,
    Given(String),
}

/// Why an authority did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is taken, or not there.
    #[error("cannot listen on {listen}")]
    #[non_exhaustive]
    Bind {
        /// The address.
        listen: String,
        /// Why.
        source: BindError,
    },
    /// The control token is empty: anybody could guess it.
    #[error("the control token is empty")]
    ControlToken,
    /// The directory breaks a rule.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No signing key could be made.
    #[error("no signing key could be made")]
    Key,
    /// The address is not `host:port` with `localhost` or a loopback address.
    #[error(
        "`{0}` is not `localhost:PORT` or a loopback address with a port: an authority with known passwords stays on this machine"
    )]
    NotLoopback(String),
    /// The public URL is not an origin: `https`, or `http` on a loopback address, without path, query and fragment.
    #[error(
        "`{0}` is not https, or http on a loopback address, or has more than scheme, host and port"
    )]
    PublicUrl(Url),
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Default for Options {
    /// `localhost` with a free port, no control endpoint, the machine's clock, nothing on disk.
    fn default() -> Self {
        Self {
            listen: "localhost:0".to_owned(),
            public_url: None,
            tls: None,
            control: Control::Off,
            clock: Box::new(SystemClock),
            state: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("public_url", &self.public_url)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// `host:port`. `localhost` means both loopback addresses; port 0 takes a free one. Other addresses than loopback ones are refused.
    #[must_use]
    pub fn listen(mut self, listen: impl Into<String>) -> Self {
        self.listen = listen.into();
        self
    }

    /// Serves https with this certificate, and says so in the metadata. Unmodified MSAL clients insist on it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The base URL in the issuer and the metadata, by default the address that is listened on, with `https` if there is a
    /// certificate and `http` if there is none.
    #[must_use]
    pub fn public_url(mut self, url: Url) -> Self {
        self.public_url = Some(url);
        self
    }

    /// Serves `POST /control` and the page `/admin`, guarded by a token made at start ([`Running::control_token`]).
    #[must_use]
    pub fn control(mut self) -> Self {
        self.control = Control::Generated;
        self
    }

    /// Serves `POST /control` and the page `/admin`, guarded by this token.
    #[must_use]
    pub fn control_token(mut self, token: impl Into<String>) -> Self {
        self.control = Control::Given(token.into());
        self
    }

    /// The clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Keeps in this file what must survive a restart: the directory as it stands, the published keys, sessions, codes, refresh
    /// tokens, grant records, consents and revocations. Sign-ins under way, counters, faults and the skew are not kept.
    ///
    /// What an answer tells is on disk before the answer leaves. What is changed through [`Running`] is written at once, but not
    /// waited for; [`Running::shutdown`] waits. While the file cannot be written, `/readyz` answers 503 and requests go on from
    /// memory; it is tried again at each change, and after 1, 2, 4 seconds and so on, at least twice a minute. A write that takes longer than
    /// 5 seconds counts as failed until it ends: answers no longer wait. `/healthz`, `/readyz` and `/assets` never do. A crash between the write and the answer spends the code or refresh token of that request, as a lost answer does.
    ///
    /// The file is JSON with passwords, secrets, keys and tokens as they are, readable and writable by its owner alone (on Unix). It is
    /// replaced as a whole, by way of `FILE.tmp`; `FILE.lock` keeps a second authority away. Where there is no such file this is
    /// the first start. After that the directory comes from the file, and the one given must be the one of the first start
    /// ([`StateError::DirectoryChanged`]): [`Directory::demo`], whose secrets are new each time, never is.
    #[must_use]
    pub fn state(mut self, file: impl Into<PathBuf>) -> Self {
        self.state = Some(file.into());
        self
    }
}

impl LocalAuthority {
    /// Checks the directory, reads the state file if there is one, makes a signing key if there is none, binds, and serves in tasks
    /// of the current runtime.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(directory: Directory, options: Options) -> Result<Running, StartError> {
        directory.validate()?;
        if matches!(&options.control, Control::Given(token) if token.is_empty()) {
            return Err(StartError::ControlToken);
        }
        let (mut opened, directory) = open(options.state, directory).await?;
        let listeners = bind(&options.listen, options.tls).await?;
        let (scheme, host, port) = (listeners.scheme(), host(&options.listen), listeners.port());
        let base = base(options.public_url, scheme, &host, port)?;
        let restored = match &mut opened {
            Some(opened) => opened.restore(&base, options.clock.now())?,
            None => None,
        };
        let changes = Changes::default();
        let (directory, keys, stores) = match restored {
            Some(Restored {
                directory,
                keys,
                stores,
            }) => (directory, KeyRing::new(keys, &changes), stores),
            None => {
                let keys = KeyRing::generate(options.clock.now(), &changes)
                    .map_err(|_| StartError::Key)?;
                (directory, keys, Stores::new())
            }
        };
        let (saved, saving) = saving();
        let hosts = own_hosts(&base, scheme, &host, port);
        let tenant = directory.tenant.id;
        let authority = Arc::new(Authority {
            issuer: TokenVersion::V2.issuer(&base, tenant),
            base,
            hosts,
            keys,
            meter: Meter::default(),
            recent: Recent::default(),
            admin: Mutex::new(Sessions::default()),
            control_token: match options.control {
                Control::Off => None,
                Control::Generated => Some(random::secret()),
                Control::Given(token) => Some(token),
            },
            directory: Swapped::new(directory, &changes),
            stores: Mutex::new(stores),
            changes,
            saving: opened.is_some().then_some(saving),
            clock: options.clock,
            skew: AtomicI64::new(0),
        });
        let (stop, mut stopped) = watch::channel(false);
        let writer = match opened {
            Some(opened) => Some(opened.start(authority.clone(), saved).await?),
            None => None,
        };
        let router = server::router(authority.clone());
        let serving = tokio::spawn(async move {
            let (served, end) = oneshot::channel::<()>();
            let serve = async move {
                let told = async move {
                    // Told to stop, or nobody is left who could tell.
                    let _ = stopped.wait_for(|stop| *stop).await;
                };
                listening::serve(listeners, router, told).await;
                drop(served);
            };
            let write = async move {
                if let Some(writer) = writer {
                    writer
                        .run(async move {
                            let _ = end.await;
                        })
                        .await;
                }
            };
            tokio::join!(serve, write);
        });
        tracing::info!(
            base = authority.base,
            port,
            "local authority listens; not for production"
        );
        Ok(Running {
            authority,
            tenant,
            port,
            foreign: OnceLock::new(),
            stop,
            serving: Some(serving),
        })
    }
}

/// A running authority. Dropping it stops it.
pub struct Running {
    pub(crate) authority: Shared,
    tenant: Uuid,
    port: u16,
    /// A key that nobody publishes.
    pub(crate) foreign: OnceLock<SigningKey>,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("url", &self.authority.base)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The base URL without a trailing slash, as in the issuer.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.authority.base
    }

    /// Who issues version 1.0 tokens: `{url}/{tenant}/`.
    #[must_use]
    pub fn issuer_v1(&self) -> String {
        TokenVersion::V1.issuer(&self.authority.base, self.tenant)
    }

    /// Who issues version 2.0 tokens, ID tokens among them: `{url}/{tenant}/v2.0`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.authority.issuer
    }

    /// The tenant id.
    #[must_use]
    pub fn tenant(&self) -> Uuid {
        self.tenant
    }

    /// The port that is listened on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory as it stands now, with all that was changed while it runs.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.authority.directory()
    }

    /// The token of `POST /control`, if that is served.
    #[must_use]
    pub fn control_token(&self) -> Option<&str> {
        self.authority.control_token.as_deref()
    }

    /// Requests so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.authority.meter.counters()
    }

    /// The last 256 requests, the oldest first, in the order in which they were answered.
    ///
    /// ```
    /// # use local_authority::{Directory, LocalAuthority, Options};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let authority = LocalAuthority::start(Directory::demo(), Options::default()).await?;
    /// let token = format!("{}/{}/oauth2/v2.0/token", authority.url(), authority.tenant());
    /// let form = [("grant_type", "refresh_token"), ("claims", "{}")];
    /// reqwest::Client::new().post(token).form(&form).send().await?;
    /// // Which grant? Did my client send `claims`? What was wrong?
    /// let asked = authority.requests().pop().ok_or("no request")?;
    /// assert_eq!((asked.grant_type, asked.claims), (Some("refresh_token"), true));
    /// assert_eq!((asked.status, asked.aadsts), (Some(400), Some(900_144)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn requests(&self) -> Vec<RecentRequest> {
        self.authority.recent.all()
    }

    /// The published key set as JSON.
    #[must_use]
    pub fn jwks(&self) -> String {
        let authority = &self.authority;
        authority
            .jwks(TokenVersion::V2, &authority.issuer)
            .to_string()
    }

    /// Ends all sessions, refresh tokens and grants of a user, as a password change does. Whether the user exists.
    pub fn revoke(&self, user: &str) -> bool {
        self.authority.revoke(user)
    }

    /// Switches a policy, by name or id. Whether it exists.
    pub fn set_policy(&self, name: &str, enabled: bool) -> bool {
        self.authority.set_policy(name, enabled)
    }

    /// Adds a Conditional Access policy, or puts it in the place of the one of that name. The next decision knows it.
    ///
    /// ```
    /// # use local_authority::{Directory, LocalAuthority, Options, Policy};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let authority = LocalAuthority::start(Directory::demo(), Options::default()).await?;
    /// authority.require(Policy::mfa_for_app("middle-tier").users(["alice@contoso.example"]))?;
    /// assert!(authority.require(Policy::mfa_for_app("nobody's")).is_err());
    /// assert!(authority.remove_policy("MFA for middle-tier"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the directory with it would break a rule of [`Directory::validate`], or has 256 policies already; nothing is changed then.
    pub fn require(&self, policy: Policy) -> Result<(), DirectoryError> {
        self.authority.require(policy)
    }

    /// Takes a policy away, by name or id. Whether it was there.
    pub fn remove_policy(&self, name: &str) -> bool {
        self.authority.remove_policy(name)
    }

    /// Registers a user's second factor or takes it away. `otp` replaces the one-time code; `None` leaves the one of the directory.
    /// Sessions that have proven a second factor before stay as they are.
    ///
    /// # Errors
    ///
    /// When there is no such user, no code to register, or the code is a placeholder.
    pub fn set_mfa(&self, user: &str, mfa: Mfa, otp: Option<&str>) -> Result<(), DirectoryError> {
        self.authority.set_mfa(user, mfa, otp)
    }

    /// Whether a client's users are asked for their consent. Whether the client exists.
    pub fn set_consent(&self, app: &str, consent: Consent) -> bool {
        self.authority.set_consent(app, consent)
    }

    /// Takes back all that a user has granted on the consent page: AADSTS65001 from now on, unless an administrator or the API itself has
    /// granted the same. Whether the user exists.
    pub fn withdraw_consent(&self, user: &str) -> bool {
        self.authority.withdraw_consent(user)
    }

    /// Signs with a new key from now on; the old one stays published. The new `kid`.
    ///
    /// # Errors
    ///
    /// When no key could be made.
    pub fn rotate_keys(&self) -> Result<String, KeyError> {
        self.authority.rotate_keys().map_err(|_| KeyError)
    }

    /// Takes a key out of the published set. Whether it was there.
    ///
    /// # Errors
    ///
    /// When it was the signing key and no new one could be made.
    pub fn withdraw_key(&self, kid: &str) -> Result<bool, KeyError> {
        self.authority.withdraw_key(kid).map_err(|_| KeyError)
    }

    /// The `kid` of the signing key.
    #[must_use]
    pub fn kid(&self) -> String {
        self.authority
            .keys
            .current()
            .map_or_else(String::new, |key| key.kid().to_owned())
    }

    /// Lets the next `n` requests to an endpoint fail; 0 takes a failure back.
    pub fn fail_next(&self, endpoint: Endpoint, n: u32, fault: Fault) {
        self.authority.meter.fail_next(endpoint, n, fault);
    }

    /// Sets this authority's clock off by so many seconds; 0 sets it right.
    pub fn skew(&self, seconds: i64) {
        self.authority.skew.store(seconds, Ordering::Relaxed);
    }

    /// Stops accepting, lets running answers finish (10 seconds at most), writes the state file if there is one, and returns.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
    }

    /// Serves until `signal` is there, then shuts down: the body of an `authority` command.
    pub async fn serve_until(self, signal: impl Future<Output = ()>) {
        signal.await;
        self.shutdown().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// The state file, if one is wanted, and the directory again: the file is read where it may block.
async fn open(
    state: Option<PathBuf>,
    directory: Directory,
) -> Result<(Option<Opened>, Directory), StartError> {
    let Some(path) = state else {
        return Ok((None, directory));
    };
    let for_errors = path.clone();
    let opened = spawn_blocking(move || (Opened::open(&path, &directory), directory));
    let (opened, directory) = opened.await.map_err(|error| StateError::Io {
        action: "read",
        path: for_errors,
        source: error.into(),
    })?;
    Ok((Some(opened?), directory))
}

async fn bind(listen: &str, tls: Option<Tls>) -> Result<Listeners, StartError> {
    let listeners =
        Listeners::bind(listen, Reach::Loopback)
            .await
            .map_err(|source| match source {
                BindError::Address(_) | BindError::NotLoopback(_) => {
                    StartError::NotLoopback(listen.to_owned())
                }
                source => StartError::Bind {
                    listen: listen.to_owned(),
                    source,
                },
            })?;
    Ok(match tls {
        Some(tls) => listeners.tls(tls),
        None => listeners,
    })
}

/// Values of `Host` that mean this service.
fn own_hosts(base: &str, scheme: &str, host: &str, port: u16) -> Vec<String> {
    let names = ["localhost", "127.0.0.1", "[::1]", host];
    let mut hosts: Vec<String> = names.map(|name| format!("{name}:{port}")).into();
    // RFC 9110 section 4.2: clients leave the default port out.
    if port == if scheme == "https" { 443 } else { 80 } {
        hosts.extend(names.map(str::to_owned));
    }
    hosts.extend(base.split_once("://").map(|(_, host)| host.to_owned()));
    hosts
}

/// The host of an address that is listened on, as it stands in a URL.
fn host(listen: &str) -> String {
    match listen.parse::<SocketAddr>().map(|address| address.ip()) {
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Err(_) => "localhost".to_owned(),
    }
}

fn base(
    public_url: Option<Url>,
    scheme: &str,
    host: &str,
    port: u16,
) -> Result<String, StartError> {
    let Some(url) = public_url else {
        // A default port is left out: clients compare the issuer to the byte.
        let text = format!("{scheme}://{host}:{port}");
        let origin = Url::parse(&text).map(|url| url.origin().ascii_serialization());
        return Ok(origin.unwrap_or(text));
    };
    let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if secure && bare {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(StartError::PublicUrl(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_port_is_left_out_and_others_are_not() {
        let has = |scheme, port, host: &str| {
            let hosts = own_hosts("https://login.example", scheme, "localhost", port);
            hosts.iter().any(|own| own == host)
        };
        assert!(has("https", 443, "localhost") && has("https", 443, "localhost:443"));
        assert!(has("http", 80, "127.0.0.1") && has("http", 443, "login.example"));
        assert!(!has("http", 443, "localhost") && !has("https", 8080, "localhost"));
        for (scheme, port, url) in [
            ("https", 443, "https://localhost"),
            ("http", 443, "http://localhost:443"),
        ] {
            assert_eq!(
                base(None, scheme, "localhost", port).ok().as_deref(),
                Some(url)
            );
        }
    }

    #[test]
    fn a_public_url_is_an_origin() {
        let base = |text: &str| base(Some(Url::parse(text).unwrap()), "http", "localhost", 1).ok();
        assert_eq!(
            base("http://127.0.0.1:8080").as_deref(),
            Some("http://127.0.0.1:8080")
        );
        assert_eq!(
            base("https://login.example/").as_deref(),
            Some("https://login.example")
        );
        for text in [
            "http://login.example",
            "https://login.example/x",
            "https://login.example/?x",
            "ftp://localhost",
            "https://u@login.example",
        ] {
            assert_eq!(base(text), None, "{text}");
        }
    }
}
