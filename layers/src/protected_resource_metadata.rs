//! Serves a resource's own description, so that a client that knows nothing but its URL finds the authority.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::ConfigError;
use crate::resource::Resource;

/// Answers `GET` and `HEAD` of `/.well-known/oauth-protected-resource`, followed by the path of the resource's identifier, with the
/// metadata of RFC 9728, and passes everything else on.
///
/// Put it outside of [`Resource::protect`]: whoever asks has no token yet. The document tells `resource`,
/// `authorization_servers` (the configured authorities), `scopes_supported`, `bearer_methods_supported` (`header`) and
/// `resource_name`; any origin may read it and cache it for an hour. Other methods are answered with 405. Only HTTP: gRPC has no such place.
///
/// The service's body must be made from `Bytes`, as `Full` and the `Body` of axum and reqwest are; for others say how
/// ([`body`](Self::body)).
#[derive(Clone)]
#[must_use]
pub struct ProtectedResourceMetadataLayer<W = FromBytes> {
    metadata: Metadata,
    wrap: W,
}

/// The service of [`ProtectedResourceMetadataLayer`].
#[derive(Clone)]
pub struct ProtectedResourceMetadata<S, W = FromBytes> {
    inner: S,
    metadata: Metadata,
    wrap: W,
}

/// The service's body has a `From<Bytes>`.
#[derive(Clone, Copy, Debug)]
pub struct FromBytes(());

/// How the document becomes a body of the service.
#[diagnostic::on_unimplemented(
    message = "`ProtectedResourceMetadata` cannot make a `{B}` of a document",
    note = "say how: `.body(|document| tonic::body::Body::new(Full::new(document)))`"
)]
pub trait DocumentBody<B>: sealed::Sealed<B> {
    /// The body.
    fn body(&self, document: Bytes) -> B;
}

mod sealed {
    pub trait Sealed<B> {}
}

impl<B: From<Bytes>> sealed::Sealed<B> for FromBytes {}
impl<B> sealed::Sealed<B> for fn(Bytes) -> B {}

#[diagnostic::do_not_recommend]
impl<B: From<Bytes>> DocumentBody<B> for FromBytes {
    fn body(&self, document: Bytes) -> B {
        document.into()
    }
}

#[diagnostic::do_not_recommend]
impl<B> DocumentBody<B> for fn(Bytes) -> B {
    fn body(&self, document: Bytes) -> B {
        self(document)
    }
}

#[derive(Clone, Debug)]
struct Metadata {
    /// All shared by the clones.
    path: Bytes,
    document: Bytes,
}

pin_project! {
    /// The response of [`ProtectedResourceMetadata`].
    pub struct ProtectedResourceMetadataFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        Inner { #[pin] future: F },
        Own { response: Option<Response<B>> },
    }
}

impl ProtectedResourceMetadataLayer {
    /// Serves what [`Resource::metadata`] was given.
    ///
    /// # Errors
    /// A resource that was given nothing.
    pub fn new(resource: &Resource) -> Result<Self, ConfigError> {
        let described = resource.described().ok_or(ConfigError::ResourceMetadata)?;
        let servers: Vec<String> = resource
            .trusted()
            .flat_map(|trusted| trusted.authority().authorization_servers())
            .collect();
        Ok(Self {
            metadata: Metadata {
                path: Bytes::copy_from_slice(described.path().as_bytes()),
                document: described.document(&servers).to_string().into(),
            },
            wrap: FromBytes(()),
        })
    }

    /// For a service whose body has no `From<Bytes>`.
    pub fn body<B>(self, wrap: fn(Bytes) -> B) -> ProtectedResourceMetadataLayer<fn(Bytes) -> B> {
        ProtectedResourceMetadataLayer {
            metadata: self.metadata,
            wrap,
        }
    }
}

impl<S, W: Clone> Layer<S> for ProtectedResourceMetadataLayer<W> {
    type Service = ProtectedResourceMetadata<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        ProtectedResourceMetadata {
            inner,
            metadata: self.metadata.clone(),
            wrap: self.wrap.clone(),
        }
    }
}

impl Metadata {
    fn answer<B>(&self, method: &Method, wrap: &impl DocumentBody<B>) -> Response<B> {
        let (status, body) = match *method {
            Method::GET => (StatusCode::OK, self.document.clone()),
            Method::HEAD => (StatusCode::OK, Bytes::new()),
            _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        };
        let mut response = Response::new(wrap.body(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        if status == StatusCode::OK {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.document.len()));
            let an_hour = HeaderValue::from_static("public, max-age=3600");
            headers.insert(CACHE_CONTROL, an_hour);
        } else {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

impl<W> fmt::Debug for ProtectedResourceMetadataLayer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtectedResourceMetadataLayer")
            .field(&self.metadata)
            .finish()
    }
}

impl<S, W> fmt::Debug for ProtectedResourceMetadata<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtectedResourceMetadata")
            .field(&self.metadata)
            .finish()
    }
}

impl<S, W, Req, Res> Service<Request<Req>> for ProtectedResourceMetadata<S, W>
where
    S: Service<Request<Req>, Response = Response<Res>> + Clone,
    W: DocumentBody<Res>,
{
    type Response = Response<Res>;
    type Error = S::Error;
    type Future = ProtectedResourceMetadataFuture<S::Future, Res>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let state = if request.uri().path().as_bytes() == self.metadata.path {
            // A readied service may hold a permit, which is not needed for this.
            self.inner = self.inner.clone();
            let response = Some(self.metadata.answer(request.method(), &self.wrap));
            State::Own { response }
        } else {
            let future = self.inner.call(request);
            State::Inner { future }
        };
        ProtectedResourceMetadataFuture { state }
    }
}

impl<F, E, B> Future for ProtectedResourceMetadataFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future } => future.poll(cx),
            StateProj::Own { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}
