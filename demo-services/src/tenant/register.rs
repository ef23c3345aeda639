//! Carries a plan out: makes what is missing, keeps what is there, and takes note of each object before the next is made.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::graph::{Graph, GraphError, backoff};
use super::local::{LocalError, LocalFiles};
use super::merge;
use super::plan::{
    Action, ChoiceError, Choices, Edge, GRAPH, Ids, LeftOut, Missing, Plan, Request, Step, Target,
};
use super::progress::Event;
use super::record::{Kind, Object, Record, RecordError, StateFile, is_id};
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
        source: LocalError,
    },
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
    LeftOut(String),
    /// Nothing to do and nothing to tell.
    Passed,
}

/// Why a step failed.
enum Failure {
    Graph(GraphError),
    Local(LocalError),
    Whole(RegisterError),
}

struct Run<'a> {
    graph: &'a Graph,
    state: &'a StateFile,
    files: &'a dyn LocalFiles,
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
    files: &dyn LocalFiles,
) -> Result<Report, RegisterError> {
    choices.check()?;
    let tenant = tenant(graph, choices).await?;
    let record = match known {
        Some(record) => {
            same_registration(&record, choices, &tenant, state)?;
            record
        }
        None => {
            let mut record = choices.record();
            record.tenant = tenant;
            record
        }
    };
    let plan = Plan::new(choices, &record);
    let ids = ids(graph, choices).await?;
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
    let written = files
        .write(&run.record)
        .map_err(|source| RegisterError::Local {
            what: "the configuration".to_owned(),
            source,
        })?;
    run.record.add_files(written);
    run.record.finished = true;
    state.save(&run.record)?;
    Ok(Report::new(&run.record, &left_out, run.changes))
}

/// The id of the tenant that the token is good for, which must be the one that was asked for.
async fn tenant(graph: &Graph, choices: &Choices) -> Result<String, RegisterError> {
    let asked = choices.tenant.clone();
    let found = match graph
        .list("organization", "$select=id,verifiedDomains")
        .await
    {
        Ok(found) => found,
        // A client without a user may lack the permission for it; its token was asked of that tenant.
        Err(GraphError::Forbidden { .. }) => return Ok(asked),
        Err(error) => return Err(RegisterError::Asking(error)),
    };
    let Some((id, tenant)) = found
        .first()
        .and_then(|tenant| Some((text(tenant, "id")?, tenant)))
    else {
        return Ok(asked);
    };
    let domains = tenant.get("verifiedDomains").and_then(Value::as_array);
    let mut domains = domains
        .into_iter()
        .flatten()
        .filter_map(|domain| text(domain, "name"));
    if id.eq_ignore_ascii_case(&asked) || domains.any(|domain| domain.eq_ignore_ascii_case(&asked))
    {
        Ok(id)
    } else {
        Err(RegisterError::AnotherTenant { asked, actual: id })
    }
}

/// A second run may not be about something else.
fn same_registration(
    record: &Record,
    choices: &Choices,
    tenant: &str,
    state: &StateFile,
) -> Result<(), RegisterError> {
    for (what, recorded, asked) in [
        ("the tenant", record.tenant.as_str(), tenant),
        ("the cloud", &record.cloud, &choices.cloud),
        (
            "the authority",
            record.authority.as_str(),
            choices.authority.as_str(),
        ),
        (
            "Microsoft Graph",
            record.graph.as_str(),
            choices.graph.as_str(),
        ),
        ("the prefix", &record.prefix, &choices.prefix),
    ] {
        if !recorded.eq_ignore_ascii_case(asked) {
            return Err(RecordError::Another {
                path: state.path().to_owned(),
                what,
                recorded: recorded.to_owned(),
                asked: asked.to_owned(),
            }
            .into());
        }
    }
    Ok(())
}

async fn ids(graph: &Graph, choices: &Choices) -> Result<Ids, RegisterError> {
    let user = match graph.get("me", "$select=id").await {
        Ok(me) => me.and_then(|me| text(&me, "id")),
        // A token without a user has no /me.
        Err(GraphError::Refused { .. } | GraphError::Forbidden { .. }) => None,
        Err(error) => return Err(RegisterError::Asking(error)),
    };
    let path = format!("servicePrincipals(appId='{GRAPH}')");
    let principal = graph
        .get(&path, "$select=id")
        .await
        .map_err(RegisterError::Asking)?;
    let mut ids = Ids {
        user,
        graph_principal: principal.and_then(|principal| text(&principal, "id")),
        ..Ids::default()
    };
    for name in &choices.mfa_users {
        let unknown = || RegisterError::NoUser(name.clone());
        let id = lookup(graph, "users", name).await?.ok_or_else(unknown)?;
        ids.mfa_users.push(id);
    }
    for name in &choices.mfa_groups {
        let unknown = || RegisterError::NoGroup(name.clone());
        Uuid::try_parse(name).map_err(|_| unknown())?;
        let id = lookup(graph, "groups", name).await?.ok_or_else(unknown)?;
        ids.mfa_groups.push(id);
    }
    Ok(ids)
}

