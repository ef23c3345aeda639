//! Carries a plan out: makes what is missing, keeps what is there, and takes note of each object before the next is made.

mod credentials;
mod objects;
mod parts;
mod policy;
mod preflight;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::configure::{ConfigureError, TenantFiles};
use super::graph::{Graph, GraphError, backoff};
use super::plan::{Action, ChoiceError, Choices, Ids, LeftOut, Missing, Plan, Request, Step};
use super::progress::Event;
use super::record::{Kind, Object, Record, RecordError, StateFile};
use super::report::Report;

pub(super) use parts::is_of;
pub(super) use policy::word;

/// How often something is created when no answer comes.
const CREATIONS: u32 = 3;
/// How often it is looked for after that, before it is created again.
const LOOKS: u32 = 3;
/// How often a step is tried while Graph does not know yet what it has created: about a minute and a half of waiting.
const EARLY: u32 = 6;
/// The same of consents, for which five minutes have been seen.
const EARLY_CONSENT: u32 = 12;
/// Before something is taken to be gone, it is looked for again.
const SECOND_LOOK: Duration = Duration::from_secs(2);

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
    /// Graph's own application is not in the tenant, so that nobody can consent to its permissions.
    #[error(
        "the tenant has no service principal of Microsoft Graph, so that nobody can consent to its permissions; nothing was changed by this run. \
         An administrator makes it with `az ad sp create --id {}`",
        super::plan::GRAPH
    )]
    NoGraph,
    /// It was asked to end, and has.
    #[error("stopped; the same command goes on from there")]
    Stopped,
    /// Graph stands in the way before anything was made.
    #[error("nothing was changed by this run")]
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
    /// Applications, and the context, that were made in this run.
    fresh: HashSet<String>,
    /// Something was made, so that Graph may not know it everywhere yet.
    early: bool,
    /// Why there is no authentication context of ours.
    no_context: Option<String>,
    /// The `state` of policies as Graph tells it, by their keys.
    policies: BTreeMap<String, String>,
    left_out: Vec<LeftOut>,
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
    graph.begin().map_err(|_| RegisterError::Stopped)?;
    let tenant = preflight::tenant(graph, choices).await?;
    let mut record = match known {
        Some(record) => {
            preflight::same_registration(&record, choices, &tenant, state.path())?;
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
        no_context: None,
        policies: BTreeMap::new(),
        left_out: Vec::new(),
        changes: 0,
    };
    run.check_names(&plan).await?;
    run.warn_of_oneself(choices.enforce);
    // The run's identity is on the disk before anything carries it.
    run.record.emptied = false;
    state.save(&run.record)?;
    // A tenant that has no Conditional Access has a demo all the same.
    let (conditional, steps): (Vec<&Step>, Vec<&Step>) =
        plan.steps.iter().partition(|step| step.is_conditional());
    for step in steps {
        run.carry_out(step).await?;
    }
    run.configure()?;
    run.retire(&plan).await?;
    files.end(&mut run.record);
    if !conditional.is_empty() {
        // Without this nobody would look for a policy whose answer is never recorded.
        run.record.policies = true;
    }
    state.save(&run.record)?;
    for step in conditional {
        run.carry_out(step).await?;
    }
    // By somebody else, before.
    let is_enforced = run.policies.values().any(|state| state == "enabled");
    run.warn_of_oneself(is_enforced && !choices.enforce);
    for left in plan.left_out {
        run.leave_out(left.what, left.why);
    }
    if !choices.names_people() {
        run.tell_of_stale_policies();
    }
    run.record.finished = true;
    run.record.policies = run.record.has_policies();
    state.save(&run.record)?;
    let report = Report::new(&run.record, &run.left_out, run.changes);
    Ok(report.with_states(&run.policies))
}

/// Whether a run with these choices goes on with a record, and not with the registration of something else. `tenant` is the tenant's id.
///
/// # Errors
///
/// It is the record of another registration.
pub fn goes_on(
    record: &Record,
    choices: &Choices,
    tenant: &str,
    state: &Path,
) -> Result<(), RegisterError> {
    preflight::same_registration(record, choices, tenant, state)
}

