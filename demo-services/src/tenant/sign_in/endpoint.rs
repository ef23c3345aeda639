//! Requests to the authority's endpoints, and what their refusals mean.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::NoToken;
use crate::outbound::certificate_problem;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read; Entra's are below 10 KiB.
const MAX_ANSWER: usize = 256 * 1024;
/// AADSTS65004: the person declined to consent.
const DECLINED: u64 = 65_004;
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
    /// What a page sends back to a redirect URI (RFC 6749 section 4.1.2.1); Entra's number begins its description.
    pub(super) fn of_page(error: &str, description: &str) -> Self {
        let number = description.strip_prefix("AADSTS");
        let number = number.and_then(|text| {
            let digits = text.split(|letter: char| !letter.is_ascii_digit()).next();
            digits?.parse().ok()
        });
        Self {
            error: error.to_owned(),
            error_codes: number.into_iter().collect(),
        }
    }

    /// Whether nothing but another sign-in helps (RFC 6749 section 5.2, OpenID Connect Core 1.0 section 3.1.2.6).
    pub(super) fn wants_the_person(&self) -> bool {
        matches!(
            self.error.as_str(),
            "invalid_grant" | "interaction_required" | "login_required" | "consent_required"
        )
    }

    fn is_passing(&self) -> bool {
        matches!(
            self.error.as_str(),
            "temporarily_unavailable" | "server_error"
        )
    }

    /// In words.
    pub(super) fn into_error(self) -> NoToken {
        let aadsts = self.error_codes.first().copied();
        match (self.error.as_str(), aadsts) {
            // The name is the RFC's for a person's no, and Entra's for one of a policy: that has a number of its own.
            ("authorization_declined", _) | ("access_denied", None | Some(DECLINED)) => {
                return NoToken::Declined;
            }
            _ => {}
        }
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
    let strange = |problem| NoToken::Unexpected {
        url: url.to_string(),
        problem,
    };
    let answer = request.timeout(TIMEOUT).send().await;
    let answer = answer.map_err(|error| match certificate_problem(&error) {
        Some(why) => NoToken::Untrusted {
            url: url.to_string(),
            why,
        },
        None if error.is_timeout() => failed("did not answer in time: try again"),
        None => failed("cannot be reached: is the address right, and is it running?"),
    })?;
    let status = answer.status();
    let body = bounded(answer)
        .await
        .ok_or_else(|| failed("did not finish its answer: try again"))?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map(Ok)
            .map_err(|_| strange("answered something else than expected: is it an authority?"));
    }
    let refusal = serde_json::from_slice::<Refusal>(&body);
    let passing = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || refusal.as_ref().is_ok_and(Refusal::is_passing);
    match refusal {
        _ if passing => Err(failed("is busy or out of order: try again later")),
        Ok(refusal) => Ok(Err(refusal)),
        Err(_) => Err(strange(
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
            "The tenant does not know this client: check --tenant, --cloud, and the client's id if you gave one (--client-id, GRAPH_CLIENT_ID)"
        }
        Some(7_000_215) => {
            "GRAPH_CLIENT_SECRET is wrong: it must be the secret's value, not its id"
        }
        Some(7_000_222) => "The secret in GRAPH_CLIENT_SECRET has ended: make a new one",
        Some(65_001) => "Nobody has consented to these permissions: sign in as an administrator",
        Some(50_105 | 90_094) => "An administrator must allow this client first: sign in as one",
        Some(7_000_218 | 70_002) => {
            "The client is no public one: allow public client flows for it, or choose another way with --sign-in"
        }
        Some(530_035) => {
            "The tenant's security defaults block device codes: sign in with --sign-in browser"
        }
        Some(50_097 | 53_000..=53_003 | 530_003) => {
            "A Conditional Access policy blocks this sign-in, perhaps device codes as such: sign in with --sign-in browser, on a device and in a place that the policy allows"
        }
        Some(54_005 | 70_008) => "Run the command again, and sign in once more",
        _ if error == "unauthorized_client" => {
            "The client may not sign in this way: choose another with --sign-in"
        }
        _ if error == "invalid_client" => {
            "Check the client's id and GRAPH_CLIENT_SECRET, or choose another way with --sign-in"
        }
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
            (700_016, "--client-id"),
            (7_000_215, "GRAPH_CLIENT_SECRET"),
            (65_001, "administrator"),
            (7_000_218, "public client"),
            (530_035, "security defaults"),
            (50_097, "Conditional Access"),
            (53_003, "Conditional Access"),
            (530_003, "Conditional Access"),
            (54_005, "once more"),
            (1, "docs/entra.md"),
        ] {
            let text = format!(
                r#"{{"error":"x\u001b[31m","error_description":"AADSTS{code}: s3cret","error_codes":[{code}]}}"#
            );
            let refusal: Refusal = serde_json::from_str(&text).unwrap();
            let page = Refusal::of_page("x\u{1b}[31m", &format!("AADSTS{code}: s3cret"));
            for refusal in [refusal, page] {
                let said_now = refusal.into_error().to_string();
                assert!(said_now.contains(said), "{said_now}");
                assert!(said_now.contains(&format!("AADSTS{code}")), "{said_now}");
                assert!(!said_now.contains("s3cret") && !said_now.contains('\u{1b}'));
            }
        }
    }

    #[test]
    fn a_no_of_the_person_is_told_from_one_of_a_policy() {
        for (error, description, declined) in [
            ("access_denied", "", true),
            ("access_denied", "AADSTS65004: User declined", true),
            ("authorization_declined", "AADSTS70000: x", true),
            ("access_denied", "AADSTS53003: Blocked", false),
            ("invalid_grant", "AADSTS65004: User declined", false),
        ] {
            let error = Refusal::of_page(error, description).into_error();
            let is = matches!(error, NoToken::Declined);
            assert_eq!(is, declined, "{description}: {error}");
        }
    }

    #[test]
    fn a_number_begins_the_description_or_is_none() {
        let number = |text: &str| Refusal::of_page("x", text).error_codes;
        assert_eq!(number("AADSTS50011: The redirect"), [50_011]);
        assert_eq!(number("AADSTS7"), [7]);
        for none in [
            "",
            "AADSTS",
            "AADSTSx",
            "see AADSTS50011",
            "AADSTS99999999999999999999",
        ] {
            assert!(number(none).is_empty(), "{none}");
        }
    }
}
