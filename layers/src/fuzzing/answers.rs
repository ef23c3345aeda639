//! What an authority answers to a token request.

use http::{HeaderMap, StatusCode};

use super::seeds::NOW;
use super::two;
use crate::acquire::ExchangeError;
use crate::acquire::answer::{Identity, Presented, Received};
use crate::acquire::cache::Held;
use crate::claims::{MAX_CLAIMS_BYTES, MAX_CLAIMS_DEPTH};
use crate::json;

/// A status, and on the lines after it the body. Taken: a token was issued.
pub fn token_response(data: &[u8]) -> bool {
    let (status, body) = two(data);
    let Ok(status) = StatusCode::from_bytes(status) else {
        return false;
    };
    let received = Received::new(status, &HeaderMap::new(), body.to_vec());
    let identity = Identity::new([("oid", Some("alice"))]);
    match received.read(&identity, Presented::RefreshToken, NOW) {
        Ok(issued) => {
            assert_eq!(status, StatusCode::OK);
            let expires = issued.token.expires_at();
            assert!(expires > NOW && expires <= NOW + 366 * 86400);
            let token = issued.token.expose();
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            let answer = json::parse_object(body, 16).unwrap_or_default();
            assert_eq!(answer["access_token"], token);
            // However long the authority says, no longer than token and caller.
            for subject_expires in [NOW, NOW + 1, NOW + 3600, u64::MAX] {
                let held = Held::new(&issued, None, subject_expires, NOW, 0);
                assert_eq!(held.is_some(), subject_expires > NOW);
                let Some(held) = held else { continue };
                let end = expires.min(subject_expires);
                assert!(!held.is_fresh(end));
                assert!(!held.is_due(NOW), "asked for again at once");
                assert_eq!(held.time_to_live(NOW).as_secs(), end - NOW);
                let read = Held::read(&held.write(), subject_expires, NOW);
                assert_eq!(read.map(|read| read.write()), Some(held.write()));
            }
            true
        }
        Err(ExchangeError::Challenge { challenge, .. }) => {
            if let Some(claims) = challenge.claims() {
                assert!(claims.as_str().len() <= MAX_CLAIMS_BYTES);
                assert!(json::parse_object(claims.as_str().as_bytes(), MAX_CLAIMS_DEPTH).is_ok());
            }
            false
        }
        Err(ExchangeError::Other(error)) => {
            assert!(error.retry_after().is_none_or(|seconds| seconds <= 3600));
            false
        }
    }
}
