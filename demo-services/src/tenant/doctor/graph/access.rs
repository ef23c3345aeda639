//! A token for Graph, and whether it may be sent where the configuration leads to. The file may be a stranger's, and the token opens a
//! tenant.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::config::AuthorityConfig;
use crate::loopback::is_loopback;
use crate::tenant::cloud::{Cloud, GRAPH_APP, Place};
use crate::tenant::doctor::explain::Claims;
use crate::tenant::sign_in::ACCESS_TOKEN;

/// A token for Graph, and where Graph is if somebody has said so.
#[derive(Clone)]
pub struct GraphAccess {
    pub(super) token: SecretString,
    named: Option<Url>,
}

/// There is no Graph there that a token may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphAccessError {
    /// Plain http beyond this machine, or no URL of a host.
    #[error("--graph must be an https URL without path and user; http is for this machine only")]
    NotSecure,
}

/// Why a token is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) says: String,
    pub(super) mend: String,
}

impl GraphAccess {
    /// For the Graph of the authority's cloud (of a local authority it is itself), if the token is of that authority; or for the one that
    /// is named, which is believed.
    ///
    /// # Errors
    ///
    /// What is named would show the token to others.
    pub fn new(token: SecretString, named: Option<Url>) -> Result<Self, GraphAccessError> {
        if let Some(graph) = &named {
            // The rules for `register --graph`.
            Place::new(Cloud::default(), Some(graph), Some(graph))
                .map_err(|_| GraphAccessError::NotSecure)?;
        }
        Ok(Self { token, named })
    }

    /// Whether it may be sent without knowing the authority.
    pub(super) fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// Where it may be sent.
    pub(super) fn place(&self, authority: &AuthorityConfig, now: u64) -> Result<Url, Unusable> {
        let unusable = |says: String, mend: &str| {
            Err(Unusable {
                says,
                mend: mend.to_owned(),
            })
        };
        const ANOTHER: &str = "get a new one (docs/entra.md says how), or unset the variable";
        let token = self.token.expose_secret();
        let claims = Claims::of(token);
        let is_one = !token.is_empty() && token.chars().all(|letter| letter.is_ascii_graphic());
        if !is_one || (claims.is_none() && !self.is_named()) {
            let says = format!(
                "{ACCESS_TOKEN} holds no access token: it must be the token alone, three parts with dots between them, without the word Bearer"
            );
            return unusable(says, ANOTHER);
        }
        let ended = claims.as_ref().and_then(|claims| claims.date("exp"));
        if ended.is_some_and(|end| end <= now) {
            return unusable(format!("the token in {ACCESS_TOKEN} has expired"), ANOTHER);
        }
        if let Some(graph) = &self.named {
            return Ok(graph.clone());
        }
        let Some(place) = place_of(&authority.instance) else {
            let says = "which Microsoft Graph belongs to the authority is not known: the token is not sent";
            return unusable(says.to_owned(), "name it with --graph, if you trust it");
        };
        let claims = claims.as_ref();
        if !claims.is_some_and(|claims| is_for(claims, &place.graph)) {
            let says = format!(
                "the token in {ACCESS_TOKEN} is for another API than the Microsoft Graph of the authority: it is not sent"
            );
            return unusable(
                says,
                "get one for Microsoft Graph in the cloud of `authority.instance` (docs/entra.md says how)",
            );
        }
        if !claims.is_some_and(|claims| is_of(claims, &place, &authority.tenant)) {
            let says = format!(
                "the token in {ACCESS_TOKEN} is not of the authority and tenant of the configuration: it is not sent"
            );
            return unusable(
                says,
                "get one of the tenant `authority.tenant`; if the configuration is right all the same, name the Graph with --graph",
            );
        }
        Ok(place.graph)
    }
}

impl fmt::Debug for GraphAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphAccess")
            .field("named", &self.named.as_ref().map(Url::as_str))
            .finish_non_exhaustive()
    }
}

fn is_for(claims: &Claims, graph: &Url) -> bool {
    // A local authority issues tokens for the Graph of a cloud, and is it.
    if is_loopback(graph) && claims.is_for_graph() {
        return true;
    }
    let graph = graph.as_str().trim_end_matches('/');
    let mut audiences = claims.audiences().into_iter();
    audiences.any(|audience| [GRAPH_APP, graph].contains(&audience.trim_end_matches('/')))
}

/// By what the token says of itself; that it lies is Graph's to find out, which gets no other token than its own.
fn is_of(claims: &Claims, place: &Place, tenant: &str) -> bool {
    let of_tenant = claims
        .text("tid")
        .is_some_and(|tid| tid.eq_ignore_ascii_case(tenant));
    of_tenant
        && claims
            .text("iss")
            .is_some_and(|issuer| place.is_issuer(issuer))
}

