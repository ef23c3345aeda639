//! Why a call to the next tier could not be made, by what is to be done about it.

use std::error::Error;
use std::fmt;

use crate::challenge::{Answer, Carried};

/// The call was not made, or its answer cannot be used, and there is nothing that the caller could do
/// (for that see [`ChallengeRequired`](crate::ChallengeRequired)).
///
/// [`PropagateChallenge`](crate::PropagateChallenge) answers it: 403, 500, 502 or 503.
#[derive(Clone)]
pub struct OnBehalfOfError {
    kind: OnBehalfOfErrorKind,
    carried: Carried,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnBehalfOfErrorKind {
    /// Policy blocks the user, and no interaction would help (403).
    Blocked,
    /// The authority's answer is malformed, too large, or for another user or tenant (502). Nothing was cached.
    MalformedAnswer,
    /// The authority refuses this client, its credential, its scope or its assertion's audience, or the caller's token is of another
    /// authority than this client (500). Loud in the log.
    Misconfigured,
    /// The outgoing request carries no assertion (500): `request.on_behalf_of(&principal)` is missing.
    NoAssertion,
    /// The outgoing request goes to an origin that no token may be sent to (500).
    Origin,
    /// The next tier refused a token that is good by all we know (502).
    TokenRefused,
    /// The authority asks to be left alone for a while, and there is no valid token in the cache (503).
    Throttled,
    /// The authority fails or cannot be reached, and there is no valid token in the cache (503).
    Unavailable,
    /// The assertion is an application's own token: there is no user on whose behalf to act (403).
    UserRequired,
}

impl OnBehalfOfError {
    pub(crate) fn new(kind: OnBehalfOfErrorKind) -> Self {
        let answer = match kind {
            OnBehalfOfErrorKind::Blocked | OnBehalfOfErrorKind::UserRequired => Answer::Forbidden,
            OnBehalfOfErrorKind::MalformedAnswer | OnBehalfOfErrorKind::TokenRefused => {
                Answer::BadGateway
            }
            OnBehalfOfErrorKind::Misconfigured
            | OnBehalfOfErrorKind::NoAssertion
            | OnBehalfOfErrorKind::Origin => Answer::Internal,
            OnBehalfOfErrorKind::Throttled | OnBehalfOfErrorKind::Unavailable => {
                Answer::Unavailable { retry_after: 1 }
            }
        };
        Self {
            kind,
            carried: Carried::new(answer),
        }
    }

    pub(crate) fn unavailable(retry_after: u64) -> Self {
        Self::later(OnBehalfOfErrorKind::Unavailable, retry_after)
    }

    pub(crate) fn throttled(retry_after: u64) -> Self {
        Self::later(OnBehalfOfErrorKind::Throttled, retry_after)
    }

    fn later(kind: OnBehalfOfErrorKind, retry_after: u64) -> Self {
        let carried = Carried::new(Answer::Unavailable { retry_after });
        Self { kind, carried }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> OnBehalfOfErrorKind {
        self.kind
    }

    /// Seconds after which it is worth trying again, of an authority that is [`Unavailable`](OnBehalfOfErrorKind::Unavailable) or
    /// [`Throttled`](OnBehalfOfErrorKind::Throttled).
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self.carried.answer() {
            Answer::Unavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

impl OnBehalfOfErrorKind {
    /// How it is named in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::MalformedAnswer => "malformed_answer",
            Self::Misconfigured => "misconfigured",
            Self::NoAssertion => "no_assertion",
            Self::Origin => "origin",
            Self::Throttled => "throttled",
            Self::TokenRefused => "token_refused",
            Self::Unavailable => "unavailable",
            Self::UserRequired => "user_required",
        }
    }
}

impl fmt::Debug for OnBehalfOfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnBehalfOfError").field(&self.kind).finish()
    }
}

impl fmt::Display for OnBehalfOfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            OnBehalfOfErrorKind::Blocked => "policy blocks the user",
            OnBehalfOfErrorKind::MalformedAnswer => "the authority's answer cannot be used",
            OnBehalfOfErrorKind::Misconfigured => "the authority refuses this client's request",
            OnBehalfOfErrorKind::NoAssertion => "the outgoing request carries no assertion",
            OnBehalfOfErrorKind::Origin => {
                "the outgoing request goes to an origin that no token may be sent to"
            }
            OnBehalfOfErrorKind::TokenRefused => "the next tier refuses the token",
            OnBehalfOfErrorKind::Throttled => "the authority asks to be left alone for a while",
            OnBehalfOfErrorKind::Unavailable => "the authority is not available",
            OnBehalfOfErrorKind::UserRequired => "the assertion is not a user's token",
        })
    }
}

impl Error for OnBehalfOfError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.carried)
    }
}
