//! One event, as it stands in the JSON of `GET /flow/<id>` and of `GET /flows/<id>`.

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tower_bearer::{ClaimsRequest, challenge};

/// So much of a header's text is kept, in bytes; a challenge of ours with the largest claims is longer by a third.
const MAX_HEADER_TEXT: usize = 12 * 1024;
/// So much of any other text is kept, in bytes.
const MAX_TEXT: usize = 512;
/// So many names of a list are kept.
const MAX_NAMES: usize = 32;

/// What happened, when and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the epoch; in JSON milliseconds, with fractions.
    #[serde(serialize_with = "as_millis", deserialize_with = "from_millis")]
    pub at: u64,
    /// Who recorded it.
    pub tier: Lane,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// A lane of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Lane {
    Browser,
    SpaBackend,
    MiddleTier,
    DownstreamApi,
    Graph,
    Authority,
}

/// What happened. Each arrow is recorded by the one who made the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the fields are the contract's, named as in the protocols"
)]
pub enum Kind {
    /// A request was sent.
    Call {
        from: Lane,
        to: Lane,
        method: String,
        /// Without its query.
        url: String,
        protocol: Protocol,
        /// 1 and more: a call is repeated after a challenge that could be answered without the person.
        attempt: u32,
        /// How the token of the request came; of a call without a token `None`.
        token_source: Option<Source>,
    },
    /// A response came back.
    Answer {
        from: Lane,
        to: Lane,
        status: u16,
        grpc_status: Option<u16>,
        challenge: Option<Challenge>,
        took_ms: u64,
    },
    /// None came.
    NoAnswer {
        from: Lane,
        to: Lane,
        reason: Reason,
    },
    /// The authority is asked for a token.
    TokenRequest {
        from: Lane,
        to: Lane,
        grant: Grant,
        scopes: Vec<String>,
        /// What the token is asked to hold, beyond what this client always asks for.
        claims: Option<Value>,
        /// Whether it will be asked is not known yet; removed if the cache has the token.
        #[serde(default, skip_serializing_if = "is_false")]
        provisional: bool,
    },
    /// There is a token.
    Token {
        from: Lane,
        to: Lane,
        grant: Grant,
        source: Source,
        scopes: Vec<String>,
    },
    /// There is none.
    TokenRefused {
        from: Lane,
        to: Lane,
        grant: Grant,
        error: Refusal,
        claims: Option<Value>,
    },
    /// A request's token was accepted here.
    Accepted { card: Card },
    /// The browser is sent to the authority.
    SignIn {
        from: Lane,
        to: Lane,
        claims: Option<Value>,
        reason: SignInReason,
    },
    /// It came back, and the person has given what was demanded.
    SignedIn { from: Lane, to: Lane },
}

/// A refused answer's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// Text of `WWW-Authenticate`, as it came; several are joined by commas.
    pub header: String,
    /// `error` of the Bearer challenge.
    pub error: Option<String>,
    /// Its `claims`, decoded.
    pub claims: Option<Value>,
}

/// What a token says, without the token and without the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// `aud`.
    pub audience: String,
    /// `scp`.
    pub scopes: Vec<String>,
    /// `acrs`: authentication contexts.
    pub contexts: Vec<String>,
    /// `iat`, in seconds since the epoch.
    pub issued_at: Option<u64>,
    /// `exp`, in seconds since the epoch.
    pub expires_at: u64,
    /// Seconds since `iat`, by this machine's clock.
    pub age_s: Option<u64>,
    /// `azp`: the client that got it.
    pub client: Option<String>,
    /// An application's own token.
    pub app_only: bool,
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Protocol {
    Http,
    Grpc,
}

/// How a token came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// This process had it.
    Memory,
    /// Another process of this service had.
    Shared,
    /// The authority issued it.
    Authority,
    /// The session holds it.
    Session,
}

/// What was presented to the authority for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The code of a sign-in.
    AuthorizationCode,
    /// The caller's token.
    OnBehalfOf,
    /// The session's refresh token.
    RefreshToken,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The connection broke, or what came is no answer.
    Broken,
    /// Not in time.
    Timeout,
    /// No connection, so nothing was sent.
    Unreachable,
}

/// Why the authority gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The user has not consented.
    ConsentRequired,
    /// The user must come to the authority.
    InteractionRequired,
    /// What was presented is no longer good, or policy blocks the user.
    InvalidGrant,
    /// It refuses this client.
    Misconfigured,
    /// It does not answer, or with nothing usable.
    Unavailable,
}

/// Why the browser goes to the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum SignInReason {
    Consent,
    SignIn,
    StepUp,
}

impl Kind {
    /// Makes it small enough to be kept, whatever came in.
    pub(super) fn bounded(mut self) -> Self {
        match &mut self {
            Self::Call { method, url, .. } => {
                cut(method, MAX_TEXT);
                cut(url, MAX_TEXT);
            }
            Self::Answer {
                challenge: Some(challenge),
                ..
            } => {
                cut(&mut challenge.header, MAX_HEADER_TEXT);
                if let Some(error) = &mut challenge.error {
                    cut(error, MAX_TEXT);
                }
            }
            Self::TokenRequest { scopes, .. } | Self::Token { scopes, .. } => cut_all(scopes),
            Self::Accepted { card } => {
                cut(&mut card.audience, MAX_TEXT);
                if let Some(client) = &mut card.client {
                    cut(client, MAX_TEXT);
                }
                cut_all(&mut card.scopes);
                cut_all(&mut card.contexts);
            }
            _ => {}
        }
        self
    }

