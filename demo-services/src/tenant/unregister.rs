//! Removes from a tenant exactly what the record says that `register` has created there.

mod objects;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use self::objects::{Fate, Objects};
use super::files::{FileError, OurFiles, Restored, kept};
use super::graph::{Graph, GraphError, NoWait};
use super::plan::{CONTEXT, CONTEXTS, OF_POLICIES, PERMISSIONS, POLICIES, policy_names};
use super::progress::Event;
use super::record::{Kind, Object, Record, RecordError, StateFile, is_id};
use super::register::is_of;
use super::whose::{Whose, whose};

/// Before something is taken to be gone, it is looked for again: what was made a moment ago is not known everywhere.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// What is removed by a request of its own, in order: the youngest first within each kind. Credentials go with their application.
const ORDER: [Kind; 6] = [
    Kind::Policy,
    Kind::AuthenticationContext,
    Kind::Grant,
    Kind::RoleAssignment,
    Kind::ServicePrincipal,
    Kind::Application,
];

/// What would be removed, to be shown before it is.
#[derive(Clone, Debug)]
pub struct Removal {
    record: Record,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// Objects that were removed.
    pub removed: usize,
    /// Objects that were gone already.
    pub gone: usize,
    /// Objects that stay, because they do not carry the mark of the run: they are somebody else's.
    pub others: usize,
    /// Files that were removed or put back.
    pub files: usize,
}

/// Why something is still there. The record says what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnregisterError {
    /// The record is of another Graph than the one that is signed in to: the token must not go there.
    #[error("the record is of {recorded}, and the sign-in is for {asked}: nothing was sent there")]
    AnotherGraph {
        /// What is in the record.
        recorded: String,
        /// Where the client asks.
        asked: String,
    },
    /// The sign-in is to another tenant, where nothing of the record is: that would look as if all of it were gone.
    #[error(
        "the sign-in is to the tenant {actual}, and the record is of {recorded}: sign in to that one"
    )]
    AnotherTenant {
        /// What is in the record.
        recorded: String,
        /// Where the token is good.
        actual: String,
    },
    /// It was asked to end, and has.
    #[error("stopped; {remaining} objects remain in the record, and unregister goes on with them")]
    Stopped {
        /// How many are left.
        remaining: usize,
    },
    /// Graph stands in the way before anything was removed.
    #[error("nothing was removed")]
    Asking(#[source] GraphError),
    /// Graph refuses to remove something.
    #[error(
        "{what} could not be removed; {remaining} objects remain in the record, and unregister goes on with them"
    )]
    Graph {
        /// The first that could not.
        what: String,
        /// How many are left.
        remaining: usize,
        /// Why.
        source: Box<GraphError>,
    },
    /// A file could not be restored; the others were.
    #[error(
        "everything is removed from the tenant, but {file} could not be restored; {remaining} files remain in the record, and unregister goes on with them"
    )]
    Files {
        /// The first that could not.
        file: String,
        /// How many are left.
        remaining: usize,
        /// Why.
        source: FileError,
    },
    /// The tenant is done with, and nothing can be written here.
    #[error(
        "everything is removed from the tenant, but that could not be noted; once there is room for it, unregister finds it gone and goes on with the files"
    )]
    NotNoted(#[source] RecordError),
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A tenant that is being emptied.
struct Emptying<'a> {
    graph: &'a Graph,
    state: &'a StateFile,
    record: &'a mut Record,
    done: &'a mut Removed,
    objects: Objects<'a>,
    /// The first object that could not be removed.
    failed: Option<(String, GraphError)>,
    /// Why the record is not as it should be.
    unsaved: Option<RecordError>,
}

/// Permissions of Graph that removing what is in a record takes.
#[must_use]
pub fn permissions(record: &Record) -> Vec<&'static str> {
    let has = |kind: Kind| record.objects.iter().any(|object| object.kind == kind);
    let wanted = |name: &&str| match *name {
        "Application.ReadWrite.All" => true,
        "AppRoleAssignment.ReadWrite.All" => has(Kind::RoleAssignment),
        "DelegatedPermissionGrant.ReadWrite.All" => has(Kind::Grant),
        name => OF_POLICIES.contains(&name) && (record.policies || record.has_policies()),
    };
    match record.emptied {
        true => Vec::new(),
        false => PERMISSIONS.iter().copied().filter(wanted).collect(),
    }
}

