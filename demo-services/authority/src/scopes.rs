//! The `scope` parameter: one resource per request, and the OpenID Connect scopes beside it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::directory::{App, Consent, Directory};
use crate::errors::{self, Refusal};

/// Octets of the parameter, some ten times what a client of this demo asks for.
const MAX_SCOPE: usize = 4096;

/// A scope parameter that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Requested {
    /// As it came in: clients look it up in their caches under exactly these words.
    pub(crate) text: String,
    /// The API that the access token is for.
    pub(crate) resource: App,
    /// The `aud` of a version 1.0 token: how the request named the API.
    pub(crate) audience: String,
    /// The API's scopes by their short names; empty for `.default`.
    names: Vec<String>,
    default: bool,
    pub(crate) openid: bool,
    pub(crate) email: bool,
    pub(crate) offline_access: bool,
}

impl Requested {
    pub(crate) fn parse(directory: &Directory, text: Option<&str>) -> Result<Self, Refusal> {
        let text = text.ok_or_else(|| Refusal::missing("scope"))?;
        // It is remembered as long as a code or a device waits.
        if text.len() > MAX_SCOPE {
            return Err(not_valid());
        }
        let graph = App::graph();
        let mut resource: Option<&App> = None;
        let mut audience = None;
        let (mut names, mut default, mut openid, mut email, mut offline_access) =
            (Vec::new(), false, false, false, false);
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word {
                "openid" => openid = true,
                "offline_access" => offline_access = true,
                "email" => email = true,
                "profile" => {}
                word => {
                    let (owner, name) = resolve(directory, &graph, word)?;
                    if resource.is_some_and(|known| known.client_id != owner.client_id) {
                        return Err(Refusal::invalid_request(
                            28_000,
                            "Provided value for the input parameter scope is not valid because it contains more than one resource.",
                        ));
                    }
                    resource = Some(owner);
                    let (asked, _) = word.rsplit_once('/').unwrap_or_default();
                    audience.get_or_insert_with(|| owner.audience(asked));
                    if name == ".default" {
                        default = true;
                    } else if owner.scopes.iter().any(|scope| scope == name) {
                        names.push(name.to_owned());
                    } else {
                        let text = format!(
                            "The application asked for a scope that doesn't exist on the resource '{}'. Contact the app vendor.",
                            owner.client_id
                        );
                        return Err(Refusal::new("invalid_client", 650_053, text));
                    }
                }
            }
        }
        if default && !names.is_empty() {
            return Err(Refusal::new(
                "invalid_scope",
                70_011,
                ".default scope can't be combined with resource-specific scopes.",
            ));
        }
        if resource.is_none() && !openid {
            return Err(not_valid());
        }
        Ok(Self {
            text: text.to_owned(),
            resource: resource.unwrap_or(&graph).clone(),
            audience: audience.unwrap_or_else(|| graph.audience("")),
            names,
            default,
            openid,
            email,
            offline_access,
        })
    }

    /// Whether the API can still be used: codes and pages outlive it.
    pub(crate) fn still_there(&self, directory: &Directory) -> Result<(), Refusal> {
        directory
            .usable(self.resource.client_id)
            .map(|_| ())
            .ok_or_else(|| unknown(directory, &self.text))
    }

    /// Only `<resource>/.default`, as client credentials need it.
    pub(crate) fn is_default_only(&self) -> bool {
        self.default && !self.openid && !self.offline_access
    }

    /// Whether everything is asked for that the client is registered for.
    pub(crate) fn is_default(&self) -> bool {
        self.default
    }

    /// What `client` gets for the request: everything that it was granted on the resource, as in Entra, if what it asks for is part of
    /// that. `consented` is what the user has granted; an administrator or the API may have granted everything.
    ///
    /// # Errors
    ///
    /// AADSTS65001 when it asks for more than it was granted.
    pub(crate) fn granted(
        &self,
        client: &App,
        user: Uuid,
        consented: &BTreeSet<String>,
    ) -> Result<Vec<String>, Refusal> {
        if self.names.is_empty() && !self.default {
            return Ok(["openid", "profile", "email"].map(str::to_owned).into());
        }
        let by_others = client.consent == Consent::Granted
            || self.resource.pre_authorized.contains(&client.client_id);
        let mut granted: Vec<String> = Vec::new();
        for name in client
            .permissions_on(&self.resource)
            .filter(|name| by_others || consented.contains(*name))
            .chain(client.held_without_asking(&self.resource, user))
            // It is no permission on the API but one to have refresh tokens.
            .filter(|name| *name != "offline_access")
        {
            if !granted.iter().any(|known| known == name) {
                granted.push(name.to_owned());
            }
        }
        if !granted.is_empty() && self.names.iter().all(|name| granted.contains(name)) {
            Ok(granted)
        } else {
            Err(Refusal::consent_required())
        }
    }

    /// What the user, an administrator or not, is to be asked for; `None` if `client` is not registered for it, so that asking would not help.
    pub(crate) fn consentable(
        &self,
        client: &App,
        administrator: bool,
    ) -> Option<BTreeSet<String>> {
        let registered: BTreeSet<String> = client
            .permissions_on(&self.resource)
            .filter(|name| administrator || !self.resource.needs_admin(name))
            .map(str::to_owned)
            .collect();
        if self.default {
            return Some(registered).filter(|registered| !registered.is_empty());
        }
        let names: BTreeSet<String> = self.names.iter().cloned().collect();
        Some(names).filter(|names| names.is_subset(&registered))
    }
}

