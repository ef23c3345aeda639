//! What the tenant itself says about the applications, read through Microsoft Graph. Only GET, and only with a token that was given for it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::join;
use http::StatusCode;
use http::header::ACCEPT;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::Options;
use super::codes;
use super::dates::{how_long, rfc3339};
use super::files::Configurations;
use super::finding::{Check, Finding, Service};
use super::probe::Probe;
use super::subject::{Api, resource_of};
use crate::loopback::is_loopback;
use crate::tenant::cloud::Cloud;
use crate::trust::Trust;

/// A secret or certificate that ends sooner is told, in seconds.
const SOON: i64 = 30 * 86_400;
/// Pages of a list that are read.
const MAX_PAGES: usize = 20;
/// What an API's access tokens should carry.
const OPTIONAL: [&str; 3] = ["xms_cc", "acrs", "idtyp"];

/// Where Graph is, and a token for it.
#[derive(Clone)]
pub struct GraphAccess {
    base: Url,
    token: SecretString,
}

/// There is no Graph that the token may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphAccessError {
    /// The authority is none whose Graph is known.
    #[error("which Microsoft Graph belongs to the authority is not known: name it with --graph")]
    Unknown,
    /// Plain http beyond this machine, or no URL of a host.
    #[error("--graph must be an https URL without a path; http is for this machine only")]
    NotSecure,
}

impl GraphAccess {
    /// The Graph of the authority's cloud (of a local authority it is itself), or another that is named.
    ///
    /// # Errors
    ///
    /// Nothing is named and the authority is of no known cloud, or what is named would show the token to others.
    pub fn new(
        token: SecretString,
        named: Option<Url>,
        instance: &Url,
    ) -> Result<Self, GraphAccessError> {
        let base = match named {
            Some(url) => url,
            None => of_cloud(instance).ok_or(GraphAccessError::Unknown)?,
        };
        let secure = base.scheme() == "https" || (base.scheme() == "http" && is_loopback(&base));
        if !secure || !base.has_host() || base.path() != "/" || base.query().is_some() {
            return Err(GraphAccessError::NotSecure);
        }
        Ok(Self { base, token })
    }
}

impl fmt::Debug for GraphAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphAccess")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

fn of_cloud(instance: &Url) -> Option<Url> {
    if is_loopback(instance) {
        return Some(instance.clone());
    }
    let cloud = match instance.host_str()? {
        // The former name of China's.
        "login.chinacloudapi.cn" => Cloud::China,
        host if host.ends_with(".ciamlogin.com") => Cloud::Global,
        host => Cloud::of_login(host)?,
    };
    cloud.graph().parse().ok()
}

/// An answer, or why there is none.
enum Told {
    Value(Value),
    /// The permissions do not reach so far.
    Forbidden,
    Other(String),
}

impl Told {
    /// The reason, going on from "not looked at: ".
    fn reason(&self, permission: &str) -> Option<String> {
        match self {
            Self::Value(_) => None,
            Self::Forbidden => Some(format!(
                "the token of GRAPH_ACCESS_TOKEN lacks {permission}"
            )),
            Self::Other(words) => Some(words.clone()),
        }
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Forbidden | Self::Other(_) => None,
        }
    }
}

/// An application of the configuration.
struct Wanted<'a> {
    service: Service,
    client_id: &'a str,
    /// Web, then single-page.
    redirects: [Vec<String>; 2],
    api: Option<Api<'a>>,
    has_credential: bool,
}

/// A delegated permission that a client needs.
struct Edge<'a> {
    service: Service,
    client_id: &'a str,
    scope: &'a str,
}

/// What must stand behind a policy.
struct Guarded<'a> {
    what: &'static str,
    resource: &'a str,
}

struct Reader<'a> {
    probe: Probe,
    access: &'a GraphAccess,
}

