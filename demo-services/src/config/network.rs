//! How a service is reached: its address, its TLS or the proxies that end it in front, and the rule that nothing is open by omission.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use listening::{BindError, Listeners, Reach, Tls, TlsError};
use serde::Deserialize;

use crate::forwarded::TrustedProxies;

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
    /// Listens, with TLS if it is configured; files are sought in `directory` when their paths are relative.
    ///
    /// # Errors
    ///
    /// The port cannot be had, the certificate or key cannot be used, or other machines would reach the service over plain http.
    pub async fn listeners(&self, directory: &Path) -> Result<Listeners, NetworkError> {
        let tls = self.tls.map(|tls| {
            let [certificate, key] =
                [&tls.certificate, &tls.private_key].map(|file| directory.join(file));
            Tls::from_files(certificate, key)
        });
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
}

/// Whether `listen` is an address that other machines may reach. What is no address at all is not: nothing listens there.
pub(crate) fn is_beyond_loopback(listen: &str) -> bool {
    listen
        .parse::<SocketAddr>()
        .is_ok_and(|address| !address.ip().is_loopback())
}

/// Whether `listen` is an address of this machine alone.
pub(crate) fn is_loopback_only(listen: &str) -> bool {
    match listen.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => listen.starts_with("localhost:"),
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
        directory: &Path,
    ) -> Result<Listeners, NetworkError> {
        let trusted_proxies = &TrustedProxies::new(proxies.iter().copied()).unwrap();
        let network = Network {
            listen,
            tls,
            trusted_proxies,
        };
        network.listeners(directory).await
    }

    #[tokio::test]
    async fn other_machines_need_tls_or_a_proxy() {
        let directory = std::env::temp_dir().join(format!("network-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let ca = LocalCa::in_memory(1_795_319_366).unwrap();
        fs::write(directory.join("chain.pem"), ca.certificate_pem()).unwrap();
        fs::write(directory.join("key.pem"), ca.key_pem()).unwrap();
        let tls = TlsConfig {
            certificate: "chain.pem".into(),
            private_key: "key.pem".into(),
        };
        let open = listen("0.0.0.0:0", None, &[], &directory).await;
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
            bound(listen("0.0.0.0:0", None, &["10.0.0.0/8"], &directory).await),
            "http"
        );
        assert_eq!(
            bound(listen("0.0.0.0:0", Some(&tls), &[], &directory).await),
            "https"
        );
        assert_eq!(
            bound(listen("localhost:0", None, &[], &directory).await),
            "http"
        );
        // No file, no service: it must not fall back to plain http.
        let elsewhere = listen("localhost:0", Some(&tls), &[], Path::new("/nowhere")).await;
        assert!(matches!(
            elsewhere.unwrap_err(),
            NetworkError::Tls(TlsError::Unreadable { .. })
        ));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn loopback_is_told_from_the_network() {
        for (text, expected) in [
            ("localhost:3000", false),
            ("127.0.0.1:3000", false),
            ("[::1]:3000", false),
            ("0.0.0.0:3000", true),
            ("[::]:3000", true),
            ("192.0.2.1:3000", true),
        ] {
            assert_eq!(is_beyond_loopback(text), expected, "{text}");
        }
    }
}
