//! What is looked at before anything is made: the tenant, the record, the people and the names.

use serde_json::Value;
use uuid::Uuid;

use super::{Failure, RegisterError, Run, text};
use crate::tenant::graph::{Graph, GraphError};
use crate::tenant::plan::{Action, Choices, GRAPH, Ids, Plan};
use crate::tenant::record::{Record, RecordError, StateFile};

/// The id of the tenant that the token is good for, which must be the one that was asked for.
pub(super) async fn tenant(graph: &Graph, choices: &Choices) -> Result<String, RegisterError> {
    let asked = choices.tenant.clone();
    let found = match graph
        .list("organization", "$select=id,verifiedDomains")
        .await
    {
        Ok(found) => found,
        // A client without a user may lack the permission for it; its token was asked of that tenant.
        Err(GraphError::Forbidden { .. }) => return Ok(asked),
        Err(error) => return Err(RegisterError::Asking(error)),
    };
    let Some((id, tenant)) = found
        .first()
        .and_then(|tenant| Some((text(tenant, "id")?, tenant)))
    else {
        return Ok(asked);
    };
    let domains = tenant.get("verifiedDomains").and_then(Value::as_array);
    let mut domains = domains
        .into_iter()
        .flatten()
        .filter_map(|domain| text(domain, "name"));
    if id.eq_ignore_ascii_case(&asked) || domains.any(|domain| domain.eq_ignore_ascii_case(&asked))
    {
        Ok(id)
    } else {
        Err(RegisterError::AnotherTenant { asked, actual: id })
    }
}

/// A second run may not be about something else.
pub(super) fn same_registration(
    record: &Record,
    choices: &Choices,
    tenant: &str,
    state: &StateFile,
) -> Result<(), RegisterError> {
    for (what, recorded, asked) in [
        ("the tenant", record.tenant.as_str(), tenant),
        ("the cloud", &record.cloud, &choices.cloud),
        (
            "the authority",
            record.authority.as_str(),
            choices.authority.as_str(),
        ),
        (
            "Microsoft Graph",
            record.graph.as_str(),
            choices.graph.as_str(),
        ),
        ("the prefix", &record.prefix, &choices.prefix),
    ] {
        if !recorded.eq_ignore_ascii_case(asked) {
            return Err(RecordError::Another {
                path: state.path().to_owned(),
                what,
                recorded: recorded.to_owned(),
                asked: asked.to_owned(),
            }
            .into());
        }
    }
    Ok(())
}

pub(super) async fn ids(graph: &Graph, choices: &Choices) -> Result<Ids, RegisterError> {
    let user = match graph.get("me", "$select=id").await {
        Ok(me) => me.and_then(|me| text(&me, "id")),
        // A token without a user has no /me.
        Err(GraphError::Refused { .. } | GraphError::Forbidden { .. }) => None,
        Err(error) => return Err(RegisterError::Asking(error)),
    };
    let path = format!("servicePrincipals(appId='{GRAPH}')");
    let principal = graph
        .get(&path, "$select=id")
        .await
        .map_err(RegisterError::Asking)?;
    let mut ids = Ids {
        user,
        graph_principal: principal.and_then(|principal| text(&principal, "id")),
        ..Ids::default()
    };
    for name in &choices.mfa_users {
        let unknown = || RegisterError::NoUser(name.clone());
        let id = lookup(graph, "users", name).await?.ok_or_else(unknown)?;
        ids.mfa_users.push(id);
    }
    for name in &choices.mfa_groups {
        let unknown = || RegisterError::NoGroup(name.clone());
        Uuid::try_parse(name).map_err(|_| unknown())?;
        let id = lookup(graph, "groups", name).await?.ok_or_else(unknown)?;
        ids.mfa_groups.push(id);
    }
    Ok(ids)
}

async fn lookup(graph: &Graph, list: &str, name: &str) -> Result<Option<String>, RegisterError> {
    let plain = !name.is_empty() && name.len() <= 256 && !name.starts_with('.');
    if !plain
        || name.contains(|letter: char| {
            letter.is_control() || matches!(letter, '/' | '\\' | '(' | '$')
        })
    {
        return Ok(None);
    }
    let found = graph.get(&format!("{list}/{name}"), "$select=id").await;
    Ok(found
        .map_err(RegisterError::Asking)?
        .and_then(|found| text(&found, "id")))
}

impl Run<'_> {
    /// Refuses before anything is made, not after half of it.
    pub(super) async fn check_names(&self, plan: &Plan) -> Result<(), RegisterError> {
        for step in plan
            .steps
            .iter()
            .filter(|step| step.action == Action::Application)
        {
            if self.record.app(&step.key).is_none() {
                self.named(step).await.map_err(|failure| match failure {
                    Failure::Graph(error) => RegisterError::Asking(error),
                    other => self.failed(step, other),
                })?;
            }
        }
        Ok(())
    }
}
