//! On-Behalf-Of (RFC 7523 as Entra speaks it). Decided from the record of this assertion, never from a browser's session.

use serde_json::Value;

use super::{Beside, TokenRequest};
use crate::authorization::RedirectKind;
use crate::directory::App;
use crate::errors::Refusal;
use crate::policy::Authentication;
use crate::scopes::Requested;
use crate::version::TokenVersion;

pub(super) fn exchange(request: &TokenRequest<'_>) -> Result<Value, Refusal> {
    request.client.confidential()?;
    if request.required("requested_token_use")? != "on_behalf_of" {
        return Err(Refusal::invalid_request(
            90_023,
            "The value of 'requested_token_use' is not supported.",
        ));
    }
    let authentication = authentication(request, request.required("assertion")?)?;
    let requested = Requested::parse(request.directory, request.form.get("scope"))?;
    let approved = request.approve(requested, &authentication, request.demands()?)?;
    let refresh_token = approved.requested.offline_access.then(|| {
        let client = request.client.app.client_id;
        request
            .authority
            .stores()
            .found_family(
                client,
                RedirectKind::Web,
                approved.authentication.clone(),
                request.now,
            )
            .0
    });
    request.answer(
        &approved,
        Beside {
            refresh_token,
            ..Beside::default()
        },
    )
}

/// What the user of the assertion has proven.
fn authentication(request: &TokenRequest<'_>, assertion: &str) -> Result<Authentication, Refusal> {
    let broken = || Refusal::invalid_grant(50_013, "Assertion failed signature validation.");
    let claims = request.authority.keys.open(assertion).ok_or_else(broken)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let version = text("ver").and_then(TokenVersion::of).ok_or_else(broken)?;
    let issuer = version.issuer(&request.authority.base, request.directory.tenant.id);
    if text("iss") != Some(&issuer) {
        return Err(Refusal::invalid_grant(
            50_013,
            "Assertion contains an invalid issuer.",
        ));
    }
    if text("tid") != Some(&request.directory.tenant.id.to_string()) {
        return Err(Refusal::invalid_grant(
            50_013,
            "Assertion is of another tenant.",
        ));
    }
    if !text("aud").is_some_and(|audience| is_for(request.client.app, version, audience)) {
        return Err(Refusal::invalid_grant(
            500_131,
            "Assertion audience does not match the Client app presenting the assertion. The audience in the assertion must be the application's id.",
        ));
    }
    let number = |name: &str| claims.get(name).and_then(Value::as_u64);
    if number("exp").is_none_or(|exp| exp <= request.now) {
        return Err(Refusal::invalid_grant(
            500_133,
            "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token.",
        ));
    }
    if number("nbf").is_none_or(|nbf| nbf > request.now) {
        return Err(Refusal::invalid_grant(
            500_133,
            "Assertion is not within its valid time range: it is not valid yet.",
        ));
    }
    let record = text("uti")
        .and_then(|uti| {
            request
                .authority
                .stores()
                .records
                .get(uti, request.now)
                .cloned()
        })
        .ok_or_else(broken)?;
    if record.resource != request.client.app.client_id {
        return Err(broken());
    }
    let app_only = || {
        Refusal::new(
            "unauthorized_client",
            7_000_114,
            "Application is not allowed to make application on-behalf-of calls: the assertion is a token without a user.",
        )
    };
    record.authentication.ok_or_else(app_only)
}

/// Version 2.0 tokens name an API by its client id alone, version 1.0 ones also by an application ID URI.
fn is_for(app: &App, version: TokenVersion, audience: &str) -> bool {
    let by_uri =
        version == TokenVersion::V1 && app.identifier_uris.iter().any(|uri| uri == audience);
    by_uri || audience == app.client_id.to_string()
}
