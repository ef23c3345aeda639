//! `/v1.0/identity/conditionalAccess`: policies.

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::{self, short};
use super::error::GraphError;
use super::{Answered, Call, Reply, contexts, dates, id, organization, wrong_method};
use crate::directory::registration::PolicyRegistration;
use crate::directory::{Directory, Licence, Policy, Require, Target, is_auth_context};
use crate::form;

const READ: &[&str] = &[
    "Policy.Read.All",
    "Policy.Read.ConditionalAccess",
    "Policy.ReadWrite.ConditionalAccess",
];
const WRITE: &[&str] = &["Policy.ReadWrite.ConditionalAccess"];
/// Entra's limit.
const MAX_POLICIES: usize = 195;
const MAX_LIST: usize = 100;
/// Seconds.
const DAY: u64 = 86_400;
const HOUR: u64 = 3600;
/// Longest sign-in frequency in days, and in hours (`signInFrequencySessionControl` resource type).
const MOST_DAYS: u64 = 365;
const MOST_HOURS: u64 = 23;

/// What there is none of here. Graph tells it as null or as an empty list, and so it comes back from whoever sends what was read.
const NOTHING: [(&str, &[&str]); 3] = [
    (
        "/conditions",
        &[
            "authenticationFlows",
            "clientApplications",
            "devices",
            "insiderRiskLevels",
            "locations",
            "platforms",
            "servicePrincipalRiskLevels",
            "signInRiskLevels",
            "userRiskLevels",
        ],
    ),
    ("/conditions/applications", &["applicationFilter"]),
    (
        "/conditions/users",
        &[
            "includeGuestsOrExternalUsers",
            "excludeGuestsOrExternalUsers",
        ],
    ),
];

