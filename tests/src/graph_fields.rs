//! Request bodies against the types that Microsoft Graph publishes: `graph_fields.json` beside this has those that the tenant's commands
//! use, with all their properties, taken from the metadata that it names. Our own imitation of Graph would share our mistakes.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

static PUBLISHED: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("graph_fields.json")).expect("the table is JSON")
});

/// A member of a body, and what Graph calls it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Field {
    /// Where it stands: `api.oauth2PermissionScopes[].id`.
    pub place: String,
    /// Type and property that Graph publishes: `permissionScope.id`.
    pub property: String,
    /// The property's type: `Edm.Guid`, `Collection(graph.appRole)`.
    pub edm: String,
}

/// The members of a body, or what Graph would not understand of it.
///
/// `path` is what stands below `/v1.0/`, without a query.
///
/// # Errors
///
/// Each member that the type does not have, and each value that is not of its property's type.
pub fn check(method: &str, path: &str, body: &Value) -> Result<Vec<Field>, Vec<String>> {
    let Some((_, name)) = request(method, path) else {
        return Err(vec![format!("{method} {path} is not in the table")]);
    };
    let mut found = Found::default();
    found.object(name, body, "");
    if found.faults.is_empty() {
        found.fields.sort();
        found.fields.dedup();
        Ok(found.fields)
    } else {
        Err(found.faults)
    }
}

/// The path as the table has it, with `{id}` in place of ids.
#[must_use]
pub fn pattern(method: &str, path: &str) -> Option<&'static str> {
    request(method, path).map(|(pattern, _)| pattern)
}

