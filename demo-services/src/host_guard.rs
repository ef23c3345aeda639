//! Refuses requests for a host that is not this service: a web page that rebinds its own name to 127.0.0.1 gets nothing. And those of
//! peers that are to come through a proxy.

use std::{
    collections::HashSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, header::HOST, uri::Authority};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::forwarded::TrustedProxies;
use crate::peers::Peers;

/// Answers 421 to requests whose `:authority` or `Host` is neither a loopback name nor one of the names given, and
/// 400 to those that name no host or two different ones; 403 to [peers](Self::peers) that may not connect.
///
/// Ports are not compared: rebinding changes the address behind a name, never the name. Behind a [trusted proxy](Self::behind) the
/// hosts that it was asked for must be among the names as well.
#[derive(Clone, Debug)]
#[must_use]
pub struct HostGuardLayer {
    names: Arc<HashSet<String>>,
    proxies: TrustedProxies,
    peers: Peers,
}

impl HostGuardLayer {
    /// Admits `localhost`, `127.0.0.1`, `[::1]` and `names` (host names without a port).
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into);
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(String::from);
        Self {
            names: Arc::new(
                names
                    .chain(loopback)
                    .map(|name| name.to_ascii_lowercase())
                    .collect(),
            ),
            proxies: TrustedProxies::default(),
            peers: Peers::default(),
        }
    }

    /// Believes these proxies' `X-Forwarded-Host`.
    pub fn behind(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Answers these peers alone.
    pub fn peers(mut self, peers: Peers) -> Self {
        self.peers = peers;
        self
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), StatusCode> {
        if !self.peers.admit(request.extensions()) {
            return Err(StatusCode::FORBIDDEN);
        }
        let forwarded = self
            .proxies
            .forwarded(request.extensions(), request.headers());
        forwarded
            .hosts
            .iter()
            .try_for_each(|host| self.admit(host))?;
        let mut hosts = request.headers().get_all(HOST).iter();
        let header = hosts
            .next()
            .map(|host| Authority::try_from(host.as_bytes()))
            .transpose()
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        if hosts.next().is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let target = request.uri().authority();
        // RFC 9113 8.3.1: `Host` must not differ from `:authority`.
        if let (Some(target), Some(header)) = (target, &header)
            && target != header
        {
            return Err(StatusCode::BAD_REQUEST);
        }
        self.admit(target.or(header.as_ref()).ok_or(StatusCode::BAD_REQUEST)?)
    }

    fn admit(&self, named: &Authority) -> Result<(), StatusCode> {
        if self.names.contains(&named.host().to_ascii_lowercase()) {
            Ok(())
        } else {
            Err(StatusCode::MISDIRECTED_REQUEST)
        }
    }
}

impl<S> Layer<S> for HostGuardLayer {
    type Service = HostGuard<S>;