pub(super) async fn check(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let Some(access) = &options.graph else {
        let says = "GRAPH_ACCESS_TOKEN is not set: what only the tenant knows is not looked at (docs/entra.md says which token)";
        let checks = [
            Check::Registration,
            Check::CredentialExpiry,
            Check::Consent,
            Check::MfaPolicy,
            Check::StepUpPolicy,
        ];
        return checks.map(|check| check.skipped(None, says)).into();
    };
    let authorities = configurations.authorities();
    let trust = authorities
        .first()
        .map(|(_, _, trust)| (*trust).clone())
        .unwrap_or_default();
    let Some(reader) = Reader::new(access, &trust, options.deadline) else {
        return vec![Check::Registration.skipped(None, "no client can be made to ask Graph")];
    };
    let (registered, policies) = join!(
        registrations(configurations, &reader, options),
        policies(configurations, &reader),
    );
    registered.into_iter().chain(policies).collect()
}

impl<'a> Reader<'a> {
    fn new(access: &'a GraphAccess, trust: &Trust, deadline: Duration) -> Option<Self> {
        let probe = Probe::new(&access.base, trust, deadline)?;
        Some(Self { probe, access })
    }

    /// `filter` is put into `$filter`.
    async fn get(&self, path: &str, filter: Option<&str>) -> Told {
        let mut url = self.access.base.clone();
        url.set_path(&format!("/v1.0/{path}"));
        if let Some(filter) = filter {
            url.query_pairs_mut().append_pair("$filter", filter);
        }
        self.get_url(url).await
    }

    async fn get_url(&self, url: Url) -> Told {
        let token = self.access.token.expose_secret();
        let asked = self.probe.ask(|http| {
            http.get(url)
                .bearer_auth(token)
                .header(ACCEPT, "application/json")
        });
        match asked.await {
            Err(error) => Told::Other(format!("Microsoft Graph {}", error.words())),
            Ok(answer) => match (answer.status, answer.json()) {
                (StatusCode::OK, Some(value)) => Told::Value(value),
                (StatusCode::FORBIDDEN, _) => Told::Forbidden,
                (StatusCode::UNAUTHORIZED, _) => Told::Other(
                    "Microsoft Graph refuses the token of GRAPH_ACCESS_TOKEN: it has expired, or is none for Graph".into(),
                ),
                (status, _) => Told::Other(format!("Microsoft Graph answers {}", status.as_u16())),
            },
        }
    }

    /// All entries of a list, over its pages.
    async fn list(&self, path: &str) -> Result<Vec<Value>, Told> {
        let mut entries = Vec::new();
        let mut told = self.get(path, None).await;
        for _ in 0..MAX_PAGES {
            let value = match told {
                Told::Value(value) => value,
                other => return Err(other),
            };
            entries.extend(array(&value, "value").iter().cloned());
            let next = value
                .get("@odata.nextLink")
                .and_then(Value::as_str)
                .and_then(|url| Url::parse(url).ok());
            match next {
                // The token goes nowhere else.
                Some(next) if next.origin() == self.access.base.origin() => {
                    told = self.get_url(next).await
                }
                _ => return Ok(entries),
            }
        }
        Ok(entries)
    }

    /// The service principal that a scope's first part names: an identifier URI or a client id.
    async fn principal(&self, name: &str) -> Told {
        let name = name.replace('\'', "''");
        self.get(
            "servicePrincipals",
            Some(&format!("servicePrincipalNames/any(n:n eq '{name}')")),
        )
        .await
    }
}

fn wanted(configurations: &Configurations) -> Vec<Wanted<'_>> {
    let mut all = Vec::new();
    if let Some(config) = &configurations.spa {
        let base = config.base_url.origin().ascii_serialization();
        let of = |paths: [&str; 2]| paths.map(|path| format!("{base}{path}")).to_vec();
        all.push(Wanted {
            service: Service::SpaBackend,
            client_id: &config.client_id,
            redirects: [of(["/auth/callback", "/"]), Vec::new()],
            api: None,
            has_credential: true,
        });
        all.extend(config.msal.iter().map(|msal| Wanted {
            service: Service::SpaBackend,
            client_id: &msal.client_id,
            redirects: [Vec::new(), of(["/msal", "/msal/redirect"])],
            api: None,
            has_credential: false,
        }));
    }
    all.extend(configurations.apis().into_iter().map(|api| Wanted {
        service: api.service,
        client_id: api.client_id,
        redirects: [Vec::new(), Vec::new()],
        has_credential: api.service == Service::MiddleTier,
        api: Some(api),
    }));
    all
}

