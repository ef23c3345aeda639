//! JSON as strictly as security needs it: one object, no member twice, bounded depth, nothing behind it.
//!
//! RFC 7515 4 and RFC 7519 4 let a parser take the last of two equal members; two parsers that differ there can be
//! played against each other, so a duplicate is refused instead.

use std::borrow::Cow;
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

/// How serde_json hands a number over where some crate has switched its feature `arbitrary_precision` on: as an object of
/// this one member, a string of digits.
const PRIVATE_NUMBER: &str = "$serde_json::private::Number";

fn private_number<E: serde::de::Error>(text: &str) -> Result<Number, E> {
    serde_json::from_str(text).map_err(E::custom)
}

fn real_date(real: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let whole = real as u64;
    whole
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
        match members.get(PRIVATE_NUMBER).and_then(Value::as_str) {
            Some(text) => private_number(text).map(Value::Number),
            None => Ok(Value::Object(members)),
        }
    }
}

/// A value as far as a reader of claims needs it: the rest is checked for form and dropped.
pub(crate) enum Node<'a> {
    /// A string; borrowed unless it was written with escapes.
    Text(Cow<'a, str>),
    /// A number, as a NumericDate (RFC 7519 2) in whole seconds: a fraction is cut off, what lies before the epoch is 0, and what
    /// exceeds 64 bits is as far as we can count.
    Date(u64),
    /// An array.
    List(Vec<Node<'a>>),
    /// Anything else.
    Other,
}

/// Takes the members of an object, one by one.
pub(crate) trait Members<'a> {
    /// Is this member's value needed? A value that is not is checked for form, and may be handed over without what is in it.
    fn wants(&self, name: &str) -> bool;

    /// One member.
    fn take(&mut self, name: &str, value: Node<'a>);
}

/// Reads one object under the same rules as [`parse_object`], in one pass and without building a tree.
pub(crate) fn read_object<'a>(
    text: &'a [u8],
    depth: usize,
    members: &mut impl Members<'a>,
) -> Result<(), NotAnObject> {
    // One look at all of the text is cheaper than one at each string in it.
    let text = std::str::from_utf8(text).map_err(|_| NotAnObject)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(Outermost { depth, members })
        .and_then(|()| deserializer.end())
        .map_err(|_| NotAnObject)
}

struct Outermost<'m, M> {
    depth: usize,
    members: &'m mut M,
}

impl<'de, M: Members<'de>> Visitor<'de> for Outermost<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object without duplicate members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let deeper = (Strict { depth: self.depth }).deeper()?;
        let mut names = Names::default();
        while let Some(name) = access.next_key_seed(Name)? {
            if name == PRIVATE_NUMBER {
                return Err(A::Error::custom("a number is no object"));
            }
            let keep = self.members.wants(&name);
            let value = access.next_value_seed(Skim {
                strict: deeper,
                keep,
            })?;
            self.members.take(&name, value);
            names.add(name)?;
        }
        names.end()
    }
}

/// Member names are borrowed where they were written without escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The names of one object, to find one that stands there twice.
#[derive(Default)]
struct Names<'a> {
    seen: Vec<Cow<'a, str>>,
    /// A bit per name among the first [`FEW_NAMES`]: a new bit is a new name.
    marks: u128,
}

/// Up to so many names are compared as they come; more are sorted at the end, which hostile objects cannot make slow.
const FEW_NAMES: usize = 48;

impl<'a> Names<'a> {
    fn add<E: serde::de::Error>(&mut self, name: Cow<'a, str>) -> Result<(), E> {
        if self.seen.len() < FEW_NAMES {
            let mark = 1 << (mix(name.as_bytes()) % 128);
            if self.marks & mark != 0 && self.seen.contains(&name) {
                return Err(E::custom("duplicate member"));
            }
            self.marks |= mark;
        }
        if self.seen.is_empty() {
            self.seen.reserve(FEW_NAMES);
        }
        self.seen.push(name);
        Ok(())
    }

    fn end<E: serde::de::Error>(mut self) -> Result<(), E> {
        if self.seen.len() <= FEW_NAMES {
            return Ok(());
        }
        self.seen.sort_unstable();
        let twice = self
            .seen
            .iter()
            .zip(self.seen.iter().skip(1))
            .any(|(a, b)| a == b);
        if twice {
            Err(E::custom("duplicate member"))
        } else {
            Ok(())
        }
    }
}

