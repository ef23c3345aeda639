//! The authorization endpoint: from a request and a session to a page, a code or a refusal.

mod consent;
mod device;
mod interaction;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

pub(crate) use consent::consent;
pub(crate) use device::{device_code, device_confirmed, device_page};
pub(crate) use interaction::{mfa, sign_in};

use crate::authority::{Authority, Shared};
use crate::authorization::{AuthorizeRequest, Prompt, Rejected};
use crate::cookies;
use crate::directory::{Directory, User};
use crate::errors::{Refusal, Trace};
use crate::form::{Form, FormError};
use crate::known::Known;
use crate::pages;
use crate::policy::{self, Authentication, Question, Setting, Step, Verdict};
use crate::random;
use crate::records::{Code, Flow, Grant, To, Waiting};
use crate::requests;
use crate::tokens::client_info;

/// Longest request that is kept while the user signs in.
const MAX_REQUEST: usize = 16 * 1024;

/// `GET` and `POST /{tenant}/oauth2/v2.0/authorize`.
pub(crate) async fn authorize(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = if method == Method::POST {
        body
    } else {
        query.unwrap_or_default().into()
    };
    let form = if text.len() > MAX_REQUEST {
        Err(FormError::Malformed)
    } else {
        Form::parse(&text)
    };
    let trace = Trace::new(
        form.as_ref()
            .ok()
            .and_then(|form| form.get("client-request-id")),
    );
    requests::note(|request| {
        request.trace(trace);
        if let Ok(form) = &form {
            request.form(&directory, form);
        }
    });
    let now = authority.now();
    let (request, redirect) = match AuthorizeRequest::parse(&directory, form, trace) {
        Ok(parsed) => parsed,
        Err(Rejected::Page(refusal)) => {
            tracing::info!(code = refusal.code, trace_id = %trace.trace_id, "authorization refused on a page");
            requests::note(|request| request.refused(&refusal, trace));
            return pages::refused(StatusCode::BAD_REQUEST, &refusal, trace, now);
        }
        Err(Rejected::Redirect(reply, refusal)) => {
            return reply.refuse(&refusal, trace, now, &method);
        }
    };
    let session = cookies::session(&headers)
        .and_then(|cookie| authority.stores().session(&cookie, now).cloned());
    proceed(
        &authority,
        &directory,
        Flow {
            request,
            to: To::Client(Box::new(redirect)),
            authentication: session,
            failures: 0,
            waiting: Waiting::SignIn,
            consented: false,
            confirmed: false,
        },
        Origin::Session,
        None,
        &method,
    )
}

/// Where the authentication of a flow comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The user signed in on the page that this answers.
    Page,
    /// A session that was there before.
    Session,
}

/// What comes next.
enum Next {
    Consent,
    Device,
    Grant(Authentication),
    Mfa,
    Refuse(Refusal),
    SignIn,
}

/// Goes one step further. `id` is the flow's id once it has one.
fn proceed(
    authority: &Authority,
    directory: &Directory,
    flow: Flow,
    origin: Origin,
    id: Option<String>,
    method: &Method,
) -> Response {
    let now = authority.now();
    let next = next(authority, directory, &flow, origin, now);
    match next {
        Next::Grant(authentication) => grant(authority, directory, flow, authentication, method),
        Next::Refuse(refusal) => refuse(authority, &flow, &refusal, method),
        Next::Device => page(
            authority,
            directory,
            Flow {
                waiting: Waiting::Device,
                ..flow
            },
            id,
            None,
        ),
        Next::Consent => page(
            authority,
            directory,
            Flow {
                waiting: Waiting::Consent,
                ..flow
            },
            id,
            None,
        ),
        Next::Mfa => page(
            authority,
            directory,
            Flow {
                waiting: Waiting::Mfa,
                ..flow
            },
            id,
            None,
        ),
        Next::SignIn => page(
            authority,
            directory,
            Flow {
                authentication: None,
                consented: false,
                confirmed: false,
                waiting: Waiting::SignIn,
                ..flow
            },
            id,
            None,
        ),
    }
}

