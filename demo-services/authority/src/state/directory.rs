//! The directory on paper, passwords and secrets included. Only this module shows them to serde: the public types cannot be written.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::directory::registration::{AuthContext, PolicyRegistration, Registration};
use crate::directory::{
    App, Consent, Directory, Mfa, OptionalClaim, Policy, Profile, RedirectUris, Require, Target,
    Tenant, User,
};

/// A secret that is written as it is. It has no Debug.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Exposed(pub(super) SecretString);

impl Serialize for Exposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl PartialEq for Exposed {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectoryText {
    tenant: TenantText,
    users: Vec<UserText>,
    apps: Vec<AppText>,
    policies: Vec<PolicyText>,
    auth_contexts: Vec<AuthContext>,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct TenantText {
    id: Uuid,
    domain: String,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct UserText {
    username: String,
    password: Exposed,
    otp: Option<Exposed>,
    oid: Uuid,
    display_name: String,
    given_name: Option<String>,
    surname: Option<String>,
    mail: Option<String>,
    groups: Vec<String>,
    roles: Vec<String>,
    mfa: bool,
    profile: Profile,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct AppText {
    name: String,
    client_id: Uuid,
    identifier_uris: Vec<String>,
    scopes: Vec<String>,
    app_roles: Vec<String>,
    redirect_uris: RedirectUrisText,
    secrets: Vec<Exposed>,
    optional_claims: Vec<OptionalClaim>,
    delegated: Vec<String>,
    consent: ConsentText,
    app_permissions: Vec<String>,
    access_token_version: u8,
    certificates: Vec<String>,
    known_client_applications: Vec<Uuid>,
    pre_authorized: Vec<Uuid>,
    registration: Registration,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct RedirectUrisText {
    spa: Vec<String>,
    web: Vec<String>,
    native: Vec<String>,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ConsentText {
    Granted,
    Required,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    id: Uuid,
    name: String,
    target: TargetText,
    users: Option<Vec<String>>,
    require: RequireText,
    sign_in_frequency: Option<u64>,
    enabled: bool,
    registration: PolicyRegistration,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum TargetText {
    App(String),
    AuthContext(String),
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum RequireText {
    Block,
    Mfa,
}

// Every value is taken apart to the last field and put together from all of them: a new field cannot be forgotten here.

impl DirectoryText {
    pub(super) fn of(directory: &Directory) -> Self {
        let Directory {
            tenant: Tenant { id, domain },
            users,
            apps,
            policies,
            auth_contexts,
        } = directory;
        Self {
            tenant: TenantText {
                id: *id,
                domain: domain.clone(),
            },
            users: users.iter().map(UserText::of).collect(),
            apps: apps.iter().map(AppText::of).collect(),
            policies: policies.iter().map(PolicyText::of).collect(),
            auth_contexts: auth_contexts.clone(),
        }
    }

    pub(super) fn restore(self) -> Directory {
        Directory {
            tenant: Tenant {
                id: self.tenant.id,
                domain: self.tenant.domain,
            },
            users: self.users.into_iter().map(UserText::restore).collect(),
            apps: self.apps.into_iter().map(AppText::restore).collect(),
            policies: self.policies.into_iter().map(PolicyText::restore).collect(),
            auth_contexts: self.auth_contexts,
        }
    }
}

impl UserText {
    fn of(user: &User) -> Self {
        let User {
            username,
            password,
            otp,
            oid,
            display_name,
            given_name,
            surname,
            mail,
            groups,
            roles,
            mfa,
            profile,
        } = user;
        Self {
            username: username.clone(),
            password: Exposed(password.clone()),
            otp: otp.clone().map(Exposed),
            oid: *oid,
            display_name: display_name.clone(),
            given_name: given_name.clone(),
            surname: surname.clone(),
            mail: mail.clone(),
            groups: groups.clone(),
            roles: roles.clone(),
            mfa: match mfa {
                Mfa::NotRegistered => false,
                Mfa::Registered => true,
            },
            profile: profile.clone(),
        }
    }

    fn restore(self) -> User {
        User {
            username: self.username,
            password: self.password.0,
            otp: self.otp.map(|otp| otp.0),
            oid: self.oid,
            display_name: self.display_name,
            given_name: self.given_name,
            surname: self.surname,
            mail: self.mail,
            groups: self.groups,
            roles: self.roles,
            mfa: if self.mfa {
                Mfa::Registered
            } else {
                Mfa::NotRegistered
            },
            profile: self.profile,
        }
    }
}

impl AppText {
    fn of(app: &App) -> Self {
        let App {
            name,
            client_id,
            identifier_uris,
            scopes,
            app_roles,
            redirect_uris: RedirectUris { spa, web, native },
            secrets,
            optional_claims,
            delegated,
            consent,
            app_permissions,
            access_token_version,
            certificates,
            known_client_applications,
            pre_authorized,
            registration,
        } = app;
        Self {
            name: name.clone(),
            client_id: *client_id,
            identifier_uris: identifier_uris.clone(),
            scopes: scopes.clone(),
            app_roles: app_roles.clone(),
            redirect_uris: RedirectUrisText {
                spa: spa.clone(),
                web: web.clone(),
                native: native.clone(),
            },
            secrets: secrets.iter().cloned().map(Exposed).collect(),
            optional_claims: optional_claims.clone(),
            delegated: delegated.clone(),
            consent: match consent {
                Consent::Granted => ConsentText::Granted,
                Consent::Required => ConsentText::Required,
            },
            app_permissions: app_permissions.clone(),
            access_token_version: *access_token_version,
            certificates: certificates.clone(),
            known_client_applications: known_client_applications.clone(),
            pre_authorized: pre_authorized.clone(),
            registration: registration.clone(),
        }
    }

    fn restore(self) -> App {
        let RedirectUrisText { spa, web, native } = self.redirect_uris;
        App {
            name: self.name,
            client_id: self.client_id,
            identifier_uris: self.identifier_uris,
            scopes: self.scopes,
            app_roles: self.app_roles,
            redirect_uris: RedirectUris { spa, web, native },
            secrets: self.secrets.into_iter().map(|secret| secret.0).collect(),
            optional_claims: self.optional_claims,
            delegated: self.delegated,
            consent: match self.consent {
                ConsentText::Granted => Consent::Granted,
                ConsentText::Required => Consent::Required,
            },
            app_permissions: self.app_permissions,
            access_token_version: self.access_token_version,
            certificates: self.certificates,
            known_client_applications: self.known_client_applications,
            pre_authorized: self.pre_authorized,
            registration: self.registration,
        }
    }
}

impl PolicyText {
    fn of(policy: &Policy) -> Self {
        let Policy {
            id,
            name,
            target,
            users,
            require,
            sign_in_frequency,
            enabled,
            registration,
        } = policy;
        Self {
            id: *id,
            name: name.clone(),
            target: match target {
                Target::App(name) => TargetText::App(name.clone()),
                Target::AuthContext(id) => TargetText::AuthContext(id.clone()),
            },
            users: users.clone(),
            require: match require {
                Require::Block => RequireText::Block,
                Require::Mfa => RequireText::Mfa,
            },
            sign_in_frequency: *sign_in_frequency,
            enabled: *enabled,
            registration: registration.clone(),
        }
    }

    fn restore(self) -> Policy {
        Policy {
            id: self.id,
            name: self.name,
            target: match self.target {
                TargetText::App(name) => Target::App(name),
                TargetText::AuthContext(id) => Target::AuthContext(id),
            },
            users: self.users,
            require: match self.require {
                RequireText::Block => Require::Block,
                RequireText::Mfa => Require::Mfa,
            },
            sign_in_frequency: self.sign_in_frequency,
            enabled: self.enabled,
            registration: self.registration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_comes_back_as_it_was() {
        let directory: Directory = r#"
            [tenant]
            id = "11111111-2222-3333-4444-555555555555"
            domain = "contoso.example"
            [[users]]
            username = "alice@contoso.example"
            password = "the password"
            otp = "the code"
            display_name = "Alice Liddell"
            given_name = "Alice"
            surname = "Liddell"
            mail = "a@contoso.example"
            groups = ["staff"]
            roles = ["api://all/Admin"]
            mfa = "registered"
            [[users]]
            username = "bob@contoso.example"
            password = "another"
            display_name = "Bob"
            [[apps]]
            name = "all"
            client_id = "22222222-2222-3333-4444-555555555555"
            identifier_uris = ["api://all"]
            scopes = ["read"]
            app_roles = ["Admin"]
            redirect_uris = { web = ["https://web.example/"], spa = ["https://spa.example/"], native = ["http://localhost"] }
            secrets = ["first secret", "second secret"]
            optional_claims = ["acrs", "auth_time", "idtyp", "xms_cc"]
            delegated = ["api://all/read"]
            consent = "required"
            app_permissions = ["api://all/Admin"]
            known_client_applications = ["22222222-2222-3333-4444-555555555555"]
            pre_authorized = ["22222222-2222-3333-4444-555555555555"]
            [[policies]]
            name = "one"
            app = "all"
            users = ["staff"]
            require = "mfa"
            sign_in_frequency = "1h"
            [[policies]]
            name = "two"
            auth_context = "c1"
            require = "block"
            enabled = false
        "#
        .parse()
        .unwrap();
        let json = serde_json::to_string(&DirectoryText::of(&directory)).unwrap();
        let again = serde_json::from_str::<DirectoryText>(&json).unwrap();
        assert!(again == DirectoryText::of(&directory));
        let again = again.restore();
        // Debug shows every field but the secrets.
        assert_eq!(format!("{again:?}"), format!("{directory:?}"));
        assert_eq!(again.users[0].password(), "the password");
        assert_eq!(again.users[0].otp(), Some("the code"));
        let secrets = again.apps[0]
            .secrets
            .iter()
            .map(ExposeSecret::expose_secret);
        assert!(secrets.eq(["first secret", "second secret"]));
    }
}
