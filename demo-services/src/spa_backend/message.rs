//! Pages that say in our own words what happened and how to go on. Nothing of what a stranger sent is repeated on them.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::authority::AuthorityError;
use super::pages::draw;
use super::problem::retry_later;
use super::transactions::Purpose;

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

impl Message {
    fn new(status: StatusCode, title: &'static str, text: &'static str) -> Self {
        Self {
            status,
            title,
            text,
            code: None,
            ways: vec![Way::start()],
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

    /// Whether somebody is signed in cannot be told at this moment.
    pub(super) fn sessions_away() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Sessions cannot be reached",
            "Where this service keeps its sessions does not answer at this moment. Yours need not be lost by that, and nothing was sent; \
             load this page again in a moment.",
        )
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "This answer is too large",
            "The sign-in service answered more than it may, or the answer broke off. Nothing has been changed.",
        )
        .first(Way::sign_in())
    }

    pub(super) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "This answer did not arrive in time",
            "The sign-in service's answer came too slowly through this browser. Nothing has been changed.",
        )
        .first(Way::sign_in())
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "No such page",
            "There is nothing under this address.",
        )
    }

    pub(super) fn not_a_page() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This address is a page of its own",
            "It cannot be part of another page. Nothing has been changed.",
        )
        .first(Way::sign_in())
    }

    pub(super) fn operation_gone() -> Self {
        Self::new(
            StatusCode::GONE,
            "This operation is not kept any more",
            "It was run already, or it waited longer than ten minutes. It is not run again by itself; start it anew if you still want it.",
        )
    }

    pub(super) fn session_ended() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Your session has ended",
            "You signed out, signed in anew, or were away for too long, or the session was lost here. What was waiting for your confirmation was not carried out.",
        )
        .first(Way::sign_in())
    }

    /// A sign-in that this browser does not have under way. The Back button leads here, too: then the person is signed in.
    pub(super) fn sign_in_unknown(signed_in: bool) -> Self {
        if signed_in {
            return Self::new(
                StatusCode::BAD_REQUEST,
                "This sign-in is no longer valid",
                "It was finished already, and you are signed in. Nothing has been changed.",
            );
        }
        Self::new(
            StatusCode::BAD_REQUEST,
            "This sign-in is no longer valid",
            "It was finished already, took longer than ten minutes, was begun in another browser, got lost here, or cookies are blocked. \
             Nothing has been changed, and nothing that waited for it was sent.",
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
    pub(super) fn refused_by_authority(error: &str, purpose: &Purpose) -> Self {
        let message = match (error, purpose) {
            ("access_denied", Purpose::StepUp { .. }) => Self::new(
                StatusCode::OK,
                "Your call was not confirmed",
                "The confirmation was cancelled, was tried too often, or your account has no second factor yet. You are still signed in, \
                 nothing has been sent, and your call waits for ten minutes.",
            ),
            ("access_denied", _) => Self::new(
                StatusCode::OK,
                "The sign-in was not completed",
                "It was cancelled, was tried too often, or this account cannot give what is asked for, such as a second factor. \
                 Nothing has been changed.",
            )
            .first(Way::other_account()),
            ("temporarily_unavailable" | "server_error", _) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The sign-in service has a problem",
                "It could not finish the sign-in. Try again in a moment.",
            ),
            (
                "login_required"
                | "interaction_required"
                | "consent_required"
                | "account_selection_required",
                _,
            ) => Self::new(
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
        .first(Way::again(purpose))
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

    fn start() -> Self {
        Self {
            target: "/".into(),
            label: "Back to the start page",
        }
    }

    fn other_account() -> Self {
        Self {
            target: "/auth/sign-in?prompt=select_account".into(),
            label: "Use another account",
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
        retry_later(draw(self.status, &MessagePage { message: &self }))
    }
}

/// An error code as the registry writes them, or nothing.
fn code(error: &str) -> Option<String> {
    let plain = error.len() <= 64 && error.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then(|| error.to_owned())
}
