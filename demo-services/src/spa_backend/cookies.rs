//! The two kinds of cookie, by name and attributes.
//!
//! | cookie | attributes | why |
//! |---|---|---|
//! | `__Host-spa-session` | `HttpOnly; Secure; SameSite=Lax; Path=/` | the session's random id; gone with the browser session |
//! | `__Host-spa-tx-<hash of state>` | `HttpOnly; Secure; SameSite=None; Path=/; Max-Age=600` | one per sign-in under way, so tabs do not disturb each other; `None` so that it comes along with a cross-site `form_post` |
//!
//! Cookies do not know ports: everything on `localhost` sees them, hence names of this service alone and values that are only ids.
//! Everything on `localhost` (in production: every sibling domain) can plant some, too. [`Cookies::keep_ours`] lets in only what
//! we could have set, so that nobody behind it can read a name in another way than we do.
//! `insecure_cookies` drops prefix and `Secure` (and, as `None` needs `Secure`, uses `Lax` for the second kind).

use std::collections::BTreeMap;

use cookie::{Cookie, SameSite, time::Duration};
use http::header::{COOKIE, Entry, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use tower_sessions::cookie::Cookie as SessionLayerCookie;

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

    /// Rewrites a request's cookies to ours. One that was sent twice, or whose name or value is written in a way that we never
    /// write it, was planted: its name counts as not sent at all.
    pub(super) fn keep_ours(self, headers: &mut HeaderMap) {
        let mut ours = BTreeMap::new();
        for line in headers.get_all(COOKIE) {
            for pair in String::from_utf8_lossy(line.as_bytes()).split(';') {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                // What the session layer would make of the name, or anything more lenient.
                let Ok(read) = SessionLayerCookie::parse_encoded(format!("{name}=")) else {
                    continue;
                };
                let read = read.name().trim();
                if !self.is_ours(read) {
                    continue;
                }
                // Between two cookies stand a semicolon and a space.
                let name = name.strip_prefix(' ').unwrap_or(name);
                // A plain name reads as itself.
                let genuine = is_plain(name) && is_plain(value);
                ours.entry(read.to_owned())
                    .and_modify(|twice| *twice = None)
                    .or_insert_with(|| genuine.then(|| value.to_owned()));
            }
        }
        let pairs = ours.into_iter();
        let line: Vec<_> = pairs
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect();
        headers.remove(COOKIE);
        if let (false, Ok(line)) = (line.is_empty(), HeaderValue::try_from(line.join("; "))) {
            headers.insert(COOKIE, line);
        }
    }

    /// Lets browsers follow the session layer when it removes the session cookie: it does so without `Secure`, which they refuse
    /// for a `__Host-` name.
    pub(super) fn complete_removal(self, headers: &mut HeaderMap) {
        let removal = Cookie::build((self.session_name(), ""))
            .path("/")
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .max_age(Duration::ZERO)
            .build()
            .to_string();
        let start = format!("{}=;", self.session_name());
        if let (Entry::Occupied(mut lines), Ok(removal)) =
            (headers.entry(SET_COOKIE), HeaderValue::try_from(removal))
        {
            for line in lines.iter_mut() {
                if line.as_bytes().starts_with(start.as_bytes()) {
                    line.clone_from(&removal);
                }
            }
        }
    }

    /// The value of a cookie.
    pub(super) fn value<'h>(self, headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
        pairs(headers)
            .find(|(given, _)| *given == name)
            .map(|(_, value)| value)
    }

    /// The transactions whose cookies this browser holds, and their values.
    pub(super) fn transactions(self, headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
        pairs(headers).filter_map(move |(name, value)| {
            Some((name.strip_prefix(self.transaction_prefix())?, value))
        })
    }

    fn is_ours(self, name: &str) -> bool {
        name == self.session_name() || name.starts_with(self.transaction_prefix())
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

/// The cookies that [`Cookies::keep_ours`] has kept.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get(COOKIE)
        .and_then(|line| line.to_str().ok())
        .into_iter()
        .flat_map(|line| line.split("; "))
        .filter_map(|pair| pair.split_once('='))
}

