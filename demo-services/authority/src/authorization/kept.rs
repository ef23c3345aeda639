//! An authorization request as it outlives the process: applications by their ids, scopes by the text that named them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reply::{Reply, ResponseMode};
use super::request::{AuthorizeRequest, Prompt, Redirect, RedirectKind};
use crate::demands::Demands;
use crate::directory::{App, Directory};
use crate::errors::Trace;
use crate::scopes::Requested;

#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptRequest {
    client: Uuid,
    kind: RedirectKind,
    redirect_uri: String,
    mode: ResponseMode,
    state: Option<String>,
    challenge: String,
    scope: String,
    nonce: Option<String>,
    prompt: Prompt,
    login_hint: Option<String>,
    max_age: Option<u64>,
    demands: Demands,
    client_info: bool,
    trace: Trace,
}

impl KeptRequest {
    pub(crate) fn of(request: &AuthorizeRequest, redirect: &Redirect) -> Self {
        let AuthorizeRequest {
            client,
            requested,
            prompt,
            login_hint,
            max_age,
            demands,
            trace,
        } = request;
        let Redirect {
            kind,
            reply:
                Reply {
                    redirect_uri,
                    mode,
                    state,
                },
            challenge,
            nonce,
            client_info,
        } = redirect;
        Self {
            client: client.client_id,
            kind: *kind,
            redirect_uri: redirect_uri.clone(),
            mode: *mode,
            state: state.clone(),
            challenge: challenge.clone(),
            scope: requested.text.clone(),
            nonce: nonce.clone(),
            prompt: *prompt,
            login_hint: login_hint.clone(),
            max_age: *max_age,
            demands: demands.clone(),
            client_info: *client_info,
            trace: *trace,
        }
    }

    /// `None` where the directory lacks the client or what it asked for.
    pub(crate) fn resolve(self, directory: &Directory) -> Option<(AuthorizeRequest, Redirect)> {
        let (client, requested) = self.references(directory)?;
        let request = AuthorizeRequest {
            client: client.clone(),
            requested,
            prompt: self.prompt,
            login_hint: self.login_hint,
            max_age: self.max_age,
            demands: self.demands,
            trace: self.trace,
        };
        let redirect = Redirect {
            kind: self.kind,
            reply: Reply {
                redirect_uri: self.redirect_uri,
                mode: self.mode,
                state: self.state,
            },
            challenge: self.challenge,
            nonce: self.nonce,
            client_info: self.client_info,
        };
        Some((request, redirect))
    }

    pub(crate) fn resolves(&self, directory: &Directory) -> bool {
        self.references(directory).is_some()
    }

    fn references<'a>(&self, directory: &'a Directory) -> Option<(&'a App, Requested)> {
        let mut apps = directory.apps.iter();
        let client = apps.find(|app| app.client_id == self.client)?;
        let requested = Requested::parse(directory, Some(&self.scope)).ok()?;
        Some((client, requested))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Form;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let directory = Directory::demo();
        let client = directory.app("spa-backend").unwrap().client_id;
        let query = format!(
            "client_id={client}&redirect_uri=http://localhost:3000/auth/callback&response_type=code&state=s&response_mode=form_post\
            &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&nonce=n&prompt=login&login_hint=alice\
            &scope=api://middle-tier/user_impersonation%20openid%20offline_access&max_age=7&client_info=1\
            &claims=%7B%22access_token%22%3A%7B%22acrs%22%3A%7B%22value%22%3A%22c1%22%7D%7D%7D"
        );
        let form = Form::parse(query.as_bytes());
        let Ok(parsed) = AuthorizeRequest::parse(&directory, form, Trace::new(None)) else {
            panic!("a proper request")
        };
        let kept = KeptRequest::of(&parsed.0, &parsed.1);
        assert!(kept.resolves(&directory));
        // Debug shows every field, and no secret of the applications.
        let again = kept.clone().resolve(&directory).unwrap();
        assert_eq!(format!("{again:?}"), format!("{parsed:?}"));

        let without = |name: &str| {
            let mut directory = directory.clone();
            directory.apps.retain(|app| app.name != name);
            kept.resolves(&directory)
        };
        assert!(without("daemon"));
        assert!(!without("spa-backend") && !without("middle-tier"));
    }
}
