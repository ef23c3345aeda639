//! Why a profile is not shown or not changed, in words, as `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value};

use super::profile_change::Invalid;
use crate::problem::CorrelationId;

/// Seconds to wait when Graph does not say how long.
const LATER: u64 = 5;
/// The longest wait that is passed on, in seconds.
const LATEST: u64 = 3600;

/// What was wanted of Graph: what a fault means depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    View,
    Change,
}

/// One refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    detail: String,
    /// The member that it is about.
    field: Option<&'static str>,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            error,
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    pub(super) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "A change is sent as application/json. Nothing was changed.",
        )
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The change is larger than 4 KiB, or broke off. Nothing was changed.",
        )
    }

    pub(super) fn slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_request",
            "The change did not arrive in time. Nothing was changed.",
        )
    }

    /// An answer of Graph to a call that was to view or change a profile, which is neither a success nor a refused token (401).
    ///
    /// A status of the 4xx means that nothing was done, 503 that it was not even tried. After any other one it is not known.
    pub(super) fn of_graph(wanted: Wanted, status: StatusCode, headers: &HeaderMap) -> Self {
        let nothing = match wanted {
            Wanted::View => "",
            Wanted::Change => " Nothing was changed.",
        };
        match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY
                if wanted == Wanted::Change =>
            {
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "change_refused",
                    "The directory does not take these values. Nothing was changed.",
                )
            }
            StatusCode::FORBIDDEN => Self::new(
                StatusCode::FORBIDDEN,
                "profile_forbidden",
                format!("The directory does not allow this.{nothing}"),
            ),
            StatusCode::NOT_FOUND => Self::new(
                StatusCode::NOT_FOUND,
                "no_profile",
                "The directory has no profile of yours.",
            ),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Self::later(wanted, later(headers))
            }
            status if status.is_client_error() => Self::new(
                StatusCode::BAD_GATEWAY,
                "profile_broken",
                format!("The directory did not understand this service.{nothing}"),
            ),
            _ => Self::lost(wanted),
        }
    }

    /// Graph did nothing, and may do it later.
    fn later(wanted: Wanted, seconds: u64) -> Self {
        let nothing = match wanted {
            Wanted::View => "Your profile cannot be shown",
            Wanted::Change => "Nothing was changed",
        };
        Self {
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "directory_busy",
                format!(
                    "The directory does not answer at this moment. {nothing}; try again shortly."
                ),
            )
        }
    }

    /// Graph could not be reached, so that nothing was sent.
    pub(super) fn unreachable(wanted: Wanted) -> Self {
        Self::later(wanted, LATER)
    }

    /// There is no complete answer of Graph, to a call that was sent.
    pub(super) fn lost(wanted: Wanted) -> Self {
        match wanted {
            Wanted::View => Self::later(wanted, LATER),
            Wanted::Change => Self::new(
                StatusCode::BAD_GATEWAY,
                "outcome_unknown",
                "The directory did not answer. Whether the change was applied is unknown; it is not sent again by itself.",
            ),
        }
    }

    /// Graph's answer is no profile.
    pub(super) fn unusable() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "profile_broken",
            "The directory answered something that is no profile.",
        )
    }

    pub(super) fn into_response(self, id: Option<CorrelationId>) -> Response<Full<Bytes>> {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        put("error", self.error.into());
        put("status", self.status.as_u16().into());
        put("detail", self.detail.into());
        if let Some(field) = self.field {
            put("field", field.into());
        }
        if let Some(CorrelationId(id)) = id {
            put("correlation_id", id.to_string().into());
        }
        let mut response = Response::new(Full::from(Value::Object(document).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self {
            field: invalid.field(),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "invalid_change",
                format!("{invalid} Nothing was changed."),
            )
        }
    }
}

/// `Retry-After` in seconds, within reason. Graph sends no dates.
fn later(headers: &HeaderMap) -> u64 {
    let said = headers.get(header::RETRY_AFTER);
    let said = said.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    said.map_or(LATER, |seconds: u64| seconds.clamp(1, LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_graph_is_told_by_what_it_means() {
        use Wanted::{Change, View};
        for (status, wanted, told, error) in [
            (400, Change, 422, "change_refused"),
            (400, View, 502, "profile_broken"),
            (403, Change, 403, "profile_forbidden"),
            (403, View, 403, "profile_forbidden"),
            (404, Change, 404, "no_profile"),
            (409, Change, 502, "profile_broken"),
            (429, Change, 503, "directory_busy"),
            (429, View, 503, "directory_busy"),
            (503, Change, 503, "directory_busy"),
            (500, Change, 502, "outcome_unknown"),
            (504, Change, 502, "outcome_unknown"),
            (500, View, 503, "directory_busy"),
            (302, Change, 502, "outcome_unknown"),
            (302, View, 503, "directory_busy"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::of_graph(wanted, status, &HeaderMap::new());
            assert_eq!(refusal.status.as_u16(), told, "{status} {wanted:?}");
            assert_eq!(refusal.error, error, "{status} {wanted:?}");
            assert_eq!(
                refusal.retry_after.is_some(),
                told == 503,
                "{status} {wanted:?}"
            );
        }
    }

    #[test]
    fn a_wait_is_passed_on_within_reason() {
        for (said, told) in [
            (None, 5),
            (Some("17"), 17),
            (Some("0"), 1),
            (Some("86400"), 3600),
            (Some("-1"), 5),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), 5),
        ] {
            let headers = said.map(|said| (header::RETRY_AFTER, said.parse().unwrap()));
            assert_eq!(later(&headers.into_iter().collect()), told, "{said:?}");
        }
    }
}
