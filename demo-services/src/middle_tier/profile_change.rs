//! The change of a profile as its owner may ask for it: three texts and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// One member that may be changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name in JSON, here and in Graph.
    pub(super) name: &'static str,
    /// Its name in words.
    label: &'static str,
    /// Longest value in characters, as Graph's `user` resource has it.
    longest: usize,
    /// Whether it may be taken away.
    removable: bool,
}

const FIELDS: [Field; 3] = [
    Field {
        name: "displayName",
        label: "display name",
        longest: 256,
        removable: false,
    },
    Field {
        name: "givenName",
        label: "given name",
        longest: 64,
        removable: true,
    },
    Field {
        name: "surname",
        label: "surname",
        longest: 64,
        removable: true,
    },
];

/// A change that obeys the rules. `None` takes a value away, which Graph writes as `null`.
#[derive(PartialEq, Eq)]
pub(super) struct Change(BTreeMap<&'static str, Option<String>>);

/// A rule that a body breaks. Nothing of what was sent is in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    NotAnObject,
    Nothing,
    OtherMember,
    Twice(&'static Field),
    NotText(&'static Field),
    Blank(&'static Field),
    TooLong(&'static Field),
    ControlCharacter(&'static Field),
}

/// The members of one object as they were written, repeated ones as well.
struct Members(Vec<(String, Value)>);

impl Change {
    /// Reads `{"displayName": "...", "givenName": "...", "surname": "..."}`, of which each member may be left out but not all. An empty
    /// given name or surname takes it away.
    pub(super) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let Members(members) = serde_json::from_slice(body).map_err(|_| Invalid::NotAnObject)?;
        let mut change = BTreeMap::new();
        for (name, value) in members {
            let field = FIELDS.iter().find(|field| field.name == name);
            let field = field.ok_or(Invalid::OtherMember)?;
            if change.insert(field.name, field.check(value)?).is_some() {
                return Err(Invalid::Twice(field));
            }
        }
        if change.is_empty() {
            return Err(Invalid::Nothing);
        }
        Ok(Self(change))
    }

    /// The body of Graph's `PATCH /me`.
    pub(super) fn to_json(&self) -> String {
        let members = self.0.iter();
        let members = members.map(|(name, text)| ((*name).to_owned(), Value::from(text.clone())));
        Value::Object(members.collect()).to_string()
    }
}

impl Field {
    fn check(&'static self, value: Value) -> Result<Option<String>, Invalid> {
        let Value::String(text) = value else {
            return Err(Invalid::NotText(self));
        };
        if text.chars().any(is_control) {
            return Err(Invalid::ControlCharacter(self));
        }
        if text.chars().count() > self.longest {
            return Err(Invalid::TooLong(self));
        }
        let is_blank = text.chars().all(|c| c.is_whitespace() || is_invisible(c));
        match (is_blank, self.removable) {
            (true, false) => Err(Invalid::Blank(self)),
            (true, true) => Ok(None),
            (false, _) => Ok(Some(text)),
        }
    }
}

/// Also what breaks lines, and what turns the direction of the text around it.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is drawn as nothing, by itself: blanks that Unicode does not count as white space, joiners, marks, tags, selectors.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

impl Invalid {
    /// The member that breaks the rule, if it is one of those that there are.
    pub(super) fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotAnObject | Self::Nothing | Self::OtherMember => None,
            Self::Twice(field)
            | Self::NotText(field)
            | Self::Blank(field)
            | Self::TooLong(field)
            | Self::ControlCharacter(field) => Some(field.name),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("A change is one JSON object."),
            Self::Nothing => f.write_str("The change is empty. Send at least one value."),
            Self::OtherMember => {
                f.write_str("Only the display name, given name and surname can be changed.")
            }
            Self::Twice(field) => write!(f, "The {} is there twice.", field.label),
            Self::NotText(field) => write!(f, "The {} must be text.", field.label),
            Self::Blank(field) => write!(f, "The {} must not be empty.", field.label),
            Self::TooLong(field) => write!(
                f,
                "The {} must not be longer than {} characters.",
                field.label, field.longest
            ),
            Self::ControlCharacter(field) => write!(
                f,
                "The {} must not contain line breaks or other control characters.",
                field.label
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<String, Invalid> {
        Change::read(body.as_bytes()).map(|change| change.to_json())
    }

    #[test]
    fn each_part_may_be_changed_alone() {
        for (body, sent) in [
            (r#"{"displayName":"A L"}"#, r#"{"displayName":"A L"}"#),
            (r#" {"givenName": "Ä\"\u00e9"} "#, r#"{"givenName":"Ä\"é"}"#),
            (
                r#"{"surname":"S","displayName":"D","givenName":"G"}"#,
                r#"{"displayName":"D","givenName":"G","surname":"S"}"#,
            ),
        ] {
            assert_eq!(read(body).unwrap(), sent, "{body}");
        }
    }

    #[test]
    fn names_but_not_the_display_name_may_be_taken_away() {
        for body in [r#"{"givenName":""}"#, r#"{"givenName":"  "}"#] {
            assert_eq!(read(body).unwrap(), r#"{"givenName":null}"#);
        }
        assert_eq!(read(r#"{"surname":""}"#).unwrap(), r#"{"surname":null}"#);
        for body in [
            r#"{"displayName":""}"#,
            r#"{"displayName":" \u00a0 "}"#,
            r#"{"displayName":"\u200b"}"#,
            r#"{"displayName":"\u2060 \ufeff\u00ad"}"#,
            r#"{"displayName":"\u3164"}"#,
            r#"{"displayName":"\ud83c\udf00 \udb40\udc41"}"#,
        ] {
            let blank = read(body) == Err(Invalid::Blank(&FIELDS[0]));
            // A picture is seen.
            assert_eq!(blank, !body.contains("udf00"), "{body}");
        }
        assert_eq!(
            read(r#"{"surname":"\u200b"}"#).unwrap(),
            r#"{"surname":null}"#
        );
        // Persian and emoji need joiners within.
        assert!(read(r#"{"surname":"\u0645\u06cc\u200c\u062e"}"#).is_ok());
    }

    #[test]
    fn the_longest_values_pass_and_one_character_more_does_not() {
        for field in &FIELDS {
            let body = |length| format!("{{\"{}\":\"{}\"}}", field.name, "ä".repeat(length));
            assert!(read(&body(field.longest)).is_ok(), "{}", field.name);
            assert_eq!(
                read(&body(field.longest + 1)),
                Err(Invalid::TooLong(field)),
                "{}",
                field.name
            );
        }
    }

    #[test]
    fn what_is_no_change_of_a_profile_is_refused() {
        let display = &FIELDS[0];
        for (body, expected) in [
            ("", Invalid::NotAnObject),
            ("{", Invalid::NotAnObject),
            ("[]", Invalid::NotAnObject),
            ("null", Invalid::NotAnObject),
            (r#""displayName""#, Invalid::NotAnObject),
            (r#"{"displayName":"a"} {}"#, Invalid::NotAnObject),
            ("{}", Invalid::Nothing),
            (r#"{"mail":"x@y.example"}"#, Invalid::OtherMember),
            (
                r#"{"displayName":"a","accountEnabled":true}"#,
                Invalid::OtherMember,
            ),
            (r#"{"DisplayName":"a"}"#, Invalid::OtherMember),
            (r#"{"id":"1"}"#, Invalid::OtherMember),
            (r#"{"displayName":null}"#, Invalid::NotText(display)),
            (r#"{"displayName":7}"#, Invalid::NotText(display)),
            (r#"{"displayName":["a"]}"#, Invalid::NotText(display)),
            (
                r#"{"displayName":"a","displayName":"b"}"#,
                Invalid::Twice(display),
            ),
            (
                r#"{"displayName":"a","display\u004eame":"b"}"#,
                Invalid::Twice(display),
            ),
            (
                r#"{"displayName":"a\nb"}"#,
                Invalid::ControlCharacter(display),
            ),
            (
                r#"{"displayName":"a\u0000"}"#,
                Invalid::ControlCharacter(display),
            ),
            (
                r#"{"displayName":"a\u202eb"}"#,
                Invalid::ControlCharacter(display),
            ),
        ] {
            assert_eq!(read(body), Err(expected), "{body}");
        }
        let deep = format!("{{\"displayName\":{}", "[".repeat(2000));
        assert_eq!(read(&deep), Err(Invalid::NotAnObject));
        assert_eq!(
            Change::read(b"{\"displayName\":\"\xff\"}").err(),
            Some(Invalid::NotAnObject)
        );
    }

    #[test]
    fn words_repeat_nothing_that_was_sent() {
        let sent = "Wonderland";
        for body in [
            format!("{{\"{sent}\":1}}"),
            format!("{{\"displayName\":\"{sent}\\n\"}}"),
            format!("{{\"displayName\":[\"{sent}\"]}}"),
            sent.to_owned(),
        ] {
            let said = read(&body).unwrap_err();
            assert!(!format!("{said} {said:?}").contains(sent), "{said}");
        }
    }
}
