//! Where to listen: one port, on one address or on both loopback addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};

use crate::tls::Tls;

/// A free port on 127.0.0.1 may be taken on ::1; so many others are tried.
const FREE_PORT_ATTEMPTS: usize = 16;

/// Why a service cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The text is not an address to listen on.
    #[error("`{0}` is not an address to listen on: write localhost:PORT or IP:PORT")]
    Address(String),
    /// The operating system refuses for a reason of its own.
    #[error("cannot listen on {address}")]
    #[non_exhaustive]
    Io {
        /// Where it was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The address can be reached from other machines and nobody asked for that.
    #[error(
        "{0} can be reached from other machines; services listen on loopback only unless told otherwise"
    )]
    NotLoopback(IpAddr),
    /// Another program has the port.
    #[error("port {0} is in use")]
    Taken(u16),
}

/// Who may reach a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// This machine.
    #[default]
    Loopback,
    /// Whoever can reach the address.
    Network,
}

/// One port, on one address or on both loopback addresses.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<TcpListener>,
    port: u16,
    tls: Option<Tls>,
}

impl Listeners {
    /// Listens on `localhost:PORT` (127.0.0.1 and, where it exists, ::1) or on `IP:PORT`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The text is no such address, it is not a loopback address and `reach` does not say so, or the port cannot be had.
    pub async fn bind(address: &str, reach: Reach) -> Result<Self, BindError> {
        if let Some(port) = address.strip_prefix("localhost:") {
            let port = port
                .parse()
                .map_err(|_| BindError::Address(address.into()))?;
            return Self::bind_localhost(port).await;
        }
        let address: SocketAddr = address
            .parse()
            .map_err(|_| BindError::Address(address.into()))?;
        if reach == Reach::Loopback && !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address.ip()));
        }
        let listener = listen(address).await?;
        Ok(Self {
            port: port_of(&listener, address)?,
            listeners: vec![listener],
            tls: None,
        })
    }

    async fn bind_localhost(port: u16) -> Result<Self, BindError> {
        let attempts = if port == 0 { FREE_PORT_ATTEMPTS } else { 1 };
        let mut last = BindError::Taken(port);
        for _ in 0..attempts {
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let first = listen(v4).await?;
            let port = port_of(&first, v4)?;
            match listen((Ipv6Addr::LOCALHOST, port).into()).await {
                Ok(second) => {
                    return Ok(Self {
                        listeners: vec![first, second],
                        port,
                        tls: None,
                    });
                }
                Err(taken @ BindError::Taken(_)) => last = taken,
                // No IPv6 on this machine: then `localhost` has one address only.
                Err(_) => {
                    return Ok(Self {
                        listeners: vec![first],
                        port,
                        tls: None,
                    });
                }
            }
        }
        Err(last)
    }

    /// The same with TLS on every connection.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// `https`, or `http` without TLS.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub(crate) fn handshake(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// The port, also when a free one was asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.listeners.as_slice() {
            [first, second] => tokio::select! {
                accepted = first.accept() => accepted,
                accepted = second.accept() => accepted,
            },
            [only] => only.accept().await,
            _ => std::future::pending().await,
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address.port()),
            _ => BindError::Io { address, source },
        })
}

fn port_of(listener: &TcpListener, address: SocketAddr) -> Result<u16, BindError> {
    listener
        .local_addr()
        .map(|bound| bound.port())
        .map_err(|source| BindError::Io { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_one_port_on_both_loopback_addresses() {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        assert_ne!(listeners.port(), 0);
        TcpStream::connect((Ipv4Addr::LOCALHOST, listeners.port()))
            .await
            .unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, listeners.port()))
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = Listeners::bind("127.0.0.1:0", Reach::Loopback)
            .await
            .unwrap();
        for host in ["localhost", "127.0.0.1"] {
            let address = format!("{host}:{}", taken.port());
            let error = Listeners::bind(&address, Reach::Loopback)
                .await
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("port {} is in use", taken.port())
            );
        }
    }

    #[tokio::test]
    async fn a_network_address_needs_to_be_asked_for() {
        let refused = Listeners::bind("0.0.0.0:0", Reach::Loopback)
            .await
            .unwrap_err();
        assert!(matches!(refused, BindError::NotLoopback(_)), "{refused}");
        Listeners::bind("0.0.0.0:0", Reach::Network).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            "localhost:",
            "localhost:70000",
            "example.org:80",
            "8080",
        ] {
            let error = Listeners::bind(text, Reach::Network).await.unwrap_err();
            assert!(matches!(error, BindError::Address(_)), "{text}: {error}");
        }
    }
}