/// Only characters that our names and values consist of, and that mean themselves everywhere.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn removal_of_the_session_gets_secure_and_nothing_else_is_touched() {
        let mut headers = HeaderMap::new();
        let others = ["__Host-spa-session=abc; Path=/", "other=; Path=/"];
        for line in others
            .iter()
            .chain(&["__Host-spa-session=; Path=/; Max-Age=0"])
        {
            headers.append(SET_COOKIE, line.parse().unwrap());
        }
        Cookies::new(true).complete_removal(&mut headers);
        let lines: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(lines[..2], others);
        assert_eq!(
            lines[2],
            "__Host-spa-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    /// What is kept of these `Cookie` lines.
    fn kept(secure: bool, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Cookies::new(secure).keep_ours(&mut headers);
        let kept: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert!(kept.len() <= 1);
        kept.first()
            .map(|line| line.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn only_our_cookies_are_kept() {
        let session = "__Host-spa-session=V";
        for lines in [
            &[session][..],
            &["a=1; __Host-spa-session=V"],
            &["a=1;__Host-spa-session=V;b"],
            &["a=1; a=2", session],
            &[session, "x=\u{e9}; y=\"z\""],
            &[
                session,
                "spa-session=A; __host-spa-session=A; __Host-spa-session2=A",
            ],
            &[
                session,
                "%255F_Host-spa-session=A; __Host-spa-session; =A; %ff=A",
            ],
        ] {
            assert_eq!(kept(true, lines), session, "{lines:?}");
        }
        assert_eq!(kept(true, &["a=1; b"]), "");
        assert_eq!(
            kept(false, &["spa-session=V; __Host-spa-session=A"]),
            "spa-session=V"
        );
        assert_eq!(
            kept(
                true,
                &[
                    "__Host-spa-tx-one=1; other=2; __Host-spa-session=V",
                    "__Host-spa-tx-two=3"
                ]
            ),
            "__Host-spa-session=V; __Host-spa-tx-one=1; __Host-spa-tx-two=3"
        );
    }

    #[test]
    fn a_name_of_ours_that_is_sent_twice_or_written_oddly_is_not_sent() {
        for planted in [
            "__Host-spa-session=A",
            "%5F_Host-spa-session=A",
            "%5f%5fHost%2Dspa%2dsession=A",
            "__Host-spa-session =A",
            "__Host-spa-session\t=A",
            "a=1;  __Host-spa-session=A",
            "%20__Host-spa-session=A",
            "x=\u{e9}; __Host-spa-session=A",
            "__Host-spa-session=\"A\"",
            "__Host-spa-session=%41",
            "__Host-spa-session=%ff",
            "__Host-spa-session=",
        ] {
            for lines in [
                ["__Host-spa-session=V", planted],
                [planted, "__Host-spa-session=V"],
            ] {
                assert_eq!(kept(true, &lines), "", "{lines:?}");
                assert_eq!(kept(true, &[&lines.join("; ")]), "", "{lines:?}");
            }
            // Another name of ours is not affected.
            assert_eq!(
                kept(
                    true,
                    &["__Host-spa-tx-one=1", "__Host-spa-session=V", planted]
                ),
                "__Host-spa-tx-one=1"
            );
        }
        assert_eq!(kept(true, &["%5F_Host-spa-session=A"]), "", "alone");
    }

    #[test]
    fn transactions_of_a_browser_are_listed() {
        let line = "__Host-spa-tx-one=1; __Host-spa-tx-two=3";
        let headers = HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]);
        let cookies = Cookies::new(true);
        assert_eq!(
            cookies.transactions(&headers).collect::<Vec<_>>(),
            [("one", "1"), ("two", "3")]
        );
        assert_eq!(cookies.value(&headers, "__Host-spa-tx-two"), Some("3"));
        assert_eq!(cookies.value(&headers, "__Host-spa-tx-t"), None);
    }
}
