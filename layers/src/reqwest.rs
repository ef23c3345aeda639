//! A `reqwest::Client` as a tower service over `http` requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

/// Sends `http::Request`s with a `reqwest::Client`, so that layers such as [`OnBehalfOf`](crate::OnBehalfOf) can wrap it.
///
/// Follows no redirect: a token must not follow one to another origin. Proxies named by the environment are used unless
/// the settings say `no_proxy()`; for plain http on this machine they should.
#[derive(Clone, Debug)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// A client with the given settings and redirects turned off.
    ///
    /// # Errors
    /// Settings that cannot be used, for example an unreadable certificate store.
    pub fn new(settings: reqwest::ClientBuilder) -> Result<Self, reqwest::Error> {
        Ok(Self(
            settings
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
        ))
    }
}

impl<B> Service<Request<B>> for HttpClient
where
    B: Body + Send + Sync + 'static,
    B::Data: Into<bytes::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap));
        let client = self.0.clone();
        Box::pin(async move { Ok(client.execute(request?).await?.into()) })
    }
}
