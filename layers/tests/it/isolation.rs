//! No user ever gets another one's token, whatever happens at the same time: a whole middle tier under concurrency.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use futures_util::StreamExt as _;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{
    CallError, CloneBody, Credential, OnBehalfOf, OnBehalfOfExt as _, Principal, Target,
};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Respond, ResponseTemplate};

use crate::campaign::volume;
use crate::support::*;

const USERS: usize = 200;
const CONCURRENT: usize = 64;
const NEXT: &str = "https://next.example";
const SCOPES: [&str; 2] = ["api://next/.default", "api://other/.default"];

/// Issues a token that names the user of the assertion and the scope, and counts what it issued.
#[derive(Clone, Default)]
struct ByAssertion(Arc<Mutex<HashMap<String, usize>>>);

impl Respond for ByAssertion {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let form: HashMap<String, String> = url::form_urlencoded::parse(&request.body)
            .into_owned()
            .collect();
        let payload = form["assertion"].split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&B64.decode(payload).unwrap()).unwrap();
        let token = format!("{}~{}", claims["oid"].as_str().unwrap(), form["scope"]);
        *self.0.lock().unwrap().entry(token.clone()).or_default() += 1;
        issued(&token)
    }
}

/// The next tier answers with the token that it got.
async fn echo(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let token = request.headers()[AUTHORIZATION].to_str().unwrap();
    Ok(Response::new(Body::from(token.replace("Bearer ", ""))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_user_gets_the_token_of_another_and_each_is_asked_for_once() {
    let server = MockServer::start().await;
    let issued = ByAssertion::default();
    let mock = Mock::given(method("POST")).respond_with(issued.clone());
    mock.mount(&server).await;
    let world = World::at(&server.uri());
    let client = world
        .authority
        .client(CLIENT, Credential::secret("hush").unwrap())
        .unwrap();
    let clients = SCOPES.map(|scope| {
        let target = Target::origin(NEXT).unwrap();
        let layer = client.on_behalf_of([scope], target).unwrap();
        layer.replay(CloneBody).wrap(service_fn(echo))
    });
    let middle_tier = ServiceBuilder::new()
        .layer(world.api.protect())
        .service(service_fn(move |request: Request<Body>| {
            let client = clients[usize::from(request.uri().path() == "/other")].clone();
            answer(client, request)
        }));
    let users: Vec<String> = (0..USERS)
        .map(|n| world.token(json!({"oid": format!("user-{n}")})))
        .collect();

    let rounds = volume(100) as usize;
    let mismatches = AtomicUsize::new(0);
    let calls = (0..rounds * USERS * SCOPES.len()).map(|n| {
        // Neighbours in time are different users, and each user is there several times at once.
        let (user, which) = ((n * 7919) % USERS, (n / USERS) % SCOPES.len());
        let request = Request::get(["/", "/other"][which])
            .header(AUTHORIZATION, format!("Bearer {}", users[user]))
            .body(Body::default())
            .unwrap();
        let (service, mismatches) = (middle_tier.clone(), &mismatches);
        async move {
            let response = service.oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            if body != format!("user-{user}~{}", SCOPES[which]) {
                mismatches.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    futures_util::stream::iter(calls)
        .for_each_concurrent(CONCURRENT, |call| call)
        .await;

    assert_eq!(mismatches.load(Ordering::SeqCst), 0);
    let issued = issued.0.lock().unwrap();
    assert_eq!(issued.len(), USERS * SCOPES.len());
    assert!(issued.values().all(|times| *times == 1), "asked for twice");
}

async fn answer<S>(
    client: OnBehalfOf<S, CloneBody>,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible>
where
    OnBehalfOf<S, CloneBody>:
        tower::Service<Request<Body>, Response = Response<Body>, Error = tower_bearer::BoxError>,
{
    let caller = request.extensions().get::<Principal>().unwrap();
    let outgoing = Request::get(format!("{NEXT}/x")).body(Body::default());
    let outgoing = outgoing.unwrap().on_behalf_of(caller);
    let answered = client.oneshot(outgoing).await;
    Ok(answered.unwrap_or_else(|error| CallError::from(error).into_response()))
}
