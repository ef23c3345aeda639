//! Conditional Access policies: what one that is there lacks.

use serde_json::{Map, Value, json};

use super::is;
use crate::tenant::merge;

/// What a policy lacks. One that somebody has enforced stays so.
pub(super) fn policy_changes(there: &Value, wanted: &Value, enforce: bool) -> Option<Value> {
    let mut changes = Map::new();
    if enforce && !is(there, "state", "enabled") {
        changes.insert("state".to_owned(), json!("enabled"));
    }
    let mut conditions = Map::new();
    for part in ["applications", "users"] {
        let none = Value::Null;
        let pointer = format!("/conditions/{part}");
        let (there, wanted) = (
            there.pointer(&pointer).unwrap_or(&none),
            wanted.pointer(&pointer)?,
        );
        match part {
            // The application was made anew: the one before is no more.
            "applications" if !merge::has(there, wanted) => {
                conditions.insert(part.to_owned(), wanted.clone());
            }
            "users" => conditions
                .extend(merge::missing(there, wanted).map(|users| (part.to_owned(), users))),
            _ => {}
        }
    }
    if !conditions.is_empty() {
        changes.insert("conditions".to_owned(), conditions.into());
    }
    (!changes.is_empty()).then(|| changes.into())
}
