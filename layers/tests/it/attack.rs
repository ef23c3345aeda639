//! Attacks on the middle tier's tokens: on who gets them, on how often the authority is asked, and on what ends them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use futures_util::future::pending;
use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{
    Algorithm, Authority, AuthorityBuilder, BoxError, ChallengeRequired, CloneBody,
    ConfidentialClient, Credential, LongRunning, OnBehalfOfError, OnBehalfOfErrorKind,
    OnBehalfOfExt as _, Principal, RedisStore, RefusalKind, SealingKeys, SharedTokens, StoreFuture,
    Target, TokenStore,
};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::scripted::{Answer, Scripted, skip};
use crate::support::*;

const NEXT: &str = "https://next.example";
const SCOPE: &str = "api://next/.default";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdeF";
/// When every token of one hour that was issued at `NOW` is due, and none is near its end.
const DUE: u64 = NOW + 3000;
/// When such a token is in its last minute.
const LAST_MINUTE: u64 = NOW + 3570;

fn client(world: &World) -> ConfidentialClient {
    let credential = Credential::secret("hush").unwrap();
    world.authority.client(CLIENT, credential).unwrap()
}

fn user(world: &World, name: &str) -> Principal {
    world.principal(json!({"oid": name, "exp": NOW + 90_000}))
}

fn target() -> Target {
    Target::origin(NEXT).unwrap()
}

fn request() -> Request<Body> {
    let request = Request::get(format!("{NEXT}/x"));
    request.body(Body::default()).unwrap()
}

/// One call to a next tier that takes every token: the token that it got.
async fn send(client: &ConfidentialClient, named: Request<Body>) -> Result<String, BoxError> {
    send_for(client, SCOPE, named).await
}

async fn send_for(
    client: &ConfidentialClient,
    scope: &str,
    named: Request<Body>,
) -> Result<String, BoxError> {
    let next = NextTier::new(&[(200, "")]);
    let tier = next.clone();
    let layer = client.on_behalf_of([scope], target()).unwrap();
    let service = layer.wrap(service_fn(move |request| tier.answer(request)));
    service.oneshot(named).await?;
    Ok(next.bearers().remove(0).replace("Bearer ", ""))
}

async fn call(client: &ConfidentialClient, caller: &Principal) -> Result<String, BoxError> {
    send(client, request().on_behalf_of(caller)).await
}

async fn call_in(client: &ConfidentialClient, session: &LongRunning) -> Result<String, BoxError> {
    send(client, request().in_long_running(session)).await
}

/// What came of a call, in one word.
fn word(outcome: &Result<String, BoxError>) -> String {
    match outcome {
        Ok(token) => token.clone(),
        Err(error) => match (
            error.downcast_ref::<OnBehalfOfError>(),
            ChallengeRequired::find(error.as_ref()),
        ) {
            (Some(error), _) => format!("{:?}", error.kind()),
            (None, Some(demand)) => format!("{:?}", demand.kind()),
            (None, None) => format!("?{error}"),
        },
    }
}

fn refused(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

fn with_refresh_token(token: &str, refresh_token: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "token_type": "Bearer", "access_token": token, "expires_in": 3600, "refresh_token": refresh_token,
    }))
}

/// A store in memory, with faults of its own. Clones are connections to one store.
#[derive(Clone, Default)]
struct Memory(Arc<MemoryInner>);

#[derive(Default)]
struct MemoryInner {
    values: Mutex<HashMap<String, Vec<u8>>>,
    claims: Mutex<HashMap<String, (String, Instant)>>,
    /// Values are not kept: an error to whoever puts them.
    put_fails: AtomicBool,
    /// Is not answered.
    remove_hangs: AtomicBool,
    /// No claim is granted to anybody.
    claims_nothing: AtomicBool,
}

impl Memory {
    fn tokens(&self) -> SharedTokens {
        SharedTokens::new(self.clone(), SealingKeys::new(SECRET).unwrap())
            .timeout(Duration::from_secs(5))
    }

    fn len(&self) -> usize {
        self.0.values.lock().unwrap().len()
    }
}

