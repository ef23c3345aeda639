//! The grammar of scopes (RFC 6749 3.3).

use std::fmt;
use std::sync::Arc;

use crate::error::ConfigError;

/// One scope-token.
///
/// > `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`
///
/// Compared exactly, case included.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scope(Arc<str>);

impl Scope {
    /// Checks the grammar.
    ///
    /// # Errors
    /// Text that is empty or holds a character outside the ABNF above (a space included).
    pub(crate) fn new(text: &str) -> Result<Self, ConfigError> {
        let valid = !text.is_empty()
            && text
                .bytes()
                .all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ConfigError::Scope)
        }
    }

    /// The scope as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Does a space-delimited list hold exactly this entry? Only SP separates: a tab or a no-break space is part of a (foreign) token.
pub(crate) fn list_contains(list: &str, wanted: &str) -> bool {
    // Lists are short: a search for each space costs more than a look at each byte.
    list.as_bytes()
        .split(|byte| *byte == b' ')
        .any(|entry| entry == wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Scope, list_contains};

    #[test]
    fn grammar_at_its_edges() {
        for byte in 0_u8..=255 {
            let Ok(text) = String::from_utf8(vec![byte]) else {
                continue;
            };
            let valid = matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
            assert_eq!(Scope::new(&text).is_ok(), valid, "{byte:#x}");
        }
        assert!(Scope::new("").is_err());
        assert!(Scope::new("a b").is_err());
        assert!(Scope::new("api://x/.default").is_ok());
    }

    #[test]
    fn only_whole_entries_between_spaces_count() {
        assert!(list_contains("a read b", "read"));
        for list in [
            "xread",
            "readx",
            "Read",
            "a\tread",
            "a\u{a0}read",
            "a,read",
            "read;b",
            "a+read",
            "\"read\"",
            "",
        ] {
            assert!(!list_contains(list, "read"), "{list:?}");
        }
    }
}
