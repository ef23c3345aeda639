//! The challenge grammar of RFC 9110 11.2 and 11.6.1, read as leniently as real servers write it:
//!
//! - `;` separates as `,` does; separators may be missing, repeated, leading or trailing;
//! - parameters before any scheme belong to an implied `Bearer`;
//! - a value may be unquoted up to the next separator, `=` included (base64);
//! - a `claims` value may be raw JSON, with its quotes unescaped inside the quoted string or without the outer quotes.
//!
//! A quoted string that never ends takes its challenge and the rest of that header with it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use serde::de::IgnoredAny;

use super::Challenge;

/// More challenges than this in one response are not read.
const MAX_CHALLENGES: usize = 16;
/// A challenge with more parameters than this is read up to here.
const MAX_PARAMS: usize = 32;

/// All challenges of a response, in order, from one or many `WWW-Authenticate` headers.
#[must_use]
pub fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        parse_value(value.as_bytes(), &mut challenges);
    }
    challenges
}

fn parse_value(text: &[u8], challenges: &mut Vec<Challenge>) {
    let mut rest = Cursor { rest: text };
    let mut current: Option<Challenge> = None;
    loop {
        rest.skip(|b| is_space(b) || is_separator(b));
        if rest.peek().is_none() {
            break;
        }
        let name = rest.take(is_tchar);
        if name.is_empty() {
            if rest.peek() == Some(b'"') {
                if rest.quoted_string().is_none() {
                    return;
                }
            } else {
                rest.advance(1);
            }
            continue;
        }
        let after_name = rest;
        rest.skip(is_space);
        if rest.peek() == Some(b'=') {
            rest.advance(1);
            rest.skip(is_space);
            let Some(value) = rest.value(name) else {
                return;
            };
            let challenge = current.get_or_insert_with(|| Challenge::new("Bearer"));
            if challenge.params.len() < MAX_PARAMS {
                challenge.params.push((lossy(name), value));
            }
        } else {
            if !push(challenges, current.take()) {
                return;
            }
            rest = after_name;
            let mut challenge = Challenge::new(&lossy(name));
            challenge.token68 = rest.token68();
            current = Some(challenge);
        }
    }
    push(challenges, current);
}

/// `false` once there is no room for more.
fn push(challenges: &mut Vec<Challenge>, finished: Option<Challenge>) -> bool {
    if challenges.len() < MAX_CHALLENGES {
        challenges.extend(finished);
    }
    challenges.len() < MAX_CHALLENGES
}

#[derive(Clone, Copy)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .rest
            .iter()
            .position(|b| !wanted(*b))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, unwanted: impl Fn(u8) -> bool) {
        self.take(unwanted);
    }

    /// `token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`, if it is all that stands before the next separator.
    fn token68(&mut self) -> Option<String> {
        let mut ahead = *self;
        if ahead.take(is_space).is_empty() {
            return None;
        }
        let start = ahead.rest;
        let length = ahead.take(is_token68).len() + ahead.take(|b| b == b'=').len();
        ahead.skip(is_space);
        let alone = length > 0 && ahead.peek().is_none_or(is_separator);
        alone.then(|| {
            *self = ahead;
            lossy(start.get(..length).unwrap_or_default())
        })
    }

    /// `None` if a quoted string never ends.
    fn value(&mut self, name: &[u8]) -> Option<String> {
        let json = name.eq_ignore_ascii_case(b"claims");
        match self.peek() {
            Some(b'"') => {
                let raw = if json {
                    self.raw_json_in_quotes()
                } else {
                    None
                };
                raw.map_or_else(|| self.quoted_string(), Some)
            }
            Some(b'{') if json => self.raw_json().or_else(|| Some(self.unquoted())),
            _ => Some(self.unquoted()),
        }
    }

    fn unquoted(&mut self) -> String {
        lossy(self.take(|b| !is_space(b) && !is_separator(b)))
    }

    /// `quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE`
    fn quoted_string(&mut self) -> Option<String> {
        let mut value = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.advance(at + 1);
                    return Some(lossy(&value));
                }
                b'\\' => value.push(*bytes.next()?.1),
                other => value.push(*other),
            }
        }
        None
    }

    /// `"{"a":1}"`: an object whose own quotes were not escaped, up to the quote that follows it.
    fn raw_json_in_quotes(&mut self) -> Option<String> {
        let mut inside = *self;
        inside.advance(1);
        if inside.peek() != Some(b'{') {
            return None;
        }
        let object = inside.raw_json()?;
        (inside.peek() == Some(b'"')).then(|| {
            inside.advance(1);
            *self = inside;
            object
        })
    }

    fn raw_json(&mut self) -> Option<String> {
        let mut values = serde_json::Deserializer::from_slice(self.rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        // Not the length of the text, in which a byte that is no UTF-8 is three.
        let length = values.byte_offset();
        let object = lossy(self.rest.get(..length)?);
        self.advance(length);
        Some(object)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b';')
}