impl TokenStore for Memory {
    fn get(&self, key: &str) -> StoreFuture<'_, Option<Vec<u8>>> {
        let value = self.0.values.lock().unwrap().get(key).cloned();
        Box::pin(async { Ok(value) })
    }

    fn put(&self, key: &str, value: Vec<u8>, _: Duration) -> StoreFuture<'_, ()> {
        if self.0.put_fails.load(Ordering::SeqCst) {
            return Box::pin(async { Err("the store is read-only".into()) });
        }
        self.0.values.lock().unwrap().insert(key.to_owned(), value);
        Box::pin(async { Ok(()) })
    }

    fn remove(&self, key: &str) -> StoreFuture<'_, ()> {
        if self.0.remove_hangs.load(Ordering::SeqCst) {
            return Box::pin(pending());
        }
        self.0.values.lock().unwrap().remove(key);
        Box::pin(async { Ok(()) })
    }

    fn claim(&self, key: &str, owner: &str, time_to_live: Duration) -> StoreFuture<'_, bool> {
        let mut claims = self.0.claims.lock().unwrap();
        claims.retain(|_, (_, until)| Instant::now() < *until);
        let ours = || (owner.to_owned(), Instant::now() + time_to_live);
        let holder = claims.entry(key.to_owned()).or_insert_with(ours);
        let granted = holder.0 == owner && !self.0.claims_nothing.load(Ordering::SeqCst);
        Box::pin(async move { Ok(granted) })
    }

    fn release(&self, key: &str, owner: &str) -> StoreFuture<'_, ()> {
        let mut claims = self.0.claims.lock().unwrap();
        if claims.get(key).is_some_and(|(holder, _)| holder == owner) {
            claims.remove(key);
        }
        Box::pin(async { Ok(()) })
    }
}

/// An authority that is named by its issuer, and a caller with a token of it.
fn standard(server: &MockServer, clock: &ManualClock) -> (Authority, Principal) {
    let authority = AuthorityBuilder::issuer("https://as.example", [Algorithm::Rs256])
        .token_endpoint(&format!("{}/token", server.uri()))
        .dangerous_loopback_http()
        .clock(clock.clone())
        .key_source(Published)
        .build()
        .unwrap();
    let claims = json!({
        "iss": "https://as.example", "aud": "https://front.example", "sub": "alice", "client_id": "spa",
        "scope": "read", "exp": NOW + 3600, "iat": NOW, "jti": "1",
    });
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "k1"});
    let resource = authority.resource("https://front.example").unwrap();
    let alice = principal_of(&resource, &sign(&header, &claims));
    (authority, alice)
}

// ---- Whose token it is

/// The authority's word on whom a token is for counts, also where its JSON is not quite JSON: who reads it more leniently than
/// we do takes it for Bob's.
#[tokio::test]
async fn a_jwt_whose_payload_cannot_be_read_is_not_taken_for_an_opaque_token() {
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    for (name, payload) in [
        (
            "a duplicate member",
            format!(r#"{{"oid":"bob","tid":"{TENANT}","x":1,"x":2}}"#),
        ),
        (
            "deep members",
            format!(r#"{{"oid":"bob","tid":"{TENANT}","x":{deep}}}"#),
        ),
    ] {
        let header = B64.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let bobs = format!("{header}.{}.c2ln", B64.encode(payload));
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued(&bobs)).await;
        let outcome = call(&client(&world), &user(&world, "alice")).await;
        assert_eq!(word(&outcome), "MalformedAnswer", "{name}");
    }
}

/// A gateway that changes the URI of its caller's request and sends it on: the caller chose `Host`, by which a front of many sites
/// decides whose server gets the token.
#[tokio::test]
async fn a_token_is_not_sent_under_the_name_of_another_host() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = client(&world).on_behalf_of([SCOPE], target()).unwrap();
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&hosts);
    let service = layer.wrap(service_fn(move |request: Request<Body>| {
        let host = request.headers().get("host").cloned();
        seen.lock().unwrap().push(host);
        hello(request)
    }));
    let mut forwarded = request().on_behalf_of(&user(&world, "alice"));
    let evil = "evil.example".parse().unwrap();
    forwarded.headers_mut().insert("host", evil);
    let outcome = service.oneshot(forwarded).await;
    let hosts = hosts.lock().unwrap();
    let own =
        |host: &Option<http::HeaderValue>| host.as_ref().is_none_or(|host| host == "next.example");
    assert!(outcome.is_err() || hosts.iter().all(own), "{hosts:?}");
}

