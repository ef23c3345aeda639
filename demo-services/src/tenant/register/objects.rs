//! Objects with an id of their own: looked for, created once, recorded, and set right where they lack something.

use serde_json::{Value, json};

use super::credentials::list_of;
use super::{CREATIONS, Failure, LOOKS, Outcome, RegisterError, Run, SECOND_LOOK, is, text, whole};
use crate::tenant::graph::{GraphError, backoff};
use crate::tenant::merge;
use crate::tenant::plan::{Action, Edge, Missing, POLICIES, Request, Step};
use crate::tenant::record::{Kind, Object, is_id};

impl Run<'_> {
    /// Something with an id of its own.
    pub(super) async fn object(&mut self, step: &Step, kind: Kind) -> Result<Outcome, Failure> {
        let recorded = self.record.object(kind, &step.key).cloned();
        let lost = recorded
            .as_ref()
            .is_some_and(|object| self.is_lost_here(step, object));
        if let Some(object) = recorded.as_ref().filter(|_| !lost) {
            let mut there = self.there(step, object).await?;
            if there.is_none() && !self.fresh.contains(&step.key) {
                let why = format!("{step} is not there; looking again");
                self.wait(SECOND_LOOK, why, missing(step)).await?;
                there = self.there(step, object).await?;
            }
            if let Some(there) = there {
                self.note_state(step, &there);
                let changed = self.adjust(step, object, &there).await?;
                self.settle(step)?;
                return Ok(if changed {
                    Outcome::Changed
                } else {
                    Outcome::Kept
                });
            }
        }
        let (object, found) = self.find_or_create(step, kind).await?;
        self.keep(object)?;
        self.settle(step)?;
        if kind == Kind::Application {
            self.fresh.insert(step.key.clone());
        }
        Ok(match (found, &recorded) {
            _ if lost => Outcome::Renewed,
            (true, _) => Outcome::Found,
            (false, None) => Outcome::Made,
            (false, Some(_)) => Outcome::MadeAnew,
        })
    }

    async fn find_or_create(&mut self, step: &Step, kind: Kind) -> Result<(Object, bool), Failure> {
        if let Some(object) = self.find(step).await? {
            return Ok((object, true));
        }
        let mut creation = 1;
        loop {
            let request = self.request(step).await?;
            let error = match self.graph.write(&request).await {
                Ok(created) => {
                    self.wrote();
                    self.note_state(step, &created);
                    return Ok((self.created(step, kind, &created)?, false));
                }
                Err(error) => error,
            };
            // The answer to a request before may have been another than what it did.
            let is_there = error.is_there_already()
                && matches!(
                    kind,
                    Kind::ServicePrincipal | Kind::Grant | Kind::RoleAssignment
                );
            if !(error.may_be_done() || is_there) || creation >= CREATIONS {
                return Err(error.into());
            }
            for look in 1..=LOOKS {
                let why = match is_there {
                    true => format!("it is said to be there ({step}); looking for it"),
                    false => format!("no answer ({step}); looking whether it was made"),
                };
                if let Err(no) = self.graph.wait(backoff(look), why).await {
                    return Err(no.told(error).into());
                }
                if let Some(object) = self.find(step).await? {
                    self.wrote();
                    return Ok((object, false));
                }
            }
            creation += 1;
        }
    }

    /// The object of the record as it is in the tenant, if it is there and still what it was for.
    async fn there(&mut self, step: &Step, object: &Object) -> Result<Option<Value>, Failure> {
        let id = &object.id;
        let app = self.record.app(&step.key).cloned();
        let found = match (&step.action, app) {
            (Action::Application, _) => {
                self.graph
                    .get(&format!("applications/{id}"), "$select=id,appId")
                    .await?
            }
            (Action::Principal, Some(app)) => {
                let found = self
                    .graph
                    .get(&format!("servicePrincipals/{id}"), "$select=id,appId")
                    .await?;
                found.filter(|found| text(found, "appId") == app.app_id)
            }
            (Action::Certificate | Action::Secret, Some(app)) => {
                if object.parent.as_ref() != Some(&app.id) {
                    return Ok(None);
                }
                let keys = self.credentials(&app.id, list_of(&step.action)).await?;
                keys.into_iter().find(|key| is(key, "keyId", id))
            }
            (Action::Grant(edge), _) => {
                let found = self
                    .graph
                    .get(&format!("oauth2PermissionGrants/{id}"), "")
                    .await?;
                let ends = self.ends(edge)?;
                found.filter(|found| is_between(found, "clientId", &ends))
            }
            (Action::Role(edge), _) => self
                .assignment(step, edge)
                .await?
                .filter(|found| is(found, "id", id)),
            (Action::Policy(_), _) => self.graph.get(&format!("{POLICIES}/{id}"), "").await?,
            _ => None,
        };
        Ok(found)
    }

    /// What an earlier run has made without taking note of it.
    async fn find(&mut self, step: &Step) -> Result<Option<Object>, Failure> {
        let found = match &step.action {
            Action::Application => {
                let gone = self.record.app(&step.key).map(|app| app.id.clone());
                let found = self.named_after_all(step).await?;
                // A list may still have the one that is gone.
                found.filter(|app| gone.is_none_or(|gone| !is(app, "id", &gone)))
            }
            Action::Principal => {
                let app_id = self.app(step)?.app_id.unwrap_or_default();
                let path = format!("servicePrincipals(appId='{app_id}')");
                self.graph.get(&path, "$select=id,appId").await?
            }
            Action::Certificate | Action::Secret => self.unrecorded(step).await?,
            Action::Grant(edge) => {
                let ends = self.ends(edge)?;
                let filter = format!("$filter=clientId eq '{}'", ends.0);
                let grants = self.graph.list("oauth2PermissionGrants", &filter).await?;
                let mut grants = grants.into_iter();
                let grant = grants.find(|grant| {
                    is_between(grant, "clientId", &ends)
                        && is(grant, "consentType", "AllPrincipals")
                });
                if let Some(grant) = &grant {
                    let id = text(grant, "id").unwrap_or_default();
                    self.widen(edge, &id, grant).await?;
                }
                grant
            }
            Action::Role(edge) => self.assignment(step, edge).await?,
            Action::Policy(_) => {
                let filter = format!("$filter=displayName eq '{}'", step.name);
                let policies = self.graph.list(POLICIES, &filter).await?;
                let mut policies = policies.into_iter();
                let policy = policies.find(|policy| is(policy, "displayName", &step.name));
                if let Some(policy) = &policy {
                    self.note_state(step, policy);
                }
                policy
            }
            Action::Settings | Action::Owner | Action::AuthenticationContext => None,
        };
        match (found, step.kind()) {
            (Some(found), Some(kind)) => Ok(Some(self.created(step, kind, &found)?)),
            _ => Ok(None),
        }
    }

    /// The application of this name. One that is not of this run is in the way.
    pub(super) async fn named(&self, step: &Step) -> Result<Option<Value>, Failure> {
        let query = format!(
            "$filter=displayName eq '{}'&$select=id,appId,tags",
            step.name
        );
        let found = self.graph.list("applications", &query).await?;
        let tag = json!(step.tag());
        let ours = |app: &&Value| {
            app.get("tags")
                .and_then(Value::as_array)
                .is_some_and(|tags| tags.contains(&tag))
        };
        if let Some(ours) = found.iter().find(ours) {
            return Ok(Some(ours.clone()));
        }
        match found.is_empty() {
            true => Ok(None),
            false => Err(Failure::Whole(RegisterError::NameTaken {
                name: step.name.clone(),
            })),
        }
    }

    /// The request that makes it.
    async fn request(&mut self, step: &Step) -> Result<Request, Failure> {
        let mut request = step.request(&self.record, &self.ids).map_err(whole)?;
        match step.action {
            Action::Certificate => self.with_certificates(step, request).await,
            Action::Secret => {
                if let Some(Value::Object(password)) = request.body.get_mut("passwordCredential") {
                    password.insert("endDateTime".to_owned(), self.files.credential_end().into());
                }
                Ok(request)
            }
            _ => Ok(request),
        }
    }

    /// The object for the record, from what Graph tells about it.
    fn created(&mut self, step: &Step, kind: Kind, told: &Value) -> Result<Object, Failure> {
        let unusable = |why| {
            Failure::Graph(GraphError::Unusable {
                doing: step.to_string(),
                why,
            })
        };
        let (id, parent) = match &step.action {
            Action::Certificate => (
                Some(self.certificate(step)?.to_string()),
                Some(self.app(step)?.id),
            ),
            Action::Secret => (self.secret(step, told)?, Some(self.app(step)?.id)),
            Action::Role(edge) => (text(told, "id"), Some(self.ends(edge)?.1)),
            _ => (text(told, "id"), None),
        };
        let app_id = match kind {
            Kind::Application | Kind::ServicePrincipal => Some(
                text(told, "appId")
                    .filter(|id| is_id(id))
                    .ok_or_else(|| unusable("there is no appId in it"))?,
            ),
            _ => None,
        };
        let id = id.filter(|id| is_id(id));
        Ok(Object {
            key: step.key.clone(),
            kind,
            id: id.ok_or_else(|| unusable("there is no id in it"))?,
            app_id,
            parent,
            name: step.name.clone(),
        })
    }

    /// Sets right what choices of now ask for; takes nothing away that somebody else has set. `true` if it took a write.
    async fn adjust(
        &mut self,
        step: &Step,
        object: &Object,
        there: &Value,
    ) -> Result<bool, Failure> {
        match &step.action {
            Action::Grant(edge) => self.widen(edge, &object.id, there).await,
            Action::Policy(_) => self.adjust_policy(step, &object.id, there).await,
            _ => Ok(false),
        }
    }

    /// Adds the scopes that a grant lacks.
    async fn widen(&mut self, edge: &Edge, id: &str, grant: &Value) -> Result<bool, Failure> {
        let scope = text(grant, "scope").unwrap_or_default();
        let mut scopes: Vec<&str> = scope.split_whitespace().collect();
        let before = scopes.len();
        for permission in edge.permissions {
            if !scopes.contains(permission) {
                scopes.push(permission);
            }
        }
        if scopes.len() == before {
            return Ok(false);
        }
        self.patch(
            format!("oauth2PermissionGrants/{id}"),
            json!({ "scope": scopes.join(" ") }),
        )
        .await
    }

    async fn assignment(&self, step: &Step, edge: &Edge) -> Result<Option<Value>, Failure> {
        let ends = self.ends(edge)?;
        let wanted = step.body(&self.record, &self.ids).map_err(whole)?;
        let path = format!("servicePrincipals/{}/appRoleAssignedTo", ends.1);
        let list = self.graph.list(&path, "").await?;
        Ok(list.into_iter().find(|found| merge::has(found, &wanted)))
    }

    /// Service principals of the client and of the resource.
    fn ends(&self, edge: &Edge) -> Result<(String, String), Failure> {
        let of = |key: &str| match self.record.object(Kind::ServicePrincipal, key) {
            Some(principal) => Ok(principal.id.clone()),
            None => match &self.ids.graph_principal {
                Some(graph) if key == "graph" => Ok(graph.clone()),
                _ => Err(whole(Missing(format!("service principal {key}")))),
            },
        };
        Ok((of(edge.client)?, of(edge.resource)?))
    }
}

fn missing(step: &Step) -> GraphError {
    GraphError::Gone {
        doing: step.to_string(),
        said: String::new(),
    }
}

fn is_between(object: &Value, client: &str, ends: &(String, String)) -> bool {
    is(object, client, &ends.0) && is(object, "resourceId", &ends.1)
}
