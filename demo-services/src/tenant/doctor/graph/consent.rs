//! Whether the delegated permissions that a client needs are consented to.

use serde_json::Value;

use super::array;
use super::asked::Edge;
use super::reader::{Told, Untold};
use crate::tenant::doctor::codes;
use crate::tenant::doctor::finding::{Check, Finding};

/// So many scopes of an API are told by name; Microsoft Graph has hundreds.
const SHOWN: usize = 8;

/// `grants` are the client's, `resources` what the scope's API is in this tenant, `applications` those of the configuration.
pub(super) fn check(
    edge: &Edge<'_>,
    grants: &Told<Vec<Value>>,
    resources: &Told<Vec<Value>>,
    applications: &[&Value],
) -> Finding {
    let (service, scope) = (edge.service, edge.scope);
    let skipped =
        |reason| Check::Consent.skipped(service, format!("{scope}: not looked at: {reason}"));
    let grants = match grants {
        Ok(grants) => grants,
        Err(Untold::Gone) => {
            return Check::Consent.error(
                service,
                format!(
                    "the application {} has no service principal in this tenant: nothing can be consented to for it",
                    edge.client_id
                ),
                "create its service principal (`register` does), or grant admin consent under API permissions, which creates it",
            );
        }
        Err(untold) => {
            return skipped(
                untold.reason("Directory.Read.All (or DelegatedPermissionGrant.ReadWrite.All)"),
            );
        }
    };
    let resource = match resources {
        Ok(resources) => resources.first(),
        Err(untold) => return skipped(untold.reason("Application.Read.All")),
    };
    let Some(resource) = resource else {
        let (meaning, mend) = codes::explain(500_011);
        return Check::Consent.error(service, format!("{scope}: {meaning}"), mend);
    };
    let name = scope.rsplit_once('/').map_or(scope, |(_, name)| name);
    if let Some(exposed) = lacks(resource, name) {
        let meaning = codes::explain(650_053).0;
        return Check::Consent.error(
            service,
            format!("{scope}: {meaning}"),
            format!("correct `{}`; the API exposes {exposed}", edge.key),
        );
    }
    let kinds = consents(grants, resource, name);
    let pre_authorized = applications
        .iter()
        .filter(|application| same_guid(application.get("appId"), resource.get("appId")))
        .any(|application| is_pre_authorized(application, edge.client_id, name));
    if pre_authorized || kinds.contains(&"AllPrincipals") {
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

/// The API's scopes, where none of them has this name.
fn lacks(resource: &Value, name: &str) -> Option<String> {
    let scopes = resource.get("oauth2PermissionScopes")?.as_array()?;
    let is_enabled =
        |scope: &&Value| scope.get("isEnabled").and_then(Value::as_bool) != Some(false);
    let exposed = scopes.iter().filter(is_enabled);
    let exposed: Vec<&str> = exposed
        .filter_map(|scope| scope.get("value")?.as_str())
        .collect();
    if name == ".default" || exposed.contains(&name) {
        return None;
    }
    Some(match exposed.as_slice() {
        [] => "none".to_owned(),
        some if some.len() > SHOWN => format!("{} others", some.len()),
        some => some.join(", "),
    })
}

/// `AllPrincipals` or `Principal`, of each grant that holds this scope of this API.
fn consents<'a>(grants: &'a [Value], resource: &Value, name: &str) -> Vec<&'a str> {
    let holds = |grant: &&Value| {
        let scopes = grant
            .get("scope")
            .and_then(Value::as_str)
            .unwrap_or_default();
        same_guid(grant.get("resourceId"), resource.get("id"))
            && (name == ".default" || scopes.split(' ').any(|held| held == name))
    };
    let kinds = grants
        .iter()
        .filter(holds)
        .filter_map(|grant| grant.get("consentType")?.as_str());
    kinds.collect()
}

