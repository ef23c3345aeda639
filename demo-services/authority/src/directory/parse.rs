//! From TOML text to a [`Directory`]; errors name the key, never a value.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use uuid::Uuid;

use super::registration::PolicyRegistration;
use super::{Directory, Policy, Require, Target};
use crate::random;

/// Why a directory was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A rule of the directory is broken.
    #[error("directory: {key}: {reason}")]
    #[non_exhaustive]
    Invalid {
        /// The key, as `apps.middle-tier.delegated`.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is not a directory file.
    #[error("directory: line {line}, key `{key}`: {reason}")]
    #[non_exhaustive]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// The key of that line, if it has one.
        key: String,
        /// What the parser says.
        reason: String,
    },
    /// The file cannot be read.
    #[error("directory: cannot read {}", path.display())]
    #[non_exhaustive]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DirectoryError {
    pub(crate) fn invalid(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.into(),
            reason: reason.into(),
        }
    }

    pub(super) fn unreadable(path: &Path, source: std::io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            source,
        }
    }

    /// The parser's own rendering quotes the line, which may hold a password; this one does not.
    fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count();
        let key = text
            .lines()
            .nth(line)
            .and_then(|line| line.split_once('='))
            .map_or("", |(key, _)| key.trim());
        // Values are quoted by serde in `invalid value: string "..."`; the part before it says enough.
        let reason = error
            .message()
            .split(": string \"")
            .next()
            .unwrap_or_default();
        Self::Syntax {
            line: line + 1,
            key: key.to_owned(),
            reason: reason.lines().next().unwrap_or_default().to_owned(),
        }
    }
}

impl FromStr for Directory {
    type Err = DirectoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let directory = Self::read(text)?;
        directory.validate()?;
        Ok(directory)
    }
}

impl Directory {
    /// What the text says, before its rules are checked.
    pub(super) fn read(text: &str) -> Result<Self, DirectoryError> {
        let mut directory: Self =
            toml::from_str(text).map_err(|error| DirectoryError::syntax(text, &error))?;
        for user in directory.users.iter_mut().filter(|user| user.oid.is_nil()) {
            user.oid = random::derived_guid("user", &user.username.to_ascii_lowercase());
        }
        Ok(directory)
    }
}

/// A policy as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyText {
    id: Option<Uuid>,
    name: String,
    app: Option<String>,
    auth_context: Option<String>,
    #[serde(default)]
    users: Users,
    require: Require,
    sign_in_frequency: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Users {
    #[default]
    Missing,
    All(String),
    Some(Vec<String>),
}

fn yes() -> bool {
    true
}

impl TryFrom<PolicyText> for Policy {
    type Error = String;

    fn try_from(text: PolicyText) -> Result<Self, Self::Error> {
        Ok(Self {
            id: text.id.unwrap_or_else(|| super::policies::id(&text.name)),
            name: text.name,
            target: match (text.app, text.auth_context) {
                (Some(app), None) => Target::App(app),
                (None, Some(context)) => Target::AuthContext(context),
                _ => return Err("a policy has either `app` or `auth_context`".to_owned()),
            },
            users: match text.users {
                Users::Missing => None,
                Users::All(word) if word == "all" => None,
                Users::All(_) => return Err("`users` is \"all\" or a list".to_owned()),
                Users::Some(list) => Some(list),
            },
            require: text.require,
            sign_in_frequency: text.sign_in_frequency.as_deref().map(seconds).transpose()?,
            enabled: text.enabled,
            registration: PolicyRegistration::default(),
        })
    }
}

