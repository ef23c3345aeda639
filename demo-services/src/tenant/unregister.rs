//! Removes from a tenant exactly what the record says that `register` has created there.

use http::Method;
use serde_json::{Value, json};

use super::files::{FileError, OurFiles, Restored, kept};
use super::graph::{Graph, GraphError, backoff};
use super::plan::Request;
use super::progress::Event;
use super::record::{Kind, Object, Record, RecordError, StateFile};

const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
/// How often a context is tried, which Graph does not let go while it believes that a policy uses it.
const ATTEMPTS: u32 = 4;

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
    /// Files that were removed or put back.
    pub files: usize,
}

/// Why something is still there. The record says what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnregisterError {
    /// The record is of another Graph than the one that is signed in to: the token must not go there.
    #[error(
        "the record is of {recorded}, and the sign-in is for {asked}: choose the cloud of the record with --cloud"
    )]
    AnotherGraph {
        /// What is in the record.
        recorded: String,
        /// Where the client asks.
        asked: String,
    },
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
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
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
        if record.graph != *graph.base() {
            return Err(UnregisterError::AnotherGraph {
                recorded: record.graph.to_string(),
                asked: graph.base().to_string(),
            });
        }
        let mut done = Removed::default();
        let mut failed: Option<(String, GraphError)> = None;
        for object in order(&record) {
            match remove(graph, &object).await {
                Ok(was_there) => {
                    let event = if was_there {
                        done.removed += 1;
                        Event::Removed
                    } else {
                        done.gone += 1;
                        Event::WasGone
                    };
                    graph.tell(&event(words(&object)));
                    record.forget(object.kind, &object.key);
                    if object.kind == Kind::Application {
                        // They went with it.
                        record
                            .objects
                            .retain(|part| part.parent.as_ref() != Some(&object.id));
                    }
                    record.finished = false;
                    state.save(&record)?;
                }
                Err(error) => {
                    graph.tell(&Event::LeftOut {
                        what: words(&object),
                        why: error.to_string(),
                    });
                    let goes_on = matches!(
                        error,
                        GraphError::Refused { .. }
                            | GraphError::Forbidden { .. }
                            | GraphError::InUse { .. }
                    );
                    failed.get_or_insert((words(&object), error));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        if let Some((what, source)) = failed {
            return Err(UnregisterError::Graph {
                what,
                remaining: record.objects.len(),
                source: Box::new(source),
            });
        }
        done.files = restore(graph, &mut record, &state)?;
        OurFiles::remove_folder(&record, state.disk());
        state.remove()?;
        Ok(done)
    }
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

/// What is removed by a request of its own, in order: the youngest first within each kind. Credentials go with their application.
fn order(record: &Record) -> Vec<Object> {
    const ORDER: [Kind; 6] = [
        Kind::Policy,
        Kind::AuthenticationContext,
        Kind::Grant,
        Kind::RoleAssignment,
        Kind::ServicePrincipal,
        Kind::Application,
    ];
    let of = |kind: Kind| {
        record
            .objects
            .iter()
            .rev()
            .filter(move |object| object.kind == kind)
    };
    let mut objects: Vec<Object> = ORDER.into_iter().flat_map(of).cloned().collect();
    // One whose application is not in the record has nothing to go with.
    let alone = record.objects.iter().filter(|object| {
        matches!(object.kind, Kind::Certificate | Kind::Secret) && record.app(&object.key).is_none()
    });
    objects.extend(alone.cloned());
    objects
}

fn words(object: &Object) -> String {
    format!("{} {}", object.kind, object.name)
}

/// `false` if it was gone.
async fn remove(graph: &Graph, object: &Object) -> Result<bool, GraphError> {
    let id = &object.id;
    let path = match object.kind {
        Kind::Application => format!("applications/{id}"),
        Kind::ServicePrincipal => format!("servicePrincipals/{id}"),
        Kind::Grant => format!("oauth2PermissionGrants/{id}"),
        Kind::RoleAssignment => {
            let resource = object.parent.as_deref().unwrap_or_default();
            format!("servicePrincipals/{resource}/appRoleAssignedTo/{id}")
        }
        Kind::Policy => format!("identity/conditionalAccess/policies/{id}"),
        Kind::AuthenticationContext => return context(graph, id).await,
        // It went with its application, before.
        Kind::Certificate | Kind::Secret => return Ok(false),
    };
    graph.delete(&path).await
}

/// Graph deletes a context only when it is not published and no policy uses it.
async fn context(graph: &Graph, id: &str) -> Result<bool, GraphError> {
    let path = format!("{CONTEXTS}/{id}");
    // A PATCH would make it again.
    let Some(context) = graph.get(&path, "").await? else {
        return Ok(false);
    };
    // Looked at first: others would miss a context that is withdrawn and then not deleted. Our own policies are gone by now, but
    // perhaps not everywhere.
    let mut attempt = 1;
    while let Some(by) = user_of(graph, id).await? {
        if attempt >= ATTEMPTS {
            let what = format!("authentication context {id}");
            return Err(GraphError::InUse { what, by });
        }
        let why = format!("{id} is still used by {by:?}");
        graph.wait(backoff(attempt), why).await;
        attempt += 1;
    }
    if context.get("isAvailable") != Some(&json!(false)) {
        let withdraw = Request {
            method: Method::PATCH,
            path: path.clone(),
            body: json!({ "isAvailable": false }),
        };
        graph.write(&withdraw).await?;
    }
    graph.delete(&path).await
}

/// The name of a policy that is about this context.
async fn user_of(graph: &Graph, id: &str) -> Result<Option<String>, GraphError> {
    const LIST: &str = "/conditions/applications/includeAuthenticationContextClassReferences";
    let policies = graph
        .list("identity/conditionalAccess/policies", "")
        .await?;
    let uses = |policy: &&Value| {
        let contexts = policy.pointer(LIST).and_then(Value::as_array);
        contexts.is_some_and(|contexts| contexts.contains(&json!(id)))
    };
    let user = policies.iter().find(uses);
    let name = user.map(|policy| policy.get("displayName").and_then(Value::as_str));
    Ok(name.map(|name| name.unwrap_or_default().to_owned()))
}
