//! RFC 6749 section 6, with rotation: each refresh token is good once.

use serde_json::Value;

use super::{Beside, TokenRequest};
use crate::errors::Refusal;
use crate::records::BadRefreshToken;
use crate::scopes::Requested;

pub(super) fn refresh(request: &TokenRequest<'_>) -> Result<Value, Refusal> {
    let presented = request.required("refresh_token")?;
    let family = request
        .authority
        .stores()
        .family(presented, request.now)
        .cloned()
        .map_err(refusal)?;
    if family.client != request.client.app.client_id {
        return Err(Refusal::invalid_grant(
            700_007,
            "The refresh token was issued to another application.",
        ));
    }
    request.check_kind(family.kind)?;
    let requested = Requested::parse(request.directory, request.form.get("scope"))?;
    let approved = request.approve(requested, &family.authentication, request.demands()?)?;
    // Spent last: a refusal above leaves the client a token to come back with.
    let refresh_token = request
        .authority
        .stores()
        .rotate(presented, approved.authentication.clone(), request.now)
        .map_err(refusal)?;
    request.answer(
        &approved,
        Beside {
            refresh_token: Some(refresh_token),
            ..Beside::default()
        },
    )
}

fn refusal(bad: BadRefreshToken) -> Refusal {
    match bad {
        BadRefreshToken::Expired => {
            Refusal::invalid_grant(700_082, "The refresh token has expired due to inactivity.")
                .suberror("token_expired")
        }
        BadRefreshToken::Reused => Refusal::invalid_grant(
            70_000,
            "The refresh token was used before; all tokens of its family are revoked.",
        ),
        BadRefreshToken::Unknown => Refusal::invalid_grant(
            70_000,
            "The provided value for the 'refresh_token' parameter is not valid.",
        ),
    }
}
