//! The directory on paper, passwords and secrets included. Only this module shows them to serde: the public types cannot be written.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::directory::deleted::DeletedApp;
use crate::directory::registration::{AuthContext, PolicyRegistration, Registration};
use crate::directory::{
    App, Consent, Directory, Licence, Mfa, OptionalClaim, Policy, Profile, RedirectUris, Require,
    Target, Tenant, User,
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
    /// Not in files from before there was such a thing.
    #[serde(default)]
    licence: Licence,
    tenant: TenantText,
    users: Vec<UserText>,
    apps: Vec<AppText>,
    policies: Vec<PolicyText>,
    /// Not in files from before there was such a thing.
    #[serde(default)]
    security_defaults: bool,
    auth_contexts: Vec<AuthContext>,
    /// Not in files from before there was such a thing.
    #[serde(default)]
    deleted_apps: Vec<DeletedAppText>,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct DeletedAppText {
    app: AppText,
    at: u64,
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
    /// Not in files from before there was such a thing.
    #[serde(default)]
    administrator: bool,
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
    /// Not in files from before there was such a thing.
    #[serde(default)]
    public_client: bool,
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
            licence,
            tenant: Tenant { id, domain },
            users,
            apps,
            policies,
            security_defaults,
            auth_contexts,
            deleted_apps,
        } = directory;
        Self {
            licence: *licence,
            tenant: TenantText {
                id: *id,
                domain: domain.clone(),
            },
            users: users.iter().map(UserText::of).collect(),
            apps: apps.iter().map(AppText::of).collect(),
            policies: policies.iter().map(PolicyText::of).collect(),
            security_defaults: *security_defaults,
            auth_contexts: auth_contexts.clone(),
            deleted_apps: deleted_apps.iter().map(DeletedAppText::of).collect(),
        }
    }

    pub(super) fn restore(self) -> Directory {
        let deleted_apps = self.deleted_apps.into_iter();
        Directory {
            licence: self.licence,
            tenant: Tenant {
                id: self.tenant.id,
                domain: self.tenant.domain,
            },
            users: self.users.into_iter().map(UserText::restore).collect(),
            apps: self.apps.into_iter().map(AppText::restore).collect(),
            policies: self.policies.into_iter().map(PolicyText::restore).collect(),
            security_defaults: self.security_defaults,
            auth_contexts: self.auth_contexts,
            deleted_apps: deleted_apps.map(DeletedAppText::restore).collect(),
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
            administrator,
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
            administrator: *administrator,
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
            administrator: self.administrator,
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
            public_client,
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
            public_client: *public_client,
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
            public_client: self.public_client,
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

impl DeletedAppText {
    fn of(deleted: &DeletedApp) -> Self {
        let DeletedApp { app, at } = deleted;
        Self {
            app: AppText::of(app),
            at: *at,
        }
    }

    fn restore(self) -> DeletedApp {
        DeletedApp {
            app: self.app.restore(),
            at: self.at,
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
    use crate::directory::registration::{
        AccessType, AppRole, ClaimName, CredentialName, OptionalClaims, PermissionGrant,
        PermissionScope, PreAuthorized, RequiredResource, ResourceAccess,
    };

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn name(id: u128) -> CredentialName {
        CredentialName {
            key_id: Uuid::from_u128(id),
            display_name: some("the name of a credential"),
            start: Some(11),
            end: Some(12),
        }
    }

    fn claim(name: &str) -> ClaimName {
        ClaimName {
            additional_properties: vec![text("a property")],
            essential: true,
            name: text(name),
            source: some("user"),
        }
    }

    fn registration() -> Registration {
        Registration {
            object_id: Some(id(21)),
            without_principal: true,
            display_name: some("the display name of an application"),
            description: some("a description"),
            notes: some("notes"),
            sign_in_audience: some("AzureADMyOrg"),
            created: Some(22),
            tags: vec![text("a tag")],
            principal_tags: vec![text("a tag of the principal")],
            home_page_url: some("https://home.example/"),
            logout_url: some("https://logout.example/"),
            is_fallback_public_client: Some(true),
            version_is_null: true,
            scopes: vec![PermissionScope {
                admin_consent_description: some("1"),
                admin_consent_display_name: some("2"),
                id: id(23),
                is_enabled: false,
                r#type: some("Admin"),
                user_consent_description: some("3"),
                user_consent_display_name: some("4"),
                value: some("read"),
            }],
            roles: vec![AppRole {
                allowed_member_types: vec![text("User")],
                description: some("5"),
                display_name: some("6"),
                id: id(24),
                is_enabled: false,
                value: some("Admin"),
            }],
            required: Some(vec![RequiredResource {
                resource_app_id: id(25),
                resource_access: vec![ResourceAccess {
                    id: id(26),
                    r#type: AccessType::Role,
                }],
            }]),
            optional_claims: Some(OptionalClaims {
                access_token: vec![claim("acrs")],
                id_token: vec![claim("sid")],
                saml2_token: vec![claim("upn")],
            }),
            pre_authorized: vec![PreAuthorized {
                app_id: id(27),
                delegated_permission_ids: vec![id(28)],
            }],
            passwords: vec![name(29)],
            keys: vec![name(30)],
            owners: vec![id(31)],
            grants: vec![PermissionGrant {
                id: id(32),
                resource: id(33),
                principal: Some(id(34)),
                scopes: vec![text("read")],
            }],
        }
    }

    fn user() -> User {
        User {
            username: text("alice@contoso.example"),
            password: text("the password").into(),
            otp: Some(text("the code").into()),
            oid: id(1),
            display_name: text("Alice Liddell"),
            given_name: some("Alice"),
            surname: some("Liddell"),
            mail: some("a@contoso.example"),
            groups: vec![text("staff")],
            roles: vec![text("api://all/Admin")],
            mfa: Mfa::Registered,
            administrator: true,
            profile: Profile {
                business_phones: vec![text("+1 555 0100")],
                job_title: some("Analyst"),
                mobile_phone: some("+1 555 0101"),
                office_location: some("18/2111"),
                preferred_language: some("en-US"),
                department: some("Wonderland"),
                company_name: some("Contoso"),
                street_address: some("1 Main Street"),
                postal_code: some("12345"),
                city: some("Oxford"),
                state: some("Oxfordshire"),
                country: some("England"),
            },
        }
    }

    fn app() -> App {
        App {
            name: text("all"),
            client_id: id(2),
            identifier_uris: vec![text("api://all")],
            scopes: vec![text("read")],
            app_roles: vec![text("Admin")],
            redirect_uris: RedirectUris {
                spa: vec![text("https://spa.example/")],
                web: vec![text("https://web.example/")],
                native: vec![text("http://localhost")],
            },
            public_client: true,
            secrets: ["first secret", "second secret"]
                .map(|secret| text(secret).into())
                .into(),
            optional_claims: vec![OptionalClaim::Acrs, OptionalClaim::LoginHint],
            delegated: vec![text("api://all/read")],
            consent: Consent::Required,
            app_permissions: vec![text("api://all/Admin")],
            access_token_version: 1,
            certificates: vec![text("a certificate")],
            known_client_applications: vec![id(3)],
            pre_authorized: vec![id(4)],
            registration: registration(),
        }
    }

    /// Every field of everything is there and filled: a literal without `..` does not compile when one is missing.
    fn full() -> Directory {
        Directory {
            licence: Licence::Free,
            tenant: Tenant {
                id: id(5),
                domain: text("contoso.example"),
            },
            users: vec![user()],
            apps: vec![app()],
            policies: vec![Policy {
                id: id(6),
                name: text("one"),
                target: Target::App(text("all")),
                users: Some(vec![text("staff")]),
                require: Require::Mfa,
                sign_in_frequency: Some(3600),
                enabled: true,
                registration: PolicyRegistration {
                    display_name: some("the display name of a policy"),
                    also: vec![Target::AuthContext(text("c7"))],
                    excluded: vec![text("alice@contoso.example")],
                    report_only: true,
                    created: Some(41),
                    modified: Some(42),
                },
            }],
            security_defaults: true,
            auth_contexts: vec![AuthContext {
                id: text("c8"),
                display_name: text("Pay"),
                description: some("for payments"),
                available: true,
            }],
            deleted_apps: vec![DeletedApp { app: app(), at: 43 }],
        }
    }

    /// The other value of what has only two or three.
    fn otherwise() -> Directory {
        let mut directory = full();
        directory.security_defaults = false;
        directory.licence = Licence::Premium;
        directory.users[0].mfa = Mfa::NotRegistered;
        directory.users[0].otp = None;
        directory.apps[0].consent = Consent::Granted;
        directory.apps[0].access_token_version = 2;
        directory.apps[0].registration = Registration::default();
        directory.policies[0].target = Target::AuthContext(text("c1"));
        directory.policies[0].users = None;
        directory.policies[0].require = Require::Block;
        directory.policies[0].enabled = false;
        directory.policies[0].registration = PolicyRegistration::default();
        directory
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        for directory in [full(), otherwise()] {
            let json = serde_json::to_string(&DirectoryText::of(&directory)).unwrap();
            let again = serde_json::from_str::<DirectoryText>(&json).unwrap();
            assert!(again == DirectoryText::of(&directory));
            let again = again.restore();
            // Debug shows every field but the secrets.
            assert_eq!(format!("{again:?}"), format!("{directory:?}"));
            assert_eq!(again.users[0].password(), "the password");
            assert_eq!(again.users[0].otp(), directory.users[0].otp());
            let secrets = again.apps[0]
                .secrets
                .iter()
                .map(ExposeSecret::expose_secret);
            assert!(secrets.eq(["first secret", "second secret"]));
        }
    }

    #[test]
    fn no_field_of_the_test_is_empty() {
        let json = serde_json::to_string(&DirectoryText::of(&full())).unwrap();
        for empty in [":null", "[]", "{}", "\"\"", ":0"] {
            assert!(!json.contains(empty), "{empty}: {json}");
        }
    }
}
