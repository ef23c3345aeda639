//! The rules that a directory must keep, checked when it is read and again when an authority starts.

use std::collections::HashSet;

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{App, Directory, DirectoryError, GRAPH, Target, User, certificates, registered};
use crate::form;

/// Every sign-in under way holds a copy of its client and of its API.
const MAX_APP: usize = 128 * 1024;

pub(super) type Checked = Result<(), DirectoryError>;

impl Directory {
    /// Checks the whole directory: ids are unique, references resolve, redirect URIs are safe, secrets are real.
    ///
    /// # Errors
    ///
    /// The first broken rule, with the key that breaks it.
    pub fn validate(&self) -> Checked {
        check(
            is_name(&self.tenant.domain),
            "tenant.domain",
            "not a domain name",
        )?;
        check(!self.tenant.id.is_nil(), "tenant.id", "the nil GUID")?;
        unique(
            "users.username",
            self.users
                .iter()
                .map(|user| user.username.to_ascii_lowercase()),
        )?;
        unique(
            "users.oid",
            self.users.iter().map(|user| user.oid.to_string()),
        )?;
        unique("apps.name", self.apps.iter().map(|app| app.name.clone()))?;
        // What was deleted and can come back keeps what is its own.
        let deleted = self.deleted_apps.iter().map(|deleted| &deleted.app);
        let all = || self.apps.iter().chain(deleted.clone());
        unique("apps.client_id", all().map(|app| app.client_id.to_string()))?;
        unique(
            "apps.identifier_uris",
            all().flat_map(|app| app.identifier_uris.clone()),
        )?;
        unique(
            "policies.name",
            self.policies.iter().map(|policy| policy.name.clone()),
        )?;
        unique(
            "policies.id",
            self.policies.iter().map(|policy| policy.id.to_string()),
        )?;
        self.users
            .iter()
            .try_for_each(|user| self.validate_user(user))?;
        self.apps
            .iter()
            .try_for_each(|app| self.validate_app(app))?;
        self.policies
            .iter()
            .try_for_each(|policy| self.validate_policy(policy))?;
        registered::check(self)
    }

    fn validate_user(&self, user: &User) -> Checked {
        let key = |name: &str| format!("users.{}.{name}", user.username);
        check(
            user.username.contains('@'),
            key("username"),
            "not of the form name@domain",
        )?;
        secret(&user.password, &key("password"))?;
        user.otp
            .iter()
            .try_for_each(|otp| secret(otp, &key("otp")))?;
        check(
            user.mfa == super::Mfa::NotRegistered || user.otp.is_some(),
            key("otp"),
            "a second factor is registered, but there is no one-time code",
        )?;
        check(!user.oid.is_nil(), key("oid"), "the nil GUID")?;
        for role in &user.roles {
            self.validate_reference(role, key("roles"), App::has_role)?;
        }
        Ok(())
    }

    fn validate_app(&self, app: &App) -> Checked {
        let key = |name: &str| format!("apps.{}.{name}", app.name);
        check(!app.name.is_empty(), "apps.name", "empty")?;
        check(
            weight(app) <= MAX_APP,
            key("*"),
            "all its texts together are longer than 128 KiB",
        )?;
        check(
            !app.client_id.is_nil() && app.client_id != GRAPH,
            key("client_id"),
            "reserved",
        )?;
        for uri in &app.identifier_uris {
            let plain = Url::parse(uri).is_ok()
                && !uri.ends_with('/')
                && !uri.contains(char::is_whitespace);
            check(
                plain && uri != "https://graph.microsoft.com",
                key("identifier_uris"),
                format!("`{uri}` is not an absolute URI without a trailing slash"),
            )?;
        }
        for name in app.scopes.iter().chain(&app.app_roles) {
            check(
                is_permission(name),
                key("scopes"),
                format!("`{name}` is not a scope or role name"),
            )?;
        }
        app.secrets
            .iter()
            .try_for_each(|text| secret(text, &key("secrets")))?;
        let uris = &app.redirect_uris;
        for uri in uris.spa.iter().chain(&uris.web) {
            check(
                redirect_uri(uri, false),
                key("redirect_uris"),
                format!(
                    "`{uri}` is neither https nor http on a loopback address, or has a fragment or a wildcard"
                ),
            )?;
        }
        for uri in &uris.native {
            check(
                redirect_uri(uri, true),
                key("redirect_uris.native"),
                format!(
                    "`{uri}` is not a loopback address, https, or a scheme of the application's own"
                ),
            )?;
        }
        unique(
            &key("redirect_uris"),
            uris.spa
                .iter()
                .chain(&uris.web)
                .chain(&uris.native)
                .cloned(),
        )?;
        check(
            matches!(app.access_token_version, 1 | 2),
            key("access_token_version"),
            "tokens have version 1 or 2",
        )?;
        certificates::check(app)?;
        for client in app
            .known_client_applications
            .iter()
            .chain(&app.pre_authorized)
        {
            check(
                self.apps.iter().any(|app| app.client_id == *client),
                key("pre_authorized"),
                format!("no application has the client id {client}"),
            )?;
        }
        for permission in &app.delegated {
            self.validate_reference(permission, key("delegated"), App::has_scope)?;
        }
        for permission in &app.app_permissions {
            self.validate_reference(permission, key("app_permissions"), App::has_role)?;
        }
        Ok(())
    }

