//! A client of Microsoft Graph v1.0 that waits where Graph asks for it, and says in words what stands in the way.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::plan::{CONTEXTS, Request};
use super::progress::{Event, Progress};
use super::stop::Stop;
use crate::outbound::certificate_problem;
use crate::tame::tame;

/// How often one request is sent at most.
const ATTEMPTS: u32 = 6;
/// Longest wait that Graph is granted. What takes longer is for another day.
const LONGEST_WAIT: Duration = Duration::from_secs(180);
const TIMEOUT: Duration = Duration::from_secs(60);
/// So long requests and waits of one step may take together; a person's sign-in does not count.
const PATIENCE: Duration = Duration::from_secs(600);
/// Octets of an answer.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Octets of all pages of a list.
const MAX_LIST: usize = 16 * 1024 * 1024;
/// Pages of a list.
const MAX_PAGES: usize = 50;
/// Characters of what Graph says that are passed on.
const MAX_WORDS: usize = 300;

/// Gives access tokens for Graph.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A token, and another one than `refused`, which Graph did not take.
    ///
    /// # Errors
    ///
    /// Nobody is signed in, or no other token can be had.
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError>;
}

/// Why there is no token, in words.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct SignInError {
    words: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Waits; tests do not.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Comes back after this time.
    async fn pause(&self, time: Duration);
}

/// Waits by the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealPause;

/// The client.
#[derive(Clone)]
pub struct Graph {
    base: Url,
    http: reqwest::Client,
    tokens: Arc<dyn TokenSource>,
    pause: Arc<dyn Pause>,
    progress: Arc<dyn Progress>,
    stop: Stop,
    /// Milliseconds that the current step has taken.
    spent: Arc<AtomicU64>,
}

/// Why nothing is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoWait {
    /// The step has taken too long already.
    TimeIsUp,
    /// The run is to end.
    Stopped,
}

/// Why a request has no proper answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The run was asked to end, and nothing is on its way to Graph.
    #[error("stopped")]
    Stopped,
    /// There is no token.
    #[error("the sign-in to Microsoft Graph failed")]
    SignIn(#[from] SignInError),
    /// Graph does not take the token, also not a new one.
    #[error("Microsoft Graph does not take the access token ({doing}): sign in again. {said}")]
    SignInAgain {
        /// Method and path.
        doing: String,
        /// What Graph says.
        said: String,
    },
    /// Graph demands more of the sign-in than there was (continuous access evaluation, Conditional Access).
    #[error(
        "Microsoft Graph demands another sign-in ({doing}; a claims challenge: sessions were revoked, or a policy asks for more): sign in again, with multifactor authentication"
    )]
    ClaimsChallenge {
        /// Method and path.
        doing: String,
    },
    /// A permission is missing.
    #[error(
        "Microsoft Graph refuses {doing}: the permission {permission} is missing{role}. {said}"
    )]
    Forbidden {
        /// Method and path.
        doing: String,
        /// Permission of Graph.
        permission: &'static str,
        /// What a signed-in user also needs.
        role: &'static str,
        /// What Graph says.
        said: String,
    },
    /// The tenant has not bought it.
    #[error("Microsoft Graph refuses {doing}: the tenant has no licence for it. {said}")]
    NotLicensed {
        /// Method and path.
        doing: String,
        /// What Graph says.
        said: String,
    },
    /// The object, or one that the request names, is not there.
    #[error("{doing}: Microsoft Graph has no such object. {said}")]
    Gone {
        /// Method and path.
        doing: String,
        /// What Graph says.
        said: String,
    },
    /// Too many requests, and waiting did not help.
    #[error(
        "Microsoft Graph has too much to do ({doing}); run this again later, it goes on where it stopped"
    )]
    Throttled {
        /// Method and path.
        doing: String,
    },
    /// No answer, or a failure at Graph's side.
    #[error(
        "Microsoft Graph gives no answer to {doing} ({what}); run this again, it goes on where it stopped"
    )]
    Unreachable {
        /// Method and path.
        doing: String,
        /// Status or fault.
        what: String,
        /// The fault, if there was no answer at all.
        source: Option<reqwest::Error>,
    },
    /// Its certificate is not taken, so that nothing was sent.
    #[error(
        "Microsoft Graph shows a certificate that is not trusted here ({why}; {doing}): if it is of a private CA, name that one's \
         certificate (PEM) with --ca-file"
    )]
    Untrusted {
        /// Method and path.
        doing: String,
        /// What is wrong with it.
        why: String,
    },
    /// Graph refuses for another reason.
    #[error("Microsoft Graph refuses {doing}: {status} {code}. {said}{}", way_on(.code))]
    Refused {
        /// Method and path.
        doing: String,
        /// Status.
        status: StatusCode,
        /// Its error code.
        code: String,
        /// What Graph says.
        said: String,
    },
    /// It cannot be removed, because something of others depends on it.
    #[error(
        "{what} is used by the policy {by:?}, which is not of this run: take it out of that policy first"
    )]
    InUse {
        /// What.
        what: String,
        /// Name of the policy.
        by: String,
    },
    /// An answer that is not Graph's.
    #[error("the answer to {doing} is not one of Microsoft Graph: {why}")]
    Unusable {
        /// Method and path.
        doing: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What came back, if something did.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    octets: usize,
}