impl Removal {
    /// Of everything in a record.
    #[must_use]
    pub fn of(record: Record) -> Self {
        Self { record }
    }

    /// What it is about.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether anything may be left in the tenant; else only files are, and Graph is not asked.
    #[must_use]
    pub fn needs_graph(&self) -> bool {
        !self.record.emptied
    }

    /// One line for each object and file, in the order of their removal.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let objects = order(&self.record).into_iter();
        let objects = objects.map(|object| format!("- {} ({})", words(&object), object.id));
        let files = self.record.files().iter().zip(self.record.paths()).rev();
        let files = files.map(|(file, path)| {
            let shown = path.display();
            match file.replaced {
                true => format!("- {shown}, and {} is put back", kept(&path).display()),
                false => format!("- {shown}"),
            }
        });
        objects.chain(files).collect()
    }

    /// Removes it: what has effect on others first, applications last, then the files, then the record. That something is gone
    /// already is no error. What could not be removed stays in the record.
    ///
    /// # Errors
    ///
    /// Something is still there.
    pub async fn run(self, graph: &Graph, state: StateFile) -> Result<Removed, UnregisterError> {
        let Self { mut record } = self;
        let mut done = Removed::default();
        if !record.emptied {
            empty(graph, &state, &mut record, &mut done).await?;
        }
        done.files = restore(graph, &mut record, &state)?;
        OurFiles::remove_folder(&record, state.disk());
        state.remove()?;
        Ok(done)
    }
}

/// Removes everything from the tenant, also what a run has made that could not take note of it.
async fn empty(
    graph: &Graph,
    state: &StateFile,
    record: &mut Record,
    done: &mut Removed,
) -> Result<(), UnregisterError> {
    if record.graph != *graph.base() {
        return Err(UnregisterError::AnotherGraph {
            recorded: record.graph.to_string(),
            asked: graph.base().to_string(),
        });
    }
    let asking = |error, record: &Record| match error {
        GraphError::Stopped => UnregisterError::Stopped {
            remaining: order(record).len(),
        },
        error => UnregisterError::Asking(error),
    };
    graph.begin().map_err(|error| asking(error, record))?;
    let whose = whose(graph, &record.tenant).await;
    if let Whose::Another(actual) = whose.map_err(|error| asking(error, record))? {
        return Err(UnregisterError::AnotherTenant {
            recorded: record.tenant.clone(),
            actual,
        });
    }
    let found = unrecorded(graph, record).await;
    let (found, clients) = found.map_err(|error| asking(error, record))?;
    for object in found {
        graph.tell(&Event::Found(words(&object)));
        record.add(object);
    }
    let objects = Objects::new(graph, record, clients);
    let mut emptying = Emptying {
        graph,
        state,
        record,
        done,
        objects,
        failed: None,
        unsaved: None,
    };
    emptying.save();
    emptying.run().await
}

