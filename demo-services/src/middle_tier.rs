//! The middle tier: calls the downstream API on behalf of its own caller.

mod cross_origin;
mod grpc;
mod profile;
mod profile_change;
mod profile_gate;
mod profile_refusal;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tower::{ServiceBuilder, ServiceExt};
use tower_bearer::{
    BoxError, CallError, ChallengeRequired, CloneBody, ConfigError, HttpClient, OnBehalfOf,
    OnBehalfOfExt, Principal, PropagateChallengeLayer, RequireScopeLayer, Target, Tee,
    ValidateBearerLayer,
};
use url::Url;

use crate::{
    config::{MiddleTierConfig, ServiceConfig as _, SetupError, credential, described, host_of},
    downstream_rpc,
    flow_events::{AcceptedLayer, FlowEvents, FlowLayer, Inside, Lane, Outside},
    health::HealthLayer,
    host_guard::HostGuardLayer,
    outbound,
    problem::{CORRELATION_ID, CorrelationId, ProblemLayer},
    routes::{Routes, WebService, boxed},
    samples_way,
    trust::Trust,
};

/// The client of the next tier: every call it makes carries a token of the caller for the downstream API.
type Downstream = Outside<OnBehalfOf<Inside<HttpClient>, CloneBody>>;

/// Longest answer of the next tier.
const MAX_ANSWER: usize = 1024 * 1024;
/// A message longer than this is not sent again after a challenge.
const MAX_REPLAYED: usize = 64 * 1024;
/// A call of the next tier takes no longer.
const DEADLINE: Duration = Duration::from_secs(10);
/// W3C Trace Context: joins the tiers' records of one call.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `GET /api` and `GET /secure`: the downstream API's routes of the same names, called On-Behalf-Of; `GET /grpc/api` and
/// `GET /grpc/secure`: the same over gRPC. `GET /profile`, `GET /profile/edit` and `PATCH /profile`, where the configuration has that
/// part: the caller's own profile in a Graph-like API. With `samples_way` also `GET /samples/api`: the first with its demand written
/// as the samples do.
///
/// To be called on a tokio runtime: the gRPC channel has a task of its own.
///
/// # Errors
///
/// A configuration that no service can be built from.
pub fn service(config: &MiddleTierConfig) -> Result<WebService, SetupError> {
    config.network().check_flow_events(config.flow_events)?;
    let authority = config.authority.authority(&config.trust)?;
    let resource = authority
        .resource(&config.client_id)?
        .app_id_uri(&config.app_id_uri)?;
    let scope = format!("{}/{}", config.app_id_uri, config.required_scope);
    let (resource, metadata) = described(resource, config.public_url.as_ref(), &scope)?;
    let secret = config.client_secret.as_ref();
    let credential = credential(secret, config.client_certificate.as_ref())?;
    let mut me = authority.client(&config.client_id, credential.clone())?;
    if let Some(shared_tokens) = &config.shared_tokens {
        // What one process of this tier obtained, the others need not ask for.
        me = me.shared(shared_tokens.shared_tokens()?);
    }

    let events = FlowEvents::new(Lane::MiddleTier, config.flow_events);
    let way = [Lane::MiddleTier, Lane::DownstreamApi];
    let scopes = [config.downstream_scope.as_str()];
    // The caller's token becomes one for the downstream API; it is sent there and nowhere else.
    let exchange = me
        .on_behalf_of(
            scopes,
            Target::origin(&config.downstream.origin().ascii_serialization())?,
        )?
        .replay(CloneBody);
    let downstream = ServiceBuilder::new()
        .layer(events.watch(way, scopes, exchange))
        .service(client(&config.downstream, &config.trust)?);
    let call = |path: &str| {
        let uri = join(&config.downstream, path);
        let downstream = downstream.clone();
        tower::service_fn(move |request| {
            answer(call_downstream(downstream.clone(), uri.clone(), request))
        })
    };
    let samples_call = {
        let uri = join(&config.downstream, "/api");
        let downstream = downstream.clone();
        tower::service_fn(move |request| {
            let outcome = call_downstream(downstream.clone(), uri.clone(), request);
            answer(outcome.map(samples_way::rewritten))
        })
    };
    // The same over gRPC, with the same tokens from the same cache. The channel adds the origin to each request
    // further in, so that there is none to compare here.
    let exchange = me
        .on_behalf_of(scopes, Target::bound_client())?
        .replay(Tee::new(MAX_REPLAYED, tonic::body::Body::new));
    let channel = ServiceBuilder::new()
        .layer(events.watch(way, scopes, exchange).grpc(&config.downstream))
        .service(grpc::channel(&config.downstream, &config.trust)?);
    let call_grpc = |method: &'static str| {
        let channel = channel.clone();
        tower::service_fn(move |request| answer(grpc::call(channel.clone(), method, request)))
    };
    let routes = Routes::new()
        .get("/api", call("/api"))
        .get("/secure", call("/secure"))
        .get("/grpc/api", call_grpc(downstream_rpc::API))
        .get("/grpc/secure", call_grpc(downstream_rpc::SECURE));
    let routes = profile::routes(routes, config, &authority, &me, credential, &events)?;
    let routes = match config.samples_way {
        true => routes.get("/samples/api", samples_call),
        false => routes,
    };

    let service = ServiceBuilder::new()
        .map_response(boxed)
        // Outermost, so that every refusal below gets a document and a correlation id.
        .layer(ProblemLayer::new("middle-tier"))
        // Outside of both guards: probes carry no token, and name this process by its address.
        .layer(HealthLayer::new(move || {
            let authority = authority.clone();
            async move { authority.ready().await }
        }))
        // Before anything else answers: a page that rebinds its name to this address gets nothing.
        .layer(
            HostGuardLayer::new(host_of(config.public_url.as_ref()))
                .behind(config.trusted_proxies.clone())
                .peers(config.network().peers()),
        )
        // Outside of the validation: a preflight carries no token, and a page must be able to read a refusal.
        .option_layer(cross_origin::layer(&config.allowed_origins))
        // As well: who looks for the authority of this API has no token yet.
        .option_layer(metadata)
        // As well: whoever knows a flow's random id may see what happened in it. There is no such route unless it is configured.
        .option_layer(FlowLayer::new(&events, Full::new))
        // Around everything that can make a demand: prints it as a challenge of this tier.
        .layer(PropagateChallengeLayer::new(&resource))
        // Before anything is done for the caller.
        .layer(ValidateBearerLayer::new(&resource))
        // What the accepted token says, for the picture of the flow.
        .option_layer(AcceptedLayer::new(&events))
        // Before any token request: only users who granted our scope are acted for.
        .layer(RequireScopeLayer::new(&config.required_scope)?)
        .service(routes);
    Ok(WebService::new(service))
}

