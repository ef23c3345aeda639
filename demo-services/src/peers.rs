//! Who may connect: where a service speaks plain http beyond this machine, its proxies and this machine alone.

use http::Extensions;
use listening::ConnectedFrom;

use crate::forwarded::TrustedProxies;

/// The machines from which requests are taken: all by default.
#[derive(Clone, Debug, Default)]
pub struct Peers(Option<TrustedProxies>);

impl Peers {
    /// This machine and these proxies. A request that does not tell where it comes from is not theirs.
    #[must_use]
    pub fn near(proxies: TrustedProxies) -> Self {
        Self(Some(proxies))
    }

    /// Whether this request may be answered; a refusal is logged with the peer's address.
    pub(crate) fn admit(&self, extensions: &Extensions) -> bool {
        let Some(proxies) = &self.0 else {
            return true;
        };
        let peer = extensions
            .get()
            .map(|ConnectedFrom(peer)| peer.ip().to_canonical());
        let near = peer.is_some_and(|peer| peer.is_loopback() || proxies.trusts(peer));
        if !near {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(
                peer,
                "refused a peer over plain http that is not in trusted_proxies"
            );
        }
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn only_this_machine_and_the_proxies_are_near() {
        let near = Peers::near(TrustedProxies::new(["10.1.0.0/16", "fd00::/8"]).unwrap());
        for (peer, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::7", true),
            ("10.2.0.1", false),
            ("::ffff:10.2.0.1", false),
            ("192.0.2.1", false),
            ("fe80::1", false),
        ] {
            let mut extensions = Extensions::new();
            let address: IpAddr = peer.parse().unwrap();
            extensions.insert(ConnectedFrom((address, 40_000).into()));
            assert_eq!(near.admit(&extensions), expected, "{peer}");
            assert!(Peers::default().admit(&extensions), "{peer}");
        }
        assert!(!near.admit(&Extensions::new()), "from nowhere");
    }
}