/// Graph's own words for an error.
struct Said {
    code: String,
    message: String,
}

#[async_trait]
impl Pause for RealPause {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl SignInError {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            source: None,
        }
    }

    /// And what led to it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl GraphError {
    /// Whether a request that creates something may have been carried out all the same.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unusable { .. })
    }

    /// Whether it may be that Graph does not know yet, at the place that was asked, what it has just created.
    #[must_use]
    pub fn may_be_early(&self) -> bool {
        match self {
            Self::Gone { .. } => true,
            Self::Refused {
                status, code, said, ..
            } if *status == StatusCode::BAD_REQUEST => {
                let unknown = [
                    "does not exist",
                    "does not reference a valid",
                    "not found",
                    "invalid applications",
                    "cannot be found",
                    "Cannot find",
                    "Not a valid reference update",
                ];
                matches!(
                    code.as_str(),
                    "Request_ResourceNotFound" | "NoBackingApplicationObject"
                ) || unknown.iter().any(|words| said.contains(words))
            }
            // Of an application that was made a moment ago.
            Self::Forbidden { said, .. } => {
                said.contains("backing application of the service principal being created")
            }
            _ => false,
        }
    }

    /// Whether Graph refuses to create something because it is there: a request before may have been carried out in spite of its answer.
    #[must_use]
    pub fn is_there_already(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if said.contains("already exist") || said.contains("already in use"))
    }
}

impl NoWait {
    /// What to tell instead of waiting because of `error`.
    pub(super) fn told(self, error: GraphError) -> GraphError {
        match self {
            Self::TimeIsUp => error,
            Self::Stopped => GraphError::Stopped,
        }
    }
}

/// Nobody is signed in.
#[async_trait]
impl TokenSource for () {
    async fn token(&self, _refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        Err(SignInError::new("nobody is signed in"))
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({})", self.base)
    }
}

impl Graph {
    /// Asks Graph at this base URL, such as `https://graph.microsoft.com`. `http` is to come from [`outbound::client`](crate::outbound::client).
    #[must_use]
    pub fn new(base: Url, http: reqwest::Client, tokens: Arc<dyn TokenSource>) -> Self {
        Self {
            base,
            http,
            tokens,
            pause: Arc::new(RealPause),
            progress: Arc::new(()),
            stop: Stop::new(),
            spent: Arc::default(),
        }
    }