fn next(
    authority: &Authority,
    directory: &Directory,
    flow: &Flow,
    origin: Origin,
    now: u64,
) -> Next {
    let request = &flow.request;
    let silent = request.prompt == Prompt::None;
    let sign_in = || {
        if silent {
            Next::Refuse(login_required())
        } else {
            Next::SignIn
        }
    };
    let known = flow
        .authentication
        .as_ref()
        .and_then(|authentication| Some((authentication, user(directory, authentication)?)));
    let Some((authentication, user)) = known else {
        return sign_in();
    };
    requests::note(|request| request.user(user));
    let resource = &request.requested.resource;
    let grant = Grant {
        user: user.oid,
        client: request.client.client_id,
        resource: resource.client_id,
    };
    let consented = {
        let stores = authority.stores();
        if stores.revoked_since(authentication).is_some() {
            drop(stores);
            return sign_in();
        }
        stores.consented(grant, now)
    };
    if origin == Origin::Session && !session_will_do(request, authentication, user, now) {
        return sign_in();
    }
    let granted = request
        .requested
        .granted(&request.client, user.oid, &consented);
    let asks = granted.is_err() || (request.prompt == Prompt::Consent && !flow.consented);
    if let Err(refusal) = granted
        && (silent
            || request
                .requested
                .consentable(&request.client, user.administrator)
                .is_none())
    {
        return Next::Refuse(refusal.error("consent_required"));
    }
    match (Question {
        directory,
        user,
        resource,
        demands: &request.demands,
        setting: Setting::Interactive,
        now,
    })
    .decide(authentication)
    {
        // Before consent: nobody is to grant anything to somebody else's device.
        Verdict::Satisfied(_) if matches!(flow.to, To::Device(_)) && !flow.confirmed => {
            Next::Device
        }
        Verdict::Satisfied(_) if asks => Next::Consent,
        Verdict::Satisfied(contexts) => Next::Grant(Authentication {
            contexts,
            ..authentication.clone()
        }),
        Verdict::Blocked => Next::Refuse(policy::blocked("access_denied")),
        Verdict::Unmet(unmet) if silent => {
            Next::Refuse(unmet.refusal(user, resource).error("interaction_required"))
        }
        Verdict::Unmet(unmet) if matches!(unmet.step, Step::SignIn | Step::SignInSince(_)) => {
            Next::SignIn
        }
        // Not `interaction_required`: another round would end here as well.
        Verdict::Unmet(_) if !user.can_mfa() => {
            Next::Refuse(policy::not_registered("access_denied", resource.client_id))
        }
        Verdict::Unmet(_) => Next::Mfa,
    }
}

fn session_will_do(
    request: &AuthorizeRequest,
    session: &Authentication,
    user: &User,
    now: u64,
) -> bool {
    let prompted = matches!(request.prompt, Prompt::Login | Prompt::SelectAccount);
    let other = request
        .login_hint
        .as_ref()
        .is_some_and(|hint| !hint.trim().eq_ignore_ascii_case(&user.username));
    let old = request
        .max_age
        .is_some_and(|max_age| max_age == 0 || now.saturating_sub(session.auth_time) > max_age);
    !prompted && !other && !old
}

fn login_required() -> Refusal {
    Refusal::new(
        "login_required",
        50_058,
        "A silent sign-in request was sent but no user is signed in.",
    )
}

fn user<'a>(directory: &'a Directory, authentication: &Authentication) -> Option<&'a User> {
    directory
        .users
        .iter()
        .find(|user| user.oid == authentication.user)
}

/// Stores the flow and draws the page that it waits on.
fn page(
    authority: &Authority,
    directory: &Directory,
    flow: Flow,
    id: Option<String>,
    complaint: Option<&'static str>,
) -> Response {
    let id = id.unwrap_or_else(random::secret);
    let view = pages::Page {
        directory,
        client: &flow.request.client.name,
        flow: &id,
        complaint,
    };
    let known = flow
        .authentication
        .as_ref()
        .and_then(|authentication| user(directory, authentication));
    let username = known.map_or("", |user| &user.username);
    let response = match flow.waiting {
        Waiting::Consent => pages::consent(
            &view,
            username,
            &consent::in_words(
                directory,
                &flow.request,
                known.is_some_and(|user| user.administrator),
            ),
        ),
        Waiting::Device => pages::device(
            &view,
            username,
            flow.request.client.client_id,
            &flow.request.requested.resource.name,
        ),
        Waiting::Mfa => pages::mfa(&view, username),
        Waiting::SignIn => pages::sign_in(
            &view,
            flow.request.login_hint.as_deref().unwrap_or_default(),
        ),
    };
    let now = authority.now();
    authority.stores().flows.insert(id, Box::new(flow), now);
    response
}

/// Whoever waits for the outcome hears why there is none.
fn refuse(authority: &Authority, flow: &Flow, refusal: &Refusal, method: &Method) -> Response {
    match &flow.to {
        To::Client(redirect) => {
            let (trace, now) = (flow.request.trace, authority.now());
            redirect.reply.refuse(refusal, trace, now, method)
        }
        To::Device(code) => device::refused(authority, flow, code, refusal),
    }
}

fn grant(
    authority: &Authority,
    directory: &Directory,
    flow: Flow,
    authentication: Authentication,
    method: &Method,
) -> Response {
    let redirect = match &flow.to {
        To::Client(redirect) => (**redirect).clone(),
        To::Device(code) => {
            tracing::info!(trace_id = %flow.request.trace.trace_id, "device granted");
            return device::granted(authority, directory, &flow, code, authentication);
        }
    };
    tracing::info!(trace_id = %flow.request.trace.trace_id, "code issued");
    let code = random::secret();
    let mut parameters = vec![
        ("code", code.clone()),
        ("session_state", authentication.sid.to_string()),
    ];
    if redirect.client_info {
        parameters.push((
            "client_info",
            client_info(authentication.user, directory.tenant.id),
        ));
    }
    let response = redirect.reply.send(parameters, method);
    let now = authority.now();
    authority.stores().codes.insert(
        code,
        Box::new(Code {
            request: flow.request,
            redirect,
            authentication,
            redeemed: None,
        }),
        now,
    );
    response
}
