//! JSON as strictly as security needs it: one object, no member twice, bounded depth, nothing behind it.
//!
//! RFC 7515 4 and RFC 7519 4 let a parser take the last of two equal members; two parsers that differ there can be
//! played against each other, so a duplicate is refused instead.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The text is not one JSON object within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject;

/// Parses one object; `depth` counts nested objects and arrays, the outermost included.
pub(crate) fn parse_object(text: &[u8], depth: usize) -> Result<Map<String, Value>, NotAnObject> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match (Strict { depth }).deserialize(&mut deserializer) {
        Ok(Value::Object(members)) => deserializer
            .end()
            .map(|()| members)
            .map_err(|_| NotAnObject),
        _ => Err(NotAnObject),
    }
}

/// A NumericDate (RFC 7519 2) after the epoch, in whole seconds: a fraction is cut off, and what exceeds 64 bits is as
/// far as we can count.
pub(crate) fn numeric_date(value: &Value) -> Option<u64> {
    if let Some(whole) = value.as_u64() {
        return (whole > 0).then_some(whole);
    }
    let real = value.as_f64().filter(|real| *real >= 1.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    Some(real as u64)
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.depth
            .checked_sub(1)
            .map(|depth| Self { depth })
            .ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(deeper)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::parse_object;

    #[test]
    fn fail_what_is_not_one_strict_object() {
        let rows: [(&str, &[u8]); 13] = [
            ("array", b"[]"),
            ("null", b"null"),
            ("two objects", b"{}{}"),
            ("trailing bytes", b"{} x"),
            ("byte order mark", b"\xef\xbb\xbf{}"),
            ("duplicate", br#"{"a":1,"a":1}"#),
            ("duplicate written with an escape", br#"{"a":1,"\u0061":1}"#),
            ("nested duplicate", br#"{"a":{"b":1,"b":2}}"#),
            ("NaN", br#"{"a":NaN}"#),
            ("out of range", br#"{"a":1e400}"#),
            ("comment", b"{/**/}"),
            ("invalid UTF-8", b"{\"a\":\"\xff\"}"),
            ("truncated", br#"{"a":"#),
        ];
        for (name, text) in rows {
            assert!(parse_object(text, 8).is_err(), "{name}");
        }
    }

    #[test]
    fn pass_at_the_depth_and_fail_one_beyond() {
        let nested = |depth: usize| {
            format!(
                "{{\"a\":{}1{}}}",
                "[".repeat(depth - 1),
                "]".repeat(depth - 1)
            )
        };
        assert!(parse_object(nested(8).as_bytes(), 8).is_ok());
        assert!(parse_object(nested(9).as_bytes(), 8).is_err());
        assert!(parse_object(nested(100_000).as_bytes(), 8).is_err());
    }
}
