//! Conditional Access: what a policy that is there lacks, and what a tenant without it is spared.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Failure, Outcome, Run, is, text, whole};
use crate::tenant::graph::GraphError;
use crate::tenant::merge;
use crate::tenant::plan::{Action, POLICIES, Step, Target};
use crate::tenant::record::Kind;

const APPLICATIONS: &str = "/conditions/applications/includeApplications";
const USERS: &str = "/conditions/users/includeUsers";

impl Run<'_> {
    /// The context and its policies, left out where there is no Conditional Access.
    pub(super) async fn conditional(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let outcome = match (&step.action, &self.no_context) {
            (Action::Policy(Target::AuthenticationContext), Some(why)) => {
                return Ok(Outcome::LeftOut(why.clone()));
            }
            (Action::Policy(_), _) => self.object(step, Kind::Policy).await,
            _ => self.context(step).await,
        };
        match outcome {
            Err(Failure::Graph(GraphError::NotLicensed { said, .. })) => {
                if step.action == Action::AuthenticationContext {
                    self.no_context = Some(format!("there is no {}", step.key));
                }
                Ok(Outcome::LeftOut(format!(
                    "the tenant has no licence for Conditional Access (Microsoft Entra ID P1). {said}"
                )))
            }
            other => other,
        }
    }

    /// Sets right what the choices of now ask for, and takes nothing away but applications that are gone.
    pub(super) async fn adjust_policy(
        &mut self,
        step: &Step,
        id: &str,
        there: &Value,
    ) -> Result<bool, Failure> {
        let wanted = step.body(&self.record, &self.ids).map_err(whole)?;
        let mut gone = Vec::new();
        if !holds(there, &wanted, APPLICATIONS) {
            // Graph takes no policy that is about an application without a service principal.
            for app in strings(there, APPLICATIONS) {
                let path = format!("servicePrincipals(appId='{app}')");
                if Uuid::try_parse(&app).is_ok()
                    && self.graph.get(&path, "$select=id").await?.is_none()
                {
                    gone.push(app);
                }
            }
        }
        let Some(body) = policy_changes(there, &wanted, step.enforced(), &gone) else {
            return Ok(false);
        };
        if body.get("state").is_some() {
            self.note_state(step, &body);
        }
        self.patch(format!("{POLICIES}/{id}"), body).await
    }

    /// What Graph tells about a policy, not what was asked for, is what is shown of it.
    pub(super) fn note_state(&mut self, step: &Step, told: &Value) {
        if let (Action::Policy(_), Some(state)) = (&step.action, text(told, "state")) {
            self.policies.insert(step.key.clone(), state);
        }
    }
}

/// The word for the `state` of a policy.
pub(in crate::tenant) fn word(state: &str) -> &str {
    match state {
        "enabled" => "enforced",
        "enabledForReportingButNotEnforced" => "report-only",
        other => other,
    }
}

/// What a policy lacks. One that somebody has enforced stays so. Conditions are sent as a whole, with what others have set in them: the
/// reference does not say what a part of them does to the rest.
fn policy_changes(there: &Value, wanted: &Value, enforce: bool, gone: &[String]) -> Option<Value> {
    let mut changes = Map::new();
    if enforce && !is(there, "state", "enabled") {
        changes.insert("state".to_owned(), json!("enabled"));
    }
    let mut asked = Map::new();
    for (part, lists) in [
        (
            "applications",
            &[
                "includeApplications",
                "includeAuthenticationContextClassReferences",
            ][..],
        ),
        ("users", &["includeUsers", "includeGroups"][..]),
    ] {
        let mut lacking = Map::new();
        for list in lists {
            let pointer = format!("/conditions/{part}/{list}");
            if !holds(there, wanted, &pointer) {
                lacking.insert((*list).to_owned(), json!(strings(wanted, &pointer)));
            }
        }
        if !lacking.is_empty() {
            asked.insert(part.to_owned(), lacking.into());
        }
    }
    if !asked.is_empty() {
        let current = there.get("conditions").unwrap_or(&Value::Null);
        let mut conditions = told(&merge::joined(current, &asked.into()));
        for pointer in [APPLICATIONS, USERS] {
            let list = pointer.trim_start_matches("/conditions");
            if let Some(Value::Array(list)) = conditions.pointer_mut(list) {
                // `None` stands alone.
                list.retain(|value| {
                    value != "None" && !gone.iter().any(|gone| value == gone.as_str())
                });
            }
        }
        changes.insert("conditions".to_owned(), conditions);
    }
    (!changes.is_empty()).then(|| changes.into())
}