fn resolve<'a, 'w>(
    directory: &'a Directory,
    graph: &'a App,
    word: &'w str,
) -> Result<(&'a App, &'w str), Refusal> {
    let Some((_, name)) = word.rsplit_once('/') else {
        return Ok((graph, word));
    };
    let owner = directory
        .apps
        .iter()
        .chain([graph])
        .find(|app| app.permission(word).is_some());
    match owner {
        Some(app) if app.has_principal() => Ok((app, name)),
        Some(app) => Err(Refusal::new(
            "invalid_client",
            650_052,
            format!(
                "The app is trying to access a service '{}' that your organization lacks a service principal for.",
                app.client_id
            ),
        )),
        None => Err(unknown(directory, word)),
    }
}

fn not_valid() -> Refusal {
    Refusal::new(
        "invalid_scope",
        70_011,
        "The provided value for the input parameter 'scope' is not valid.",
    )
}

fn unknown(directory: &Directory, word: &str) -> Refusal {
    let (word, domain) = (errors::named(word), &directory.tenant.domain);
    Refusal::new(
        "invalid_resource",
        500_011,
        format!(
            "The resource principal of the requested scope '{word}' was not found in the tenant '{domain}'."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> u32 {
        Requested::parse(&Directory::demo(), Some(text))
            .unwrap_err()
            .code
    }

    #[test]
    fn one_resource_is_understood_by_any_of_its_names() {
        let directory = Directory::demo();
        let id = directory.app("middle-tier").unwrap().client_id;
        for scope in [
            "api://middle-tier/user_impersonation openid offline_access",
            &format!("openid  {id}/.default"),
            "api://middle-tier/.default",
        ] {
            let requested = Requested::parse(&directory, Some(scope)).unwrap();
            assert_eq!(requested.resource.client_id, id);
            assert_eq!(requested.text, scope);
            assert_eq!(
                requested
                    .granted(
                        directory.app("spa-backend").unwrap(),
                        uuid::Uuid::nil(),
                        &BTreeSet::new()
                    )
                    .unwrap(),
                ["user_impersonation"]
            );
        }
    }

    #[test]
    fn its_length_is_bounded() {
        let word = "api://middle-tier/user_impersonation ";
        let parse = |text: &str| Requested::parse(&Directory::demo(), Some(text));
        let mut text = word.repeat(MAX_SCOPE / word.len());
        text.push_str(&" ".repeat(MAX_SCOPE - text.len()));
        assert!(parse(&text).is_ok());
        text.push(' ');
        assert_eq!(parse(&text).unwrap_err().code, 70_011);
    }

    #[test]
    fn each_fault_has_its_number() {
        assert_eq!(
            code("api://middle-tier/user_impersonation api://downstream-api/user_impersonation"),
            28_000
        );
        assert_eq!(
            code("api://middle-tier/user_impersonation User.Read"),
            28_000
        );
        assert_eq!(code("api://nobody/x"), 500_011);
        assert_eq!(code("api://middle-tier/nope"), 650_053);
        assert_eq!(
            code("api://middle-tier/.default api://middle-tier/user_impersonation"),
            70_011
        );
        assert_eq!(code("profile"), 70_011);
        assert_eq!(
            Requested::parse(&Directory::demo(), None).unwrap_err().code,
            900_144
        );
    }

    #[test]
    fn what_was_not_granted_needs_consent() {
        let mut directory = Directory::demo();
        let requested =
            Requested::parse(&directory, Some("api://downstream-api/user_impersonation")).unwrap();
        assert!(
            requested
                .granted(
                    directory.app("middle-tier").unwrap(),
                    uuid::Uuid::nil(),
                    &BTreeSet::new()
                )
                .is_ok()
        );
        assert_eq!(
            requested
                .granted(
                    directory.app("spa-backend").unwrap(),
                    uuid::Uuid::nil(),
                    &BTreeSet::new()
                )
                .unwrap_err()
                .code,
            65_001
        );
        directory.app_mut("middle-tier").unwrap().consent = Consent::Required;
        assert_eq!(
            requested
                .granted(
                    directory.app("middle-tier").unwrap(),
                    uuid::Uuid::nil(),
                    &BTreeSet::new()
                )
                .unwrap_err()
                .code,
            65_001
        );
        let middle = directory.app("middle-tier").unwrap();
        let consented = requested.consentable(middle, false).unwrap();
        assert_eq!(
            requested
                .granted(middle, uuid::Uuid::nil(), &consented)
                .unwrap(),
            ["user_impersonation"]
        );
        assert_eq!(
            requested.consentable(directory.app("spa-backend").unwrap(), false),
            None,
            "not among its permissions"
        );
        let id = middle.client_id;
        directory.app_mut("downstream-api").unwrap().pre_authorized = vec![id];
        let requested =
            Requested::parse(&directory, Some("api://downstream-api/user_impersonation")).unwrap();
        assert!(
            requested
                .granted(
                    directory.app("middle-tier").unwrap(),
                    uuid::Uuid::nil(),
                    &BTreeSet::new()
                )
                .is_ok(),
            "pre-authorized clients need no consent"
        );
    }

    #[test]
    fn the_audience_of_a_version_1_token_is_the_name_that_was_asked_for() {
        let directory = Directory::demo();
        let id = directory.app("middle-tier").unwrap().client_id.to_string();
        for (scope, audience) in [
            ("openid api://middle-tier/.default", "api://middle-tier"),
            (&format!("{id}/.default"), &id),
            (&format!("{}/.default", id.to_ascii_uppercase()), &id),
            ("openid", "00000003-0000-0000-c000-000000000000"),
            ("User.Read", "00000003-0000-0000-c000-000000000000"),
            (
                "https://graph.microsoft.com/User.Read",
                "https://graph.microsoft.com",
            ),
        ] {
            let requested = Requested::parse(&directory, Some(scope)).unwrap();
            assert_eq!(requested.audience, audience, "{scope}");
        }
    }

    #[test]
    fn openid_alone_is_for_graph() {
        let requested = Requested::parse(&Directory::demo(), Some("openid profile")).unwrap();
        assert_eq!(requested.resource.client_id, crate::directory::GRAPH);
    }
}
