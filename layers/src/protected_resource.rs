//! How a protected resource describes itself (RFC 9728): its identifier, and where its metadata stand.

use serde_json::{Value, json};
use url::Url;

use crate::error::ConfigError;
use crate::origin::{has_no_user, is_loopback_http};
use crate::scope::Scope;

/// What stands before the identifier's own path.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A protected resource as its clients know it (RFC 9728): the URL that names it, the scopes that it has, a name for people.
///
/// Given to [`Resource::metadata`](crate::Resource::metadata); served by
/// [`ProtectedResourceMetadataLayer`](crate::ProtectedResourceMetadataLayer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    identifier: String,
    /// Of the metadata, as it stands in a request.
    path: String,
    url: String,
    scopes: Vec<String>,
    name: Option<String>,
}

impl ProtectedResource {
    /// A resource of this identifier (section 1.2): an https URL, or http on loopback, without query, fragment and user name. Clients
    /// compare it byte by byte, so it must be written in its normal form: host in lower case, no default port, no dot segments.
    ///
    /// Its metadata stand at a well-known place of the same origin: those of `https://api.example/v1` at
    /// `https://api.example/.well-known/oauth-protected-resource/v1`.
    ///
    /// # Errors
    /// Anything else.
    pub fn new(identifier: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(identifier).map_err(|_| ConfigError::ResourceIdentifier)?;
        let plain = url.query().is_none() && url.fragment().is_none() && has_no_user(&url);
        let secure = url.scheme() == "https" || is_loopback_http(&url);
        // The root is written with a slash or without.
        let exact = url.as_str() == identifier
            || (url.path() == "/" && url.as_str().strip_suffix('/') == Some(identifier));
        let quotable = identifier
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if !(plain && secure && exact && quotable) {
            return Err(ConfigError::ResourceIdentifier);
        }
        // Section 3.1: a slash that only ends the host is removed.
        let own = Some(url.path()).filter(|path| *path != "/");
        let path = format!("{WELL_KNOWN}{}", own.unwrap_or_default());
        Ok(Self {
            identifier: identifier.to_owned(),
            url: format!("{}{path}", url.origin().ascii_serialization()),
            path,
            scopes: Vec::new(),
            name: None,
        })
    }

    /// The scopes that a client may ask for (`scopes_supported`), as the authority takes them: `api://orders/read`. None are named by
    /// default.
    ///
    /// # Errors
    /// Text that is not a scope-token.
    pub fn scopes<'a>(
        mut self,
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        for scope in scopes {
            self.scopes.push(Scope::new(scope)?.to_string());
        }
        Ok(self)
    }

    /// A name for people (`resource_name`). None by default.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Where the metadata stand.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The metadata (section 2).
    pub(crate) fn document(&self, authorization_servers: &[String]) -> Value {
        let mut document = json!({
            "resource": self.identifier,
            "authorization_servers": authorization_servers,
            "bearer_methods_supported": ["header"],
        });
        if let Value::Object(members) = &mut document {
            if !self.scopes.is_empty() {
                members.insert("scopes_supported".to_owned(), json!(self.scopes));
            }
            if let Some(name) = &self.name {
                members.insert("resource_name".to_owned(), json!(name));
            }
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_place_is_between_host_and_path() {
        for (identifier, url) in [
            (
                "https://api.example",
                "https://api.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example/",
                "https://api.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example:8443/v1",
                "https://api.example:8443/.well-known/oauth-protected-resource/v1",
            ),
            (
                "https://api.example/v1/",
                "https://api.example/.well-known/oauth-protected-resource/v1/",
            ),
            (
                "https://api.example/a%20b",
                "https://api.example/.well-known/oauth-protected-resource/a%20b",
            ),
            (
                "http://localhost:7000",
                "http://localhost:7000/.well-known/oauth-protected-resource",
            ),
            (
                "http://[::1]:7000/x",
                "http://[::1]:7000/.well-known/oauth-protected-resource/x",
            ),
        ] {
            let resource = ProtectedResource::new(identifier).unwrap();
            assert_eq!(resource.url(), url);
            assert!(resource.url().ends_with(resource.path()), "{identifier}");
            assert_eq!(resource.document(&[])["resource"], identifier);
        }
    }

    #[test]
    fn an_identifier_is_one_url_in_its_normal_form() {
        for bad in [
            "",
            "api.example",
            "api://orders",
            "http://api.example",
            "https://api.example?x",
            "https://api.example#x",
            "https://user@api.example",
            "https://API.example",
            "https://api.example:443",
            "https://api.example/a/../b",
            "https://api.example/a b",
            "https://api.example/a\\b",
            " https://api.example",
            "https://api.example/\n",
            "https://api.example/\u{e9}",
        ] {
            assert_eq!(
                ProtectedResource::new(bad),
                Err(ConfigError::ResourceIdentifier),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn what_is_not_configured_is_not_in_the_document() {
        let bare = ProtectedResource::new("https://api.example").unwrap();
        assert_eq!(
            bare.document(&["https://as.example".to_owned()]),
            json!({
                "resource": "https://api.example",
                "authorization_servers": ["https://as.example"],
                "bearer_methods_supported": ["header"],
            })
        );
        let full = bare
            .scopes(["api://x/read", "write"])
            .unwrap()
            .name("Orders");
        assert_eq!(
            full.document(&[]),
            json!({
                "resource": "https://api.example",
                "authorization_servers": [],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["api://x/read", "write"],
                "resource_name": "Orders",
            })
        );
        assert_eq!(full.scopes(["a b"]), Err(ConfigError::Scope));
    }
}
