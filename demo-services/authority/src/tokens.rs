//! The claims of access tokens, version 1.0 and 2.0, and of ID tokens, always 2.0.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::directory::{App, OptionalClaim, User};
use crate::login_hint;
use crate::policy::Authentication;
use crate::version::TokenVersion;

/// Seconds; Entra draws it between 60 and 90 minutes.
pub(crate) const ACCESS_TOKEN_LIFETIME: u64 = 75 * 60;

/// What every token of a tenant says.
#[derive(Clone, Copy)]
pub(crate) struct Stamp<'a> {
    /// The authority's base URL.
    pub(crate) base: &'a str,
    pub(crate) tenant: Uuid,
    pub(crate) now: u64,
}

/// How the client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    None,
    Secret,
    Certificate,
}

impl Credential {
    /// `azpacr` of a version 2.0 token, `appidacr` of a version 1.0 one.
    pub(crate) fn acr(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Secret => "1",
            Self::Certificate => "2",
        }
    }
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
    pub(crate) version: TokenVersion,
    pub(crate) client: &'a App,
    pub(crate) credential: Credential,
    pub(crate) resource: &'a App,
    /// `aud` of a version 1.0 token; that of a version 2.0 one is the resource's client id.
    pub(crate) audience: &'a str,
    pub(crate) subject: Subject<'a>,
    pub(crate) capabilities: &'a [String],
}

impl AccessToken<'_> {
    /// The claims and, among them, the `uti` under which the token is on record.
    pub(crate) fn claims(&self, stamp: Stamp<'_>) -> (Map<String, Value>, String) {
        let uti = URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
        let issuer = self.version.issuer(stamp.base, stamp.tenant);
        let (audience, client, credential) = match self.version {
            TokenVersion::V1 => (self.audience.to_owned(), "appid", "appidacr"),
            TokenVersion::V2 => (self.resource.client_id.to_string(), "azp", "azpacr"),
        };
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("aud", audience.into());
        put("iss", issuer.as_str().into());
        put("iat", stamp.now.into());
        put("nbf", stamp.now.into());
        put(
            "exp",
            stamp.now.saturating_add(ACCESS_TOKEN_LIFETIME).into(),
        );
        put(client, self.client.client_id.to_string().into());
        put(credential, self.credential.acr().into());
        put("tid", stamp.tenant.to_string().into());
        put("uti", uti.clone().into());
        put("ver", self.version.ver().into());
        if self.optional(OptionalClaim::XmsCc) && !self.capabilities.is_empty() {
            put("xms_cc", json!(self.capabilities));
        }
        match &self.subject {
            Subject::App { roles } => {
                // The object of an application stands for itself: `oid` and `sub` are the same.
                let object = self.client.principal_id().to_string();
                put("oid", object.clone().into());
                put("sub", object.into());
                if self.version == TokenVersion::V1 {
                    put("idp", issuer.into());
                }
                if self.optional(OptionalClaim::Idtyp) {
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
                put("scp", scopes.join(" ").into());
                let roles = roles(user, self.resource);
                if !roles.is_empty() {
                    put("roles", json!(roles));
                }
                claims.extend(self.names(user));
                claims.extend(self.sign_in(authentication));
            }
        }
        (claims, uti)
    }

    /// Who the user is, in words.
    fn names(&self, user: &User) -> Map<String, Value> {
        let v1 = self.version == TokenVersion::V1;
        let mut claims = Map::new();
        let mut put = |name: &str, value: &str| claims.insert(name.to_owned(), value.into());
        put(
            if v1 {
                "unique_name"
            } else {
                "preferred_username"
            },
            &user.username,
        );
        if v1 || self.optional(OptionalClaim::Upn) {
            put("upn", &user.username);
        }
        if let Some(name) = &user.given_name
            && (v1 || self.optional(OptionalClaim::GivenName))
        {
            put("given_name", name);
        }
        if let Some(name) = &user.surname
            && (v1 || self.optional(OptionalClaim::FamilyName))
        {
            put("family_name", name);
        }
        if let Some(mail) = &user.mail
            && self.optional(OptionalClaim::Email)
        {
            put("email", mail);
        }
        if self.optional(OptionalClaim::LoginHint) {
            put("login_hint", &login_hint::of(user.oid));
        }
        // Nobody is a guest here.
        if self.optional(OptionalClaim::Acct) {
            claims.insert("acct".to_owned(), 0.into());
        }
        claims
    }

    /// How the user signed in.
    fn sign_in(&self, authentication: &Authentication) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        if self.version == TokenVersion::V1 {
            put("acr", "1".into());
            let methods: &[&str] = if authentication.mfa {
                &["pwd", "mfa"]
            } else {
                &["pwd"]
            };
            put("amr", json!(methods));
        }
        if self.optional(OptionalClaim::Acrs) && !authentication.contexts.is_empty() {
            put("acrs", json!(authentication.contexts));
        }
        if self.optional(OptionalClaim::AuthTime) {
            put("auth_time", authentication.auth_time.into());
        }
        if self.optional(OptionalClaim::Sid) {
            put("sid", authentication.sid.to_string().into());
        }
        claims
    }

    fn optional(&self, claim: OptionalClaim) -> bool {
        self.resource.has_optional_claim(claim)
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
    /// Whether the scope `email` was asked for.
    pub(crate) email: bool,
}