/// RFC 9110 9.3.8: no credentials in a TRACE, whose answer is the request itself. Behind a gateway it would hand the caller the token
/// of the next tier.
#[tokio::test]
async fn a_token_is_not_sent_to_be_echoed() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = client(&world).on_behalf_of([SCOPE], target()).unwrap();
    let next = NextTier::new(&[(200, "")]);
    let tier = next.clone();
    let service = layer.wrap(service_fn(move |request| tier.answer(request)));
    let mut traced = request().on_behalf_of(&user(&world, "alice"));
    *traced.method_mut() = http::Method::TRACE;
    let outcome = service.oneshot(traced).await;
    assert!(outcome.is_err() && next.bearers().is_empty());
}

/// Redis gives what stands under another key: another user's token stays sealed.
#[tokio::test]
async fn values_that_were_swapped_in_the_store_open_for_nobody() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    for name in ["alice", "bob"] {
        endpoint.on_first(1, "jwt-bearer", issued(name)).await;
    }
    endpoint.on("jwt-bearer", issued("again")).await;
    let memory = Memory::default();
    let first = client(&world).shared(memory.tokens());
    let (alice, bob) = (user(&world, "alice"), user(&world, "bob"));
    assert_eq!(call(&first, &alice).await.unwrap(), "alice");
    assert_eq!(call(&first, &bob).await.unwrap(), "bob");
    {
        let mut values = memory.0.values.lock().unwrap();
        let keys: Vec<String> = values.keys().cloned().collect();
        let (one, two) = (values[&keys[0]].clone(), values[&keys[1]].clone());
        values.insert(keys[0].clone(), two);
        values.insert(keys[1].clone(), one);
    }
    let second = client(&world).shared(memory.tokens());
    for caller in [&alice, &bob] {
        assert_eq!(call(&second, caller).await.unwrap(), "again");
    }
}

// ---- How often the authority is asked

/// A user whom the authority throttles (he may get himself throttled, and have as many tokens as he likes) is his own business.
#[tokio::test]
async fn one_user_who_is_throttled_closes_the_authority_to_nobody_else() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on_first(5, "jwt-bearer", ResponseTemplate::new(429))
        .await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let client = client(&world);
    for n in 0..5 {
        let token = world.principal(json!({"oid": "mallory", "jti": n}));
        assert_eq!(word(&call(&client, &token).await), "Throttled");
    }
    assert_eq!(word(&call(&client, &user(&world, "bob")).await), "T");
}

#[tokio::test]
async fn a_token_that_is_to_be_renewed_at_once_is_not_renewed_every_second() {
    for refresh_in in [0, 1] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        let answer = json!({
            "token_type": "Bearer", "access_token": "T", "expires_in": 3600, "refresh_in": refresh_in,
        });
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        endpoint.on("jwt-bearer", answer).await;
        let (client, alice) = (client(&world), user(&world, "alice"));
        for seconds in 0..20 {
            world.clock.set(NOW + seconds * 2);
            call(&client, &alice).await.unwrap();
            // What is renewed in the background has its turns of the runtime.
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
        }
        let asked = endpoint.count().await;
        assert!(asked <= 4, "{asked} token requests in 40 s for one user");
    }
}

#[tokio::test]
async fn an_authority_that_says_with_400_that_it_is_not_there_now_is_left_alone_as_well() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let later = refused(400, json!({"error": "temporarily_unavailable"}));
    let later = later.insert_header("retry-after", "60");
    endpoint.on("jwt-bearer", later).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    for _ in 0..30 {
        assert_eq!(word(&call(&client, &alice).await), "Unavailable");
    }
    let asked = endpoint.count().await;
    assert!(asked <= 5, "{asked} token requests, none of which was due");
}

