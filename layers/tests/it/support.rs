//! A key, tokens signed with it, an authority that publishes it, and a token endpoint to script.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_bearer::clock::ManualClock;
use tower_bearer::jwks::{FetchFuture, Fetched, KeySet, KeySource};
use tower_bearer::{Authority, AuthorityBuilder, Principal, Resource, TokenSource, jwt};
use wiremock::matchers::{body_string_contains, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CLIENT: &str = "22222222-2222-3333-4444-555555555555";
pub(crate) const NOW: u64 = 1_800_000_000;
/// An API's own demand and its base64 form.
pub(crate) const C1: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
pub(crate) const C1_BASE64: &str =
    "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19";

pub(crate) type Body = Full<Bytes>;

static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

pub(crate) fn jwks() -> String {
    let public: RsaPublicKeyComponents<Vec<u8>> = KEY.public_key().into();
    json!({"keys": [{"kty": "RSA", "use": "sig", "kid": "k1", "n": B64.encode(public.n), "e": B64.encode(public.e)}]})
        .to_string()
}

/// Keys without a network.
pub(crate) struct Published;

impl KeySource for Published {
    fn fetch(&self) -> FetchFuture<'_> {
        Box::pin(ready(Ok(Fetched::keys(
            KeySet::from_jwks(jwks().as_bytes()).unwrap(),
        ))))
    }

    fn supplies_issuer(&self) -> bool {
        true
    }
}

/// Published keys, until it is told to answer no more.
#[derive(Clone, Default)]
pub(crate) struct Hanging(Arc<std::sync::atomic::AtomicBool>);

impl Hanging {
    pub(crate) fn hang(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl KeySource for Hanging {
    fn fetch(&self) -> FetchFuture<'_> {
        if self.0.load(std::sync::atomic::Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        Published.fetch()
    }

    fn supplies_issuer(&self) -> bool {
        true
    }
}

/// An authority at `instance` with its API.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) authority: Authority,
    pub(crate) api: Resource,
    instance: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at("http://127.0.0.1:9")
    }

    pub(crate) fn at(instance: &str) -> Self {
        Self::build(instance, Published)
    }

    pub(crate) fn with_source_that_hangs_on_demand() -> (Self, Hanging) {
        let source = Hanging::default();
        (Self::build("http://127.0.0.1:9", source.clone()), source)
    }

    fn build(instance: &str, source: impl KeySource) -> Self {
        let clock = ManualClock::new(NOW);
        let authority = AuthorityBuilder::entra(TENANT)
            .instance(instance)
            .dangerous_loopback_http()
            .clock(clock.clone())
            .key_source(source)
            .build()
            .unwrap();
        let api = authority
            .resource(CLIENT)
            .unwrap()
            .app_id_uri("api://middle")
            .unwrap();
        Self {
            clock,
            authority,
            api,
            instance: instance.to_owned(),
        }
    }

    /// Claims of a user whose client can answer challenges; `changes` replaces members, `null` removes them.
    pub(crate) fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({
            "iss": format!("{}/{TENANT}/v2.0", self.instance), "aud": CLIENT, "tid": TENANT, "ver": "2.0",
            "exp": NOW + 3600, "nbf": NOW, "iat": NOW, "oid": "alice", "sub": "s", "scp": "read", "azp": "spa",
            "xms_cc": ["cp1"],
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    pub(crate) fn token(&self, changes: Value) -> String {
        sign(
            &json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}),
            &self.claims(changes),
        )
    }

    /// A really verified principal.
    pub(crate) fn principal(&self, changes: Value) -> Principal {
        let keys = KeySet::from_jwks(jwks().as_bytes()).unwrap();
        jwt::verify(&self.token(changes), &keys, &self.api.policy(), NOW).unwrap()
    }
}

pub(crate) fn sign(header: &Value, claims: &Value) -> String {
    let message = format!(
        "{}.{}",
        B64.encode(header.to_string()),
        B64.encode(claims.to_string())
    );
    let mut signature = vec![0; KEY.public_modulus_len()];
    KEY.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", B64.encode(signature))
}

pub(crate) fn request(token: &str) -> Request<Body> {
    Request::get("/x")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::default())
        .unwrap()
}

pub(crate) fn challenge<B>(response: &Response<B>) -> &str {
    response
        .headers()
        .get(WWW_AUTHENTICATE)
        .map_or("", |value| value.to_str().unwrap())
}

/// A handler that is reached.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a handler")]
pub(crate) fn hello(request: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
    let name = request
        .extensions()
        .get::<Principal>()
        .and_then(Principal::object_id)
        .unwrap_or("nobody")
        .to_owned();
    ready(Ok(Response::new(Body::from(name))))
}

/// The token endpoint, scripted.
pub(crate) struct TokenEndpoint {
    pub(crate) server: MockServer,
}

