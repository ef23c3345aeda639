//! A person signs in at a page of the authority, on any device, with a code that is shown here (RFC 8628).

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::NoToken;
use super::endpoint::{Tokens, post};
use super::person::PublicClient;
use crate::tame::tame;

/// Seconds between two questions when the authority names none (RFC 8628 section 3.2), and how many more after `slow_down` (3.5).
const INTERVAL: u64 = 5;
/// No authority makes us ask more often, or wait longer.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=60;
/// A code that is said to last longer is given up after so many seconds.
const MAX_WAIT: u64 = 3600;
/// So many questions in a row without an answer, and it is given up.
const MAX_OUTAGES: u32 = 5;
/// Longest message that is shown.
const MAX_MESSAGE: usize = 600;

/// RFC 8628 section 3.2, with Entra's `message`.
#[derive(Deserialize)]
struct Started {
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
    #[serde(default)]
    message: Option<String>,
}

/// Shows the code and the page's address, and waits until somebody has signed in there.
pub(super) async fn sign_in(client: &PublicClient) -> Result<Tokens, NoToken> {
    let scope = client.scope();
    let form = [("client_id", client.client_id.as_str()), ("scope", &scope)];
    let url = client.place.endpoint(&client.tenant, "devicecode");
    let started: Started = match post(&client.http, url, &form).await? {
        Ok(started) => started,
        Err(refusal) => return Err(refusal.into_error()),
    };
    let lasts = started.expires_in.min(MAX_WAIT);
    let ends = client.clock.now().saturating_add(lasts);
    (client.tell)(&started.text());

    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", &client.client_id),
        ("device_code", started.device_code.expose_secret()),
    ];
    let clamped = |seconds: u64| seconds.clamp(*INTERVALS.start(), *INTERVALS.end());
    let mut interval = clamped(started.interval.unwrap_or(INTERVAL));
    // Longer than `interval` during an outage only.
    let mut pause = interval;
    let mut outages = 0;
    loop {
        // By the clock: answers take their time as well.
        if client.clock.now().saturating_add(pause) > ends {
            return Err(NoToken::CodeEnded);
        }
        client.pause.pause(Duration::from_secs(pause)).await;
        let url = client.place.endpoint(&client.tenant, "token");
        let answer = match post::<Tokens>(&client.http, url, &form).await {
            Ok(answer) => answer,
            // The person may be at the page just now; RFC 8628 section 3.5 has the client ask less often.
            Err(error) if outages == MAX_OUTAGES => return Err(error),
            Err(_) => {
                outages += 1;
                pause = clamped(pause.saturating_mul(2));
                continue;
            }
        };
        outages = 0;
        let refusal = match answer {
            Ok(tokens) => return Ok(tokens),
            Err(refusal) => refusal,
        };
        match refusal.error.as_str() {
            "authorization_pending" => {}
            "slow_down" => interval = clamped(interval.saturating_add(INTERVAL)),
            // The RFC's name, and one of Entra.
            "expired_token" | "code_expired" => return Err(NoToken::CodeEnded),
            _ => return Err(refusal.into_error()),
        }
        pause = interval;
    }
}

