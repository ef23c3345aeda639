//! The service: one look for most requests, one wait for those whose key is not known.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::future::{ResponseFuture, admit};
use super::verifier::{Failure, Verifier};
use crate::principal::Principal;
use crate::refusal::{RefusalBody, is_grpc_call};

/// The service of [`ValidateBearerLayer`](crate::ValidateBearerLayer).
#[derive(Clone, Debug)]
pub struct ValidateBearer<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

impl<S> ValidateBearer<S> {
    pub(super) fn new(inner: S, verifier: Arc<Verifier>) -> Self {
        Self { inner, verifier }
    }
}

impl<S, Req, Res> Service<Request<Req>> for ValidateBearer<S>
where
    S: Service<Request<Req>, Response = Response<Res>> + Clone,
    Res: RefusalBody,
{
    type Response = Response<Res>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        // Whatever an outer service left there was not verified here.
        request.extensions_mut().remove::<Principal>();
        match self.verifier.authenticate(request.headers()) {
            Ok(caller) => {
                admit(&mut request, caller);
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(Failure::Refused(refusal)) => {
                self.give_back();
                ResponseFuture::refused(refusal, is_grpc_call(&request))
            }
            Err(Failure::KeysNeeded(keys, seen)) => {
                self.give_back();
                let inner = self.inner.clone();
                let verifier = Arc::clone(&self.verifier);
                ResponseFuture::wait_for_keys(inner, request, verifier, keys, seen)
            }
        }
    }
}

impl<S: Clone> ValidateBearer<S> {
    /// A readied service may hold a permit, which neither a refused nor a waiting request may keep from others.
    fn give_back(&mut self) {
        self.inner = self.inner.clone();
    }
}
