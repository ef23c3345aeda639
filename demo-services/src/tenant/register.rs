//! Carries a plan out: makes what is missing, keeps what is there, and takes note of each object before the next is made.

mod credentials;
mod objects;
mod parts;
mod policy;
mod preflight;

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::configure::{ConfigureError, TenantFiles};
use super::graph::{Graph, GraphError, backoff};
use super::plan::{
    Action, ChoiceError, Choices, Ids, LeftOut, Missing, Plan, Request, Step, Target,
};
use super::progress::Event;
use super::record::{Object, Record, RecordError, StateFile};
use super::report::Report;

/// How often something is created when no answer comes.
const CREATIONS: u32 = 3;
/// How often it is looked for after that, before it is created again.
const LOOKS: u32 = 3;
/// How often a step is tried while Graph does not know yet what it has created: about a minute and a half.
const EARLY: u32 = 6;
/// Before something is taken to be gone, it is looked for again.
const SECOND_LOOK: Duration = Duration::from_secs(2);
const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
const POLICIES: &str = "identity/conditionalAccess/policies";

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A choice cannot be.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The record cannot be used, or not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The sign-in is to another tenant.
    #[error(
        "the sign-in is to the tenant {actual}, not to {asked}: sign in to that one, or change --tenant"
    )]
    AnotherTenant {
        /// What was asked for.
        asked: String,
        /// Where the token is good.
        actual: String,
    },
    /// An application of that name is there and is not ours.
    #[error(
        "an application {name} is there already and is not of this run: choose another --prefix, name the record that it is in with --state, or remove it"
    )]
    NameTaken {
        /// The display name.
        name: String,
    },
    /// No such user.
    #[error("--mfa-user {0}: the tenant has no such user (a user principal name or an object id)")]
    NoUser(String),
    /// No such group.
    #[error("--mfa-group {0}: the tenant has no such group (an object id)")]
    NoGroup(String),
    /// Graph stands in the way before anything was made.
    #[error("nothing was made")]
    Asking(#[source] GraphError),
    /// Graph stands in the way.
    #[error(
        "{what} could not be made; what was made is in {record}, and the same command goes on from there"
    )]
    Graph {
        /// The step.
        what: String,
        /// The state file.
        record: String,
        /// Why.
        source: Box<GraphError>,
    },
    /// A file stands in the way.
    #[error("{what} could not be made on this machine; the same command goes on from there")]
    Local {
        /// The step.
        what: String,
        /// Why.
        source: ConfigureError,
    },
    /// The folder cannot be taken, or the record is of another one.
    #[error(transparent)]
    Files(ConfigureError),
    /// A step came too early: a mistake in the plan.
    #[error(transparent)]
    Missing(#[from] Missing),
}

/// What has become of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Outcome {
    Made,
    Found,
    Kept,
    Changed,
    MadeAnew,
    Renewed,
    LeftOut(String),
    /// Nothing to do and nothing to tell.
    Passed,
}

/// Why a step failed.
enum Failure {
    Graph(GraphError),
    Local(ConfigureError),
    Whole(RegisterError),
}

struct Run<'a> {
    graph: &'a Graph,
    state: &'a StateFile,
    files: &'a TenantFiles,
    record: Record,
    ids: Ids,
    /// Applications that were made in this run.
    fresh: HashSet<String>,
    /// Something was made, so that Graph may not know it everywhere yet.
    early: bool,
    /// The authentication context is somebody else's.
    foreign_context: Option<String>,
    changes: usize,
}