impl Run<'_> {
    /// One step, and what has become of it is told.
    async fn carry_out(&mut self, step: &Step) -> Result<(), RegisterError> {
        let outcome = match self.graph.begin() {
            Ok(()) => self.patiently(step).await,
            Err(stopped) => Err(stopped.into()),
        };
        let outcome = outcome.map_err(|failure| self.failed(step, failure))?;
        let what = match self.policies.get(&step.key) {
            Some(state) if step.kind() == Some(Kind::Policy) => {
                format!("policy {} ({})", step.name, policy::word(state))
            }
            _ => step.to_string(),
        };
        let event = match outcome {
            Outcome::Made => Event::Made(what),
            Outcome::Found => Event::Found(what),
            Outcome::Kept => Event::Kept(what),
            Outcome::Changed => Event::Changed(what),
            Outcome::MadeAnew => Event::MadeAnew(what),
            Outcome::Renewed => Event::Renewed(what),
            Outcome::LeftOut(why) => {
                self.leave_out(what, why);
                return Ok(());
            }
        };
        self.graph.tell(&event);
        Ok(())
    }

    /// Whoever signs in here may find out at the next sign-in that a policy is about them.
    fn warn_of_oneself(&self, is_enforced: bool) {
        let named = |user: &String| self.ids.mfa_users.contains(user);
        if is_enforced && self.ids.user.as_ref().is_some_and(named) {
            self.graph.tell(&Event::Noted(
                "--mfa-user names the administrator who signs in here as well, and the policies are enforced: the demo's APIs demand \
                 multifactor authentication of them from now on"
                    .to_owned(),
            ));
        }
    }

    /// A policy of an application that was made anew is about the one that is gone; to change it takes somebody whom it is for.
    fn tell_of_stale_policies(&mut self) {
        let policies = self.record.objects.iter();
        let stale = policies
            .filter(|object| object.kind == Kind::Policy && self.fresh.contains(&object.key))
            .map(|policy| format!("policy {}", policy.name));
        for what in stale.collect::<Vec<_>>() {
            let why = "it is about the application that is gone: run this again with --mfa-user or --mfa-group";
            self.leave_out(what, why.to_owned());
        }
    }

    fn leave_out(&mut self, what: String, why: String) {
        self.left_out.push(LeftOut {
            what: what.clone(),
            why: why.clone(),
        });
        self.graph.tell(&Event::LeftOut { what, why });
    }

    fn failed(&self, step: &Step, failure: Failure) -> RegisterError {
        match failure {
            Failure::Graph(GraphError::Stopped) => RegisterError::Stopped,
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
        let most = match step.action {
            Action::Grant(_) | Action::Role(_) => EARLY_CONSENT,
            _ => EARLY,
        };
        let mut attempt = 0;
        loop {
            match self.step(step).await {
                Err(Failure::Graph(error))
                    if self.early && error.may_be_early() && attempt < most =>
                {
                    attempt += 1;
                    let why = format!(
                        "Microsoft Graph does not know everywhere yet what was made ({step})"
                    );
                    self.wait(backoff(attempt), why, error).await?;
                }
                other => return other,
            }
        }
    }

    async fn step(&mut self, step: &Step) -> Result<Outcome, Failure> {
        match (&step.action, step.kind()) {
            (Action::AuthenticationContext | Action::Policy(_), _) => self.conditional(step).await,
            (_, Some(kind)) => self.object(step, kind).await,
            (Action::Owner, None) => self.owner(step).await,
            (_, None) => self.settings(step).await,
        }
    }

    /// Waits because of `error`, which is told if there is no time for that.
    async fn wait(&self, pause: Duration, why: String, error: GraphError) -> Result<(), Failure> {
        let waited = self.graph.wait(pause, why).await;
        waited.map_err(|no| Failure::Graph(no.told(error)))
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
