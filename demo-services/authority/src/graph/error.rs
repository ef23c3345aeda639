//! Errors in Microsoft Graph's form (`microsoft-graph-docs`, `concepts/errors.md`).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::clock;
use crate::directory::DirectoryError;
use crate::errors::Trace;

/// Why a request to Graph is refused.
#[derive(Clone, Debug)]
pub(crate) struct GraphError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    message: String,
    /// Value of `WWW-Authenticate`.
    challenge: Option<String>,
    /// `innerError.message`, where the reason stands there.
    inner: Option<String>,
}

impl GraphError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            challenge: None,
            inner: None,
        }
    }

    pub(super) fn challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// A refusal of Conditional Access that has its reason inside.
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        let mut error = Self::protocol(
            "The server could not process the request because it is malformed or incorrect.",
        );
        error.inner = Some(reason.into());
        error
    }

    /// The protocol was not kept: JSON, OData.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// A rule of the directory was not kept.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request_BadRequest", message)
    }

    pub(super) fn unknown_property(name: &str) -> Self {
        Self::bad(format!("Invalid property '{name}'."))
    }

    pub(super) fn invalid_value(property: &str, resource: &str) -> Self {
        Self::bad(format!(
            "Invalid value specified for property '{property}' of resource '{resource}'."
        ))
    }

    pub(super) fn read_only(property: &str) -> Self {
        Self::bad(format!(
            "Property '{property}' is read-only and cannot be set."
        ))
    }

    pub(super) fn denied() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        )
    }

    /// Conditional Access says it in its own way.
    pub(super) fn scopes_missing() -> Self {
        Self::access_denied(
            "You cannot perform the requested operation, required scopes are missing in the token.",
        )
    }

    pub(super) fn not_licensed() -> Self {
        Self::access_denied(
            "Your tenant is not licensed for this feature. Please upgrade your subscription to access it.",
        )
    }

    fn access_denied(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    pub(super) fn not_found(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "Request_ResourceNotFound",
            format!(
                "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Request_MultipleObjectsWithSameKeyValue",
            message,
        )
    }

    /// A fault of this authority.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "The request was not carried out.",
        )
    }

    pub(super) fn quota(what: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Directory_QuotaExceeded",
            format!("There are too many {what}."),
        )
    }

    pub(super) fn response(self, trace: Trace, now: u64) -> Response {
        let mut inner = json!({
            "date": clock::timestamp(now).replace(' ', "T").trim_end_matches('Z'),
            "request-id": trace.trace_id.to_string(),
            "client-request-id": trace.correlation_id.to_string(),
        });
        if let (Some(reason), Value::Object(inner)) = (self.inner, &mut inner) {
            inner.insert("message".to_owned(), reason.into());
        }
        let body = json!({
            "error": { "code": self.code, "message": self.message, "innerError": inner },
        });
        let mut response = (self.status, Json(body)).into_response();
        let challenge = self.challenge.map(HeaderValue::try_from);
        if let Some(Ok(challenge)) = challenge {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<DirectoryError> for GraphError {
    fn from(error: DirectoryError) -> Self {
        Self::bad(format!(
            "One or more property values specified are invalid. {error}"
        ))
    }
}
