//! The gRPC methods: the same answers as the routes, with a method's own demands in its handler.

use std::sync::Arc;

use http::{HeaderValue, Method, header::CONTENT_TYPE};
use tonic::{Request, Response, Status};
use tower_bearer::Principal;

use super::describe;
use crate::downstream_rpc::{Caller, DescribeRequest, Downstream};

/// `service Downstream`.
#[derive(Clone, Debug)]
pub(super) struct Methods {
    secure_context: Arc<str>,
}

impl Methods {
    pub(super) fn new(secure_context: &str) -> Self {
        Self {
            secure_context: secure_context.into(),
        }
    }
}

impl Downstream for Methods {
    fn api(&self, request: Request<DescribeRequest>) -> Result<Response<Caller>, Status> {
        Ok(Response::new(describe(caller(&request)?)))
    }

    fn secure(&self, request: Request<DescribeRequest>) -> Result<Response<Caller>, Status> {
        let caller = caller(&request)?;
        // Without the context the caller gets a claims challenge: `?` takes it to PropagateChallenge.
        caller.require_auth_context(&self.secure_context)?;
        Ok(Response::new(describe(caller)))
    }
}

fn caller(request: &Request<DescribeRequest>) -> Result<&Principal, Status> {
    let caller = request.extensions().get();
    caller.ok_or_else(|| Status::internal(""))
}

/// A gRPC call, as the layers tell one too: a POST of that content type (`application/grpc-web` is another protocol).
pub(super) fn is_call<B>(request: &http::Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.map(HeaderValue::as_bytes).unwrap_or_default();
    request.method() == Method::POST
        && kind
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_post_of_its_content_type() {
        let request = |method: Method, kind: &'static str| {
            let request = http::Request::builder()
                .method(method)
                .header(CONTENT_TYPE, kind);
            request.body(()).unwrap()
        };
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=x",
        ] {
            assert!(is_call(&request(Method::POST, kind)), "{kind}");
            assert!(!is_call(&request(Method::GET, kind)), "{kind}");
        }
        for kind in ["application/grpc-web", "application/json", ""] {
            assert!(!is_call(&request(Method::POST, kind)), "{kind}");
        }
        assert!(!is_call(&http::Request::post("/").body(()).unwrap()));
    }
}
