//! The record of recent requests: who asked what, and what came of it. Names and numbers only, never anything secret.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::Request;
use http::{Method, header};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::directory::{App, Directory, User};
use crate::errors::{Refusal, Trace};
use crate::form::{self, Form};

/// How many requests are remembered; the oldest goes first.
const MAX_REQUESTS: usize = 256;
const MAX_PATH: usize = 160;
const MAX_SCOPES: usize = 16;
const MAX_SCOPE: usize = 128;

tokio::task_local! {
    /// The request that this task answers. Like a tracing span: whoever learns something adds it, without a parameter through every call.
    static CURRENT: Facts;
}

pub(crate) type Facts = Arc<Mutex<RecentRequest>>;

/// One request that the authority has seen, without anything secret: no password, code, token, secret, assertion, claim, `state`, `nonce`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecentRequest {
    /// When it came, in seconds since 1970 by the authority's clock, skew included.
    pub time: u64,
    /// `authorize`, `token`, `device_code`, `discovery`, `keys`, `logout`, `graph`, or one of the pages and their forms: `sign-in`, `mfa`,
    /// `consent`, `device`.
    pub endpoint: &'static str,
    /// `GET`, `POST`, `OPTIONS`, `HEAD`, or `other`.
    pub method: &'static str,
    /// The path without its query, cut off after 160 bytes.
    pub path: String,
    /// The client's name in the directory; its id where the directory does not know it.
    pub client: Option<String>,
    /// `grant_type`, or `other` for one that is not supported.
    pub grant_type: Option<&'static str>,
    /// The words of `scope` that were asked for: at most 16, and none longer than 128 bytes.
    pub scopes: Vec<String>,
    /// Sign-in name of the user, once it is known who that is.
    pub user: Option<String>,
    /// `response_mode`, or `other` for one that is not supported.
    pub response_mode: Option<&'static str>,
    /// `prompt`, or `other` for one that is not supported.
    pub prompt: Option<&'static str>,
    /// Whether `claims` was sent: a claims challenge, or the client's capabilities.
    pub claims: bool,
    /// Whether `client_assertion` was sent.
    pub client_assertion: bool,
    /// Whether a client secret was sent, in the form or in `Authorization: Basic`.
    pub client_secret: bool,
    /// Whether `code_challenge` or `code_verifier` was sent.
    pub pkce: bool,
    /// Status of the answer; `None` if the client went away before there was one.
    pub status: Option<u16>,
    /// `error` of the answer, also where it went back to the client in a redirect; of Graph, `error.code`.
    pub error: Option<&'static str>,
    /// AADSTS number of the answer.
    pub aadsts: Option<u32>,
    /// The answer's error in words, `AADSTS...: ...`, without its ids.
    pub description: Option<String>,
    /// Trace id of the answer; of Graph, `request-id`.
    pub trace_id: Option<Uuid>,
    /// Correlation id: the client's `client-request-id` if it sent a GUID.
    pub correlation_id: Option<Uuid>,
    /// Whether [`Running::fail_next`](crate::Running::fail_next) delayed it or made it fail.
    pub on_demand: bool,
    /// From its arrival to the head of its answer, in milliseconds.
    pub duration_ms: u64,
}

impl RecentRequest {
    pub(crate) fn new(now: u64, endpoint: &'static str, request: &Request) -> Self {
        let basic = |value: &http::HeaderValue| {
            let scheme = value.as_bytes().get(..6);
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
        };
        Self {
            time: now,
            endpoint,
            method: match *request.method() {
                Method::GET => "GET",
                Method::POST => "POST",
                Method::OPTIONS => "OPTIONS",
                Method::HEAD => "HEAD",
                _ => "other",
            },
            path: cut(request.uri().path(), MAX_PATH),
            client_secret: endpoint == "token"
                && request
                    .headers()
                    .get(header::AUTHORIZATION)
                    .is_some_and(basic),
            ..Self::default()
        }
    }

    /// What an authorization or token request says of itself.
    pub(crate) fn form(&mut self, directory: &Directory, form: &Form) {
        let sent = |name: &str| form.get(name).is_some();
        self.client = client_named(directory, form.get("client_id"));
        self.grant_type = one_of(
            form.get("grant_type"),
            &[
                "authorization_code",
                "client_credentials",
                "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code",
                "urn:ietf:params:oauth:grant-type:jwt-bearer",
            ],
        );
        self.response_mode = one_of(
            form.get("response_mode"),
            &["form_post", "fragment", "query"],
        );
        self.prompt = one_of(
            form.get("prompt"),
            &["consent", "login", "none", "select_account"],
        );
        let words = form.get("scope").unwrap_or_default().split(' ');
        self.scopes = words
            .filter(|word| !word.is_empty() && word.len() <= MAX_SCOPE)
            .take(MAX_SCOPES)
            .map(str::to_owned)
            .collect();
        self.claims = sent("claims");
        self.client_assertion = sent("client_assertion");
        self.client_secret |= sent("client_secret");
        self.pkce = sent("code_challenge") || sent("code_verifier");
    }

