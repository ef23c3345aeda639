//! `/v1.0/directory/deletedItems`: applications that were deleted, to be looked at, brought back, or deleted for good.

use http::Method;
use serde_json::{Value, json};

use super::applications::{self, MAX_APPLICATIONS, READ, WRITE};
use super::error::GraphError;
use super::{Answered, Call, Reply, dates, id, wrong_method};
use crate::directory::Directory;
use crate::directory::deleted::DeletedApp;

const APPLICATION: &str = "microsoft.graph.application";
const KIND: &str = "application";

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match path {
        ["deletedItems", rest @ ..] => items(call, method, rest),
        [other, ..] => Err(super::no_segment(other)),
        [] => Err(super::no_segment("directory")),
    }
}

fn items(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match (method, path) {
        (&Method::GET, [APPLICATION]) => {
            call.caller.require(READ)?;
            let deleted = call.directory.deleted_apps(call.now);
            let objects = deleted.map(|deleted| object(call.directory, deleted));
            let filterable = ["id", "appId", "displayName", "identifierUris", "tags"];
            call.many("applications", KIND, objects, &filterable)
        }
        (_, [] | [APPLICATION, ..]) if method == Method::GET => Err(GraphError::protocol(
            "Deleted items are listed by their type: directory/deletedItems/microsoft.graph.application.",
        )),
        (&Method::GET, [key]) => {
            call.caller.require(READ)?;
            let wanted = id(key)?;
            let deleted = call.directory.deleted_apps(call.now);
            let deleted = { deleted }.find(|deleted| deleted.app.object_id() == wanted);
            let deleted = deleted.ok_or_else(|| GraphError::not_found(key))?;
            let object = typed(object(call.directory, deleted));
            call.one("directoryObjects", KIND, object)
        }
        (&Method::DELETE, [key]) => {
            call.caller.require(WRITE)?;
            let wanted = id(key)?;
            call.authority.change(|directory| {
                let gone = directory.forget_app(wanted);
                gone.then_some(()).ok_or_else(|| GraphError::not_found(key))
            })?;
            Ok(Reply::Done)
        }
        (&Method::POST, [key, "restore"]) => {
            call.caller.require(WRITE)?;
            let wanted = id(key)?;
            let restored = call.authority.change(|directory| {
                if directory.apps.len() >= MAX_APPLICATIONS {
                    return Err(GraphError::quota("applications"));
                }
                let restored = directory.restore_app(wanted);
                let client_id = restored.ok_or_else(|| GraphError::not_found(key))?;
                directory.settle();
                let app = applications::find(directory, &super::Key::AppId(client_id))?;
                let apps = directory.apps_and_graph();
                Ok(applications::object(directory, &apps, app))
            })?;
            call.one("directoryObjects", KIND, typed(restored))
        }
        (_, [] | [_] | [_, "restore"]) => Err(wrong_method()),
        (_, [_, other, ..]) => Err(super::no_segment(other)),
    }
}

fn object(directory: &Directory, deleted: &DeletedApp) -> Value {
    let apps = directory.apps_and_graph();
    let mut object = applications::object(directory, &apps, &deleted.app);
    if let Value::Object(object) = &mut object {
        object.insert("deletedDateTime".to_owned(), dates::value(Some(deleted.at)));
    }
    object
}

/// One of many kinds of objects says which.
fn typed(mut object: Value) -> Value {
    if let Value::Object(object) = &mut object {
        object.insert("@odata.type".to_owned(), json!(format!("#{APPLICATION}")));
    }
    object
}
