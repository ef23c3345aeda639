//! The smallest router: exact paths, a service for each method.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use http_body_util::Full;
use hyper::body::Incoming;
use tonic::body::Body;
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

/// A whole service, ready to be served.
pub type WebService = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// A service as the routes hold it.
pub type Route<E> = BoxCloneSyncService<Request<Incoming>, Response<Full<Bytes>>, E>;

/// Answers 404 for a path that is not listed and 405 for another method.
pub struct Routes<E = Infallible>(Vec<(Method, &'static str, Route<E>)>);

impl<E: 'static> Routes<E> {
    /// No route yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a service for GET of one path.
    #[must_use]
    pub fn get<S>(self, path: &'static str, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = E>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.add(Method::GET, path, service)
    }

    /// Adds a service for PATCH of one path.
    #[must_use]
    pub fn patch<S>(self, path: &'static str, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = E>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.add(Method::PATCH, path, service)
    }

    fn add<S>(mut self, method: Method, path: &'static str, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = E>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.0
            .push((method, path, BoxCloneSyncService::new(service)));
        self
    }

    /// Else the methods that the path takes, none if there is no such path.
    fn find(&self, request: &Request<Incoming>) -> Result<Route<E>, Vec<Method>> {
        let here = || {
            self.0
                .iter()
                .filter(|(_, path, _)| *path == request.uri().path())
        };
        let found = here().find(|(method, ..)| method == request.method());
        let allowed = || here().map(|(method, ..)| method.clone()).collect();
        found
            .map(|(.., service)| service.clone())
            .ok_or_else(allowed)
    }
}

impl<E: 'static> Default for Routes<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Clone for Routes<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Send + 'static> Service<Request<Incoming>> for Routes<E> {
    type Response = Response<Full<Bytes>>;
    type Error = E;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        // Each route is made ready when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self.find(&request) {
            Ok(service) => Box::pin(service.oneshot(request)),
            Err(allowed) => Box::pin(std::future::ready(Ok(refusal(&allowed)))),
        }
    }
}

/// The response with a body that may as well be a gRPC message.
pub fn boxed<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    response.map(Body::new)
}

fn refusal(allowed: &[Method]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = match allowed {
        [] => StatusCode::NOT_FOUND,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    // RFC 9110 10.2.1: a list of methods.
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if let Some(names) = HeaderValue::from_str(&names.join(", "))
        .ok()
        .filter(|_| !allowed.is_empty())
    {
        response.headers_mut().insert(ALLOW, names);
    }
    response
}
