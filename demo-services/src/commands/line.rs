//! A command line of this program, for somebody to copy into a shell.

use std::fmt;

use demo_services::how_to_trust::shell_word;

/// `cargo run -- ...`
pub(super) struct Line(String);

impl Line {
    pub(super) fn new(command: &str) -> Self {
        Self(format!("cargo run -- {command}"))
    }

    /// And this option, with its value as one word.
    pub(super) fn with(self, option: &str, value: impl fmt::Display) -> Self {
        let word = shell_word(&value.to_string());
        Self(format!("{} {option} {word}", self.0))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
