//! What was created, as a table for people and as JSON for scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::ValueEnum as _;
use serde::Serialize;
use url::Url;

use super::cloud::{Cloud, Place};
use super::plan::LeftOut;
use super::record::{Kind, Object, Record};
use super::register::word;

/// What a run has to show. No secret is in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Directory (tenant) id.
    pub tenant: String,
    /// Name of the cloud.
    pub cloud: String,
    /// What the display names begin with.
    pub prefix: String,
    /// Writes that it took: 0 if everything was as it should be.
    pub changes: usize,
    /// What is there now.
    pub objects: Vec<Row>,
    /// What was not created, and why.
    pub left_out: Vec<Omission>,
    /// Files that were written.
    pub files: Vec<String>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is for.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// Its display name.
    pub name: String,
    /// Application (client) id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// Object id.
    pub object_id: String,
    /// Of a policy that this run has looked at: `enforced`, `report-only` or `disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Where the Entra admin center shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal: Option<String>,
}

/// Something that was not created.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Omission {
    /// What.
    pub what: String,
    /// Why, and how to have it.
    pub why: String,
}

impl Report {
    /// Of a record after a run.
    #[must_use]
    pub fn new(record: &Record, left_out: &[LeftOut], changes: usize) -> Self {
        let portal = portal(record);
        let portal = portal.as_ref();
        let row = |object: &Object| Row {
            key: object.key.clone(),
            kind: object.kind,
            name: object.name.clone(),
            app_id: object.app_id.clone(),
            object_id: object.id.clone(),
            state: None,
            portal: portal.and_then(|portal| link(portal, object)),
        };
        let omission = |left: &LeftOut| Omission {
            what: left.what.clone(),
            why: left.why.clone(),
        };
        Self {
            tenant: record.tenant.clone(),
            cloud: record.cloud.clone(),
            prefix: record.prefix.clone(),
            changes,
            objects: record.objects.iter().map(row).collect(),
            left_out: left_out.iter().map(omission).collect(),
            files: record
                .paths()
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
        }
    }

    /// With the `state` of policies as Graph tells it, by their keys.
    pub(super) fn with_states(mut self, states: &BTreeMap<String, String>) -> Self {
        for row in &mut self.objects {
            if row.kind == Kind::Policy {
                row.state = states.get(&row.key).map(|state| word(state).to_owned());
            }
        }
        self
    }

    /// Aligned columns, then the links, what was left out and the files.
    #[must_use]
    pub fn table(&self) -> String {
        let heads = ["KIND", "NAME", "APP ID", "OBJECT ID"].map(str::to_owned);
        let rows: Vec<[String; 4]> = [heads]
            .into_iter()
            .chain(self.objects.iter().map(|row| {
                let app_id = row.app_id.clone().unwrap_or_else(|| "-".to_owned());
                let name = match &row.state {
                    Some(state) => format!("{} [{state}]", row.name),
                    None => row.name.clone(),
                };
                [row.kind.to_string(), name, app_id, row.object_id.clone()]
            }))
            .collect();
        let width = |column: fn(&[String; 4]) -> &String| {
            rows.iter()
                .map(|row| column(row).chars().count())
                .max()
                .unwrap_or_default()
        };
        let (kinds, names, apps) = (
            width(|[kind, ..]| kind),
            width(|[_, name, ..]| name),
            width(|[_, _, app, _]| app),
        );
        let mut text = String::new();
        for [kind, name, app, id] in &rows {
            let _ = writeln!(text, "{kind:kinds$}  {name:names$}  {app:apps$}  {id}");
        }
        for row in self
            .objects
            .iter()
            .filter(|row| row.kind == Kind::Application || row.kind == Kind::Policy)
        {
            if let Some(portal) = &row.portal {
                let _ = writeln!(text, "{}  {portal}", row.name);
            }
        }
        for left in &self.left_out {
            let _ = writeln!(text, "left out: {} ({})", left.what, left.why);
        }
        for file in &self.files {
            let _ = writeln!(text, "file: {file}");
        }
        text
    }

    /// The same as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// The admin center of the cloud whose authority it is; a local authority has none.
fn portal(record: &Record) -> Option<Url> {
    let cloud = Cloud::from_str(&record.cloud, false).ok()?;
    let place = Place::new(cloud, None, None).ok()?;
    place.portal.filter(|_| place.authority == record.authority)
}

fn link(portal: &Url, object: &Object) -> Option<String> {
    let Object { id, app_id, .. } = object;
    let page = match object.kind {
        Kind::Application => format!(
            "Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/Overview/appId/{}",
            app_id.as_deref()?
        ),
        Kind::ServicePrincipal => format!(
            "Microsoft_AAD_IAM/ManagedAppMenuBlade/~/Overview/objectId/{id}/appId/{}",
            app_id.as_deref()?
        ),
        Kind::Policy => format!("Microsoft_AAD_ConditionalAccess/PolicyBlade/policyId/{id}"),
        _ => return None,
    };
    Some(format!("{portal}#view/{page}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(authority: &str) -> Record {
        let url = |text: &str| Url::parse(text).unwrap();
        let mut record = Record::new(
            "t".to_owned(),
            "global".to_owned(),
            url(authority),
            url("https://graph.microsoft.com"),
            "demo".to_owned(),
        );
        let object = |kind, id: &str, app_id: Option<&str>, name: &str| Object {
            key: "middle-tier".to_owned(),
            kind,
            id: id.to_owned(),
            app_id: app_id.map(str::to_owned),
            parent: None,
            name: name.to_owned(),
        };
        record.add(object(
            Kind::Application,
            "o1",
            Some("a1"),
            "demo-middle-tier",
        ));
        record.add(object(Kind::Grant, "g1", None, "a -> b: c"));
        record
    }

    #[test]
    fn columns_stand_below_each_other() {
        let left = [LeftOut {
            what: "policy".to_owned(),
            why: "nobody was named".to_owned(),
        }];
        let table = Report::new(&record("https://login.microsoftonline.com"), &left, 0).table();
        assert_eq!(
            table,
            "KIND         NAME              APP ID  OBJECT ID\n\
             application  demo-middle-tier  a1      o1\n\
             consent      a -> b: c         -       g1\n\
             demo-middle-tier  https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/Overview/appId/a1\n\
             left out: policy (nobody was named)\n"
        );
    }

    #[test]
    fn json_says_the_same() {
        let report = Report::new(&record("http://localhost:8080"), &[], 2);
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        let https = Report::new(&record("https://authority.example"), &[], 0);
        assert_eq!(https.objects[0].portal, None);
        assert_eq!(
            json["objects"][0],
            json!({ "key": "middle-tier", "kind": "application", "name": "demo-middle-tier", "app_id": "a1", "object_id": "o1" }),
            "a local authority is in no portal"
        );
        assert_eq!(json["changes"], 2);
    }
}
