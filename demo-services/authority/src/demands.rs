//! The `claims` parameter (OpenID Connect Core 5.5): what of it is a demand, and what the client says it can do.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::directory::is_auth_context;
use crate::form;

/// Longest `claims` text that is read.
const MAX_LENGTH: usize = 8 * 1024;

/// The part of a claims request that this authority evaluates; all else is ignored, as MSAL always sends some.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demands {
    /// Authentication contexts, one of which is wanted in `acrs`. Empty: none is.
    pub(crate) contexts: Vec<String>,
    /// Policies that must be met (`capolids`, `polids`).
    pub(crate) policies: Vec<Uuid>,
    /// The sign-in must not be older than this (`nbf`, seconds since 1970).
    pub(crate) not_before: Option<u64>,
    /// The client's capabilities (`xms_cc`).
    pub(crate) capabilities: Vec<String>,
}

/// The text is not a claims request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Demands {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Unreadable> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        if text.len() > MAX_LENGTH {
            return Err(Unreadable);
        }
        let Value::Object(request) = serde_json::from_str::<Value>(text).map_err(|_| Unreadable)?
        else {
            return Err(Unreadable);
        };
        let wanted = |name: &str| {
            strings(
                request
                    .get("access_token")
                    .and_then(|token| token.get(name)),
            )
        };
        let contexts = wanted("acrs");
        if !contexts.iter().all(|id| is_auth_context(id)) {
            return Err(Unreadable);
        }
        Ok(Self {
            contexts,
            policies: ["capolids", "polids"]
                .iter()
                .flat_map(|name| wanted(name))
                .filter_map(|id| form::guid(&id))
                .collect(),
            not_before: wanted("nbf")
                .first()
                .map(|seconds| seconds.parse().map_err(|_| Unreadable))
                .transpose()?,
            capabilities: wanted("xms_cc"),
        })
    }

    /// The same demands with another request's capabilities added.
    pub(crate) fn with_capabilities(mut self, others: &[String]) -> Self {
        let new: Vec<_> = others
            .iter()
            .filter(|capability| !self.capabilities.contains(capability))
            .cloned()
            .collect();
        self.capabilities.extend(new);
        self
    }
}

/// `value` and `values`, strings only (a number counts as its text); old documents spell `Values`.
fn strings(claim: Option<&Value>) -> Vec<String> {
    let Some(claim) = claim else {
        return Vec::new();
    };
    let values = claim
        .get("values")
        .or_else(|| claim.get("Values"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    claim
        .get("value")
        .into_iter()
        .chain(values)
        .filter_map(text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Demands, Unreadable> {
        Demands::parse(Some(text))
    }

    #[test]
    fn what_msal_always_sends_is_no_demand() {
        let text = r#"{"id_token":{"signin_state":{"essential":false},"login_hint":{"essential":false}},"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
        assert_eq!(
            parse(text).unwrap(),
            Demands {
                capabilities: vec!["cp1".into()],
                ..Demands::default()
            }
        );
    }

    #[test]
    fn acrs_comes_as_value_or_values() {
        for text in [
            r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#,
            r#"{ "access_token": { "acrs": { "essential": true, "values": ["c1"] } } }"#,
        ] {
            assert_eq!(parse(text).unwrap().contexts, ["c1"]);
        }
    }

    #[test]
    fn policies_and_nbf_are_read() {
        let id = "9ab03e19-ed42-4168-b6b7-7001fb3e933a";
        let text = format!(
            r#"{{"access_token":{{"polids":{{"essential":true,"Values":["{id}"]}},"nbf":{{"essential":true, "value":"1604106651"}}}}}}"#
        );
        let demands = parse(&text).unwrap();
        assert_eq!(demands.policies, [Uuid::parse_str(id).unwrap()]);
        assert_eq!(demands.not_before, Some(1_604_106_651));
    }

    #[test]
    fn what_is_no_claims_request_is_refused() {
        let deep = "[".repeat(5000);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_LENGTH));
        for text in [
            "",
            "[]",
            "null",
            "{",
            "eyJhIjoxfQ==",
            &deep,
            &long,
            r#"{"access_token":{"acrs":{"value":"cp1"}}}"#,
            r#"{"access_token":{"nbf":{"value":"soon"}}}"#,
        ] {
            assert_eq!(parse(text), Err(Unreadable));
        }
        assert_eq!(Demands::parse(None), Ok(Demands::default()));
    }
}