#[tokio::test]
async fn one_who_is_throttled_begins_no_session_after_session() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let throttled = ResponseTemplate::new(429).insert_header("retry-after", "60");
    endpoint.on("offline_access", throttled).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    for _ in 0..3 {
        let error = client
            .begin_long_running(&alice, [SCOPE])
            .await
            .unwrap_err();
        let error = error.downcast_ref::<OnBehalfOfError>().unwrap();
        assert_eq!(error.kind(), OnBehalfOfErrorKind::Throttled);
    }
    assert_eq!(endpoint.count().await, 1, "within the 60 s asked for");
}

/// Three seconds from the answer on, not from the question: where the answer took as long, they would be over before they began.
#[tokio::test]
async fn the_time_that_a_throttled_user_waits_begins_with_the_answer() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let throttled = ResponseTemplate::new(429).insert_header("retry-after", "3");
    let slow = throttled.set_delay(Duration::from_millis(100));
    endpoint.on_first(1, "jwt-bearer", slow).await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    let meanwhile = async {
        eventually(async || (endpoint.count().await == 1).then_some(())).await;
        skip(Duration::from_secs(3)).await;
    };
    let (first, ()) = tokio::join!(call(&client, &alice), meanwhile);
    assert_eq!(word(&first), "Throttled");
    assert_eq!(word(&call(&client, &alice).await), "Throttled");
    assert_eq!(endpoint.count().await, 1);
}

/// Told apart in bounded memory, nothing is cached, and the next good answer serves.
#[tokio::test]
async fn a_token_endpoint_may_answer_what_it_likes() {
    let good = json!({"token_type": "Bearer", "access_token": "T", "expires_in": 3600});
    let text = |body: String| ResponseTemplate::new(200).set_body_string(body);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        text(body.to_string())
    };
    let twice =
        r#"{"token_type":"Bearer","access_token":"A","access_token":"B","expires_in":3600}"#;
    let bomb = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let padded = format!("{}{good}", " ".repeat(300 * 1024));
    let busy = |wait: &str| ResponseTemplate::new(503).insert_header("retry-after", wait);
    for (name, answer, expected) in [
        ("duplicates", text(twice.to_owned()), "MalformedAnswer"),
        ("deep", text(bomb), "MalformedAnswer"),
        ("long", text(padded), "MalformedAnswer"),
        (
            "redirected",
            ResponseTemplate::new(307).insert_header("location", "/elsewhere"),
            "MalformedAnswer",
        ),
        (
            "compressed",
            with("x", json!(1)).insert_header("content-encoding", "gzip"),
            "T",
        ),
        (
            "header injection",
            with("access_token", json!("T\r\nx-evil: 1")),
            "MalformedAnswer",
        ),
        (
            "lifetime",
            with("expires_in", json!(u64::MAX)),
            "MalformedAnswer",
        ),
        ("refresh_in", with("refresh_in", json!(u64::MAX)), "T"),
        ("refresh_in below 0", with("refresh_in", json!(-1)), "T"),
        ("retry-after", busy(&u64::MAX.to_string()), "Unavailable"),
        ("retry-after below 0", busy("-1"), "Unavailable"),
    ] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        let (client, alice) = (client(&world), user(&world, "alice"));
        endpoint.on_first(1, "jwt-bearer", answer).await;
        endpoint.on("jwt-bearer", issued("healed")).await;
        assert_eq!(word(&call(&client, &alice).await), expected, "{name}");
        assert_eq!(endpoint.count().await, 1, "{name}");
        // A pause that the authority asked for is kept, an hour at most.
        skip(Duration::from_secs(3601)).await;
        let healed = if expected == "T" { "T" } else { "healed" };
        assert_eq!(word(&call(&client, &alice).await), healed, "{name}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_drips_is_given_up_at_the_deadline() {
    let endless = [Answer::drip(), Answer::drip_of_headers(), Answer::hang()];
    for answer in endless {
        let scripted = Scripted::start().await;
        let world = World::at(&scripted.uri());
        let (client, alice) = (client(&world), user(&world, "alice"));
        scripted.keys(answer);
        let meanwhile = async {
            scripted.received(1).await;
            skip(Duration::from_secs(31)).await;
        };
        let (outcome, ()) = tokio::join!(call(&client, &alice), meanwhile);
        assert_eq!(word(&outcome), "Unavailable");
        scripted.abandoned(1).await;
    }
}

