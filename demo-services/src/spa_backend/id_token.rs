//! The ID token: who signed in.
//!
//! It is verified by the library under its rules for ID tokens (this client as the audience), with the keys that the library
//! fetches, so there is one parser of tokens in the house. What only an ID token has, the nonce and the authorized party, is
//! checked here.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_bearer::jwt::VerifyError;
use tower_bearer::{Principal, Resource};

use super::authority::AuthorityError;
use super::settings::ConfigError;
use crate::config::AuthorityConfig;
use crate::random;
use crate::trust::Trust;

/// A person in a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Account {
    tid: String,
    oid: String,
    /// Shown, never compared.
    pub(super) username: String,
    pub(super) name: String,
    /// What the authority knows the account by in `login_hint` and `logout_hint`.
    pub(super) login_hint: String,
}

/// A verified ID token.
pub(super) struct IdToken {
    pub(super) account: Account,
    pub(super) claims: Vec<(String, String)>,
}

impl Account {
    /// The same person in the same directory; names do not matter.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.tid == other.tid && self.oid == other.oid
    }

    /// The user's object id.
    pub(super) fn user(&self) -> &str {
        &self.oid
    }

    /// The name under which the page knows the account that it was drawn for.
    pub(super) fn id(&self) -> String {
        format!("{}.{}", self.oid, self.tid)
    }
}

/// Who accepts ID tokens: this client.
pub(super) fn audience(
    authority: &AuthorityConfig,
    client_id: &str,
    trust: &Trust,
) -> Result<Resource, ConfigError> {
    let authority = authority.authority(trust);
    authority
        .and_then(|authority| authority.resource(client_id))
        .map_err(|error| match error {
            tower_bearer::ConfigError::Tenant => ConfigError::Tenant,
            _ => ConfigError::Text("authority.tenant"),
        })
}

/// Verifies an ID token (OpenID Connect Core 3.1.3.7): signature, issuer, audience, times, nonce, authorized party.
pub(super) async fn verify(
    audience: &Resource,
    client_id: &str,
    token: &SecretString,
    nonce: &str,
) -> Result<IdToken, AuthorityError> {
    let refused = |reason: &str| {
        tracing::warn!(reason, "an ID token was refused");
        AuthorityError::Unusable
    };
    let verified = audience.verify_id_token(token.expose_secret()).await;
    let principal = verified.map_err(|error| match error {
        VerifyError::KeysUnavailable => AuthorityError::Unavailable,
        error => refused(&error.to_string()),
    })?;
    if !principal
        .claim("nonce")
        .and_then(Value::as_str)
        .is_some_and(|given| random::equal(given, nonce))
    {
        return Err(refused("the nonce is another"));
    }
    // An access token for this client's own API would have `azp` too; an ID token names another party only if it has several audiences.
    if principal
        .claim("azp")
        .is_some_and(|party| party != client_id)
    {
        return Err(refused("the authorized party is another"));
    }
    IdToken::new(&principal).ok_or_else(|| refused("it names nobody"))
}

impl IdToken {
    fn new(principal: &Principal) -> Option<Self> {
        let text = |name: &str| {
            principal
                .claim(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let oid = text("oid")?;
        let username = text("preferred_username").or(text("email")).unwrap_or(oid);
        let account = Account {
            tid: text("tid")?.to_owned(),
            oid: oid.to_owned(),
            username: username.to_owned(),
            name: text("name").unwrap_or(username).to_owned(),
            login_hint: text("login_hint").unwrap_or(username).to_owned(),
        };
        let claims: BTreeMap<String, Value> = principal.claims().ok()?;
        let printed = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some(Self {
            account,
            claims: claims
                .into_iter()
                .map(|(name, value)| (name, printed(value)))
                .collect(),
        })
    }
}

#[cfg(test)]
pub(super) fn account(user: &str) -> Account {
    Account {
        tid: "t".into(),
        oid: user.into(),
        username: user.into(),
        name: user.into(),
        login_hint: user.into(),
    }
}
