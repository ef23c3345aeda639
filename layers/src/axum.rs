//! Principal as an extractor, errors as responses.

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::acquire::OnBehalfOfError;
use crate::challenge::{Answer, ChallengeRequired};
use crate::principal::Principal;
use crate::refusal::{CallError, respond};

/// The rejection of an extracted [`Principal`]: 500, because [`ValidateBearerLayer`](crate::ValidateBearerLayer) is missing.
#[derive(Clone, Copy, Debug)]
pub struct NoPrincipal(());

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = NoPrincipal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoPrincipal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(
                kind = "no_principal",
                "a handler asks for a Principal, but no ValidateBearer stands outside of it"
            );
            NoPrincipal(())
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl IntoResponse for NoPrincipal {
    fn into_response(self) -> Response {
        respond::<Body>(&Answer::Internal, None, false)
    }
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        Self::into_response(self)
    }
}

impl IntoResponse for ChallengeRequired {
    fn into_response(self) -> Response {
        CallError::from(self).into_response()
    }
}

impl IntoResponse for OnBehalfOfError {
    fn into_response(self) -> Response {
        CallError::from(self).into_response()
    }
}