fn edges(configurations: &Configurations) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    let edge = |service, client_id, scope| Edge {
        service,
        client_id,
        scope,
    };
    if let Some(config) = &configurations.spa {
        edges.push(edge(
            Service::SpaBackend,
            config.client_id.as_str(),
            config.scope.as_str(),
        ));
        edges.extend(
            config
                .msal
                .iter()
                .map(|msal| edge(Service::SpaBackend, &msal.client_id, &msal.scope)),
        );
    }
    if let Some(config) = &configurations.middle {
        edges.push(edge(
            Service::MiddleTier,
            &config.client_id,
            &config.downstream_scope,
        ));
        if let Some(profile) = &config.profile {
            for scope in [
                &profile.read_scope,
                &profile.write_scope,
                &profile.gate_scope,
            ] {
                edges.push(edge(Service::MiddleTier, &config.client_id, scope));
            }
        }
    }
    edges
}

async fn registrations(
    configurations: &Configurations,
    reader: &Reader<'_>,
    options: &Options,
) -> Vec<Finding> {
    let wanted = wanted(configurations);
    let applications = join_all(wanted.iter().map(|wanted| async {
        // Nothing but a GUID gets into the query.
        match Uuid::try_parse(wanted.client_id) {
            Ok(id) => {
                reader
                    .get("applications", Some(&format!("appId eq '{id}'")))
                    .await
            }
            Err(_) => Told::Value(Value::Null),
        }
    }));
    let edges = edges(configurations);
    let grants = join_all(edges.iter().map(|edge| async {
        let client = Uuid::try_parse(edge.client_id).unwrap_or_default();
        let path = format!("servicePrincipals(appId='{client}')/oauth2PermissionGrants");
        join!(
            reader.get(&path, None),
            reader.principal(resource_of(edge.scope))
        )
    }));
    let (applications, grants) = join!(applications, grants);
    let mut findings = Vec::new();
    let mut found = Vec::new();
    for (wanted, told) in wanted.iter().zip(&applications) {
        if let Some(reason) = told.reason("Application.Read.All") {
            findings.push(
                Check::Registration.skipped(wanted.service, format!("not looked at: {reason}")),
            );
            continue;
        }
        match told.value().and_then(|value| array(value, "value").first()) {
            Some(application) => {
                findings.extend(registration(wanted, application, options));
                found.push(application);
            }
            None => findings.push(Check::Registration.error(
                wanted.service,
                format!("the tenant has no application {}", wanted.client_id),
                "check `client_id`; `demo-services register` creates the applications and writes their ids",
            )),
        }
    }
    for (edge, (grants, resource)) in edges.iter().zip(&grants) {
        findings.push(consent(edge, grants, resource, &found));
    }
    findings
}

fn registration(wanted: &Wanted<'_>, application: &Value, options: &Options) -> Vec<Finding> {
    let service = wanted.service;
    let mut findings = vec![Check::Registration.ok(
        service,
        format!("application {} is registered", wanted.client_id),
    )];
    for (uris, (platform, name)) in wanted
        .redirects
        .iter()
        .zip([("web", "Web"), ("spa", "Single-page application")])
    {
        findings.extend(
            uris.iter()
                .map(|uri| redirect(service, application, uri, platform, name)),
        );
    }
    if let Some(api) = &wanted.api {
        findings.extend(of_api(api, application));
    }
    if wanted.has_credential {
        findings.extend(expiry(service, application, options));
    }
    findings
}