fn client(downstream: &Url, trust: &Trust) -> Result<HttpClient, ConfigError> {
    let settings = outbound::settings(&[downstream], trust).timeout(DEADLINE);
    HttpClient::new(settings).map_err(|_| ConfigError::HttpClient)
}

async fn answer(
    call: impl Future<Output = Result<Response<Full<Bytes>>, BoxError>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(call.await.unwrap_or_else(|error| {
        match ChallengeRequired::find(error.as_ref()) {
            Some(demand) => tracing::debug!(%demand, "the call needs more than its token"),
            None => tracing::info!(%error, "no answer of the downstream API to pass on"),
        }
        // A demand travels in the response to PropagateChallenge; what demands nothing is the next tier's failure.
        let mut response = CallError::from(error).into_response();
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

async fn call_downstream(
    downstream: Downstream,
    uri: Uri,
    incoming: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let mut request = Request::get(uri)
        .body(Full::<Bytes>::default())?
        .on_behalf_of(caller(&incoming)?);
    request.headers_mut().extend(trace(&incoming));

    // A demand of the authority or of the next tier goes up from here by `?`.
    let answer = downstream.oneshot(request).await?;

    let status = match answer.status() {
        status if status.is_success() => status,
        status @ (StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::SERVICE_UNAVAILABLE) => status,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    if status.is_success() {
        if let Some(kind) = answer.headers().get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await?;
        *response.body_mut() = Full::from(body.to_bytes());
    }
    Ok(response)
}

fn caller<B>(incoming: &Request<B>) -> Result<&Principal, BoxError> {
    let caller = incoming.extensions().get();
    caller.ok_or_else(|| "no principal: validation is missing".into())
}

/// What joins the next tier's log events with those of this call.
fn trace<B>(incoming: &Request<B>) -> HeaderMap {
    let id = incoming.extensions().get::<CorrelationId>();
    let id = id.map(|id| (CORRELATION_ID, id.to_header()));
    let trace = incoming.headers().get(TRACEPARENT);
    let trace = trace.map(|trace| (TRACEPARENT, trace.clone()));
    id.into_iter().chain(trace).collect()
}

fn join(base: &Url, path: &str) -> Uri {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    text.parse().unwrap_or_default()
}
