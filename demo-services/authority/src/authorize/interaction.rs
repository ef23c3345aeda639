//! What the user answers on the sign-in page and on the MFA page.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use uuid::Uuid;

use super::{Origin, device, page, proceed, refuse, user};
use crate::authority::{Authority, Shared};
use crate::authorization::{redirect_uri_mismatch, registered};
use crate::client;
use crate::cookies;
use crate::directory::{Directory, User};
use crate::errors::{Refusal, Trace};
use crate::form::Form;
use crate::hosts;
use crate::known::Known;
use crate::pages;
use crate::policy::Authentication;
use crate::random;
use crate::records::{Attempt, Flow, Guess, MAX_TRIES, To, Waiting};
use crate::requests;

const WRONG_CODE: &str = "That code is not right.";

/// A form that belongs to a flow.
pub(super) struct Answer {
    pub(super) form: Form,
    pub(super) id: String,
    pub(super) flow: Flow,
}

/// `POST /{tenant}/sign-in` with `flow`, `username`, `password`, or `cancel`.
pub(crate) async fn sign_in(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Answer { form, id, mut flow } = match receive(&authority, &headers, &body, Waiting::SignIn)
    {
        Ok(answer) => answer,
        Err(response) => return *response,
    };
    let typed = form.get("username").unwrap_or_default().trim().to_owned();
    let named = directory.user(&typed);
    let right = |user: &User| same(user.password(), form.get("password").unwrap_or_default());
    let user = match guess(&authority, Guess::Password, named, right) {
        Ok(user) => user,
        Err(wrong) => {
            flow.request.login_hint = Some(typed).filter(|typed| typed.len() <= 256);
            let complaint = "That username or password is not right.";
            return failed(&authority, &directory, flow, id, wrong, complaint);
        }
    };
    let now = authority.now();
    let generation = authority.stores().generation(user.oid);
    let authentication = Authentication {
        user: user.oid,
        sid: Uuid::new_v4(),
        auth_time: now,
        mfa: false,
        contexts: BTreeSet::new(),
        generation,
    };
    advance(&authority, &directory, &headers, flow, id, authentication)
}

/// `POST /{tenant}/mfa` with `flow`, `code`, or `cancel`.
pub(crate) async fn mfa(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Answer { form, id, flow } = match receive(&authority, &headers, &body, Waiting::Mfa) {
        Ok(answer) => answer,
        Err(response) => return *response,
    };
    let authentication = flow.authentication.clone();
    let named = authentication
        .as_ref()
        .and_then(|authentication| user(&directory, authentication))
        .filter(|user| user.can_mfa());
    let right = |user: &User| {
        user.otp()
            .is_some_and(|otp| same(otp, form.get("code").unwrap_or_default().trim()))
    };
    let answered = guess(&authority, Guess::Code, named, right).map(|_| authentication);
    match answered {
        Ok(Some(authentication)) => advance(
            &authority,
            &directory,
            &headers,
            flow,
            id,
            Authentication {
                mfa: true,
                ..authentication
            },
        ),
        Ok(None) => failed(&authority, &directory, flow, id, Wrong::Retry, WRONG_CODE),
        Err(wrong) => failed(&authority, &directory, flow, id, wrong, WRONG_CODE),
    }
}

/// What a wrong answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Locked,
    Retry,
}

/// Counts a try against the user it is about, over all flows, and says who has answered right.
fn guess<'a>(
    authority: &Authority,
    kind: Guess,
    named: Option<&'a User>,
    right: impl Fn(&User) -> bool,
) -> Result<&'a User, Wrong> {
    let user = named.ok_or(Wrong::Retry)?;
    requests::note(|request| request.user(user));
    let now = authority.now();
    let attempt = authority.stores().attempt(kind, user.oid, now);
    match attempt {
        Attempt::Locked => Err(Wrong::Locked),
        Attempt::Last | Attempt::Open if right(user) => {
            authority.stores().forgive(kind, user.oid, now);
            Ok(user)
        }
        Attempt::Last => Err(Wrong::Locked),
        Attempt::Open => Err(Wrong::Retry),
    }
}

