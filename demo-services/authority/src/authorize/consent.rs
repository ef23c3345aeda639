//! The consent page: what an application asks the user for, and the record of what the user grants.

use std::collections::BTreeSet;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method};

use super::interaction::{Answer, receive};
use super::{Origin, page, proceed, user};
use crate::authority::{Authority, Shared};
use crate::authorization::AuthorizeRequest;
use crate::directory::{App, Directory, GRAPH};
use crate::known::Known;
use crate::pages::Permissions;
use crate::records::{Flow, Grant, Waiting};

/// Scopes of one API that one client asks for.
struct Asked {
    client: App,
    resource: App,
    names: BTreeSet<String>,
}

/// `POST /{tenant}/consent` with `flow` and `accept`, or `cancel`.
pub(crate) async fn consent(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Answer { form, id, mut flow } = match receive(&authority, &headers, &body, Waiting::Consent)
    {
        Ok(answer) => answer,
        Err(response) => return *response,
    };
    if form.get("accept").is_none() {
        return page(&authority, &directory, flow, Some(id), None);
    }
    flow.consented = record(&authority, &directory, &flow);
    let method = Method::POST;
    proceed(
        &authority,
        &directory,
        flow,
        Origin::Page,
        Some(id),
        &method,
    )
}

/// Whether there was still a user to grant anything.
fn record(authority: &Authority, directory: &Directory, flow: &Flow) -> bool {
    let Some(authentication) = &flow.authentication else {
        return false;
    };
    let Some(user) = user(directory, authentication) else {
        return false;
    };
    let asked = asked(directory, &flow.request, user.administrator);
    let now = authority.now();
    let mut stores = authority.stores();
    if stores.revoked_since(authentication).is_some() {
        return false;
    }
    for Asked {
        client,
        resource,
        names,
    } in asked
    {
        let grant = Grant {
            user: user.oid,
            client: client.client_id,
            resource: resource.client_id,
        };
        stores.consent(grant, names, now);
    }
    tracing::info!(trace_id = %flow.request.trace.trace_id, "consented");
    true
}

/// What the client asks for on the API, and, with `.default` of an API that knows this client, what that API itself needs behind it:
/// it has no page of its own to ask on.
fn asked(directory: &Directory, request: &AuthorizeRequest, administrator: bool) -> Vec<Asked> {
    let resource = &request.requested.resource;
    let own = Asked {
        client: request.client.clone(),
        resource: resource.clone(),
        names: request
            .requested
            .consentable(&request.client, administrator)
            .unwrap_or_default(),
    };
    let graph = App::graph();
    let combined = request.requested.is_default()
        && resource
            .known_client_applications
            .contains(&request.client.client_id);
    let behind = directory
        .apps
        .iter()
        .chain([&graph])
        .filter(|_| combined)
        .map(|api| Asked {
            client: resource.clone(),
            resource: api.clone(),
            names: resource
                .permissions_on(api)
                .filter(|name| administrator || !api.needs_admin(name))
                .map(str::to_owned)
                .collect(),
        });
    [own]
        .into_iter()
        .chain(behind)
        .filter(|asked| !asked.names.is_empty())
        .collect()
}

/// The same for people, one group for each application that will hold the permissions.
pub(super) fn in_words(
    directory: &Directory,
    request: &AuthorizeRequest,
    administrator: bool,
) -> Vec<Permissions> {
    let mut own = Permissions {
        holder: request.client.name.clone(),
        words: Vec::new(),
    };
    if request.requested.openid {
        own.words.push("Sign you in and read your name".to_owned());
    }
    let mut behind = Permissions {
        holder: request.requested.resource.name.clone(),
        words: Vec::new(),
    };
    for asked in asked(directory, request, administrator) {
        let group = if asked.client.client_id == request.client.client_id {
            &mut own
        } else {
            &mut behind
        };
        let words = asked.names.iter().map(|name| words(&asked.resource, name));
        group.words.extend(words);
    }
    if request.requested.offline_access {
        own.words
            .push("Keep this access while you are away".to_owned());
    }
    [own, behind]
        .into_iter()
        .filter(|group| !group.words.is_empty())
        .collect()
}

fn words(resource: &App, name: &str) -> String {
    match name {
        "User.Read" if resource.client_id == GRAPH => "Read your profile".to_owned(),
        "User.ReadWrite" if resource.client_id == GRAPH => {
            "Read and change your profile".to_owned()
        }
        name => format!("Use {} as you ({name})", resource.name),
    }
}
