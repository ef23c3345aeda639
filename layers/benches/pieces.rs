//! What each piece of a request costs, on one thread and without a network.
//!
//! criterion measures each piece by itself. The table at the end is measured again, piece and baseline in turn, so that a machine
//! that changes its pace changes both.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, prints what it measured and fails by panicking"
)]

mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use criterion::Criterion;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::clock::{Clock as _, SystemClock};
use tower_bearer::jwks::{FetchFuture, Fetched, KeySet, KeySource};
use tower_bearer::{
    Algorithm, AuthorityBuilder, CloneBody, Credential, OnBehalfOfExt as _, Principal,
    RequireScopeLayer, Resource, Target, ValidateBearerLayer, jwt,
};

use support::by_hand::ByHand;
use support::key::{ALGORITHMS, Key};
use support::token::{KID, forged, malformed, token, with_kid};
use support::{CLIENT, SCOPE, TENANT};

const ISSUER: &str = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";
/// The next tier of a middle tier.
const NEXT: &str = "https://next.example/";
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(10);

/// Work of one kind; the first of its group is what the others are compared with.
struct Piece {
    name: String,
    goal: &'static str,
    work: Box<dyn FnMut()>,
}

struct Group {
    name: &'static str,
    pieces: Vec<Piece>,
}

impl Group {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            pieces: Vec::new(),
        }
    }

    fn with(
        mut self,
        name: impl Into<String>,
        goal: &'static str,
        work: impl FnMut() + 'static,
    ) -> Self {
        self.pieces.push(Piece {
            name: name.into(),
            goal,
            work: Box::new(work),
        });
        self
    }
}

/// Keys without a network.
struct Published(Value);

impl KeySource for Published {
    fn fetch(&self) -> FetchFuture<'_> {
        let keys = KeySet::from_jwks(self.0.to_string().as_bytes()).unwrap();
        Box::pin(ready(Ok(Fetched::keys(keys))))
    }

    fn supplies_issuer(&self) -> bool {
        true
    }
}

fn resource(jwks: Value) -> Resource {
    let algorithms = [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];
    let authority = AuthorityBuilder::issuer(ISSUER, algorithms).key_source(Published(jwks));
    authority.build().unwrap().resource(CLIENT).unwrap()
}

fn jwks<'a>(key: &Key, kids: impl IntoIterator<Item = &'a str>) -> Value {
    let keys: Vec<Value> = kids.into_iter().map(|kid| key.jwk(kid, ISSUER)).collect();
    json!({ "keys": keys })
}

fn hello(_: Request<()>) -> Ready<Result<Response<String>, Infallible>> {
    ready(Ok(Response::new(String::new())))
}

/// One call of the service per token, in turn.
fn calls<S>(mut service: S, tokens: Vec<HeaderValue>, status: u16) -> impl FnMut() + 'static
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible> + 'static,
{
    let runtime = Handle::current();
    let mut next = 0;
    let mut call = move || {
        let mut request = Request::new(());
        if let Some(token) = tokens.get(next) {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
            next = (next + 1) % tokens.len();
        }
        let mut response = pin!(service.call(request));
        // Nothing here waits, but for the one fetch per cooldown that an unknown key causes.
        let response = match response.as_mut().now_or_never() {
            Some(response) => response,
            None => runtime.block_on(response),
        };
        response.unwrap().status().as_u16()
    };
    // The first one asks for an unknown key, or warms a cache.
    assert_eq!(call(), status);
    move || assert_eq!(black_box(call()), status)
}

fn protected(
    runtime: &Runtime,
    api: &Resource,
) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible> + 'static {
    assert!(runtime.block_on(api.authority().ready()));
    ServiceBuilder::new()
        .layer(api.protect())
        .layer(RequireScopeLayer::new(SCOPE).unwrap())
        .service(service_fn(hello))
}

fn bearer(token: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {token}")).unwrap()
}

