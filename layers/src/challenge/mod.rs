//! Challenges: the `WWW-Authenticate` header of RFC 9110 11.6.1 as a typed value, and the error that carries a demand up a stack.
//!
//! This module is the only code that reads or writes the header's text.

mod answer;
mod parse;
mod print;
mod required;

use std::fmt;

use http::{HeaderMap, Response, StatusCode};

use crate::claims::ClaimsRequest;
use crate::error::ConfigError;
use crate::grpc::status_of;
use crate::scope::Scope;

pub use self::answer::RefusalKind;
pub(crate) use self::answer::{Answer, Carried, find};
pub use self::parse::parse;
pub use self::required::ChallengeRequired;

/// Longest `acr_values` that is taken, in bytes.
const MAX_ACR_VALUES: usize = 1024;

/// One challenge: a scheme with either parameters or a token68.
///
/// Parameters are kept in order and with duplicates, because a duplicate is a reason to distrust the challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) token68: Option<String>,
}

/// What a response demands of the client that made the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Demand {
    /// A token with these claims: send them to the authority interactively and repeat the call (Entra's claims challenge).
    Claims(ClaimsRequest),
    /// Stronger or fresher authentication (RFC 9470).
    StepUp(StepUp),
}

/// The demand of RFC 9470 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepUp {
    /// Acceptable authentication context class references, space-delimited, in order of preference.
    pub acr_values: Option<String>,
    /// Greatest age of the authentication, in seconds.
    pub max_age: Option<u64>,
}

impl StepUp {
    /// A demand of our own.
    pub(crate) fn new<'a>(
        acr_values: impl IntoIterator<Item = &'a str>,
        max_age: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let mut accepted = Vec::new();
        for value in acr_values {
            Scope::new(value).map_err(|_| ConfigError::Authentication)?;
            accepted.push(value);
        }
        let acr_values = (!accepted.is_empty()).then(|| accepted.join(" "));
        if acr_values.is_none() && max_age.is_none() {
            return Err(ConfigError::Authentication);
        }
        Ok(Self {
            acr_values,
            max_age,
        })
    }
}

/// The demand in a response, if there is one.
///
/// A claims challenge counts on 401 and 403 (some APIs answer 403 against Entra's documents) when it is a Bearer challenge whose
/// `claims` decodes to a JSON object and whose `error` is absent, `insufficient_claims` or `invalid_token`; `claims` or `error`
/// given twice disqualifies it. RFC 9470 counts on 401.
#[must_use]
pub fn demand(status: StatusCode, headers: &HeaderMap) -> Option<Demand> {
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return None;
    }
    let challenges = parse(headers);
    let bearer = || challenges.iter().filter(|challenge| challenge.is_bearer());
    let claims = bearer().find_map(Challenge::claims).map(Demand::Claims);
    claims.or_else(|| {
        let step_up = || bearer().find_map(Challenge::step_up).map(Demand::StepUp);
        (status == StatusCode::UNAUTHORIZED).then(step_up).flatten()
    })
}

/// The demand in a response over HTTP or over gRPC (where the status is that of a response without messages, trailers-only), if
/// there is one. The same rules as [`demand`].
#[must_use]
pub fn demand_in<B>(response: &Response<B>) -> Option<Demand> {
    demand(status_of(response), response.headers())
}