/// Graph's `conditionalAccessPolicy` in a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    display_name: String,
    state: State,
    conditions: Conditions,
    grant_controls: GrantControls,
    #[serde(default)]
    session_controls: Option<SessionControls>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum State {
    #[serde(rename = "enabled")]
    Enabled,
    #[serde(rename = "disabled")]
    Disabled,
    #[serde(rename = "enabledForReportingButNotEnforced")]
    ReportOnly,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Conditions {
    applications: Applications,
    users: Users,
    /// Only `all`: there is no telling apart of clients.
    #[serde(default)]
    client_app_types: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Applications {
    include_applications: Vec<String>,
    include_authentication_context_class_references: Vec<String>,
    exclude_applications: Vec<String>,
    include_user_actions: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Users {
    include_users: Vec<String>,
    include_groups: Vec<String>,
    include_roles: Vec<String>,
    exclude_users: Vec<String>,
    exclude_groups: Vec<String>,
    exclude_roles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GrantControls {
    operator: String,
    built_in_controls: Vec<String>,
    #[serde(default)]
    custom_authentication_factors: Vec<String>,
    #[serde(default)]
    terms_of_use: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct SessionControls {
    sign_in_frequency: Option<Frequency>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Frequency {
    value: u32,
    r#type: Unit,
    #[serde(default = "yes")]
    is_enabled: bool,
    #[serde(default)]
    authentication_type: Option<String>,
    #[serde(default)]
    frequency_interval: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Unit {
    Days,
    Hours,
}

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match path {
        ["policies", rest @ ..] => policies(call, method, rest),
        ["authenticationContextClassReferences", rest @ ..] => contexts::route(call, method, rest),
        [other, ..] => Err(super::no_segment(other)),
        [] => Err(super::no_segment("conditionalAccess")),
    }
}

/// Without a licence policies can be looked at and deleted, no more.
pub(super) fn licensed(call: &Call<'_>) -> Result<(), GraphError> {
    match call.directory.licence {
        Licence::Free => Err(GraphError::not_licensed()),
        Licence::Premium => Ok(()),
    }
}

fn policies(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    const SET: &str = "identity/conditionalAccess/policies";
    const KIND: &str = "conditionalAccessPolicy";
    let find = |directory: &Directory, key: &str| {
        let wanted = id(key)?;
        let index = directory
            .policies
            .iter()
            .position(|policy| policy.id == wanted);
        index.ok_or_else(|| GraphError::not_found(key))
    };
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require_scope(READ)?;
            let policies = call.directory.policies.iter();
            let objects = policies.map(|policy| object(call.directory, policy));
            call.many(SET, KIND, objects, &["id", "displayName", "state"])
        }
        (&Method::POST, []) => {
            call.caller.require_scope(WRITE)?;
            licensed(call)?;
            let body = read(call.object()?)?;
            let created = call.authority.change(|directory| {
                if directory.policies.len() >= MAX_POLICIES {
                    return Err(GraphError::quota("policies"));
                }
                let policy = policy(directory, body, Uuid::new_v4(), call.now)?;
                let told = object(directory, &policy);
                directory.policies.push(policy);
                Ok(told)
            })?;
            call.created(SET, KIND, created)
        }
        (&Method::GET, [key]) => {
            call.caller.require_scope(READ)?;
            let policy = call.directory.policies.get(find(call.directory, key)?);
            let policy = policy.ok_or_else(|| GraphError::not_found(key))?;
            call.one(SET, KIND, object(call.directory, policy))
        }
        (&Method::PATCH, [key]) => {
            call.caller.require_scope(WRITE)?;
            licensed(call)?;
            let changes = call.object()?;
            call.authority.change(|directory| {
                let index = find(directory, key)?;
                let Some(old) = directory.policies.get(index).cloned() else {
                    return Err(GraphError::not_found(key));
                };
                let mut told = object(directory, &old);
                let told = told.as_object_mut().map(std::mem::take);
                let mut told = told.unwrap_or_default();
                for name in ["id", "createdDateTime", "modifiedDateTime"] {
                    if changes.contains_key(name) {
                        return Err(GraphError::read_only(name));
                    }
                    told.remove(name);
                }
                let changed = changed(told, changes.clone());
                let mut new = policy(directory, read(changed)?, old.id, call.now)?;
                new.registration.created = old.registration.created;
                new.registration.modified = Some(call.now);
                if !changes.contains_key("sessionControls") {
                    // Graph counts hours, a directory file also seconds.
                    new.sign_in_frequency = old.sign_in_frequency;
                }
                if let Some(place) = directory.policies.get_mut(index) {
                    *place = new;
                }
                Ok(())
            })?;
            Ok(Reply::Done)
        }
        (&Method::DELETE, [key]) => {
            call.caller.require_scope(WRITE)?;
            call.authority.change(|directory| {
                let index = find(directory, key)?;
                directory.policies.remove(index);
                Ok::<_, GraphError>(())
            })?;
            Ok(Reply::Done)
        }
        (_, [] | [_]) => Err(wrong_method()),
        (_, [_, other, ..]) => Err(super::no_segment(other)),
    }
}

fn read(body: Map<String, Value>) -> Result<Body, GraphError> {
    let mut body = Value::Object(body);
    for (place, names) in NOTHING {
        if let Some(Value::Object(object)) = body.pointer_mut(place) {
            let nothing =
                |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            object.retain(|name, value| !(names.contains(&name.as_str()) && nothing(value)));
        }
    }
    body::read(body.as_object_mut().map(std::mem::take).unwrap_or_default())
}

/// A condition that is named takes the place of the one that was there, with all that it does not say. Graph has been seen to keep what a
/// condition leaves out: whoever leaves something out shall notice here.
fn changed(mut told: Map<String, Value>, changes: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in changes {
        let conditions = match value {
            Value::Object(conditions) if name == "conditions" => conditions,
            value => {
                told.insert(name, value);
                continue;
            }
        };
        if let Some(Value::Object(there)) = told.get_mut("conditions") {
            there.extend(conditions);
        }
    }
    told
}

fn policy(
    directory: &Directory,
    body: Body,
    policy_id: Uuid,
    now: u64,
) -> Result<Policy, GraphError> {
    let name = body.display_name;
    if name.trim().is_empty() {
        return Err(invalid("displayName"));
    }
    short(&name, 256, "displayName", "ConditionalAccessPolicy")?;
    let types = body.conditions.client_app_types.unwrap_or_default();
    if types.iter().any(|kind| kind != "all") {
        return Err(unsupported("conditions.clientAppTypes other than all"));
    }
    let mut targets = targets(directory, body.conditions.applications)?.into_iter();
    let target = targets
        .next()
        .ok_or_else(|| invalid("conditions.applications"))?;
    let (users, excluded) = users(directory, body.conditions.users)?;
    let taken = directory
        .policies
        .iter()
        .any(|policy| policy.name == name && policy.id != policy_id);
    let unique = if taken {
        format!("{name} ({policy_id})")
    } else {
        name.clone()
    };
    let session = body.session_controls.unwrap_or_default();
    Ok(Policy {
        id: policy_id,
        target,
        users,
        require: require(&body.grant_controls)?,
        sign_in_frequency: session
            .sign_in_frequency
            .filter(|frequency| frequency.is_enabled)
            .map(frequency)
            .transpose()?,
        enabled: body.state == State::Enabled,
        registration: PolicyRegistration {
            display_name: (unique != name).then_some(name),
            also: targets.collect(),
            excluded,
            report_only: body.state == State::ReportOnly,
            created: Some(now),
            modified: None,
        },
        name: unique,
    })
}

fn invalid(property: &str) -> GraphError {
    GraphError::protocol(format!(
        "1007: Incoming ConditionalAccessPolicy object is null or does not match the schema: {property} is not valid."
    ))
}

fn unsupported(what: &str) -> GraphError {
    GraphError::protocol(format!("{what}: not supported by this authority."))
}

fn targets(directory: &Directory, asked: Applications) -> Result<Vec<Target>, GraphError> {
    if !asked.exclude_applications.is_empty() || !asked.include_user_actions.is_empty() {
        return Err(unsupported("excludeApplications and includeUserActions"));
    }
    let (apps, contexts) = (
        asked.include_applications,
        asked.include_authentication_context_class_references,
    );
    // One or the other: a policy is about applications or about contexts.
    if apps.is_empty() == contexts.is_empty() || apps.len() > MAX_LIST || contexts.len() > MAX_LIST
    {
        return Err(invalid("conditions.applications"));
    }
    let app = |text: &String| {
        if matches!(
            text.as_str(),
            "All" | "None" | "Office365" | "MicrosoftAdminPortals"
        ) {
            return Err(unsupported(
                "includeApplications other than application ids",
            ));
        }
        let id = form::guid(text)
            .ok_or_else(|| invalid("conditions.applications.includeApplications"))?;
        if directory.usable(id).is_none() {
            let why = json!({ id.to_string(): "ServicePrincipalNotFound" });
            return Err(GraphError::malformed(format!(
                "1034: Policy contains invalid applications: {why}"
            )));
        }
        Ok(Target::App(id.to_string()))
    };
    let context = |text: &String| {
        if is_auth_context(text) {
            Ok(Target::AuthContext(text.clone()))
        } else {
            Err(invalid(
                "conditions.applications.includeAuthenticationContextClassReferences",
            ))
        }
    };
    apps.iter()
        .map(app)
        .chain(contexts.iter().map(context))
        .collect()
}

/// Whom it applies to and whom it spares, by the names of the directory.
fn users(
    directory: &Directory,
    asked: Users,
) -> Result<(Option<Vec<String>>, Vec<String>), GraphError> {
    if !asked.include_roles.is_empty() || !asked.exclude_roles.is_empty() {
        return Err(unsupported("includeRoles and excludeRoles"));
    }
    let lists = [
        &asked.include_users,
        &asked.include_groups,
        &asked.exclude_users,
        &asked.exclude_groups,
    ];
    let included = !asked.include_users.is_empty() || !asked.include_groups.is_empty();
    if !included || lists.iter().any(|list| list.len() > MAX_LIST) {
        return Err(invalid("conditions.users"));
    }
    let all = asked.include_users.iter().any(|user| user == "All");
    let none = ["All", "None"];
    let names = |users: &[String], groups: &[String]| -> Result<Vec<String>, GraphError> {
        let users = users.iter().filter(|user| !none.contains(&user.as_str()));
        let user = |text: &String| {
            let id = form::guid(text);
            let known = directory.users.iter().find(|user| Some(user.oid) == id);
            known
                .map(|user| user.username.clone())
                .ok_or_else(|| GraphError::protocol("1018: Policy contains invalid users."))
        };
        let group = |text: &String| {
            let id = form::guid(text);
            let known = organization::names(directory)
                .into_iter()
                .find(|name| Some(organization::group_id(name)) == id);
            known
                .map(str::to_owned)
                .ok_or_else(|| GraphError::protocol("1019: Policy contains invalid groups."))
        };
        users.map(user).chain(groups.iter().map(group)).collect()
    };
    let included = names(&asked.include_users, &asked.include_groups)?;
    let excluded = names(&asked.exclude_users, &asked.exclude_groups)?;
    Ok(((!all).then_some(included), excluded))
}

fn require(controls: &GrantControls) -> Result<Require, GraphError> {
    if !matches!(controls.operator.as_str(), "AND" | "OR") {
        return Err(invalid("grantControls.operator"));
    }
    if !controls.custom_authentication_factors.is_empty() || !controls.terms_of_use.is_empty() {
        return Err(unsupported("customAuthenticationFactors and termsOfUse"));
    }
    match controls.built_in_controls.as_slice() {
        [control] if control == "mfa" => Ok(Require::Mfa),
        [control] if control == "block" => Ok(Require::Block),
        _ => Err(unsupported("builtInControls other than mfa or block alone")),
    }
}

/// Seconds.
fn frequency(asked: Frequency) -> Result<u64, GraphError> {
    let usual =
        |text: &Option<String>, known: &str| text.as_deref().is_none_or(|text| text == known);
    if !usual(
        &asked.authentication_type,
        "primaryAndSecondaryAuthentication",
    ) || !usual(&asked.frequency_interval, "timeBased")
    {
        return Err(unsupported(
            "signInFrequency other than timeBased for primaryAndSecondaryAuthentication",
        ));
    }
    let (unit, most) = match asked.r#type {
        Unit::Days => (DAY, MOST_DAYS),
        Unit::Hours => (HOUR, MOST_HOURS),
    };
    let value = u64::from(asked.value);
    if (1..=most).contains(&value) {
        Ok(value * unit)
    } else {
        Err(invalid("sessionControls.signInFrequency.value"))
    }
}

fn object(directory: &Directory, policy: &Policy) -> Value {
    let registration = &policy.registration;
    let state = match (policy.enabled, registration.report_only) {
        (true, _) => "enabled",
        (false, true) => "enabledForReportingButNotEnforced",
        (false, false) => "disabled",
    };
    let (mut apps, mut contexts) = (Vec::new(), Vec::new());
    for target in policy.targets() {
        match target {
            Target::App(name) => {
                let app = directory.apps.iter().find(|app| app.name == *name);
                apps.push(app.map_or_else(|| name.clone(), |app| app.client_id.to_string()));
            }
            Target::AuthContext(id) => contexts.push(id.clone()),
        }
    }
    let (include_users, include_groups) = match &policy.users {
        None => (vec!["All".to_owned()], Vec::new()),
        Some(names) if names.is_empty() => (vec!["None".to_owned()], Vec::new()),
        Some(names) => ids(directory, names),
    };
    let (exclude_users, exclude_groups) = ids(directory, &registration.excluded);
    let control = match policy.require {
        Require::Mfa => "mfa",
        Require::Block => "block",
    };
    json!({
        "id": policy.id.to_string(),
        "displayName": registration.display_name.as_deref().unwrap_or(&policy.name),
        "createdDateTime": dates::value(registration.created),
        "modifiedDateTime": dates::value(registration.modified),
        "state": state,
        "conditions": {
            "authenticationFlows": null,
            "clientApplications": null,
            "clientAppTypes": ["all"],
            "devices": null,
            "insiderRiskLevels": null,
            "locations": null,
            "platforms": null,
            "servicePrincipalRiskLevels": [],
            "signInRiskLevels": [],
            "userRiskLevels": [],
            "applications": {
                "applicationFilter": null,
                "includeApplications": apps,
                "excludeApplications": [],
                "includeUserActions": [],
                "includeAuthenticationContextClassReferences": contexts,
            },
            "users": {
                "includeUsers": include_users,
                "excludeUsers": exclude_users,
                "includeGroups": include_groups,
                "excludeGroups": exclude_groups,
                "includeGuestsOrExternalUsers": null,
                "excludeGuestsOrExternalUsers": null,
                "includeRoles": [],
                "excludeRoles": [],
            },
        },
        "grantControls": {
            "operator": "OR",
            "builtInControls": [control],
            "customAuthenticationFactors": [],
            "termsOfUse": [],
        },
        "sessionControls": policy.sign_in_frequency.and_then(told_frequency),
    })
}

/// Ids of users and ids of groups.
fn ids(directory: &Directory, names: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for name in names {
        let user = directory
            .users
            .iter()
            .find(|user| user.username.eq_ignore_ascii_case(name));
        match user {
            Some(user) => users.push(user.oid.to_string()),
            None => groups.push(organization::group_id(name).to_string()),
        }
    }
    (users, groups)
}

/// The session control in Graph's words, which are 1 to 365 days or 1 to 23 hours; `None` where they cannot say it.
fn told_frequency(seconds: u64) -> Option<Value> {
    let whole = |unit: u64, most: u64| {
        let value = seconds / unit;
        (seconds.is_multiple_of(unit) && (1..=most).contains(&value)).then_some(value)
    };
    let (value, unit) = match (whole(DAY, MOST_DAYS), whole(HOUR, MOST_HOURS)) {
        (Some(days), _) => (days, "days"),
        (None, Some(hours)) => (hours, "hours"),
        (None, None) => return None,
    };
    Some(json!({
        "signInFrequency": {
            "value": value,
            "type": unit,
            "isEnabled": true,
            "authenticationType": "primaryAndSecondaryAuthentication",
            "frequencyInterval": "timeBased",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_is_told_only_if_it_can_be_told_as_it_is() {
        let told = |seconds| {
            told_frequency(seconds).map(|told| {
                let told = &told["signInFrequency"];
                let read: Frequency = serde_json::from_value(told.clone()).unwrap();
                assert_eq!(frequency(read).unwrap(), seconds);
                format!("{} {}", told["value"], told["type"].as_str().unwrap())
            })
        };
        for (seconds, text) in [
            (HOUR, "1 hours"),
            (23 * HOUR, "23 hours"),
            (DAY, "1 days"),
            (365 * DAY, "365 days"),
        ] {
            assert_eq!(told(seconds).as_deref(), Some(text));
        }
        for seconds in [0, 45, HOUR - 1, HOUR + 1, 25 * HOUR, DAY + 1, 366 * DAY] {
            assert_eq!(told(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn a_policy_of_the_file_can_be_told_and_read_again() {
        let directory = Directory::demo();
        for old in &directory.policies {
            let mut told = object(&directory, old);
            let told = told.as_object_mut().unwrap();
            for name in ["id", "createdDateTime", "modifiedDateTime"] {
                told.remove(name);
            }
            let body = read(Map::clone(told)).unwrap();
            let new = policy(&directory, body, old.id, 0).unwrap();
            assert_eq!(
                (new.users, new.require, new.enabled),
                (old.users.clone(), old.require, old.enabled)
            );
        }
    }
}
