//! What the tests of this module share: an authority and a middle tier that do as they are told, and a browser without a window.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::body::{Body, to_bytes};
use axum::extract::{Form, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tower_bearer::clock::{Clock, SystemClock};
use url::Url;

use crate::config::{AuthorityConfig, ResponseMode, SpaBackendConfig};
use crate::random;
use crate::trust::Trust;

pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const CLIENT: &str = "33333333-0000-0000-0000-000000000003";

/// A configuration as the demo ships it.
pub(super) fn config(authority: &str, middle_tier: &str) -> SpaBackendConfig {
    SpaBackendConfig {
        listen: "localhost:3000".into(),
        base_url: "http://localhost:3000".parse().unwrap(),
        authority: AuthorityConfig {
            instance: authority.parse().unwrap(),
            tenant: TENANT.into(),
        },
        client_id: CLIENT.into(),
        client_secret: Some("test-secret".into()),
        client_certificate: None,
        response_mode: ResponseMode::Query,
        id_token_hint: false,
        scope: "api://middle/user_impersonation".into(),
        middle_tier: middle_tier.parse().unwrap(),
        insecure_cookies: false,
        tls: None,
        trusted_proxies: Default::default(),
        msal: None,
        trust: Trust::default(),
        flow_events: false,
        flow_sources: Vec::new(),
        sessions: None,
    }
}

/// Everything that one story needs.
pub(super) struct Stage {
    pub(super) authority: Arc<AuthorityDouble>,
    pub(super) middle_tier: Arc<MiddleTierDouble>,
    pub(super) router: Router,
    pub(super) config: SpaBackendConfig,
}

/// Issues what it is asked for; a code says for whom: `<user>.<nonce>.<code challenge>`.
#[derive(Default)]
pub(super) struct AuthorityDouble {
    pub(super) url: String,
    /// Forms that the token endpoint was sent.
    pub(super) forms: Mutex<Vec<BTreeMap<String, String>>>,
    /// Answers of the token endpoint that are given first.
    pub(super) refusals: Mutex<VecDeque<(StatusCode, Value)>>,
    /// `expires_in` of the next answers, an hour when empty.
    pub(super) lifetimes: Mutex<VecDeque<u64>>,
    /// Sign ID tokens with a key that is not published.
    pub(super) forge: Mutex<bool>,
    /// Refuse to hand out metadata and keys.
    pub(super) away: Mutex<bool>,
    /// Holds refreshes up until it is opened.
    pub(super) gate: Mutex<Option<Arc<Semaphore>>>,
    /// Holds codes up until it is opened.
    pub(super) code_gate: Mutex<Option<Arc<Semaphore>>>,
    /// How often metadata were asked for.
    pub(super) looked_up: Mutex<usize>,
}

/// Answers as scripted, then with 200.
#[derive(Default)]
pub(super) struct MiddleTierDouble {
    pub(super) seen: Mutex<Vec<(Method, String, HeaderMap, Bytes)>>,
    pub(super) answers: Mutex<VecDeque<Response>>,
}

/// A browser: it keeps cookies, and sends what the page's script would.
pub(super) struct Browser {
    router: Router,
    pub(super) cookies: BTreeMap<String, String>,
    /// Set-Cookie lines of the last answer.
    pub(super) set_cookies: Vec<String>,
    pub(super) account: String,
    pub(super) session_token: String,
}

pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let (listener, address) = listen().await;
        let authority = Arc::new(AuthorityDouble {
            url: format!("http://{address}"),
            ..AuthorityDouble::default()
        });
        serve(listener, authority.clone().router());
        let (listener, address) = listen().await;
        let middle_tier = Arc::new(MiddleTierDouble::default());
        serve(
            listener,
            Router::new()
                .fallback(answer)
                .with_state(Arc::clone(&middle_tier)),
        );
        let config = config(&authority.url, &format!("http://{address}"));
        let router = super::router(&config).unwrap();
        Self {
            authority,
            middle_tier,
            router,
            config,
        }
    }

    /// Another instance of the service, with another configuration.
    pub(super) fn instance(&self, change: impl FnOnce(&mut SpaBackendConfig)) -> Router {
        let mut config = self.config.clone();
        change(&mut config);
        super::router(&config).unwrap()
    }

    pub(super) fn browser(&self) -> Browser {
        self.browser_of(self.router.clone())
    }

    /// A browser for another instance of the service.
    pub(super) fn browser_of(&self, router: Router) -> Browser {
        let [account, session_token] = [String::new(), String::new()];
        Browser {
            router,
            cookies: BTreeMap::new(),
            set_cookies: Vec::new(),
            account,
            session_token,
        }
    }

    /// A browser in which `user` is signed in.
    pub(super) async fn signed_in(&self, user: &str) -> Browser {
        self.signed_in_at(&self.router, user).await
    }

    /// The same at another instance of the service.
    pub(super) async fn signed_in_at(&self, instance: &Router, user: &str) -> Browser {
        let mut browser = self.browser_of(instance.clone());
        let landed = browser.sign_in("/auth/sign-in", user).await;
        assert_eq!(landed.location(), "/", "{}", landed.text);
        browser.draw_page().await;
        browser
    }
}