    /// What a token that this authority has signed says of its client and its user.
    pub(crate) fn token(&mut self, directory: &Directory, claims: &Map<String, Value>) {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        self.client = client_named(directory, text("azp").or(text("appid")));
        let oid = text("oid").and_then(form::guid);
        let user = directory.users.iter().find(|user| Some(user.oid) == oid);
        self.user = user.map(|user| user.username.clone());
    }

    pub(crate) fn client(&mut self, app: &App) {
        self.client = Some(app.name.clone());
    }

    pub(crate) fn user(&mut self, user: &User) {
        self.user = Some(user.username.clone());
    }

    pub(crate) fn trace(&mut self, trace: Trace) {
        self.trace_id = Some(trace.trace_id);
        self.correlation_id = Some(trace.correlation_id);
    }

    pub(crate) fn refused(&mut self, refusal: &Refusal, trace: Trace) {
        self.error = Some(refusal.error);
        self.aadsts = Some(refusal.code);
        self.description = Some(refusal.sentence());
        self.trace(trace);
    }
}

/// The name of the client of this id, or the id where the directory does not know it.
fn client_named(directory: &Directory, id: Option<&str>) -> Option<String> {
    let id = id.and_then(form::guid)?;
    let app = directory.apps.iter().find(|app| app.client_id == id);
    Some(app.map_or_else(|| id.to_string(), |app| app.name.clone()))
}

/// Answers a request whose record is `facts`.
pub(crate) async fn answering<T>(facts: Facts, answer: impl Future<Output = T>) -> T {
    CURRENT.scope(facts, answer).await
}

/// Does what may take long beside the runtime's threads, with the record of this task's request at hand. `None` if it panicked.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let facts = CURRENT.try_with(Clone::clone);
    let done = spawn_blocking(move || match facts {
        Ok(facts) => CURRENT.sync_scope(facts, work),
        Err(_) => work(),
    });
    done.await.ok()
}

/// Adds to the record of the request that this task answers; does nothing elsewhere.
pub(crate) fn note(add: impl FnOnce(&mut RecentRequest)) {
    let _ = CURRENT.try_with(|facts| add(&mut lock(facts)));
}

/// The last requests, the oldest first.
#[derive(Default)]
pub(crate) struct Recent(Mutex<VecDeque<RecentRequest>>);

impl Recent {
    pub(crate) fn all(&self) -> Vec<RecentRequest> {
        lock(&self.0).iter().cloned().collect()
    }

    pub(crate) fn push(&self, request: RecentRequest) {
        let mut requests = lock(&self.0);
        if requests.len() >= MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(request);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one_of(text: Option<&str>, known: &[&'static str]) -> Option<&'static str> {
    let text = text?;
    let found = known.iter().find(|known| **known == text);
    Some(found.copied().unwrap_or("other"))
}

fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> RecentRequest {
        let mut request = RecentRequest::default();
        request.form(&Directory::demo(), &Form::parse(text.as_bytes()).unwrap());
        request
    }

    #[test]
    fn a_form_leaves_names_and_no_values() {
        let request = of(
            "client_id=5ba00000-0000-4000-8000-000000003000&client_secret=s1&code=s2&code_verifier=s3&claims=s4&state=s5&nonce=s6\
             &grant_type=authorization_code&scope=openid+api%3A%2F%2Fx%2Fy&assertion=s7&password=s8&refresh_token=s9",
        );
        assert_eq!(request.client.as_deref(), Some("spa-backend"));
        assert_eq!(request.grant_type, Some("authorization_code"));
        assert_eq!(request.scopes, ["openid", "api://x/y"]);
        assert!(
            request.claims && request.client_secret && request.pkce && !request.client_assertion
        );
        let text = serde_json::to_string(&request).unwrap();
        for secret in 1..10 {
            assert!(!text.contains(&format!("s{secret}")), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_kept() {
        let request =
            of("client_id=hunter2&grant_type=hunter2&prompt=hunter2&response_mode=hunter2");
        assert_eq!(
            (
                request.client,
                request.grant_type,
                request.prompt,
                request.response_mode
            ),
            (None, Some("other"), Some("other"), Some("other"))
        );
        let id = Uuid::from_u128(9);
        assert_eq!(of(&format!("client_id={id}")).client, Some(id.to_string()));
    }

    #[test]
    fn scopes_and_paths_are_bounded() {
        let many = (0..99).map(|index| format!("s{index}")).collect::<Vec<_>>();
        assert_eq!(
            of(&format!("scope={}", many.join("+"))).scopes.len(),
            MAX_SCOPES
        );
        let (fits, long) = ("a".repeat(MAX_SCOPE), "b".repeat(MAX_SCOPE + 1));
        assert_eq!(of(&format!("scope={fits}+{long}")).scopes, [fits]);
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a\u{e9}", 2), "a");
    }

    #[test]
    fn the_oldest_of_too_many_goes() {
        let recent = Recent::default();
        for time in 0..300 {
            recent.push(RecentRequest {
                time,
                ..RecentRequest::default()
            });
        }
        let all = recent.all();
        assert_eq!((all.len(), all[0].time, all[255].time), (256, 44, 299));
    }

    #[test]
    fn outside_a_request_a_note_is_nothing() {
        note(|_| panic!("there is no request"));
    }
}
