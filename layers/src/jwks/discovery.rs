//! Keys by OpenID Connect Discovery 1.0: metadata, then the JWK set that it names.

use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::error::causes;
use crate::json;
use crate::origin::{has_no_user, is_loopback_http};

use super::{FetchError, FetchFuture, Fetched, KeySet, KeySource};

/// Deepest nesting of metadata.
const METADATA_DEPTH: usize = 32;
/// Longest body of metadata or keys.
const MAX_BODY: usize = 512 * 1024;
/// Metadata are read again after this time, which is with most refreshes of the keys, and at once after any failure.
const METADATA_AGE: Duration = Duration::from_secs(300);

/// Fetches metadata and keys with plain GETs: no redirect is followed, bodies are bounded, keys are asked for conditionally.
pub(crate) struct DiscoverySource {
    http: reqwest::Client,
    metadata_url: Url,
    expected: Expected,
    loopback_http: bool,
    known: Mutex<Option<Known>>,
}

/// The issuer that the metadata must name.
pub(crate) enum Expected {
    /// To the byte (OpenID Connect Discovery 4.3).
    Exactly(String),
    /// An https URL with this path, where only the metadata know the host (Entra External ID).
    EndingIn(String),
}

#[derive(Clone)]
struct Known {
    metadata: Metadata,
    read_at: Instant,
    etag: Option<HeaderValue>,
}

/// What is needed of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    issuer: String,
    jwks_uri: Url,
    cloud_instance: Option<String>,
}

impl Metadata {
    pub(crate) fn parse(
        text: &[u8],
        expected: &Expected,
        loopback_http: bool,
    ) -> Result<Self, FetchError> {
        let metadata =
            json::parse_object(text, METADATA_DEPTH).map_err(|_| FetchError::Malformed)?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let secure = |url: &Url| {
            let scheme = url.scheme() == "https" || (loopback_http && is_loopback_http(url));
            scheme && has_no_user(url)
        };
        let issuer = text("issuer")
            .filter(|issuer| match expected {
                Expected::Exactly(exact) => exact == issuer,
                Expected::EndingIn(path) => Url::parse(issuer)
                    .is_ok_and(|url| secure(&url) && url.path() == path && issuer.ends_with(path)),
            })
            .ok_or(FetchError::WrongIssuer)?;
        let jwks_uri = text("jwks_uri").and_then(|uri| Url::parse(uri).ok());
        Ok(Self {
            issuer: issuer.to_owned(),
            jwks_uri: jwks_uri.filter(secure).ok_or(FetchError::Malformed)?,
            cloud_instance: match metadata.get("cloud_instance_name") {
                None => None,
                Some(name) => Some(name.as_str().ok_or(FetchError::Malformed)?.to_owned()),
            },
        })
    }
}

impl DiscoverySource {
    pub(crate) fn new(
        http: reqwest::Client,
        metadata_url: Url,
        expected: Expected,
        loopback_http: bool,
    ) -> Self {
        Self {
            http,
            metadata_url,
            expected,
            loopback_http,
            known: Mutex::new(None),
        }
    }