    fn validate_policy(&self, policy: &super::Policy) -> Checked {
        let key = |name: &str| format!("policies.{}.{name}", policy.name);
        for target in policy.targets() {
            match target {
                // A client id outlives the application that it named.
                Target::App(name) => check(
                    self.apps.iter().any(|app| app.name == *name) || form::guid(name).is_some(),
                    key("app"),
                    format!("no application is named `{name}`"),
                )?,
                Target::AuthContext(id) => check(
                    is_auth_context(id),
                    key("auth_context"),
                    "not one of c1 to c99",
                )?,
            }
        }
        for name in policy
            .users
            .iter()
            .flatten()
            .chain(&policy.registration.excluded)
        {
            let known = self
                .users
                .iter()
                .any(|user| user.username.eq_ignore_ascii_case(name) || user.groups.contains(name));
            check(
                known,
                key("users"),
                format!("`{name}` is neither a username nor a group"),
            )?;
        }
        Ok(())
    }

    fn validate_reference(
        &self,
        permission: &str,
        key: String,
        has: fn(&App, &str) -> bool,
    ) -> Checked {
        let graph = App::graph();
        let known = self.apps.iter().chain([&graph]).any(|app| {
            app.permission(permission)
                .is_some_and(|name| has(app, name))
        });
        check(known, key, format!("no application exposes `{permission}`"))
    }
}

/// A scope's or a role's name.
pub(super) fn is_permission(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '/' | '"' | '\\');
    !name.is_empty() && name.chars().all(plain) && !name.starts_with('.')
}

/// `c1` to `c99` (Graph: `authenticationContextClassReference`).
pub(crate) fn is_auth_context(id: &str) -> bool {
    match id.as_bytes() {
        [b'c', first] => matches!(first, b'1'..=b'9'),
        [b'c', first, second] => matches!(first, b'1'..=b'9') && second.is_ascii_digit(),
        _ => false,
    }
}

fn redirect_uri(text: &str, native: bool) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    if url.fragment().is_some()
        || text.contains('*')
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return false;
    }
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(&url),
        // A scheme of the application's own is a reversed domain name or `msal<client id>`; `javascript:` and `data:` are neither.
        scheme => native && (scheme.contains('.') || scheme.starts_with("msal")),
    }
}

/// `localhost` or a loopback address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn is_name(domain: &str) -> bool {
    !domain.is_empty()
        && domain
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-'))
}

fn secret(text: &SecretString, key: &str) -> Checked {
    let text = text.expose_secret();
    let lower = text.to_ascii_lowercase();
    let left_over = [
        "...",
        "your",
        "changeme",
        "change-me",
        "placeholder",
        "todo",
        "xxx",
    ];
    check(!text.trim().is_empty(), key, "empty")?;
    check(
        !text.starts_with(['<', '{', '$', '['])
            && !left_over.iter().any(|word| lower.starts_with(word)),
        key,
        "still a placeholder",
    )
}

pub(super) fn unique(key: &str, values: impl Iterator<Item = String>) -> Checked {
    let mut seen = HashSet::new();
    for value in values {
        if let Some(value) = seen.replace(value) {
            return Err(DirectoryError::invalid(
                key,
                format!("`{value}` stands twice"),
            ));
        }
    }
    Ok(())
}

/// Bytes of everything that makes an application large.
fn weight(app: &App) -> usize {
    let uris = &app.redirect_uris;
    let lists = [
        &app.identifier_uris,
        &app.scopes,
        &app.app_roles,
        &uris.spa,
        &uris.web,
        &uris.native,
        &app.delegated,
        &app.app_permissions,
        &app.certificates,
    ];
    let texts: usize = lists.into_iter().flatten().map(String::len).sum();
    let told = serde_json::to_vec(&app.registration).map_or(usize::MAX, |json| json.len());
    texts.saturating_add(told)
}

