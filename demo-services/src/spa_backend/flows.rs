//! The flows of a session, and what happened in them: here, and at the tiers behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use reqwest::Client;
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::App;
use super::demand::Demand;
use super::flow::Flow;
use super::guard::Caller;
use super::problem::Problem;
use super::settings::{ConfigError, Settings};
use crate::flow_events::{
    EVENTS, Event, FLOWS, FlowEvents, Kind, LIFETIME, Lane, Protocol, SignInReason, Trail,
    claims_of, now,
};
use crate::outbound;

/// Flows of one session; beyond it the oldest is no longer its own, and its events are dropped, so that no session takes the place of
/// many others' events here.
const OF_SESSION: usize = FLOWS / 10;
/// Sessions that have flows; beyond it the one that began none for longest has none.
const SESSIONS: u64 = 2_000;
/// The longest that another tier is waited for: the picture shows what the others have.
const TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: usize = 1024 * 1024;

/// Which session has which flows, and where their events are.
pub(super) struct Flows {
    events: FlowEvents,
    sources: Vec<Url>,
    http: Client,
    owned: Cache<String, Arc<Mutex<VecDeque<Owned>>>>,
}

#[derive(Clone, Copy)]
struct Owned {
    flow: Flow,
    /// Microseconds since the epoch.
    started: u64,
    since: Instant,
}

/// What the page asked of this service.
pub(super) struct Asked {
    method: Method,
    url: String,
}

/// The return from the authority, in the flow of the operation for which the person went there.
pub(super) struct Back {
    trail: Trail,
    arrived: u64,
}

#[derive(Deserialize)]
struct Told {
    events: Vec<Value>,
}

/// `POST /flows`: a new flow of the session.
pub(super) async fn begin(State(app): State<Arc<App>>, caller: Caller) -> Response {
    let flow = app.flows.own(&caller.seat.id, Flow::new());
    (StatusCode::CREATED, Json(json!({ "flow": flow.id() }))).into_response()
}

/// `GET /flows/{id}`: what happened in a flow of the session.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    // Not UTF-8 or not a UUID: no flow is called so.
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    let owned = id.and_then(|id| app.flows.find(&caller.seat.id, id));
    let owned = owned.ok_or_else(|| {
        let detail = "This session has no such flow, or not any more.";
        Problem::new(StatusCode::NOT_FOUND, "flow_unknown", detail)
    })?;
    Ok(Json(app.flows.joined(owned).await).into_response())
}