    async fn fetch_keys(&self) -> Result<Fetched, FetchError> {
        let remembered = self.remember(|known| known.take());
        let mut known = match remembered {
            Some(known) if known.read_at.elapsed() < METADATA_AGE => known,
            old => {
                let metadata = self.metadata().await?;
                // Keys that are still where they were, and whose they were, need not be sent again.
                let unmoved = old.filter(|old| old.metadata == metadata);
                Known {
                    metadata,
                    read_at: Instant::now(),
                    etag: unmoved.and_then(|old| old.etag),
                }
            }
        };
        let mut request = self.http.get(known.metadata.jwks_uri.clone());
        if let Some(etag) = known.etag.clone() {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(unreachable)?;
        let max_age = response.headers().get(CACHE_CONTROL).and_then(max_age);
        let fetched = if response.status() == StatusCode::NOT_MODIFIED && known.etag.is_some() {
            Fetched::not_modified()
        } else {
            known.etag = response.headers().get(ETAG).cloned();
            let keys =
                KeySet::from_jwks(&body(response).await?).map_err(|_| FetchError::Malformed)?;
            if keys.is_empty() {
                return Err(FetchError::NoKeys);
            }
            let keys = keys.of_issuer(&known.metadata.issuer);
            Fetched::keys(match &known.metadata.cloud_instance {
                Some(name) => keys.of_cloud_instance(name),
                None => keys,
            })
        };
        // Only a success is remembered, so any failure starts from the metadata again.
        self.remember(|slot| *slot = Some(known));
        Ok(match max_age {
            Some(max_age) => fetched.max_age(max_age),
            None => fetched,
        })
    }

    async fn metadata(&self) -> Result<Metadata, FetchError> {
        let response = self
            .http
            .get(self.metadata_url.clone())
            .send()
            .await
            .map_err(unreachable)?;
        Metadata::parse(&body(response).await?, &self.expected, self.loopback_http)
    }

    fn remember<T>(&self, change: impl FnOnce(&mut Option<Known>) -> T) -> T {
        change(
            &mut self
                .known
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl KeySource for DiscoverySource {
    fn fetch(&self) -> FetchFuture<'_> {
        Box::pin(self.fetch_keys())
    }

    fn supplies_issuer(&self) -> bool {
        true
    }
}

/// The cause is for the operator: a refused connection, a name that does not resolve, a certificate that is not trusted.
fn unreachable(error: reqwest::Error) -> FetchError {
    let kind = if error.is_timeout() {
        FetchError::Timeout
    } else {
        FetchError::Unreachable
    };
    tracing::warn!(kind = "authority_unreachable", cause = %causes(&error), "metadata or keys could not be fetched");
    kind
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `max-age` of RFC 9111 5.2.2.1; `no-store` and `no-cache` ask for the shortest time that the caller grants.
fn max_age(value: &HeaderValue) -> Option<Duration> {
    let directives = value.to_str().ok()?.to_ascii_lowercase();
    let mut directives = directives.split(',').map(str::trim);
    let mut found = None;
    directives.try_for_each(|directive| match directive.split_once('=') {
        None if matches!(directive, "no-store" | "no-cache") => {
            found = Some(Duration::ZERO);
            None
        }
        Some(("max-age", seconds)) => {
            found = seconds
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs);
            Some(())
        }
        _ => Some(()),
    });
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_of_a_tenant_whose_issuer_only_they_know() {
        let expected = Expected::EndingIn("/t/v2.0".to_owned());
        let rows = [
            ("https://t.ciamlogin.com/t/v2.0", true),
            ("https://t.ciamlogin.com/t/v2.0/", false),
            ("https://t.ciamlogin.com/u/v2.0", false),
            ("https://t.ciamlogin.com/x/t/v2.0", false),
            ("https://t.ciamlogin.com/t/v2.0?x", false),
            ("http://t.ciamlogin.com/t/v2.0", false),
            ("/t/v2.0", false),
        ];
        for (issuer, good) in rows {
            let text = json!({"issuer": issuer, "jwks_uri": "https://t/keys"}).to_string();
            let parsed = Metadata::parse(text.as_bytes(), &expected, false);
            assert_eq!(parsed.is_ok(), good, "{issuer}");
        }
    }

    #[test]
    fn keys_are_fetched_only_from_where_nobody_listens_in() {
        let expected = Expected::Exactly("https://a".to_owned());
        let rows = [
            (json!("https://b/keys?v=1"), true),
            (json!("http://b/keys"), false),
            (json!("http://127.0.0.1/keys"), false),
            (json!("https://user@b/keys"), false),
            (json!("https://:secret@b/keys"), false),
            (json!("file:///keys"), false),
            (json!("keys"), false),
            (json!(7), false),
        ];
        for (uri, good) in rows {
            let text = json!({"issuer": "https://a", "jwks_uri": uri}).to_string();
            let parsed = Metadata::parse(text.as_bytes(), &expected, false);
            assert_eq!(parsed.is_ok(), good, "{uri}");
        }
        for (name, good) in [(json!("microsoftonline.com"), true), (json!(["x"]), false)] {
            let text = json!({"issuer": "https://a", "jwks_uri": "https://a/k", "cloud_instance_name": name});
            let parsed = Metadata::parse(text.to_string().as_bytes(), &expected, false);
            assert_eq!(parsed.is_ok(), good, "{name}");
        }
    }

    #[test]
    fn cache_control() {
        let rows = [
            ("max-age=300", Some(300)),
            ("public, max-age=86400, must-revalidate", Some(86400)),
            ("MAX-AGE=\"7\"", Some(7)),
            ("no-store, max-age=300", Some(0)),
            ("max-age=-1", None),
            ("max-age=99999999999999999999999", None),
            ("private", None),
        ];
        for (text, seconds) in rows {
            assert_eq!(
                max_age(&HeaderValue::from_static(text)),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
