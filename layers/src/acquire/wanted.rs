//! What token is wanted: for whom, for what, and why not the one that is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderValue;

use super::long_running::LongRunning;
use crate::claims::ClaimsRequest;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::scope::Scope;
use crate::token::TokenHash;

/// Whom a token is to speak for.
#[derive(Clone)]
pub(crate) enum Subject {
    /// The user whose token is exchanged.
    Caller(Principal),
    /// This client itself, of that tenant (empty where the authority has none).
    Application { tenant: Arc<str> },
    /// The user of a long-running session.
    Session(LongRunning),
}

/// What a token is to be good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Requested {
    /// Scopes, sorted, so that the order in which they are written does not split the cache.
    pub(crate) scope: String,
    /// `audience` of RFC 8693 2.1.
    pub(crate) audience: Option<String>,
    /// `resource` of RFC 8693 2.1 and RFC 8707.
    pub(crate) resource: Option<String>,
}

/// One acquisition.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) subject: Subject,
    pub(crate) requested: Arc<Requested>,
    pub(crate) claims: Option<ClaimsRequest>,
    /// A token that was just refused: only another one will do.
    pub(crate) refused: Option<Refused>,
    /// The id under which the tiers log one request.
    pub(crate) correlation_id: Option<HeaderValue>,
}

/// A token that the next tier did not take.
#[derive(Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) hash: TokenHash,
    /// Is one that others obtained since worth a try, although nobody asked for these claims?
    pub(crate) any_newer: bool,
}

/// What a token was obtained for. The client, its authority and its capabilities are the same for a whole cache.
///
/// A struct, not a joined string: no separator can be smuggled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) subject: SubjectKey,
    pub(super) requested: Arc<Requested>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SubjectKey {
    /// The tenant is the assertion's own.
    Assertion(TokenHash),
    /// Of that tenant.
    Application(Arc<str>),
    Session(TokenHash),
}

impl Requested {
    pub(crate) fn scopes<'a>(
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        let scopes: BTreeSet<Scope> = scopes
            .into_iter()
            .map(Scope::new)
            .collect::<Result<_, _>>()?;
        if scopes.is_empty() {
            return Err(ConfigError::Scope);
        }
        let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        Ok(Self {
            scope: scopes.join(" "),
            ..Self::default()
        })
    }
}

impl Wanted {
    pub(crate) fn new(subject: Subject, requested: &Arc<Requested>) -> Self {
        Self {
            subject,
            requested: Arc::clone(requested),
            claims: None,
            refused: None,
            correlation_id: None,
        }
    }

    /// Any token of this subject for this purpose will do.
    pub(super) fn is_plain(&self) -> bool {
        self.claims.is_none() && self.refused.is_none()
    }

    pub(super) fn key(&self) -> Key {
        Key {
            subject: match &self.subject {
                Subject::Caller(caller) => SubjectKey::Assertion(caller.assertion_hash()),
                Subject::Application { tenant } => SubjectKey::Application(Arc::clone(tenant)),
                Subject::Session(session) => SubjectKey::Session(session.hash()),
            },
            requested: Arc::clone(&self.requested),
        }
    }

    /// Until when whoever is spoken for may be, in seconds since the epoch.
    pub(super) fn subject_expires(&self) -> u64 {
        match &self.subject {
            Subject::Caller(caller) => caller.expires_at(),
            Subject::Application { .. } | Subject::Session(_) => u64::MAX,
        }
    }
}

impl Subject {
    /// Is it a session that has ended?
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Session(session) if session.has_ended())
    }

    /// Can whoever is spoken for answer a claims challenge?
    pub(crate) fn accepts_claims_challenge(&self) -> bool {
        match self {
            Self::Caller(caller) => caller.accepts_claims_challenge(),
            Self::Session(session) => session.accepts_claims_challenge(),
            Self::Application { .. } => false,
        }
    }
}

impl Key {
    /// Bytes of its parts.
    pub(super) fn weight(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// The parts of the key for a cache that several processes share; an absent audience or resource is never an empty one.
    pub(super) fn parts(&self) -> [&[u8]; 5] {
        let (kind, subject): (&[u8], &[u8]) = match &self.subject {
            SubjectKey::Assertion(hash) => (b"assertion", hash.as_bytes()),
            SubjectKey::Application(tenant) => (b"application", tenant.as_bytes()),
            SubjectKey::Session(hash) => (b"session", hash.as_bytes()),
        };
        let requested = &*self.requested;
        [
            kind,
            subject,
            requested.scope.as_bytes(),
            requested.audience.as_deref().unwrap_or_default().as_bytes(),
            requested.resource.as_deref().unwrap_or_default().as_bytes(),
        ]
    }
}