/// An authority and the Graph that belongs to it.
fn place_of(instance: &Url) -> Option<Place> {
    if is_loopback(instance) {
        return Place::new(Cloud::default(), Some(instance), None).ok();
    }
    let cloud = match instance.host_str()? {
        // The former name of China's.
        "login.chinacloudapi.cn" => Cloud::China,
        host if host.ends_with(".ciamlogin.com") => Cloud::Global,
        host => Cloud::of_login(host)?,
    };
    let graph = cloud.graph().parse().ok()?;
    Place::new(cloud, Some(instance), Some(&graph)).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const NOW: u64 = 1_000_000;
    const GLOBAL: &str = "https://login.microsoftonline.com";

    fn claims() -> Value {
        json!({
            "iss": format!("https://sts.windows.net/{TENANT}/"),
            "aud": "https://graph.microsoft.com",
            "tid": TENANT,
            "exp": NOW + 1,
        })
    }

    fn token(claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(&json!({ "alg": "none" })), part(claims))
    }

    fn sent(token: &str, named: Option<&str>, instance: &str) -> Option<String> {
        let named = named.map(|url| url.parse().unwrap());
        let access = GraphAccess::new(token.into(), named).unwrap();
        let authority = AuthorityConfig {
            instance: instance.parse().unwrap(),
            tenant: TENANT.to_owned(),
        };
        access.place(&authority, NOW).ok().map(String::from)
    }

    #[test]
    fn the_token_goes_to_the_graph_of_its_authority() {
        let graph = "https://graph.microsoft.com/".to_owned();
        assert_eq!(sent(&token(&claims()), None, GLOBAL), Some(graph));
        let by_id = json!(GRAPH_APP);
        let local = "http://localhost:8080";
        let of = |issuer: &str| json!(format!("{issuer}/{TENANT}/"));
        for (instance, iss, aud, graph) in [
            (
                GLOBAL,
                of("https://sts.windows.net"),
                by_id.clone(),
                "https://graph.microsoft.com/",
            ),
            (
                "https://login.microsoftonline.us",
                of("https://sts.windows.net"),
                json!("https://graph.microsoft.us/"),
                "https://graph.microsoft.us/",
            ),
            (
                "https://login.partner.microsoftonline.cn",
                of("https://sts.chinacloudapi.cn"),
                by_id,
                "https://microsoftgraph.chinacloudapi.cn/",
            ),
            (
                "https://contoso.ciamlogin.com",
                of("https://sts.windows.net"),
                json!("https://graph.microsoft.com"),
                "https://graph.microsoft.com/",
            ),
            (
                local,
                of(local),
                json!("https://graph.microsoft.com"),
                "http://localhost:8080/",
            ),
        ] {
            let mut claims = claims();
            claims["iss"] = iss;
            claims["aud"] = aud;
            let sent = sent(&token(&claims), None, instance);
            assert_eq!(sent.as_deref(), Some(graph), "{instance}");
        }
    }

    #[test]
    fn the_token_goes_nowhere_else() {
        for instance in [
            "https://login.microsoftonline.com.evil.example",
            "https://evil.example",
            // The audience is another cloud's.
            "https://login.microsoftonline.us",
            // A cloud has issued it.
            "http://localhost:8080",
            "http://127.0.0.1:8080",
        ] {
            assert_eq!(sent(&token(&claims()), None, instance), None, "{instance}");
        }
        for (name, value) in [
            ("iss", json!("http://localhost:8080/x")),
            ("iss", json!("https://sts.windows.net.evil.example/")),
            ("iss", json!("http://sts.windows.net/")),
            ("iss", Value::Null),
            ("tid", json!("99999999-2222-3333-4444-555555555555")),
            ("tid", Value::Null),
            ("aud", json!("api://middle-tier")),
            ("aud", Value::Null),
            ("exp", json!(NOW)),
        ] {
            let mut claims = claims();
            claims[name] = value;
            assert_eq!(sent(&token(&claims), None, GLOBAL), None, "{claims}");
        }
        // Of one local authority, and the configuration names another.
        let mut of_local = claims();
        of_local["iss"] = json!(format!("http://localhost:8080/{TENANT}/v2.0"));
        let of_local = token(&of_local);
        assert!(sent(&of_local, None, "http://localhost:8080").is_some());
        assert_eq!(sent(&of_local, None, "http://localhost:8081"), None);
        for text in [
            "",
            "no-token",
            "a b",
            &format!("Bearer {}", token(&claims())),
        ] {
            assert_eq!(sent(text, None, GLOBAL), None, "{text}");
        }
    }

    #[test]
    fn a_graph_that_is_named_is_believed() {
        let graph = "https://graph.example/";
        for text in [token(&claims()), "opaque".to_owned()] {
            let sent = sent(&text, Some(graph), "https://login.example");
            assert_eq!(sent.as_deref(), Some(graph));
        }
        assert_eq!(sent("a b", Some(graph), "https://login.example"), None);
        let local = "http://localhost:1/";
        assert_eq!(sent("t", Some(local), GLOBAL).as_deref(), Some(local));
        for named in [
            "http://graph.example",
            "https://graph.example/v1.0",
            "https://admin@graph.example",
            "https://graph.example/#x",
        ] {
            let told = GraphAccess::new("t".into(), Some(named.parse().unwrap())).err();
            assert_eq!(told, Some(GraphAccessError::NotSecure), "{named}");
        }
    }

    #[test]
    fn nothing_shows_the_token() {
        let access = GraphAccess::new("hush".into(), None).unwrap();
        assert!(!format!("{access:?}").contains("hush"));
    }
}