pub(super) fn check(kept: bool, key: impl Into<String>, reason: impl Into<String>) -> Checked {
    if kept {
        Ok(())
    } else {
        Err(DirectoryError::invalid(key, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_as_large_as_it_may_be_and_no_larger() {
        let mut directory = Directory::demo();
        let room = MAX_APP - weight(directory.app("spa-backend").unwrap());
        let uri = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
        for (length, fits) in [(room, true), (room + 1, false)] {
            let app = directory.app_mut("spa-backend").unwrap();
            app.redirect_uris.spa = vec![uri(length)];
            assert_eq!(directory.validate().is_ok(), fits, "{length}");
        }
    }

    /// The demo directory with one rule broken, and the key that the error names.
    #[test]
    fn each_rule_is_checked() {
        type Break = fn(&mut Directory);
        let rows: &[(&str, Break)] = &[
            ("tenant.domain", |d| {
                d.tenant.domain = "contoso example".into()
            }),
            ("users.username", |d| {
                d.users[1].username = "ALICE@contoso.example".into()
            }),
            ("users.oid", |d| d.users[1].oid = d.users[0].oid),
            ("users.alice@contoso.example.password", |d| {
                d.users[0].password = "<password>".to_owned().into()
            }),
            ("users.alice@contoso.example.roles", |d| {
                d.users[0].roles = vec!["api://downstream-api/Nope".into()]
            }),
            ("apps.name", |d| d.apps[1].name = d.apps[0].name.clone()),
            ("apps.client_id", |d| {
                d.apps[1].client_id = d.apps[0].client_id
            }),
            ("apps.spa-backend.client_id", |d| {
                d.apps[0].client_id = GRAPH
            }),
            ("apps.identifier_uris", |d| {
                d.apps[1].identifier_uris = d.apps[2].identifier_uris.clone()
            }),
            ("apps.middle-tier.identifier_uris", |d| {
                d.app_mut("middle-tier")
                    .unwrap()
                    .identifier_uris
                    .push("middle".into())
            }),
            ("apps.middle-tier.scopes", |d| {
                d.app_mut("middle-tier").unwrap().scopes.push("a b".into())
            }),
            ("apps.spa-backend.secrets", |d| {
                d.apps[0].secrets = vec!["your-secret".to_owned().into()]
            }),
            ("apps.spa-backend.secrets", |d| {
                d.apps[0].secrets = vec![String::new().into()]
            }),
            ("apps.spa-backend.redirect_uris", |d| {
                d.apps[0].redirect_uris.web = vec!["http://app.example/cb".into()]
            }),
            ("apps.spa-backend.redirect_uris", |d| {
                d.apps[0].redirect_uris.web = vec!["https://*.example/cb".into()]
            }),
            ("apps.spa-backend.redirect_uris", |d| {
                d.apps[0].redirect_uris.spa = vec!["https://app.example/cb#x".into()]
            }),
            ("apps.spa-backend.redirect_uris.native", |d| {
                d.apps[0].redirect_uris.native = vec!["javascript:alert(1)".into()]
            }),
            ("apps.spa-backend.delegated", |d| {
                d.apps[0].delegated.push("api://middle-tier/nope".into())
            }),
            ("apps.daemon.app_permissions", |d| {
                d.app_mut("daemon")
                    .unwrap()
                    .app_permissions
                    .push("api://downstream-api/Nope".into())
            }),
            ("policies.name", |d| {
                d.policies[1].name = d.policies[0].name.clone()
            }),
            ("policies.MFA for the downstream API.app", |d| {
                d.policies[0].target = Target::App("nope".into())
            }),
            ("policies.Step-up for c1.auth_context", |d| {
                d.policies[1].target = Target::AuthContext("c0".into())
            }),
            ("policies.Step-up for c1.users", |d| {
                d.policies[1].users = Some(vec!["nobody".into()])
            }),
        ];
        for (key, broken) in rows {
            let mut directory = Directory::demo();
            assert!(directory.validate().is_ok());
            broken(&mut directory);
            let text = directory.validate().unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("directory: {key}:")),
                "{key}: {text}"
            );
        }
    }

    #[test]
    fn contexts_are_c1_to_c99() {
        assert!(
            ["c1", "c9", "c10", "c99"]
                .iter()
                .all(|id| is_auth_context(id))
        );
        assert!(
            !["", "c", "c0", "c01", "c100", "C1", "d1", "c1 "]
                .iter()
                .any(|id| is_auth_context(id))
        );
    }

    #[test]
    fn native_redirects_may_have_their_own_scheme() {
        assert!(
            redirect_uri("com.example.app://auth", true)
                && !redirect_uri("com.example.app://auth", false)
        );
        assert!(redirect_uri("http://localhost", true) && redirect_uri("http://[::1]:9/cb", false));
    }
}
