//! The pages, drawn on the server; the start page's script only calls and shows.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::authority::AuthorityError;
use super::guard;
use super::problem::Problem;
use super::query::Params;
use super::session::Visitor;
use super::transactions::Purpose;
use super::vault::Seat;
use super::{App, DemoUser};

/// The page's head row: who is signed in.
struct Person<'a> {
    name: &'a str,
    username: &'a str,
    account: String,
    session_token: &'a str,
}

#[derive(Template)]
#[template(path = "spa/start.html")]
struct Start<'a> {
    person: Option<Person<'a>>,
    demo_users: &'a [DemoUser],
    notice: Option<&'static str>,
    operation: Option<Pending>,
}

/// An operation that the page is to run now.
struct Pending {
    id: String,
    /// Its path as the page knows it, empty if it is not kept any more.
    path: String,
}

#[derive(Template)]
#[template(path = "spa/id_token.html")]
struct IdTokenPage<'a> {
    person: Option<Person<'a>>,
    claims: &'a [(String, String)],
}

#[derive(Template)]
#[template(path = "spa/message.html")]
struct MessagePage<'a> {
    message: &'a Message,
}

/// One page that says what happened and how to go on.
#[derive(Debug)]
pub(super) struct Message {
    status: StatusCode,
    title: &'static str,
    text: &'static str,
    code: Option<String>,
    ways: Vec<Way>,
}

/// A link that leads on.
#[derive(Clone, Debug)]
pub(super) struct Way {
    target: String,
    label: &'static str,
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
    let operation = id.map(|id| {
        let kept = seat.and_then(|seat| {
            seat.operations()
                .peek(id, Instant::now())
                .map(|operation| format!("/api{}", operation.call.target))
        });
        Pending {
            path: kept.unwrap_or_default(),
            id: id.to_owned(),
        }
    });
    let page = Start {
        person: seat.map(person),
        demo_users: &app.demo_users,
        notice: query.one("notice").and_then(notice),
        operation,
    };
    draw(StatusCode::OK, &page)
}

/// `GET /id-token`.
pub(super) async fn id_token(visitor: Visitor) -> Response {
    match visitor.seat.as_deref() {
        Some(seat) => draw(
            StatusCode::OK,
            &IdTokenPage {
                person: Some(person(seat)),
                claims: &seat.id_claims,
            },
        ),
        None => Redirect::to("/auth/sign-in?return_to=/id-token").into_response(),
    }
}

/// `GET /session`: who is signed in, and the header token, for this origin's script alone.
pub(super) async fn session(visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    if guard::is_foreign(&headers) {
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

impl Message {
    fn new(status: StatusCode, title: &'static str, text: &'static str) -> Self {
        Self {
            status,
            title,
            text,
            code: None,
            ways: vec![Way {
                target: "/".into(),
                label: "Back to the start page",
            }],
        }
    }

    fn first(mut self, way: Way) -> Self {
        self.ways.insert(0, way);
        self
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something is wrong here",
            "This service has a fault of its own. It is in its log.",
        )
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "No such page",
            "There is nothing under this address.",
        )
    }

    pub(super) fn operation_gone() -> Self {
        Self::new(
            StatusCode::GONE,
            "This operation is not kept any more",
            "It was sent already, or it waited longer than ten minutes. It is not sent again by itself; start it anew if you still want it.",
        )
    }

    pub(super) fn session_ended() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Your session has ended",
            "You signed out, signed in anew, or were away for too long. What was waiting for your confirmation was not carried out.",
        )
        .first(Way::sign_in())
    }

    pub(super) fn sign_in_unknown() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This sign-in is no longer valid",
            "It was finished already, took longer than ten minutes, or was begun in another browser. Nothing has been changed.",
        )
        .first(Way::sign_in())
    }

    pub(super) fn wrong_authority() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This answer is not from our sign-in service",
            "The sign-in was given up. Nothing has been changed.",
        )
        .first(Way::sign_in())
    }

    /// `error` of an authorization response (RFC 6749 4.1.2.1), in our own words.
    pub(super) fn refused_by_authority(error: &str, again: Way) -> Self {
        let message = match error {
            "access_denied" => Self::new(
                StatusCode::OK,
                "The sign-in was cancelled",
                "You left the sign-in page, or did not agree to what was asked. Nothing has been changed.",
            ),
            "temporarily_unavailable" | "server_error" => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The sign-in service has a problem",
                "It could not finish the sign-in. Try again in a moment.",
            ),
            "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required" => Self::new(
                StatusCode::UNAUTHORIZED,
                "The sign-in is not complete",
                "The sign-in service needs more from you than it could ask for. Try again.",
            ),
            _ => Self::new(
                StatusCode::BAD_GATEWAY,
                "The sign-in service refused",
                "It did not accept the request of this application. Whoever runs it finds more in the sign-in service's log.",
            ),
        };
        Self {
            code: code(error),
            ..message
        }
        .first(again)
    }

    /// The authority gave nothing usable.
    pub(super) fn authority(error: &AuthorityError, again: Way) -> Self {
        let message = match error {
            AuthorityError::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The sign-in service does not answer",
                "It is not reachable at this moment. Nothing has been changed; try again in a moment.",
            ),
            AuthorityError::Unusable => Self::new(
                StatusCode::BAD_GATEWAY,
                "The sign-in service answered something unusable",
                "The sign-in was given up. Nothing has been changed.",
            ),
            AuthorityError::Interaction { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "The sign-in could not be finished",
                "The sign-in service did not accept its own answer any more. Try again.",
            ),
            AuthorityError::Misconfigured => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "This application is not set up correctly",
                "The sign-in service refuses it. Whoever runs it finds more in its log.",
            ),
        };
        message.first(again)
    }
}

impl Way {
    fn sign_in() -> Self {
        Self {
            target: "/auth/sign-in".into(),
            label: "Sign in",
        }
    }

    /// The same once more.
    pub(super) fn again(purpose: &Purpose) -> Self {
        match purpose {
            Purpose::SignIn(return_to) => {
                let query: String =
                    url::form_urlencoded::byte_serialize(return_to.as_str().as_bytes()).collect();
                Self {
                    target: format!("/auth/sign-in?return_to={query}"),
                    label: "Try again",
                }
            }
            Purpose::StepUp { operation, .. } => Self {
                target: format!("/auth/step-up?op={operation}"),
                label: "Try again",
            },
        }
    }
}

impl IntoResponse for Message {
    fn into_response(self) -> Response {
        draw(self.status, &MessagePage { message: &self })
    }
}

fn person(seat: &Seat) -> Person<'_> {
    Person {
        name: &seat.account.name,
        username: &seat.account.username,
        account: seat.account.id(),
        session_token: &seat.header_token,
    }
}

fn notice(name: &str) -> Option<&'static str> {
    match name {
        "other-account" => Some(
            "Somebody else signed in. What was waiting was dropped without being sent, and you are still signed in as before.",
        ),
        "signed-out-here" => Some(
            "You are signed out here. The sign-in service could not be told; its own session may go on.",
        ),
        _ => None,
    }
}

/// An error code as the registry writes them, or nothing.
fn code(error: &str) -> Option<String> {
    let plain = error.len() <= 64 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then(|| error.to_owned())
}

fn draw(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}