impl IdToken<'_> {
    pub(crate) fn claims(&self, stamp: Stamp<'_>) -> Map<String, Value> {
        let version = TokenVersion::V2;
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("aud", self.client.client_id.to_string().into());
        put("iss", version.issuer(stamp.base, stamp.tenant).into());
        put("iat", stamp.now.into());
        put("nbf", stamp.now.into());
        put("exp", stamp.now.saturating_add(3600).into());
        put("name", self.user.display_name.as_str().into());
        put("oid", self.user.oid.to_string().into());
        put("preferred_username", self.user.username.as_str().into());
        put("sid", self.authentication.sid.to_string().into());
        put("sub", pairwise(self.user, self.client).into());
        put("tid", stamp.tenant.to_string().into());
        put("ver", version.ver().into());
        if let Some(nonce) = self.nonce {
            put("nonce", nonce.into());
        }
        if self.auth_time {
            put("auth_time", self.authentication.auth_time.into());
        }
        if let Some(mail) = self.user.mail.as_deref()
            && self.email
        {
            put("email", mail.into());
        }
        let roles = roles(self.user, self.client);
        if !roles.is_empty() {
            put("roles", json!(roles));
        }
        claims
    }
}

/// The app roles of an application that a user has.
fn roles<'a>(user: &'a User, app: &App) -> Vec<&'a str> {
    app.roles_among(&user.roles).collect()
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
        base: "http://localhost:8080",
        tenant: Uuid::from_u128(7),
        now: 1000,
    };

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

    /// A token of alice for the middle tier.
    fn user_token(
        directory: &Directory,
        contexts: &[&str],
        capabilities: &[String],
    ) -> Map<String, Value> {
        let authentication = authentication(contexts);
        let resource = directory.app("middle-tier").unwrap();
        let token = AccessToken {
            version: resource.token_version(),
            client: directory.app("spa-backend").unwrap(),
            credential: Credential::Secret,
            resource,
            audience: "api://middle-tier",
            subject: Subject::User {
                user: &directory.users[0],
                authentication: &authentication,
                scopes: &["user_impersonation".into()],
            },
            capabilities,
        };
        token.claims(STAMP).0
    }

    fn with(change: impl FnOnce(&mut App)) -> Directory {
        let mut directory = Directory::demo();
        let app = directory.app_mut("middle-tier").unwrap();
        app.optional_claims.clear();
        change(app);
        directory
    }

    #[test]
    fn acrs_and_xms_cc_need_both_a_cause_and_the_optional_claim() {
        let cp1 = ["cp1".to_owned()];
        for version in [1, 2] {
            let both = |app: &mut App| {
                app.access_token_version = version;
                app.optional_claims = vec![OptionalClaim::Acrs, OptionalClaim::XmsCc];
            };
            let claims = user_token(&with(both), &["c1"], &cp1);
            assert_eq!(
                (&claims["acrs"], &claims["xms_cc"]),
                (&json!(["c1"]), &json!(["cp1"]))
            );
            let claims = user_token(&with(both), &[], &[]);
            assert!(!claims.contains_key("acrs") && !claims.contains_key("xms_cc"));
            let neither = |app: &mut App| app.access_token_version = version;
            let claims = user_token(&with(neither), &["c1"], &cp1);
            assert!(!claims.contains_key("acrs") && !claims.contains_key("xms_cc"));
        }
    }

    #[test]
    fn each_optional_claim_adds_itself_and_nothing_else() {
        let alice = "alice@contoso.example";
        let hint = login_hint::of(Directory::demo().users[0].oid);
        let rows = [
            (OptionalClaim::Acct, "acct", json!(0)),
            (OptionalClaim::AuthTime, "auth_time", json!(900)),
            (OptionalClaim::Email, "email", json!(alice)),
            (OptionalClaim::FamilyName, "family_name", json!("Liddell")),
            (OptionalClaim::GivenName, "given_name", json!("Alice")),
            (OptionalClaim::LoginHint, "login_hint", json!(hint)),
            (OptionalClaim::Sid, "sid", json!(Uuid::nil())),
            (OptionalClaim::Upn, "upn", json!(alice)),
        ];
        for version in [1, 2] {
            let plain = user_token(
                &with(|app| app.access_token_version = version),
                &["c1"],
                &[],
            );
            for (claim, name, value) in &rows {
                let asked = |app: &mut App| {
                    app.access_token_version = version;
                    app.optional_claims = vec![*claim];
                };
                let mut token = user_token(&with(asked), &["c1"], &[]);
                assert_eq!(&token[*name], value, "{name}");
                let unasked = version == 1 && ["family_name", "given_name", "upn"].contains(name);
                assert_eq!(plain.contains_key(*name), unasked, "{name}");
                if !unasked {
                    token.remove(*name);
                }
                token["uti"] = plain["uti"].clone();
                assert_eq!(token, plain, "{name}");
            }
        }
    }

    #[test]
    fn what_the_directory_does_not_know_of_a_user_is_no_claim() {
        for version in [1, 2] {
            let mut directory = with(|app| {
                app.access_token_version = version;
                app.optional_claims = vec![
                    OptionalClaim::Email,
                    OptionalClaim::FamilyName,
                    OptionalClaim::GivenName,
                ];
            });
            let alice = &mut directory.users[0];
            (alice.mail, alice.given_name, alice.surname) = (None, None, None);
            let claims = user_token(&directory, &[], &[]);
            for name in ["email", "family_name", "given_name"] {
                assert!(!claims.contains_key(name), "{name}");
            }
        }
    }

    #[test]
    fn an_application_has_nothing_of_a_user() {
        let mut directory = Directory::demo();
        for version in [1, 2] {
            let api = directory.app_mut("downstream-api").unwrap();
            api.access_token_version = version;
            api.optional_claims = vec![
                OptionalClaim::Acct,
                OptionalClaim::Acrs,
                OptionalClaim::AuthTime,
                OptionalClaim::Email,
                OptionalClaim::FamilyName,
                OptionalClaim::GivenName,
                OptionalClaim::LoginHint,
                OptionalClaim::Sid,
                OptionalClaim::Upn,
            ];
            let resource = directory.app("downstream-api").unwrap();
            let token = AccessToken {
                version: resource.token_version(),
                client: directory.app("daemon").unwrap(),
                credential: Credential::Secret,
                resource,
                audience: "api://downstream-api",
                subject: Subject::App { roles: Vec::new() },
                capabilities: &[],
            };
            let (claims, _) = token.claims(STAMP);
            let mut names: Vec<_> = claims.keys().map(String::as_str).collect();
            names.sort_unstable();
            let expected: &[&str] = if version == 1 {
                &[
                    "appid", "appidacr", "aud", "exp", "iat", "idp", "iss", "nbf", "oid", "sub",
                    "tid", "uti", "ver",
                ]
            } else {
                &[
                    "aud", "azp", "azpacr", "exp", "iat", "iss", "nbf", "oid", "sub", "tid", "uti",
                    "ver",
                ]
            };
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn the_credential_decides_the_client_s_class() {
        assert_eq!(Credential::None.acr(), "0");
        assert_eq!(Credential::Secret.acr(), "1");
    }

    #[test]
    fn an_id_token_has_what_was_asked_for() {
        let mut directory = Directory::demo();
        let authentication = authentication(&[]);
        let token = |directory: &Directory, nonce, email| {
            IdToken {
                client: &directory.apps[0],
                user: &directory.users[0],
                authentication: &authentication,
                nonce,
                auth_time: false,
                email,
            }
            .claims(STAMP)
        };
        let plain = token(&directory, None, false);
        for name in ["nonce", "email", "roles"] {
            assert!(!plain.contains_key(name), "{name}");
        }
        assert_eq!(token(&directory, Some("n"), false)["nonce"], "n");
        assert_eq!(
            token(&directory, None, true)["email"],
            "alice@contoso.example"
        );
        assert_ne!(plain["sub"], user_token(&directory, &[], &[])["sub"]);
        // Roles of the client itself, not those of an API.
        directory.apps[0].identifier_uris = vec!["api://spa-backend".into()];
        directory.apps[0].app_roles = vec!["Editor".into()];
        directory.users[0].roles = vec![
            "api://downstream-api/Task.Run".into(),
            "api://spa-backend/Editor".into(),
        ];
        assert_eq!(token(&directory, None, false)["roles"], json!(["Editor"]));
    }
}