    /// About how many bytes of text it holds.
    pub(super) fn weight(&self) -> usize {
        let json =
            |claims: &Option<Value>| claims.as_ref().map_or(0, |claims| claims.to_string().len());
        let list = |names: &[String]| names.iter().map(String::len).sum::<usize>();
        match self {
            Self::Call { method, url, .. } => method.len() + url.len(),
            Self::Answer { challenge, .. } => challenge.as_ref().map_or(0, |challenge| {
                challenge.header.len() + json(&challenge.claims)
            }),
            Self::TokenRequest { scopes, claims, .. } => list(scopes) + json(claims),
            Self::Token { scopes, .. } => list(scopes),
            Self::TokenRefused { claims, .. } | Self::SignIn { claims, .. } => json(claims),
            Self::Accepted { card } => {
                card.audience.len() + list(&card.scopes) + list(&card.contexts)
            }
            Self::NoAnswer { .. } | Self::SignedIn { .. } => 0,
        }
    }
}

impl Challenge {
    /// The challenge in the headers of a response.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let lines: Vec<_> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        if lines.is_empty() {
            return None;
        }
        let challenges = challenge::parse(headers);
        let bearer = challenges.iter().find(|challenge| challenge.is_bearer());
        let param = |name| bearer.and_then(|challenge| challenge.param(name));
        Some(Self {
            header: lines.join(", "),
            error: param("error").map(str::to_owned),
            claims: param("claims")
                .and_then(|claims| ClaimsRequest::from_parameter(claims).ok())
                .and_then(|claims| claims_of(&claims)),
        })
    }
}

/// A status of gRPC in the head of a response without messages.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    let status = headers.get("grpc-status").map(HeaderValue::to_str)?;
    status.ok()?.parse().ok()
}

/// Claims as JSON; they are bounded and read well already.
pub(crate) fn claims_of(claims: &ClaimsRequest) -> Option<Value> {
    serde_json::from_str(claims.as_str()).ok()
}

/// What the `claims` of a token request demand beyond the client's capabilities, which are in all of them.
pub(crate) fn demanded(claims: &str) -> Option<Value> {
    let mut claims: Map<String, Value> = serde_json::from_str(claims).ok()?;
    if let Some(Value::Object(of_token)) = claims.get_mut("access_token") {
        of_token.remove("xms_cc");
        if of_token.is_empty() {
            claims.remove("access_token");
        }
    }
    (!claims.is_empty()).then_some(Value::Object(claims))
}

fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
    }
}

fn cut_all(names: &mut Vec<String>) {
    names.truncate(MAX_NAMES);
    for name in names {
        cut(name, MAX_TEXT);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::cast_precision_loss, reason = "exact until the year 2255")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_millis<S: Serializer>(micros: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*micros as f64 / 1000.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a time that is none is no harm"
)]
fn from_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok((f64::deserialize(deserializer)? * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shape_is_the_contracts() {
        let event = Event {
            at: 1_764_126_000_123_456,
            tier: Lane::MiddleTier,
            kind: Kind::Call {
                from: Lane::MiddleTier,
                to: Lane::DownstreamApi,
                method: "GET".into(),
                url: "http://localhost:7000/api".into(),
                protocol: Protocol::Http,
                attempt: 1,
                token_source: Some(Source::Authority),
            },
        };
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!(
            written,
            json!({"at": 1_764_126_000_123.456, "tier": "middle-tier", "kind": "call", "from": "middle-tier", "to": "downstream-api",
                   "method": "GET", "url": "http://localhost:7000/api", "protocol": "http", "attempt": 1, "token_source": "authority"})
        );
        assert_eq!(serde_json::from_value::<Event>(written).unwrap(), event);
        let absent = Kind::TokenRequest {
            from: Lane::MiddleTier,
            to: Lane::Authority,
            grant: Grant::OnBehalfOf,
            scopes: Vec::new(),
            claims: None,
            provisional: false,
        };
        assert_eq!(
            serde_json::to_value(absent).unwrap(),
            json!({"kind": "token_request", "from": "middle-tier", "to": "authority", "grant": "on_behalf_of", "scopes": [], "claims": null})
        );
    }

    #[test]
    fn only_what_is_demanded_is_shown_of_a_token_requests_claims() {
        let rows = [
            (r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#, None),
            (
                r#"{"access_token":{"acrs":{"value":"c1"},"xms_cc":{"values":["cp1"]}}}"#,
                Some(json!({"access_token": {"acrs": {"value": "c1"}}})),
            ),
            (r#"{"id_token":{}}"#, Some(json!({"id_token": {}}))),
            ("no JSON", None),
        ];
        for (sent, shown) in rows {
            assert_eq!(demanded(sent), shown, "{sent}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, limit, left) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("é", 0, ""),
        ] {
            let mut text = text.to_owned();
            cut(&mut text, limit);
            assert_eq!(text, left);
        }
        let header = "x".repeat(MAX_HEADER_TEXT + 1);
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, header.parse().unwrap())]);
        let kind = Kind::Answer {
            from: Lane::Graph,
            to: Lane::MiddleTier,
            status: 401,
            grpc_status: None,
            challenge: Challenge::read(&headers),
            took_ms: 1,
        };
        assert_eq!(kind.bounded().weight(), MAX_HEADER_TEXT);
    }
}
