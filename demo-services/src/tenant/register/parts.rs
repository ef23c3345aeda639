//! What is set at objects that are there: settings, owners, and the authentication context with its fixed id.

use serde_json::Value;
use url::Url;

use super::{CREATIONS, Failure, Outcome, Run, gone, is, text, whole};
use crate::tenant::graph::{GraphError, backoff};
use crate::tenant::merge;
use crate::tenant::plan::{CONTEXTS, Step};
use crate::tenant::record::{Kind, Object};

impl Run<'_> {
    pub(super) async fn settings(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let wanted = step.body(&self.record, &self.ids).map_err(whole)?;
        let path = format!("applications/{}", self.app(step)?.id);
        let select = "$select=identifierUris,api,web,spa,requiredResourceAccess";
        let current = self
            .graph
            .get(&path, select)
            .await?
            .ok_or_else(|| gone(&path))?;
        let now = without_former(&current, &wanted, self.record.former_base_urls());
        let body = match merge::missing(&now, &wanted) {
            Some(body) => body,
            None if now != current => merge::union(&now, &wanted),
            None => return Ok(Outcome::Kept),
        };
        self.patch(path, body).await?;
        Ok(if self.fresh.contains(&step.key) {
            Outcome::Made
        } else {
            Outcome::Changed
        })
    }

    pub(super) async fn owner(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let Some(user) = self.ids.user.clone() else {
            return Ok(Outcome::LeftOut(
                "the sign-in names no user who could be the owner".to_owned(),
            ));
        };
        let path = format!("applications/{}/owners", self.app(step)?.id);
        let owners = self.graph.list(&path, "$select=id").await?;
        if owners.iter().any(|owner| is(owner, "id", &user)) {
            return Ok(Outcome::Kept);
        }
        let request = step.request(&self.record, &self.ids).map_err(whole)?;
        let mut attempt = 1;
        loop {
            match self.graph.write(&request).await {
                Ok(_) => break,
                // It was carried out before its answer was lost.
                Err(GraphError::Refused { said, .. }) if said.contains("already exist") => break,
                Err(error) if error.may_be_done() && attempt < CREATIONS => {
                    let why = format!("no answer ({step})");
                    self.wait(backoff(attempt), why, error).await?;
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.wrote();
        Ok(Outcome::Made)
    }

    /// A context has a fixed id of its own: one that is there and not of this run stays as it is, whatever the record says.
    pub(super) async fn context(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let path = format!("{CONTEXTS}/{}", step.key);
        let recorded = self
            .record
            .object(Kind::AuthenticationContext, &step.key)
            .is_some();
        let mut there = self.graph.get(&path, "").await?;
        if there.is_none() {
            let request = step.request(&self.record, &self.ids).map_err(whole)?;
            self.graph.write(&request).await?;
            self.wrote();
            self.fresh.insert(step.key.clone());
            // The request sets what is there: another run may have come in between.
            there = self.graph.get(&path, "").await?;
        }
        let there = there.ok_or_else(|| gone(&path))?;
        if !is_of(&there, &step.tag()) {
            return self.another_context(step, &there);
        }
        let fresh = self.fresh.contains(&step.key);
        if !recorded || fresh {
            self.keep(Object {
                key: step.key.clone(),
                kind: Kind::AuthenticationContext,
                id: step.key.clone(),
                app_id: None,
                parent: None,
                name: step.name.clone(),
            })?;
        }
        Ok(match (recorded, fresh) {
            (true, false) => Outcome::Kept,
            (true, true) => Outcome::MadeAnew,
            (false, true) => Outcome::Made,
            (false, false) => Outcome::Found,
        })
    }

    fn another_context(&mut self, step: &Step, there: &Value) -> Result<Outcome, Failure> {
        let name = text(there, "displayName").unwrap_or_default();
        self.no_context = Some(format!(
            "the authentication context {} is somebody else's",
            step.key
        ));
        self.record.forget(Kind::AuthenticationContext, &step.key);
        self.state.save(&self.record).map_err(whole)?;
        Ok(Outcome::LeftOut(format!(
            "it exists already as {name:?} and is kept; its policies decide about GET /secure"
        )))
    }
}

/// Whether a context is of the run with this tag.
pub(in crate::tenant) fn is_of(context: &Value, tag: &str) -> bool {
    text(context, "description").is_some_and(|text| text.contains(tag))
}

/// Without the redirect URIs that an earlier run set for an address that the SPA backend has no longer.
fn without_former(current: &Value, wanted: &Value, former: &[Url]) -> Value {
    let mut now = current.clone();
    for pointer in ["/web/redirectUris", "/spa/redirectUris"] {
        let uris = |value: &Value| -> Vec<Url> {
            let list = value.pointer(pointer).and_then(Value::as_array);
            let list = list.into_iter().flatten().filter_map(Value::as_str);
            list.filter_map(|uri| Url::parse(uri).ok()).collect()
        };
        let present = uris(wanted);
        let is_former = |uri: &Url| {
            let had = |former: &Url| {
                former.origin() == uri.origin()
                    && present.iter().any(|own| own.path() == uri.path())
            };
            !present.contains(uri) && uri.query().is_none() && former.iter().any(had)
        };
        if let Some(Value::Array(list)) = now.pointer_mut(pointer) {
            list.retain(|uri| {
                let uri = uri.as_str().and_then(|uri| Url::parse(uri).ok());
                !uri.is_some_and(|uri| is_former(&uri))
            });
        }
    }
    now
}