fn redirect(
    service: Service,
    application: &Value,
    uri: &str,
    platform: &str,
    name: &str,
) -> Finding {
    let has = |platform: &str| {
        let uris = application
            .get(platform)
            .map(|part| array(part, "redirectUris"));
        uris.is_some_and(|uris| uris.iter().any(|known| known.as_str() == Some(uri)))
    };
    let others = ["web", "spa", "publicClient"]
        .into_iter()
        .filter(|other| *other != platform);
    if has(platform) {
        Check::RedirectUri.ok(
            service,
            format!("{uri} is registered with the platform {name}"),
        )
    } else if others.into_iter().any(has) {
        let number = if platform == "web" {
            9_002_327
        } else {
            9_002_326
        };
        let (meaning, mend) = codes::explain(number);
        Check::RedirectUri.error(
            service,
            format!("{uri} is registered with another platform than {name}: {meaning}"),
            mend,
        )
    } else {
        let (meaning, mend) = codes::explain(50_011);
        Check::RedirectUri.error(service, format!("{uri} is not registered: {meaning}"), mend)
    }
}

fn of_api(api: &Api<'_>, application: &Value) -> Vec<Finding> {
    let service = api.service;
    let mut findings = Vec::new();
    let part = application.get("api").unwrap_or(&Value::Null);
    findings.push(match part.get("requestedAccessTokenVersion").and_then(Value::as_u64) {
        Some(2) => Check::TokenVersion.ok(service, "requestedAccessTokenVersion is 2"),
        _ => Check::TokenVersion.error(
            service,
            "requestedAccessTokenVersion is not 2: tokens are of version 1.0, which the service refuses",
            "set `requestedAccessTokenVersion` to 2 in the application's manifest (api)",
        ),
    });
    let uris = array(application, "identifierUris");
    if !uris.iter().any(|uri| uri.as_str() == Some(api.app_id_uri)) {
        findings.push(Check::Registration.error(
            service,
            format!(
                "the application does not have the application ID URI {}",
                api.app_id_uri
            ),
            "set it under Expose an API, or correct `app_id_uri`",
        ));
    }
    let exposed = array(part, "oauth2PermissionScopes").iter().any(|scope| {
        scope.get("value").and_then(Value::as_str) == Some(api.scope)
            && scope.get("isEnabled").and_then(Value::as_bool) == Some(true)
    });
    if !exposed {
        findings.push(Check::Registration.error(
            service,
            format!(
                "the application does not expose the scope {}, or it is disabled",
                api.scope
            ),
            "add or enable it under Expose an API, or correct `required_scope`",
        ));
    }
    let claims = application.get("optionalClaims").unwrap_or(&Value::Null);
    let claims: BTreeSet<&str> = array(claims, "accessToken")
        .iter()
        .filter_map(|claim| claim.get("name").and_then(Value::as_str))
        .collect();
    let missing: Vec<&str> = OPTIONAL
        .into_iter()
        .filter(|name| !claims.contains(name))
        .collect();
    findings.push(match missing.is_empty() {
        true => Check::OptionalClaims.ok(service, "access tokens carry xms_cc, acrs and idtyp"),
        false => Check::OptionalClaims.warning(
            service,
            format!("access tokens lack {}: without xms_cc a challenge becomes a plain 403", missing.join(", ")),
            "add them under Token configuration, Add optional claim, Access (xms_cc in the manifest)",
        ),
    });
    findings
}

/// The last of all is meant: which one the service uses is not known here.
fn expiry(service: Service, application: &Value, options: &Options) -> Option<Finding> {
    let secrets = array(application, "passwordCredentials").iter();
    let all: Vec<&Value> = secrets
        .chain(array(application, "keyCredentials"))
        .collect();
    if all.is_empty() {
        return Some(Check::CredentialExpiry.error(
            service,
            "the application has neither a secret nor a certificate",
            "add one under Certificates & secrets",
        ));
    }
    let ends: Vec<i64> = all
        .iter()
        .filter_map(|one| one.get("endDateTime")?.as_str().and_then(rfc3339))
        .collect();
    if ends.len() < all.len() {
        return Some(Check::CredentialExpiry.ok(service, "a secret or certificate has no end"));
    }
    let now = i64::try_from(options.clock.now()).ok()?;
    let left = ends.into_iter().max()? - now;
    let mend = "make a new one under Certificates & secrets and put it into the configuration";
    let words = how_long(left.unsigned_abs());
    Some(if left <= 0 {
        Check::CredentialExpiry.error(
            service,
            format!("the last secret or certificate has expired {words} ago"),
            mend,
        )
    } else if left < SOON {
        Check::CredentialExpiry.warning(
            service,
            format!("the last secret or certificate expires in {words}"),
            mend,
        )
    } else {
        Check::CredentialExpiry.ok(
            service,
            format!("the last secret or certificate is good for {words}"),
        )
    })
}

