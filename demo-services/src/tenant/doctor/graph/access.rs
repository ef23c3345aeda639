//! Where Graph is, and a token for it.

use std::fmt;

use secrecy::SecretString;
use url::Url;

use crate::loopback::is_loopback;
use crate::tenant::cloud::{Cloud, Place};

/// Where Graph is, and a token for it.
#[derive(Clone)]
pub struct GraphAccess {
    pub(super) base: Url,
    pub(super) token: SecretString,
}

/// There is no Graph that the token may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphAccessError {
    /// The authority is none whose Graph is known.
    #[error("which Microsoft Graph belongs to the authority is not known: name it with --graph")]
    Unknown,
    /// Plain http beyond this machine, or no URL of a host.
    #[error("--graph must be an https URL without path and user; http is for this machine only")]
    NotSecure,
}

impl GraphAccess {
    /// The Graph of the authority's cloud (of a local authority it is itself), or another that is named.
    ///
    /// # Errors
    ///
    /// Nothing is named and the authority is of no known cloud, or what is named would show the token to others.
    pub fn new(
        token: SecretString,
        named: Option<Url>,
        instance: &Url,
    ) -> Result<Self, GraphAccessError> {
        let base = match named {
            Some(url) => url,
            None => of_cloud(instance).ok_or(GraphAccessError::Unknown)?,
        };
        // The rules for `register --graph`.
        let place = Place::new(Cloud::default(), Some(&base), Some(&base));
        let base = place.map_err(|_| GraphAccessError::NotSecure)?.graph;
        Ok(Self { base, token })
    }
}

impl fmt::Debug for GraphAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphAccess")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

fn of_cloud(instance: &Url) -> Option<Url> {
    if is_loopback(instance) {
        return Some(instance.clone());
    }
    let cloud = match instance.host_str()? {
        // The former name of China's.
        "login.chinacloudapi.cn" => Cloud::China,
        host if host.ends_with(".ciamlogin.com") => Cloud::Global,
        host => Cloud::of_login(host)?,
    };
    cloud.graph().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_a_known_graph_or_where_it_is_told() {
        let at = |named: Option<&str>, instance: &str| {
            let named = named.map(|url| url.parse().unwrap());
            let access = GraphAccess::new("t".into(), named, &instance.parse().unwrap());
            access.map(|access| access.base.to_string())
        };
        for (instance, graph) in [
            (
                "https://login.microsoftonline.com",
                "https://graph.microsoft.com/",
            ),
            (
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us/",
            ),
            (
                "https://login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn/",
            ),
            (
                "https://contoso.ciamlogin.com",
                "https://graph.microsoft.com/",
            ),
            ("http://localhost:8080", "http://localhost:8080/"),
        ] {
            assert_eq!(at(None, instance), Ok(graph.to_owned()), "{instance}");
        }
        assert_eq!(
            at(None, "https://login.microsoftonline.com.evil.example"),
            Err(GraphAccessError::Unknown)
        );
        assert_eq!(
            at(Some("http://graph.example"), "https://x.example"),
            Err(GraphAccessError::NotSecure)
        );
        assert_eq!(
            at(Some("https://graph.example/v1.0"), "https://x.example"),
            Err(GraphAccessError::NotSecure)
        );
        for more in ["https://admin@graph.example", "https://graph.example/#x"] {
            let told = at(Some(more), "https://x.example");
            assert_eq!(told, Err(GraphAccessError::NotSecure), "{more}");
        }
        assert_eq!(
            at(Some("https://graph.example"), "https://x.example"),
            Ok("https://graph.example/".to_owned())
        );
    }

    #[test]
    fn nothing_shows_the_token() {
        let access =
            GraphAccess::new("hush".into(), None, &"http://localhost".parse().unwrap()).unwrap();
        assert!(!format!("{access:?}").contains("hush"));
    }
}
