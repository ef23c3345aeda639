//! Between the two dialects of a step-up: RFC 9470 (`acr_values`, `max_age`) and Entra's authentication contexts (`acrs`).

use std::collections::HashMap;

use crate::challenge::{Demand, StepUp};
use crate::claims::{ClaimsRequest, check_context};
use crate::error::ConfigError;
use crate::scope::Scope;

/// Which class of authentication (`acr`, RFC 9470) is which authentication context (`acrs`, Entra), for
/// [`OnBehalfOfLayer::translate`](super::OnBehalfOfLayer::translate).
#[derive(Clone, Debug)]
pub struct StepUpTable {
    /// acr and context, in the order in which they were given.
    entries: Vec<(String, String)>,
}

/// What the caller's own client can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Claims to be sent to the authority.
    Claims,
    /// RFC 9470.
    StepUp,
}

impl StepUpTable {
    /// Pairs of a class and the context that means the same: `[("urn:example:mfa", "c1")]`. Several classes may share a context, and
    /// any of them then answers it.
    ///
    /// # Errors
    /// No pair, a class that is no visible ASCII without spaces and quotes, a context that is not `c1` to `c99`, or a class with two
    /// contexts.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut contexts = HashMap::new();
        let mut entries = Vec::new();
        for (acr, context) in pairs {
            Scope::new(acr).map_err(|_| ConfigError::Authentication)?;
            check_context(context)?;
            match contexts.insert(acr, context) {
                None => entries.push((acr.to_owned(), context.to_owned())),
                Some(same) if same == context => {}
                Some(_) => return Err(ConfigError::StepUpTable),
            }
        }
        if entries.is_empty() {
            return Err(ConfigError::StepUpTable);
        }
        Ok(Self { entries })
    }

    /// `None` for what claims cannot say: an age has no context.
    fn claims(&self, step_up: &StepUp) -> Option<ClaimsRequest> {
        if step_up.max_age.is_some() {
            return None;
        }
        // In order of preference, and any of them will do.
        let mut wanted = step_up.acr_values.as_deref()?.split(' ');
        let context = wanted.find_map(|acr| {
            let mut entries = self.entries.iter();
            entries.find(|(known, _)| known == acr)
        });
        ClaimsRequest::acrs(&context?.1).ok()
    }

    /// `None` for what RFC 9470 cannot say: anything but contexts.
    fn step_up(&self, claims: &ClaimsRequest) -> Option<StepUp> {
        let contexts = claims.contexts()?;
        let acrs = contexts.iter().flat_map(|context| {
            let entries = self.entries.iter();
            entries.filter_map(move |(acr, known)| (known == context).then_some(acr.as_str()))
        });
        StepUp::new(acrs, None).ok()
    }
}

impl Dialect {
    /// The demand in this dialect. `None` without an entry in the table: what is not known to mean the same is not said.
    pub(super) fn say(self, demand: Demand, table: Option<&StepUpTable>) -> Option<Demand> {
        match (self, demand) {
            (Self::Claims, Demand::StepUp(step_up)) => table?.claims(&step_up).map(Demand::Claims),
            (Self::StepUp, Demand::Claims(claims)) => table?.step_up(&claims).map(Demand::StepUp),
            (_, same) => Some(same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> StepUpTable {
        StepUpTable::new([("urn:a", "c1"), ("urn:b", "c2"), ("urn:aa", "c1")]).unwrap()
    }

    fn step_up(acr_values: Option<&str>, max_age: Option<u64>) -> Demand {
        let acr_values = acr_values.map(str::to_owned);
        Demand::StepUp(StepUp {
            acr_values,
            max_age,
        })
    }

    fn claims(text: &str) -> Demand {
        Demand::Claims(ClaimsRequest::from_json(text).unwrap())
    }

    const C1: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    const C2: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c2"}}}"#;

    #[test]
    fn within_a_dialect_nothing_changes_and_no_table_is_needed() {
        let odd = claims(r#"{"access_token":{"nbf" : {"value":"1"}}}"#);
        let demand = step_up(Some("urn:x  urn:y"), Some(0));
        for table in [None, Some(&table())] {
            assert_eq!(Dialect::Claims.say(odd.clone(), table), Some(odd.clone()));
            assert_eq!(
                Dialect::StepUp.say(demand.clone(), table),
                Some(demand.clone())
            );
        }
    }

    #[test]
    fn classes_become_the_first_known_context() {
        for (acr_values, max_age, expected) in [
            (Some("urn:a"), None, Some(C1)),
            (Some("urn:aa"), None, Some(C1)),
            (Some("urn:x urn:b urn:a"), None, Some(C2)),
            (Some("urn:x"), None, None),
            (Some("URN:A"), None, None),
            (Some("urn:a"), Some(60), None),
            (None, Some(60), None),
        ] {
            let demand = step_up(acr_values, max_age);
            let said = Dialect::Claims.say(demand.clone(), Some(&table()));
            assert_eq!(said, expected.map(claims), "{acr_values:?} {max_age:?}");
            assert_eq!(Dialect::Claims.say(demand, None), None);
        }
    }

    #[test]
    fn contexts_become_all_classes_that_mean_them() {
        for (text, expected) in [
            (C1, Some("urn:a urn:aa")),
            (C2, Some("urn:b")),
            (
                r#"{"access_token":{"acrs":{"values":["c9","c2","c1"]}}}"#,
                Some("urn:b urn:a urn:aa"),
            ),
            (r#"{"access_token":{"acrs":{"value":"c3"}}}"#, None),
            // More than contexts is demanded.
            (
                r#"{"access_token":{"acrs":{"value":"c1"},"nbf":{"value":"1"}}}"#,
                None,
            ),
            (r#"{"access_token":{"nbf":{"value":"1"}}}"#, None),
            (
                r#"{"access_token":{"acrs":{"value":"c1"}},"id_token":{"x":null}}"#,
                None,
            ),
            (
                r#"{"access_token":{"acrs":{"value":"c1","values":["c2"]}}}"#,
                None,
            ),
            (r#"{"access_token":{"acrs":{"value":1}}}"#, None),
            (r#"{"access_token":{"acrs":{"values":["c1",2]}}}"#, None),
            (r#"{"access_token":{"acrs":{"values":[]}}}"#, None),
            (r#"{"access_token":{"acrs":null}}"#, None),
            ("{}", None),
        ] {
            let said = Dialect::StepUp.say(claims(text), Some(&table()));
            assert_eq!(
                said,
                expected.map(|acrs| step_up(Some(acrs), None)),
                "{text}"
            );
            assert_eq!(Dialect::StepUp.say(claims(text), None), None);
        }
    }

    #[test]
    fn a_table_is_complete_and_says_one_thing() {
        assert!(StepUpTable::new([("urn:a", "c1"), ("urn:a", "c1")]).is_ok());
        for (pairs, error) in [
            (&[][..], ConfigError::StepUpTable),
            (
                &[("urn:a", "c1"), ("urn:a", "c2")],
                ConfigError::StepUpTable,
            ),
            (&[("", "c1")], ConfigError::Authentication),
            (&[("urn:a urn:b", "c1")], ConfigError::Authentication),
            (&[("urn:a", "c0")], ConfigError::AuthenticationContext),
        ] {
            let table = StepUpTable::new(pairs.iter().copied());
            assert_eq!(table.err(), Some(error), "{pairs:?}");
        }
    }
}