/// `tchar` of RFC 9110 5.6.2.
fn is_tchar(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

fn is_token68(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/') || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::campaign::volume;

    fn parse_one(value: &[u8]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_bytes(value).unwrap());
        parse(&headers)
    }

    #[test]
    fn parameters_tokens_and_escapes() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a [(&'a str, &'a str)])]);
        let rows: [Row<'_>; 8] = [
            ("Basic realm=\"a\"", &[("Basic", &[("realm", "a")])]),
            (
                "Basic realm=\"\\\"q\\\\\\\"\"",
                &[("Basic", &[("realm", "\"q\\\"")])],
            ),
            ("Basic", &[("Basic", &[])]),
            ("Negotiate abc==", &[("Negotiate", &[])]),
            (
                "A b=c, D e=\"f,g\", h=i",
                &[("A", &[("b", "c")]), ("D", &[("e", "f,g"), ("h", "i")])],
            ),
            (
                "A b=\"c\" D e=f",
                &[("A", &[("b", "c")]), ("D", &[("e", "f")])],
            ),
            ("A b=\"c", &[]),
            ("A, B b=\"c", &[("A", &[])]),
        ];
        for (text, expected) in rows {
            let parsed = parse_one(text.as_bytes());
            let seen: Vec<(String, Vec<(String, String)>)> =
                parsed.into_iter().map(|c| (c.scheme, c.params)).collect();
            let wanted: Vec<(String, Vec<(String, String)>)> = expected
                .iter()
                .map(|(s, p)| {
                    (
                        (*s).to_owned(),
                        p.iter()
                            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                            .collect(),
                    )
                })
                .collect();
            assert_eq!(seen, wanted, "{text}");
        }
    }

    #[test]
    fn token68_is_kept() {
        assert_eq!(
            parse_one(b"Negotiate a+/b==, Basic")[0].token68.as_deref(),
            Some("a+/b==")
        );
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(
            parse_one("A,".repeat(1000).as_bytes()).len(),
            MAX_CHALLENGES
        );
        assert_eq!(
            parse_one(format!("A {}", "b=c,".repeat(1000)).as_bytes())[0]
                .params
                .len(),
            MAX_PARAMS
        );
    }

    #[test]
    fn never_panics() {
        const STRUCTURE: &[u8] = b"\"\"\\==,;  {}:[]Bearer claims";
        let mut bytes = [0_u8; 200];
        for _ in 0..volume(1_000_000) {
            aws_lc_rs::rand::fill(&mut bytes).unwrap();
            let length = usize::from(bytes[0]).min(bytes.len());
            // Mostly characters that mean something.
            let text = bytes[..length].iter().map(|byte| match byte {
                0..=199 => STRUCTURE[usize::from(*byte) % STRUCTURE.len()],
                other => *other,
            });
            if let Ok(value) = HeaderValue::from_bytes(&text.collect::<Vec<_>>()) {
                let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
                let _ = super::super::demand(http::StatusCode::UNAUTHORIZED, &headers);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(volume(100_000)))]

        #[test]
        fn print_then_parse_is_the_identity(params in proptest::collection::vec(("[a-z_]{1,12}", "[ -~\t]{0,40}"), 1..8)) {
            let challenge = params.iter().fold(Challenge::new("Bearer"), |c, (name, value)| c.with(name, value.as_str()));
            let printed = challenge.to_header_value().unwrap();
            // A printed `claims` that happens to be raw JSON is read as such: the one place where leniency changes the text.
            prop_assume!(!params.iter().any(|(name, value)| name == "claims" && value.starts_with('{')));
            prop_assert_eq!(parse_one(printed.as_bytes()), vec![challenge]);
        }
    }
}
