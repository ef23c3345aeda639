//! Requests to the authority's endpoints, and what their refusals mean.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::NoToken;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read; Entra's are below 10 KiB.
const MAX_ANSWER: usize = 256 * 1024;
/// An authority that names no lifetime is asked again after this many seconds.
const DEFAULT_LIFETIME: u64 = 300;

/// The answer of the token endpoint (RFC 6749 section 5.1).
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: SecretString,
    #[serde(default)]
    pub(super) refresh_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// A refusal (RFC 6749 section 5.2), with Entra's own numbers.
#[derive(Debug, Deserialize)]
pub(in crate::tenant) struct Refusal {
    pub(super) error: String,
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl Tokens {
    /// When it ends, in seconds since 1970, if it was obtained at `now`.
    pub(super) fn ends(&self, now: u64) -> u64 {
        now.saturating_add(self.expires_in.unwrap_or(DEFAULT_LIFETIME))
    }
}

impl Refusal {
    /// In words.
    pub(super) fn into_error(self) -> NoToken {
        let aadsts = self.error_codes.first().copied();
        NoToken::Authority {
            way_on: way_on(aadsts, &self.error),
            // What another host may have written is not printed whatever it is.
            error: plain(&self.error),
            aadsts,
        }
    }
}

/// Sends a form. The outer error is no answer, the inner one a refusal.
pub(super) async fn post<T: DeserializeOwned>(
    http: &Client,
    url: Url,
    form: &[(&str, &str)],
) -> Result<Result<T, Refusal>, NoToken> {
    let request = http.post(url.clone()).form(form);
    send(request, &url).await
}

/// Gets a document, in the same way.
pub(in crate::tenant) async fn get<T: DeserializeOwned>(
    http: &Client,
    url: Url,
) -> Result<Result<T, Refusal>, NoToken> {
    send(http.get(url.clone()), &url).await
}

async fn send<T: DeserializeOwned>(
    request: RequestBuilder,
    url: &Url,
) -> Result<Result<T, Refusal>, NoToken> {
    let failed = |problem| NoToken::Unreachable {
        url: url.to_string(),
        problem,
    };
    let answer = request.timeout(TIMEOUT).send().await;
    let answer = answer.map_err(|error| {
        failed(if error.is_timeout() {
            "did not answer in time: try again"
        } else {
            "cannot be reached: is the address right, and is it running?"
        })
    })?;
    let status = answer.status();
    let body = bounded(answer)
        .await
        .ok_or_else(|| failed("did not finish its answer: try again"))?;
    if status.is_success() {
        let answer = serde_json::from_slice(&body);
        return answer
            .map(Ok)
            .map_err(|_| failed("answered something else than expected: is it an authority?"));
    }
    match serde_json::from_slice(&body) {
        Ok(refusal) => Ok(Err(refusal)),
        Err(_) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(failed("is busy or out of order: try again later"))
        }
        Err(_) => Err(failed(
            "answered something else than expected: is it an authority, and is --tenant right?",
        )),
    }
}

async fn bounded(mut answer: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.ok()? {
        if body.len() + part.len() > MAX_ANSWER {
            return None;
        }
        body.extend_from_slice(&part);
    }
    Some(body)
}

/// RFC 6749 appendix A.7 has nothing that a terminal would obey; at most 64 letters.
fn plain(error: &str) -> String {
    let letters = error.chars().filter(|letter| letter.is_ascii_graphic());
    letters.take(64).collect()
}

fn way_on(aadsts: Option<u64>, error: &str) -> &'static str {
    match aadsts {
        Some(90_002) => "There is no such tenant: check --tenant and --cloud",
        Some(700_016) => {
            "The tenant does not know this client: check --tenant, and GRAPH_CLIENT_ID if the sign-in is by client credential"
        }
        Some(7_000_215) => {
            "GRAPH_CLIENT_SECRET is wrong: it must be the secret's value, not its id"
        }
        Some(7_000_222) => "The secret in GRAPH_CLIENT_SECRET has ended: make a new one",
        Some(65_001) => "Nobody has consented to these permissions: sign in as an administrator",
        Some(50_105 | 90_094) => "An administrator must allow this client first: sign in as one",
        Some(7_000_218 | 70_002) => {
            "The client may not sign in by device code: allow public client flows for it, or choose another way with --sign-in"
        }
        Some(53_003) => {
            "A Conditional Access policy blocks this sign-in: choose another way with --sign-in"
        }
        _ if error == "unauthorized_client" => {
            "The client may not sign in this way: choose another with --sign-in"
        }
        _ if error == "invalid_client" => "Check GRAPH_CLIENT_ID and GRAPH_CLIENT_SECRET",
        _ => "Look the code up in docs/entra.md, or choose another way with --sign-in",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_a_way_on_and_nothing_of_its_description() {
        for (code, said) in [
            (90_002, "--tenant"),
            (7_000_215, "GRAPH_CLIENT_SECRET"),
            (65_001, "administrator"),
            (7_000_218, "public client"),
            (1, "docs/entra.md"),
        ] {
            let text = format!(
                r#"{{"error":"x\u001b[31m","error_description":"AADSTS{code}: s3cret","error_codes":[{code}]}}"#
            );
            let refusal: Refusal = serde_json::from_str(&text).unwrap();
            let said_now = refusal.into_error().to_string();
            assert!(said_now.contains(said), "{said_now}");
            assert!(said_now.contains(&format!("AADSTS{code}")), "{said_now}");
            assert!(!said_now.contains("s3cret") && !said_now.contains('\u{1b}'));
        }
    }
}
