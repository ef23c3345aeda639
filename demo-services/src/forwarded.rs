//! What a proxy in front of a service says about a request: believed from the configured proxies, from nobody else.
//!
//! | header | what it is good for |
//! |---|---|
//! | `X-Forwarded-Host` | each host in it must be this service's as well, when that of `Host` is checked |
//! | `X-Forwarded-Proto` | `http` leads a browser that opens a page to the https address |
//!
//! `X-Forwarded-Host` makes the check stricter and never takes the place of `Host`: a page that rebinds its own name to the proxy's
//! address cannot change its `Host`, but it can add any other header, which most proxies pass on unless they are told to set it. So
//! the proxy must keep `Host`.
//!
//! Nothing that a service writes (redirect URIs, cookies, challenges) is made of them. `Forwarded` (RFC 7239) and
//! `X-Forwarded-For` are not read.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::uri::Authority;
use http::{Extensions, HeaderMap};
use ipnet::IpNet;
use listening::ConnectedFrom;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::lists;

const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The proxies in front of a service, by address: none by default.
///
/// Written as a list of IP addresses and networks (`["10.0.0.0/8", "::1"]`), or as one text with commas between them.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    /// A proxy that was forgotten is told of once.
    strangers: Arc<OnceLock<()>>,
}

/// An entry that names no proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedProxiesError {
    /// The entry with this number, from 1, is neither an address nor a network.
    #[error(
        "entry {0} is neither an IP address nor a network such as 10.0.0.0/8 (host names cannot be trusted)"
    )]
    Entry(usize),
    /// The entry with this number, from 1, is the network of all addresses.
    #[error("entry {0} trusts every address; name the proxies' own network")]
    Everybody(usize),
}

/// What a trusted proxy says about one request; nothing, from anybody else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// Each host that some proxy on the way was asked for; an unusable one is `invalid.invalid`.
    pub(crate) hosts: Vec<Authority>,
    /// The proxy next to the browser was asked over plain http.
    pub(crate) plain_http: bool,
}

impl TrustedProxies {
    /// From texts such as `10.0.0.0/8` and `::1`.
    ///
    /// # Errors
    ///
    /// A text that is neither an address nor a network, or the network of all addresses.
    pub fn new<'a>(
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TrustedProxiesError> {
        let entries = (1..).zip(entries);
        let networks = entries.map(|(number, text)| {
            let text = text.trim();
            let address = text.parse::<IpAddr>();
            let network = match address {
                Ok(address) => IpNet::from(address.to_canonical()),
                Err(_) => text
                    .parse()
                    .map_err(|_| TrustedProxiesError::Entry(number))?,
            };
            match network.prefix_len() {
                0 => Err(TrustedProxiesError::Everybody(number)),
                _ => Ok(network),
            }
        });
        Ok(Self {
            networks: networks.collect::<Result<_, _>>()?,
            strangers: Arc::default(),
        })
    }

    /// No proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// What the proxy says about a request, if that is where it comes from.
    ///
    /// Of several hosts none is preferred: whoever checks them must want all of them, since it is not known which of them a client
    /// has put there. Of several protocols the first counts: it is the browser's, and the most that it can do is a redirect.
    pub(crate) fn forwarded(&self, extensions: &Extensions, headers: &HeaderMap) -> Forwarded {
        if self.is_empty() {
            return Forwarded::default();
        }
        let peer = extensions.get().map(|ConnectedFrom(peer)| peer.ip());
        if !peer.is_some_and(|peer| self.trusts(peer)) {
            let says =
                headers.contains_key(X_FORWARDED_HOST) || headers.contains_key(X_FORWARDED_PROTO);
            if says && self.strangers.set(()).is_ok() {
                let peer = peer.map(tracing::field::display);
                tracing::warn!(
                    peer,
                    "X-Forwarded-* of a peer that is not in trusted_proxies is ignored (said once)"
                );
            }
            return Forwarded::default();
        }
        let hosts = listed(headers, X_FORWARDED_HOST).map(|text| {
            text.and_then(|text| text.parse().ok())
                .unwrap_or_else(|| Authority::from_static("invalid.invalid"))
        });
        let protocol = listed(headers, X_FORWARDED_PROTO).next().flatten();
        Forwarded {
            hosts: hosts.collect(),
            plain_http: protocol.is_some_and(|text| text.eq_ignore_ascii_case("http")),
        }
    }

    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        // A socket for both families shows IPv4 peers as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        self.networks.iter().any(|network| network.contains(&peer))
    }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = lists::texts(deserializer)?;
        Self::new(entries.iter().map(String::as_str)).map_err(D::Error::custom)
    }
}