fn consent(edge: &Edge<'_>, grants: &Told, resource: &Told, applications: &[&Value]) -> Finding {
    let (service, scope) = (edge.service, edge.scope);
    let permission = "Directory.Read.All (or DelegatedPermissionGrant.ReadWrite.All)";
    if let Some(reason) = grants
        .reason(permission)
        .or_else(|| resource.reason("Application.Read.All"))
    {
        return Check::Consent.skipped(service, format!("{scope}: not looked at: {reason}"));
    }
    let list = |told: &Told| {
        told.value()
            .map(|value| array(value, "value").to_vec())
            .unwrap_or_default()
    };
    let principals = list(resource);
    let Some(resource) = principals.first() else {
        let (meaning, mend) = codes::explain(500_011);
        return Check::Consent.error(service, format!("{scope}: {meaning}"), mend);
    };
    let name = scope.rsplit_once('/').map_or(scope, |(_, name)| name);
    let of_resource = list(grants).into_iter().filter(|grant| {
        let scopes = grant
            .get("scope")
            .and_then(Value::as_str)
            .unwrap_or_default();
        grant.get("resourceId") == resource.get("id")
            && (name == ".default" || scopes.split(' ').any(|held| held == name))
    });
    let kinds: Vec<String> = of_resource
        .filter_map(|grant| {
            grant
                .get("consentType")
                .and_then(Value::as_str)
                .map(str::to_owned)
        })
        .collect();
    let pre_authorized = applications.iter().any(|application| {
        let of_resource = application.get("appId") == resource.get("appId");
        let clients = application
            .get("api")
            .map(|part| array(part, "preAuthorizedApplications"));
        let is_client = |client: &Value| {
            let id = client.get("appId").and_then(Value::as_str);
            id.is_some_and(|id| id.eq_ignore_ascii_case(edge.client_id))
        };
        of_resource && clients.is_some_and(|clients| clients.iter().any(is_client))
    });
    if pre_authorized || kinds.iter().any(|kind| kind == "AllPrincipals") {
        Check::Consent.ok(service, format!("{scope}: consented to for all users"))
    } else if kinds.is_empty() {
        let (meaning, mend) = codes::explain(65_001);
        Check::Consent.error(service, format!("{scope}: {meaning}"), mend)
    } else {
        Check::Consent.warning(
            service,
            format!("{scope}: consented to by single users only; for others the exchange fails until they consent"),
            "grant admin consent under API permissions",
        )
    }
}

async fn policies(configurations: &Configurations, reader: &Reader<'_>) -> Vec<Finding> {
    let downstream = configurations.downstream.iter().map(|config| Guarded {
        what: "the downstream API",
        resource: &config.client_id,
    });
    let profile = configurations
        .middle
        .iter()
        .filter_map(|config| config.profile.as_ref());
    let gate = profile.map(|profile| Guarded {
        what: "the application that guards the profile",
        resource: resource_of(&profile.gate_scope),
    });
    let guarded: Vec<Guarded<'_>> = downstream.chain(gate).collect();
    let principals = join_all(
        guarded
            .iter()
            .map(|guarded| reader.principal(guarded.resource)),
    );
    let (policies, principals) = join!(
        reader.list("identity/conditionalAccess/policies"),
        principals
    );
    let policies = match policies {
        Ok(policies) => policies,
        Err(told) => {
            let reason = told.reason("Policy.Read.All").unwrap_or_default();
            return [Check::MfaPolicy, Check::StepUpPolicy]
                .map(|check| check.skipped(None, format!("not looked at: {reason}")))
                .into();
        }
    };
    let mut findings = Vec::new();
    for (guarded, principal) in guarded.iter().zip(&principals) {
        let id = principal
            .value()
            .and_then(|value| array(value, "value").first()?.get("appId")?.as_str());
        match id {
            Some(id) => findings.push(state(Check::MfaPolicy, guarded.what, &policies, |policy| {
                let applications = policy
                    .pointer("/conditions/applications")
                    .unwrap_or(&Value::Null);
                let included = texts(applications, "includeApplications");
                let excluded = texts(applications, "excludeApplications");
                included
                    .iter()
                    .any(|one| *one == "All" || one.eq_ignore_ascii_case(id))
                    && !excluded.iter().any(|one| one.eq_ignore_ascii_case(id))
            })),
            None => findings.push(Check::MfaPolicy.skipped(
                None,
                format!("{}: its application is not found", guarded.what),
            )),
        }
    }
    if let Some(config) = &configurations.downstream {
        let context = config.secure_context.as_str();
        let what = format!("the authentication context {context}");
        findings.push(state(Check::StepUpPolicy, &what, &policies, |policy| {
            let applications = policy
                .pointer("/conditions/applications")
                .unwrap_or(&Value::Null);
            texts(applications, "includeAuthenticationContextClassReferences").contains(&context)
        }));
    }
    findings
}