/// Registers everything, or what is missing of it. `known` is what `state` holds. A run that fails leaves what it has made in the record.
///
/// # Errors
///
/// A choice, the record, a file or Graph stands in the way.
pub async fn register(
    graph: &Graph,
    state: &StateFile,
    known: Option<Record>,
    choices: &Choices,
    files: &TenantFiles,
) -> Result<Report, RegisterError> {
    choices.check()?;
    let tenant = preflight::tenant(graph, choices).await?;
    let mut record = match known {
        Some(record) => {
            preflight::same_registration(&record, choices, &tenant, state)?;
            record
        }
        None => {
            let mut record = choices.record();
            record.tenant = tenant;
            record
        }
    };
    files
        .begin(&mut record, state)
        .map_err(RegisterError::Files)?;
    let plan = Plan::new(choices, &record);
    let ids = preflight::ids(graph, choices).await?;
    let mut run = Run {
        graph,
        state,
        files,
        record,
        ids,
        fresh: HashSet::new(),
        early: false,
        foreign_context: None,
        changes: 0,
    };
    run.check_names(&plan).await?;
    // The run's identity is on the disk before anything carries it.
    state.save(&run.record)?;
    let mut left_out = plan.left_out.clone();
    for step in &plan.steps {
        let outcome = run
            .patiently(step)
            .await
            .map_err(|failure| run.failed(step, failure))?;
        let what = step.to_string();
        let event = match outcome {
            Outcome::Made => Event::Made(what),
            Outcome::Found => Event::Found(what),
            Outcome::Kept => Event::Kept(what),
            Outcome::Changed => Event::Changed(what),
            Outcome::MadeAnew => Event::MadeAnew(what),
            Outcome::Renewed => Event::Renewed(what),
            Outcome::LeftOut(why) => {
                left_out.push(LeftOut {
                    what: what.clone(),
                    why: why.clone(),
                });
                Event::LeftOut { what, why }
            }
            Outcome::Passed => continue,
        };
        graph.tell(&event);
    }
    for left in &plan.left_out {
        graph.tell(&Event::LeftOut {
            what: left.what.clone(),
            why: left.why.clone(),
        });
    }
    run.configure()?;
    run.retire(&plan).await?;
    files.end(&mut run.record);
    run.record.finished = true;
    state.save(&run.record)?;
    Ok(Report::new(&run.record, &left_out, run.changes))
}

impl Run<'_> {
    fn failed(&self, step: &Step, failure: Failure) -> RegisterError {
        match failure {
            Failure::Graph(source) => RegisterError::Graph {
                what: step.to_string(),
                record: self.state.path().display().to_string(),
                source: Box::new(source),
            },
            Failure::Local(source) => RegisterError::Local {
                what: step.to_string(),
                source,
            },
            Failure::Whole(error) => error,
        }
    }

    /// Entra is many machines: one that is asked may not have heard yet of what another has made.
    async fn patiently(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let mut attempt = 0;
        loop {
            match self.step(step).await {
                Err(Failure::Graph(error))
                    if self.early && error.may_be_early() && attempt < EARLY =>
                {
                    attempt += 1;
                    let why = format!(
                        "Microsoft Graph does not know everywhere yet what was made ({step})"
                    );
                    self.graph.wait(backoff(attempt), why).await;
                }
                other => return other,
            }
        }
    }

    async fn step(&mut self, step: &Step) -> Result<Outcome, Failure> {
        match (&step.action, step.kind()) {
            (Action::Settings, _) => self.settings(step).await,
            (Action::Owner, _) => self.owner(step).await,
            (Action::AuthenticationContext, _) => self.context(step).await,
            (Action::Policy(Target::AuthenticationContext), _)
                if self.foreign_context.is_some() =>
            {
                let name = self.foreign_context.clone().unwrap_or_default();
                Ok(Outcome::LeftOut(format!(
                    "{} is {name:?}, which is not of this run",
                    super::plan::CONTEXT
                )))
            }
            (_, Some(kind)) => self.object(step, kind).await,
            (_, None) => Ok(Outcome::Passed),
        }
    }

    fn app(&self, step: &Step) -> Result<Object, Failure> {
        let app = self.record.app(&step.key).cloned();
        app.ok_or_else(|| whole(Missing(format!("application {}", step.key))))
    }

    async fn patch(&mut self, path: String, body: Value) -> Result<bool, Failure> {
        let request = Request {
            method: Method::PATCH,
            path,
            body,
        };
        self.graph.write(&request).await?;
        self.wrote();
        Ok(true)
    }

    fn wrote(&mut self) {
        self.changes += 1;
        self.early = true;
    }

    /// Nothing else is made before this is on the disk.
    fn keep(&mut self, object: Object) -> Result<(), Failure> {
        self.record.add(object);
        self.record.finished = false;
        self.early = true;
        self.state.save(&self.record).map_err(whole)
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

fn whole(error: impl Into<RegisterError>) -> Failure {
    Failure::Whole(error.into())
}

fn gone(path: &str) -> Failure {
    Failure::Graph(GraphError::Gone {
        doing: format!("GET {path}"),
        said: String::new(),
    })
}

fn is(object: &Value, name: &str, value: &str) -> bool {
    object
        .get(name)
        .and_then(Value::as_str)
        .is_some_and(|told| told.eq_ignore_ascii_case(value))
}

fn text(object: &Value, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).map(str::to_owned)
}
