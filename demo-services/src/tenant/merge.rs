//! What to send so that Graph has what is wanted and loses nothing that is there: Graph replaces a list as a whole. Pure.

use serde_json::{Map, Value};

/// What tells the elements of Graph's lists apart, the more telling first.
const IDENTITIES: &[&str] = &["resourceAppId", "appId", "keyId", "id", "name"];

/// The properties of `wanted`, with what `current` has besides in their lists; `None` if `current` has all of it.
pub(super) fn missing(current: &Value, wanted: &Value) -> Option<Value> {
    (!has(current, wanted)).then(|| union(current, wanted))
}

/// Whether all of `wanted` is in `current`. Lists have no order.
pub(super) fn has(current: &Value, wanted: &Value) -> bool {
    match (current, wanted) {
        (Value::Object(current), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, wanted)| has(current.get(name).unwrap_or(&Value::Null), wanted)),
        (Value::Array(current), Value::Array(wanted)) => wanted
            .iter()
            .all(|wanted| counterpart(current, wanted).is_some_and(|current| has(current, wanted))),
        // A list without elements may be told as null.
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (current, wanted) => same(current, wanted),
    }
}

/// All of `wanted`, and the elements that `current` has besides in its lists.
pub(super) fn union(current: &Value, wanted: &Value) -> Value {
    match (current, wanted) {
        (Value::Object(current), Value::Object(wanted)) => wanted
            .iter()
            .map(|(name, wanted)| {
                (
                    name.clone(),
                    union(current.get(name).unwrap_or(&Value::Null), wanted),
                )
            })
            .collect::<Map<_, _>>()
            .into(),
        (Value::Array(current), Value::Array(wanted)) => {
            let kept = current
                .iter()
                .map(|current| match counterpart(wanted, current) {
                    Some(wanted) => whole(current, wanted),
                    None => current.clone(),
                });
            let added = wanted
                .iter()
                .filter(|wanted| counterpart(current, wanted).is_none());
            kept.chain(added.cloned()).collect()
        }
        (_, wanted) => wanted.clone(),
    }
}

/// All of `current`, with what is wanted in it.
pub(super) fn joined(current: &Value, wanted: &Value) -> Value {
    match (current, wanted) {
        (Value::Object(current), Value::Object(wanted)) => {
            let mut all = current.clone();
            for (name, wanted) in wanted {
                let value = joined(current.get(name).unwrap_or(&Value::Null), wanted);
                all.insert(name.clone(), value);
            }
            all.into()
        }
        (current, wanted) => union(current, wanted),
    }
}

/// An element of a list keeps also the properties that are not wanted.
fn whole(current: &Value, wanted: &Value) -> Value {
    let mut all = current.clone();
    match (&mut all, union(current, wanted)) {
        (Value::Object(all), Value::Object(more)) => all.extend(more),
        (all, more) => *all = more,
    }
    all
}

/// The element of a list that means the same thing.
fn counterpart<'a>(list: &'a [Value], element: &Value) -> Option<&'a Value> {
    let identity = IDENTITIES.iter().find(|name| element.get(name).is_some());
    list.iter().find(|other| match identity {
        Some(name) => other.get(name).is_some_and(|other| {
            element
                .get(name)
                .is_some_and(|element| same(other, element))
        }),
        None => same(other, element),
    })
}

/// GUIDs are told in small letters whatever they came in.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => {
            one == other || (uuid::Uuid::try_parse(one).is_ok() && one.eq_ignore_ascii_case(other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_there_is_not_sent() {
        let current = json!({ "identifierUris": ["b", "a"], "api": { "x": 1, "known": ["AAAAAAAA-0000-4000-8000-000000000001"] } });
        for wanted in [
            json!({ "identifierUris": ["a"] }),
            json!({ "identifierUris": [] }),
            json!({ "web": [] }),
            json!({ "api": { "known": ["aaaaaaaa-0000-4000-8000-000000000001"] } }),
        ] {
            assert_eq!(missing(&current, &wanted), None, "{wanted}");
        }
        assert!(missing(&current, &json!({ "identifierUris": ["A"] })).is_some());
        assert!(missing(&current, &json!({ "api": { "x": 2 } })).is_some());
    }

    #[test]
    fn what_somebody_added_stays_and_what_is_not_wanted_is_not_sent() {
        let current = json!({
            "displayName": "x",
            "requiredResourceAccess": [
                { "resourceAppId": "r", "resourceAccess": [{ "id": "1", "type": "Scope" }] },
                { "resourceAppId": "s", "resourceAccess": [] },
            ],
            "api": { "scopes": ["a"], "known": ["k"] },
        });
        let wanted = json!({
            "requiredResourceAccess": [{ "resourceAppId": "r", "resourceAccess": [{ "id": "2", "type": "Scope" }] }],
            "api": { "known": ["l"] },
        });
        assert_eq!(
            missing(&current, &wanted),
            Some(json!({
                "requiredResourceAccess": [
                    { "resourceAppId": "r", "resourceAccess": [{ "id": "1", "type": "Scope" }, { "id": "2", "type": "Scope" }] },
                    { "resourceAppId": "s", "resourceAccess": [] },
                ],
                "api": { "known": ["k", "l"] },
            }))
        );
    }

    #[test]
    fn an_element_is_known_by_its_identity() {
        let current =
            json!({ "keyCredentials": [{ "keyId": "1", "key": null, "usage": "Verify" }] });
        let wanted = json!({ "keyCredentials": [{ "keyId": "2", "key": "AA" }] });
        let sent = missing(&current, &wanted).unwrap();
        assert_eq!(sent["keyCredentials"].as_array().unwrap().len(), 2);
        let wanted = json!({ "keyCredentials": [{ "keyId": "1", "key": "AA" }] });
        let sent = missing(&current, &wanted).unwrap();
        assert_eq!(
            sent["keyCredentials"],
            json!([{ "keyId": "1", "key": "AA", "usage": "Verify" }])
        );
    }
}
