//! The cookies of the authority. They do not know ports, so their names say whose they are.

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};

/// Name of the session cookie.
pub const SESSION_COOKIE: &str = "__Host-authority-session";

const ADMIN_COOKIE: &str = "__Host-authority-admin";

/// The session cookie of a request.
pub(crate) fn session(headers: &HeaderMap) -> Option<String> {
    named(headers, SESSION_COOKIE)
}

/// The cookie of the admin page.
pub(crate) fn admin(headers: &HeaderMap) -> Option<String> {
    named(headers, ADMIN_COOKIE)
}

fn named(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut cookies = lines
        .flat_map(|line| Cookie::split_parse(line.to_owned()))
        .flatten();
    cookies
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

pub(crate) fn set_session(headers: &mut HeaderMap, value: &str) {
    put(headers, cookie(value.to_owned()));
}

pub(crate) fn clear_session(headers: &mut HeaderMap) {
    let mut gone = cookie(String::new());
    gone.set_max_age(cookie::time::Duration::ZERO);
    put(headers, gone);
}

/// `SameSite=Strict`: no link from elsewhere opens the admin page with its session.
pub(crate) fn set_admin(headers: &mut HeaderMap, value: &str) {
    put(headers, admin_cookie(value.to_owned()));
}

pub(crate) fn clear_admin(headers: &mut HeaderMap) {
    let mut gone = admin_cookie(String::new());
    gone.set_max_age(cookie::time::Duration::ZERO);
    put(headers, gone);
}

fn admin_cookie(value: String) -> Cookie<'static> {
    let mut cookie = cookie(value);
    cookie.set_name(ADMIN_COOKIE);
    cookie.set_same_site(SameSite::Strict);
    cookie
}

/// `SameSite=None`, because `prompt=none` comes from an iframe on the client's site; forms are guarded by their origin.
fn cookie(value: String) -> Cookie<'static> {
    Cookie::build((SESSION_COOKIE, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::None)
        .build()
}

fn put(headers: &mut HeaderMap, cookie: Cookie<'_>) {
    if let Ok(mut value) = HeaderValue::try_from(cookie.to_string()) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_has_all_attributes() {
        let mut headers = HeaderMap::new();
        set_session(&mut headers, "abc");
        assert_eq!(
            headers[header::SET_COOKIE],
            "__Host-authority-session=abc; HttpOnly; SameSite=None; Secure; Path=/"
        );
    }

    #[test]
    fn the_cookie_of_the_admin_page_stays_on_this_site() {
        let mut headers = HeaderMap::new();
        set_admin(&mut headers, "abc");
        assert_eq!(
            headers[header::SET_COOKIE],
            "__Host-authority-admin=abc; HttpOnly; SameSite=Strict; Secure; Path=/"
        );
        headers.insert(
            header::COOKIE,
            HeaderValue::from_static("__Host-authority-session=x; __Host-authority-admin=y"),
        );
        assert_eq!(
            (session(&headers).as_deref(), admin(&headers).as_deref()),
            (Some("x"), Some("y"))
        );
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("authority-session=x; __Host-spa-session=y"),
        );
        assert_eq!(session(&headers), None);
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("a=b; __Host-authority-session=abc"),
        );
        assert_eq!(session(&headers).as_deref(), Some("abc"));
    }
}
