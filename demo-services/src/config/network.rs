//! How a service is reached: its address, its TLS or the proxies that end it in front, and the rules that nothing is open by omission.

use std::net::SocketAddr;
use std::path::PathBuf;

use listening::{BindError, Listeners, Reach, Tls, TlsError};
use serde::Deserialize;
use url::Url;

use super::SetupError;
use crate::forwarded::TrustedProxies;
use crate::loopback::is_loopback;
use crate::peers::Peers;

/// Files of a service's own certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM: the service's certificate first, then what leads from it to its CA. Relative to the configuration file.
    pub certificate: PathBuf,
    /// PEM: its private key (PKCS #8, PKCS #1 or SEC 1). Relative to the configuration file.
    pub private_key: PathBuf,
}

/// The part of a service's configuration that says how it is reached.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// `listen`.
    pub listen: &'a str,
    /// `[tls]`.
    pub tls: Option<&'a TlsConfig>,
    /// `trusted_proxies`.
    pub trusted_proxies: &'a TrustedProxies,
    /// `base_url` or `public_url`.
    pub public_url: Option<&'a Url>,
}

/// Why a service is not reachable as it is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Other machines would reach it, over plain http.
    #[error(
        "`listen = \"{0}\"` can be reached from other machines, over plain http: set `certificate` and `private_key` in `[tls]`, \
         or `trusted_proxies` if a proxy in front ends TLS"
    )]
    Open(String),
    /// The port is in use.
    #[error("port {0} is in use: stop the other program, or change `listen`")]
    Taken(u16),
    /// Another reason.
    #[error("cannot listen where `listen` says")]
    Bind(#[source] BindError),
    /// The certificate or key.
    #[error("the certificate of `[tls]` cannot be used")]
    Tls(#[source] TlsError),
}

impl Network<'_> {
    /// Listens, with TLS if it is configured.
    ///
    /// # Errors
    ///
    /// The port cannot be had, the certificate or key cannot be used, or other machines would reach the service over plain http.
    pub async fn listeners(&self) -> Result<Listeners, NetworkError> {
        let tls = self
            .tls
            .map(|tls| Tls::from_files(&tls.certificate, &tls.private_key));
        let tls = tls.transpose().map_err(NetworkError::Tls)?;
        let reach = if tls.is_some() || !self.trusted_proxies.is_empty() {
            Reach::Network
        } else {
            Reach::Loopback
        };
        let bound = Listeners::bind(self.listen, reach).await;
        let listeners = bound.map_err(|error| match error {
            BindError::NotLoopback(_) => NetworkError::Open(self.listen.to_owned()),
            BindError::Taken(port) => NetworkError::Taken(port),
            other => NetworkError::Bind(other),
        })?;
        Ok(match tls {
            Some(tls) => listeners.tls(tls),
            None => listeners,
        })
    }

    /// From where requests are taken: plain http beyond this machine is for the proxies that end TLS, and for nobody else who
    /// happens to reach the port.
    #[must_use]
    pub fn peers(&self) -> Peers {
        if self.tls.is_some() || is_loopback_only(self.listen) {
            Peers::default()
        } else {
            Peers::near(self.trusted_proxies.clone())
        }
    }

    /// Refuses `flow_events` where others than this machine could ask for them: by the address, through a proxy, or by a public name,
    /// which something in front must be leading here.
    ///
    /// # Errors
    ///
    /// [`SetupError::FlowEvents`].
    pub fn check_flow_events(&self, flow_events: bool) -> Result<(), SetupError> {
        let local = is_loopback_only(self.listen)
            && self.trusted_proxies.is_empty()
            && self.public_url.is_none_or(is_loopback);
        match flow_events && !local {
            true => Err(SetupError::FlowEvents),
            false => Ok(()),
        }
    }
}

