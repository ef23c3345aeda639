//! `proto/downstream.proto` in Rust: what a generator would write, by hand, because the build must not need protoc.

use std::{
    convert::Infallible,
    future::ready,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use serde::Serialize;
use tokio::time::timeout;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::{self, GrpcService},
    server,
};
use tonic_prost::ProstCodec;
use tower::{BoxError, Service, service_fn};

/// `Downstream.Api` on the wire.
pub const API: &str = "/demo.downstream.v1.Downstream/Api";
/// `Downstream.Secure` on the wire.
pub const SECURE: &str = "/demo.downstream.v1.Downstream/Secure";

/// Largest message of either side, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// A request's message takes no longer to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Everything that there is to ask stands in the token.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DescribeRequest {}

/// Who called, as the token says; as JSON, the document of `GET /api`.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Caller {
    /// The person's name, or the application's id.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// `iss`.
    #[prost(string, tag = "2")]
    pub issued_by: String,
    /// `aud`.
    #[prost(string, tag = "3")]
    pub issued_for: String,
    /// Scopes, separated by spaces.
    #[prost(string, tag = "4")]
    pub scope: String,
}

/// `service Downstream`, to be implemented.
pub trait Downstream: Clone + Send + 'static {
    /// For users who granted the scope.
    ///
    /// # Errors
    ///
    /// The caller is refused.
    fn api(&self, request: Request<DescribeRequest>) -> Result<Response<Caller>, Status>;

    /// For those who satisfied the authentication context as well.
    ///
    /// # Errors
    ///
    /// The caller is refused.
    fn secure(&self, request: Request<DescribeRequest>) -> Result<Response<Caller>, Status>;
}

/// Serves an implementation of [`Downstream`]; other paths are UNIMPLEMENTED.
#[derive(Clone, Debug)]
pub struct DownstreamServer<T>(T);

/// Calls `service Downstream` over a channel or whatever is wrapped around one.
#[derive(Clone, Debug)]
pub struct DownstreamClient<T>(client::Grpc<T>);

impl<T> DownstreamServer<T> {
    /// The service, ready to be routed to.
    pub fn new(implementation: T) -> Self {
        Self(implementation)
    }
}

impl<T, B> Service<http::Request<B>> for DownstreamServer<T>
where
    T: Downstream,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let called = self.0.clone();
        let method = match request.uri().path() {
            API => T::api,
            SECURE => T::secure,
            _ => return Box::pin(ready(Ok(Status::unimplemented("").into_http()))),
        };
        let method = service_fn(move |request| ready(method(&called, request)));
        let mut grpc =
            server::Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE);
        Box::pin(async move {
            let answer = timeout(ARRIVAL, grpc.unary(method, request)).await;
            Ok(answer.unwrap_or_else(|_| Status::deadline_exceeded("").into_http()))
        })
    }
}

