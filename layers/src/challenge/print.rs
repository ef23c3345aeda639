//! Prints a challenge as every client in the field can read it: one Bearer challenge, all values quoted, `", "` between them.

use http::HeaderValue;

use super::Challenge;

impl Challenge {
    /// The header's value; `None` only for text that no header can hold.
    pub(crate) fn to_header_value(&self) -> Option<HeaderValue> {
        let mut text = self.scheme.clone();
        for (index, (name, value)) in self.params.iter().enumerate() {
            text.push_str(if index == 0 { " " } else { ", " });
            text.push_str(name);
            text.push_str("=\"");
            for character in value.chars() {
                if matches!(character, '"' | '\\') {
                    text.push('\\');
                }
                text.push(character);
            }
            text.push('"');
        }
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Challenge;

    #[test]
    fn values_are_quoted_and_escaped() {
        let challenge = Challenge::new("Bearer")
            .with("realm", "")
            .with("error", "a \"b\" \\c");
        assert_eq!(
            challenge.to_header_value().unwrap(),
            r#"Bearer realm="", error="a \"b\" \\c""#
        );
    }

    #[test]
    fn control_characters_cannot_split_the_header() {
        let challenge = Challenge::new("Bearer").with("realm", "a\r\nSet-Cookie: b\0\u{7f}\u{e9}");
        assert_eq!(
            challenge.to_header_value().unwrap(),
            "Bearer realm=\"aSet-Cookie: b\""
        );
    }
}