/// The members of a header that is a list, also over several lines (RFC 9110 section 5.3); `None` for a line that is no text.
fn listed<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Option<&'a str>> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| match value.to_str() {
            Ok(text) => text.split(',').map(|text| Some(text.trim())).collect(),
            Err(_) => vec![None],
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(["10.1.0.0/16", "::1", "192.0.2.7", "fd00::/8"]).unwrap()
    }

    fn told(proxies: &TrustedProxies, peer: Option<&str>, pairs: &[(&str, &[u8])]) -> Forwarded {
        let mut extensions = Extensions::new();
        if let Some(peer) = peer {
            let peer: IpAddr = peer.parse().unwrap();
            extensions.insert(ConnectedFrom((peer, 40_000).into()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        proxies.forwarded(&extensions, &headers)
    }

    #[test]
    fn an_address_is_in_the_list_or_it_is_not() {
        for (peer, expected) in [
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("::1", true),
            ("::2", false),
            ("127.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:192.0.2.7", true),
            ("::ffff:192.0.2.8", false),
            ("fd12:3456::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(trusted().trusts(peer.parse().unwrap()), expected, "{peer}");
        }
    }

    #[test]
    fn an_unusable_entry_is_told_by_its_number() {
        for (entry, expected) in [
            ("", "neither"),
            ("proxy.example", "neither"),
            ("10.0.0.0/33", "neither"),
            ("10.0.0/8", "neither"),
            ("10.0.0.1:80", "neither"),
            ("0.0.0.0/0", "every address"),
            ("::/0", "every address"),
        ] {
            let error = TrustedProxies::new(["10.0.0.0/8", entry]).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("entry 2"), "{entry}: {text}");
            assert!(text.contains(expected), "{entry}: {text}");
        }
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let said: &[(&str, &[u8])] = &[
            ("x-forwarded-host", b"shop.example"),
            ("x-forwarded-proto", b"http"),
        ];
        let believed = told(&trusted(), Some("10.1.2.3"), said);
        assert_eq!(believed.hosts, ["shop.example"]);
        assert!(believed.plain_http);
        for peer in [Some("10.2.0.1"), Some("127.0.0.1"), None] {
            assert_eq!(
                told(&trusted(), peer, said),
                Forwarded::default(),
                "{peer:?}"
            );
        }
        let nobody = TrustedProxies::default();
        let loopback = told(&nobody, Some("127.0.0.1"), said);
        assert_eq!(loopback, Forwarded::default());
    }

    #[test]
    fn every_host_of_the_way_is_told_and_the_unusable_as_such() {
        let hosts = |pairs: &[(&str, &[u8])]| told(&trusted(), Some("::1"), pairs).hosts;
        let host = "x-forwarded-host";
        assert_eq!(
            hosts(&[(host, b"a.example:8443, b.example")]),
            ["a.example:8443", "b.example"]
        );
        assert_eq!(
            hosts(&[(host, b"a.example"), (host, b"b.example")]),
            ["a.example", "b.example"]
        );
        let invalid = ["invalid.invalid"];
        for unusable in [
            &b""[..],
            b"a b",
            b"\xff",
            b"a.example/x",
            b"http://a.example",
        ] {
            assert_eq!(hosts(&[(host, unusable)]), invalid, "{unusable:?}");
        }
        assert_eq!(
            hosts(&[(host, b"a.example,")]),
            ["a.example", "invalid.invalid"]
        );
        // Other ways to say it are not read.
        assert!(
            hosts(&[
                ("forwarded", b"host=a.example"),
                ("x-original-host", b"a.example")
            ])
            .is_empty()
        );
    }

    #[test]
    fn the_first_protocol_counts() {
        let plain = |values: &[&[u8]]| {
            let pairs: Vec<_> = values
                .iter()
                .map(|value| ("x-forwarded-proto", *value))
                .collect();
            told(&trusted(), Some("::1"), &pairs).plain_http
        };
        let cases: [(&[&[u8]], bool); 9] = [
            (&[], false),
            (&[b"http"], true),
            (&[b"HTTP"], true),
            (&[b"https"], false),
            (&[b"http, https"], true),
            (&[b"https, http"], false),
            (&[b"https", b"http"], false),
            (&[b"\xff"], false),
            (&[b"http:"], false),
        ];
        for (values, expected) in cases {
            assert_eq!(plain(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_list_or_a_text_with_commas() {
        #[derive(Deserialize)]
        struct Config {
            trusted_proxies: TrustedProxies,
        }
        for text in [
            r#"trusted_proxies = ["10.0.0.0/8", "::1"]"#,
            r#"trusted_proxies = "10.0.0.0/8, ::1""#,
        ] {
            let Config { trusted_proxies } = toml::from_str(text).unwrap();
            assert_eq!(trusted_proxies.networks.len(), 2, "{text}");
        }
        for text in [
            "trusted_proxies = true",
            "trusted_proxies = [1]",
            r#"trusted_proxies = "::1;::2""#,
        ] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
