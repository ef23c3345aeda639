//! The claims of access tokens and ID tokens, version 2.0.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::directory::{App, OptionalClaim, User};
use crate::policy::Authentication;

/// Seconds; Entra draws it between 60 and 90 minutes.
pub(crate) const ACCESS_TOKEN_LIFETIME: u64 = 75 * 60;

/// What every token of a tenant says.
#[derive(Clone, Copy)]
pub(crate) struct Stamp<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) tenant: Uuid,
    pub(crate) now: u64,
}

/// How the client proved itself (`azpacr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    None,
    Secret,
    Certificate,
}

/// Whom an access token is about.
pub(crate) enum Subject<'a> {
    /// The client itself, with its app roles.
    App { roles: Vec<String> },
    /// A user, with the scopes that the client was granted.
    User {
        user: &'a User,
        authentication: &'a Authentication,
        scopes: &'a [String],
    },
}

/// An access token before it is signed.
pub(crate) struct AccessToken<'a> {
    pub(crate) client: &'a App,
    pub(crate) credential: Credential,
    pub(crate) resource: &'a App,
    pub(crate) subject: Subject<'a>,
    pub(crate) capabilities: &'a [String],
}

impl AccessToken<'_> {
    /// The claims and, among them, the `uti` under which the token is on record.
    pub(crate) fn claims(&self, stamp: Stamp<'_>) -> (Map<String, Value>, String) {
        let uti = URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("aud", self.resource.client_id.to_string().into());
        put("iss", stamp.issuer.into());
        put("iat", stamp.now.into());
        put("nbf", stamp.now.into());
        put(
            "exp",
            stamp.now.saturating_add(ACCESS_TOKEN_LIFETIME).into(),
        );
        put("azp", self.client.client_id.to_string().into());
        put(
            "azpacr",
            match self.credential {
                Credential::None => "0",
                Credential::Secret => "1",
                Credential::Certificate => "2",
            }
            .into(),
        );
        put("tid", stamp.tenant.to_string().into());
        put("uti", uti.clone().into());
        put("ver", "2.0".into());
        let optional = |claim| self.resource.has_optional_claim(claim);
        if optional(OptionalClaim::XmsCc) && !self.capabilities.is_empty() {
            put("xms_cc", json!(self.capabilities));
        }
        match &self.subject {
            Subject::App { roles } => {
                // The object of an application stands for itself: `oid` and `sub` are the same.
                let object = crate::random::derived_guid(
                    "service-principal",
                    &self.client.client_id.to_string(),
                )
                .to_string();
                put("oid", object.clone().into());
                put("sub", object.into());
                if optional(OptionalClaim::Idtyp) {
                    put("idtyp", "app".into());
                }
                if !roles.is_empty() {
                    put("roles", json!(roles));
                }
            }
            Subject::User {
                user,
                authentication,
                scopes,
            } => {
                put("oid", user.oid.to_string().into());
                put("sub", pairwise(user, self.resource).into());
                put("name", user.display_name.as_str().into());
                put("preferred_username", user.username.as_str().into());
                put("scp", scopes.join(" ").into());
                let roles: Vec<_> = user
                    .roles
                    .iter()
                    .filter_map(|role| self.resource.permission(role))
                    .collect();
                if !roles.is_empty() {
                    put("roles", json!(roles));
                }
                if optional(OptionalClaim::Acrs) && !authentication.contexts.is_empty() {
                    put("acrs", json!(authentication.contexts));
                }
                if optional(OptionalClaim::AuthTime) {
                    put("auth_time", authentication.auth_time.into());
                }
            }
        }
        (claims, uti)
    }
}

/// An ID token before it is signed.
pub(crate) struct IdToken<'a> {
    pub(crate) client: &'a App,
    pub(crate) user: &'a User,
    pub(crate) authentication: &'a Authentication,
    pub(crate) nonce: Option<&'a str>,
    /// OpenID Connect Core 2: `auth_time` is required when `max_age` was asked for.
    pub(crate) auth_time: bool,
}

impl IdToken<'_> {
    pub(crate) fn claims(&self, stamp: Stamp<'_>) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("aud", self.client.client_id.to_string().into());
        put("iss", stamp.issuer.into());
        put("iat", stamp.now.into());
        put("nbf", stamp.now.into());
        put("exp", stamp.now.saturating_add(3600).into());
        put("name", self.user.display_name.as_str().into());
        put("oid", self.user.oid.to_string().into());
        put("preferred_username", self.user.username.as_str().into());
        put("sid", self.authentication.sid.to_string().into());
        put("sub", pairwise(self.user, self.client).into());
        put("tid", stamp.tenant.to_string().into());
        put("ver", "2.0".into());
        if let Some(nonce) = self.nonce {
            put("nonce", nonce.into());
        }
        if self.auth_time {
            put("auth_time", self.authentication.auth_time.into());
        }
        claims
    }
}