/// Whether a list has everything that is wanted; `All` is everything.
fn holds(there: &Value, wanted: &Value, pointer: &str) -> bool {
    let there = strings(there, pointer);
    let has = |wanted: &String| there.iter().any(|value| value.eq_ignore_ascii_case(wanted));
    there.iter().any(|value| value == "All") || strings(wanted, pointer).iter().all(has)
}

fn strings(object: &Value, pointer: &str) -> Vec<String> {
    let values = object.pointer(pointer).and_then(Value::as_array);
    let values = values.into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// As it can be sent back: without what is not set, and without the annotations of an answer.
fn told(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, value)| {
                !value.is_null() && (!name.contains("@odata.") || name.as_str() == "@odata.type")
            })
            .map(|(name, value)| (name.clone(), told(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(told).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
    const GLASS: &str = "61a55000-0000-4000-8000-000000000001";

    fn there() -> Value {
        json!({
            "state": "enabledForReportingButNotEnforced",
            "conditions": {
                "clientAppTypes": ["all"],
                "platforms": null,
                "applications": { "includeApplications": ["old", "theirs"], "excludeApplications": [] },
                "users": {
                    "includeUsers": ["bob"],
                    "excludeUsers": [GLASS],
                    "includeUsers@odata.context": "x",
                    "excludeGuestsOrExternalUsers": { "externalTenants": { "@odata.type": "t" } },
                },
            },
        })
    }

    fn wanted(app: &str, user: &str) -> Value {
        json!({ "conditions": {
            "applications": { "includeApplications": [app] },
            "users": { "includeUsers": [user] },
        } })
    }

    #[test]
    fn what_is_there_is_not_sent() {
        assert_eq!(
            policy_changes(&there(), &wanted("old", "bob"), false, &[]),
            None
        );
        let mut all = there();
        all["conditions"]["users"]["includeUsers"] = json!(["All"]);
        assert_eq!(
            policy_changes(&all, &wanted("theirs", ALICE), false, &[]),
            None
        );
        let enforced = policy_changes(&there(), &wanted("old", "bob"), true, &[]);
        assert_eq!(enforced, Some(json!({ "state": "enabled" })));
    }

    #[test]
    fn exclusions_and_what_others_added_stay() {
        let sent = policy_changes(&there(), &wanted("old", ALICE), false, &[]).unwrap();
        assert_eq!(
            sent,
            json!({ "conditions": {
                "clientAppTypes": ["all"],
                "applications": { "includeApplications": ["old", "theirs"], "excludeApplications": [] },
                "users": {
                    "includeUsers": ["bob", ALICE],
                    "excludeUsers": [GLASS],
                    "excludeGuestsOrExternalUsers": { "externalTenants": { "@odata.type": "t" } },
                },
            } })
        );
    }

    #[test]
    fn only_an_application_that_is_gone_makes_room() {
        let apps = |sent: Option<Value>| {
            sent.unwrap()["conditions"]["applications"]["includeApplications"].clone()
        };
        let sent = policy_changes(&there(), &wanted("new", "bob"), false, &["old".to_owned()]);
        assert_eq!(apps(sent), json!(["theirs", "new"]));
        let mut none = there();
        none["conditions"]["applications"]["includeApplications"] = json!(["None"]);
        let sent = policy_changes(&none, &wanted("new", "bob"), false, &[]);
        assert_eq!(apps(sent), json!(["new"]));
    }

    #[test]
    fn a_part_that_is_missing_does_not_drop_the_state() {
        let mut bare = wanted("old", "bob");
        bare["conditions"].as_object_mut().unwrap().remove("users");
        let sent = policy_changes(&there(), &bare, true, &[]);
        assert_eq!(sent, Some(json!({ "state": "enabled" })));
    }
}