    /// Ends when it is asked to, after what is on its way; nobody asks by default.
    #[must_use]
    pub fn stopping(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Tells of what happens; nobody is told by default.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Waits in another way; by the clock by default.
    #[must_use]
    pub fn waiting(mut self, pause: Arc<dyn Pause>) -> Self {
        self.pause = pause;
        self
    }

    /// Where Graph is.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Tells that something has happened.
    pub fn tell(&self, event: &Event) {
        self.progress.tell(event);
    }

    /// A step begins, with all its time before it.
    ///
    /// # Errors
    ///
    /// The run is to end.
    pub(super) fn begin(&self) -> Result<(), GraphError> {
        self.spent.store(0, Ordering::Relaxed);
        match self.stop.is_asked() {
            true => Err(GraphError::Stopped),
            false => Ok(()),
        }
    }

    /// Waits, and says so, if the step has time for it.
    pub(super) async fn wait(&self, pause: Duration, why: impl Into<String>) -> Result<(), NoWait> {
        if self.stop.is_asked() {
            return Err(NoWait::Stopped);
        }
        if Duration::from_millis(self.spent.load(Ordering::Relaxed)) + pause > PATIENCE {
            return Err(NoWait::TimeIsUp);
        }
        self.spend(pause);
        self.tell(&Event::Waiting {
            pause,
            why: why.into(),
        });
        tokio::select! {
            biased;
            () = self.stop.asked() => Err(NoWait::Stopped),
            () = self.pause.pause(pause) => Ok(()),
        }
    }

    fn spend(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.spent.fetch_add(time, Ordering::Relaxed);
    }

    /// One object; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// There is no proper answer.
    pub async fn get(&self, path: &str, query: &str) -> Result<Option<Value>, GraphError> {
        let url = self.url(path, query)?;
        match self.send(&Method::GET, &url, None).await {
            Ok(value) => Ok(Some(value)),
            Err(GraphError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a list, page after page.
    ///
    /// # Errors
    ///
    /// There is no proper answer, or the list has no end.
    pub async fn list(&self, path: &str, query: &str) -> Result<Vec<Value>, GraphError> {
        let mut url = self.url(path, query)?;
        let (mut all, mut octets) = (Vec::new(), 0);
        let unusable = |why| GraphError::Unusable {
            doing: format!("GET {path}"),
            why,
        };
        for _ in 0..MAX_PAGES {
            let Answer {
                body: mut page,
                octets: more,
                ..
            } = self.answer(&Method::GET, &url, None).await?;
            octets += more;
            if octets > MAX_LIST {
                return Err(unusable("the list is too large"));
            }
            let values = page.get_mut("value").map(Value::take);
            let Some(Value::Array(values)) = values else {
                return Err(unusable("a list without values"));
            };
            all.extend(values);
            let Some(next) = page.get("@odata.nextLink").and_then(Value::as_str) else {
                return Ok(all);
            };
            url = Url::parse(next).map_err(|_| unusable("the next page has no address"))?;
            // The token goes nowhere else.
            if url.origin() != self.base.origin() {
                return Err(unusable("the next page is elsewhere"));
            }
        }
        Err(unusable("a list without an end"))
    }

    /// Creates or sets something.
    ///
    /// # Errors
    ///
    /// There is no proper answer.
    pub async fn write(&self, request: &Request) -> Result<Value, GraphError> {
        let url = self.url(&request.path, "")?;
        self.send(&request.method, &url, Some(&request.body)).await
    }

    /// Deletes something; `false` if it was not there.
    ///
    /// # Errors
    ///
    /// There is no proper answer.
    pub async fn delete(&self, path: &str) -> Result<bool, GraphError> {
        let url = self.url(path, "")?;
        match self.send(&Method::DELETE, &url, None).await {
            Ok(_) => Ok(true),
            Err(GraphError::Gone { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The address of a path below `/v1.0/`. The query is one whose values need no encoding but that of spaces and quotes.
    fn url(&self, path: &str, query: &str) -> Result<Url, GraphError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().push("v1.0").extend(path.split('/'));
            }
            Err(()) => {
                return Err(GraphError::Unusable {
                    doing: path.to_owned(),
                    why: "the base URL cannot have a path",
                });
            }
        }
        url.set_query((!query.is_empty()).then_some(query));
        Ok(url)
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Value, GraphError> {
        Ok(self.answer(method, url, body).await?.body)
    }

    /// The answer of success.
    async fn answer(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<Answer, GraphError> {
        let path = url.path();
        let path = path
            .split_once("/v1.0/")
            .map_or(path, |(_, path)| path)
            .to_owned();
        let doing = format!("{method} {path}");
        // Another POST would create another object.
        let again = *method != Method::POST;
        let mut refused: Option<SecretString> = None;
        let mut waited = 0;
        loop {
            let token = tokio::select! {
                biased;
                () = self.stop.asked() => return Err(GraphError::Stopped),
                token = self.tokens.token(refused.as_ref()) => token?,
            };
            let begin = Instant::now();
            let answer = self.once(method, url, body, &token, &doing).await;
            self.spend(begin.elapsed());
            waited += 1;
            let last = waited >= ATTEMPTS;
            let answer = match answer {
                Ok(answer) => answer,
                Err(GraphError::Unreachable {
                    doing,
                    what,
                    source,
                }) if again && !last => {
                    let why = format!("no answer to {doing} ({what})");
                    if let Err(no) = self.wait(backoff(waited), why).await {
                        return Err(no.told(GraphError::Unreachable {
                            doing,
                            what,
                            source,
                        }));
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let status = answer.status;
            if status.is_success() {
                return Ok(answer);
            }
            let said = Said::of(&answer.body);
            match status {
                StatusCode::UNAUTHORIZED if demands_claims(&answer.headers) => {
                    return Err(GraphError::ClaimsChallenge { doing });
                }
                StatusCode::UNAUTHORIZED if refused.is_none() => refused = Some(token),
                StatusCode::UNAUTHORIZED => {
                    return Err(GraphError::SignInAgain {
                        doing,
                        said: said.message,
                    });
                }
                StatusCode::TOO_MANY_REQUESTS => {
                    let pause = retry_after(&answer.headers).unwrap_or_else(|| backoff(waited));
                    if last || pause > LONGEST_WAIT {
                        return Err(GraphError::Throttled { doing });
                    }
                    let why = "Microsoft Graph asks for it (too many requests)";
                    if let Err(no) = self.wait(pause, why).await {
                        return Err(no.told(GraphError::Throttled { doing }));
                    }
                }
                // Writes to one object came too close to each other, and this one was not carried out.
                StatusCode::CONFLICT if said.code == "Directory_ConcurrencyViolation" && !last => {
                    let why = format!("another change is not finished yet ({doing})");
                    if let Err(no) = self.wait(backoff(waited), why).await {
                        return Err(no.told(refusal(doing, &path, method, status, said)));
                    }
                }
                status if status.is_server_error() => {
                    let pause = retry_after(&answer.headers).unwrap_or_else(|| backoff(waited));
                    let why = format!("Microsoft Graph fails at {doing} ({status})");
                    let error = GraphError::Unreachable {
                        doing: doing.clone(),
                        what: status.to_string(),
                        source: None,
                    };
                    if !again || last || pause > LONGEST_WAIT {
                        return Err(error);
                    }
                    if let Err(no) = self.wait(pause, why).await {
                        return Err(no.told(error));
                    }
                }
                _ => return Err(refusal(doing, &path, method, status, said)),
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
        token: &SecretString,
        doing: &str,
    ) -> Result<Answer, GraphError> {
        let unreachable = |error: reqwest::Error| GraphError::Unreachable {
            doing: doing.to_owned(),
            what: if error.is_timeout() {
                "time is up"
            } else {
                "the connection failed"
            }
            .to_owned(),
            source: Some(error.without_url()),
        };
        let unusable = |why| GraphError::Unusable {
            doing: doing.to_owned(),
            why,
        };
        let unsent = |error: reqwest::Error| match certificate_problem(&error) {
            Some(why) => GraphError::Untrusted {
                doing: doing.to_owned(),
                why,
            },
            None => unreachable(error),
        };
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .bearer_auth(token.expose_secret())
            .header(header::ACCEPT, "application/json")
            .timeout(TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(unsent)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() {
            return Err(unusable("a redirect"));
        }
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if text.len() + part.len() > MAX_BODY {
                return Err(unusable("it is too large"));
            }
            text.extend_from_slice(&part);
        }
        let body = match serde_json::from_slice(&text) {
            Ok(body) => body,
            Err(_) if text.is_empty() || !status.is_success() => Value::Null,
            Err(_) => return Err(unusable("it is not JSON")),
        };
        Ok(Answer {
            status,
            headers,
            body,
            octets: text.len(),
        })
    }
}

/// 2, 4, 8 ... seconds.
pub(super) fn backoff(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.clamp(1, 5))
}

fn refusal(
    doing: String,
    path: &str,
    method: &Method,
    status: StatusCode,
    said: Said,
) -> GraphError {
    let Said { code, message } = said;
    match status {
        // Another server, or one in between, knows as little of the path: nothing of ours is gone for that.
        StatusCode::NOT_FOUND if code.is_empty() => GraphError::Unusable {
            doing,
            why: "404 without an error of Microsoft Graph; is it the right address?",
        },
        StatusCode::NOT_FOUND => GraphError::Gone {
            doing,
            said: message,
        },
        StatusCode::FORBIDDEN if message.contains("not licensed") => GraphError::NotLicensed {
            doing,
            said: message,
        },
        StatusCode::FORBIDDEN if !code.contains("Quota") => {
            let (permission, role) = needed(path, method);
            GraphError::Forbidden {
                doing,
                permission,
                role,
                said: message,
            }
        }
        _ => GraphError::Refused {
            doing,
            status,
            code,
            said: message,
        },
    }
}

/// The permission that a request takes, and what a signed-in user needs beside it (`api-reference/v1.0`).
fn needed(path: &str, method: &Method) -> (&'static str, &'static str) {
    let applications = ", or the role Cloud Application Administrator of the signed-in user";
    let policies = ", or the role Conditional Access Administrator of the signed-in user";
    let administrator = ", or the role Privileged Role Administrator of the signed-in user";
    let reading = *method == Method::GET;
    let first = path.split('/').next().unwrap_or_default();
    let first = first.split('(').next().unwrap_or_default();
    match first {
        "oauth2PermissionGrants" => ("DelegatedPermissionGrant.ReadWrite.All", administrator),
        _ if path.contains("/appRoleAssign") && !reading => {
            ("AppRoleAssignment.ReadWrite.All", administrator)
        }
        "identity" if path.contains(CONTEXTS) => match reading {
            true => ("AuthenticationContext.Read.All", policies),
            false => ("AuthenticationContext.ReadWrite.All", policies),
        },
        "identity" if reading => ("Policy.Read.All", policies),
        "identity" => ("Policy.ReadWrite.ConditionalAccess", policies),
        "users" => ("User.Read.All", ""),
        "groups" => ("Group.Read.All", ""),
        "me" => ("User.Read", ""),
        _ => ("Application.ReadWrite.All", applications),
    }
}

/// What to do about a refusal whose code says what it is about (`app-management-policies`).
fn way_on(code: &str) -> &'static str {
    match code {
        "CredentialInvalidLifetimeAsPerAppPolicy" => {
            " A policy of the tenant limits how long the credentials of applications last: choose fewer days with --credential-days, or have an administrator exempt these \
             applications from it"
        }
        "CredentialTypeNotAllowedAsPerAppPolicy" => {
            " A policy of the tenant forbids this kind of credential: leave --secret out, or have an administrator exempt these applications from it; \
             where it demands certificates of a certain authority, one that is made here will not do"
        }
        _ => "",
    }
}

/// RFC 9110 section 10.2.3, in seconds as Graph gives it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn demands_claims(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::WWW_AUTHENTICATE).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("insufficient_claims"))
}

impl Said {
    fn of(body: &Value) -> Self {
        let text = |name: &str| {
            let text = body
                .pointer(&format!("/error/{name}"))
                .and_then(Value::as_str);
            tame(text.unwrap_or_default(), MAX_WORDS)
        };
        // Conditional Access has its reason there.
        let messages = [text("message"), text("innerError/message")];
        let messages = messages.iter().filter(|message| !message.is_empty());
        let messages: Vec<&str> = messages.map(String::as_str).collect();
        Self {
            code: text("code"),
            message: match messages.as_slice() {
                [] => String::new(),
                messages => format!("It says: {}", messages.join(" ")),
            },
        }
    }
}
