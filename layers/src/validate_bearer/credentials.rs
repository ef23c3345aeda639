//! Takes the bearer token out of a request's headers (RFC 6750 2.1); nowhere else is looked.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::challenge::Answer;

/// The token, or how its absence is answered: no or another scheme's credential asks for one, an unusable header is a bad request.
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<&str, Answer> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Answer::MissingToken);
    };
    // Two headers, or two joined by a proxy: never the first or the last one silently.
    if values.next().is_some() {
        return Err(Answer::InvalidRequest);
    }
    let value = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Answer::InvalidRequest)?
        .trim_matches([' ', '\t']);
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        let is_scheme = !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        return Err(if is_scheme {
            Answer::MissingToken
        } else {
            Answer::InvalidRequest
        });
    }
    let token = token.trim_start_matches(' ');
    if is_b64token(token) {
        Ok(token)
    } else {
        Err(Answer::InvalidRequest)
    }
}

/// > `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token_of(values: &[&[u8]]) -> Result<String, Answer> {
        let headers: HeaderMap = values
            .iter()
            .map(|v| (AUTHORIZATION, HeaderValue::from_bytes(v).unwrap()))
            .collect();
        bearer_token(&headers).map(str::to_owned)
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
