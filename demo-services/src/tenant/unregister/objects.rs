//! Removes an object from the tenant after a look whether it is one of the record's run: the record is a file, and may have been changed.

use std::collections::{HashMap, HashSet};

use http::Method;
use serde_json::{Value, json};

use super::super::graph::{Graph, GraphError, backoff};
use super::super::plan::{CONTEXTS, POLICIES, Request, policy_names};
use super::super::record::{Kind, Object, Record};
use super::super::register::is_of;

/// How often a context is tried, which Graph does not let go while it believes that a policy uses it.
const ATTEMPTS: u32 = 4;

/// What has become of an object.
pub(super) enum Fate {
    Removed,
    /// Graph does not know it, or not yet everywhere.
    Absent,
    /// What is there is somebody else's.
    Theirs,
}

/// The objects of one run.
pub(super) struct Objects<'a> {
    graph: &'a Graph,
    tag: String,
    policies: Vec<String>,
    /// Application ids (`appId`) of applications that carry the tag.
    clients: HashSet<String>,
    /// Whether a service principal is one of the run, by its id.
    principals: HashMap<String, bool>,
}

impl<'a> Objects<'a> {
    /// Of the record's run. `clients` are those of the applications that carry its tag.
    pub(super) fn new(graph: &'a Graph, record: &Record, clients: HashSet<String>) -> Self {
        Self {
            graph,
            tag: record.tag(),
            policies: policy_names(record)
                .into_iter()
                .map(|(_, name)| name)
                .collect(),
            clients,
            principals: HashMap::new(),
        }
    }

    /// Removes it if it is there and ours.
    pub(super) async fn remove(&mut self, object: &Object) -> Result<Fate, GraphError> {
        let id = &object.id;
        let (path, is_ours) = match object.kind {
            Kind::Application => {
                let path = format!("applications/{id}");
                let found = self.graph.get(&path, "$select=id,tags").await?;
                (path, found.map(|found| has_tag(&found, &self.tag)))
            }
            Kind::ServicePrincipal => {
                (format!("servicePrincipals/{id}"), self.principal(id).await?)
            }
            Kind::Grant => {
                let path = format!("oauth2PermissionGrants/{id}");
                let found = self.graph.get(&path, "").await?;
                (path, self.belongs(found, "clientId").await?)
            }
            Kind::RoleAssignment => {
                let resource = object.parent.as_deref().unwrap_or_default();
                let list = format!("servicePrincipals/{resource}/appRoleAssignedTo");
                let found = self.listed(&list, id).await?;
                let is_ours = self.belongs(found, "principalId").await?;
                (format!("{list}/{id}"), is_ours)
            }
            Kind::Policy => {
                let path = format!("{POLICIES}/{id}");
                let found = self.graph.get(&path, "").await?;
                let named = |policy: Value| {
                    let name = policy.get("displayName").and_then(Value::as_str);
                    self.policies.iter().any(|ours| Some(ours.as_str()) == name)
                };
                (path, found.map(named))
            }
            Kind::AuthenticationContext => return self.context(id).await,
            // It went with its application, before.
            Kind::Certificate | Kind::Secret => return Ok(Fate::Absent),
        };
        match is_ours {
            None => Ok(Fate::Absent),
            Some(false) => Ok(Fate::Theirs),
            Some(true) => self.delete(&path).await,
        }
    }

    async fn delete(&self, path: &str) -> Result<Fate, GraphError> {
        let was_there = self.graph.delete(path).await?;
        Ok(if was_there {
            Fate::Removed
        } else {
            Fate::Absent
        })
    }

    /// Whether the service principal is of the run: by its own tag or, if it came another way, by its application's. `None` if there is none.
    async fn principal(&mut self, id: &str) -> Result<Option<bool>, GraphError> {
        let path = format!("servicePrincipals/{id}");
        let Some(found) = self.graph.get(&path, "$select=id,appId,tags").await? else {
            return Ok(None);
        };
        let client = found.get("appId").and_then(Value::as_str);
        let is_ours = has_tag(&found, &self.tag)
            || client.is_some_and(|client| self.clients.contains(client));
        self.principals.insert(id.to_owned(), is_ours);
        Ok(Some(is_ours))
    }

    /// Whether a grant or an assignment was given to a service principal of the run. Of one that is gone nobody else has any.
    async fn belongs(
        &mut self,
        found: Option<Value>,
        holder: &str,
    ) -> Result<Option<bool>, GraphError> {
        let Some(found) = found else { return Ok(None) };
        let Some(holder) = found.get(holder).and_then(Value::as_str) else {
            return Ok(Some(false));
        };
        if let Some(known) = self.principals.get(holder) {
            return Ok(Some(*known));
        }
        self.principal(holder).await
    }

    /// An entry of a list that may be gone as a whole.
    async fn listed(&self, list: &str, id: &str) -> Result<Option<Value>, GraphError> {
        let all = match self.graph.list(list, "").await {
            Ok(all) => all,
            Err(GraphError::Gone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_it = |entry: &Value| entry.get("id").and_then(Value::as_str) == Some(id);
        Ok(all.into_iter().find(is_it))
    }

    /// Graph deletes a context only when it is not published and no policy uses it.
    async fn context(&self, id: &str) -> Result<Fate, GraphError> {
        let path = format!("{CONTEXTS}/{id}");
        // A PATCH would make it again.
        let Some(context) = self.graph.get(&path, "").await? else {
            return Ok(Fate::Absent);
        };
        // Its id is the same for everybody.
        if !is_of(&context, &self.tag) {
            return Ok(Fate::Theirs);
        }
        // Looked at first: others would miss a context that is withdrawn and then not deleted. Our own policies are gone by now, but
        // perhaps not everywhere.
        let mut attempt = 1;
        while let Some(by) = self.user_of(id).await? {
            let why = format!("{id} is still used by {by:?}");
            let what = format!("authentication context {id}");
            let in_use = GraphError::InUse { what, by };
            if attempt >= ATTEMPTS {
                return Err(in_use);
            }
            if let Err(no) = self.graph.wait(backoff(attempt), why).await {
                return Err(no.told(in_use));
            }
            attempt += 1;
        }
        if context.get("isAvailable") != Some(&json!(false)) {
            let withdraw = Request {
                method: Method::PATCH,
                path: path.clone(),
                body: json!({ "isAvailable": false }),
            };
            self.graph.write(&withdraw).await?;
        }
        self.delete(&path).await
    }

    /// The name of a policy that is about this context.
    async fn user_of(&self, id: &str) -> Result<Option<String>, GraphError> {
        const LIST: &str = "/conditions/applications/includeAuthenticationContextClassReferences";
        let policies = self.graph.list(POLICIES, "").await?;
        let uses = |policy: &&Value| {
            let contexts = policy.pointer(LIST).and_then(Value::as_array);
            contexts.is_some_and(|contexts| contexts.contains(&json!(id)))
        };
        let user = policies.iter().find(uses);
        let name = user.map(|policy| policy.get("displayName").and_then(Value::as_str));
        Ok(name.map(|name| name.unwrap_or_default().to_owned()))
    }
}

fn has_tag(object: &Value, tag: &str) -> bool {
    let tags = object.get("tags").and_then(Value::as_array);
    tags.is_some_and(|tags| tags.iter().any(|one| one.as_str() == Some(tag)))
}
