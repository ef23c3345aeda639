//! The rows of the response contract as one value, and how it travels up a stack.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StepUp;
use crate::claims::ClaimsRequest;

/// What the caller of a protected service is answered instead of a response of the service. Only the printer sees what is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 401, no error: there was no credential.
    MissingToken,
    /// 400 `invalid_request`: two tokens, or an unusable header.
    InvalidRequest,
    /// 401 `invalid_token`.
    InvalidToken,
    /// 403 `insufficient_scope` with the scopes that would do.
    InsufficientScope(String),
    /// 401 `insufficient_claims`.
    InsufficientClaims(ClaimsRequest),
    /// 401 `insufficient_user_authentication`.
    StepUp(StepUp),
    /// 403 `insufficient_scope` with the resource's own `.default` scope.
    ConsentRequired,
    /// 403 without a challenge: nothing that the client could do.
    Forbidden,
    /// 500: our own fault.
    Internal,
    /// 502: the authority or the next tier answered something that cannot be used.
    BadGateway,
    /// 503 with `Retry-After` in seconds: it cannot be decided now.
    Unavailable { retry_after: u64 },
}

/// The kind of a refusal, as an outer layer may want to count or log it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The authority or the next tier answered something unusable (502).
    BadGateway,
    /// Consent is missing (403).
    ConsentRequired,
    /// The caller may not, and no challenge would help (403).
    Forbidden,
    /// A token with more claims is demanded (401).
    InsufficientClaims,
    /// Scope or role is missing (403).
    InsufficientScope,
    /// A wiring or configuration fault of this service (500).
    Internal,
    /// The request's credentials are malformed (400).
    InvalidRequest,
    /// The token is not valid (401).
    InvalidToken,
    /// There is no token (401).
    MissingToken,
    /// Stronger or fresher authentication is demanded (401).
    StepUp,
    /// It cannot be decided now (503).
    Unavailable,
}

impl RefusalKind {
    /// How it is named in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BadGateway => "bad_gateway",
            Self::ConsentRequired => "consent_required",
            Self::Forbidden => "forbidden",
            Self::InsufficientClaims => "insufficient_claims",
            Self::InsufficientScope => "insufficient_scope",
            Self::Internal => "internal",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::MissingToken => "missing_token",
            Self::StepUp => "step_up",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Marks errors and responses that carry an [`Answer`].
///
/// Every public error of ours returns this as its `source()`: wrappers such as `#[error(transparent)]`, `anyhow`, `Arc` and
/// `io::Error` forward `source()` one step past the error they wrap, so the public type alone would be missed.
#[derive(Clone, Debug)]
pub(crate) struct Carried(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    answer: Answer,
    /// It became a response that only a printer can make right.
    printing_expected: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.printing_expected.get_mut() {
            tracing::error!(
                kind = "demand_lost",
                "a demand became a response, but no PropagateChallenge stands outside of the handler to print it"
            );
        }
    }
}

/// The answer that an error carries, however it was wrapped.
pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Carried> {
    let mut next = Some(error);
    // A chain that long is a cycle or an accident.
    for _ in 0..64 {
        let current = next?;
        if let Some(found) = current.downcast_ref::<Carried>() {
            return Some(found.clone());
        }
        next = current.source();
    }
    None
}

impl Answer {
    /// Could the client do something about it?
    pub(crate) fn is_challenge(&self) -> bool {
        match self {
            Self::MissingToken
            | Self::InvalidRequest
            | Self::InvalidToken
            | Self::InsufficientScope(_)
            | Self::InsufficientClaims(_)
            | Self::StepUp(_)
            | Self::ConsentRequired => true,
            Self::Forbidden | Self::Internal | Self::BadGateway | Self::Unavailable { .. } => false,
        }
    }

    pub(crate) fn kind(&self) -> RefusalKind {
        match self {
            Self::BadGateway => RefusalKind::BadGateway,
            Self::ConsentRequired => RefusalKind::ConsentRequired,
            Self::Forbidden => RefusalKind::Forbidden,
            Self::InsufficientClaims(_) => RefusalKind::InsufficientClaims,
            Self::InsufficientScope(_) => RefusalKind::InsufficientScope,
            Self::Internal => RefusalKind::Internal,
            Self::InvalidRequest => RefusalKind::InvalidRequest,
            Self::InvalidToken => RefusalKind::InvalidToken,
            Self::MissingToken => RefusalKind::MissingToken,
            Self::StepUp(_) => RefusalKind::StepUp,
            Self::Unavailable { .. } => RefusalKind::Unavailable,
        }
    }
}

impl Carried {
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Arc::new(Inner {
            answer,
            printing_expected: AtomicBool::new(false),
        }))
    }

    pub(crate) fn answer(&self) -> &Answer {
        &self.0.answer
    }

    pub(crate) fn expect_printing(&self) {
        self.0.printing_expected.store(true, Ordering::Relaxed);
    }

    pub(crate) fn printed(&self) {
        self.0.printing_expected.store(false, Ordering::Relaxed);
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to be answered as {:?}", self.0.answer.kind())
    }
}

impl Error for Carried {}