async fn lookup(graph: &Graph, list: &str, name: &str) -> Result<Option<String>, RegisterError> {
    let plain = !name.is_empty() && name.len() <= 256 && !name.starts_with('.');
    if !plain
        || name.contains(|letter: char| {
            letter.is_control() || matches!(letter, '/' | '\\' | '(' | '$')
        })
    {
        return Ok(None);
    }
    let found = graph.get(&format!("{list}/{name}"), "$select=id").await;
    Ok(found
        .map_err(RegisterError::Asking)?
        .and_then(|found| text(&found, "id")))
}

impl Run<'_> {
    /// Refuses before anything is made, not after half of it.
    async fn check_names(&self, plan: &Plan) -> Result<(), RegisterError> {
        for step in plan
            .steps
            .iter()
            .filter(|step| step.action == Action::Application)
        {
            if self.record.app(&step.key).is_none() {
                self.named(step).await.map_err(|failure| match failure {
                    Failure::Graph(error) => RegisterError::Asking(error),
                    other => self.failed(step, other),
                })?;
            }
        }
        Ok(())
    }

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

    /// Something with an id of its own.
    async fn object(&mut self, step: &Step, kind: Kind) -> Result<Outcome, Failure> {
        let recorded = self.record.object(kind, &step.key).cloned();
        if let Some(object) = &recorded {
            let mut there = self.there(step, object).await?;
            if there.is_none() && !self.fresh.contains(&step.key) {
                self.graph
                    .wait(SECOND_LOOK, format!("{step} is not there; looking again"))
                    .await;
                there = self.there(step, object).await?;
            }
            if let Some(there) = there {
                let changed = self.adjust(step, object, &there).await?;
                return Ok(if changed {
                    Outcome::Changed
                } else {
                    Outcome::Kept
                });
            }
        }
        let (object, found) = self.find_or_create(step, kind).await?;
        self.keep(object)?;
        if kind == Kind::Application {
            self.fresh.insert(step.key.clone());
        }
        Ok(match (found, &recorded) {
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
                    return Ok((self.created(step, kind, &created)?, false));
                }
                Err(error) => error,
            };
            if !error.may_be_done() || creation >= CREATIONS {
                return Err(error.into());
            }
            for look in 1..=LOOKS {
                let why = format!("no answer ({step}); looking whether it was made");
                self.graph.wait(backoff(look), why).await;
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
                let here = self.files.has_credential(&step.key);
                if !here || object.parent.as_ref() != Some(&app.id) {
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
            Action::Application => self.named(step).await?,
            Action::Principal => {
                let app_id = self.app(step)?.app_id.unwrap_or_default();
                let path = format!("servicePrincipals(appId='{app_id}')");
                self.graph.get(&path, "$select=id,appId").await?
            }
            Action::Certificate => {
                let certificate = self.certificate(step)?;
                let app = self.app(step)?.id;
                let keys = self.credentials(&app, "keyCredentials").await?;
                keys.into_iter()
                    .find(|key| is(key, "keyId", &certificate.to_string()))
            }
            Action::Secret => {
                self.remove_lost_secrets(step).await?;
                None
            }
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
                policies
                    .into_iter()
                    .find(|policy| is(policy, "displayName", &step.name))
            }
            Action::Settings | Action::Owner | Action::AuthenticationContext => None,
        };
        match (found, step.kind()) {
            (Some(found), Some(kind)) => Ok(Some(self.created(step, kind, &found)?)),
            _ => Ok(None),
        }
    }

    /// The application of this name. One that is not of this run is in the way.
    async fn named(&self, step: &Step) -> Result<Option<Value>, Failure> {
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

    /// The request that makes it. Graph replaces the certificates of an application as a whole: others stay, ours of before goes.
    async fn request(&mut self, step: &Step) -> Result<Request, Failure> {
        let mut request = step.request(&self.record, &self.ids).map_err(whole)?;
        if step.action == Action::Certificate {
            let app = self.app(step)?.id;
            let mut keys = self.credentials(&app, "keyCredentials").await?;
            let before = self
                .record
                .object(Kind::Certificate, &step.key)
                .map(|key| key.id.clone());
            keys.retain(|key| {
                before
                    .as_ref()
                    .is_none_or(|before| !is(key, "keyId", before))
            });
            if let Some(Value::Array(ours)) = request.body.get_mut("keyCredentials") {
                ours.extend(keys);
            }
        }
        Ok(request)
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
            Action::Secret => {
                let secret =
                    text(told, "secretText").ok_or_else(|| unusable("there is no secret in it"))?;
                let written = self
                    .files
                    .keep_secret(&step.key, SecretString::from(secret))
                    .map_err(Failure::Local)?;
                self.record.add_files(written);
                (text(told, "keyId"), Some(self.app(step)?.id))
            }
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
            Action::Policy(_) => {
                let wanted = step.body(&self.record, &self.ids).map_err(whole)?;
                let Some(body) = policy_changes(there, &wanted, step.enforced()) else {
                    return Ok(false);
                };
                self.patch(format!("{POLICIES}/{}", object.id), body).await
            }
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

    async fn settings(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let wanted = step.body(&self.record, &self.ids).map_err(whole)?;
        let path = format!("applications/{}", self.app(step)?.id);
        let select = "$select=identifierUris,api,web,spa,requiredResourceAccess";
        let current = self
            .graph
            .get(&path, select)
            .await?
            .ok_or_else(|| gone(&path))?;
        let Some(body) = merge::missing(&current, &wanted) else {
            return Ok(Outcome::Kept);
        };
        self.patch(path, body).await?;
        Ok(if self.fresh.contains(&step.key) {
            Outcome::Made
        } else {
            Outcome::Changed
        })
    }

    async fn owner(&mut self, step: &Step) -> Result<Outcome, Failure> {
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
        match self.graph.write(&request).await {
            Ok(_) => {}
            // It was carried out before its answer was lost.
            Err(GraphError::Refused { said, .. }) if said.contains("already exist") => {}
            Err(error) => return Err(error.into()),
        }
        self.wrote();
        Ok(Outcome::Made)
    }

    /// A context has a fixed id of its own: one that is there and not of this run stays as it is.
    async fn context(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let path = format!("{CONTEXTS}/{}", step.key);
        let there = self.graph.get(&path, "").await?;
        let recorded = self
            .record
            .object(Kind::AuthenticationContext, &step.key)
            .is_some();
        let ours = |context: &Value| {
            text(context, "description").is_some_and(|text| text.contains(&step.tag()))
        };
        let outcome = match &there {
            Some(_) if recorded => return Ok(Outcome::Kept),
            Some(context) if ours(context) => Outcome::Found,
            Some(context) => {
                let name = text(context, "displayName").unwrap_or_default();
                self.foreign_context = Some(name.clone());
                return Ok(Outcome::LeftOut(format!(
                    "it exists already as {name:?} and is kept; its policies decide about GET /secure"
                )));
            }
            None if recorded => Outcome::MadeAnew,
            None => Outcome::Made,
        };
        if there.is_none() {
            let request = step.request(&self.record, &self.ids).map_err(whole)?;
            self.graph.write(&request).await?;
            self.wrote();
        }
        self.keep(Object {
            key: step.key.clone(),
            kind: Kind::AuthenticationContext,
            id: step.key.clone(),
            app_id: None,
            parent: None,
            name: step.name.clone(),
        })?;
        Ok(outcome)
    }

    /// Secrets of this run that nobody knows: the answer that told them was lost, or their file.
    async fn remove_lost_secrets(&mut self, step: &Step) -> Result<(), Failure> {
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

    async fn credentials(&self, app: &str, list: &str) -> Result<Vec<Value>, Failure> {
        let path = format!("applications/{app}");
        let found = self.graph.get(&path, &format!("$select={list}")).await?;
        let mut found = found.ok_or_else(|| gone(&path))?;
        match found.get_mut(list).map(Value::take) {
            Some(Value::Array(keys)) => Ok(keys),
            _ => Ok(Vec::new()),
        }
    }

    /// The `keyId` of the application's certificate, which is made if it is not there.
    fn certificate(&mut self, step: &Step) -> Result<Uuid, Failure> {
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

/// What a policy lacks. One that somebody has enforced stays so.
fn policy_changes(there: &Value, wanted: &Value, enforce: bool) -> Option<Value> {
    let mut changes = Map::new();
    if enforce && !is(there, "state", "enabled") {
        changes.insert("state".to_owned(), json!("enabled"));
    }
    let mut conditions = Map::new();
    for part in ["applications", "users"] {
        let none = Value::Null;
        let pointer = format!("/conditions/{part}");
        let (there, wanted) = (
            there.pointer(&pointer).unwrap_or(&none),
            wanted.pointer(&pointer)?,
        );
        match part {
            // The application was made anew: the one before is no more.
            "applications" if !merge::has(there, wanted) => {
                conditions.insert(part.to_owned(), wanted.clone());
            }
            "users" => conditions
                .extend(merge::missing(there, wanted).map(|users| (part.to_owned(), users))),
            _ => {}
        }
    }
    if !conditions.is_empty() {
        changes.insert("conditions".to_owned(), conditions.into());
    }
    (!changes.is_empty()).then(|| changes.into())
}

fn list_of(action: &Action) -> &'static str {
    match action {
        Action::Secret => "passwordCredentials",
        _ => "keyCredentials",
    }
}

fn gone(path: &str) -> Failure {
    Failure::Graph(GraphError::Gone {
        doing: format!("GET {path}"),
        said: String::new(),
    })
}

fn is_between(object: &Value, client: &str, ends: &(String, String)) -> bool {
    is(object, client, &ends.0) && is(object, "resourceId", &ends.1)
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
