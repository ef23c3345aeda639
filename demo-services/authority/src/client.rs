//! Client authentication at the token endpoint: `client_secret_post`, `client_secret_basic`, or none.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use secrecy::ExposeSecret;

use crate::directory::{App, Directory};
use crate::errors::Refusal;
use crate::form::{self, Form};
use crate::tokens::Credential;

/// A client and what it has shown for itself.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) app: &'a App,
    pub(crate) credential: Credential,
}

impl<'a> Client<'a> {
    pub(crate) fn identify(
        directory: &'a Directory,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Self, Refusal> {
        let basic = headers
            .get(header::AUTHORIZATION)
            .map(|value| basic(value.as_bytes()))
            .transpose()?;
        let posted = form.get("client_secret");
        if form.get("client_assertion").is_some() || form.get("client_assertion_type").is_some() {
            return Err(Refusal::invalid_client(
                700_027,
                "Client assertion failed: no certificate is registered for this application.",
            ));
        }
        let (id, secret) = match (&basic, posted) {
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid_request(
                    90_023,
                    "More than one client authentication method was used.",
                ));
            }
            (Some((id, _)), None) if form.get("client_id").is_some_and(|other| other != id) => {
                return Err(Refusal::invalid_request(
                    90_023,
                    "The client_id of the body is not that of the Authorization header.",
                ));
            }
            (Some((id, secret)), None) => (id.as_str(), Some(secret.as_str())),
            (None, posted) => (
                form.get("client_id")
                    .ok_or_else(|| Refusal::missing("client_id"))?,
                posted,
            ),
        };
        let app = find(directory, id)?;
        let credential = match secret {
            None => Credential::None,
            Some(secret) if holds(app, secret) => Credential::Secret,
            Some(_) => {
                return Err(Refusal::invalid_client(
                    7_000_215,
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.",
                ));
            }
        };
        Ok(Self { app, credential })
    }

    /// For what only a confidential client may do.
    pub(crate) fn confidential(self) -> Result<(), Refusal> {
        match self.credential {
            Credential::Secret => Ok(()),
            Credential::None => Err(Refusal::invalid_client(
                7_000_218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )),
        }
    }

    /// For what belongs to a client that cannot keep a secret.
    pub(crate) fn public(self) -> Result<(), Refusal> {
        match self.credential {
            Credential::None => Ok(()),
            Credential::Secret => Err(Refusal::invalid_client(
                700_025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            )),
        }
    }
}

/// The application of a client id.
pub(crate) fn find<'a>(directory: &'a Directory, id: &str) -> Result<&'a App, Refusal> {
    let unknown = || {
        Refusal::new(
            "unauthorized_client",
            700_016,
            "Application with the given identifier was not found in the directory.",
        )
    };
    let id = form::guid(id).ok_or_else(unknown)?;
    directory
        .apps
        .iter()
        .find(|app| app.client_id == id && app.has_principal())
        .ok_or_else(unknown)
}

/// Compares digests, so that neither content nor length shows in the time; all secrets are tried.
fn holds(app: &App, presented: &str) -> bool {
    let presented = digest(&SHA256, presented.as_bytes());
    let same = |secret: &secrecy::SecretString| {
        verify_slices_are_equal(
            digest(&SHA256, secret.expose_secret().as_bytes()).as_ref(),
            presented.as_ref(),
        )
        .is_ok()
    };
    app.secrets
        .iter()
        .fold(false, |found, secret| same(secret) | found)
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
fn basic(value: &[u8]) -> Result<(String, String), Refusal> {
    let decode = || {
        let (scheme, credentials) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let joined = STANDARD.decode(credentials.trim_ascii()).ok()?;
        let colon = joined.iter().position(|byte| *byte == b':')?;
        let (id, secret) = joined.split_at(colon);
        Some((form::decode(id).ok()?, form::decode(secret.get(1..)?).ok()?))
    };
    decode().ok_or_else(|| {
        Refusal::invalid_request(
            90_014,
            "The Authorization header is not valid for this endpoint.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(
        directory: &Directory,
        authorization: Option<String>,
        body: &str,
    ) -> Result<Credential, u32> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        Client::identify(directory, &headers, &Form::parse(body.as_bytes()).unwrap())
            .map(|client| client.credential)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn each_way_of_authentication_works_and_each_fault_has_its_number() {
        let directory = Directory::demo();
        let app = directory.app("middle-tier").unwrap();
        let (id, secret) = (app.client_id, app.secret().unwrap());
        let basic = |id: &str, secret: &str| {
            Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{id}:{secret}"))
            ))
        };
        let text = id.to_string();
        assert_eq!(
            identify(
                &directory,
                None,
                &format!("client_id={id}&client_secret={secret}")
            ),
            Ok(Credential::Secret)
        );
        assert_eq!(
            identify(&directory, basic(&text, secret), ""),
            Ok(Credential::Secret)
        );
        assert_eq!(
            identify(&directory, None, &format!("client_id={id}")),
            Ok(Credential::None)
        );
        assert_eq!(
            identify(
                &directory,
                None,
                &format!("client_id={id}&client_secret=wrong")
            ),
            Err(7_000_215)
        );
        assert_eq!(
            identify(&directory, basic(&text, "wrong"), ""),
            Err(7_000_215)
        );
        assert_eq!(
            identify(
                &directory,
                basic(&text, secret),
                &format!("client_secret={secret}")
            ),
            Err(90_023)
        );
        assert_eq!(
            identify(&directory, basic(&text, secret), "client_id=other"),
            Err(90_023)
        );
        assert_eq!(
            identify(&directory, Some("Bearer x".into()), ""),
            Err(90_014)
        );
        assert_eq!(
            identify(&directory, Some("Basic !".into()), ""),
            Err(90_014)
        );
        assert_eq!(identify(&directory, None, "client_id=nobody"), Err(700_016));
        assert_eq!(identify(&directory, None, ""), Err(900_144));
        assert_eq!(
            identify(
                &directory,
                None,
                &format!("client_id={id}&client_assertion=x")
            ),
            Err(700_027)
        );
    }

    #[test]
    fn any_registered_secret_will_do() {
        let mut directory = Directory::demo();
        directory.apps[0].secrets = vec!["first".to_owned().into(), "second".to_owned().into()];
        assert!(holds(&directory.apps[0], "first") && holds(&directory.apps[0], "second"));
        assert!(!holds(&directory.apps[0], "third") && !holds(&directory.apps[0], ""));
    }
}
