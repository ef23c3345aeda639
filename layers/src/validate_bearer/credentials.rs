//! Takes the bearer token out of a request's headers (RFC 6750 2.1); nowhere else is looked.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::challenge::Answer;

/// Where the token stands: a header value, from one byte to another. Or how its absence is answered: no or another scheme's
/// credential asks for one, an unusable header is a bad request.
///
/// That these bytes are a b64token is left to [`is_b64token`]: a token that verifies is one.
pub(crate) fn presented(headers: &HeaderMap) -> Result<(&HeaderValue, usize, usize), Answer> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Answer::MissingToken);
    };
    // Two headers, or two joined by a proxy: never the first or the last one silently.
    if values.next().is_some() {
        return Err(Answer::InvalidRequest);
    }
    let all = value.as_bytes();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let not_blank = |byte: &u8| !blank(byte);
    let start = all.iter().position(not_blank).unwrap_or(all.len());
    let end = all
        .iter()
        .rposition(not_blank)
        .map_or(start, |last| last + 1);
    let credential = all.get(start..end).unwrap_or_default();
    let scheme = credential
        .split(|byte| *byte == b' ')
        .next()
        .unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        let is_scheme = !scheme.is_empty()
            && scheme
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        return Err(if is_scheme {
            Answer::MissingToken
        } else {
            Answer::InvalidRequest
        });
    }
    let rest = credential.get(scheme.len()..).unwrap_or_default();
    match rest.iter().position(|byte| *byte != b' ') {
        Some(spaces) => Ok((value, start + scheme.len() + spaces, end)),
        None => Err(Answer::InvalidRequest),
    }
}

/// > `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
pub(crate) fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = token.get(..token.len() - padding).unwrap_or_default();
    // Without an early end, so that the compiler looks at many bytes at once: hostile tokens are long.
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    !body.is_empty()
        && body
            .iter()
            .fold(true, |so_far, byte| so_far & allowed(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(values: &[&[u8]]) -> Result<String, Answer> {
        let headers: HeaderMap = values
            .iter()
            .map(|v| (AUTHORIZATION, HeaderValue::from_bytes(v).unwrap()))
            .collect();
        let (value, start, end) = presented(&headers)?;
        let token = &value.as_bytes()[start..end];
        if !is_b64token(token) {
            return Err(Answer::InvalidRequest);
        }
        Ok(String::from_utf8(token.to_vec()).unwrap())
    }

    #[test]
    fn pass_one_bearer_credential() {
        for value in [
            "Bearer a.b-c_~+/=",
            "bearer a.b-c_~+/=",
            "BEARER a.b-c_~+/=",
            "bEaReR  a.b-c_~+/= ",
            "\tBearer a.b-c_~+/=\t",
        ] {
            assert_eq!(
                token_of(&[value.as_bytes()]).unwrap(),
                "a.b-c_~+/=",
                "{value}"
            );
        }
    }

    #[test]
    fn missing_or_foreign_credential_asks_for_one() {
        assert_eq!(token_of(&[]), Err(Answer::MissingToken));
        for scheme in [
            "Basic",
            "Digest",
            "Negotiate",
            "MAC",
            "JWT",
            "DPoP",
            "BearerToken",
            "XBearer",
        ] {
            assert_eq!(
                token_of(&[format!("{scheme} abc").as_bytes()]),
                Err(Answer::MissingToken),
                "{scheme}"
            );
        }
    }

    #[test]
    fn fail_what_is_not_exactly_one() {
        let rows: [&[&[u8]]; 19] = [
            &[b"Bearer a", b"Bearer a"],
            &[b"Bearer a", b"Bearer b"],
            &[b"Basic a", b"Bearer b"],
            &[b"", b"Bearer b"],
            &[b""],
            &[b"Bearer"],
            &[b"Bearer   "],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer a,b"],
            &[b"Bearer a b"],
            &[b"Bearer a\tb"],
            &[b"Bearer \"a\""],
            &[b"Bearer token=\"a\""],
            &[b"Bearer <a>"],
            &[b"Bearer a;x"],
            &[b"Bearer Bearer a"],
            &[b"Bearer =="],
            &[b"Bearer \xff\xfe"],
            &["Bearer\u{a0}a".as_bytes()],
        ];
        for values in rows {
            assert_eq!(token_of(values), Err(Answer::InvalidRequest), "{values:?}");
        }
    }
}
