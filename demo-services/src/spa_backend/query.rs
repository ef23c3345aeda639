//! Query parameters, in the one way that protocols allow: a parameter given twice has no value (RFC 6749 3.1).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

/// The parameters of a request. Reading them never fails.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `application/x-www-form-urlencoded`, which a query and a form are.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The value of a parameter that is given once and not empty (an empty one is as good as none: RFC 6749 3.1).
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(given, _)| given == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// Is the parameter there at all, however often and with whatever value?
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self::parse(query.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_parameter_given_twice_or_empty_has_no_value() {
        let request = http::Request::get("/?a=1&b=2&b=3&c=&d=%20x&%zz")
            .body(())
            .unwrap();
        let params = Params::from_request_parts(&mut request.into_parts().0, &())
            .await
            .unwrap();
        assert_eq!(params.one("a"), Some("1"));
        assert_eq!((params.one("b"), params.has("b")), (None, true));
        assert_eq!((params.one("c"), params.has("c")), (None, true));
        assert_eq!(params.one("d"), Some(" x"));
        assert_eq!((params.one("e"), params.has("e")), (None, false));
    }
}
