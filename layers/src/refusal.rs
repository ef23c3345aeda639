//! Answers as responses, over HTTP and over gRPC.

use std::error::Error;
use std::fmt;

use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use crate::challenge::{Answer, Carried, RefusalKind, find};
use crate::grpc::is_grpc;
use crate::resource::Resource;

/// A boxed error, as tower's own layers return.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A response body that can be made empty, for a refusal in place of the inner service's response.
///
/// Implemented for every body with a `Default`: `Full`, `Empty`, boxed bodies, axum's, tonic's and reqwest's `Body`.
#[diagnostic::on_unimplemented(
    message = "tower-bearer cannot make an empty `{Self}` for a refusal",
    note = "box the body inside of the tower-bearer layers, for example with `tower::ServiceBuilder::map_response` and \
            `http_body_util::BodyExt::boxed_unsync`, or put the layer that changes the body outside"
)]
pub trait RefusalBody {
    /// The empty body.
    fn empty() -> Self;
}

#[diagnostic::do_not_recommend]
impl<B: Default> RefusalBody for B {
    fn empty() -> Self {
        B::default()
    }
}

/// Stands in the extensions of every response that a layer of this crate refused with or rewrote, so that outer layers can tell
/// one 403 from another, count them, or add a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(RefusalKind);

/// Any error of a handler, to be answered by [`PropagateChallenge`](crate::PropagateChallenge): `?` works on everything.
///
/// As a response it is a 500 that carries the demand in its extensions. `PropagateChallenge` turns that into the
/// challenge; where the layer is forgotten, the 500 and an error in the log show it. The text of an error that demands
/// nothing goes to the log.
pub struct CallError(BoxError);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl Refused {
    /// Why it was refused.
    #[must_use]
    pub fn kind(self) -> RefusalKind {
        self.0
    }
}

impl CallError {
    /// The error.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.0
    }

    /// The response: 500 and empty, with the demand in its extensions if the error carries one.
    #[must_use]
    pub fn into_response<B: RefusalBody>(self) -> Response<B> {
        let mut response = Response::new(B::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        match find(self.0.as_ref()) {
            Some(carried) => {
                carried.expect_printing();
                response.extensions_mut().insert(carried);
            }
            None => tracing::error!(kind = "handler_failed", error = %self.0, "a handler failed"),
        }
        response
    }
}

impl<E: Into<BoxError>> From<E> for CallError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallError").field(&self.0).finish()
    }
}

/// Is the caller to be answered over gRPC, whose status is no HTTP status? Every call of gRPC is a POST; to take the content type
/// alone for it would let any caller turn a refusal into a 200.
pub(crate) fn is_grpc_call<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && is_grpc(request.headers())
}

/// A new response for an answer. `resource` is missing only where the answer is our own fault.
pub(crate) fn respond<B: RefusalBody>(
    answer: &Answer,
    resource: Option<&Resource>,
    grpc: bool,
) -> Response<B> {
    let mut response = Response::new(B::empty());
    amend(&mut response, answer, resource, grpc);
    response
}

/// Turns a handler's own response into the answer: status and challenge change, its other headers (cookies, CORS, trace ids) stay.
pub(crate) fn amend<B>(
    response: &mut Response<B>,
    answer: &Answer,
    resource: Option<&Resource>,
    grpc: bool,
) {
    let status = status(answer);
    let headers = response.headers_mut();
    headers.remove(WWW_AUTHENTICATE);
    if let Some(value) = resource.and_then(|resource| resource.printed_challenge(answer)) {
        headers.insert(WWW_AUTHENTICATE, value);
        headers.append(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("WWW-Authenticate"),
        );
    }
    if let Answer::Unavailable { retry_after } = answer {
        headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after));
    }
    if grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from_static(grpc_status(status)));
        headers.remove(GRPC_MESSAGE);
    }
    *response.status_mut() = if grpc { StatusCode::OK } else { status };
    response.extensions_mut().remove::<Carried>();
    response.extensions_mut().insert(Refused(answer.kind()));
}

