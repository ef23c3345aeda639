//! RFC 8628: a device asks for its codes, and then again and again whether somebody has signed in.

use axum::Extension;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Beside, TokenRequest, close, open};
use crate::authority::{Authority, Shared};
use crate::authorization::{AuthorizeRequest, Prompt, RedirectKind};
use crate::client;
use crate::demands::Demands;
use crate::device::{INTERVAL, LIFETIME};
use crate::devices::Poll;
use crate::directory::Directory;
use crate::errors::{Refusal, Trace};
use crate::form::Form;
use crate::known::Known;
use crate::policy;
use crate::requests;
use crate::scopes::Requested;

/// `POST /{tenant}/oauth2/v2.0/devicecode` with `client_id` and `scope`.
pub(crate) async fn device_authorization(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (form, trace) = open(query, &headers, body);
    let answer = form.and_then(|form| codes(&authority, &directory, &form, trace));
    close(&authority, &headers, trace, answer)
}

fn codes(
    authority: &Authority,
    directory: &Directory,
    form: &Form,
    trace: Trace,
) -> Result<Value, Refusal> {
    requests::note(|request| request.form(directory, form));
    let id = form
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let client = client::find(directory, id)?;
    requests::note(|request| request.client(client));
    let request = AuthorizeRequest {
        client: client.clone(),
        requested: Requested::parse(directory, form.get("scope"))?,
        // Who is signed in at this browser need not be who the device is to act as.
        prompt: Prompt::SelectAccount,
        login_hint: None,
        max_age: None,
        demands: Demands::parse(form.get("claims")).map_err(|_| {
            Refusal::invalid_request(9_000_411, "The 'claims' parameter is not valid.")
        })?,
        trace,
    };
    let codes = authority
        .stores()
        .await_person(request, authority.now())
        .ok_or_else(Refusal::server_error)?;
    tracing::info!(trace_id = %trace.trace_id, "device code issued");
    let uri = format!("{}/common/oauth2/deviceauth", authority.base);
    Ok(json!({
        "message": format!(
            "To sign in, use a web browser to open the page {uri} and enter the code {} to authenticate.",
            codes.user_code
        ),
        "user_code": codes.user_code,
        "device_code": codes.device_code,
        "verification_uri": uri,
        "expires_in": LIFETIME,
        "interval": INTERVAL,
    }))
}

pub(super) fn redeem(request: &TokenRequest<'_>) -> Result<Value, Refusal> {
    let presented = request.required("device_code")?;
    let kind = if request.client.app.public_client {
        RedirectKind::Native
    } else {
        RedirectKind::Web
    };
    request.check_kind(kind)?;
    let client = request.client.app.client_id;
    let poll = request
        .authority
        .stores()
        .poll(presented, client, request.now);
    let (device, authentication) = match poll {
        Poll::Granted(granted) => *granted,
        Poll::Pending => {
            return Err(Refusal::new(
                "authorization_pending",
                70_016,
                "The provided request has not yet been authorized by the user. The user must input their code.",
            ));
        }
        Poll::SlowDown => {
            return Err(Refusal::new(
                "slow_down",
                70_016,
                "The request was sent too soon after the one before it. Wait five seconds longer from now on.",
            ));
        }
        Poll::Declined => {
            return Err(Refusal::new(
                "authorization_declined",
                65_004,
                "The user declined to sign in to the application.",
            ));
        }
        Poll::Expired => {
            return Err(Refusal::new(
                "expired_token",
                70_020,
                "The provided value for the input parameter 'device_code' is not valid. This code has expired.",
            ));
        }
        Poll::Spent => return Err(spent()),
        Poll::Unknown => {
            return Err(Refusal::new(
                "bad_verification_code",
                70_018,
                "The provided value for the input parameter 'device_code' is not valid.",
            ));
        }
    };
    if request.directory.security_defaults {
        return Err(policy::blocked_by_security_defaults("access_denied"));
    }
    // Read again: the API may have changed since.
    let requested = Requested::parse(request.directory, Some(&device.requested.text))?;
    let demands = request
        .demands()?
        .with_capabilities(&device.demands.capabilities);
    let approved = request.approve(requested, &authentication, demands)?;
    // Spent last: a refusal above leaves the client a code to come back with.
    let refresh_token = {
        let mut stores = request.authority.stores();
        if !stores.spend(presented, request.now) {
            return Err(spent());
        }
        approved.requested.offline_access.then(|| {
            let proven = approved.authentication.clone();
            stores.found_family(client, kind, proven, request.now).0
        })
    };
    request.answer(
        &approved,
        Beside {
            refresh_token,
            ..Beside::default()
        },
    )
}

fn spent() -> Refusal {
    Refusal::invalid_grant(
        54_005,
        "The device code was already redeemed, please retry with a new one or use an existing refresh token.",
    )
}
