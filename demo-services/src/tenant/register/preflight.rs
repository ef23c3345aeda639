//! What is looked at before anything is made: the tenant, the record, the people and the names.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{Failure, LOOKS, RegisterError, Run, text};
use crate::tenant::graph::{Graph, GraphError, NoWait};
use crate::tenant::plan::{Action, Choices, GRAPH, Ids, Plan, Step};
use crate::tenant::record::{Record, RecordError};
use crate::tenant::whose::{Whose, whose};

/// Between looks at a list.
const SHORT: Duration = Duration::from_secs(3);

/// The tenant's id.
pub(super) async fn tenant(graph: &Graph, choices: &Choices) -> Result<String, RegisterError> {
    match whose(graph, &choices.tenant).await {
        Ok(Whose::Asked(id)) => Ok(id),
        Ok(Whose::Another(actual)) => Err(RegisterError::AnotherTenant {
            asked: choices.tenant.clone(),
            actual,
        }),
        Err(error) => Err(asking(error)),
    }
}

/// A second run may not be about something else.
pub(super) fn same_registration(
    record: &Record,
    choices: &Choices,
    tenant: &str,
    state: &Path,
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
                path: state.to_owned(),
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
        Err(error) => return Err(asking(error)),
    };
    let path = format!("servicePrincipals(appId='{GRAPH}')");
    let principal = graph.get(&path, "$select=id").await.map_err(asking)?;
    let mut ids = Ids {
        user,
        graph_principal: principal.and_then(|principal| text(&principal, "id")),
        ..Ids::default()
    };
    if ids.graph_principal.is_none() {
        return Err(RegisterError::NoGraph);
    }
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
    Ok(found.map_err(asking)?.and_then(|found| text(&found, "id")))
}

/// Why nothing was changed.
fn asking(error: GraphError) -> RegisterError {
    match error {
        GraphError::Stopped => RegisterError::Stopped,
        error => RegisterError::Asking(error),
    }
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
                let named = self.named_after_all(step).await;
                named.map_err(|failure| match failure {
                    Failure::Graph(error) => asking(error),
                    other => self.failed(step, other),
                })?;
            }
        }
        Ok(())
    }

    /// The application of this name. Lists have what was removed a moment ago for a little longer.
    pub(super) async fn named_after_all(&self, step: &Step) -> Result<Option<Value>, Failure> {
        let mut look = 0;
        loop {
            match self.named(step).await {
                Err(Failure::Whole(taken @ RegisterError::NameTaken { .. })) if look < LOOKS => {
                    look += 1;
                    let why = format!("{step} is there already; was it just removed?");
                    match self.graph.wait(SHORT, why).await {
                        Ok(()) => {}
                        Err(NoWait::TimeIsUp) => return Err(Failure::Whole(taken)),
                        Err(NoWait::Stopped) => return Err(GraphError::Stopped.into()),
                    }
                }
                other => return other,
            }
        }
    }
}