/// `45s`, `30m`, `1h`, `7d`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("`sign_in_frequency` is a number with s, m, h or d".to_owned()),
    };
    number
        .parse::<u32>()
        .map(|number| u64::from(number) * factor)
        .map_err(|_| "`sign_in_frequency` is a number with s, m, h or d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str =
        "[tenant]\nid = \"11111111-2222-3333-4444-555555555555\"\ndomain = \"contoso.example\"\n";

    fn error(rest: &str) -> String {
        format!("{TENANT}{rest}")
            .parse::<Directory>()
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_key_of_the_fixed_format_is_known() {
        let app = "[[apps]]\nname = \"a\"\nclient_id = \"22222222-2222-3333-4444-555555555555\"\n";
        let with = |line: &str| format!("{TENANT}{app}{line}").parse::<Directory>();
        for good in [
            "access_token_version = 1",
            "access_token_version = 2",
            "certificates = []",
            "known_client_applications = [\"22222222-2222-3333-4444-555555555555\"]",
            "pre_authorized = [\"22222222-2222-3333-4444-555555555555\"]",
        ] {
            assert!(with(good).is_ok(), "{good}");
        }
        for (bad, key) in [
            ("access_token_version = 0", "access_token_version"),
            ("access_token_version = 3", "access_token_version"),
            ("certificates = [\"a.pem\"]", "certificates"),
            (
                "pre_authorized = [\"33333333-2222-3333-4444-555555555555\"]",
                "pre_authorized",
            ),
            ("unknown = 1", "unknown"),
        ] {
            assert!(with(bad).unwrap_err().to_string().contains(key), "{bad}");
        }
    }

    #[test]
    fn what_graph_keeps_is_no_key_of_the_file() {
        let app = "[[apps]]\nname = \"a\"\nclient_id = \"22222222-2222-3333-4444-555555555555\"\n";
        let policy = "[[policies]]\nname = \"p\"\nauth_context = \"c1\"\nrequire = \"mfa\"\n";
        for (before, unknown, after) in [
            ("", "auth_contexts = []\n", TENANT),
            (TENANT, "registration = {}\n", ""),
            (TENANT, "registration = { notes = \"x\" }\n", ""),
        ] {
            for item in [app, policy] {
                let with = |line: &str| {
                    if after.is_empty() {
                        format!("{before}{item}{line}")
                    } else {
                        format!("{line}{after}{item}")
                    }
                };
                assert!(with("").parse::<Directory>().is_ok());
                let text = with(unknown).parse::<Directory>().unwrap_err().to_string();
                assert!(text.contains("unknown field"), "{unknown}: {text}");
            }
        }
    }

    #[test]
    fn the_default_directory_is_valid_and_its_secrets_differ() {
        let directory = Directory::demo();
        assert!(directory.validate().is_ok());
        for app in &directory.apps {
            let public = app.public_client || !app.redirect_uris.spa.is_empty();
            let secret = app.secret().map(str::len);
            assert_eq!(secret, (!public).then_some(64), "{}", app.name);
        }
        assert_ne!(
            directory.app("middle-tier").unwrap().secret(),
            directory.app("spa-backend").unwrap().secret()
        );
        assert_ne!(
            directory.app("middle-tier").unwrap().secret(),
            Directory::demo().app("middle-tier").unwrap().secret()
        );
    }

    #[test]
    fn lists_may_be_missing() {
        let directory: Directory = TENANT.parse().unwrap();
        assert!(
            directory.users.is_empty()
                && directory.apps.is_empty()
                && directory.policies.is_empty()
        );
    }

    #[test]
    fn unknown_keys_are_named() {
        let text = error(
            "[[apps]]\nname = \"x\"\nclient_id = \"22222222-2222-3333-4444-555555555555\"\nsecret = \"hunter2\"\n",
        );
        assert!(
            text.contains("unknown field `secret`") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_quoted() {
        let text = error(
            "[[apps]]\nname = \"x\"\nclient_id = \"22222222-2222-3333-4444-555555555555\"\nsecrets = \"hunter2\"\n",
        );
        assert!(
            text.contains("line 7, key `secrets`") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_policy_has_one_target() {
        for rest in ["", "app = \"x\"\nauth_context = \"c1\"\n"] {
            let text = error(&format!(
                "[[policies]]\nname = \"p\"\nrequire = \"mfa\"\n{rest}"
            ));
            assert!(text.contains("either `app` or `auth_context`"), "{text}");
        }
    }

    #[test]
    fn frequencies_have_units() {
        assert_eq!(seconds("1h"), Ok(3600));
        assert_eq!(seconds("7d"), Ok(604_800));
        for text in ["", "1", "h", "1w", "-1h", "1\u{e9}"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
