//! Questions to Microsoft Graph, through the client that `register` uses: with the one token that there is, and with bounded patience.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use url::Url;
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use crate::outbound;
use crate::tenant::graph::{Graph, GraphError, SignInError, TokenSource};
use crate::tenant::progress::{Event, Progress};
use crate::tenant::sign_in::ACCESS_TOKEN;
use crate::trust::Trust;

/// What Graph says where a licence lacks; the status is that of a missing permission.
const NOT_LICENSED: &str = "not licensed";

/// A whole answer, or why there is none.
pub(super) type Told<T> = Result<T, Untold>;

/// Why Graph does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    /// The permissions do not reach so far.
    Forbidden,
    /// There is no such object.
    Gone,
    /// The tenant's licence does not reach so far.
    NotLicensed,
    /// Another reason, in words.
    Other(String),
}

/// Asks.
pub(super) struct Reader {
    graph: Graph,
    /// What Graph has against the token.
    refused: OnceLock<&'static str>,
    /// For each question, all its pages and waits together.
    deadline: Duration,
}

/// The token of the environment, and no other.
struct OnlyToken(SecretString);

/// Ends a question whose next wait would go beyond its deadline.
struct Patience {
    until: Instant,
    end: Mutex<Option<oneshot::Sender<String>>>,
}

impl Untold {
    /// Goes on from "not looked at: ".
    pub(super) fn reason(&self, permission: &str) -> String {
        match self {
            Self::Forbidden => format!("the token of {ACCESS_TOKEN} lacks {permission}"),
            Self::Gone => "Microsoft Graph has no such object".to_owned(),
            Self::NotLicensed => {
                "the tenant is not licensed for it (Conditional Access takes Microsoft Entra ID P1)"
                    .to_owned()
            }
            Self::Other(words) => words.clone(),
        }
    }

    /// Graph's own words stay out, which could name a person.
    fn of(error: GraphError) -> Self {
        if error.to_string().contains(NOT_LICENSED) {
            return Self::NotLicensed;
        }
        Self::Other(match error {
            GraphError::Forbidden { .. } => return Self::Forbidden,
            GraphError::Gone { .. } => return Self::Gone,
            GraphError::Throttled { .. } => {
                "Microsoft Graph has too much to do: try again later".to_owned()
            }
            GraphError::Unreachable { what, .. } => {
                format!("Microsoft Graph gives no answer ({what})")
            }
            GraphError::Untrusted { why, .. } => {
                format!("Microsoft Graph shows a certificate that is not trusted here ({why})")
            }
            GraphError::Unusable { why, .. } => {
                format!("the answer is not one of Microsoft Graph: {why}")
            }
            GraphError::Refused { status, code, .. } => {
                format!("Microsoft Graph answers {} {code}", status.as_u16())
            }
            _ => "Microsoft Graph refuses".to_owned(),
        })
    }
}

impl Reader {
    /// `None` if no client can be made.
    pub(super) fn new(
        graph: Url,
        token: SecretString,
        trust: &Trust,
        deadline: Duration,
    ) -> Option<Self> {
        let http = outbound::client(&[&graph], deadline, trust).ok()?;
        Some(Self {
            graph: Graph::new(graph, http, Arc::new(OnlyToken(token))),
            refused: OnceLock::new(),
            deadline,
        })
    }

    /// Why Graph does not take the token, if it does not: then nothing that it has told is worth anything.
    pub(super) fn refused(&self) -> Option<&'static str> {
        self.refused.get().copied()
    }

    /// The application with this client id, or none.
    pub(super) async fn application(&self, client_id: Uuid) -> Told<Vec<Value>> {
        self.filtered("applications", &format!("appId eq '{client_id}'"))
            .await
    }

    /// The service principal that a scope's first part names: an identifier URI or a client id.
    pub(super) async fn principal(&self, name: &str) -> Told<Vec<Value>> {
        let name = name.replace('\'', "''");
        let filter = format!("servicePrincipalNames/any(n:n eq '{name}')");
        self.filtered("servicePrincipals", &filter).await
    }

    /// Consents to delegated permissions of this client.
    pub(super) async fn grants(&self, client_id: Uuid) -> Told<Vec<Value>> {
        let path = format!("servicePrincipals(appId='{client_id}')/oauth2PermissionGrants");
        self.list(&path, "").await
    }

    /// Conditional Access policies.
    pub(super) async fn policies(&self) -> Told<Vec<Value>> {
        self.list("identity/conditionalAccess/policies", "").await
    }

    async fn filtered(&self, path: &str, filter: &str) -> Told<Vec<Value>> {
        let query = Serializer::new(String::new())
            .append_pair("$filter", filter)
            .finish();
        self.list(path, &query).await
    }

    async fn list(&self, path: &str, query: &str) -> Told<Vec<Value>> {
        let (end, ended) = oneshot::channel();
        let until = Instant::now() + self.deadline;
        let end = Mutex::new(Some(end));
        let graph = self
            .graph
            .clone()
            .progress(Arc::new(Patience { until, end }));
        let seconds = self.deadline.as_secs();
        tokio::select! {
            told = timeout_at(until, graph.list(path, query)) => match told {
                Ok(told) => told.map_err(|error| {
                    if let Some(why) = against_the_token(&error) {
                        let _ = self.refused.set(why);
                    }
                    Untold::of(error)
                }),
                Err(_) => Err(Untold::Other(format!("Microsoft Graph does not answer within {seconds} seconds"))),
            },
            Ok(why) = ended => Err(Untold::Other(format!("it takes a wait beyond {seconds} seconds: {why}"))),
        }
    }
}

/// Goes on from "Microsoft Graph".
fn against_the_token(error: &GraphError) -> Option<&'static str> {
    match error {
        GraphError::SignIn(_) | GraphError::SignInAgain { .. } => Some("refuses it"),
        GraphError::ClaimsChallenge { .. } => {
            Some("demands more of the sign-in behind it, such as multifactor authentication")
        }
        _ => None,
    }
}

#[async_trait]
impl TokenSource for OnlyToken {
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        match refused {
            None => Ok(self.0.clone()),
            Some(_) => Err(SignInError::new("there is no other token")),
        }
    }
}

impl Progress for Patience {
    fn tell(&self, event: &Event) {
        if let Event::Waiting { pause, why } = event
            && Instant::now() + *pause > self.until
            && let Some(end) = self
                .end
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        {
            // Nobody may be left who asks.
            let _ = end.send(why.clone());
        }
    }
}
