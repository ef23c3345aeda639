//! The downstream API: the last tier, which says who called it.

mod grpc;

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use tonic::body::Body;
use tower::{ServiceBuilder, ServiceExt};
use tower_bearer::{Principal, PropagateChallengeLayer, RequireScopeLayer, ValidateBearerLayer};

use crate::{
    config::{DownstreamApiConfig, ServiceConfig as _, SetupError, described, host_of},
    downstream_rpc::{Caller, DownstreamServer},
    flow_events::{AcceptedLayer, FlowEvents, FlowLayer, Lane},
    health::HealthLayer,
    host_guard::HostGuardLayer,
    problem::ProblemLayer,
    revocations::Revocations,
    routes::{Routes, WebService, boxed},
};

/// `GET /api` for users with the scope, `GET /secure` for those who satisfied the authentication context as well, `GET /admin` for
/// applications with the app role. On the same port the first two as gRPC methods, `proto/downstream.proto`.
///
/// # Errors
///
/// A configuration that no service can be built from.
pub fn service(config: &DownstreamApiConfig) -> Result<WebService, SetupError> {
    build(config, None)
}

/// The same, where a user may be revoked while a token lives (Continuous Access Evaluation).
///
/// # Errors
///
/// As [`service`].
pub fn service_with_revocations(
    config: &DownstreamApiConfig,
    revocations: Revocations,
) -> Result<WebService, SetupError> {
    build(config, Some(revocations))
}

fn build(
    config: &DownstreamApiConfig,
    revocations: Option<Revocations>,
) -> Result<WebService, SetupError> {
    config.network().check_flow_events(config.flow_events)?;
    let authority = config.authority.authority(&config.trust)?;
    let resource = authority
        .resource(&config.client_id)?
        .app_id_uri(&config.app_id_uri)?;
    let scope = format!("{}/{}", config.app_id_uri, config.required_scope);
    let (resource, metadata) = described(resource, config.public_url.as_ref(), &scope)?;

    let api = ServiceBuilder::new()
        // A signed-in user who granted our scope; an application's own token is refused.
        .layer(RequireScopeLayer::new(&config.required_scope)?)
        .service_fn(describe_caller);
    let secure = ServiceBuilder::new()
        // First the scope: who may not call at all is not asked for stronger sign-in.
        .layer(RequireScopeLayer::new(&config.required_scope)?)
        // Then this API's own demand: without the context the caller gets a claims challenge.
        .layer(RequireScopeLayer::auth_context(&config.secure_context)?)
        .service_fn(describe_caller);
    let admin = ServiceBuilder::new()
        // An application that an administrator gave the role; no user's token passes.
        .layer(RequireScopeLayer::app_role(&config.admin_role)?)
        .service_fn(describe_caller);
    let routes = Routes::new()
        .get("/api", api)
        .get("/secure", secure)
        .get("/admin", admin)
        .map_response(boxed);
    let rpcs = ServiceBuilder::new()
        // The handlers' own demands become gRPC statuses with this API's challenge.
        .layer(PropagateChallengeLayer::new(&resource))
        // What all methods need; what one of them needs stands in its handler.
        .layer(RequireScopeLayer::new(&config.required_scope)?)
        .service(DownstreamServer::new(grpc::Methods::new(
            &config.secure_context,
        )));

    let validate = ValidateBearerLayer::new(&resource);
    let validate = match revocations {
        Some(revocations) => validate.revocations(revocations),
        None => validate,
    };
    let events = FlowEvents::new(Lane::DownstreamApi, config.flow_events);
    let service = ServiceBuilder::new()
        .map_response(boxed)
        // Outermost, so that every refusal below gets a document and a correlation id.
        .layer(ProblemLayer::new("downstream-api"))
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
        // As well: who looks for the authority of this API has no token yet.
        .option_layer(metadata.map(|metadata| metadata.body(|text| Body::new(Full::new(text)))))
        // As well: whoever knows a flow's random id may see what happened in it. There is no such route unless it is configured.
        .option_layer(FlowLayer::new(&events, |text| Body::new(Full::new(text))))
        // Around all routes: an unknown path tells nothing to those without a token. Outside of it there is no
        // PropagateChallenge: this is the last tier, and the demands of its layers are printed where they are checked.
        .layer(validate)
        // What the accepted token says, for the picture of the flow.
        .option_layer(AcceptedLayer::new(&events))
        .service_fn(move |request| match grpc::is_call(&request) {
            true => Either::Left(rpcs.clone().oneshot(request)),
            false => Either::Right(routes.clone().oneshot(request)),
        });
    Ok(WebService::new(service))
}

async fn describe_caller(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let Some(caller) = request.extensions().get::<Principal>() else {
        let mut wiring_fault = Response::new(Full::default());
        *wiring_fault.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(wiring_fault);
    };
    let document = serde_json::to_vec(&describe(caller)).unwrap_or_default();
    let mut response = Response::new(Full::from(document));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn describe(caller: &Principal) -> Caller {
    let text = |claim| {
        let value = caller.claim(claim)?;
        value.as_str().map(str::to_owned)
    };
    Caller {
        name: text("name").or_else(|| text("azp")),
        issued_by: caller.issuer().to_owned(),
        issued_for: text("aud").unwrap_or_default(),
        scope: caller.scopes().collect::<Vec<_>>().join(" "),
    }
}
