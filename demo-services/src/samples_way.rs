//! How Microsoft's samples pass a demand on: 403 with the error's code in a JSON body. For comparison only: there is no challenge,
//! so nobody further out can tell what is demanded, and the call ends here.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tower_bearer::{BoxError, ChallengeRequired, RefusalKind};

/// The outcome of a call with its demand, if it ended in one, written as the samples write it. Any other failure stays an error.
///
/// # Errors
///
/// A failure that demands nothing of the person.
pub(crate) fn rewritten(
    outcome: Result<Response<Full<Bytes>>, BoxError>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    outcome.or_else(|error| match ChallengeRequired::find(error.as_ref()) {
        Some(demand) => Ok(refusal(demand.kind())),
        None => Err(error),
    })
}

/// Made anew, so that no demand is left in its extensions for a layer further out to print.
fn refusal(kind: RefusalKind) -> Response<Full<Bytes>> {
    // https://learn.microsoft.com/entra/identity-platform/reference-error-codes
    let (error, code) = match kind {
        RefusalKind::ConsentRequired => ("invalid_grant", 65_001),
        _ => ("interaction_required", 50_076),
    };
    let document = serde_json::json!({ "error": error, "error_codes": [code] });
    let mut response = Response::new(Full::from(document.to_string()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_demand_becomes_a_body_that_nobody_can_answer() {
        for (kind, error, code) in [
            (
                RefusalKind::InsufficientClaims,
                "interaction_required",
                50_076,
            ),
            (RefusalKind::ConsentRequired, "invalid_grant", 65_001),
        ] {
            let (head, body) = refusal(kind).into_parts();
            assert_eq!(head.status, StatusCode::FORBIDDEN);
            assert!(!head.headers.contains_key(WWW_AUTHENTICATE));
            assert!(head.extensions.is_empty());
            let body = body.collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                body,
                serde_json::json!({ "error": error, "error_codes": [code] })
            );
        }
    }

    #[test]
    fn answers_and_other_failures_stay() {
        let answer = rewritten(Ok(Response::new(Full::default()))).unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            rewritten(Err("broken".into())).unwrap_err().to_string(),
            "broken"
        );
    }
}
