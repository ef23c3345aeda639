//! RFC 6749 section 4.4. No user, so neither Conditional Access nor a refresh token.

use serde_json::Value;

use super::{TokenRequest, bearer};
use crate::errors::Refusal;
use crate::scopes::Requested;
use crate::tokens::{AccessToken, Subject};
use crate::version::Segment;

pub(super) fn grant(request: &TokenRequest<'_>) -> Result<Value, Refusal> {
    request.client.confidential()?;
    if request.segment != Segment::Tenant {
        return Err(Refusal::invalid_request(
            50_059,
            "No tenant-identifying information found in either the request or implied by any provided credentials.",
        ));
    }
    let requested = Requested::parse(request.directory, request.form.get("scope"))?;
    if !requested.is_default_only() {
        return Err(Refusal::new(
            "invalid_scope",
            1_002_012,
            "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
        ));
    }
    let client = request.client.app;
    let roles = requested
        .resource
        .roles_among(&client.app_permissions)
        .map(str::to_owned)
        .collect();
    let demands = request.demands()?;
    let token = AccessToken {
        version: requested.resource.token_version(),
        client,
        credential: request.client.credential,
        resource: &requested.resource,
        audience: &requested.audience,
        subject: Subject::App { roles },
        capabilities: &demands.capabilities,
    };
    Ok(Value::Object(bearer(
        request.authority.mint(request.directory, &token)?,
    )))
}