impl Challenge {
    /// A challenge without parameters.
    pub(crate) fn new(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_owned(),
            params: Vec::new(),
            token68: None,
        }
    }

    /// Adds a parameter. Characters that a quoted-string cannot hold are left out; configured values have none.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        let mut value = value.into();
        value.retain(|c| c == '\t' || (' '..='~').contains(&c));
        self.params.push((name.to_owned(), value));
        self
    }

    /// The scheme as it was written.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Is the scheme `Bearer`, in any case?
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("bearer")
    }

    /// The value of a parameter by its case-insensitive name; `None` if it is missing or given more than once.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut values = self
            .params
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.params
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    fn claims(&self) -> Option<ClaimsRequest> {
        let acceptable = match self.param("error") {
            Some(error) => matches!(error, "insufficient_claims" | "invalid_token"),
            None => !self.has("error"),
        };
        acceptable
            .then(|| self.param("claims"))
            .flatten()
            .and_then(|value| ClaimsRequest::from_parameter(value).ok())
    }

    fn step_up(&self) -> Option<StepUp> {
        if self.param("error") != Some("insufficient_user_authentication") {
            return None;
        }
        // What is given must be given once and be usable, or the whole demand is distrusted.
        let acr_values = match self.param("acr_values") {
            Some(values) if is_acr_values(values) => Some(values.to_owned()),
            None if !self.has("acr_values") => None,
            _ => return None,
        };
        let max_age = match self.param("max_age") {
            Some(seconds) => Some(seconds.parse().ok()?),
            None if !self.has("max_age") => None,
            None => return None,
        };
        let step_up = StepUp {
            acr_values,
            max_age,
        };
        (step_up != StepUp::default()).then_some(step_up)
    }
}

/// Space-delimited, printable without escapes, and short enough to be relayed.
fn is_acr_values(values: &str) -> bool {
    let printable = |byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    (1..=MAX_ACR_VALUES).contains(&values.len()) && values.bytes().all(printable)
}