// ---- What ends a token

/// Policy blocks the user from now on (AADSTS53003 without claims). That is a no to him as much as a demand is.
#[tokio::test]
async fn a_user_who_is_blocked_at_renewal_is_blocked_with_the_next_request() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("old")).await;
    let blocked = json!({"error": "invalid_grant", "suberror": "message_only"});
    endpoint.on("jwt-bearer", refused(400, blocked)).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    call(&client, &alice).await.unwrap();
    world.clock.set(DUE);
    call(&client, &alice).await.unwrap();
    eventually(async || (endpoint.count().await == 2).then_some(())).await;
    let told = async {
        loop {
            let outcome = call(&client, &alice).await;
            if outcome.is_err() {
                break word(&outcome);
            }
            tokio::task::yield_now().await;
        }
    };
    let told = timeout(Duration::from_secs(1), told).await;
    assert_eq!(
        told.expect("the token is sent on after the authority's no"),
        "Blocked"
    );
}

/// In a token's last minute the authority is asked before it is used, and an old token serves only an authority that cannot
/// answer. Once it has answered no, it has.
#[tokio::test]
async fn an_outage_does_not_bring_back_a_token_after_the_authority_said_no() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("old")).await;
    let revoked = json!({"error": "invalid_grant", "suberror": "bad_token"});
    endpoint
        .on_first(1, "jwt-bearer", refused(400, revoked))
        .await;
    endpoint.on("jwt-bearer", ResponseTemplate::new(503)).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    assert_eq!(word(&call(&client, &alice).await), "old");
    world.clock.set(LAST_MINUTE);
    assert_eq!(word(&call(&client, &alice).await), "InvalidToken");
    assert_eq!(word(&call(&client, &alice).await), "Unavailable");
}

/// The next tier refused it, and the caller was told so. The store may take its time to forget it, but this process knows.
#[tokio::test]
async fn a_refused_token_does_not_come_back_from_a_store_that_is_slow_to_forget() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("refused")).await;
    endpoint.on("jwt-bearer", issued("newer")).await;
    let memory = Memory::default();
    memory.0.remove_hangs.store(true, Ordering::SeqCst);
    let (client, alice) = (
        client(&world).shared(memory.tokens()),
        user(&world, "alice"),
    );
    let next = NextTier::new(&[(401, ""), (200, "")]);
    let tier = next.clone();
    let layer = client.on_behalf_of([SCOPE], target()).unwrap();
    let service = layer.wrap(service_fn(move |request| tier.answer(request)));
    let refuses = service.oneshot(request().on_behalf_of(&alice)).await;
    assert!(refuses.is_err());
    assert_eq!(word(&call(&client, &alice).await), "newer");
}