impl Flows {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            events: FlowEvents::new(Lane::SpaBackend, settings.flow_events),
            sources: settings.flow_sources.clone(),
            http: settings
                .trust
                .http(Client::builder())
                .redirect(Policy::none())
                .no_proxy()
                .timeout(TIMEOUT)
                .build()?,
            owned: Cache::builder()
                .max_capacity(SESSIONS)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(LIFETIME)
                .build(),
        })
    }

    pub(super) fn is_on(&self) -> bool {
        self.events.is_on()
    }

    /// The flow that `X-Flow` names, if it is this session's, else `fresh` as one more of its flows.
    pub(super) fn go_on(&self, seat: &str, fresh: Flow, headers: &HeaderMap) -> Flow {
        let mut named = headers.get_all("x-flow").iter();
        let named = match (named.next(), named.next()) {
            (Some(id), None) => Uuid::try_parse_ascii(id.as_bytes()).ok(),
            _ => None,
        };
        let known = named.and_then(|id| self.find(seat, id));
        known.map_or_else(|| self.own(seat, fresh), |owned| owned.flow)
    }

    /// The flow of an operation that this session has kept.
    pub(super) fn resume(&self, seat: &str, fresh: Flow, kept: Option<Uuid>) -> Flow {
        let flow = kept.filter(|_| self.is_on()).map_or(fresh, Flow::of);
        match self.find(seat, flow.uuid()) {
            Some(owned) => owned.flow,
            None => self.own(seat, flow),
        }
    }

    /// Records the page's call and its answer around whatever answers it.
    pub(super) async fn watch(
        &self,
        flow: Flow,
        asked: Asked,
        answer: impl Future<Output = Response>,
    ) -> Response {
        let trail = self.events.trail(flow.uuid());
        trail.record(Kind::Call {
            from: Lane::Browser,
            to: Lane::SpaBackend,
            method: asked.method.to_string(),
            url: asked.url,
            protocol: Protocol::Http,
            attempt: 1,
            token_source: None,
        });
        let began = Instant::now();
        let mut response = trail.clone().within(answer).await;
        trail.record(Kind::Answer {
            from: Lane::SpaBackend,
            to: Lane::Browser,
            status: response.status().as_u16(),
            grpc_status: None,
            challenge: None,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        response.extensions_mut().insert(flow);
        response
    }

    /// The browser goes to the authority for an operation of this flow.
    pub(super) fn sign_in(&self, flow: Option<Uuid>, demand: &Demand) {
        let (claims, reason) = match demand {
            Demand::Claims(claims) => (claims_of(claims), SignInReason::StepUp),
            Demand::Authentication(_) => (None, SignInReason::StepUp),
            Demand::Consent => (None, SignInReason::Consent),
            Demand::SignIn => (None, SignInReason::SignIn),
        };
        self.trail(flow).record(Kind::SignIn {
            from: Lane::Browser,
            to: Lane::Authority,
            claims,
            reason,
        });
    }

    /// It comes back.
    pub(super) fn back(&self, flow: Option<Uuid>) -> Back {
        Back {
            trail: self.trail(flow),
            arrived: now(),
        }
    }

    fn trail(&self, flow: Option<Uuid>) -> Trail {
        flow.map_or_else(Trail::none, |flow| self.events.trail(flow))
    }

    /// Makes a flow one of this session's.
    fn own(&self, seat: &str, flow: Flow) -> Flow {
        if self.is_on() {
            let owned = self.owned.get_with_by_ref(seat, Arc::default);
            let mut owned = lock(&owned);
            if owned.len() >= OF_SESSION
                && let Some(oldest) = owned.pop_front()
            {
                self.events.forget(oldest.flow.uuid());
            }
            owned.push_back(Owned {
                flow,
                started: now(),
                since: Instant::now(),
            });
        }
        flow
    }

    fn find(&self, seat: &str, id: Uuid) -> Option<Owned> {
        let owned = self.owned.get(seat)?;
        let mut owned = lock(&owned);
        owned.retain(|owned| owned.since.elapsed() < LIFETIME);
        owned.iter().find(|owned| owned.flow.uuid() == id).copied()
    }

    async fn joined(&self, owned: Owned) -> Value {
        let id = owned.flow.uuid();
        let others = self.sources.iter().map(|source| self.ask(source, id));
        let others = join_all(others).await;
        let mut events = self.events.of(id);
        events.extend(others.into_iter().flatten());
        events.sort_by_key(|event| event.at);
        let asked = |event: &&Event| {
            matches!(
                event.kind,
                Kind::TokenRequest {
                    provisional: false,
                    ..
                }
            )
        };
        let token_requests = events.iter().filter(asked).count();
        let millis = |micros: u64| micros / 1000;
        let events: Vec<Value> = events
            .into_iter()
            .filter_map(|event| {
                let at = millis(event.at.saturating_sub(owned.started));
                let mut event = serde_json::to_value(event).ok()?;
                event.as_object_mut()?.insert("at".into(), at.into());
                Some(event)
            })
            .collect();
        json!({
            "flow": owned.flow.id(),
            "started": millis(owned.started),
            "token_requests": token_requests,
            "events": events,
        })
    }

    /// What another tier has; nothing if it does not answer.
    async fn ask(&self, source: &Url, id: Uuid) -> Vec<Event> {
        let address = format!("{}/flow/{id}", source.as_str().trim_end_matches('/'));
        let told = async {
            let answer = self.http.get(address).send().await.ok()?;
            let answer = answer.error_for_status().ok()?;
            let body = outbound::read(answer, ANSWER_LIMIT).await.ok()?;
            serde_json::from_slice::<Told>(&body).ok()
        };
        let events = told.await.map(|told| told.events).unwrap_or_default();
        let events = events.into_iter().take(EVENTS);
        events
            .filter_map(|event| serde_json::from_value(event).ok())
            .collect()
    }
}

impl Asked {
    pub(super) fn new(app: &App, method: &Method, path: &str) -> Self {
        Self {
            method: method.clone(),
            url: app.settings.absolute(path),
        }
    }
}

impl Back {
    /// Makes the flow the current one of everything that `future` does.
    pub(super) async fn within<F: Future>(&self, future: F) -> F::Output {
        self.trail.clone().within(future).await
    }

    /// The person who came back is the right one, with the right tokens.
    pub(super) fn signed_in(&self) {
        let kind = Kind::SignedIn {
            from: Lane::Authority,
            to: Lane::Browser,
        };
        self.trail.record_at(self.arrived, kind);
    }
}

fn lock(owned: &Mutex<VecDeque<Owned>>) -> MutexGuard<'_, VecDeque<Owned>> {
    owned.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa_backend::doubles::config;

    fn flows(on: bool) -> Flows {
        let mut config = config("http://localhost:8080", "http://localhost:5000");
        config.flow_events = on;
        Flows::new(&Settings::new(&config).unwrap()).unwrap()
    }

    fn named(flow: Flow) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("x-flow"),
            flow.id().parse().unwrap(),
        )])
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_names_its_own_flows_only() {
        let flows = flows(true);
        let alices = flows.own("alice", Flow::new());
        let fresh = Flow::new();
        assert_eq!(flows.go_on("alice", fresh, &named(alices)), alices);
        assert_eq!(flows.go_on("bob", fresh, &named(alices)), fresh);
        assert_eq!(flows.go_on("bob", Flow::new(), &named(fresh)), fresh);
        assert_eq!(flows.go_on("alice", fresh, &HeaderMap::new()), fresh);
        let mut twice = named(alices);
        twice.append("x-flow", alices.id().parse().unwrap());
        assert_eq!(flows.go_on("alice", fresh, &twice), fresh);
        assert!(flows.find("bob", alices.uuid()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_has_its_last_flows_for_a_while() {
        let flows = flows(true);
        let first = flows.own("alice", Flow::new());
        let second = flows.own("alice", Flow::new());
        for _ in 2..=OF_SESSION {
            flows.own("alice", Flow::new());
        }
        assert!(flows.find("alice", first.uuid()).is_none());
        assert!(flows.find("alice", second.uuid()).is_some());
        tokio::time::advance(LIFETIME).await;
        assert!(flows.find("alice", second.uuid()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_of_one_session_leave_the_events_of_others() {
        let flows = flows(true);
        let alices = flows.own("alice", Flow::new());
        flows.sign_in(Some(alices.uuid()), &Demand::SignIn);
        let bobs: Vec<_> = (0..2 * FLOWS)
            .map(|_| {
                let flow = flows.own("bob", Flow::new());
                flows.sign_in(Some(flow.uuid()), &Demand::SignIn);
                flow.uuid()
            })
            .collect();
        assert_eq!(flows.events.of(alices.uuid()).len(), 1);
        let kept = bobs.iter().filter(|id| !flows.events.of(**id).is_empty());
        assert_eq!(kept.count(), OF_SESSION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_operation_goes_on_under_its_flow() {
        let (flows, kept, fresh) = (flows(true), Uuid::new_v4(), Flow::new());
        assert_eq!(flows.resume("alice", fresh, Some(kept)).uuid(), kept);
        assert!(flows.find("alice", kept).is_some());
        assert_eq!(flows.resume("alice", fresh, None), fresh);
    }

    #[test]
    fn what_is_off_keeps_no_flows() {
        let (flows, fresh) = (flows(false), Flow::new());
        assert_eq!(flows.go_on("alice", fresh, &HeaderMap::new()), fresh);
        assert_eq!(flows.resume("alice", fresh, Some(Uuid::new_v4())), fresh);
        assert_eq!(flows.owned.entry_count(), 0);
        assert!(flows.find("alice", fresh.uuid()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tier_that_does_not_answer_is_left_out() {
        let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let [hangs, gone] = [&hanging, &dead].map(|listener| listener.local_addr().unwrap());
        drop(dead);
        let mut config = config("http://localhost:8080", "http://localhost:5000");
        config.flow_events = true;
        config.flow_sources = [hangs, gone]
            .map(|source| format!("http://{source}").parse().unwrap())
            .to_vec();
        let flows = Flows::new(&Settings::new(&config).unwrap()).unwrap();
        let flow = flows.own("alice", Flow::new());
        flows.sign_in(Some(flow.uuid()), &Demand::SignIn);
        let owned = flows.find("alice", flow.uuid()).unwrap();
        let joined = flows.joined(owned).await;
        assert_eq!(joined["events"].as_array().unwrap().len(), 1, "{joined}");
        assert_eq!(joined["events"][0]["kind"], "sign_in");
        assert_eq!(joined["events"][0]["reason"], "sign_in");
    }
}
