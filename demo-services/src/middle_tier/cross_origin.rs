//! Pages of other origins that may call this API from a browser (CORS, Fetch standard): an allow-list, no cookies.

use std::time::Duration;

use http::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tower_http::cors::CorsLayer;

use crate::{config::AllowedOrigins, problem::CORRELATION_ID};

/// How long a browser need not ask again.
const PREFLIGHT: Duration = Duration::from_secs(10 * 60);

/// Answers preflights and marks answers for the origins; none if no origin is allowed.
pub(super) fn layer(origins: &AllowedOrigins) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(origins.to_headers())
        .allow_methods([Method::GET, Method::PATCH])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        // Takes the place of what the library says where it prints a challenge: there is one such field, with all names.
        .expose_headers([WWW_AUTHENTICATE, CORRELATION_ID, RETRY_AFTER])
        .max_age(PREFLIGHT);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{HeaderMap, Request, Response, StatusCode};
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;

    const PAGE: &str = "https://localhost:3000";

    /// The answer to a request: of the layer, or of a refusal as the library prints it.
    async fn answer(request: http::request::Builder) -> (StatusCode, HeaderMap) {
        let inner = service_fn(|_: Request<()>| async {
            let refused = Response::builder()
                .status(401)
                .header("www-authenticate", "Bearer realm=\"r\"")
                .header("access-control-expose-headers", "WWW-Authenticate")
                .body(String::new());
            Ok::<_, Infallible>(refused.unwrap())
        });
        let origins = AllowedOrigins::new([PAGE, "https://other.example"]).unwrap();
        let service = layer(&origins).unwrap().layer(inner);
        let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        (response.status(), response.headers().clone())
    }

    fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
        let values = headers.get_all(name).iter();
        let lines = values.map(|value| value.to_str().unwrap().to_ascii_lowercase());
        let mut words: Vec<String> = lines
            .flat_map(|line| {
                line.split(',')
                    .map(|word| word.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .collect();
        words.sort();
        words
    }

    #[test]
    fn without_an_origin_there_is_no_layer() {
        assert!(layer(&AllowedOrigins::default()).is_none());
    }

    #[tokio::test]
    async fn only_a_listed_origin_may_read_an_answer() {
        for (origin, allowed) in [
            (PAGE, true),
            ("https://other.example", true),
            ("https://localhost:3001", false),
            ("http://localhost:3000", false),
            ("https://localhost:3000.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            let (status, headers) = answer(Request::get("/api").header("origin", origin)).await;
            assert_eq!(status, 401, "{origin}");
            let told = headers.get("access-control-allow-origin");
            let expected = allowed.then_some(origin.as_bytes());
            assert_eq!(told.map(|value| value.as_bytes()), expected, "{origin}");
            assert!(
                !headers.contains_key("access-control-allow-credentials"),
                "{origin}"
            );
            assert!(
                words(&headers, "vary").contains(&"origin".to_owned()),
                "{origin}"
            );
        }
    }

    #[tokio::test]
    async fn a_refusal_exposes_each_name_once() {
        let (_, headers) = answer(Request::get("/api").header("origin", PAGE)).await;
        assert_eq!(
            words(&headers, "access-control-expose-headers"),
            ["retry-after", "www-authenticate", "x-correlation-id"]
        );
        assert!(headers.contains_key("www-authenticate"));
    }

    #[tokio::test]
    async fn a_preflight_is_answered_without_a_token() {
        let preflight = |origin: &str| {
            Request::options("/api")
                .header("origin", origin)
                .header("access-control-request-method", "GET")
                .header("access-control-request-headers", "authorization")
        };
        let (status, headers) = answer(preflight(PAGE)).await;
        assert_eq!(status, 200);
        assert_eq!(headers["access-control-allow-origin"], PAGE);
        assert_eq!(
            words(&headers, "access-control-allow-methods"),
            ["get", "patch"]
        );
        assert_eq!(
            words(&headers, "access-control-allow-headers"),
            ["authorization", "content-type"]
        );
        assert!(!headers.contains_key("www-authenticate"));

        let (_, headers) = answer(preflight("https://evil.example")).await;
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}
