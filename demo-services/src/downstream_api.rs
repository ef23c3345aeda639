//! The downstream API: the last tier, which says who called it.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tower::ServiceBuilder;
use tower_bearer::{ConfigError, Principal, RequireScopeLayer, ValidateBearerLayer};

use crate::{
    config::{DownstreamApiConfig, described},
    health::HealthLayer,
    host_guard::HostGuardLayer,
    problem::ProblemLayer,
    routes::{Routes, WebService},
};

/// `GET /api` for users with the scope, `GET /secure` for those who satisfied the authentication context as well, `GET /admin` for
/// applications with the app role.
///
/// # Errors
///
/// A configuration that no service can be built from.
pub fn service(config: &DownstreamApiConfig) -> Result<WebService, ConfigError> {
    let authority = config.authority.authority()?;
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
        .get("/admin", admin);

    let service = ServiceBuilder::new()
        // Outermost, so that every refusal below gets a document and a correlation id.
        .layer(ProblemLayer)
        // Before anything answers: a page that rebinds its name to this address gets nothing.
        .layer(HostGuardLayer::new::<String>([]))
        // Outside of the validation: probes carry no token.
        .layer(HealthLayer::new(move || {
            let authority = authority.clone();
            async move { authority.ready().await }
        }))
        // As well: who looks for the authority of this API has no token yet.
        .option_layer(metadata)
        // Around all routes: an unknown path tells nothing to those without a token. Outside of it there is no
        // PropagateChallenge: this is the last tier, and its own demands are printed where they are checked.
        .layer(ValidateBearerLayer::new(&resource))
        .service(routes);
    Ok(WebService::new(service))
}

async fn describe_caller(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let Some(caller) = request.extensions().get::<Principal>() else {
        let mut wiring_fault = Response::new(Full::default());
        *wiring_fault.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(wiring_fault);
    };
    let document = json!({
        "name": caller.claim("name").or_else(|| caller.claim("azp")),
        "issued-by": caller.issuer(),
        "issued-for": caller.claim("aud"),
        "scope": caller.scopes().collect::<Vec<_>>().join(" "),
    });
    let mut response = Response::new(Full::from(document.to_string()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
