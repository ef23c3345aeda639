//! The names of this service, in `Host` and in `Origin`.

use http::HeaderValue;
use http::uri::Authority as HostAndPort;

use crate::authority::Authority;

pub(crate) fn is_own_host(authority: &Authority, name: &str) -> bool {
    name.parse::<HostAndPort>().is_ok()
        && authority
            .hosts
            .iter()
            .any(|host| host.eq_ignore_ascii_case(name))
}

/// Whether an `Origin` is this service.
pub(crate) fn is_own_origin(authority: &Authority, origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|origin| {
        origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
    });
    host.is_some_and(|host| is_own_host(authority, host))
}
