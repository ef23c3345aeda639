//! Tokens made to measure, so that a test can break one rule at a time.

use serde_json::{Map, Value, json};

use crate::directory::{App, Directory, User};
use crate::keys::SigningKey;
use crate::policy::Authentication;
use crate::random;
use crate::records::Record;
use crate::running::Running;
use crate::tokens::{AccessToken, Credential, Stamp, Subject};
use crate::version::TokenVersion;

/// An access token to be made by [`Running::issue`]: valid as it stands, and wrong in exactly what is changed.
///
/// Applications are named by name, client id or identifier URI, users by name or object id; a name that the directory does not know
/// is used as it is.
#[derive(Clone, Debug)]
#[must_use]
pub struct TokenSpec {
    /// `None`: a token without a user.
    user: Option<String>,
    client: Option<String>,
    resource: String,
    version: Option<TokenVersion>,
    scopes: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    mfa: bool,
    contexts: Vec<String>,
    capabilities: Vec<String>,
    /// Seconds from now.
    issued_in: i64,
    expires_in: Option<i64>,
    /// Applied last: `None` removes.
    claims: Vec<(String, Option<Value>)>,
    header: Vec<(String, Option<Value>)>,
    foreign_key: bool,
}

impl TokenSpec {
    fn new(user: Option<String>, client: Option<String>, resource: String) -> Self {
        Self {
            user,
            client,
            resource,
            version: None,
            scopes: None,
            roles: None,
            mfa: false,
            contexts: Vec::new(),
            capabilities: Vec::new(),
            issued_in: 0,
            expires_in: None,
            claims: Vec::new(),
            header: Vec::new(),
            foreign_key: false,
        }
    }

    /// A token of a user for an API, with all its scopes, issued to the first application that may call it.
    pub fn user(user: impl Into<String>, resource: impl Into<String>) -> Self {
        Self::new(Some(user.into()), None, resource.into())
    }

    /// A token of an application for an API, with the roles that the application was granted.
    pub fn app(client: impl Into<String>, resource: impl Into<String>) -> Self {
        Self::new(None, Some(client.into()), resource.into())
    }

    /// Of this version; by default of the one that the API has in the directory.
    ///
    /// `iss`, `ver`, the client's and the user's claims and the header follow it. `aud` of a version 1.0 token is the identifier URI
    /// that the API was named by; of an API that was named by its name the first one; of all others the client id.
    pub fn version(mut self, version: TokenVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Issued to this application.
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.client = Some(client.into());
        self
    }

    /// With these scopes (`scp`); none leaves the claim out.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// With these app roles (`roles`); none leaves the claim out.
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles = Some(roles.into_iter().map(Into::into).collect());
        self
    }

    /// On record as signed in with a second factor.
    pub fn mfa(mut self) -> Self {
        self.mfa = true;
        self
    }

    /// With these authentication contexts, on record and in `acrs` (if that is an optional claim of the API).
    pub fn acrs<S: Into<String>>(mut self, contexts: impl IntoIterator<Item = S>) -> Self {
        self.contexts = contexts.into_iter().map(Into::into).collect();
        self
    }

    /// From a client with these capabilities, such as `cp1`, in `xms_cc` (if that is an optional claim of the API).
    pub fn capabilities<S: Into<String>>(
        mut self,
        capabilities: impl IntoIterator<Item = S>,
    ) -> Self {
        self.capabilities = capabilities.into_iter().map(Into::into).collect();
        self
    }

    /// `iat` and `nbf`, seconds from now.
    pub fn issued_in(mut self, seconds: i64) -> Self {
        self.issued_in = seconds;
        self
    }

    /// `exp`, seconds from now; a negative number has expired.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = Some(seconds);
        self
    }

    /// Another `aud`.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.claim("aud", audience.into())
    }

    /// Another `iss`.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.claim("iss", issuer.into())
    }

    /// With this claim, whatever it was before.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.push((name.into(), Some(value.into())));
        self
    }

    /// Without this claim.
    pub fn without(mut self, name: impl Into<String>) -> Self {
        self.claims.push((name.into(), None));
        self
    }

    /// With this header parameter, whatever it was before. The signature is RS256 in any case.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.header.push((name.into(), Some(value.into())));
        self
    }

    /// Without this header parameter.
    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.header.push((name.into(), None));
        self
    }

    /// With this `kid`.
    pub fn kid(self, kid: impl Into<String>) -> Self {
        self.header("kid", kid.into())
    }

    /// Signed by a key that is not published, under the `kid` of the one that is.
    pub fn foreign_key(mut self) -> Self {
        self.foreign_key = true;
        self
    }
}

