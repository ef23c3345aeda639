//! Error responses that say something: an empty body of status 400 or more becomes `application/problem+json`.
//!
//! Nothing of the authority's or a lower tier's text gets in: the token comes from the status, or from a fixed string
//! that the service put into the response's extensions.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tower_bearer::{RefusalKind, Refused};
use uuid::Uuid;

/// Carries the correlation id, towards a service and back to the caller.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// What joins a response with the log lines about it; in the request's extensions below [`ProblemLayer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrelationId(pub Uuid);

impl CorrelationId {
    /// The caller's id if it sent a well-formed one, so that one id goes through all tiers; else a new one.
    fn of<B>(request: &Request<B>) -> Self {
        let sent = request.headers().get(CORRELATION_ID);
        let sent = sent.and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
        Self(sent.unwrap_or_else(Uuid::new_v4))
    }

    /// What the log events of a request stand in.
    pub(crate) fn span(self, tier: &'static str) -> tracing::Span {
        tracing::info_span!("request", tier, correlation_id = %self.0)
    }

    /// As a header value.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        let mut buffer = Uuid::encode_buffer();
        // A UUID's text is a legal header value; the fallback can not be reached.
        HeaderValue::from_str(self.0.as_hyphenated().encode_lower(&mut buffer))
            .unwrap_or(HeaderValue::from_static(""))
    }
}

/// Response extension by which a service names its refusal more precisely than the status does, such as
/// `consent_required`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemToken(pub &'static str);

/// Gives error responses without a body a problem document, every response its correlation id, and the log events of a request
/// a span that says so.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ProblemLayer {
    tier: &'static str,
}

impl ProblemLayer {
    /// `tier` tells the log events of this service from those of others in the same process.
    pub fn new(tier: &'static str) -> Self {
        Self { tier }
    }
}

impl<S> Layer<S> for ProblemLayer {
    type Service = Problem<S>;

    fn layer(&self, inner: S) -> Problem<S> {
        Problem {
            inner,
            tier: self.tier,
        }
    }
}

/// The service of [`ProblemLayer`].
#[derive(Clone, Debug)]
pub struct Problem<S> {
    inner: S,
    tier: &'static str,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Problem<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<Either<ResBody, Full<Bytes>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let id = CorrelationId::of(&request);
        request.extensions_mut().insert(id);
        let span = id.span(self.tier);
        let inner = span.in_scope(|| self.inner.call(request));
        ResponseFuture { inner, id, span }
    }
}

pin_project! {
    /// The future of [`Problem`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        id: CorrelationId,
        span: tracing::Span,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<Either<B, Full<Bytes>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.span.in_scope(|| this.inner.poll(cx)))?;
        Poll::Ready(Ok(fill(response, *this.id)))
    }
}

fn fill<B: Body<Data = Bytes>>(
    response: Response<B>,
    id: CorrelationId,
) -> Response<Either<B, Full<Bytes>>> {
    let (mut head, body) = response.into_parts();
    head.headers.insert(CORRELATION_ID, id.to_header());
    let failed = head.status.is_client_error() || head.status.is_server_error();
    if !failed || body.size_hint().exact() != Some(0) {
        return Response::from_parts(head, Either::Left(body));
    }
    let token = match (
        head.extensions.get::<ProblemToken>(),
        head.extensions.get::<Refused>(),
    ) {
        (Some(token), _) => token.0,
        (None, Some(refused)) => token_of_refusal(*refused, head.status),
        (None, None) => token_of(head.status),
    };
    let document = serde_json::json!({
        "error": token,
        "status": head.status.as_u16(),
        "correlation_id": id.0.to_string(),
    });
    let document = Bytes::from(document.to_string());
    head.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
    head.headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Response::from_parts(head, Either::Right(Full::new(document)))
}

/// The words of the challenge where there is one, so that a page may read either.
fn token_of_refusal(refused: Refused, status: StatusCode) -> &'static str {
    match refused.kind() {
        RefusalKind::ConsentRequired => "consent_required",
        RefusalKind::InsufficientClaims => "insufficient_claims",
        RefusalKind::InsufficientScope => "insufficient_scope",
        RefusalKind::InvalidRequest => "invalid_request",
        RefusalKind::InvalidToken => "invalid_token",
        RefusalKind::StepUp => "insufficient_user_authentication",
        _ => token_of(status),
    }
}

fn token_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::MISDIRECTED_REQUEST => "misdirected_request",
        StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "headers_too_large",
        StatusCode::BAD_GATEWAY => "bad_gateway",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::GATEWAY_TIMEOUT => "timeout",
        other if other.is_client_error() => "refused",
        _ => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
    use http_body_util::BodyExt;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    async fn through(
        response: Response<Full<Bytes>>,
        request: Request<()>,
    ) -> (http::response::Parts, Bytes) {
        let mut response = Some(response);
        let inner = service_fn(move |_: Request<()>| {
            let response = response.take().unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        let response = ProblemLayer::new("test")
            .layer(inner)
            .oneshot(request)
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn an_empty_refusal_gets_a_document_and_keeps_its_headers() {
        let refusal = Response::builder()
            .status(401)
            .header(WWW_AUTHENTICATE, "Bearer realm=\"x\"")
            .header(RETRY_AFTER, "7")
            .header(CONTENT_LENGTH, "0")
            .body(Full::default())
            .unwrap();
        let (head, body) = through(refusal, Request::new(())).await;
        assert_eq!(head.status, 401);
        assert_eq!(head.headers[WWW_AUTHENTICATE], "Bearer realm=\"x\"");
        assert_eq!(head.headers[RETRY_AFTER], "7");
        assert_eq!(head.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(head.headers[CONTENT_LENGTH], body.len().to_string());
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["error"], "unauthorized");
        assert_eq!(document["status"], 401);
        assert_eq!(
            document["correlation_id"],
            head.headers[CORRELATION_ID].to_str().unwrap()
        );
    }

    #[tokio::test]
    async fn a_service_may_name_its_refusal() {
        let mut refusal = Response::new(Full::default());
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        refusal
            .extensions_mut()
            .insert(ProblemToken("consent_required"));
        let (_, body) = through(refusal, Request::new(())).await;
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["error"], "consent_required");
    }

    #[tokio::test]
    async fn answers_and_refusals_with_a_body_pass_unchanged() {
        for (status, text) in [(200, ""), (200, "yes"), (304, ""), (404, "no such page")] {
            let response = Response::builder()
                .status(status)
                .body(Full::from(text))
                .unwrap();
            let (head, body) = through(response, Request::new(())).await;
            assert_eq!(body, text, "{status}");
            assert!(!head.headers.contains_key(CONTENT_TYPE), "{status}");
        }
    }

    #[tokio::test]
    async fn only_a_well_formed_correlation_id_is_taken_over() {
        let sent = "8a5c9f0e-54f8-4b55-9d5c-0f6a1c7b2d3e";
        for (value, kept) in [
            (sent, true),
            ("8a5c9f0e", false),
            ("x\" onload=\"alert(1)", false),
        ] {
            let request = Request::builder()
                .header(CORRELATION_ID, value)
                .body(())
                .unwrap();
            let (head, _) = through(Response::new(Full::default()), request).await;
            assert_eq!(head.headers[CORRELATION_ID] == value, kept, "{value}");
        }
    }
}