/// The first process that learns of it replaces the refused token; the others take that one, and do not throw it away for the one
/// that they still have themselves.
#[tokio::test]
async fn a_token_that_is_refused_in_every_process_is_replaced_once() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("refused")).await;
    endpoint.on("jwt-bearer", issued("newer")).await;
    let memory = Memory::default();
    let alice = user(&world, "alice");
    let processes: Vec<_> = (0..5)
        .map(|_| client(&world).shared(memory.tokens()))
        .collect();
    for process in &processes {
        assert_eq!(word(&call(process, &alice).await), "refused");
    }
    for process in &processes {
        let layer = process.on_behalf_of([SCOPE], target()).unwrap();
        let next = service_fn(|request: Request<Body>| {
            let refused = request.headers()["authorization"] == "Bearer refused";
            let mut response = http::Response::new(Body::default());
            if refused {
                *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            }
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        let service = layer.replay(CloneBody).wrap(next);
        let served = service.oneshot(request().on_behalf_of(&alice)).await;
        assert_eq!(served.unwrap().status(), 200);
    }
    assert_eq!(endpoint.count().await, 2, "one for each token");
}

// ---- Whom a demand concerns

/// The authority has a demand of the application itself (Conditional Access for workload identities, a revoked principal). There is
/// nobody to sign in: the user whose request is served would do so again and again.
#[tokio::test]
async fn a_demand_of_the_application_is_not_told_to_a_user() {
    for (name, answer) in [
        ("claims", interaction_required(C1)),
        (
            "revoked",
            refused(
                400,
                json!({"error": "invalid_grant", "suberror": "bad_token"}),
            ),
        ),
        (
            "consent",
            refused(
                400,
                json!({"error": "invalid_grant", "suberror": "consent_required"}),
            ),
        ),
    ] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("client_credentials", answer).await;
        let layer = client(&world).app_only([SCOPE], target()).unwrap();
        let next = NextTier::new(&[(200, "")]);
        let service = layer.wrap(service_fn(move |request| next.answer(request)));
        let error = service.oneshot(request()).await.unwrap_err();
        let told = ChallengeRequired::find(error.as_ref()).map(|demand| demand.kind());
        assert!(
            matches!(told, None | Some(RefusalKind::Forbidden)),
            "{name}: {told:?}"
        );
    }
}

// ---- Long-running sessions

/// One write that the store did not take must not cost the session: the newest refresh token is here, the one in the store is used up.
#[tokio::test]
async fn a_refresh_token_that_the_store_did_not_take_is_not_forgotten_for_a_used_one() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("assertion", with_refresh_token("T0", "R0"))
        .await;
    for n in 0..2 {
        let part = format!("refresh_token=R{n}");
        let answer = with_refresh_token(&format!("T{}", n + 1), &format!("R{}", n + 1));
        endpoint.on_first(1, &part, answer).await;
    }
    let reused = json!({"error": "invalid_grant", "suberror": "bad_token"});
    endpoint.on("refresh_token", refused(400, reused)).await;
    let memory = Memory::default();
    let (client, alice) = (
        client(&world).shared(memory.tokens()),
        user(&world, "alice"),
    );
    let session = client.begin_long_running(&alice, [SCOPE]).await.unwrap();
    memory.0.put_fails.store(true, Ordering::SeqCst);
    world.clock.set(NOW + 7200);
    assert_eq!(word(&call_in(&client, &session).await), "T1");
    memory.0.put_fails.store(false, Ordering::SeqCst);
    skip(Duration::from_secs(60)).await;
    world.clock.set(NOW + 14_400);
    assert_eq!(word(&call_in(&client, &session).await), "T2");
}

/// "Nothing of it is kept": neither its tokens, nor does a clone that somebody still has bring it back.
#[tokio::test]
async fn an_ended_session_leaves_nothing_in_the_store() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("offline_access", with_refresh_token("T0", "R0"))
        .await;
    let memory = Memory::default();
    let client = client(&world).shared(memory.tokens());
    let session = client
        .begin_long_running(&user(&world, "alice"), [SCOPE])
        .await
        .unwrap();
    client.end_long_running(&session).await.unwrap();
    assert_eq!(memory.len(), 0, "a token of the session");
}

#[tokio::test]
async fn an_ended_session_is_not_brought_back_by_a_clone() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("offline_access", with_refresh_token("T0", "R0"))
        .await;
    let memory = Memory::default();
    let client = client(&world).shared(memory.tokens());
    let session = client
        .begin_long_running(&user(&world, "alice"), [SCOPE])
        .await
        .unwrap();
    let (worker, id) = (session.clone(), session.id().to_owned());
    client.end_long_running(&session).await.unwrap();
    assert!(client.resume_long_running(&id).await.unwrap().is_none());
    world.clock.set(NOW + 7200);
    let outcome = call_in(&client, &worker).await;
    let back = client.resume_long_running(&id).await.unwrap().is_some();
    assert!(!back, "it is in the store again; the call: {outcome:?}");
}