/// Of all policies that are about it and demand a second factor, the strictest counts.
fn state(check: Check, what: &str, policies: &[Value], about: impl Fn(&Value) -> bool) -> Finding {
    let demands_mfa = |policy: &Value| {
        let controls = policy.get("grantControls").unwrap_or(&Value::Null);
        texts(controls, "builtInControls").contains(&"mfa")
            || controls
                .get("authenticationStrength")
                .is_some_and(|strength| !strength.is_null())
    };
    let states: Vec<&str> = policies
        .iter()
        .filter(|policy| about(policy) && demands_mfa(policy))
        .filter_map(|policy| policy.get("state")?.as_str())
        .collect();
    if states.contains(&"enabled") {
        check.ok(
            None,
            format!("{what}: a policy demands a second factor and is enforced"),
        )
    } else if states.contains(&"enabledForReportingButNotEnforced") {
        check.warning(
            None,
            format!("{what}: the policy that demands a second factor only reports: no challenge will come"),
            "set the policy to On under Protection, Conditional Access, when its report shows what you expect",
        )
    } else {
        check.warning(
            None,
            format!("{what}: no policy that is on demands a second factor: no challenge will come"),
            "create one under Protection, Conditional Access, for test users (`register` does, with --mfa-user or --mfa-group)",
        )
    }
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    array(value, name)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_a_known_graph_or_where_it_is_told() {
        let at = |named: Option<&str>, instance: &str| {
            let named = named.map(|url| url.parse().unwrap());
            let access = GraphAccess::new("t".into(), named, &instance.parse().unwrap());
            access.map(|access| access.base.to_string())
        };
        for (instance, graph) in [
            (
                "https://login.microsoftonline.com",
                "https://graph.microsoft.com/",
            ),
            (
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us/",
            ),
            (
                "https://login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn/",
            ),
            (
                "https://contoso.ciamlogin.com",
                "https://graph.microsoft.com/",
            ),
            ("http://localhost:8080", "http://localhost:8080/"),
        ] {
            assert_eq!(at(None, instance), Ok(graph.to_owned()), "{instance}");
        }
        assert_eq!(
            at(None, "https://login.microsoftonline.com.evil.example"),
            Err(GraphAccessError::Unknown)
        );
        assert_eq!(
            at(Some("http://graph.example"), "https://x.example"),
            Err(GraphAccessError::NotSecure)
        );
        assert_eq!(
            at(Some("https://graph.example/v1.0"), "https://x.example"),
            Err(GraphAccessError::NotSecure)
        );
        assert_eq!(
            at(Some("https://graph.example"), "https://x.example"),
            Ok("https://graph.example/".to_owned())
        );
    }

    #[test]
    fn nothing_shows_the_token() {
        let access =
            GraphAccess::new("hush".into(), None, &"http://localhost".parse().unwrap()).unwrap();
        assert!(!format!("{access:?}").contains("hush"));
    }
}
