//! `/v1.0/applications`: registrations.

mod body;
mod change;
mod told;

use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::error::GraphError;
use super::{Answered, Call, Key, Reply, credentials, owners, wrong_method};
use crate::directory::{App, Consent, Directory};
use body::Body;
use change::{apply, is_personal, set_version};
pub(super) use told::object;

pub(super) const READ: &[&str] = &[
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
];
pub(super) const WRITE: &[&str] = &["Application.ReadWrite.All"];

pub(super) const MAX_APPLICATIONS: usize = 1000;

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require(READ)?;
            let apps = call.directory.apps_and_graph();
            let objects = call
                .directory
                .apps
                .iter()
                .map(|app| object(call.directory, &apps, app));
            let filterable = ["id", "appId", "displayName", "identifierUris", "tags"];
            call.many("applications", "application", objects, &filterable)
        }
        (&Method::POST, []) => create(call),
        (_, []) => Err(wrong_method()),
        (_, [key, rest @ ..]) => {
            let key = Key::parse(key)?;
            match (method, rest) {
                (&Method::GET, []) => {
                    call.caller.require(READ)?;
                    let app = find(call.directory, &key)?;
                    let apps = call.directory.apps_and_graph();
                    let object = object(call.directory, &apps, app);
                    call.one("applications", "application", object)
                }
                (&Method::PATCH, []) => update(call, &key),
                (&Method::DELETE, []) => delete(call, &key),
                (&Method::POST, ["addPassword"]) => {
                    call.caller.require(WRITE)?;
                    credentials::add_password(call, &key)
                }
                (&Method::POST, ["removePassword"]) => {
                    call.caller.require(WRITE)?;
                    credentials::remove_password(call, &key)
                }
                (_, ["owners", rest @ ..]) => owners::route(call, method, &key, rest),
                (_, [] | ["addPassword" | "removePassword"]) => Err(wrong_method()),
                (_, [other, ..]) => Err(super::no_segment(other)),
            }
        }
    }
}

fn is(app: &App, key: &Key) -> bool {
    match key {
        Key::Id(id) => app.object_id() == *id,
        Key::AppId(id) => app.client_id == *id,
    }
}

fn unknown(key: &Key) -> GraphError {
    let (Key::Id(id) | Key::AppId(id)) = key;
    GraphError::not_found(&id.to_string())
}

pub(super) fn find<'a>(directory: &'a Directory, key: &Key) -> Result<&'a App, GraphError> {
    let app = directory.apps.iter().find(|app| is(app, key));
    app.ok_or_else(|| unknown(key))
}

pub(super) fn find_mut<'a>(
    directory: &'a mut Directory,
    key: &Key,
) -> Result<&'a mut App, GraphError> {
    let app = directory.apps.iter_mut().find(|app| is(app, key));
    app.ok_or_else(|| unknown(key))
}

fn create(call: &Call<'_>) -> Answered {
    call.caller.require(WRITE)?;
    let mut body: Body = call.read()?;
    if body.display_name.is_none() {
        return Err(GraphError::bad(
            "A value is required for property 'displayName' of resource 'Application'.",
        ));
    }
    let passwords = body.password_credentials.take().unwrap_or_default();
    let client_id = Uuid::new_v4();
    let mut secrets = Vec::new();
    let mut created = call.authority.change(|directory| {
        if directory.apps.len() >= MAX_APPLICATIONS {
            return Err(GraphError::quota("applications"));
        }
        // Its name comes below, where it is told from the names of others.
        let mut app = App::new(client_id.to_string(), client_id);
        app.consent = Consent::Required;
        app.registration.object_id = Some(Uuid::new_v4());
        app.registration.without_principal = true;
        app.registration.created = Some(call.now);
        app.registration.required = Some(Vec::new());
        // Whoever signs in and registers an application owns it.
        app.registration.owners = call.caller.user.into_iter().collect();
        let audience = body
            .sign_in_audience
            .get_or_insert_with(|| "AzureADandPersonalMicrosoftAccount".to_owned());
        let version = if is_personal(audience) { Some(2) } else { None };
        set_version(&mut app, version)?;
        directory.apps.push(app);
        let key = Key::AppId(client_id);
        apply(directory, &key, body)?;
        let app = find_mut(directory, &key)?;
        for password in passwords {
            secrets.push(credentials::add(app, password, call.now)?);
        }
        directory.settle();
        let apps = directory.apps_and_graph();
        Ok(object(directory, &apps, find(directory, &key)?))
    })?;
    if let (Value::Object(created), false) = (&mut created, secrets.is_empty()) {
        created.insert("passwordCredentials".to_owned(), secrets.into());
    }
    call.created("applications", "application", created)
}

fn update(call: &Call<'_>, key: &Key) -> Answered {
    call.caller.require(WRITE)?;
    let body: Body = call.read()?;
    if body.password_credentials.is_some() {
        return Err(GraphError::bad(
            "Updates to passwordCredentials are made with addPassword and removePassword.",
        ));
    }
    call.authority
        .change(|directory| apply(directory, key, body))?;
    Ok(Reply::Done)
}

fn delete(call: &Call<'_>, key: &Key) -> Answered {
    call.caller.require(WRITE)?;
    let client_id = call.authority.change(|directory| {
        let client_id = find(directory, key)?.client_id;
        directory.delete_app(client_id, call.now);
        Ok::<_, GraphError>(client_id)
    })?;
    call.authority.end_app(client_id);
    Ok(Reply::Done)
}