    fn layer(&self, inner: S) -> HostGuard<S> {
        HostGuard {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`HostGuardLayer`].
#[derive(Clone, Debug)]
pub struct HostGuard<S> {
    inner: S,
    layer: HostGuardLayer,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for HostGuard<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.layer.check(&request) {
            Ok(()) => ResponseFuture {
                state: State::Admitted {
                    inner: self.inner.call(request),
                },
            },
            Err(refused) => {
                tracing::warn!(
                    status = refused.as_u16(),
                    "refused a request for another host, or of a foreign peer"
                );
                ResponseFuture {
                    state: State::Refused { status: refused },
                }
            }
        }
    }
}

pin_project! {
    /// The future of [`HostGuard`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjected]
    #[derive(Debug)]
    enum State<F> {
        Admitted { #[pin] inner: F },
        Refused { status: StatusCode },
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            StateProjected::Admitted { inner } => inner.poll(cx),
            StateProjected::Refused { status } => {
                let mut response = Response::new(B::default());
                *response.status_mut() = *status;
                Poll::Ready(Ok(response))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use listening::ConnectedFrom;

    #[test]
    fn only_names_of_the_service_are_admitted() {
        let guard = HostGuardLayer::new(["Api.Example"]);
        let rows = [
            ("localhost", &["localhost:3000"][..], None, Ok(())),
            ("IPv4", &["127.0.0.1:3000"], None, Ok(())),
            ("IPv6", &["[::1]:3000"], None, Ok(())),
            (
                "given name, other case",
                &["API.example"],
                Some("http://api.example/x"),
                Ok(()),
            ),
            ("h2 without Host", &[], Some("http://localhost:1/x"), Ok(())),
            (
                "rebound name",
                &["attacker.example:3000"],
                None,
                Err(StatusCode::MISDIRECTED_REQUEST),
            ),
            (
                "name that only starts well",
                &["localhost.attacker.example"],
                None,
                Err(StatusCode::MISDIRECTED_REQUEST),
            ),
            (
                "name in the user info",
                &["localhost@attacker.example"],
                None,
                Err(StatusCode::MISDIRECTED_REQUEST),
            ),
            (
                "rebound :authority",
                &[],
                Some("http://attacker.example/"),
                Err(StatusCode::MISDIRECTED_REQUEST),
            ),
            (
                "Host differs from :authority",
                &["localhost"],
                Some("http://attacker.example/"),
                Err(StatusCode::BAD_REQUEST),
            ),
            (
                "two Hosts",
                &["localhost", "localhost"],
                None,
                Err(StatusCode::BAD_REQUEST),
            ),
            ("no host", &[], None, Err(StatusCode::BAD_REQUEST)),
            ("no host name", &["a b"], None, Err(StatusCode::BAD_REQUEST)),
        ];
        for (name, hosts, uri, expected) in rows {
            let mut request = Request::builder().uri(uri.unwrap_or("/x"));
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let request = request.body(()).unwrap();
            assert_eq!(guard.check(&request), expected, "{name}");
        }
    }

    #[test]
    fn behind_a_trusted_proxy_all_hosts_that_it_was_asked_for_must_be_names_of_the_service_as_well()
    {
        let proxies = TrustedProxies::new(["192.0.2.7"]).unwrap();
        let guard = HostGuardLayer::new(["api.example"]).behind(proxies);
        let misdirected = Err(StatusCode::MISDIRECTED_REQUEST);
        let internal = "backend.internal:5000";
        // Host, X-Forwarded-Host; from the proxy, from anybody else.
        type Row<'a> = (&'a str, &'a [&'a str], [Result<(), StatusCode>; 2]);
        let rows: [Row<'_>; 6] = [
            ("api.example", &[], [Ok(()), Ok(())]),
            (internal, &[], [misdirected, misdirected]),
            // A rebound page can add this header to its requests; its `Host` tells.
            (internal, &["api.example"], [misdirected, misdirected]),
            (
                "api.example",
                &["api.example, api.example"],
                [Ok(()), Ok(())],
            ),
            (
                "api.example",
                &["api.example", "attacker.example"],
                [misdirected, Ok(())],
            ),
            ("api.example", &["a b"], [misdirected, Ok(())]),
        ];
        for (host, forwarded, expected) in rows {
            for (peer, expected) in [[192, 0, 2, 7], [192, 0, 2, 8]].into_iter().zip(expected) {
                let mut request = Request::builder().uri("/x").header(HOST, host);
                for value in forwarded {
                    request = request.header("x-forwarded-host", *value);
                }
                let peer = ConnectedFrom((peer, 40_000).into());
                let request = request.extension(peer).body(()).unwrap();
                assert_eq!(
                    guard.check(&request),
                    expected,
                    "{host}, {forwarded:?}, {peer:?}"
                );
            }
        }
    }

    #[test]
    fn only_peers_that_may_connect_are_answered() {
        let proxies = TrustedProxies::new(["192.0.2.7"]).unwrap();
        let guard = HostGuardLayer::new(["api.example"]).peers(Peers::near(proxies));
        for (peer, expected) in [
            ([192, 0, 2, 7], Ok(())),
            ([127, 0, 0, 1], Ok(())),
            ([192, 0, 2, 8], Err(StatusCode::FORBIDDEN)),
        ] {
            let request = Request::builder().uri("/x").header(HOST, "api.example");
            let request = request.extension(ConnectedFrom((peer, 40_000).into()));
            assert_eq!(
                guard.check(&request.body(()).unwrap()),
                expected,
                "{peer:?}"
            );
        }
    }
}
