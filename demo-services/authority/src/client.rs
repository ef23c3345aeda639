//! Client authentication at the token endpoint: `client_secret_post`, `client_secret_basic`, `private_key_jwt`, or none.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use secrecy::ExposeSecret;

use crate::client_assertion::{self, Audiences, ClientAssertion};
use crate::directory::{App, Directory};
use crate::errors::{self, Refusal};
use crate::form::{self, Form};
use crate::tokens::Credential;

/// A client and what it has shown for itself.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) app: &'a App,
    pub(crate) credential: Credential,
}

impl<'a> Client<'a> {
    /// `base` is the authority's own URL, without a slash at its end.
    pub(crate) fn identify(
        directory: &'a Directory,
        headers: &HeaderMap,
        form: &Form,
        base: &str,
        now: u64,
    ) -> Result<Self, Refusal> {
        let basic = headers
            .get(header::AUTHORIZATION)
            .map(|value| basic(value.as_bytes()))
            .transpose()?;
        let shown = Shown::of(basic.as_ref().map(|(_, secret)| secret.as_str()), form)?;
        let posted = form.get("client_id");
        let id = match (&basic, &shown) {
            (Some((id, _)), _) if posted.is_some_and(|other| other != id) => {
                return Err(Refusal::invalid_request(
                    90_023,
                    "The client_id of the body is not that of the Authorization header.",
                ));
            }
            (Some((id, _)), _) => Some(id.as_str()),
            // RFC 7521 section 4.2: beside an assertion the parameter is unnecessary.
            (None, Shown::Assertion(assertion)) => posted.or_else(|| assertion.subject()),
            (None, _) => posted,
        };
        let app = find(directory, id.ok_or_else(|| Refusal::missing("client_id"))?)?;
        let credential = match shown {
            Shown::Nothing => Credential::None,
            Shown::Secret(secret) if holds(app, secret) => Credential::Secret,
            Shown::Secret(_) => {
                return Err(Refusal::invalid_client(
                    7_000_215,
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.",
                ));
            }
            Shown::Assertion(assertion) => {
                let tenant = &directory.tenant;
                assertion.prove(app, &Audiences { base, tenant }, now)?;
                Credential::Certificate
            }
        };
        Ok(Self { app, credential })
    }

    /// For what only a confidential client may do.
    pub(crate) fn confidential(self) -> Result<(), Refusal> {
        match self.credential {
            Credential::Secret | Credential::Certificate => Ok(()),
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
            Credential::Secret | Credential::Certificate => Err(Refusal::invalid_client(
                700_025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            )),
        }
    }
}

/// What a request shows for its client.
enum Shown<'a> {
    Nothing,
    Secret(&'a str),
    Assertion(ClientAssertion<'a>),
}

impl<'a> Shown<'a> {
    /// RFC 6749 section 2.3: a client must not use more than one method in each request.
    fn of(basic: Option<&'a str>, form: &'a Form) -> Result<Self, Refusal> {
        let secret = form.get("client_secret");
        let (kind, assertion) = (
            form.get("client_assertion_type"),
            form.get("client_assertion"),
        );
        let asserted = kind.or(assertion);
        match (basic, secret, asserted) {
            (None, None, None) => Ok(Self::Nothing),
            (Some(secret), None, None) | (None, Some(secret), None) => Ok(Self::Secret(secret)),
            (None, None, Some(_)) => {
                if kind.ok_or_else(|| Refusal::missing("client_assertion_type"))?
                    != client_assertion::TYPE
                {
                    return Err(Refusal::invalid_request(
                        90_023,
                        "The value of 'client_assertion_type' is not supported.",
                    ));
                }
                let text = assertion.ok_or_else(|| Refusal::missing("client_assertion"))?;
                ClientAssertion::parse(text).map(Self::Assertion)
            }
            _ => Err(Refusal::invalid_request(
                90_023,
                "More than one client authentication method was used.",
            )),
        }
    }
}

/// The application of a client id.
pub(crate) fn find<'a>(directory: &'a Directory, id: &str) -> Result<&'a App, Refusal> {
    let unknown = || {
        let (id, domain) = (errors::named(id), &directory.tenant.domain);
        Refusal::new(
            "unauthorized_client",
            700_016,
            format!(
                "Application with identifier '{id}' was not found in the directory '{domain}', or has no service principal there."
            ),
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
    use crate::certificate::made::Made;
    use crate::client_assertion::made::assertion;

    const BASE: &str = "http://localhost:8080";
    const NOW: u64 = 1_795_319_366;

    fn identify(
        directory: &Directory,
        authorization: Option<String>,
        body: &str,
    ) -> Result<Credential, u32> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let form = Form::parse(body.as_bytes()).unwrap();
        Client::identify(directory, &headers, &form, BASE, NOW)
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
    }

    #[test]
    fn a_certificate_proves_a_client_alone_and_under_its_own_name() {
        let mut directory = Directory::demo();
        let made = Made::between(2020, 2060);
        directory.app_mut("daemon").unwrap().certificates = vec![made.pem.clone()];
        let daemon = directory.app("daemon").unwrap();
        let (id, secret) = (daemon.client_id.to_string(), daemon.secret().unwrap());
        let other = directory.app("middle-tier").unwrap().client_id.to_string();
        let audience = format!("{BASE}/{}/oauth2/v2.0/token", directory.tenant.id);
        let by = |client: &str| assertion(&made, client, &audience, NOW, &[], &[]);
        let kind = client_assertion::TYPE;
        let shown = |client: &str| {
            let text = by(client);
            format!("client_assertion_type={kind}&client_assertion={text}")
        };
        let basic = Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{id}:{secret}"))
        ));
        let nobody = uuid::Uuid::from_u128(7).to_string();
        let rows = [
            (None, shown(&id), Ok(Credential::Certificate)),
            (
                None,
                format!("client_id={id}&{}", shown(&id)),
                Ok(Credential::Certificate),
            ),
            // Registered for another application only.
            (None, shown(&other), Err(700_027)),
            (None, shown(&nobody), Err(700_016)),
            (
                None,
                format!("client_id={other}&{}", shown(&id)),
                Err(700_021),
            ),
            (
                None,
                format!("{}&client_secret={secret}", shown(&id)),
                Err(90_023),
            ),
            (basic, shown(&id), Err(90_023)),
            (
                None,
                format!("client_id={id}&client_assertion={}", by(&id)),
                Err(900_144),
            ),
            (
                None,
                format!("client_id={id}&client_assertion_type={kind}"),
                Err(900_144),
            ),
            (
                None,
                shown(&id).replace(
                    kind,
                    "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
                ),
                Err(90_023),
            ),
            (
                None,
                format!("client_assertion_type={kind}&client_assertion=x&client_id={id}"),
                Err(50_027),
            ),
        ];
        for (authorization, body, outcome) in rows {
            assert_eq!(
                identify(&directory, authorization, &body),
                outcome,
                "{body}"
            );
        }
    }

    #[test]
    fn any_registered_secret_will_do() {
        let mut directory = Directory::demo();
        directory.apps[0].secrets = vec!["first".to_owned().into(), "second".to_owned().into()];
        assert!(holds(&directory.apps[0], "first") && holds(&directory.apps[0], "second"));
        assert!(!holds(&directory.apps[0], "third") && !holds(&directory.apps[0], ""));
    }
}