impl<T> DownstreamClient<T>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// Calls through `channel`.
    pub fn new(channel: T) -> Self {
        Self(client::Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Calls one of [`API`] and [`SECURE`].
    ///
    /// # Errors
    ///
    /// What the server says, or with a source the reason why it was not asked.
    pub async fn call(
        &mut self,
        method: &'static str,
        request: Request<DescribeRequest>,
    ) -> Result<Response<Caller>, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(method);
        self.0.unary(request, path, ProstCodec::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::{self, StreamExt};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use prost::Message;
    use tonic::Code;
    use tower::ServiceExt;

    const PROTO: &str = include_str!("../proto/downstream.proto");

    #[derive(Clone)]
    struct Willing;

    impl Downstream for Willing {
        fn api(&self, _: Request<DescribeRequest>) -> Result<Response<Caller>, Status> {
            Ok(Response::new(Caller::default()))
        }

        fn secure(&self, _: Request<DescribeRequest>) -> Result<Response<Caller>, Status> {
            Err(Status::permission_denied(""))
        }
    }

    /// What is answered to a message of `length` bytes, or to one that does not arrive.
    async fn answer(method: &str, length: Option<usize>) -> Code {
        let message = length.map(|length| {
            let mut message = vec![0];
            message.extend(u32::try_from(length).unwrap().to_be_bytes());
            // A field that nobody knows: number 15, wire type 2, its own length in three bytes.
            if let Some(rest) = length.checked_sub(4) {
                let low = |shift: usize| u8::try_from(rest >> shift & 0x7f).unwrap();
                message.extend([15 << 3 | 2, low(0) | 0x80, low(7) | 0x80, low(14)]);
                message.resize(5 + length, 0);
            }
            Ok::<_, Status>(Frame::data(Bytes::from(message)))
        });
        let body = match message {
            Some(message) => stream::iter([message]).boxed(),
            None => stream::pending().boxed(),
        };
        let request = http::Request::post(method)
            .body(StreamBody::new(body))
            .unwrap();
        let server = DownstreamServer::new(Willing);
        let response = server.oneshot(request).await.unwrap();
        match Status::from_header_map(response.headers()) {
            Some(status) => status.code(),
            // In the trailers, behind a message.
            None => Code::Ok,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_and_how_decides_the_answer() {
        for (method, length, code) in [
            (API, Some(0), Code::Ok),
            (SECURE, Some(0), Code::PermissionDenied),
            (
                "/demo.downstream.v1.Downstream/Other",
                Some(0),
                Code::Unimplemented,
            ),
            ("/api", Some(0), Code::Unimplemented),
            (API, Some(MAX_MESSAGE), Code::Ok),
            (API, Some(MAX_MESSAGE + 1), Code::OutOfRange),
            (API, None, Code::DeadlineExceeded),
        ] {
            assert_eq!(answer(method, length).await, code, "{method} {length:?}");
        }
    }

    /// The lines of a block of the file, without comments.
    fn block(start: &str) -> Vec<&'static str> {
        let (_, block) = PROTO.split_once(start).unwrap();
        let (block, _) = block.split_once('}').unwrap();
        let lines = block.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .collect()
    }

    #[test]
    fn paths_are_those_of_the_file() {
        let package = PROTO.lines().find(|line| line.starts_with("package"));
        let package = package.unwrap()["package ".len()..].trim_end_matches(';');
        let methods = block("service Downstream {").into_iter().map(|line| {
            let (name, types) = line["rpc ".len()..].split_once('(').unwrap();
            assert_eq!(types, "DescribeRequest) returns (Caller);");
            format!("/{package}.Downstream/{name}")
        });
        assert_eq!(methods.collect::<Vec<_>>(), [API, SECURE]);
    }

    #[test]
    fn fields_are_those_of_the_file() {
        let caller = Caller {
            name: Some("name".into()),
            issued_by: "issued_by".into(),
            issued_for: "issued_for".into(),
            scope: "scope".into(),
        };
        // A string field is its number and wire type 2, its length, its text.
        let mut expected = Vec::new();
        for line in block("message Caller {") {
            let (name, number) = line.trim_end_matches(';').split_once(" = ").unwrap();
            let name = name
                .trim_start_matches("optional ")
                .strip_prefix("string ")
                .unwrap();
            expected.push(number.parse::<u8>().unwrap() << 3 | 2);
            expected.push(u8::try_from(name.len()).unwrap());
            expected.extend(name.as_bytes());
        }
        assert_eq!(caller.encode_to_vec(), expected);
        assert_eq!(Caller::decode(&*expected).unwrap(), caller);
        assert!(block("message DescribeRequest {").is_empty());
    }

    #[test]
    fn only_the_optional_field_tells_nothing_from_empty() {
        let empty = Caller {
            name: Some(String::new()),
            ..Caller::default()
        };
        assert_eq!(empty.encode_to_vec(), [1 << 3 | 2, 0]);
        assert!(Caller::default().encode_to_vec().is_empty());
        let optional = block("message Caller {").into_iter();
        let optional = optional.filter(|line| line.starts_with("optional"));
        assert_eq!(optional.collect::<Vec<_>>(), ["optional string name = 1;"]);
    }
}
