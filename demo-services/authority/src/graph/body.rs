//! From JSON to Graph's types: strict, and errors name the property but never quote a value.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::error::GraphError;

/// Takes the type annotations away that the SDKs put into bodies.
pub(super) fn without_types(object: &mut Map<String, Value>) {
    object.retain(|name, _| !name.ends_with("@odata.type") && name != "@odata.context");
    object.values_mut().for_each(strip);
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => without_types(object),
        Value::Array(values) => values.iter_mut().for_each(strip),
        _ => {}
    }
}

pub(super) fn read<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, GraphError> {
    T::deserialize(Value::Object(object)).map_err(|error| explain(&error))
}

/// serde's text quotes values; the name of a property and what was expected are all that is taken from it.
fn explain(error: &serde_json::Error) -> GraphError {
    let text = error.to_string();
    let quoted = |after: &str| {
        let (_, rest) = text.split_once(after)?;
        rest.split('`').next()
    };
    if text.starts_with("unknown field") {
        return GraphError::unknown_property(quoted("unknown field `").unwrap_or_default());
    }
    if text.starts_with("missing field") {
        return GraphError::bad(format!(
            "A value is required for property '{}' of resource.",
            quoted("missing field `").unwrap_or_default()
        ));
    }
    let expected = text
        .rsplit_once(", expected ")
        .map_or("another value", |(_, expected)| expected);
    GraphError::bad(format!(
        "A property has a value of the wrong type: {expected} is expected."
    ))
}

/// Tells a property that is null (`Some(None)`) from one that is not there (`None`).
pub(super) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Graph does not take null for it.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// At most so many characters.
pub(super) fn short(
    text: &str,
    longest: usize,
    property: &str,
    resource: &str,
) -> Result<(), GraphError> {
    if text.chars().count() <= longest {
        Ok(())
    } else {
        Err(GraphError::invalid_value(property, resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default, deserialize_with = "nullable")]
        note: Option<Option<String>>,
        #[serde(default, deserialize_with = "given")]
        name: Option<String>,
    }

    fn parse(value: Value) -> Result<Body, String> {
        read(value.as_object().unwrap().clone()).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn null_is_not_absence() {
        let body = parse(json!({ "note": null })).unwrap();
        assert_eq!((body.note, body.name), (Some(None), None));
        assert!(parse(json!({ "name": null })).is_err());
    }

    #[test]
    fn an_error_names_the_property_and_quotes_no_value() {
        assert!(
            parse(json!({ "hunter": 1 }))
                .unwrap_err()
                .contains("'hunter'")
        );
        let text = parse(json!({ "name": ["hunter2"] })).unwrap_err();
        assert!(
            text.contains("a string is expected") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
