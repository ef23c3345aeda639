//! What an answer of the middle tier, or of the token endpoint, demands of the person.

use http::{HeaderMap, StatusCode};
use tower_bearer::challenge::{self, Challenge, StepUp};
use tower_bearer::{ClaimsRequest, client_capabilities};

use super::authority::AuthorityError;

/// "This client can answer a claims challenge", declared in every request to the authority.
const CAPABILITIES: &[&str] = &["cp1"];

/// What must happen at the authority before an operation can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// RFC 9470: a stronger or fresher authentication.
    Authentication(StepUp),
    /// A claims challenge.
    Claims(ClaimsRequest),
    /// Consent to what the middle tier itself needs.
    Consent,
    /// A new sign-in: the session's tokens are refused.
    SignIn,
}

impl Demand {
    /// The demand in an answer of the middle tier, if there is one. A 401 that names none is for the caller to answer.
    ///
    /// Of the header only `claims`, `acr_values`, `max_age` and the *kind* of scope are looked at: where to go and what to ask
    /// for is this service's configuration.
    pub(super) fn read(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        match challenge::demand(status, headers) {
            Some(challenge::Demand::Claims(claims)) => return Some(Self::Claims(claims)),
            Some(challenge::Demand::StepUp(step_up)) => return Some(Self::Authentication(step_up)),
            Some(_) | None => {}
        }
        let wants_consent = |challenge: &Challenge| {
            challenge.is_bearer()
                && challenge.param("error") == Some("insufficient_scope")
                && challenge
                    .param("scope")
                    .is_some_and(|scope| scope.ends_with("/.default"))
        };
        (status == StatusCode::FORBIDDEN && challenge::parse(headers).iter().any(wants_consent))
            .then_some(Self::Consent)
    }

    /// What a failed token request demands, if the person can do something about it.
    pub(super) fn of(error: &AuthorityError) -> Option<Self> {
        match error {
            AuthorityError::Interaction {
                claims: Some(claims),
            } => Some(Self::Claims(claims.clone())),
            AuthorityError::Interaction { claims: None } => Some(Self::SignIn),
            AuthorityError::Misconfigured
            | AuthorityError::Unavailable
            | AuthorityError::Unusable => None,
        }
    }

    /// The `claims` parameter that asks the authority for it: the demanded claims and our capabilities, merged.
    pub(super) fn claims(&self) -> String {
        match self {
            Self::Claims(claims) => claims.with_client_capabilities(CAPABILITIES),
            Self::Authentication(_) | Self::Consent | Self::SignIn => capabilities(),
        }
    }

    /// The `error` of the answer to the page.
    pub(super) fn error(&self) -> &'static str {
        match self {
            Self::Authentication(_) | Self::Claims(_) => "step_up_required",
            Self::Consent => "consent_required",
            Self::SignIn => "sign_in_required",
        }
    }

    /// The same, in words.
    pub(super) fn detail(&self) -> &'static str {
        match self {
            Self::Authentication(_) | Self::Claims(_) => {
                "Stronger sign-in is needed for this. The operation is kept and repeated once afterwards."
            }
            Self::Consent => {
                "Your consent is needed for this. The operation is kept and repeated once afterwards."
            }
            Self::SignIn => {
                "You need to sign in again for this. The operation is kept and repeated once afterwards."
            }
        }
    }
}

/// The `claims` parameter of a request that demands nothing.
pub(super) fn capabilities() -> String {
    client_capabilities(CAPABILITIES)
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    fn read(status: u16, header: &str) -> Option<Demand> {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, header.parse().unwrap())]);
        Demand::read(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn claims_are_demanded_by_a_challenge() {
        let claims = ClaimsRequest::acrs("c1").unwrap();
        let header = format!(
            "Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{}\"",
            claims.to_base64()
        );
        assert_eq!(read(401, &header), Some(Demand::Claims(claims)));
        assert_eq!(read(500, &header), None);
    }

    #[test]
    fn authentication_is_demanded_by_rfc_9470() {
        let demand = read(
            401,
            r#"Bearer error="insufficient_user_authentication", acr_values="urn:mfa", max_age="60""#,
        );
        let Some(Demand::Authentication(step_up)) = demand else {
            panic!("{demand:?}")
        };
        assert_eq!(
            (step_up.acr_values.as_deref(), step_up.max_age),
            (Some("urn:mfa"), Some(60))
        );
    }

    #[test]
    fn consent_is_demanded_by_a_default_scope_only() {
        assert_eq!(
            read(
                403,
                r#"Bearer error="insufficient_scope", scope="api://middle/.default""#
            ),
            Some(Demand::Consent)
        );
        assert_eq!(
            read(
                403,
                r#"Bearer error="insufficient_scope", scope="api://middle/admin""#
            ),
            None
        );
        assert_eq!(
            read(
                401,
                r#"Bearer error="insufficient_scope", scope="api://middle/.default""#
            ),
            None
        );
        assert_eq!(read(403, "Bearer"), None);
    }

    #[test]
    fn demanded_claims_are_merged_with_our_capabilities() {
        let merged = Demand::Claims(
            ClaimsRequest::from_json(r#"{"access_token":{"nbf":{"value":"1"}},"id_token":{}}"#)
                .unwrap(),
        )
        .claims();
        let merged: serde_json::Value = serde_json::from_str(&merged).unwrap();
        let expected = serde_json::json!({"access_token": {"nbf": {"value": "1"}, "xms_cc": {"values": ["cp1"]}}, "id_token": {}});
        assert_eq!(merged, expected);
        assert_eq!(
            capabilities(),
            r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#
        );
    }
}
