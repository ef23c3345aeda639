//! Refusals of the routes that the page's script calls, as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::demand::Demand;

/// One refusal: a stable `error`, a sentence for the person, and where to go if somewhere helps.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(serialize_with = "number")]
    status: StatusCode,
    title: &'static str,
    pub(super) error: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    go: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        Self {
            status,
            title,
            error,
            detail: detail.into(),
            go: None,
            correlation_id: None,
        }
    }

    /// The operation waits until the person has been at the authority.
    pub(super) fn interaction(demand: &Demand, operation: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, demand.error(), demand.detail())
            .go(format!("/auth/step-up?op={operation}"))
    }

    /// Nobody is signed in here (any more).
    pub(super) fn signed_out() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "sign_in_required",
            "You are not signed in, or your session has ended. Nothing was sent.",
        )
        .go("/auth/sign-in")
    }

    /// Whether somebody is signed in cannot be told at this moment.
    pub(super) fn sessions_away() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "sessions_unavailable",
            "Your session cannot be reached at this moment. It need not be lost by that, and nothing was sent; try again in a moment.",
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "This service has a fault of its own. It is in its log.",
        )
    }

    pub(super) fn go(mut self, target: impl Into<String>) -> Self {
        self.go = Some(target.into());
        self
    }

    /// The same with another sentence.
    pub(super) fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(super) fn correlated(mut self, id: &str) -> Self {
        self.correlation_id = Some(id.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = [(CONTENT_TYPE, "application/problem+json")];
        retry_later((self.status, content_type, body).into_response())
    }
}

/// Says when to come again, if the answer is a 503.
pub(super) fn retry_later(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