impl Started {
    /// The authority's own words, or ours; nothing in them that a terminal would obey.
    fn text(&self) -> String {
        let text = match &self.message {
            Some(message) if !message.is_empty() => message.clone(),
            _ => format!(
                "To sign in, open {} in a browser and enter the code {}",
                self.verification_uri, self.user_code
            ),
        };
        tame(&text, MAX_MESSAGE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::stage::{Stage, token};
    use super::*;

    #[tokio::test]
    async fn the_person_is_told_once_and_waited_for() {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.refuses("authorization_pending").await;
        stage.refuses("slow_down").await;
        stage.refuses("authorization_pending").await;
        stage.grants("one").await;
        let source = stage.by_device_code();
        assert_eq!(token(&source, None).await.unwrap(), "one");
        assert_eq!(stage.told(), ["Open the page and enter ABCD"]);
        assert_eq!(stage.waits(), [5, 5, 10, 10]);
        assert_eq!(token(&source, None).await.unwrap(), "one");
        assert_eq!(stage.waits().len(), 4);
    }

    #[tokio::test]
    async fn an_authority_without_interval_and_message_has_ours() {
        let stage = Stage::new().await;
        stage
            .starts(json!({ "interval": null, "message": null }))
            .await;
        stage.grants("one").await;
        sign_in(&stage.client()).await.unwrap();
        assert_eq!(stage.waits(), [5]);
        assert_eq!(
            stage.told(),
            ["To sign in, open http://localhost/page in a browser and enter the code ABCD"]
        );
    }

    #[tokio::test]
    async fn a_message_cannot_steer_the_terminal() {
        let stage = Stage::new().await;
        stage
            .starts(json!({ "message": "\u{1b}[31mred\u{202e}\r\n" }))
            .await;
        stage.grants("one").await;
        sign_in(&stage.client()).await.unwrap();
        assert_eq!(stage.told(), ["[31mred"]);
    }

    /// How the sign-in ends when the first poll is answered so.
    async fn ended(answer: serde_json::Value) -> String {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.polled(400, answer).await;
        let ended = sign_in(&stage.client()).await;
        let text = ended.err().unwrap().to_string();
        assert!(!text.contains("d3vice"), "{text}");
        text
    }

    #[tokio::test]
    async fn each_final_answer_is_told_in_words() {
        for (error, said) in [
            ("authorization_declined", "declined"),
            ("access_denied", "declined"),
            ("expired_token", "before the code ended"),
            ("bad_verification_code", "bad_verification_code"),
        ] {
            let text = ended(json!({ "error": error })).await;
            assert!(text.contains(said), "{text}");
        }
    }

    /// Entra's answer where a policy, and not the person, says no.
    #[tokio::test]
    async fn a_tenant_that_blocks_device_codes_is_not_a_person_who_declines() {
        for (code, said) in [
            (530_035, "security defaults"),
            (53_003, "Conditional Access policy"),
        ] {
            let answer = json!({ "error": "access_denied", "error_codes": [code] });
            let text = ended(answer).await;
            assert!(
                text.contains(said) && text.contains("--sign-in browser"),
                "{text}"
            );
            assert!(text.contains(&format!("AADSTS{code}")), "{text}");
            assert!(!text.contains("declined"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_code_is_not_waited_for_beyond_its_end() {
        let stage = Stage::new().await;
        stage.starts(json!({ "expires_in": 10 })).await;
        stage.refuses("authorization_pending").await;
        stage.refuses("authorization_pending").await;
        let ended = sign_in(&stage.client()).await;
        assert!(matches!(ended, Err(NoToken::CodeEnded)));
        assert_eq!(stage.waits(), [5, 5]);
    }

    /// The pauses alone would leave time for another question.
    #[tokio::test]
    async fn the_time_of_slow_answers_counts() {
        for (slow, waits) in [(0, vec![5, 5]), (1, vec![5])] {
            let stage = Stage::new().await;
            stage.starts(json!({ "expires_in": 10 })).await;
            stage.refuses("authorization_pending").await;
            if slow == 0 {
                stage.refuses("authorization_pending").await;
            }
            stage.is_slow(slow);
            let ended = sign_in(&stage.client()).await;
            assert!(matches!(ended, Err(NoToken::CodeEnded)));
            assert_eq!(stage.waits(), waits);
        }
    }

    #[tokio::test]
    async fn an_outage_while_waiting_is_sat_out_for_a_while() {
        let stage = Stage::new().await;
        stage.starts(json!({ "interval": 0 })).await;
        stage.polled(503, json!("busy")).await;
        stage
            .polled(
                502,
                json!({ "error": "server_error", "error_codes": [90_033] }),
            )
            .await;
        stage.grants("one").await;
        sign_in(&stage.client()).await.unwrap();
        assert_eq!(stage.waits(), [1, 2, 4]);

        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        for _ in 0..6 {
            stage.polled(503, json!("busy")).await;
        }
        let error = sign_in(&stage.client()).await.err().unwrap();
        assert!(
            error.to_string().contains("busy or out of order"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn after_an_outage_the_interval_is_what_it_was() {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.refuses("slow_down").await;
        stage.polled(503, json!("busy")).await;
        stage.polled(503, json!("busy")).await;
        stage.refuses("authorization_pending").await;
        stage.grants("one").await;
        sign_in(&stage.client()).await.unwrap();
        assert_eq!(stage.waits(), [5, 10, 20, 40, 10]);
    }

    #[tokio::test]
    async fn the_start_may_be_refused() {
        let stage = Stage::new().await;
        let body = json!({ "error": "invalid_request", "error_codes": [90_002] });
        stage.answers("devicecode", "scope", 400, body).await;
        let error = sign_in(&stage.client()).await.err().unwrap().to_string();
        assert!(error.contains("no such tenant"), "{error}");
        assert!(stage.told().is_empty());
    }
}
