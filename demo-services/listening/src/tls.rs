//! A server's certificate and key, and the handshake of one connection.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS record that begins a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// What a browser is told that was sent here by an `http` link.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 45\r\n\r\nThis port speaks TLS: write https in the URL\n";

/// What a server shows in the TLS handshake: TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    #[non_exhaustive]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate in the PEM text.
    #[error("{0}: no PEM block `CERTIFICATE`")]
    NoCertificate(String),
    /// There is no private key in the PEM text.
    #[error("{0}: no PEM block `PRIVATE KEY`")]
    NoKey(String),
    /// They do not belong together, or are of a kind that TLS has no use for.
    #[error("certificate and private key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    /// From PEM texts: the certificate and what leads from it to its CA, and the private key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    ///
    /// One of them is missing, or they do not belong together.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, TlsError> {
        Self::read(certificates, "the certificate", key, "the key")
    }

    /// The same from files.
    ///
    /// # Errors
    ///
    /// Those of [`from_pem`](Self::from_pem), or a file that cannot be read.
    pub fn from_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| TlsError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        let name = |path: &Path| path.display().to_string();
        Self::read(
            &read(certificates)?,
            &name(certificates),
            &read(key)?,
            &name(key),
        )
    }

    fn read(
        certificates: &str,
        certificates_name: &str,
        key: &str,
        key_name: &str,
    ) -> Result<Self, TlsError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| TlsError::NoCertificate(certificates_name.to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| TlsError::NoKey(key_name.to_owned()))?;
        Self::new(chain, key)
    }

    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_no_client_auth())
            .and_then(|builder| builder.with_single_cert(chain, key))
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// The handshake. A peer that does not speak TLS is told so, as far as it can read that.
    pub(crate) async fn accept(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            stream.write_all(SPEAKS_TLS).await?;
            stream.shutdown().await?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer does not speak TLS",
            ));
        }
        TlsAcceptor::from(self.0.clone()).accept(stream).await
    }
}

/// Named, since a process may have more than one and then has no default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalCa;

    const NOW: u64 = 1_795_319_366;

    #[test]
    fn certificate_and_key_must_be_there_and_belong_together() {
        let (one, other) = (
            LocalCa::in_memory(NOW).unwrap(),
            LocalCa::in_memory(NOW).unwrap(),
        );
        let (certificate, key) = (one.certificate_pem(), one.key_pem());
        assert!(Tls::from_pem(certificate, key).is_ok());
        let error = |certificate: &str, key: &str| Tls::from_pem(certificate, key).unwrap_err();
        assert!(matches!(error(key, key), TlsError::NoCertificate(_)));
        assert!(matches!(error("", key), TlsError::NoCertificate(_)));
        assert!(matches!(
            error(certificate, certificate),
            TlsError::NoKey(_)
        ));
        assert!(matches!(
            error(certificate, other.key_pem()),
            TlsError::Unusable(_)
        ));
    }

    #[test]
    fn an_error_names_the_file() {
        let missing = Tls::from_files("/no/such/cert.pem", "/no/such/key.pem").unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /no/such/cert.pem");
    }

    #[test]
    fn the_key_is_not_in_the_debug_text() {
        let tls = LocalCa::in_memory(NOW).unwrap().tls().unwrap();
        assert_eq!(format!("{tls:?}"), "Tls(..)");
    }

    #[test]
    fn the_answer_to_plain_http_is_as_long_as_it_says() {
        let text = std::str::from_utf8(SPEAKS_TLS).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