/// Enough to tell most names of claims apart.
fn mix(name: &[u8]) -> usize {
    let first = name.first().copied().unwrap_or_default();
    let last = name.last().copied().unwrap_or_default();
    name.len() * 17 + usize::from(first) * 5 + usize::from(last)
}

#[derive(Clone, Copy)]
struct Skim {
    strict: Strict,
    keep: bool,
}

impl<'de> DeserializeSeed<'de> for Skim {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Date(u64::try_from(value).unwrap_or_default()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Date(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Date(real_date(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(if self.keep {
            Node::Text(Cow::Owned(value.to_owned()))
        } else {
            Node::Other
        })
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let deeper = Self {
            strict: self.strict.deeper()?,
            keep: self.keep,
        };
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(deeper)? {
            if self.keep {
                items.push(item);
            }
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let deeper = Self {
            strict: self.strict.deeper()?,
            keep: false,
        };
        let mut names = Names::default();
        let mut number = None;
        while let Some(name) = access.next_key_seed(Name)? {
            let is_number = name == PRIVATE_NUMBER;
            let value = access.next_value_seed(Self {
                keep: is_number,
                ..deeper
            })?;
            if let (true, Node::Text(text)) = (is_number, value) {
                number = Some(private_number(&text)?);
            }
            names.add(name)?;
        }
        names.end()?;
        let date = |number: Number| {
            let real = || real_date(number.as_f64().unwrap_or_default());
            number.as_u64().unwrap_or_else(real)
        };
        Ok(number.map_or(Node::Other, |number| Node::Date(date(number))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Members<'_> for Nothing {
        fn wants(&self, _: &str) -> bool {
            false
        }

        fn take(&mut self, _: &str, _: Node<'_>) {}
    }

    /// Both readers must agree on what is an object.
    fn parse_object(text: &[u8], depth: usize) -> Result<Map<String, Value>, NotAnObject> {
        let parsed = super::parse_object(text, depth);
        let read = read_object(text, depth, &mut Nothing);
        assert_eq!(
            parsed.is_ok(),
            read.is_ok(),
            "{:?}",
            String::from_utf8_lossy(text)
        );
        parsed
    }

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

    #[test]
    fn numbers_are_numbers_whatever_features_serde_json_has() {
        struct Exp(Option<u64>);

        impl Members<'_> for Exp {
            fn wants(&self, name: &str) -> bool {
                name == "exp"
            }

            fn take(&mut self, _: &str, value: Node<'_>) {
                self.0 = match value {
                    Node::Date(date) => Some(date),
                    _ => None,
                };
            }
        }

        for (digits, expected) in [
            ("1800000000", Some(1_800_000_000)),
            ("18.5e8", Some(1_850_000_000)),
            ("-1", Some(0)),
            ("0", Some(0)),
        ] {
            let text = format!(r#"{{"exp":{{"{PRIVATE_NUMBER}":"{digits}"}}}}"#);
            let mut exp = Exp(None);
            read_object(text.as_bytes(), 4, &mut exp).unwrap();
            assert_eq!(exp.0, expected, "{digits}");
            let parsed = parse_object(text.as_bytes(), 4).unwrap();
            assert!(parsed["exp"].is_number(), "{digits}");
        }
    }

    #[test]
    fn duplicates_are_found_among_few_names_and_among_many() {
        for count in [2, FEW_NAMES - 1, FEW_NAMES, FEW_NAMES + 1, 500] {
            let object = |twice: Option<usize>| {
                let mut members: Vec<String> = (0..count).map(|n| format!("\"m{n}\":0")).collect();
                members.extend(twice.map(|n| format!("\"m{n}\":1")));
                format!("{{{}}}", members.join(","))
            };
            assert!(parse_object(object(None).as_bytes(), 4).is_ok(), "{count}");
            for twice in [0, count / 2, count - 1] {
                let nested = format!("{{\"a\":[{}]}}", object(Some(twice)));
                assert!(
                    parse_object(object(Some(twice)).as_bytes(), 4).is_err(),
                    "{count}"
                );
                assert!(
                    parse_object(nested.as_bytes(), 4).is_err(),
                    "{count} nested"
                );
            }
        }
    }
}
