//! What was created, as a table for people and as JSON for scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum as _;
use serde::Serialize;
use url::Url;

use super::cloud::{Cloud, Place};
use super::files::kept;
use super::plan::{LeftOut, short};
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
    /// Where that is which was in the place of such a file before, by the file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, String>,
    /// What the names of policies have of this registration.
    #[serde(skip)]
    mark: String,
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
        let paths = record.paths();
        let shown = |path: &PathBuf| path.display().to_string();
        let replaced = record.files().iter().zip(&paths);
        let replaced = replaced
            .filter(|(file, _)| file.replaced)
            .map(|(_, path)| path);
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
            files: paths.iter().map(shown).collect(),
            kept: replaced
                .map(|path| (shown(path), shown(&kept(path))))
                .collect(),
            mark: short(&record.run).to_owned(),
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

    /// Two lines for each object and its link, no wider than its name, its ids and the link are; then what was left out, and the files.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from("KIND NAME\n  OBJECT ID                             APP ID\n");
        for row in &self.objects {
            let _ = match &row.state {
                Some(state) => writeln!(text, "{} {} [{state}]", row.kind, row.name),
                None => writeln!(text, "{} {}", row.kind, row.name),
            };
            let _ = match &row.app_id {
                Some(app_id) => writeln!(text, "  {:36}  {app_id}", row.object_id),
                None => writeln!(text, "  {}", row.object_id),
            };
            let shown = matches!(row.kind, Kind::Application | Kind::Policy);
            if let Some(portal) = row.portal.as_ref().filter(|_| shown) {
                let _ = writeln!(text, "  {portal}");
            }
        }
        if self.objects.iter().any(|row| row.kind == Kind::Policy) {
            let _ = writeln!(
                text,
                "\n({}) in the name of a policy is this registration's mark: Entra lets policies share a name.",
                self.mark
            );
        }
        for (why, what) in self.omissions() {
            let _ = writeln!(text, "\nleft out, because {why}:");
            for what in what {
                let _ = writeln!(text, "  {what}");
            }
        }
        if !self.files.is_empty() {
            let _ = writeln!(text, "\nfiles:");
        }
        for file in &self.files {
            let _ = writeln!(text, "  {file}");
            if let Some(kept) = self.kept.get(file) {
                let _ = writeln!(text, "    what was there before is in {kept}");
            }
        }
        text
    }

    /// What was left out, by the reason for it, in the order of the first of each.
    fn omissions(&self) -> Vec<(&str, Vec<&str>)> {
        let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
        for left in &self.left_out {
            match all.iter_mut().find(|(why, _)| *why == left.why) {
                Some((_, what)) => what.push(&left.what),
                None => all.push((&left.why, vec![&left.what])),
            }
        }
        all
    }

    /// The client id of the application with this key.
    #[must_use]
    pub fn client_id(&self, key: &str) -> Option<&str> {
        let mut apps = self.objects.iter();
        let app = apps.find(|row| row.kind == Kind::Application && row.key == key);
        app?.app_id.as_deref()
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
    fn ids_are_whole_and_a_reason_is_told_once() {
        let left = ["policy a", "policy b"].map(|what| LeftOut {
            what: what.to_owned(),
            why: "nobody was named".to_owned(),
        });
        let mut record = record("https://login.microsoftonline.com");
        record.objects[0].id = uuid::Uuid::nil().to_string();
        record.objects[0].app_id = Some(uuid::Uuid::max().to_string());
        let table = Report::new(&record, &left, 0).table();
        assert_eq!(
            table,
            "KIND NAME\n\
             \x20 OBJECT ID                             APP ID\n\
             application demo-middle-tier\n\
             \x20 00000000-0000-0000-0000-000000000000  ffffffff-ffff-ffff-ffff-ffffffffffff\n\
             \x20 https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationMenuBlade/~/Overview/appId/ffffffff-ffff-ffff-ffff-ffffffffffff\n\
             consent a -> b: c\n\
             \x20 g1\n\
             \n\
             left out, because nobody was named:\n\
             \x20 policy a\n\
             \x20 policy b\n"
        );
        let wide = |line: &&str| line.len() > 80 && !line.contains("https://");
        assert_eq!(table.lines().find(wide), None);
    }

    #[test]
    fn the_mark_of_policies_is_explained_where_there_are_any() {
        let mut record = record("http://localhost:8080");
        let mark = |record: &Record| {
            let table = Report::new(record, &[], 0).table();
            table.contains(&format!("({}) in the name of a policy", short(&record.run)))
        };
        assert!(!mark(&record));
        record.objects[1].kind = Kind::Policy;
        assert!(mark(&record));
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
