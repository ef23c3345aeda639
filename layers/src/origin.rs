//! Origins (RFC 6454): where a token may be sent.

use std::fmt;

use http::Uri;
use http::uri::Scheme;
use url::{Host, Url};

use crate::error::ConfigError;

/// Scheme, host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `scheme://host[:port]`; a trailing `/` is allowed, a path is not.
    ///
    /// # Errors
    /// Another scheme than http or https, http to another host than loopback, or anything beside scheme, host and port.
    pub(crate) fn new(text: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(text).map_err(|_| ConfigError::Origin)?;
        let plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && has_no_user(&url);
        let secure = url.scheme() == "https" || is_loopback_http(&url);
        let (Some(host), Some(port), true, true) =
            (url.host_str(), url.port_or_known_default(), plain, secure)
        else {
            return Err(ConfigError::Origin);
        };
        Ok(Self {
            https: url.scheme() == "https",
            host: host.to_owned(),
            port,
        })
    }

    /// Is this the origin of an absolute URI? A URI that names a user is of no origin.
    pub(crate) fn is_of(&self, uri: &Uri) -> bool {
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return false,
        };
        let Some(authority) = uri.authority() else {
            return false;
        };
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        !authority.as_str().contains('@')
            && https == self.https
            && port == self.port
            && authority.host().eq_ignore_ascii_case(&self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}:{}",
            if self.https { "https" } else { "http" },
            self.host,
            self.port
        )
    }
}

pub(crate) fn has_no_user(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

/// `http` to a name or address that never leaves this machine.
pub(crate) fn is_loopback_http(url: &Url) -> bool {
    url.scheme() == "http" && is_loopback(url)
}

/// A name or address that never leaves this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn only_the_same_scheme_host_and_port_match() {
        let origin = Origin::new("https://api.example").unwrap();
        for good in ["https://api.example/x?y", "https://API.example:443/"] {
            assert!(origin.is_of(&good.parse().unwrap()), "{good}");
        }
        for bad in [
            "http://api.example/",
            "https://api.example:444/",
            "https://api.example.evil/",
            "https://evil@api.example/",
            "https://api.example@evil/",
            "https://xapi.example/",
            "/x",
        ] {
            assert!(!origin.is_of(&bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in [
            "http://localhost:7000",
            "http://127.0.0.1:7000/",
            "http://[::1]:7000",
        ] {
            assert!(Origin::new(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.example",
            "ftp://localhost",
            "https://a/b",
            "https://u@a",
            "https://a?b",
            "a",
            "http://localhost.evil",
        ] {
            assert!(Origin::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ipv6_loopback_matches() {
        assert!(
            Origin::new("http://[::1]:7000")
                .unwrap()
                .is_of(&"http://[::1]:7000/x".parse().unwrap())
        );
    }
}