/// Takes the flow out of the store; whoever wants to go on puts it back.
pub(super) fn receive(
    authority: &Authority,
    headers: &HeaderMap,
    body: &[u8],
    page: Waiting,
) -> Result<Answer, Box<Response>> {
    if !is_own_form(authority, headers) {
        return Err(pages::error(
            StatusCode::FORBIDDEN,
            "This form was not sent from this site.",
        )
        .into());
    }
    let now = authority.now();
    let form = Form::parse(body)
        .map_err(|_| pages::error(StatusCode::BAD_REQUEST, "The form is malformed."))?;
    let id = form.get("flow").unwrap_or_default().to_owned();
    let flow = {
        let mut stores = authority.stores();
        // Whoever has signed out since, in another window, has left this one as well.
        let signed_in = |flow: &Flow| {
            flow.authentication.as_ref().is_none_or(|own| {
                let mut sessions = stores.sessions.live(now);
                sessions.any(|session| session.sid == own.sid)
            })
        };
        let waiting = stores
            .flows
            .get(&id, now)
            .is_some_and(|flow| flow.waiting == page && signed_in(flow));
        waiting.then(|| stores.flows.remove(&id, now)).flatten()
    };
    let Some(flow) = flow else {
        let refusal = Refusal::invalid_request(
            50_089,
            "This sign-in has expired or was finished in another window.",
        );
        let trace = Trace::new(None);
        requests::note(|request| request.refused(&refusal, trace));
        return Err(pages::refused(StatusCode::BAD_REQUEST, &refusal, trace, now).into());
    };
    let request = &flow.request;
    requests::note(|noted| {
        noted.client(&request.client);
        noted.trace(request.trace);
    });
    // Where the answer may go is what the directory says now.
    let id_of_client = request.client.client_id.to_string();
    let still =
        client::find(&authority.directory(), &id_of_client).and_then(|client| match &flow.to {
            To::Client(redirect) => {
                let uri = &redirect.reply.redirect_uri;
                let same = registered(client, uri) == Some(redirect.kind);
                same.then_some(())
                    .ok_or_else(|| redirect_uri_mismatch(client, uri))
            }
            To::Device(code) => {
                let waits = authority.stores().is_awaited(code, now);
                waits.then_some(()).ok_or_else(device::over)
            }
        });
    if let Err(refusal) = still {
        let trace = request.trace;
        requests::note(|request| request.refused(&refusal, trace));
        return Err(pages::refused(StatusCode::BAD_REQUEST, &refusal, trace, now).into());
    }
    if form.get("cancel").is_some() {
        let refusal = Refusal::new(
            "access_denied",
            65_004,
            "The user cancelled the sign-in or declined to consent to access the app.",
        );
        return Err(refuse(authority, &flow, &refusal, &Method::POST).into());
    }
    Ok(Answer {
        form,
        id,
        flow: *flow,
    })
}

/// A new cookie at each step up, so that a value seen before is worth nothing after.
fn advance(
    authority: &Authority,
    directory: &Directory,
    headers: &HeaderMap,
    flow: Flow,
    id: String,
    authentication: Authentication,
) -> Response {
    let now = authority.now();
    let cookie = random::secret();
    {
        let mut stores = authority.stores();
        if let Some(old) = cookies::session(headers) {
            stores.sessions.remove(&old, now);
        }
        stores
            .sessions
            .insert(cookie.clone(), authentication.clone(), now);
    }
    tracing::info!(mfa = authentication.mfa, trace_id = %flow.request.trace.trace_id, "signed in");
    let flow = Flow {
        authentication: Some(authentication),
        ..flow
    };
    let mut response = proceed(
        authority,
        directory,
        flow,
        Origin::Page,
        Some(id),
        &Method::POST,
    );
    cookies::set_session(response.headers_mut(), &cookie);
    response
}

fn failed(
    authority: &Authority,
    directory: &Directory,
    mut flow: Flow,
    id: String,
    wrong: Wrong,
    complaint: &'static str,
) -> Response {
    flow.failures += 1;
    // On record only: the page says it in words, and never which of the two was wrong.
    let noted = match flow.waiting {
        Waiting::Mfa => Refusal::invalid_grant(
            500_121,
            "Authentication failed during strong authentication request.",
        ),
        _ => Refusal::invalid_grant(
            50_126,
            "Error validating credentials due to invalid username or password.",
        ),
    };
    requests::note(|request| request.refused(&noted, flow.request.trace));
    tracing::info!(failures = flow.failures, trace_id = %flow.request.trace.trace_id, "wrong answer");
    // A name that nobody has cannot be locked; it gets the same answer as one that somebody has.
    if wrong == Wrong::Locked || flow.failures >= MAX_TRIES {
        let refusal = Refusal::new(
            "access_denied",
            50_053,
            "The account is locked, because you tried to sign in too many times with an incorrect user ID or password.",
        );
        return refuse(authority, &flow, &refusal, &Method::POST);
    }
    page(authority, directory, flow, Some(id), Some(complaint))
}

/// A browser says where a form comes from; a client that is no browser says nothing and holds no cookie of anybody.
pub(super) fn is_own_form(authority: &Authority, headers: &HeaderMap) -> bool {
    let own_origin = headers
        .get(header::ORIGIN)
        .is_none_or(|origin| hosts::is_own_origin(authority, origin));
    let own_site = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin");
    own_origin && own_site
}

fn same(expected: &str, presented: &str) -> bool {
    let (expected, presented) = (
        digest(&SHA256, expected.as_bytes()),
        digest(&SHA256, presented.as_bytes()),
    );
    verify_slices_are_equal(expected.as_ref(), presented.as_ref()).is_ok()
}
