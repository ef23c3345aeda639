//! Where to go after a sign-in: a path of this service and nothing else.

use serde::{Deserialize, Serialize};

/// A path of this service, safe in a `Location` header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(super) struct ReturnTo(String);

impl ReturnTo {
    /// Takes a local target; everything else becomes `/`.
    ///
    /// A browser drops tabs and line feeds from URLs and reads `\` as `/`, so only characters that mean themselves pass,
    /// and no second slash may follow the first one. Whoever decodes the path once too often finds the same path: escapes stand for
    /// nothing that has a meaning of its own.
    pub(super) fn new(target: Option<&str>) -> Self {
        let local = target.filter(|target| {
            target.len() <= 512
                && target.starts_with('/')
                && !target.contains("//")
                && !target
                    .split(['/', '?', '#'])
                    .any(|part| matches!(part, "." | ".."))
                && target
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/-._~?=&%+,:".contains(&b))
                && target.split('%').skip(1).all(is_plain_escape)
        });
        Self(local.unwrap_or("/").to_owned())
    }

    /// The path.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ReturnTo {
    fn from(target: String) -> Self {
        Self::new(Some(&target))
    }
}

impl From<ReturnTo> for String {
    fn from(target: ReturnTo) -> Self {
        target.0
    }
}

/// What follows a `%` stands for a byte that is no separator, no dot, no control character and no other `%`.
fn is_plain_escape(rest: &str) -> bool {
    let byte = rest
        .get(..2)
        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
    byte.is_some_and(|byte| !byte.is_ascii_control() && !b"/\\.%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_targets_are_kept() {
        for target in ["/", "/id-token", "/?op=abc", "/a/b?c=d&e=f%20g"] {
            assert_eq!(ReturnTo::new(Some(target)).as_str(), target);
        }
    }

    #[test]
    fn every_other_target_becomes_the_start_page() {
        let foreign = [
            "",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            " //evil.example",
            "/ /evil.example",
            "/%5cevil.example",
            "/%5Cevil.example",
            "/%2f/evil.example",
            "/%252fevil.example",
            "/%09/evil.example",
            "/%0d%0aLocation:x",
            "/%2e%2e/evil",
            "/%7f",
            "/%",
            "/%2",
            "/%zz",
            "/%+9",
            "/.//evil.example",
            "/..//evil.example",
            "/foo/..//evil.example",
            "/./evil",
            "/../evil",
            "evil.example",
            "/@evil.example",
            "//@evil.example",
            "/\u{2028}/evil.example",
            "/\u{0}/evil",
            "/;@evil.example",
            "http://localhost:3000/",
            "/#//evil.example",
            "?a=b",
            ".evil.example",
        ];
        for target in foreign {
            assert_eq!(ReturnTo::new(Some(target)).as_str(), "/", "{target:?}");
        }
        assert_eq!(ReturnTo::new(None).as_str(), "/");
        assert_eq!(
            ReturnTo::new(Some(&format!("/{}", "a".repeat(600)))).as_str(),
            "/"
        );
    }
}
