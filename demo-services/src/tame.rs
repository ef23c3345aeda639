//! Words of others, fit for one line of a terminal.

/// What an explicit direction or a mark of one makes of a line, it does to our words as well.
const BIDI: [char; 12] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];
const CUT: &str = "...";

/// One line of at most `most` characters: control characters and the separators of lines and paragraphs are spaces, none at the ends,
/// and controls of the writing direction are left out. What is cut ends with three dots.
#[must_use]
pub fn tame(text: &str, most: usize) -> String {
    let is_break = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    let letters = text.chars().filter(|letter| !BIDI.contains(letter));
    let letters = letters.map(|letter| if is_break(letter) { ' ' } else { letter });
    let mut letters = letters.skip_while(|letter| *letter == ' ');
    let mut line: String = letters.by_ref().take(most).collect();
    if letters.any(|letter| letter != ' ') {
        line = line.chars().take(most.saturating_sub(CUT.len())).collect();
        line.push_str(CUT);
    }
    line.truncate(line.trim_end_matches(' ').len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_the_line_or_turns_it_round() {
        for (text, line) in [
            ("plain words, grüße", "plain words, grüße"),
            ("one\nFAIL two\u{1b}[2J", "one FAIL two [2J"),
            (
                "one\u{2028}two\u{2029}three\u{85}four",
                "one two three four",
            ),
            ("\u{1b}[31mred\r\n", "[31mred"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e", "abcde"),
            ("", ""),
        ] {
            assert_eq!(tame(text, 40), line);
        }
        for letter in BIDI {
            assert_eq!(tame(&format!("a{letter}b"), 40), "ab");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_shows_it() {
        assert_eq!(tame("12345678", 8), "12345678");
        assert_eq!(tame("12345678\n", 8), "12345678");
        assert_eq!(tame("123456789", 8), "12345...");
        assert_eq!(tame("üüüüüüüüü", 8), "üüüüü...");
    }
}
