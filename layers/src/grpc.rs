//! What of gRPC shows in a head: its content type, and the status of a response without messages.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

/// Is this a gRPC message? By its content type, as the protocol says.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The status of a response: over gRPC, whose HTTP status is 200, the HTTP status that the one of a response without messages
/// (trailers-only) stands for.
pub(crate) fn status_of<B>(response: &Response<B>) -> StatusCode {
    let headers = response.headers();
    let status = headers.get("grpc-status").filter(|_| is_grpc(headers));
    match (response.status(), status.map(HeaderValue::as_bytes)) {
        // Who refuses over HTTP means it, whatever else stands there.
        (refused @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => refused,
        (_, Some(b"16")) => StatusCode::UNAUTHORIZED,
        (_, Some(b"7")) => StatusCode::FORBIDDEN,
        (_, Some(_)) => StatusCode::OK,
        (status, None) => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let headers = |value: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
        };
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=x",
        ] {
            assert!(is_grpc(&headers(good)), "{good}");
        }
        for bad in [
            "application/grpc-web",
            "application/grpcx",
            "application/json",
            "",
        ] {
            assert!(!is_grpc(&headers(bad)), "{bad}");
        }
    }

    #[test]
    fn a_status_of_grpc_counts_where_http_refuses_nothing() {
        for (http, kind, grpc, expected) in [
            (200, "application/grpc", "16", 401),
            (200, "application/grpc", "7", 403),
            (200, "application/grpc", "0", 200),
            (200, "application/grpc", "", 200),
            (200, "text/plain", "16", 200),
            (401, "application/grpc", "0", 401),
            (403, "application/grpc", "16", 403),
            (503, "text/plain", "16", 503),
        ] {
            let response = Response::builder()
                .status(http)
                .header(CONTENT_TYPE, kind)
                .header("grpc-status", grpc);
            let response = response.body(()).unwrap();
            assert_eq!(status_of(&response), expected, "{http} {kind} {grpc}");
        }
    }
}
