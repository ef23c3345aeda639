//! Credentials of an application: certificates and secrets.

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Failure, Run, gone, is, whole};
use crate::tenant::plan::{Request, Step};

impl Run<'_> {
    /// Secrets of this run that nobody knows: the answer that told them was lost, or their file.
    pub(super) async fn remove_lost_secrets(&mut self, step: &Step) -> Result<(), Failure> {
        let app = self.app(step)?.id;
        let name = step.credential_name();
        for lost in self.credentials(&app, "passwordCredentials").await? {
            if !is(&lost, "displayName", &name) {
                continue;
            }
            let request = Request {
                method: Method::POST,
                path: format!("applications/{app}/removePassword"),
                body: json!({ "keyId": lost.get("keyId") }),
            };
            self.graph.write(&request).await?;
            self.wrote();
        }
        Ok(())
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

    /// The `keyId` of the application's certificate, which is made if it is not there.
    pub(super) fn certificate(&mut self, step: &Step) -> Result<Uuid, Failure> {
        if let Some(certificate) = self.ids.certificates.get(&step.key) {
            return Ok(step.key_id(certificate));
        }
        let (certificate, written) = self.files.certificate(&step.key).map_err(Failure::Local)?;
        let id = step.key_id(&certificate);
        self.record.add_files(written);
        self.state.save(&self.record).map_err(whole)?;
        self.ids.certificates.insert(step.key.clone(), certificate);
        Ok(id)
    }
}