impl Emptying<'_> {
    /// One kind after the other.
    async fn run(mut self) -> Result<(), UnregisterError> {
        for kind in ORDER {
            let of_kind = self.record.objects.iter().rev();
            let of_kind = of_kind.filter(|object| object.kind == kind);
            let objects = of_kind.cloned().collect();
            let absent = self.pass(objects, false).await?;
            if absent.is_empty() {
                continue;
            }
            let why = format!("{} is not there; looking again", names(&absent));
            if let Err(NoWait::Stopped) = self.graph.wait(SECOND_LOOK, why).await {
                return Err(self.stopped());
            }
            self.pass(absent, true).await?;
        }
        self.pass(alone(self.record), true).await?;
        if self.failed.is_some() {
            return Err(self.failure());
        }
        self.record.emptied = true;
        self.save();
        match self.unsaved {
            None => Ok(()),
            Some(error) => Err(UnregisterError::NotNoted(error)),
        }
    }

    /// Removes these. What is absent comes back, unless this look is the last.
    async fn pass(
        &mut self,
        objects: Vec<Object>,
        last: bool,
    ) -> Result<Vec<Object>, UnregisterError> {
        let mut absent = Vec::new();
        for object in objects {
            let fate = match self.graph.begin() {
                Ok(()) => self.objects.remove(&object).await,
                Err(stopped) => Err(stopped),
            };
            match fate {
                Ok(Fate::Absent) if !last => absent.push(object),
                Ok(fate) => self.forget(&object, &fate),
                Err(GraphError::Stopped) => return Err(self.stopped()),
                Err(error) => {
                    let goes_on = matches!(
                        error,
                        GraphError::Refused { .. }
                            | GraphError::Forbidden { .. }
                            | GraphError::NotLicensed { .. }
                            | GraphError::InUse { .. }
                    );
                    // What ends the run is told by its error alone.
                    if !goes_on {
                        self.failed.get_or_insert((words(&object), error));
                        return Err(self.failure());
                    }
                    self.graph.tell(&Event::LeftOut {
                        what: words(&object),
                        why: error.to_string(),
                    });
                    self.failed.get_or_insert((words(&object), error));
                }
            }
        }
        Ok(absent)
    }

    /// It is done with.
    fn forget(&mut self, object: &Object, fate: &Fate) {
        let what = words(object);
        self.graph.tell(&match fate {
            Fate::Removed => {
                self.done.removed += 1;
                Event::Removed(what)
            }
            Fate::Absent => {
                self.done.gone += 1;
                Event::WasGone(what)
            }
            Fate::Theirs => {
                self.done.others += 1;
                let why =
                    "it does not carry the mark of this run: it is somebody else's, and stays"
                        .to_owned();
                Event::LeftOut { what, why }
            }
        });
        self.record.forget(object.kind, &object.key);
        if object.kind == Kind::Application && !matches!(fate, Fate::Theirs) {
            // They went with it.
            self.record
                .objects
                .retain(|part| part.parent.as_ref() != Some(&object.id));
        }
        self.record.finished = false;
        self.save();
    }

    /// A disk that is full keeps nothing of the tenant from being removed: the next run finds what is gone already.
    fn save(&mut self) {
        let saved = self.state.save(self.record);
        if let (Err(error), None) = (&saved, &self.unsaved) {
            self.graph.tell(&Event::Noted(format!(
                "{error}; what is removed is not noted there"
            )));
        }
        self.unsaved = saved.err();
    }

    fn stopped(&self) -> UnregisterError {
        UnregisterError::Stopped {
            remaining: order(self.record).len(),
        }
    }

    fn failure(&mut self) -> UnregisterError {
        match self.failed.take() {
            Some((what, source)) => UnregisterError::Graph {
                what,
                remaining: order(self.record).len(),
                source: Box::new(source),
            },
            None => self.stopped(),
        }
    }
}

/// What carries the mark of the record's run and is not in the record: an answer that was lost, or a run that was killed before it took
/// note. What belongs to an application goes with it. With the application ids of all that carry the mark.
async fn unrecorded(
    graph: &Graph,
    record: &Record,
) -> Result<(Vec<Object>, HashSet<String>), GraphError> {
    let text = |value: &Value, name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        let letters = text.unwrap_or_default().chars();
        letters
            .filter(|letter| !letter.is_control())
            .collect::<String>()
    };
    let object = |kind, key: &str, value: &Value, app_id| Object {
        key: key.to_owned(),
        kind,
        id: text(value, "id"),
        app_id,
        parent: None,
        name: text(value, "displayName"),
    };
    let (mut found, mut clients) = (Vec::new(), HashSet::new());
    let query = format!(
        "$filter=tags/any(t:t eq '{}')&$select=id,appId,displayName",
        record.tag()
    );
    let prefix = format!("{}-", record.prefix);
    for app in graph.list("applications", &query).await? {
        let name = text(&app, "displayName");
        let key = name.strip_prefix(&prefix).unwrap_or(&name);
        let app_id = text(&app, "appId");
        clients.insert(app_id.clone());
        found.push(object(Kind::Application, key, &app, Some(app_id)));
    }
    if record.policies || record.has_policies() {
        found.extend(unrecorded_policies(graph, record, object).await?);
    }
    found.retain(|object| {
        let ids = [Some(&object.id), object.app_id.as_ref()];
        ids.into_iter().flatten().all(|id| is_id(id)) && !record.holds(object)
    });
    let mut seen: HashSet<(Kind, String)> = HashSet::new();
    for object in &mut found {
        // Two of one name: a request that was sent again while nobody knew of the first.
        let taken = record.object(object.kind, &object.key).is_some()
            || !seen.insert((object.kind, object.key.clone()));
        if taken {
            object.key = format!("{}:{}", object.key, object.id);
        }
    }
    Ok((found, clients))
}