impl fmt::Debug for Challenge {
    /// Shows names only: parameters can hold claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.params.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Challenge")
            .field("scheme", &self.scheme)
            .field("params", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    const C1: &str = "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19";
    const C1_JSON: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn claims_of(status: u16, values: &[&str]) -> Option<String> {
        match demand(StatusCode::from_u16(status).unwrap(), &headers(values)) {
            Some(Demand::Claims(claims)) => Some(claims.as_str().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn pass_every_dialect_of_the_field() {
        let raw = C1_JSON;
        let escaped = C1_JSON.replace('"', "\\\"");
        let rows = [
            (
                "documented",
                format!(
                    "Bearer realm=\"\", authorization_uri=\"https://a/b\", error=\"insufficient_claims\", claims=\"{C1}\""
                ),
            ),
            (
                "no space after comma",
                format!("Bearer realm=\"\",error=\"insufficient_claims\",claims=\"{C1}\""),
            ),
            ("lower-case scheme", format!("bearer claims=\"{C1}\"")),
            (
                "upper-case names",
                format!("BEARER ERROR=\"insufficient_claims\", CLAIMS=\"{C1}\""),
            ),
            (
                "two spaces",
                format!("Bearer  realm=\"\",  claims=\"{C1}\""),
            ),
            ("tab", format!("Bearer\trealm=\"\",\tclaims=\"{C1}\"")),
            ("spaces around =", format!("Bearer claims = \"{C1}\"")),
            (
                "unquoted",
                format!("Bearer error=insufficient_claims, claims={C1}"),
            ),
            (
                "raw JSON, escaped",
                format!("Bearer claims=\"{escaped}\", error=\"insufficient_claims\""),
            ),
            (
                "raw JSON, quotes unescaped",
                format!("Bearer consentUri=\"https://a?b=c\", claims=\"{raw}\", scopes=\"a,b\""),
            ),
            (
                "raw JSON, unquoted",
                format!("Bearer claims={raw}, error=\"insufficient_claims\""),
            ),
            (
                "semicolons",
                format!(
                    "Bearer realm=\"\"; claims=\"{raw}\"; scopes=\"a%20b\"; error=\"insufficient_claims\""
                ),
            ),
            (
                "no scheme",
                format!("realm=\"\", error=\"insufficient_claims\", claims=\"{C1}\""),
            ),
            (
                "another scheme before",
                format!("Basic realm=\"x, claims=1\", Bearer claims=\"{C1}\""),
            ),
            (
                "token68 before",
                format!("Negotiate abc==, Bearer claims=\"{C1}\""),
            ),
            (
                "bare scheme before",
                format!("Negotiate, Bearer claims=\"{C1}\""),
            ),
            (
                "scheme after",
                format!("Bearer claims=\"{C1}\", DPoP algs=\"ES256\""),
            ),
            (
                "two Bearer challenges",
                format!("Bearer realm=\"a\",Bearer claims=\"{C1}\""),
            ),
            (
                "invalid_token",
                format!(
                    "Bearer error=\"invalid_token\", error_description=\"a, b=\\\"c\\\"\", claims=\"{C1}\""
                ),
            ),
            ("leading commas", format!(",, Bearer claims=\"{C1}\",,")),
        ];
        for (name, header) in rows {
            assert_eq!(
                claims_of(401, &[&header]).as_deref(),
                Some(C1_JSON),
                "{name}"
            );
            assert_eq!(
                claims_of(403, &[&header]).as_deref(),
                Some(C1_JSON),
                "{name} on 403"
            );
            assert_eq!(
                claims_of(401, &["Basic realm=\"x\"", &header]).as_deref(),
                Some(C1_JSON),
                "{name} in the second header"
            );
        }
    }

    #[test]
    fn fail_what_is_not_a_claims_challenge() {
        let rows = [
            (
                "other error",
                format!("Bearer error=\"insufficient_scope\", claims=\"{C1}\""),
            ),
            (
                "duplicate claims",
                format!("Bearer claims=\"{C1}\", claims=\"{C1}\""),
            ),
            (
                "duplicate error",
                format!("Bearer error=\"invalid_token\", error=\"invalid_token\", claims=\"{C1}\""),
            ),
            ("other scheme", format!("Basic claims=\"{C1}\"")),
            (
                "inside a quoted realm",
                format!("Bearer realm=\"x, claims=\\\"{C1}\\\"\""),
            ),
            ("unterminated", format!("Bearer claims=\"{C1}")),
            ("not base64", "Bearer claims=\"%%%\"".to_owned()),
            ("not an object", "Bearer claims=\"W10=\"".to_owned()),
            (
                "no claims",
                "Bearer error=\"insufficient_claims\"".to_owned(),
            ),
        ];
        for (name, header) in rows {
            assert_eq!(claims_of(401, &[&header]), None, "{name}");
        }
        let good = format!("Bearer claims=\"{C1}\"");
        for status in [200, 302, 400, 404, 407, 500, 503] {
            assert_eq!(claims_of(status, &[&good]), None, "{status}");
        }
    }

    #[test]
    fn step_up_of_rfc_9470_counts_on_401_only() {
        let given = headers(&[
            "Bearer error=\"insufficient_user_authentication\", acr_values=\"urn:a urn:b\", max_age=\"5\"",
        ]);
        let expected = StepUp {
            acr_values: Some("urn:a urn:b".to_owned()),
            max_age: Some(5),
        };
        assert_eq!(
            demand(StatusCode::UNAUTHORIZED, &given),
            Some(Demand::StepUp(expected))
        );
        assert_eq!(demand(StatusCode::FORBIDDEN, &given), None);
        assert_eq!(
            demand(
                StatusCode::UNAUTHORIZED,
                &headers(&["Bearer error=\"insufficient_user_authentication\""])
            ),
            None
        );
    }

    #[test]
    fn step_up_that_cannot_be_relayed_is_none() {
        let long = format!("acr_values=\"{}\"", "x".repeat(MAX_ACR_VALUES + 1));
        for bad in [
            "",
            "acr_values=\"a\", acr_values=\"b\", max_age=\"5\"",
            "max_age=\"x\"",
            "acr_values=\"\"",
            "acr_values=\"a\\\"b\"",
            &long,
        ] {
            let header = format!("Bearer error=\"insufficient_user_authentication\", {bad}");
            assert_eq!(
                demand(StatusCode::UNAUTHORIZED, &headers(&[&header])),
                None,
                "{bad:.60}"
            );
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let challenge = Challenge::new("Bearer").with("claims", "secret");
        assert!(!format!("{challenge:?}").contains("secret"));
    }
}
