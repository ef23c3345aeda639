//! Errors as a gRPC status.

use std::sync::Arc;

use tonic::{Code, Status};

use crate::acquire::OnBehalfOfError;
use crate::challenge::ChallengeRequired;
use crate::refusal::CallError;

impl From<ChallengeRequired> for Status {
    /// INTERNAL with the demand as its source, until [`PropagateChallenge`](crate::PropagateChallenge) prints it.
    fn from(challenge: ChallengeRequired) -> Self {
        let mut status = Self::new(Code::Internal, "");
        status.set_source(Arc::new(challenge));
        status
    }
}

impl From<OnBehalfOfError> for Status {
    /// INTERNAL until [`PropagateChallenge`](crate::PropagateChallenge) says what it is.
    fn from(error: OnBehalfOfError) -> Self {
        let mut status = Self::new(Code::Internal, "");
        status.set_source(Arc::new(error));
        status
    }
}

impl From<CallError> for Status {
    /// INTERNAL with the error as its source; its text stays here.
    fn from(error: CallError) -> Self {
        let mut status = Self::new(Code::Internal, "");
        status.set_source(Arc::from(error.into_inner()));
        status
    }
}
