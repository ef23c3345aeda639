//! The pages, drawn on the server; the start page's script only calls and shows.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::controls::DemoState;
use super::guard;
use super::message::Message;
use super::problem::Problem;
use super::query::Params;
use super::session::{Known, Visitor};
use super::vault::Seat;
use super::{App, DemoUser};

/// The page's head row: who is signed in.
pub(super) struct Person<'a> {
    pub(super) name: &'a str,
    pub(super) username: &'a str,
    pub(super) account: String,
    pub(super) session_token: &'a str,
    /// Whether there is the page of the public client in the browser.
    pub(super) msal: bool,
}

#[derive(Template)]
#[template(path = "spa/start.html")]
struct Start<'a> {
    person: Option<Person<'a>>,
    demo_users: &'a [DemoUser],
    notice: Option<&'static str>,
    operation: Option<Pending>,
    demo: Option<DemoState>,
    /// Whether events are kept of which a picture could be drawn.
    picture: bool,
    ca_file: Option<&'a str>,
}

/// An operation that the page is to run now.
struct Pending {
    id: String,
    /// Its path as the page knows it, empty if it is not kept any more.
    path: String,
    /// The flow that its picture goes on in.
    flow: Option<Uuid>,
}

#[derive(Template)]
#[template(path = "spa/id_token.html")]
struct IdTokenPage<'a> {
    person: Option<Person<'a>>,
    claims: &'a [(String, String)],
}

/// `GET /`.
pub(super) async fn start(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    query: Params,
) -> Response {
    let seat = visitor.seat.as_deref();
    let id = query
        .one("op")
        .filter(|id| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let mut operation = id.map(|id| Pending {
        path: String::new(),
        id: id.to_owned(),
        flow: None,
    });
    if let (Some(seat), Some(pending)) = (seat, &mut operation) {
        match seat.operations().peek(&pending.id).await {
            Ok(Some(kept)) => {
                pending.path = format!("/api{}", kept.call.target);
                pending.flow = kept.flow;
            }
            Ok(None) => {}
            Err(_) => return Message::sessions_away().into_response(),
        }
    }
    let page = Start {
        person: seat.map(|seat| person(&app, seat)),
        demo_users: &app.demo_users,
        notice: query.one("notice").and_then(notice),
        operation,
        demo: app.controls.as_ref().map(|controls| controls.state()),
        picture: app.flows.is_on(),
        ca_file: app.ca_file.as_deref(),
    };
    draw(StatusCode::OK, &page)
}

/// `GET /id-token`.
pub(super) async fn id_token(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    match visitor.seat.as_deref() {
        Some(seat) => draw(
            StatusCode::OK,
            &IdTokenPage {
                person: Some(person(&app, seat)),
                claims: &seat.id_claims,
            },
        ),
        None => Redirect::to("/auth/sign-in?return_to=/id-token").into_response(),
    }
}

/// `GET /session`: who is signed in, and the header token, for this origin's script alone.
pub(super) async fn session(
    State(app): State<Arc<App>>,
    Known(visitor): Known,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if guard::is_foreign(&headers, &app.settings.origin) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "This may only be read by this service's own page.",
        ));
    }
    let body = match visitor.seat.as_deref() {
        Some(seat) => json!({
            "signed_in": true,
            "name": seat.account.name,
            "username": seat.account.username,
            "account": seat.account.id(),
            "session_token": seat.header_token,
        }),
        None => json!({ "signed_in": false }),
    };
    Ok(Json(body).into_response())
}

/// Everything else.
pub(super) async fn not_found() -> Response {
    Message::not_found().into_response()
}

pub(super) fn person<'a>(app: &App, seat: &'a Seat) -> Person<'a> {
    Person {
        name: &seat.account.name,
        username: &seat.account.username,
        account: seat.account.id(),
        session_token: &seat.header_token,
        msal: app.msal,
    }
}

pub(super) fn notice(name: &str) -> Option<&'static str> {
    match name {
        "other-account" => Some(
            "Somebody else signed in. What was waiting was dropped without being sent, and you are still signed in as before.",
        ),
        "session-ended" => Some(
            "Your session had ended. What was waiting for your confirmation was not carried out.",
        ),
        "signed-out-here" => Some(
            "You are signed out here. The sign-in service could not be told; its own session may go on.",
        ),
        _ => None,
    }
}

/// A page, or a plain refusal if it cannot be drawn.
pub(super) fn draw(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}