/// Whether `listen` is an address of this machine alone. What cannot be read is not.
pub(crate) fn is_loopback_only(listen: &str) -> bool {
    match listen.strip_prefix("localhost:") {
        Some(port) => port.parse::<u16>().is_ok(),
        None => listen
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use listening::LocalCa;
    use std::fs;

    async fn listen(
        listen: &str,
        tls: Option<&TlsConfig>,
        proxies: &[&str],
    ) -> Result<Listeners, NetworkError> {
        let trusted_proxies = &TrustedProxies::new(proxies.iter().copied()).unwrap();
        let network = Network {
            listen,
            tls,
            trusted_proxies,
            public_url: None,
        };
        network.listeners().await
    }

    #[tokio::test]
    async fn other_machines_need_tls_or_a_proxy() {
        let directory = std::env::temp_dir().join(format!("network-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let ca = LocalCa::in_memory(1_795_319_366).unwrap();
        fs::write(directory.join("chain.pem"), ca.certificate_pem()).unwrap();
        fs::write(directory.join("key.pem"), ca.key_pem()).unwrap();
        let tls = TlsConfig {
            certificate: directory.join("chain.pem"),
            private_key: directory.join("key.pem"),
        };
        let open = listen("0.0.0.0:0", None, &[]).await;
        let text = open.unwrap_err().to_string();
        for part in [
            "0.0.0.0:0",
            "`[tls]`",
            "`certificate`",
            "`private_key`",
            "`trusted_proxies`",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let bound = |listeners: Result<Listeners, NetworkError>| listeners.unwrap().scheme();
        assert_eq!(
            bound(listen("0.0.0.0:0", None, &["10.0.0.0/8"]).await),
            "http"
        );
        assert_eq!(bound(listen("0.0.0.0:0", Some(&tls), &[]).await), "https");
        assert_eq!(bound(listen("localhost:0", None, &[]).await), "http");
        // No file, no service: it must not fall back to plain http.
        fs::remove_dir_all(directory).unwrap();
        let gone = listen("localhost:0", Some(&tls), &[]).await;
        assert!(matches!(
            gone.unwrap_err(),
            NetworkError::Tls(TlsError::Unreadable { .. })
        ));
    }

    #[test]
    fn loopback_is_told_from_the_network() {
        for (text, expected) in [
            ("localhost:3000", true),
            ("127.0.0.1:3000", true),
            ("[::1]:3000", true),
            ("0.0.0.0:3000", false),
            ("[::]:3000", false),
            ("192.0.2.1:3000", false),
            // Nothing that can be listened on, so nothing that can be vouched for.
            ("", false),
            ("localhost", false),
            ("localhost:http", false),
            ("localhost.example:3000", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(is_loopback_only(text), expected, "{text}");
        }
    }

    #[test]
    fn plain_http_beyond_this_machine_is_for_the_proxies() {
        let tls = TlsConfig {
            certificate: "chain.pem".into(),
            private_key: "key.pem".into(),
        };
        let stranger = listening::ConnectedFrom(([192, 0, 2, 8], 40_000).into());
        let mut extensions = http::Extensions::new();
        extensions.insert(stranger);
        for (listen, tls, proxies, expected) in [
            ("0.0.0.0:3000", None, &["10.0.0.0/8"][..], false),
            ("0.0.0.0:3000", None, &["192.0.2.8"], true),
            ("0.0.0.0:3000", Some(&tls), &["10.0.0.0/8"], true),
            ("localhost:3000", None, &["10.0.0.0/8"], true),
            ("nonsense", None, &["10.0.0.0/8"], false),
        ] {
            let network = Network {
                listen,
                tls,
                trusted_proxies: &TrustedProxies::new(proxies.iter().copied()).unwrap(),
                public_url: None,
            };
            let admitted = network.peers().admit(&extensions);
            assert_eq!(admitted, expected, "{listen} {proxies:?}");
        }
    }

    #[test]
    fn flow_events_are_for_this_machine_alone() {
        for (listen, proxies, public_url, expected) in [
            ("localhost:0", &[][..], None, true),
            ("127.0.0.1:3000", &[], Some("https://localhost:3000"), true),
            ("0.0.0.0:3000", &[], None, false),
            ("nonsense", &[], None, false),
            ("localhost:0", &["::1"], None, false),
            ("localhost:0", &[], Some("https://shop.example"), false),
        ] {
            let public_url = public_url.map(|url| url.parse().unwrap());
            let network = Network {
                listen,
                tls: None,
                trusted_proxies: &TrustedProxies::new(proxies.iter().copied()).unwrap(),
                public_url: public_url.as_ref(),
            };
            let checked = network.check_flow_events(true);
            assert_eq!(
                checked.is_ok(),
                expected,
                "{listen} {proxies:?} {public_url:?}"
            );
            assert!(network.check_flow_events(false).is_ok());
        }
    }
}
