//! Credentials of an application: certificates and secrets. A new one is added, recorded and put into its place before an old one goes.

use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EARLY, Failure, RegisterError, Run, gone, is, text, whole};
use crate::tenant::graph::{GraphError, backoff};
use crate::tenant::plan::{Action, Plan, Request, Step};
use crate::tenant::record::{Object, is_id};

impl Run<'_> {
    /// Whether the credential that is ready on this machine is another one than that of the record, or none at all.
    pub(super) fn is_lost_here(&self, step: &Step, object: &Object) -> bool {
        let here = match step.action {
            Action::Certificate => {
                let certificate = self.files.certificate(&self.record, &step.key);
                certificate.map(|certificate| step.key_id(&certificate).to_string())
            }
            Action::Secret => self.files.secret_id(&self.record, &step.key),
            _ => return false,
        };
        here.is_none_or(|here| !here.eq_ignore_ascii_case(&object.id))
    }

    /// A credential that was added and could not be recorded: its files are here.
    pub(super) async fn unrecorded(&mut self, step: &Step) -> Result<Option<Value>, Failure> {
        let id = match step.action {
            Action::Certificate => Some(self.certificate(step)?.to_string()),
            _ => self.files.secret_id(&self.record, &step.key),
        };
        let app = self.app(step)?.id;
        let keys = self.credentials(&app, list_of(&step.action)).await?;
        let found = id.and_then(|id| keys.into_iter().find(|key| is(key, "keyId", &id)));
        Ok(found)
    }

    pub(super) async fn credentials(&self, app: &str, list: &str) -> Result<Vec<Value>, Failure> {
        let path = format!("applications/{app}");
        let found = self.graph.get(&path, &format!("$select={list}")).await?;
        let mut found = found.ok_or_else(|| gone(&path))?;
        match found.get_mut(list).map(Value::take) {
            Some(Value::Array(keys)) => Ok(keys),
            _ => Ok(Vec::new()),
        }
    }

    /// The `keyId` of the application's certificate, which is made if there is none to take.
    pub(super) fn certificate(&mut self, step: &Step) -> Result<Uuid, Failure> {
        if let Some(certificate) = self.ids.certificates.get(&step.key) {
            return Ok(step.key_id(certificate));
        }
        let certificate = match self.files.certificate(&self.record, &step.key) {
            Some(certificate) => certificate,
            None => self
                .files
                .make_certificate(&mut self.record, self.state, &step.key)
                .map_err(Failure::Local)?,
        };
        let id = step.key_id(&certificate);
        self.ids.certificates.insert(step.key.clone(), certificate);
        Ok(id)
    }

    /// The `keyId` of a secret that Graph tells about. One that is new is kept at once: nobody will tell it again.
    pub(super) fn secret(&mut self, step: &Step, told: &Value) -> Result<Option<String>, Failure> {
        let Some(id) = text(told, "keyId").filter(|id| is_id(id)) else {
            return Ok(None);
        };
        if self.files.secret_id(&self.record, &step.key).as_ref() == Some(&id) {
            return Ok(Some(id));
        }
        let secret = text(told, "secretText").map(SecretString::from);
        let secret = secret.ok_or_else(|| GraphError::Unusable {
            doing: step.to_string(),
            why: "there is no secret in it",
        })?;
        let events = self
            .files
            .keep_secret(&mut self.record, self.state, &step.key, (&id, secret))
            .map_err(Failure::Local)?;
        events.iter().for_each(|event| self.graph.tell(event));
        Ok(Some(id))
    }

    /// What is registered and recorded takes its place among the files.
    pub(super) fn settle(&mut self, step: &Step) -> Result<(), Failure> {
        if step.action != Action::Certificate {
            return Ok(());
        }
        let events = self
            .files
            .put_certificate_in_place(&mut self.record, self.state, &step.key)
            .map_err(Failure::Local)?;
        events.iter().for_each(|event| self.graph.tell(event));
        Ok(())
    }

    /// Writes the services' configuration for the applications and credentials that are in the record.
    pub(super) fn configure(&mut self) -> Result<(), RegisterError> {
        let events = self
            .files
            .write(&mut self.record, self.state)
            .map_err(|source| RegisterError::Local {
                what: "the configuration".to_owned(),
                source,
            })?;
        events.iter().for_each(|event| self.graph.tell(event));
        Ok(())
    }

    /// Takes away the credentials of this run that no file has any more: lost ones, and those that were renewed.
    pub(super) async fn retire(&mut self, plan: &Plan) -> Result<(), RegisterError> {
        for step in &plan.steps {
            if !matches!(step.action, Action::Certificate | Action::Secret) {
                continue;
            }
            let mut attempt = 0;
            loop {
                match self.retire_of(step).await {
                    Ok(()) => break,
                    Err(Failure::Graph(error))
                        if self.early && error.may_be_early() && attempt < EARLY =>
                    {
                        attempt += 1;
                        let why = format!("Microsoft Graph does not know {step} everywhere yet");
                        let waited = self.wait(backoff(attempt), why, error).await;
                        waited.map_err(|failure| self.failed(step, failure))?;
                    }
                    Err(failure) => return Err(self.failed(step, failure)),
                }
            }
        }
        Ok(())
    }

    async fn retire_of(&mut self, step: &Step) -> Result<(), Failure> {
        let kept = step
            .kind()
            .and_then(|kind| self.record.object(kind, &step.key));
        let (Some(kept), app) = (kept.map(|object| object.id.clone()), self.app(step)?.id) else {
            return Ok(());
        };
        let name = step.credential_name();
        let keys = self.credentials(&app, list_of(&step.action)).await?;
        let is_old = |key: &Value| is(key, "displayName", &name) && !is(key, "keyId", &kept);
        let (old, others): (Vec<Value>, Vec<Value>) = keys.into_iter().partition(is_old);
        if old.is_empty() {
            return Ok(());
        }
        if step.action == Action::Certificate {
            let body = json!({ "keyCredentials": others });
            self.patch(format!("applications/{app}"), body).await?;
            return Ok(());
        }
        for secret in old {
            let request = Request {
                method: Method::POST,
                path: format!("applications/{app}/removePassword"),
                body: json!({ "keyId": secret.get("keyId") }),
            };
            self.graph.write(&request).await?;
            self.wrote();
        }
        Ok(())
    }

    /// The request that adds a certificate. Graph replaces the list as a whole: those that are there stay for now.
    pub(super) async fn with_certificates(
        &self,
        step: &Step,
        mut request: Request,
    ) -> Result<Request, Failure> {
        let app = self.app(step)?.id;
        let there = self.credentials(&app, "keyCredentials").await?;
        let ours = request.body.get_mut("keyCredentials");
        let ours = ours.and_then(Value::as_array_mut);
        let ours = ours.ok_or_else(|| whole(crate::tenant::plan::Missing(step.to_string())))?;
        ours.extend(there);
        Ok(request)
    }
}

pub(super) fn list_of(action: &Action) -> &'static str {
    match action {
        Action::Secret => "passwordCredentials",
        _ => "keyCredentials",
    }
}
