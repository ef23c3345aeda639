//! Why a token is refused, in words. The library has decided; this looks at the claims only to say what about them is wrong, and
//! repeats none that could name a person or a secret: of all of them, an application's id alone.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::ValueEnum as _;
use serde_json::{Map, Value};
use tower_bearer::jwt::VerifyError;
use uuid::Uuid;

use super::dates::how_long;
use super::finding::{Check, Finding};
use super::subject::{Api, base};
use crate::tenant::cloud::{Cloud, GRAPH_APP};

/// What came before Microsoft Graph: its tokens are as little ours.
const FORMER_GRAPH: &str = "https://graph.windows.net";

/// A token's header and claims, not verified.
pub(super) struct Claims {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Claims {
    /// `None` if it is no JWT (compact JWS).
    pub(super) fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let object = |part: &str| {
            let text = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice(&text).ok()
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(super) fn date(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Value::as_u64)
    }

    pub(super) fn audiences(&self) -> Vec<&str> {
        match self.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The client id that the token is for. It is public, and being a GUID it is nothing else either.
    pub(super) fn client_of_audience(&self) -> Option<Uuid> {
        match self.audiences().as_slice() {
            [one] => Uuid::try_parse(one).ok(),
            _ => None,
        }
    }

    pub(super) fn is_for(&self, api: &Api<'_>) -> bool {
        self.audiences()
            .into_iter()
            .any(|audience| api.is_named_by(audience))
    }

    pub(super) fn is_for_graph(&self) -> bool {
        let is_graph = |audience: &str| {
            let audience = audience.trim_end_matches('/');
            let clouds = Cloud::value_variants().iter();
            [GRAPH_APP, FORMER_GRAPH].contains(&audience)
                || clouds
                    .map(|cloud| cloud.graph())
                    .any(|graph| graph == audience)
        };
        self.audiences().into_iter().any(is_graph)
    }
}

/// What is no JWT at all.
pub(super) fn no_jwt(token: &str) -> Finding {
    let error = |says: &str, mend: &str| Check::TokenFormat.error(None, says, mend);
    if token.contains(char::is_whitespace) {
        return error(
            "there is white space in it: two tokens, or one that was broken into lines",
            "send one token alone, on one line",
        );
    }
    match token.matches('.').count() {
        2 => error(
            "three parts, but they are not those of a JWT: something was cut off or changed on the way",
            "copy the whole token, without quotes, line ends or \"Bearer\"",
        ),
        4 => error(
            "it is encrypted (five parts), and only its own API can read it",
            "ask for a token of your own API's scope",
        ),
        _ => error(
            "it is no JWT but opaque: a refresh token, an authorization code, or a token of a personal account or of another API",
            "ask for an access token with a scope of your own API (`scope` of the SPA backend), not of Microsoft Graph",
        ),
    }
}

/// All that is wrong with a token that the library refuses; `known` are the other APIs that are configured.
pub(super) fn details(
    claims: &Claims,
    error: VerifyError,
    api: &Api<'_>,
    known: &[Api<'_>],
    now: u64,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Graph's tokens differ from ours in every respect; one is enough.
    if claims.is_for_graph() {
        return vec![audience(claims, api, known)];
    }
    if !claims.is_for(api) {
        findings.push(audience(claims, api, known));
    }
    findings.extend(issuer(claims, api));
    findings.extend(time(claims, error, now));
    let covered = match error {
        VerifyError::Audience => !claims.is_for(api),
        VerifyError::Issuer | VerifyError::Expired | VerifyError::NotYetValid => {
            !findings.is_empty()
        }
        _ => false,
    };
    if !covered {
        findings.push(by_reason(claims, error, api));
    }
    findings
}

/// What only the library's reason tells.
fn by_reason(claims: &Claims, error: VerifyError, api: &Api<'_>) -> Finding {
    let service = api.service;
    match error {
        VerifyError::Signature if claims.header.contains_key("nonce") => Check::TokenSignature.error(
            service,
            "the signature does not verify: a nonce in the header marks a token that only Microsoft's own APIs can verify",
            "ask for a token of your own API's scope",
        ),
        VerifyError::Signature => Check::TokenSignature.error(
            service,
            "the signature does not verify: the token was changed, or signed by somebody else",
            "copy the whole token; if it is whole, do not trust where it came from",
        ),
        VerifyError::UnknownKey => Check::TokenSignature.error(
            service,
            "no key of this authority has signed it: it is of another authority or cloud, or older than the authority's keys",
            "get a new token from the authority of the configuration; a local authority makes new keys at each start",
        ),
        VerifyError::KeysUnavailable => Check::TokenSignature.error(
            service,
            "the authority's keys cannot be fetched, so that nothing can be decided",
            "check `authority.instance` and the network: the service would answer 503",
        ),
        VerifyError::NotAccessToken => Check::TokenKind.error(
            service,
            "it is no access token: it names no client that it was issued to, as an ID token does not",
            "send the access token of the answer (`access_token`), never the `id_token`",
        ),
        VerifyError::SenderConstrained => Check::TokenKind.error(
            service,
            "it is bound to a key of its client (cnf), and a plain bearer cannot show that it holds the key",
            "ask for a bearer token, without proof of possession",
        ),
        VerifyError::Algorithm => Check::TokenFormat.error(
            service,
            "it is signed with an algorithm that the service does not take; Entra signs with RS256",
            "get the token from the authority of the configuration",
        ),
        VerifyError::Malformed => Check::TokenFormat.error(
            service,
            "it is damaged, too long, or not written as strictly as it must be",
            "copy the whole token, without quotes, line ends or \"Bearer\"",
        ),
        VerifyError::Header => Check::TokenFormat.error(
            service,
            "its header is not that of a plain signed access token, or names no key where there are several",
            "get the token from the authority of the configuration",
        ),
        VerifyError::Issuer => Check::TokenIssuer.error(
            service,
            "its issuer is not accepted, or the key that signed it is not for that issuer",
            "check `authority.instance` and `authority.tenant`",
        ),
        _ => Check::Token.error(service, error.to_string(), "get a new token from the authority of the configuration"),
    }
}

fn audience(claims: &Claims, api: &Api<'_>, known: &[Api<'_>]) -> Finding {
    let service = api.service;
    let other = known
        .iter()
        .find(|other| other.service != service && claims.is_for(other));
    let ask = format!("ask for the scope {}/{}", api.app_id_uri, api.scope);
    let (whose, mend) = if claims.is_for_graph() {
        (
            "Microsoft Graph: it can be read by Graph alone".to_owned(),
            ask,
        )
    } else if let Some(other) = other {
        (format!("the {}", other.service), ask)
    } else if claims.audiences().is_empty() {
        ("nobody (no `aud`)".to_owned(), ask)
    } else if let Some(id) = claims.client_of_audience() {
        (
            format!("another application ({id})"),
            format!("{ask}; if it was, set `client_id` of the {service} to {id}"),
        )
    } else {
        ("another application".to_owned(), ask)
    };
    Check::TokenAudience.error(
        service,
        format!("it is for {whose}, not for the {service}"),
        mend,
    )
}

fn issuer(claims: &Claims, api: &Api<'_>) -> Option<Finding> {
    let service = api.service;
    let issuer = claims.text("iss").unwrap_or_default();
    let expected = format!("{}/v2.0", base(api.authority));
    let tenant = &api.authority.tenant;
    let of_tenant = claims
        .text("tid")
        .is_some_and(|tid| tid.eq_ignore_ascii_case(tenant));
    if claims.text("ver") == Some("1.0") && of_tenant && issuer != expected {
        return Some(Check::TokenVersionClaim.error(
            service,
            "it is a version 1.0 token, and the service takes 2.0",
            format!("set `requestedAccessTokenVersion` to 2 in the manifest (api) of the {service}'s application, and get a new token"),
        ));
    }
    if issuer == expected && of_tenant {
        return None;
    }
    let personal = "9188040d-6c67-4c5b-b112-36a304b66dad";
    let (says, mend) = if claims.text("tid") == Some(personal) {
        (
            "it is of a personal Microsoft account",
            "sign in with an account of the configured tenant",
        )
    } else if of_tenant {
        (
            "its issuer is not the configured authority, though the tenant is the same: another cloud or host",
            "check `authority.instance`",
        )
    } else {
        (
            "it is of another tenant than `authority.tenant`",
            "sign in with an account of the configured tenant, or correct `authority.tenant`",
        )
    };
    Some(Check::TokenIssuer.error(service, says, mend))
}

fn time(claims: &Claims, error: VerifyError, now: u64) -> Option<Finding> {
    let expired = claims.date("exp").filter(|date| *date <= now);
    let begins = [claims.date("nbf"), claims.date("iat")]
        .into_iter()
        .flatten()
        .max();
    let begins = begins.filter(|date| *date > now);
    // Within the library's leeway a time is not the reason.
    match (error, expired, begins) {
        (VerifyError::Expired, Some(since), _) => Some(Check::TokenTime.error(
            None,
            format!("it expired {} ago", how_long(now - since)),
            "get a new one: a client renews it with its refresh token",
        )),
        (VerifyError::NotYetValid, _, Some(begins)) => Some(Check::TokenTime.error(
            None,
            format!("it is not valid before {} from now", how_long(begins - now)),
            "set this machine's clock (or the authority's) by NTP",
        )),
        (VerifyError::Expired | VerifyError::NotYetValid, ..) => Some(Check::TokenTime.error(
            None,
            "its times are missing or malformed",
            "get the token from the authority of the configuration",
        )),
        _ => None,
    }
}