async fn unrecorded_policies(
    graph: &Graph,
    record: &Record,
    object: impl Fn(Kind, &str, &Value, Option<String>) -> Object,
) -> Result<Vec<Object>, GraphError> {
    let mut found = Vec::new();
    let policies = match graph.list(POLICIES, "").await {
        Ok(policies) => policies,
        // Then there never was one.
        Err(GraphError::NotLicensed { .. }) => return Ok(found),
        Err(error) => return Err(error),
    };
    for (key, name) in policy_names(record) {
        let named =
            |policy: &&Value| policy.get("displayName").and_then(Value::as_str) == Some(&name);
        let ours = policies.iter().filter(named);
        found.extend(ours.map(|policy| object(Kind::Policy, key, policy, None)));
    }
    let context = graph.get(&format!("{CONTEXTS}/{CONTEXT}"), "").await?;
    let ours = context.filter(|context| is_of(context, &record.tag()));
    found.extend(ours.map(|context| object(Kind::AuthenticationContext, CONTEXT, &context, None)));
    Ok(found)
}

/// The youngest first. One that stands in the way does not keep the others.
fn restore(
    graph: &Graph,
    record: &mut Record,
    state: &StateFile,
) -> Result<usize, UnregisterError> {
    let mut restored = 0;
    let mut failed = None;
    let files: Vec<_> = record.files().iter().cloned().zip(record.paths()).collect();
    for (file, path) in files.into_iter().rev() {
        let path = path.display().to_string();
        let (done, edited) = match OurFiles::new(record, state).restore(file) {
            Ok(done) => done,
            Err(FileError::Record(error)) => return Err(error.into()),
            Err(error) => {
                graph.tell(&Event::LeftOut {
                    what: format!("file {path}"),
                    why: error.to_string(),
                });
                failed.get_or_insert((path, error));
                continue;
            }
        };
        let what = format!("file {path}");
        graph.tell(&match done {
            Restored::Removed => Event::Removed(what),
            Restored::PutBack => {
                Event::Removed(format!("{what}; what was there before is there again"))
            }
            Restored::AsBefore => Event::WasGone(what),
            Restored::OriginalGone(kept) => Event::Noted(format!(
                "{what} is removed; what was there before cannot be put back, because {} is gone",
                kept.display()
            )),
            Restored::Theirs => Event::Noted(format!(
                "{what} is not what register has written, and stays"
            )),
        });
        if let Some(edited) = edited {
            graph.tell(&Event::Noted(format!(
                "{path} was changed by hand: that one is in {} now",
                edited.display()
            )));
        }
        restored += 1;
    }
    match failed {
        None => Ok(restored),
        Some((file, source)) => Err(UnregisterError::Files {
            file,
            remaining: record.files().len(),
            source,
        }),
    }
}

fn order(record: &Record) -> Vec<Object> {
    let of = |kind: Kind| {
        record
            .objects
            .iter()
            .rev()
            .filter(move |object| object.kind == kind)
    };
    let mut objects: Vec<Object> = ORDER.into_iter().flat_map(of).cloned().collect();
    objects.extend(alone(record));
    objects
}

/// Credentials whose application is not in the record have nothing to go with.
fn alone(record: &Record) -> Vec<Object> {
    let alone = record.objects.iter().filter(|object| {
        matches!(object.kind, Kind::Certificate | Kind::Secret) && record.app(&object.key).is_none()
    });
    alone.cloned().collect()
}

fn words(object: &Object) -> String {
    format!("{} {}", object.kind, object.name)
}

fn names(objects: &[Object]) -> String {
    let names: Vec<String> = objects.iter().map(words).collect();
    names.join(", ")
}
