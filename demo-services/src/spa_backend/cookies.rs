//! The two kinds of cookie, by name and attributes.
//!
//! | cookie | attributes | why |
//! |---|---|---|
//! | `__Host-spa-session` | `HttpOnly; Secure; SameSite=Lax; Path=/` | the session's random id; gone with the browser session |
//! | `__Host-spa-tx-<hash of state>` | `HttpOnly; Secure; SameSite=None; Path=/; Max-Age=600` | one per sign-in under way, so tabs do not disturb each other; `None` so that it comes along with a cross-site `form_post` |
//!
//! Cookies do not know ports: everything on `localhost` sees them, hence names of this service alone and values that are only ids.
//! `insecure_cookies` drops prefix and `Secure` (and, as `None` needs `Secure`, uses `Lax` for the second kind).

use cookie::{Cookie, SameSite, time::Duration};
use http::HeaderMap;
use http::header::COOKIE;

/// Names and attributes, as configured.
#[derive(Clone, Copy)]
pub(super) struct Cookies {
    secure: bool,
}

impl Cookies {
    pub(super) fn new(secure: bool) -> Self {
        Self { secure }
    }

    /// Name of the session cookie.
    pub(super) fn session_name(self) -> &'static str {
        if self.secure {
            "__Host-spa-session"
        } else {
            "spa-session"
        }
    }

    /// Name of the cookie that binds a sign-in under way to the browser that began it.
    pub(super) fn transaction_name(self, transaction: &str) -> String {
        format!("{}{transaction}", self.transaction_prefix())
    }

    /// Sets the transaction cookie.
    pub(super) fn set_transaction(
        self,
        transaction: &str,
        value: &str,
        lifetime_seconds: i64,
    ) -> String {
        self.transaction(transaction, value.to_owned())
            .max_age(Duration::seconds(lifetime_seconds))
            .build()
            .to_string()
    }

    /// Removes the transaction cookie.
    pub(super) fn remove_transaction(self, transaction: &str) -> String {
        self.transaction(transaction, String::new())
            .max_age(Duration::ZERO)
            .build()
            .to_string()
    }

    /// Removes the session cookie. tower-sessions removes it without `Secure`, which browsers refuse for a `__Host-` name.
    pub(super) fn remove_session(self) -> String {
        Cookie::build((self.session_name(), ""))
            .path("/")
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .max_age(Duration::ZERO)
            .build()
            .to_string()
    }

    /// The value of a cookie. Sent twice it has no value: one of the two was planted.
    pub(super) fn value<'h>(self, headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
        let mut values = pairs(headers)
            .filter(|(given, _)| *given == name)
            .map(|(_, value)| value);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The transactions whose cookies this browser holds.
    pub(super) fn transactions(self, headers: &HeaderMap) -> impl Iterator<Item = &str> {
        pairs(headers).filter_map(move |(name, _)| name.strip_prefix(self.transaction_prefix()))
    }

    fn transaction_prefix(self) -> &'static str {
        if self.secure {
            "__Host-spa-tx-"
        } else {
            "spa-tx-"
        }
    }

    fn transaction(self, transaction: &str, value: String) -> cookie::CookieBuilder<'static> {
        let same_site = if self.secure {
            SameSite::None
        } else {
            SameSite::Lax
        };
        Cookie::build((self.transaction_name(transaction), value))
            .path("/")
            .http_only(true)
            .secure(self.secure)
            .same_site(same_site)
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(line: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, line.parse().unwrap())])
    }

    #[test]
    fn transaction_cookie_survives_a_cross_site_post() {
        let cookie = Cookies::new(true).set_transaction("abc", "v", 600);
        assert_eq!(
            cookie,
            "__Host-spa-tx-abc=v; HttpOnly; SameSite=None; Secure; Path=/; Max-Age=600"
        );
    }

    #[test]
    fn insecure_cookies_have_neither_prefix_nor_secure() {
        let cookie = Cookies::new(false).set_transaction("abc", "v", 600);
        assert_eq!(
            cookie,
            "spa-tx-abc=v; HttpOnly; SameSite=Lax; Path=/; Max-Age=600"
        );
    }

    #[test]
    fn removal_of_the_session_keeps_secure() {
        assert_eq!(
            Cookies::new(true).remove_session(),
            "__Host-spa-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn a_cookie_sent_twice_has_no_value() {
        let cookies = Cookies::new(true);
        assert_eq!(cookies.value(&headers("a=1; b=2"), "b"), Some("2"));
        assert_eq!(cookies.value(&headers("b=1; b=2"), "b"), None);
        assert_eq!(cookies.value(&headers("bb=1"), "b"), None);
    }

    #[test]
    fn transactions_of_a_browser_are_listed() {
        let headers = headers("__Host-spa-tx-one=1; other=2; __Host-spa-tx-two=3");
        assert_eq!(
            Cookies::new(true)
                .transactions(&headers)
                .collect::<Vec<_>>(),
            ["one", "two"]
        );
    }
}
