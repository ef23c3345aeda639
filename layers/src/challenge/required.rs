//! The error that carries a demand up a stack.

use std::error::Error;
use std::fmt;

use super::StepUp;
use super::answer::{Answer, Carried, RefusalKind, find};
use crate::claims::ClaimsRequest;

/// The caller must do something before this call can succeed: sign in more strongly, consent, or come with another scope.
///
/// Returned by [`OnBehalfOf`](crate::OnBehalfOf) and by the checks of [`Principal`](crate::Principal); printed by
/// [`PropagateChallenge`](crate::PropagateChallenge) as a fresh challenge for its own resource. Return it through `?`, in any
/// wrapping that keeps `source()`, or turn it into a response with [`CallError`](crate::CallError).
#[derive(Clone)]
pub struct ChallengeRequired(Carried);

impl ChallengeRequired {
    pub(crate) fn new(answer: Answer) -> Self {
        Self(Carried::new(answer))
    }

    /// The demand in an error or in anything that it wraps.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        find(error)
            .filter(|carried| {
                matches!(
                    carried.answer(),
                    Answer::InvalidToken
                        | Answer::Forbidden
                        | Answer::InsufficientScope(_)
                        | Answer::InsufficientClaims(_)
                        | Answer::StepUp(_)
                        | Answer::ConsentRequired
                )
            })
            .map(Self)
    }

    /// The claims that are demanded, for a service that is the client itself: to be sent to the authority interactively.
    #[must_use]
    pub fn claims(&self) -> Option<&ClaimsRequest> {
        match self.0.answer() {
            Answer::InsufficientClaims(claims) => Some(claims),
            _ => None,
        }
    }

    /// The authentication that is demanded (RFC 9470), for a service that is the client itself.
    #[must_use]
    pub fn step_up(&self) -> Option<&StepUp> {
        match self.0.answer() {
            Answer::StepUp(step_up) => Some(step_up),
            _ => None,
        }
    }

    /// What is demanded.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        self.0.answer().kind()
    }
}

impl fmt::Debug for ChallengeRequired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChallengeRequired")
            .field(&self.kind())
            .finish()
    }
}

impl fmt::Display for ChallengeRequired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.answer() {
            Answer::InsufficientClaims(_) => {
                "the authority or the next tier demands a token with more claims"
            }
            Answer::InsufficientScope(_) => "the caller's token lacks a scope or role",
            Answer::StepUp(_) => "stronger or fresher authentication is demanded",
            Answer::ConsentRequired => "consent is missing",
            Answer::Forbidden => "the caller may not, and no challenge would help",
            Answer::InvalidToken => "the caller must sign in again",
            _ => "the demand itself is wrong",
        })
    }
}

impl Error for ChallengeRequired {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Transparent(#[from] ChallengeRequired);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Shared(#[source] Arc<ChallengeRequired>);

    fn challenge() -> ChallengeRequired {
        ChallengeRequired::new(Answer::InsufficientClaims(
            ClaimsRequest::acrs("c1").unwrap(),
        ))
    }

    #[test]
    fn survives_ordinary_wrapping() {
        let boxed: Box<dyn Error + Send + Sync> = challenge().into();
        let rows: [(&str, Box<dyn Error>); 7] = [
            ("bare", Box::new(challenge())),
            ("boxed", boxed),
            ("transparent", Box::new(Transparent(challenge()))),
            (
                "transparent twice",
                Box::new(Shared2(Transparent(challenge()))),
            ),
            ("Arc as a source", Box::new(Shared(Arc::new(challenge())))),
            ("io::Error", Box::new(io::Error::other(challenge()))),
            (
                "io::Error around transparent",
                Box::new(io::Error::other(Transparent(challenge()))),
            ),
        ];
        for (name, error) in rows {
            let found = ChallengeRequired::find(error.as_ref()).map(|found| found.kind());
            assert_eq!(found, Some(RefusalKind::InsufficientClaims), "{name}");
        }
    }

    #[test]
    fn a_client_reads_what_is_demanded() {
        assert_eq!(
            challenge().claims(),
            Some(&ClaimsRequest::acrs("c1").unwrap())
        );
        assert_eq!(challenge().step_up(), None);
    }

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Shared2(Transparent);

    #[test]
    fn another_error_is_not_a_challenge() {
        assert!(ChallengeRequired::find(&io::Error::other("no")).is_none());
        assert!(ChallengeRequired::find(&Carried::new(Answer::Internal)).is_none());
    }
}
