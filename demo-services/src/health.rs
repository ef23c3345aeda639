//! `/healthz` (alive) and `/readyz` (can do its work), in front of everything that asks for credentials.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header::CACHE_CONTROL};
use tower::{Layer, Service};

type Ready = dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

/// Answers `GET` and `HEAD` of `/healthz` with 200 and of `/readyz` with 200 or 503, and passes everything else on.
#[derive(Clone)]
#[must_use]
pub struct HealthLayer {
    ready: Arc<Ready>,
}

impl HealthLayer {
    /// `ready` says whether the service can do its work now: keys obtained, dependencies reachable.
    pub fn new<F, Fut>(ready: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        Self {
            ready: Arc::new(move || Box::pin(ready())),
        }
    }
}

impl<S> Layer<S> for HealthLayer {
    type Service = Health<S>;

    fn layer(&self, inner: S) -> Health<S> {
        Health {
            inner,
            ready: self.ready.clone(),
        }
    }
}

/// The service of [`HealthLayer`].
#[derive(Clone)]
pub struct Health<S> {
    inner: S,
    ready: Arc<Ready>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Health<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    ResBody: Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Box::pin(self.inner.call(request));
        }
        match request.uri().path() {
            "/healthz" => Box::pin(async { Ok(answer(true)) }),
            "/readyz" => {
                let ready = (self.ready)();
                Box::pin(async move { Ok(answer(ready.await)) })
            }
            _ => Box::pin(self.inner.call(request)),
        }
    }
}

fn answer<B: Default>(well: bool) -> Response<B> {
    let mut response = Response::new(B::default());
    if !well {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, Ordering},
    };
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn readiness_follows_the_closure_and_liveness_does_not() {
        let ready = Arc::new(AtomicBool::new(false));
        let layer = HealthLayer::new({
            let ready = ready.clone();
            move || {
                let ready = ready.load(Ordering::Relaxed);
                async move { ready }
            }
        });
        let service = layer.layer(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::builder().status(401).body(String::new()).unwrap())
        }));
        let ask = async |method: Method, path: &str| {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            service.clone().oneshot(request).await.unwrap().status()
        };
        assert_eq!(ask(Method::GET, "/healthz").await, 200);
        assert_eq!(ask(Method::HEAD, "/healthz").await, 200);
        assert_eq!(ask(Method::GET, "/readyz").await, 503);
        ready.store(true, Ordering::Relaxed);
        assert_eq!(ask(Method::GET, "/readyz").await, 200);
        assert_eq!(ask(Method::GET, "/readyz/x").await, 401);
        assert_eq!(ask(Method::POST, "/readyz").await, 401);
    }
}