/// "`None` if … the session has ended": and it ends when the authority says so.
#[tokio::test]
async fn a_session_that_the_authority_ended_is_not_resumed_and_its_dead_token_not_tried_again() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("assertion", with_refresh_token("T0", "R0"))
        .await;
    let revoked = json!({"error": "invalid_grant", "suberror": "bad_token"});
    endpoint.on("refresh_token", refused(400, revoked)).await;
    let memory = Memory::default();
    let client = client(&world).shared(memory.tokens());
    let session = client
        .begin_long_running(&user(&world, "alice"), [SCOPE])
        .await
        .unwrap();
    world.clock.set(NOW + 7200);
    for _ in 0..3 {
        assert_eq!(word(&call_in(&client, &session).await), "InvalidToken");
    }
    let resumed = client.resume_long_running(session.id()).await.unwrap();
    let asked = endpoint.count().await;
    assert!(
        resumed.is_none() && asked == 2,
        "resumed: {}, {asked} token requests",
        resumed.is_some()
    );
}

/// The session is over, not one of its scopes: "then calls fail".
#[tokio::test]
async fn a_session_that_the_authority_ended_is_over_for_every_scope() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("assertion", with_refresh_token("T0", "R0"))
        .await;
    let revoked = json!({"error": "invalid_grant", "suberror": "bad_token"});
    endpoint.on("refresh_token", refused(400, revoked)).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    let session = client.begin_long_running(&alice, [SCOPE]).await.unwrap();
    let other = request().in_long_running(&session);
    let other = send_for(&client, "api://next/other", other).await;
    assert_eq!(word(&other), "InvalidToken");
    assert_eq!(word(&call_in(&client, &session).await), "InvalidToken");
}

/// RFC 6749 5.2: a refresh token that is expired or revoked is `invalid_grant`, and there is no `suberror` to say more.
#[tokio::test]
async fn the_end_of_a_session_at_an_authority_of_rfc_6749_wants_the_user_too() {
    let server = MockServer::start().await;
    let once = Mock::given(method("POST")).respond_with(with_refresh_token("T0", "R0"));
    once.up_to_n_times(1).mount(&server).await;
    let over = refused(400, json!({"error": "invalid_grant"}));
    let over = Mock::given(method("POST")).respond_with(over);
    over.mount(&server).await;
    let clock = ManualClock::new(NOW);
    let (authority, alice) = standard(&server, &clock);
    let client = authority
        .client("front", Credential::secret("hush").unwrap())
        .unwrap();
    let session = client.begin_long_running(&alice, ["orders"]).await.unwrap();
    clock.set(NOW + 7200);
    let outcome = send_for(&client, "orders", request().in_long_running(&session)).await;
    assert_eq!(word(&outcome), "InvalidToken");
}

/// An authority that takes 20 s, for which its client is told to wait 30 s: the claim on the session must last as long, or a second
/// process uses the same refresh token, and an authority that detects reuse ends the session.
#[tokio::test]
async fn a_slow_authority_does_not_make_two_processes_use_one_refresh_token() {
    let endpoint = TokenEndpoint::start().await;
    endpoint
        .on("assertion", with_refresh_token("T0", "R0"))
        .await;
    let slow = with_refresh_token("T1", "R1").set_delay(Duration::from_secs(3600));
    endpoint.on("refresh_token=R0", slow).await;
    let clock = ManualClock::new(NOW);
    let authority = AuthorityBuilder::entra(TENANT)
        .instance(&endpoint.server.uri())
        .dangerous_loopback_http()
        .clock(clock.clone())
        .key_source(Published)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let world = endpoint.world();
    let memory = Memory::default();
    let process = || {
        let credential = Credential::secret("hush").unwrap();
        let client = authority.client(CLIENT, credential).unwrap();
        client.shared(memory.tokens())
    };
    let (one, two) = (process(), process());
    let begun = one
        .begin_long_running(&user(&world, "alice"), [SCOPE])
        .await
        .unwrap();
    let resumed = two.resume_long_running(begun.id()).await.unwrap().unwrap();
    clock.set(NOW + 7200);
    let first = call_in(&one, &begun);
    // Another scope, so that it is not the same token that both want.
    let second = send_for(
        &two,
        "api://next/other",
        request().in_long_running(&resumed),
    );
    let story = async {
        eventually(async || (endpoint.count().await == 2).then_some(())).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        skip(Duration::from_secs(16)).await;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        endpoint.count().await
    };
    let asked = tokio::select! {
        asked = story => asked,
        outcome = async { tokio::join!(first, second) } => panic!("{outcome:?}"),
    };
    assert_eq!(asked, 2, "R0 was sent twice, 16 s after the first time");
}