impl TokenEndpoint {
    pub(crate) async fn start() -> Self {
        Self {
            server: MockServer::start().await,
        }
    }

    pub(crate) fn world(&self) -> World {
        World::at(&self.server.uri())
    }

    /// The first `times` requests whose body contains `part` are answered so.
    pub(crate) async fn on_first(&self, times: u64, part: &str, answer: ResponseTemplate) {
        let matcher = Mock::given(method("POST")).and(path(format!("/{TENANT}/oauth2/v2.0/token")));
        let mock = matcher.and(body_string_contains(part)).respond_with(answer);
        mock.up_to_n_times(times).mount(&self.server).await;
    }

    /// Requests whose body contains `part` are answered so, first come first served.
    pub(crate) async fn on(&self, part: &str, answer: ResponseTemplate) {
        let matcher = Mock::given(method("POST")).and(path(format!("/{TENANT}/oauth2/v2.0/token")));
        matcher
            .and(body_string_contains(part))
            .respond_with(answer)
            .mount(&self.server)
            .await;
    }

    pub(crate) async fn forms(&self) -> Vec<Vec<(String, String)>> {
        let requests = self.server.received_requests().await.unwrap();
        requests
            .iter()
            .map(|request| {
                url::form_urlencoded::parse(&request.body)
                    .into_owned()
                    .collect()
            })
            .collect()
    }

    pub(crate) async fn count(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }
}

/// A caller whose token is for another API of the same authority.
pub(crate) fn principal_of(resource: &Resource, token: &str) -> Principal {
    let keys = KeySet::from_jwks(jwks().as_bytes()).unwrap();
    jwt::verify(token, &keys, &resource.policy(), NOW).unwrap()
}

/// Repeats `attempt` until it gives something: for what happens in the background, some turns of the runtime from now.
pub(crate) async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    let waited = tokio::time::timeout(patience, found).await;
    waited.expect("it never happens")
}

/// The one value of a field of a form.
pub(crate) fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    let named = form.iter().filter(|(field, _)| field == name);
    let found: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

pub(crate) fn issued(token: &str) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(json!({"token_type": "Bearer", "access_token": token, "expires_in": 3600}))
}

pub(crate) fn interaction_required(claims: &str) -> ResponseTemplate {
    ResponseTemplate::new(400).set_body_json(json!({
        "error": "interaction_required", "suberror": "basic_action", "error_codes": [50076], "claims": claims,
        "error_description": "AADSTS50076: secret sentence of the authority",
    }))
}

/// The next tier: records what it is sent and answers by script, the last answer for ever.
#[derive(Clone)]
pub(crate) struct NextTier {
    state: Arc<std::sync::Mutex<NextTierState>>,
}

struct NextTierState {
    answers: Vec<(u16, &'static str)>,
    seen: Vec<Request<Body>>,
}

impl NextTier {
    /// Status and challenge of each answer in turn.
    pub(crate) fn new(answers: &[(u16, &'static str)]) -> Self {
        let state = NextTierState {
            answers: answers.iter().rev().copied().collect(),
            seen: Vec::new(),
        };
        Self {
            state: Arc::new(std::sync::Mutex::new(state)),
        }
    }

    pub(crate) fn bearers(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let bearer = |request: &Request<Body>| {
            assert_eq!(request.headers().get_all(AUTHORIZATION).iter().count(), 1);
            request.headers()[AUTHORIZATION]
                .to_str()
                .unwrap()
                .to_owned()
        };
        state.seen.iter().map(bearer).collect()
    }

    pub(crate) fn extensions_are_clean(&self) -> bool {
        let state = self.state.lock().unwrap();
        state
            .seen
            .iter()
            .all(|request| match request.extensions().len() {
                1 => request.extensions().get::<TokenSource>().is_some(),
                _ => false,
            })
    }

    /// Where the tokens came from, in order.
    pub(crate) fn sources(&self) -> Vec<TokenSource> {
        let state = self.state.lock().unwrap();
        let source = |request: &Request<Body>| request.extensions().get().copied();
        state
            .seen
            .iter()
            .map(|request| source(request).unwrap())
            .collect()
    }

    pub(crate) fn answer(
        &self,
        request: Request<Body>,
    ) -> Ready<Result<Response<Body>, Infallible>> {
        let mut state = self.state.lock().unwrap();
        state.seen.push(request);
        let (status, challenge) = if state.answers.len() > 1 {
            state.answers.pop().unwrap()
        } else {
            state.answers[0]
        };
        let mut response = Response::builder().status(status);
        if !challenge.is_empty() {
            response = response.header(WWW_AUTHENTICATE, challenge);
        }
        ready(Ok(response
            .header("set-cookie", "downstream=1")
            .body(Body::default())
            .unwrap()))
    }
}