fn status(answer: &Answer) -> StatusCode {
    match answer {
        Answer::MissingToken
        | Answer::InvalidToken
        | Answer::InsufficientClaims(_)
        | Answer::StepUp(_) => StatusCode::UNAUTHORIZED,
        Answer::InvalidRequest => StatusCode::BAD_REQUEST,
        Answer::InsufficientScope(_) | Answer::ConsentRequired | Answer::Forbidden => {
            StatusCode::FORBIDDEN
        }
        Answer::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Answer::BadGateway => StatusCode::BAD_GATEWAY,
        Answer::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE or INTERNAL.
fn grpc_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 401 => "16",
        403 => "7",
        429 | 502 | 503 => "14",
        _ => "13",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::challenge::ChallengeRequired;
    use crate::claims::ClaimsRequest;

    fn resource() -> Resource {
        Authority::entra("11111111-2222-3333-4444-555555555555")
            .unwrap()
            .resource("api://x")
            .unwrap()
    }

    fn answers() -> [(Answer, u16, &'static str, bool); 10] {
        let claims = ClaimsRequest::acrs("c1").unwrap();
        [
            (Answer::MissingToken, 401, "16", true),
            (Answer::InvalidRequest, 400, "16", true),
            (Answer::InvalidToken, 401, "16", true),
            (Answer::InsufficientScope("a".to_owned()), 403, "7", true),
            (Answer::InsufficientClaims(claims), 401, "16", true),
            (Answer::ConsentRequired, 403, "7", true),
            (Answer::Forbidden, 403, "7", false),
            (Answer::Internal, 500, "13", false),
            (Answer::BadGateway, 502, "14", false),
            (Answer::Unavailable { retry_after: 7 }, 503, "14", false),
        ]
    }

    #[test]
    fn status_and_challenge_over_http() {
        for (answer, status, _, challenged) in answers() {
            let response: Response<String> = respond(&answer, Some(&resource()), false);
            assert_eq!(response.status(), status, "{answer:?}");
            assert_eq!(
                response.headers().contains_key(WWW_AUTHENTICATE),
                challenged,
                "{answer:?}"
            );
            let exposed = response.headers().get(ACCESS_CONTROL_EXPOSE_HEADERS);
            assert_eq!(
                exposed.is_some_and(|value| value == "WWW-Authenticate"),
                challenged,
                "{answer:?}"
            );
            assert_eq!(
                response.headers().contains_key(RETRY_AFTER),
                status == 503,
                "{answer:?}"
            );
            assert_eq!(
                response.extensions().get::<Refused>().unwrap().kind(),
                answer.kind()
            );
        }
    }

    #[test]
    fn status_and_challenge_over_grpc() {
        for (answer, _, status, challenged) in answers() {
            let response: Response<String> = respond(&answer, Some(&resource()), true);
            assert_eq!(response.status(), 200, "{answer:?}");
            assert_eq!(response.headers()[GRPC_STATUS], status, "{answer:?}");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
            assert_eq!(
                response.headers().contains_key(WWW_AUTHENTICATE),
                challenged,
                "{answer:?}"
            );
        }
    }

    #[test]
    fn amending_keeps_the_handlers_other_headers() {
        let mut response = Response::builder()
            .header("set-cookie", "a=b")
            .header(WWW_AUTHENTICATE, "Bearer realm=\"foreign\"")
            .header(ACCESS_CONTROL_EXPOSE_HEADERS, "X-Trace")
            .body("kept")
            .unwrap();
        amend(
            &mut response,
            &Answer::MissingToken,
            Some(&resource()),
            false,
        );
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["set-cookie"], "a=b");
        assert_eq!(
            response.headers().get_all(WWW_AUTHENTICATE).iter().count(),
            1
        );
        assert!(
            !response.headers()[WWW_AUTHENTICATE]
                .to_str()
                .unwrap()
                .contains("foreign")
        );
        assert_eq!(
            response
                .headers()
                .get_all(ACCESS_CONTROL_EXPOSE_HEADERS)
                .iter()
                .count(),
            2
        );
        assert_eq!(*response.body(), "kept");
    }

    #[test]
    fn amending_a_plain_response_makes_it_grpc() {
        let mut response: Response<String> = CallError::from("x").into_response();
        amend(
            &mut response,
            &Answer::MissingToken,
            Some(&resource()),
            true,
        );
        assert_eq!(
            (response.status().as_u16(), &response.headers()[GRPC_STATUS]),
            (200, &HeaderValue::from_static("16"))
        );
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
    }

    #[test]
    fn call_error_is_a_500_that_carries_the_demand() {
        let demand = ChallengeRequired::new(Answer::ConsentRequired);
        let response: Response<String> = CallError::from(demand).into_response();
        assert_eq!(response.status(), 500);
        assert!(response.extensions().get::<Carried>().is_some());
        let response: Response<String> = CallError::from("other").into_response();
        assert!(response.extensions().get::<Carried>().is_none());
    }
}
