//! What a request brings beside its token: the header, and the scopes that are looked for.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::two;
use crate::challenge::Answer;
use crate::facts::{FactsBuilder, Marks, Piece};
use crate::scope::{Scope, list_contains};
use crate::validate_bearer::credentials::{is_b64token, presented};

/// A line is an `Authorization` header.
pub fn bearer_header(data: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(4) {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return false;
        };
        headers.append(AUTHORIZATION, value);
    }
    let token = match presented(&headers) {
        Ok((value, start, end)) => value.as_bytes().get(start..end),
        Err(answer) => {
            assert!(matches!(
                answer,
                Answer::MissingToken | Answer::InvalidRequest
            ));
            None
        }
    };
    let accepted = token.filter(|token| is_b64token(token));
    assert_eq!(accepted, expected_token(data));
    accepted.is_some()
}

/// `1*SP` stands between scheme and token; the rest is RFC 6750 2.1 to the letter.
fn expected_token(line: &[u8]) -> Option<&[u8]> {
    // Another header would leave a line end here.
    let text = std::str::from_utf8(line).ok()?;
    let text = text.trim_matches([' ', '\t']);
    let (scheme, rest) = text.split_at_checked(6)?;
    let token = rest.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let good = |c: char| c.is_ascii_alphanumeric() || ['-', '.', '_', '~', '+', '/'].contains(&c);
    (scheme.eq_ignore_ascii_case("bearer")
        && rest.len() > token.len()
        && !body.is_empty()
        && body.chars().all(good))
    .then_some(token.as_bytes())
}

/// A list of scopes, and on the second line what is demanded.
pub fn scopes(data: &[u8]) -> bool {
    let (list, wanted) = two(data);
    let (Ok(list), Ok(wanted)) = (std::str::from_utf8(list), std::str::from_utf8(wanted)) else {
        return false;
    };
    let is_scope = Scope::new(wanted).is_ok_and(|scope| scope.as_str() == wanted);
    let grammar = |c: char| ('!'..='~').contains(&c) && c != '"' && c != '\\';
    assert_eq!(is_scope, !wanted.is_empty() && wanted.chars().all(grammar));

    let granted = format!(" {list} ").contains(&format!(" {wanted} "));
    let only_entry = !wanted.is_empty() && !wanted.contains(' ');
    if only_entry {
        assert_eq!(list_contains(list, wanted), granted);
    }
    let entries = list.split(' ').filter(|entry| !entry.is_empty());
    // The neighbours are what is wanted, so that a look across a border would find it.
    let facts = FactsBuilder::new()
        .text(Piece::Subject, Some(wanted))
        .text(Piece::ObjectId, None)
        .text(Piece::Tenant, Some(list))
        .text(Piece::Client, Some(wanted))
        .text(Piece::Session, Some(wanted))
        .list(Piece::Scopes, Some(entries))
        .list(Piece::Roles, Some(std::iter::empty()))
        .list(Piece::Contexts, None::<std::iter::Empty<&str>>)
        .text(Piece::AuthenticationClass, Some(wanted))
        .build(Marks::default(), 0, 0, 0);
    assert_eq!(facts.get(Piece::Subject), Some(wanted));
    assert_eq!(facts.get(Piece::ObjectId), None);
    assert_eq!(facts.get(Piece::Tenant), Some(list));
    assert_eq!(facts.get(Piece::AuthenticationClass), Some(wanted));
    assert_eq!(facts.lists(Piece::Scopes, wanted), granted && only_entry);
    assert!(!facts.lists(Piece::Roles, wanted));
    assert!(!facts.lists(Piece::Contexts, wanted));
    is_scope && granted
}