/// Each algorithm against the bare signature.
fn verification(key: &Key) -> Group {
    let group = match key.algorithm {
        "RS256" => "cold RS256",
        "PS256" => "cold PS256",
        "ES256" => "cold ES256",
        "ES384" => "cold ES384",
        _ => "cold EdDSA",
    };
    let text = token(key, ISSUER, 0);
    let (message, signature) = text.rsplit_once('.').unwrap();
    let (message, signature) = (message.to_owned(), B64.decode(signature).unwrap());
    let parsed = key.parsed();
    let bare = move || parsed.verify_sig(message.as_bytes(), &signature).unwrap();

    let document = jwks(key, [KID]);
    let keys = KeySet::from_jwks(document.to_string().as_bytes()).unwrap();
    let policy = resource(document.clone()).policy();
    let of_ours = text.clone();
    let ours = move || {
        black_box(jwt::verify(&of_ours, &keys, &policy, SystemClock.now()).unwrap());
    };
    let rsa = key.algorithm == "RS256";
    let group = Group::new(group)
        .with("aws-lc with a parsed key", "", bare)
        .with("jwt::verify", if rsa { "<= 1.20" } else { "" }, ours);
    if !rsa {
        return group;
    }
    let by_hand = ByHand::new(&document, ISSUER);
    group.with("jsonwebtoken by hand", "", move || {
        black_box(by_hand.caller(&text).unwrap().sub);
    })
}

/// The layers in a process, against the handler alone.
fn stack(runtime: &Runtime, key: &Key) -> Group {
    let api = resource(jwks(key, [KID]));
    let tokens: Vec<String> = (0..10_000).map(|n| token(key, ISSUER, n)).collect();
    let first = tokens[0].as_str();
    let unknown = with_kid(first, "another-key");
    let headers = tokens.iter().map(|token| bearer(token)).collect();
    let ours = |tokens, status| calls(protected(runtime, &api), tokens, status);
    // Newer keys are asked for once, here.
    assert!(runtime.block_on(api.verify(&unknown)).is_err());
    Group::new("layers")
        .with(
            "the handler alone",
            "",
            calls(service_fn(hello), vec![bearer(first)], 200),
        )
        .with("same token again", "", ours(vec![bearer(first)], 200))
        .with("10,000 tokens in turn", "", ours(headers, 200))
        .with("no token", "", ours(Vec::new(), 401))
        .with("malformed", "", ours(vec![bearer(&malformed(first))], 401))
        .with(
            "wrong signature",
            "",
            ours(vec![bearer(&forged(first))], 401),
        )
        .with("unknown kid", "", ours(vec![bearer(&unknown)], 401))
}

/// The last ten tokens of many: what has gone before may not show.
fn growth_of_tokens(runtime: &Runtime) -> Group {
    let key = Key::generate("EdDSA");
    let million = std::env::var_os("PIECES_MILLION").is_some();
    let sizes = [10, 1_000, 100_000, 1_000_000];
    let mut group = Group::new("tokens seen before");
    for size in &sizes[..if million { 4 } else { 3 }] {
        let api = resource(jwks(&key, [KID]));
        let mut service = protected(runtime, &api);
        let mut last = Vec::new();
        for number in 0..*size {
            let header = bearer(&token(&key, ISSUER, number));
            if number + 10 >= *size {
                last.push(header.clone());
            }
            let mut request = Request::new(());
            request.headers_mut().insert(AUTHORIZATION, header);
            let answer = service.call(request).now_or_never().unwrap();
            assert_eq!(answer.unwrap().status(), 200);
        }
        group = group.with(size.to_string(), "flat", calls(service, last, 200));
    }
    group
}