/// A subject that differs from application to application (OpenID Connect Core 8.1).
pub(crate) fn pairwise(user: &User, app: &App) -> String {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        format!("{}\0{}", app.client_id, user.oid).as_bytes(),
    );
    URL_SAFE_NO_PAD.encode(digest)
}

/// MSAL's name of an account: `{"uid":"<oid>","utid":"<tid>"}` in base64url.
pub(crate) fn client_info(user: Uuid, tenant: Uuid) -> String {
    URL_SAFE_NO_PAD
        .encode(json!({ "uid": user.to_string(), "utid": tenant.to_string() }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    const STAMP: Stamp<'_> = Stamp {
        issuer: "http://localhost:8080/t/v2.0",
        tenant: Uuid::from_u128(7),
        now: 1000,
    };

    fn names(claims: &Map<String, Value>) -> Vec<&str> {
        let mut names: Vec<_> = claims.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn authentication(contexts: &[&str]) -> Authentication {
        let contexts = contexts
            .iter()
            .map(|context| (*context).to_owned())
            .collect();
        Authentication {
            user: Uuid::nil(),
            sid: Uuid::nil(),
            auth_time: 900,
            mfa: true,
            contexts,
            generation: 0,
        }
    }

    fn user_token(
        directory: &Directory,
        contexts: &[&str],
        capabilities: &[String],
    ) -> Map<String, Value> {
        let authentication = authentication(contexts);
        let token = AccessToken {
            client: directory.app("spa-backend").unwrap(),
            credential: Credential::Secret,
            resource: directory.app("middle-tier").unwrap(),
            subject: Subject::User {
                user: &directory.users[0],
                authentication: &authentication,
                scopes: &["user_impersonation".into()],
            },
            capabilities,
        };
        token.claims(STAMP).0
    }

    #[test]
    fn a_user_token_has_exactly_these_claims() {
        let directory = Directory::demo();
        let claims = user_token(&directory, &[], &[]);
        assert_eq!(
            names(&claims),
            [
                "aud",
                "azp",
                "azpacr",
                "exp",
                "iat",
                "iss",
                "name",
                "nbf",
                "oid",
                "preferred_username",
                "scp",
                "sub",
                "tid",
                "uti",
                "ver"
            ]
        );
        assert_eq!(
            claims["aud"],
            directory.app("middle-tier").unwrap().client_id.to_string()
        );
        assert_eq!(
            claims["azp"],
            directory.app("spa-backend").unwrap().client_id.to_string()
        );
        assert_eq!(
            (claims["nbf"].as_u64(), claims["exp"].as_u64()),
            (Some(1000), Some(5500))
        );
        assert_eq!(claims["scp"], "user_impersonation");
    }

    #[test]
    fn acrs_and_xms_cc_need_both_a_cause_and_the_optional_claim() {
        let mut directory = Directory::demo();
        let cp1 = ["cp1".to_owned()];
        let claims = user_token(&directory, &["c1"], &cp1);
        assert_eq!(
            (&claims["acrs"], &claims["xms_cc"]),
            (&json!(["c1"]), &json!(["cp1"]))
        );
        directory
            .app_mut("middle-tier")
            .unwrap()
            .optional_claims
            .clear();
        let claims = user_token(&directory, &["c1"], &cp1);
        assert!(!claims.contains_key("acrs") && !claims.contains_key("xms_cc"));
    }

    #[test]
    fn an_app_token_has_roles_and_no_scp() {
        let directory = Directory::demo();
        let token = |roles: Vec<String>| {
            let (client, resource) = (
                directory.app("daemon").unwrap(),
                directory.app("downstream-api").unwrap(),
            );
            AccessToken {
                client,
                credential: Credential::Secret,
                resource,
                subject: Subject::App { roles },
                capabilities: &[],
            }
            .claims(STAMP)
            .0
        };
        let claims = token(vec!["Task.Run".into()]);
        assert_eq!(
            names(&claims),
            [
                "aud", "azp", "azpacr", "exp", "iat", "idtyp", "iss", "nbf", "oid", "roles", "sub",
                "tid", "uti", "ver"
            ]
        );
        assert_eq!(
            (&claims["idtyp"], &claims["roles"]),
            (&json!("app"), &json!(["Task.Run"]))
        );
        assert_eq!(claims["oid"], claims["sub"]);
        assert!(!token(Vec::new()).contains_key("roles"));
    }

    #[test]
    fn a_nonce_that_was_not_asked_for_is_absent() {
        let directory = Directory::demo();
        let authentication = authentication(&[]);
        let token = |nonce| {
            IdToken {
                client: &directory.apps[0],
                user: &directory.users[0],
                authentication: &authentication,
                nonce,
                auth_time: false,
            }
            .claims(STAMP)
        };
        assert!(!token(None).contains_key("nonce"));
        assert_eq!(token(Some("n"))["nonce"], "n");
        assert_ne!(token(None)["sub"], user_token(&directory, &[], &[])["sub"]);
    }
}
