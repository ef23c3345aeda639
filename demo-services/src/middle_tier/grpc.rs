//! The downstream API over gRPC: a channel to it, and a call whose answer is that of the same call over HTTP.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use tonic::{
    Code, Extensions, Status,
    body::Body,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower_bearer::{BoxError, ConfigError, OnBehalfOf, OnBehalfOfExt, Tee};
use url::Url;

use super::{DEADLINE, caller, trace};
use crate::{
    downstream_rpc::{DescribeRequest, DownstreamClient},
    flow_events::{Inside, Outside},
};

/// Challenges of several KiB come back in the head.
const HEADER_LIST: u32 = 32 * 1024;

/// A channel to the origin of `downstream`, connected when it is first used.
pub(super) fn channel(downstream: &Url) -> Result<Channel, ConfigError> {
    let endpoint = || {
        let endpoint = Endpoint::from_shared(downstream.origin().ascii_serialization())?
            .connect_timeout(DEADLINE)
            .http2_max_header_list_size(HEADER_LIST);
        match downstream.scheme() {
            "http" => Ok(endpoint),
            _ => endpoint.tls_config(ClientTlsConfig::new().with_native_roots()),
        }
    };
    let endpoint: Result<Endpoint, tonic::transport::Error> = endpoint();
    Ok(endpoint
        .map_err(|_| ConfigError::HttpClient)?
        .connect_lazy())
}

pub(super) async fn call(
    channel: Outside<OnBehalfOf<Inside<Channel>, Tee<Body>>>,
    method: &'static str,
    incoming: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let metadata = MetadataMap::from_headers(trace(&incoming));
    let mut request = tonic::Request::from_parts(metadata, Extensions::new(), DescribeRequest {})
        .on_behalf_of(caller(&incoming)?);
    // Kept by the channel, and told to the next tier.
    request.set_timeout(DEADLINE);

    let mut response = Response::new(Full::default());
    match DownstreamClient::new(channel).call(method, request).await {
        Ok(answer) => {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            *response.body_mut() = Full::from(serde_json::to_vec(answer.get_ref())?);
        }
        // Not the next tier's word: a demand of the authority or of that tier, to go up from here, or no connection.
        Err(status) if status.source().is_some() => return Err(status.into()),
        // Its message and metadata are not for our caller.
        Err(status) => *response.status_mut() = http_status(&status),
    }
    Ok(response)
}

/// What the HTTP twin would have answered.
fn http_status(status: &Status) -> StatusCode {
    match status.code() {
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_our_caller_is_told_from_a_failure() {
        for (code, expected) in [
            (Code::PermissionDenied, 403),
            (Code::Unimplemented, 404),
            (Code::Unavailable, 503),
            // Of a token that our caller never had; OnBehalfOf sees it only where it comes before a message.
            (Code::Unauthenticated, 502),
            (Code::Internal, 502),
            (Code::DeadlineExceeded, 502),
            (Code::Ok, 502),
        ] {
            assert_eq!(http_status(&Status::new(code, "")), expected, "{code:?}");
        }
    }

    #[tokio::test]
    async fn a_channel_goes_to_an_origin_in_clear_or_over_tls() {
        for url in ["http://localhost:7000/base", "https://api.example"] {
            assert!(channel(&url.parse().unwrap()).is_ok(), "{url}");
        }
    }
}
