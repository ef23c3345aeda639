//! The way to the middle tier: one fixed service, a short list of headers, and never a cookie or a token of the browser.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use super::flow::Flow;
use super::settings::{ConfigError, Settings};
use crate::flow_events::{Challenge, Kind, Lane, Protocol, Reason, Source, Trail};
use crate::outbound::{self, NoAnswer};

const TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: usize = 1024 * 1024;

/// What of an answer's header fields reaches the browser.
const PASSED_ON: [HeaderName; 5] = [
    CONTENT_TYPE,
    CONTENT_LANGUAGE,
    ETAG,
    LAST_MODIFIED,
    RETRY_AFTER,
];

/// The middle tier.
pub(super) struct MiddleTier {
    base: Url,
    http: Client,
}

/// One call of the page, complete enough to be sent again.
pub(super) struct Call {
    pub(super) method: Method,
    /// Path and query at the middle tier, with the leading slash.
    pub(super) target: String,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) language: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// An answer of the middle tier, complete.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl MiddleTier {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            base: settings.middle_tier.clone(),
            http: outbound::client(&[&settings.middle_tier], TIMEOUT, &settings.trust)?,
        })
    }

    /// The target of a request to `/api/{rest}`: `/{rest}`, exactly as it was written.
    ///
    /// Anything that two parties could read differently has none: empty, `.` and `..` segments, encoded slashes, backslashes and
    /// dots, and what URL parsing would rewrite.
    pub(super) fn target(&self, uri: &Uri) -> Option<String> {
        target(uri).filter(|target| self.address(target).is_some())
    }

    /// Sends a call with a token of the session, for the first time or again.
    pub(super) async fn send(
        &self,
        call: &Call,
        token: &SecretString,
        flow: Flow,
        attempt: u32,
    ) -> Result<Answer, NoAnswer> {
        let trail = Trail::current();
        if !trail.is_on() {
            return self.exchange(call, token, flow).await;
        }
        let (from, to) = (Lane::SpaBackend, Lane::MiddleTier);
        let path = call.target.split('?').next().unwrap_or_default();
        trail.record(Kind::Call {
            from,
            to,
            method: call.method.to_string(),
            url: self.address(path).map(String::from).unwrap_or_default(),
            protocol: Protocol::Http,
            attempt,
            token_source: Some(Source::Session),
        });
        let began = Instant::now();
        let answer = self.exchange(call, token, flow).await;
        trail.record(match &answer {
            Ok(answer) => Kind::Answer {
                from: to,
                to: from,
                status: answer.status.as_u16(),
                grpc_status: None,
                challenge: Challenge::read(&answer.headers),
                took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            Err(error) => Kind::NoAnswer {
                from: to,
                to: from,
                reason: match error {
                    NoAnswer::Broken | NoAnswer::TooLarge => Reason::Broken,
                    NoAnswer::TimedOut => Reason::Timeout,
                    NoAnswer::Unreachable => Reason::Unreachable,
                },
            },
        });
        answer
    }

    async fn exchange(
        &self,
        call: &Call,
        token: &SecretString,
        flow: Flow,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self
            .http
            .request(
                call.method.clone(),
                self.address(&call.target).ok_or(NoAnswer::Unreachable)?,
            )
            .bearer_auth(token.expose_secret())
            .header(ACCEPT, "application/json");
        for (name, value) in flow.headers() {
            request = request.header(name, value);
        }
        if let Some(language) = &call.language {
            request = request.header(ACCEPT_LANGUAGE, language);
        }
        if let Some(content_type) = &call.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if !call.body.is_empty() {
            request = request.body(call.body.clone());
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer {
            status,
            headers,
            body: outbound::read(response, ANSWER_LIMIT).await?,
        })
    }

    /// Answers at all?
    pub(super) async fn is_reachable(&self) -> bool {
        let Some(address) = self.address("/healthz") else {
            return false;
        };
        let answer = self
            .http
            .get(address)
            .timeout(Duration::from_secs(2))
            .send()
            .await;
        answer.is_ok_and(|response| response.status().is_success())
    }

    /// The address of a target. A target that would leave the base URL's path, after whatever URL parsing does to it, has none.
    fn address(&self, target: &str) -> Option<Url> {
        let text = format!("{}{target}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).ok().filter(|url| url.as_str() == text)
    }
}

impl Answer {
    /// The header fields that reach the browser.
    pub(super) fn passed_on(&self) -> HeaderMap {
        let values = |name: &HeaderName| {
            self.headers
                .get(name)
                .map(|value: &HeaderValue| (name.clone(), value.clone()))
        };
        PASSED_ON.iter().filter_map(values).collect()
    }
}

fn target(uri: &Uri) -> Option<String> {
    let rest = uri.path().strip_prefix("/api")?;
    let lower = rest.to_ascii_lowercase();
    let plain = rest.len() > 1
        && rest.starts_with('/')
        && !rest.contains("//")
        && !rest.split('/').any(|segment| matches!(segment, "." | ".."))
        && !["%2f", "%5c", "%2e", "%00", "%25", "\\"]
            .iter()
            .any(|twofold| lower.contains(twofold));
    plain.then(|| match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa_backend::doubles::config;

    #[test]
    fn api_paths_map_to_the_middle_tiers_paths() {
        for (path, expected) in [
            ("/api/api", "/api"),
            ("/api/secure?a=b%2Fc", "/secure?a=b%2Fc"),
            ("/api/profile/x", "/profile/x"),
        ] {
            assert_eq!(target(&path.parse().unwrap()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn paths_that_two_parties_could_read_differently_are_refused() {
        for path in [
            "/api",
            "/api/",
            "/api//evil.example",
            "/api/../admin",
            "/api/a/./b",
            "/api/%2e%2e/x",
            "/api/a%2fb",
            "/api/a%5Cb",
            "/api/%252e",
            "/apiary",
            "/x",
        ] {
            assert_eq!(target(&path.parse().unwrap()), None, "{path}");
        }
    }

    #[test]
    fn no_target_leaves_the_middle_tier() {
        let middle_tier = MiddleTier::new(
            &Settings::new(&config(
                "http://localhost:8080",
                "http://localhost:5000/base",
            ))
            .unwrap(),
        )
        .unwrap();
        assert_eq!(
            middle_tier.address("/api").unwrap().as_str(),
            "http://localhost:5000/base/api"
        );
        for target in ["/../x", "/a\tb", "/a b", "/a#b/../../c\n", "/{x}", "/a?b=<"] {
            assert_eq!(middle_tier.address(target), None, "{target:?}");
        }
        for target in ["/%7Bx%7D", "/a?b=%3C"] {
            assert!(middle_tier.address(target).is_some(), "{target:?}");
        }
    }
}
