//! What is counted: each decision once, by its kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Request;
use http::header::AUTHORIZATION;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{
    CallError, CloneBody, Credential, OnBehalfOfExt as _, Principal, RequireScopeLayer, Target,
};
use wiremock::ResponseTemplate;

use crate::scripted::{Scripted, call as call_protected, protected};
use crate::support::*;

const NEXT: &str = "https://next.example";

/// Names with their labels, and the sum of what was recorded under them.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, f64>>>);

struct One(Recorded, String);

impl Recorded {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(One(self.clone(), name))
    }

    fn get(&self, name: &str) -> f64 {
        let recorded = self.0.lock().unwrap();
        recorded.get(name).copied().unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

impl One {
    fn add(&self, value: f64) {
        let mut recorded = self.0.0.lock().unwrap();
        *recorded.entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).unwrap()));
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.add(value + 1.0);
    }
}

impl HistogramFn for One {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

#[tokio::test]
async fn a_middle_tier_counts_requests_tokens_and_challenges() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "acrs", issued("for-c1")).await;
    endpoint.on("acrs", interaction_required(C1)).await;
    endpoint.on_first(1, "jwt-bearer", issued("plain")).await;
    endpoint.on("jwt-bearer", ResponseTemplate::new(503)).await;
    let client = world
        .authority
        .client(CLIENT, Credential::secret("hush").unwrap())
        .unwrap();
    let demands: &'static str = format!("Bearer claims=\"{C1_BASE64}\"").leak();
    let next = NextTier::new(&[
        (200, ""),
        (401, demands),
        (200, ""),
        (401, demands),
        (200, ""),
    ]);
    let orders = client
        .on_behalf_of(["api://next/.default"], Target::origin(NEXT).unwrap())
        .unwrap()
        .replay(CloneBody)
        .wrap(service_fn(move |request| next.answer(request)));
    let service = ServiceBuilder::new()
        .layer(world.api.protect())
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(service_fn(move |request: Request<Body>| {
            let orders = orders.clone();
            async move {
                let caller = request.extensions().get::<Principal>().unwrap();
                let outgoing = Request::get(format!("{NEXT}/x")).body(Body::default());
                let outgoing = outgoing.unwrap().on_behalf_of(caller);
                let answer = orders.oneshot(outgoing).await;
                Ok::<_, std::convert::Infallible>(
                    answer.unwrap_or_else(|error| CallError::from(error).into_response()),
                )
            }
        }));
    let good = world.token(json!({}));
    let other = world.token(json!({"oid": "bob"}));
    let unscoped = world.token(json!({"scp": "other"}));
    for (token, status) in [
        (&good, 200),
        (&good, 200),
        (&good, 401),
        (&other, 503),
        (&unscoped, 403),
        (&"x".to_owned(), 401),
    ] {
        let response = service.clone().oneshot(request(token)).await.unwrap();
        assert_eq!(response.status(), status);
    }
    let bare = Request::get("/x").body(Body::default()).unwrap();
    assert!(bare.headers().get(AUTHORIZATION).is_none());
    service.oneshot(bare).await.unwrap();

    for (name, count) in [
        ("tower_bearer_requests_total{outcome=accepted}", 5.0),
        ("tower_bearer_requests_total{outcome=invalid_token}", 1.0),
        ("tower_bearer_requests_total{outcome=missing_token}", 1.0),
        (
            "tower_bearer_challenges_total{direction=originated,kind=insufficient_scope}",
            1.0,
        ),
        (
            "tower_bearer_challenges_total{direction=answered,kind=insufficient_claims}",
            1.0,
        ),
        (
            "tower_bearer_challenges_total{direction=relayed,kind=insufficient_claims}",
            1.0,
        ),
        ("tower_bearer_tokens_total{from=memory}", 2.0),
        ("tower_bearer_tokens_total{from=authority}", 2.0),
        (
            "tower_bearer_token_requests_total{grant=on_behalf_of,outcome=issued}",
            2.0,
        ),
        (
            "tower_bearer_token_requests_total{grant=on_behalf_of,outcome=challenge}",
            1.0,
        ),
        (
            "tower_bearer_token_requests_total{grant=on_behalf_of,outcome=unavailable}",
            1.0,
        ),
        (
            "tower_bearer_token_request_seconds{grant=on_behalf_of}",
            4.0,
        ),
    ] {
        let recorded_so = recorded.get(name);
        assert!(
            (recorded_so - count).abs() < f64::EPSILON,
            "{name}: {recorded_so} in {:?}",
            recorded.names()
        );
    }
    for name in recorded.names() {
        for secret in ["alice", "bob", "plain", "c1", "hush"] {
            assert!(!name.contains(secret), "{name}");
        }
    }
}

#[tokio::test]
async fn keys_have_an_age_and_their_fetches_are_counted() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let scripted = Scripted::start().await;
    let service = protected(&scripted.authority());
    let response = call_protected(&service, &scripted.token("k1")).await;
    assert_eq!(response.status(), 200);
    let issuer = format!("{}/{TENANT}/v2.0", scripted.uri());
    for (name, least) in [
        (
            format!("tower_bearer_key_fetches_total{{issuer={issuer},outcome=fetched}}"),
            1.0,
        ),
        (
            format!("tower_bearer_keys_age_seconds{{issuer={issuer}}}"),
            1.0,
        ),
    ] {
        assert!(recorded.get(&name) >= least, "{:?}", recorded.names());
    }
}
