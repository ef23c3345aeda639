//! A browser's cookie rules as far as they decide anything here: Secure on loopback http, `__Host-`, SameSite, paths.

use cookie::{Cookie, Expiration, SameSite};
use reqwest::Method;
use url::Url;

/// The cookies of one person, over all services (cookies do not know ports).
#[derive(Clone, Debug, Default)]
pub struct Jar {
    cookies: Vec<(String, Cookie<'static>)>,
}

/// Who sends a request: decides which `SameSite` cookies travel.
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// Typed into the address bar.
    AddressBar,
    /// A link, form or redirect chain that began on this page.
    Navigation(&'a Url),
    /// A script of this page.
    Script(&'a Url),
}

impl Jar {
    /// Takes a `Set-Cookie` line from `url`, or refuses it as Chromium does.
    ///
    /// # Panics
    ///
    /// On a line that Chromium refuses: none of our services may send one.
    pub fn set(&mut self, url: &Url, line: &str) {
        let cookie = Cookie::parse(line.to_owned()).expect("a Set-Cookie line");
        let secure = cookie.secure().unwrap_or(false);
        assert!(
            cookie.domain().is_none(),
            "a cookie for a whole domain: {line}"
        );
        if cookie.name().starts_with("__Host-") {
            assert!(
                secure && cookie.path() == Some("/"),
                "not a __Host- cookie: {line}"
            );
        }
        if cookie.same_site() == Some(SameSite::None) {
            assert!(secure, "SameSite=None without Secure: {line}");
        }
        let host = url.host_str().expect("a host").to_owned();
        self.cookies
            .retain(|(other, old)| *other != host || old.name() != cookie.name());
        let over = match (cookie.max_age(), cookie.expires()) {
            (Some(age), _) => !age.is_positive(),
            (None, Some(Expiration::DateTime(at))) => at.unix_timestamp() <= 0,
            _ => false,
        };
        if !over {
            self.cookies.push((host, cookie));
        }
    }

    /// The `Cookie` header of a request, if any cookie travels with it.
    #[must_use]
    pub fn header(&self, url: &Url, method: &Method, sender: Sender<'_>) -> Option<String> {
        let host = url.host_str()?;
        let secure = url.scheme() == "https" || matches!(host, "localhost" | "127.0.0.1");
        let travels = |cookie: &Cookie<'_>| match (cookie.same_site(), sender) {
            (Some(SameSite::None), _) | (_, Sender::AddressBar) => true,
            (Some(SameSite::Strict), Sender::Navigation(page)) | (_, Sender::Script(page)) => {
                same_site(page, url)
            }
            // Lax, and Chromium's default for cookies that say nothing.
            (_, Sender::Navigation(page)) => same_site(page, url) || method == Method::GET,
        };
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .filter(|(of, cookie)| {
                of == host
                    && (secure || !cookie.secure().unwrap_or(false))
                    && url.path().starts_with(cookie.path().unwrap_or("/"))
                    && travels(cookie)
            })
            .map(|(_, cookie)| format!("{}={}", cookie.name(), cookie.value()))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The names of the cookies kept for a host.
    #[must_use]
    pub fn names(&self, host: &str) -> Vec<&str> {
        let of_host = self.cookies.iter().filter(|(of, _)| of == host);
        of_host.map(|(_, cookie)| cookie.name()).collect()
    }

    /// Forgets the cookies whose name contains `part`.
    pub fn forget(&mut self, part: &str) {
        self.cookies
            .retain(|(_, cookie)| !cookie.name().contains(part));
    }
}

/// Same scheme and host: our hosts have no registrable domain above them.
#[must_use]
pub fn same_site(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_site_decides_as_in_a_browser() {
        let spa = Url::parse("http://localhost:3000/").unwrap();
        let authority = Url::parse("http://127.0.0.1:8080/").unwrap();
        let mut jar = Jar::default();
        jar.set(&spa, "lax=1; Path=/; Secure; SameSite=Lax");
        jar.set(&spa, "none=1; Path=/; Secure; SameSite=None");
        jar.set(&spa, "gone=1; Path=/");
        jar.set(&spa, "gone=; Path=/; Max-Age=0");
        let sent = |method, sender| jar.header(&spa, &method, sender).unwrap_or_default();
        assert_eq!(sent(Method::GET, Sender::AddressBar), "lax=1; none=1");
        assert_eq!(
            sent(Method::GET, Sender::Navigation(&authority)),
            "lax=1; none=1"
        );
        assert_eq!(sent(Method::POST, Sender::Navigation(&authority)), "none=1");
        assert_eq!(
            sent(Method::POST, Sender::Navigation(&spa)),
            "lax=1; none=1"
        );
        assert_eq!(sent(Method::GET, Sender::Script(&authority)), "none=1");
        assert_eq!(
            jar.header(&authority, &Method::GET, Sender::AddressBar),
            None
        );
    }
}