impl Running {
    /// Makes an access token without any of the questions that the token endpoint asks. It is on record, so that it works as an
    /// assertion On-Behalf-Of, unless its `uti` was changed.
    ///
    /// # Panics
    ///
    /// When the machine cannot make an RSA key or signature.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test kit: signing with a key that was made here does not fail"
    )]
    pub fn issue(&self, spec: TokenSpec) -> String {
        let directory = self.authority.directory();
        let resource = known_app(&directory, &spec.resource);
        let version = spec.version.unwrap_or_else(|| resource.token_version());
        let (claims, uti, record) = spec.claims(
            &directory,
            &resource,
            version,
            self.authority.stamp(&directory),
            |user| self.authority.stores().generation(user),
        );
        let key = self
            .authority
            .keys
            .current()
            .expect("there is always a signing key");
        let mut header = key.header(version);
        apply(&mut header, spec.header);
        let token = if spec.foreign_key {
            self.foreign
                .get_or_init(|| SigningKey::generate(0).expect("a key can be made"))
                .sign(&header, &claims)
        } else {
            key.sign(&header, &claims)
        };
        if claims.get("uti").and_then(Value::as_str) == Some(uti.as_str()) {
            let now = self.authority.now();
            self.authority.stores().records.insert(uti, record, now);
        }
        token.expect("a key that was made here can sign")
    }
}

impl TokenSpec {
    fn claims(
        &self,
        directory: &Directory,
        resource: &App,
        version: TokenVersion,
        stamp: Stamp<'_>,
        generation: impl Fn(uuid::Uuid) -> u64,
    ) -> (Map<String, Value>, String, Record) {
        let may_call = |app: &&App| {
            app.delegated
                .iter()
                .any(|permission| resource.permission(permission).is_some())
        };
        let client = match &self.client {
            Some(name) => known_app(directory, name),
            None => directory
                .apps
                .iter()
                .find(may_call)
                .cloned()
                .unwrap_or_else(|| resource.clone()),
        };
        let user = self.user.as_ref().map(|name| known_user(directory, name));
        let authentication = user.as_ref().map(|user| Authentication {
            user: user.oid,
            sid: uuid::Uuid::new_v4(),
            auth_time: stamp.now,
            mfa: self.mfa,
            contexts: self.contexts.iter().cloned().collect(),
            generation: generation(user.oid),
        });
        let scopes = self.scopes.as_ref().unwrap_or(&resource.scopes);
        let granted = || {
            resource
                .roles_among(&client.app_permissions)
                .map(str::to_owned)
                .collect()
        };
        let subject = match (&user, &authentication) {
            (Some(user), Some(authentication)) => Subject::User {
                user,
                authentication,
                scopes,
            },
            _ => Subject::App {
                roles: self.roles.clone().unwrap_or_else(granted),
            },
        };
        let credential = match (client.secrets.is_empty(), client.certificates.is_empty()) {
            (false, _) => Credential::Secret,
            (true, false) => Credential::Certificate,
            (true, true) => Credential::None,
        };
        let asked = match resource.identifier_uris.first() {
            Some(uri) if self.resource == resource.name => uri,
            _ => &self.resource,
        };
        let token = AccessToken {
            version,
            client: &client,
            credential,
            resource,
            audience: &resource.audience(asked),
            subject,
            capabilities: &self.capabilities,
        };
        let (mut claims, uti) = token.claims(stamp);
        if scopes.is_empty() {
            claims.remove("scp");
        }
        if let (Some(roles), Some(_)) = (&self.roles, &user) {
            apply(
                &mut claims,
                [(
                    "roles".to_owned(),
                    (!roles.is_empty()).then(|| json!(roles)),
                )],
            );
        }
        let at = |offset: i64| Value::from(stamp.now.saturating_add_signed(offset));
        if self.issued_in != 0 {
            apply(
                &mut claims,
                [
                    ("iat".to_owned(), Some(at(self.issued_in))),
                    ("nbf".to_owned(), Some(at(self.issued_in))),
                ],
            );
        }
        if let Some(seconds) = self.expires_in {
            claims.insert("exp".to_owned(), at(seconds));
        }
        apply(&mut claims, self.claims.iter().cloned());
        (
            claims,
            uti,
            Record {
                resource: resource.client_id,
                authentication,
            },
        )
    }
}

fn apply(map: &mut Map<String, Value>, changes: impl IntoIterator<Item = (String, Option<Value>)>) {
    for (name, value) in changes {
        match value {
            Some(value) => map.insert(name, value),
            None => map.remove(&name),
        };
    }
}

fn known_app(directory: &Directory, name: &str) -> App {
    let graph = App::graph();
    if graph.is(name) {
        return graph;
    }
    directory.app(name).cloned().unwrap_or_else(|| {
        tracing::warn!(
            name,
            "no application of the directory: the token is for one that is made up"
        );
        App::new(
            name,
            uuid::Uuid::parse_str(name).unwrap_or_else(|_| random::derived_guid("app", name)),
        )
    })
}

fn known_user(directory: &Directory, name: &str) -> User {
    directory.user(name).cloned().unwrap_or_else(|| {
        let mut user = User::new(name, random::secret(), name);
        if let Ok(oid) = uuid::Uuid::parse_str(name) {
            user.oid = oid;
        }
        user
    })
}