impl AuthorityDouble {
    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route(
                &format!("/{TENANT}/v2.0/.well-known/openid-configuration"),
                get(metadata),
            )
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(self)
    }

    fn is_here(&self) -> Result<(), StatusCode> {
        let away = *self.away.lock().unwrap();
        if away {
            Err(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            Ok(())
        }
    }

    /// Makes the token endpoint refuse the next request.
    pub(super) fn refuse(&self, status: u16, body: Value) {
        self.refusals
            .lock()
            .unwrap()
            .push_back((StatusCode::from_u16(status).unwrap(), body));
    }

    pub(super) fn token_requests(&self, grant: &str) -> usize {
        self.forms
            .lock()
            .unwrap()
            .iter()
            .filter(|form| form["grant_type"] == grant)
            .count()
    }
}

impl MiddleTierDouble {
    /// Makes the next answer a challenge (or any refusal with this `WWW-Authenticate`).
    pub(super) fn challenge(&self, status: u16, header: &str) {
        let response = (
            StatusCode::from_u16(status).unwrap(),
            [("www-authenticate", header.to_owned())],
            "",
        )
            .into_response();
        self.answers.lock().unwrap().push_back(response);
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Browser {
    /// The balancer sends the next requests to this instance.
    pub(super) fn at(&mut self, instance: &Router) -> &mut Self {
        self.router = instance.clone();
        self
    }

    /// Another tab of the same browser, with the same page.
    pub(super) fn tab(&self) -> Self {
        Self {
            router: self.router.clone(),
            cookies: self.cookies.clone(),
            set_cookies: Vec::new(),
            account: self.account.clone(),
            session_token: self.session_token.clone(),
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, &[], "").await
    }

    /// What the page's script sends.
    pub(super) async fn fetch(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> Page {
        let [token, account] = [self.session_token.clone(), self.account.clone()];
        self.send(
            method,
            path,
            &[
                ("sec-fetch-site", "same-origin"),
                ("x-session-token", &token),
                ("x-account", &account),
            ],
            body,
        )
        .await
    }

    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Page {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(HOST, "localhost:3000");
        }
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        self.set_cookies = parts
            .headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|line| line.to_str().unwrap().to_owned())
            .collect();
        for line in &self.set_cookies {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            // As browsers do: a `__Host-` cookie without `Secure` is not touched.
            if name.starts_with("__Host-") && !line.contains("; Secure") {
                continue;
            }
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Page {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    /// Goes to the authority by this path and comes back as `user`; answers the callback's page.
    pub(super) async fn sign_in(&mut self, path: &str, user: &str) -> Page {
        let sent = self.get(path).await;
        let callback = come_back(&sent.url(), user);
        self.get(&callback).await
    }

    /// Reads the page's account and header token, as its script does.
    pub(super) async fn draw_page(&mut self) -> Value {
        let session = self.get("/session").await.json();
        let text = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
        (self.account, self.session_token) = (text("account"), text("session_token"));
        session
    }
}

impl Page {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    pub(super) fn location(&self) -> &str {
        self.headers
            .get(LOCATION)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// Where the browser is sent, as an absolute URL.
    pub(super) fn url(&self) -> Url {
        self.location()
            .parse()
            .unwrap_or_else(|_| panic!("no redirect: {} {}", self.status, self.text))
    }

    /// The `error` of a problem.
    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The `go` of a problem.
    pub(super) fn go(&self) -> String {
        self.json()["go"].as_str().unwrap_or_default().to_owned()
    }
}

/// The callback's address after `user` has satisfied an authorization request.
pub(super) fn come_back(request: &Url, user: &str) -> String {
    let code = [
        user,
        &param(request, "nonce"),
        &param(request, "code_challenge"),
    ]
    .join(".");
    format!(
        "/auth/callback?state={}&code={code}",
        param(request, "state")
    )
}

/// One parameter of an address.
pub(super) fn param(address: &Url, name: &str) -> String {
    address
        .query_pairs()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

async fn metadata(
    State(authority): State<Arc<AuthorityDouble>>,
) -> Result<Json<Value>, StatusCode> {
    let url = &authority.url;
    *authority.looked_up.lock().unwrap() += 1;
    authority.is_here()?;
    Ok(Json(json!({
        "issuer": format!("{url}/{TENANT}/v2.0"),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"),
        "end_session_endpoint": format!("{url}/logout"),
    })))
}

async fn keys(State(authority): State<Arc<AuthorityDouble>>) -> Result<Json<Value>, StatusCode> {
    authority.is_here()?;
    Ok(Json(json!({ "keys": [jwk(published_key(), "k1")] })))
}

async fn token(
    State(authority): State<Arc<AuthorityDouble>>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let number = {
        let mut forms = authority.forms.lock().unwrap();
        forms.push(form.clone());
        forms.len()
    };
    let gate = match form["grant_type"].as_str() {
        "refresh_token" => &authority.gate,
        _ => &authority.code_gate,
    };
    let gate = gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        let _ = gate.acquire().await.unwrap();
    }
    if let Some(refusal) = authority.refusals.lock().unwrap().pop_front() {
        return refusal.into_response_json();
    }
    let expires_in = authority
        .lifetimes
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or(3600);
    let mut answer = json!({
        "token_type": "Bearer",
        "access_token": format!("access-token-{number}"),
        "refresh_token": format!("refresh-token-{number}"),
        "expires_in": expires_in,
    });
    if form["grant_type"] == "authorization_code" {
        let [user, nonce, challenge]: [&str; 3] = form["code"]
            .split('.')
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert_eq!(random::sha256(&form["code_verifier"]), challenge, "PKCE");
        let key = if *authority.forge.lock().unwrap() {
            Arc::new(KeyPair::generate(KeySize::Rsa2048).unwrap())
        } else {
            published_key().clone()
        };
        answer["id_token"] = sign(&key, &id_token(&authority.url, user, nonce)).into();
    }
    Json(answer).into_response()
}

trait IntoResponseJson {
    fn into_response_json(self) -> Response;
}

impl IntoResponseJson for (StatusCode, Value) {
    fn into_response_json(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

async fn answer(State(middle_tier): State<Arc<MiddleTierDouble>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    middle_tier.seen.lock().unwrap().push((
        parts.method,
        parts.uri.to_string(),
        parts.headers,
        body,
    ));
    let scripted = middle_tier.answers.lock().unwrap().pop_front();
    scripted.unwrap_or_else(|| {
        (
            [("set-cookie", "evil=1"), ("x-secret", "1")],
            Json(json!({ "name": "Alice" })),
        )
            .into_response()
    })
}

fn id_token(authority: &str, user: &str, nonce: &str) -> Value {
    let now = SystemClock.now();
    json!({
        "iss": format!("{authority}/{TENANT}/v2.0"), "aud": CLIENT, "sub": format!("sub-{user}"), "iat": now, "nbf": now, "exp": now + 3600,
        "nonce": nonce, "tid": TENANT, "oid": format!("oid-{user}"), "name": user, "preferred_username": format!("{user}@contoso.example"),
    })
}

fn sign(key: &Arc<KeyPair>, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!(
        "{}.{}",
        part(&json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" })),
        part(claims)
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn jwk(key: &KeyPair, kid: &str) -> Value {
    // DER of RFC 8017 A.1.1 for 2048 bits: nine bytes of framing, the modulus, two of framing, the exponent 65537.
    let der = key.public_key().as_ref().to_vec();
    let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let (modulus, exponent) = (&der[9..265], &der[267..]);
    json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": number(modulus), "e": number(exponent) })
}

fn published_key() -> &'static Arc<KeyPair> {
    static KEY: OnceLock<Arc<KeyPair>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(KeyPair::generate(KeySize::Rsa2048).unwrap()))
}

async fn listen() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn serve(listener: tokio::net::TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await });
}