/// Pattern and type of a request's body.
fn request(method: &str, path: &str) -> Option<(&'static str, &'static str)> {
    let same = |pattern: &str| {
        let (mut left, mut right) = (pattern.split('/'), path.split('/'));
        loop {
            match (left.next(), right.next()) {
                (None, None) => return true,
                (Some("{id}"), Some(id)) if !id.is_empty() => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    };
    let text = |row: &'static Value, name: &str| row[name].as_str().unwrap_or_default();
    PUBLISHED["requests"]
        .as_array()?
        .iter()
        .find(|row| text(row, "method") == method && same(text(row, "path")))
        .map(|row| (text(row, "path"), text(row, "type")))
}

#[derive(Default)]
struct Found {
    fields: Vec<Field>,
    faults: Vec<String>,
}

impl Found {
    fn fault(&mut self, place: &str, why: &str) {
        self.faults.push(format!("{place}: {why}"));
    }

    fn object(&mut self, name: &str, value: &Value, place: &str) {
        let Some(properties) = PUBLISHED["types"][name].as_object() else {
            return self.fault(place, &format!("graph.{name} is not in the table"));
        };
        let Some(object) = value.as_object() else {
            return self.fault(place, &format!("is no object, but graph.{name} is"));
        };
        self.members(name, properties, object, place);
    }

    fn members(
        &mut self,
        name: &str,
        properties: &Map<String, Value>,
        object: &Map<String, Value>,
        place: &str,
    ) {
        for (member, value) in object {
            let place = match place {
                "" => member.clone(),
                _ => format!("{place}.{member}"),
            };
            let Some(edm) = properties.get(member).and_then(Value::as_str) else {
                self.fault(&place, &format!("graph.{name} has no such property"));
                continue;
            };
            let (edm, nullable) = match edm.strip_suffix(" not null") {
                Some(edm) => (edm, false),
                None => (edm, true),
            };
            self.fields.push(Field {
                place: place.clone(),
                property: format!("{name}.{member}"),
                edm: edm.to_owned(),
            });
            if !value.is_null() {
                self.value(edm, value, &place);
            } else if !nullable {
                self.fault(&place, "cannot be null");
            }
        }
    }

    fn value(&mut self, edm: &str, value: &Value, place: &str) {
        if let Some(item) = edm
            .strip_prefix("Collection(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            let Some(list) = value.as_array() else {
                return self.fault(place, &format!("is no array, but {edm}"));
            };
            for value in list {
                self.value(item, value, &format!("{place}[]"));
            }
        } else if let Some(name) = edm.strip_prefix("graph.") {
            match PUBLISHED["enums"][name].as_array() {
                Some(members) if members.contains(value) => {}
                Some(_) => self.fault(place, &format!("{value} is no member of {edm}")),
                None => self.object(name, value, place),
            }
        } else if !is_scalar(edm, value) {
            self.fault(place, &format!("is not {edm}"));
        }
    }
}

/// How OData JSON writes them (OData JSON Format 4.01, section 7.1).
fn is_scalar(edm: &str, value: &Value) -> bool {
    let text = value.as_str();
    match edm {
        "Edm.Boolean" => value.is_boolean(),
        "Edm.Int32" => value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        "Edm.String" => text.is_some(),
        "Edm.Guid" => text.is_some_and(is_guid),
        "Edm.Binary" => text.is_some_and(|text| STANDARD.decode(text).is_ok()),
        "Edm.DateTimeOffset" => text.is_some_and(is_time),
        _ => false,
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// `2026-11-26T03:00:00Z`, with or without a fraction, or with an offset.
fn is_time(text: &str) -> bool {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(byte, wanted)| match wanted {
                    b'0' => byte.is_ascii_digit(),
                    b'+' => matches!(byte, b'+' | b'-'),
                    _ => byte == wanted,
                })
    };
    let Some((start, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction.trim_start_matches(|letter: char| letter.is_ascii_digit());
            if end.len() == fraction.len() {
                return false;
            }
            end
        }
        None => rest,
    };
    shape(start, "0000-00-00T00:00:00") && (rest == "Z" || shape(rest, "+00:00"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0d1c0000-0000-4000-8000-000000000001";

    fn application() -> Value {
        json!({
            "displayName": "x",
            "description": null,
            "isFallbackPublicClient": true,
            "api": { "requestedAccessTokenVersion": 2, "oauth2PermissionScopes": [{ "id": ID, "isEnabled": true }] },
            "keyCredentials": [{ "key": "AAEC", "keyId": ID, "endDateTime": "2027-11-26T03:00:00Z" }],
        })
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut body = application();
        change(&mut body);
        check("POST", "applications", &body)
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn a_right_body_is_told_by_its_properties() {
        let fields = check("POST", "applications", &application()).unwrap();
        let field = |place: &str| fields.iter().find(|field| field.place == place).unwrap();
        let version = field("api.requestedAccessTokenVersion");
        assert_eq!(
            (version.property.as_str(), version.edm.as_str()),
            ("apiApplication.requestedAccessTokenVersion", "Edm.Int32")
        );
        assert_eq!(
            field("api.oauth2PermissionScopes[].id").property,
            "permissionScope.id"
        );
    }

    #[test]
    fn each_fault_is_found() {
        type Break = fn(&mut Value);
        let rows: &[(&str, Break)] = &[
            ("displayname: graph.application has no", |b| {
                b["displayname"] = json!("x")
            }),
            ("api.version: graph.apiApplication has no", |b| {
                b["api"]["version"] = json!(2)
            }),
            ("api.requestedAccessTokenVersion: is not Edm.Int32", |b| {
                b["api"]["requestedAccessTokenVersion"] = json!("2")
            }),
            ("api.requestedAccessTokenVersion: is not Edm.Int32", |b| {
                b["api"]["requestedAccessTokenVersion"] = json!(4_000_000_000_u64)
            }),
            ("api.oauth2PermissionScopes[].id: cannot be null", |b| {
                b["api"]["oauth2PermissionScopes"][0]["id"] = Value::Null
            }),
            ("api.oauth2PermissionScopes[].id: is not Edm.Guid", |b| {
                b["api"]["oauth2PermissionScopes"][0]["id"] = json!("7")
            }),
            ("isFallbackPublicClient: is not Edm.Boolean", |b| {
                b["isFallbackPublicClient"] = json!("true")
            }),
            ("tags: is no array", |b| b["tags"] = json!("x")),
            ("tags[]: is not Edm.String", |b| b["tags"] = json!([1])),
            ("keyCredentials[].key: is not Edm.Binary", |b| {
                b["keyCredentials"][0]["key"] = json!("-----BEGIN")
            }),
            (
                "keyCredentials[].endDateTime: is not Edm.DateTimeOffset",
                |b| b["keyCredentials"][0]["endDateTime"] = json!("tomorrow"),
            ),
            ("web: is no object", |b| b["web"] = json!([])),
            ("info: graph.informationalUrl is not in the table", |b| {
                b["info"] = json!({})
            }),
        ];
        assert!(faults(|_| {}).is_empty());
        for (fault, broken) in rows {
            let found = faults(broken);
            assert!(
                found.len() == 1 && found[0].starts_with(fault),
                "{fault}: {found:?}"
            );
        }
    }

    #[test]
    fn members_of_enums_are_known() {
        let state = |state: &str| {
            let body = json!({ "state": state });
            check(
                "PATCH",
                &format!("identity/conditionalAccess/policies/{ID}"),
                &body,
            )
        };
        assert!(state("enabled").is_ok());
        assert!(state("reportOnly").is_err());
    }

    #[test]
    fn a_request_that_is_not_in_the_table_fails() {
        for (method, path) in [
            ("PUT", "applications"),
            ("POST", "application"),
            ("POST", "applications/"),
            ("PATCH", "applications/"),
            ("POST", "applications/1/2"),
        ] {
            assert!(check(method, path, &json!({})).is_err(), "{method} {path}");
        }
        assert_eq!(
            pattern("PATCH", &format!("applications/{ID}")),
            Some("applications/{id}")
        );
    }

    #[test]
    fn times_are_told_from_other_texts() {
        for text in [
            "2026-11-26T03:00:00Z",
            "2026-11-26T03:00:00.123Z",
            "2026-11-26T03:00:00+01:00",
        ] {
            assert!(is_time(text), "{text}");
        }
        for text in [
            "",
            "2026-11-26",
            "2026-11-26T03:00:00",
            "2026-11-26 03:00:00Z",
            "2026-11-26T03:00:00.Z",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(!is_time(text), "{text}");
        }
    }
}