/// A middle tier whose next tier answers at once: what each layer adds to a request that it lets through.
fn tier(runtime: &Runtime, key: &Key) -> Group {
    let api = resource(jwks(key, [KID]));
    assert!(runtime.block_on(api.authority().ready()));
    let token = vec![bearer(&token(key, ISSUER, 0))];
    let me = AuthorityBuilder::issuer(ISSUER, [Algorithm::Rs256])
        .key_source(Published(jwks(key, [KID])))
        .token_endpoint(&runtime.block_on(token_endpoint()))
        .dangerous_loopback_http();
    let me = me.build().unwrap();
    let me = me.client(CLIENT, Credential::secret("s").unwrap()).unwrap();
    let target = Target::origin(NEXT).unwrap();
    let layer = me.on_behalf_of(["next/.default"], target).unwrap();

    let bare = service_fn(|request| handler(request, service_fn(hello)));
    let scope = || RequireScopeLayer::new(SCOPE).unwrap();
    let validated = ServiceBuilder::new()
        .layer(ValidateBearerLayer::new(&api))
        .service(bare);
    let checked = ServiceBuilder::new()
        .layer(ValidateBearerLayer::new(&api))
        .layer(scope())
        .service(bare);
    let protected = ServiceBuilder::new()
        .layer(api.protect())
        .layer(scope())
        .service(bare);
    let orders = layer.wrap(service_fn(hello));
    let on_behalf_of = ServiceBuilder::new()
        .layer(api.protect())
        .layer(scope())
        .service(service_fn(move |request| handler(request, orders.clone())));
    let orders = layer.replay(CloneBody).wrap(service_fn(hello));
    let replayable = ServiceBuilder::new()
        .layer(api.protect())
        .layer(scope())
        .service(service_fn(move |request| handler(request, orders.clone())));
    Group::new("a middle tier, same token again")
        .with("handler", "", calls(bare, token.clone(), 200))
        .with(
            "and ValidateBearer",
            "",
            calls(validated, token.clone(), 200),
        )
        .with("and RequireScope", "", calls(checked, token.clone(), 200))
        .with(
            "and PropagateChallenge",
            "",
            calls(protected, token.clone(), 200),
        )
        .with(
            "and OnBehalfOf",
            "",
            calls(on_behalf_of, token.clone(), 200),
        )
        .with("and its CloneBody", "", calls(replayable, token, 200))
}

/// Calls the next tier, for the caller where there is one.
async fn handler<C>(incoming: Request<()>, client: C) -> Result<Response<String>, Infallible>
where
    C: Service<Request<()>, Response = Response<String>, Error: std::fmt::Debug>,
{
    let mut outgoing = Request::get(NEXT).body(()).unwrap();
    if let Some(caller) = incoming.extensions().get::<Principal>() {
        outgoing = outgoing.on_behalf_of(caller);
    }
    Ok(client.oneshot(outgoing).await.unwrap())
}

/// Issues the same token to everybody.
async fn token_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            // The head ends with an empty line, the form with the scope.
            while !seen.ends_with(b".default") {
                seen.push(stream.read_u8().await.unwrap());
            }
            let body = json!({"access_token": "T", "token_type": "Bearer", "expires_in": 86400});
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

/// One key, under many names.
fn growth_of_keys(runtime: &Runtime, key: &Key) -> [Group; 2] {
    let mut cold = Group::new("keys, cold");
    let mut again = Group::new("keys, same token again");
    for size in [1, 20, 200] {
        let others: Vec<String> = (1..size).map(|n| format!("{n:027}")).collect();
        let document = jwks(key, others.iter().map(String::as_str).chain([KID]));
        let keys = KeySet::from_jwks(document.to_string().as_bytes()).unwrap();
        let api = resource(document);
        let policy = api.policy();
        let text = token(key, ISSUER, 0);
        let service = protected(runtime, &api);
        again = again.with(
            size.to_string(),
            "flat",
            calls(service, vec![bearer(&text)], 200),
        );
        cold = cold.with(size.to_string(), "flat", move || {
            black_box(jwt::verify(&text, &keys, &policy, SystemClock.now()).unwrap());
        });
    }
    [cold, again]
}