// ---- Calls that are given up

/// Dropped after any number of polls, with a token at hand or not, before and after a challenge: permits come back, and the next
/// call is served.
#[tokio::test]
async fn a_call_that_is_given_up_at_any_moment_holds_on_to_nothing() {
    let demands: &'static str = format!("Bearer claims=\"{C1_BASE64}\"").leak();
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("stronger")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let client = client(&world);
    let next = NextTier::new(&[(200, "")]);
    let tier = next.clone();
    let inner = ServiceBuilder::new()
        .concurrency_limit(1)
        .service(service_fn(move |request: Request<Body>| {
            let plain = request.headers()["authorization"] == "Bearer plain";
            let answer = tier.answer(request);
            async move {
                tokio::task::yield_now().await;
                let mut response = answer.await?;
                if plain {
                    *response.status_mut() = http::StatusCode::UNAUTHORIZED;
                    let demands = demands.parse().unwrap();
                    response.headers_mut().insert("www-authenticate", demands);
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        }));
    let layer = client.on_behalf_of([SCOPE], target()).unwrap();
    let service = layer.replay(CloneBody).wrap(inner);
    for polls in 0..60 {
        let caller = user(&world, &format!("user-{polls}"));
        let named = || request().on_behalf_of(&caller);
        let mut given_up = Box::pin(service.clone().oneshot(named()));
        for _ in 0..polls {
            if futures_util::poll!(&mut given_up).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(given_up);
        let served = timeout(Duration::from_secs(10), service.clone().oneshot(named())).await;
        assert_eq!(served.expect("stuck").unwrap().status(), 200, "{polls}");
    }
}

// ---- Stores

/// An operation that was given up leaves neither connection nor task behind.
#[tokio::test]
async fn a_redis_that_never_answers_keeps_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains("GETRANGE") {
                break;
            }
            let commands = text.lines().filter(|line| line.starts_with('*')).count();
            let answers = "+OK\r\n".repeat(commands);
            stream.write_all(answers.as_bytes()).await.unwrap();
        }
        while stream
            .read(&mut buffer)
            .await
            .is_ok_and(|length| length > 0)
        {}
    });
    let store = RedisStore::connect(&url).unwrap();
    let given_up = timeout(Duration::from_millis(200), store.get("k")).await;
    assert!(given_up.is_err());
    let closed = timeout(Duration::from_secs(8), server).await;
    closed
        .expect("the connection is held for an answer that nobody awaits")
        .unwrap();
}

/// A next tier that was taken over asks for other claims each time: it gets neither another user's token nor more than its rounds.
#[tokio::test]
async fn a_next_tier_that_always_wants_something_else_costs_a_bounded_number_of_requests() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let (client, alice) = (client(&world), user(&world, "alice"));
    let mut answers: Vec<(u16, &'static str)> = Vec::new();
    for n in 0..40 {
        let claims = format!(r#"{{"access_token":{{"n":{{"value":"{n}"}}}}}}"#);
        let claims = base64::prelude::BASE64_STANDARD.encode(claims);
        answers.push((401, format!("Bearer claims=\"{claims}\"").leak()));
        answers.push((401, ""));
    }
    let next = NextTier::new(&answers);
    let tier = next.clone();
    let layer = client.on_behalf_of([SCOPE], target()).unwrap();
    let service = layer
        .replay(CloneBody)
        .wrap(service_fn(move |request| tier.answer(request)));
    let outcome = service.oneshot(request().on_behalf_of(&alice)).await;
    assert!(outcome.is_err());
    let (asked, sent) = (endpoint.count().await, next.bearers().len());
    assert!(asked <= 5 && sent <= 5, "{asked} asked, {sent} sent");
}