/// The API lists the client, with the id of this very scope.
fn is_pre_authorized(application: &Value, client_id: &str, name: &str) -> bool {
    let api = application.get("api").unwrap_or(&Value::Null);
    let is_meant = |scope: &&Value| {
        name == ".default" || scope.get("value").and_then(Value::as_str) == Some(name)
    };
    let scopes: Vec<Option<&Value>> = array(api, "oauth2PermissionScopes")
        .iter()
        .filter(is_meant)
        .map(|scope| scope.get("id"))
        .collect();
    array(api, "preAuthorizedApplications")
        .iter()
        .filter(|client| is_guid(client.get("appId"), client_id))
        .flat_map(|client| array(client, "delegatedPermissionIds"))
        .any(|id| scopes.iter().any(|scope| same_guid(*scope, Some(id))))
}

fn is_guid(value: Option<&Value>, expected: &str) -> bool {
    let value = value.and_then(Value::as_str);
    value.is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

fn same_guid(one: Option<&Value>, other: Option<&Value>) -> bool {
    let other = other.and_then(Value::as_str);
    other.is_some_and(|other| is_guid(one, other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tenant::doctor::finding::{Service, Severity};

    const EDGE: Edge<'static> = Edge {
        service: Service::SpaBackend,
        client_id: "c1",
        key: "scope",
        scope: "api://m/read",
    };

    fn resources() -> Told<Vec<Value>> {
        Ok(vec![json!({ "id": "p2", "appId": "c2" })])
    }

    fn grant(kind: &str, resource: &str, scope: &str) -> Value {
        json!({ "consentType": kind, "resourceId": resource, "scope": scope })
    }

    #[test]
    fn a_grant_counts_for_its_api_and_its_scopes() {
        for (grant, severity) in [
            (grant("AllPrincipals", "p2", "read write"), Severity::Ok),
            (grant("Principal", "p2", "write read"), Severity::Warning),
            (grant("AllPrincipals", "p3", "read"), Severity::Error),
            (grant("AllPrincipals", "p2", "reads"), Severity::Error),
        ] {
            let found = check(&EDGE, &Ok(vec![grant]), &resources(), &[]);
            assert_eq!(found.severity, severity, "{}", found.says);
        }
    }

    #[test]
    fn a_scope_that_the_api_does_not_expose_is_no_matter_of_consent() {
        let exposes = |scopes: Value| {
            let resource = json!({ "id": "p2", "appId": "c2", "oauth2PermissionScopes": scopes });
            let granted = Ok(vec![grant("AllPrincipals", "p2", "read")]);
            check(&EDGE, &granted, &Ok(vec![resource]), &[])
        };
        let read = json!({ "value": "read", "isEnabled": true });
        assert_eq!(exposes(json!([read])).severity, Severity::Ok);
        for scopes in [
            json!([{ "value": "raed", "isEnabled": true }]),
            json!([{ "value": "read", "isEnabled": false }, { "value": "raed" }]),
        ] {
            let found = exposes(scopes);
            assert!(found.says.contains("no such scope"), "{}", found.says);
            let mend = found.mend.unwrap();
            assert_eq!(mend, "correct `scope`; the API exposes raed");
        }
        let found = exposes(vec![json!({ "value": "x" }); SHOWN + 1].into());
        assert!(found.mend.unwrap().ends_with("9 others"));
    }

    #[test]
    fn a_pre_authorization_counts_for_its_client_and_its_scope() {
        let application = |client: &str, scope: &str| {
            json!({ "appId": "C2", "api": {
                "oauth2PermissionScopes": [{ "id": "s1", "value": "read" }, { "id": "s2", "value": "write" }],
                "preAuthorizedApplications": [{ "appId": client, "delegatedPermissionIds": [scope] }],
            } })
        };
        for (client, scope, severity) in [
            ("C1", "S1", Severity::Ok),
            ("c1", "s2", Severity::Error),
            ("c9", "s1", Severity::Error),
        ] {
            let application = application(client, scope);
            let found = check(&EDGE, &Ok(Vec::new()), &resources(), &[&application]);
            assert_eq!(found.severity, severity, "{client} {scope}: {}", found.says);
        }
    }
}
