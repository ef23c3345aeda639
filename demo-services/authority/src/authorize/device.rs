//! The page where a person types the code that a device shows, and the question whether the device is theirs.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::interaction::{Answer, is_own_form, receive};
use super::{Origin, page, proceed};
use crate::authority::{Authority, Shared};
use crate::client;
use crate::cookies;
use crate::devices::NotEntered;
use crate::directory::Directory;
use crate::errors::{Refusal, Trace};
use crate::form::Form;
use crate::known::Known;
use crate::pages;
use crate::policy::Authentication;
use crate::records::{Flow, To, Waiting};
use crate::requests;

/// `GET /{tenant}/oauth2/deviceauth`.
pub(crate) async fn device_page(Extension(Known(directory)): Extension<Known>) -> Response {
    pages::user_code(StatusCode::OK, &directory, None)
}

/// `POST /{tenant}/oauth2/deviceauth` with `user_code`.
pub(crate) async fn device_code(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_own_form(&authority, &headers) {
        return pages::error(
            StatusCode::FORBIDDEN,
            "This form was not sent from this site.",
        );
    }
    let Ok(form) = Form::parse(&body) else {
        return pages::error(StatusCode::BAD_REQUEST, "The form is malformed.");
    };
    let now = authority.now();
    let typed = form.get("user_code").unwrap_or_default();
    let entered = authority.stores().enter(typed, now);
    let (code, request) = match entered {
        Ok(entered) => entered,
        Err(reason) => {
            let refusal = match reason {
                NotEntered::Locked => {
                    Refusal::invalid_request(50_196, "Too many wrong codes were typed of late.")
                }
                NotEntered::Unknown => Refusal::new(
                    "bad_verification_code",
                    70_018,
                    "Invalid verification code.",
                ),
            };
            requests::note(|request| request.refused(&refusal, Trace::new(None)));
            let (status, complaint) = match reason {
                NotEntered::Locked => (
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many wrong codes were typed of late. Try again in ten minutes.",
                ),
                NotEntered::Unknown => (
                    StatusCode::OK,
                    "That code is not right, has expired or was used before. Look at the device again, or start there anew.",
                ),
            };
            return pages::user_code(status, &directory, Some(complaint));
        }
    };
    requests::note(|noted| {
        noted.client(&request.client);
        noted.trace(request.trace);
    });
    if let Err(refusal) = client::find(&directory, &request.client.client_id.to_string()) {
        requests::note(|noted| noted.refused(&refusal, request.trace));
        return pages::refused(StatusCode::BAD_REQUEST, &refusal, request.trace, now);
    }
    let session = cookies::session(&headers)
        .and_then(|cookie| authority.stores().session(&cookie, now).cloned());
    let flow = Flow {
        request,
        to: To::Device(code),
        authentication: session,
        failures: 0,
        waiting: Waiting::SignIn,
        consented: false,
        confirmed: false,
    };
    proceed(
        &authority,
        &directory,
        flow,
        Origin::Session,
        None,
        &Method::POST,
    )
}

/// `POST /{tenant}/device` with `flow` and `continue`, or `cancel`.
pub(crate) async fn device_confirmed(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Answer { form, id, mut flow } = match receive(&authority, &headers, &body, Waiting::Device)
    {
        Ok(answer) => answer,
        Err(response) => return *response,
    };
    if form.get("continue").is_none() {
        return page(&authority, &directory, flow, Some(id), None);
    }
    flow.confirmed = true;
    proceed(
        &authority,
        &directory,
        flow,
        Origin::Page,
        Some(id),
        &Method::POST,
    )
}

/// The device may have its tokens.
pub(super) fn granted(
    authority: &Authority,
    directory: &Directory,
    flow: &Flow,
    code: &str,
    authentication: Authentication,
) -> Response {
    let now = authority.now();
    if authority.stores().decide(code, Some(authentication), now) {
        return pages::device_signed_in(&flow.request.client.name);
    }
    let refusal = over();
    requests::note(|request| request.refused(&refusal, flow.request.trace));
    pages::user_code(
        StatusCode::BAD_REQUEST,
        directory,
        Some("The code of the device has expired or was used in another window. Start there anew."),
    )
}

/// The device hears of a refusal when it asks, and the person here.
pub(super) fn refused(
    authority: &Authority,
    flow: &Flow,
    code: &str,
    refusal: &Refusal,
) -> Response {
    let (now, trace) = (authority.now(), flow.request.trace);
    tracing::info!(error = refusal.error, code = refusal.code, trace_id = %trace.trace_id, "device refused");
    requests::note(|request| request.refused(refusal, trace));
    authority.stores().decide(code, None, now);
    pages::refused(StatusCode::OK, refusal, trace, now)
}

/// Nobody waits any more for what this sign-in was begun for.
pub(super) fn over() -> Refusal {
    Refusal::new("expired_token", 70_019, "Verification code expired.")
}