/// One caller's tenant among others.
fn growth_of_tenants(runtime: &Runtime, key: &Key) -> [Group; 2] {
    let mut cold = Group::new("tenants, cold");
    let mut again = Group::new("tenants, same token again");
    let text = token(key, ISSUER, 0);
    let document =
        json!({"keys": [key.jwk(KID, "https://login.microsoftonline.com/{tenantid}/v2.0")]});
    for size in [1, 100, 1_000] {
        let others = (1..size).map(|n| format!("99999999-2222-3333-4444-{n:012}"));
        let tenants: Vec<String> = others.chain([TENANT.to_owned()]).collect();
        let entra = AuthorityBuilder::entra_tenants(tenants.iter().map(String::as_str))
            .key_source(Published(document.clone()));
        let api = entra.build().unwrap().resource(CLIENT).unwrap();
        let service = protected(runtime, &api);
        again = again.with(
            size.to_string(),
            "flat",
            calls(service, vec![bearer(&text)], 200),
        );
        let (policy, text) = (api.policy(), text.clone());
        let keys = KeySet::from_jwks(document.to_string().as_bytes()).unwrap();
        cold = cold.with(size.to_string(), "flat", move || {
            black_box(jwt::verify(&text, &keys, &policy, SystemClock.now()).unwrap());
        });
    }
    [cold, again]
}

/// Nanoseconds per call of each piece, in every round.
fn rounds(group: &mut Group) -> Vec<Vec<f64>> {
    let time = |work: &mut dyn FnMut(), calls: u32| {
        let start = Instant::now();
        for _ in 0..calls {
            work();
        }
        start.elapsed()
    };
    let calls: Vec<u32> = group
        .pieces
        .iter_mut()
        .map(|piece| {
            let once = time(&mut piece.work, 100) / 100;
            u32::try_from(ROUND.as_nanos() / once.as_nanos().max(1)).unwrap()
        })
        .collect();
    let mut round = || {
        let pieces = group.pieces.iter_mut().zip(&calls);
        pieces
            .map(|(piece, calls)| {
                time(&mut piece.work, *calls).as_secs_f64() * 1e9 / f64::from(*calls)
            })
            .collect()
    };
    (0..ROUNDS).map(|_| round()).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn verdict(ratio: f64, goal: &str) -> &'static str {
    let limit = goal.strip_prefix("<= ").and_then(|goal| goal.parse().ok());
    match limit {
        Some(limit) if ratio <= limit => "met",
        Some::<f64>(_) => "not met",
        None => "",
    }
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let rsa = Key::generate("RS256");
    let mut groups: Vec<Group> = ALGORITHMS
        .into_iter()
        .map(|algorithm| verification(&Key::generate(algorithm)))
        .collect();
    groups.push(stack(&runtime, &rsa));
    groups.push(tier(&runtime, &rsa));
    groups.push(growth_of_tokens(&runtime));
    groups.extend(growth_of_keys(&runtime, &rsa));
    groups.extend(growth_of_tenants(&runtime, &rsa));

    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    for group in &mut groups {
        let mut benchmarks = criterion.benchmark_group(group.name);
        for piece in &mut group.pieces {
            benchmarks.bench_function(&piece.name, |bencher| bencher.iter(&mut piece.work));
        }
        benchmarks.finish();
    }
    criterion.final_summary();

    println!("\n| group | piece | ns | x the group's first | goal | |\n|---|---|---|---|---|---|");
    for group in &mut groups {
        let rounds = rounds(group);
        for (at, piece) in group.pieces.iter().enumerate() {
            let ns = median(rounds.iter().map(|round| round[at]));
            let ratio = median(rounds.iter().map(|round| round[at] / round[0]));
            let (name, goal) = (&piece.name, piece.goal);
            let verdict = verdict(ratio, goal);
            println!(
                "| {} | {name} | {ns:.0} | {ratio:.2} | {goal} | {verdict} |",
                group.name
            );
        }
    }
}
