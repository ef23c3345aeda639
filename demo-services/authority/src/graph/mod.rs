//! A part of Microsoft Graph v1.0: the profile of the signed-in user, and what it takes to register and unregister applications.

mod applications;
mod body;
mod conditional_access;
mod contexts;
mod credentials;
mod dates;
mod deleted_items;
mod error;
mod grants;
mod me;
mod organization;
mod owners;
mod query;
mod role_assignments;
mod service_principals;
mod token;

use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::authority::{Authority, Shared};
use crate::directory::Directory;
use crate::errors::{Trace, no_store};
use crate::form;
use crate::meter::Endpoint;
use crate::metering::meter;
use crate::requests;
use error::GraphError;
use query::Query;
use token::Caller;

type Answered = Result<Reply, GraphError>;

/// A proper answer.
enum Reply {
    /// 201 and the object, with its address.
    Created(String, Value),
    /// 204.
    Done,
    /// 200.
    Object(Value),
}

/// One request of somebody who may call Graph at all.
struct Call<'a> {
    authority: &'a Authority,
    /// As it stood when the request came in; changes are made on the directory of their own moment.
    directory: &'a Directory,
    caller: Caller,
    /// As it was asked for: what is told leads back here.
    path: &'a str,
    query: Query,
    headers: &'a HeaderMap,
    body: Result<Bytes, StatusCode>,
    now: u64,
}

/// How an object is named in a path: `/applications/{id}` or `/applications(appId='...')`.
enum Key {
    Id(Uuid),
    AppId(Uuid),
}

pub(crate) fn routes(authority: &Shared) -> Router<Shared> {
    let metered = |endpoint| middleware::from_fn_with_state((authority.clone(), endpoint), meter);
    Router::new()
        .route("/v1.0/me", any(serve).layer(metered(Endpoint::Me)))
        .route("/v1.0/{*path}", any(serve).layer(metered(Endpoint::Graph)))
        .route_layer(middleware::from_fn(cross_origin))
}

/// No cookie counts here, so that any origin may ask, as with Graph; and every answer can be read, also one that fails on demand. It
/// stands outside of the meter: a preflight is no request of its client.
async fn cross_origin(request: Request, next: Next) -> Response {
    let mut response = if *request.method() == Method::OPTIONS {
        preflight()
    } else {
        next.run(request).await
    };
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Location, Retry-After, WWW-Authenticate, request-id, client-request-id",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn serve(
    State(authority): State<Shared>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let id = headers
        .get("client-request-id")
        .and_then(|value| value.to_str().ok());
    let trace = Trace::new(id);
    let body = body.map_err(|rejection| rejection.status());
    let answered = {
        // All rules of a directory are checked at each change of it, however large it is.
        let (authority, method) = (authority.clone(), method.clone());
        let (path, query) = (uri.path().to_owned(), query.unwrap_or_default());
        requests::beside(move || respond(&authority, &method, &path, &query, &headers, body))
            .await
            .unwrap_or_else(|| Err(GraphError::internal()))
    };
    requests::note(|request| {
        request.trace(trace);
        request.error = answered.as_ref().err().map(|error| error.code);
    });
    let mut response = finish(&authority, &method, answered, trace);
    let headers = response.headers_mut();
    no_store(headers);
    for (name, id) in [
        ("request-id", trace.trace_id),
        ("client-request-id", trace.correlation_id),
    ] {
        if let Ok(value) = HeaderValue::try_from(id.to_string()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn preflight() -> Response {
    let headers = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PATCH, PUT, DELETE",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, client-request-id, ConsistencyLevel, SdkVersion",
        ),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn finish(authority: &Authority, method: &Method, answered: Answered, trace: Trace) -> Response {
    match answered {
        Ok(reply) => {
            if method != Method::GET {
                tracing::info!(%method, trace_id = %trace.trace_id, "directory changed through Graph");
            }
            match reply {
                Reply::Object(value) => Json(value).into_response(),
                Reply::Done => StatusCode::NO_CONTENT.into_response(),
                Reply::Created(location, value) => {
                    let mut response = (StatusCode::CREATED, Json(value)).into_response();
                    if let Ok(location) = HeaderValue::try_from(location) {
                        response.headers_mut().insert(header::LOCATION, location);
                    }
                    response
                }
            }
        }
        Err(error) => {
            tracing::info!(status = error.status.as_u16(), code = error.code, trace_id = %trace.trace_id, "Graph request refused");
            error.response(trace, authority.now())
        }
    }
}

fn respond(
    authority: &Authority,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: Result<Bytes, StatusCode>,
) -> Answered {
    let directory = authority.directory();
    let caller = Caller::identify(authority, &directory, headers)?;
    let call = Call {
        authority,
        directory: &directory,
        caller,
        path,
        query: Query::parse(query)?,
        headers,
        body,
        now: authority.now(),
    };
    let segments: Vec<String> = path
        .strip_prefix("/v1.0/")
        .unwrap_or_default()
        .split('/')
        .map(decode)
        .collect::<Result<_, _>>()?;
    let segments: Vec<&str> = segments.iter().flat_map(|text| keyed(text)).collect();
    route(&call, method, &segments)
}

fn route(call: &Call<'_>, method: &Method, segments: &[&str]) -> Answered {
    match segments {
        ["me"] => me::me(call, method),
        ["applications", rest @ ..] => applications::route(call, method, rest),
        ["directory", rest @ ..] => deleted_items::route(call, method, rest),
        ["servicePrincipals", rest @ ..] => service_principals::route(call, method, rest),
        ["oauth2PermissionGrants", rest @ ..] => grants::route(call, method, rest),
        ["identity", "conditionalAccess", rest @ ..] => {
            conditional_access::route(call, method, rest)
        }
        ["organization", rest @ ..] => organization::organizations(call, method, rest),
        ["users", rest @ ..] => organization::users(call, method, rest),
        ["groups", rest @ ..] => organization::groups(call, method, rest),
        [first, ..] => Err(no_segment(first)),
        [] => Err(no_segment("")),
    }
}

fn no_segment(segment: &str) -> GraphError {
    GraphError::protocol(format!("Resource not found for the segment '{segment}'."))
}

fn wrong_method() -> GraphError {
    GraphError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Request_BadRequest",
        "Specified HTTP method is not allowed for the request target.",
    )
}

/// Percent-decoding as of a path: `+` is a plus sign.
fn decode(segment: &str) -> Result<String, GraphError> {
    form::decode(segment.replace('+', "%2B").as_bytes())
        .map_err(|_| GraphError::protocol("The path is malformed."))
}

/// `applications(appId='x')` is `applications` and `(appId='x')`.
fn keyed(segment: &str) -> impl Iterator<Item = &str> {
    let (name, key) = match segment.find('(') {
        Some(at) => segment.split_at(at),
        None => (segment, ""),
    };
    [name, key].into_iter().filter(|part| !part.is_empty())
}

impl Key {
    fn parse(segment: &str) -> Result<Self, GraphError> {
        let unknown = || GraphError::not_found(segment);
        let alternate = segment
            .strip_prefix("(appId='")
            .and_then(|rest| rest.strip_suffix("')"));
        let in_parentheses = segment
            .strip_prefix("('")
            .and_then(|rest| rest.strip_suffix("')"));
        match alternate {
            Some(id) => form::guid(id).map(Self::AppId),
            None => form::guid(in_parentheses.unwrap_or(segment)).map(Self::Id),
        }
        .ok_or_else(unknown)
    }
}

fn id(segment: &str) -> Result<Uuid, GraphError> {
    form::guid(segment).ok_or_else(|| GraphError::not_found(segment))
}

impl Call<'_> {
    /// The body as a JSON object.
    fn object(&self) -> Result<Map<String, Value>, GraphError> {
        let body = self.body.as_ref().map_err(|status| {
            let code = if *status == StatusCode::PAYLOAD_TOO_LARGE {
                "RequestEntityTooLarge"
            } else {
                "BadRequest"
            };
            GraphError::new(*status, code, "The request body could not be read.")
        })?;
        let content_type = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if body.is_empty() {
            return Err(GraphError::protocol(
                "Empty Payload. JSON content expected.",
            ));
        }
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.is_empty() {
            return Err(GraphError::protocol(
                "Write requests (excluding DELETE) must contain the Content-Type header declaration.",
            ));
        }
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(GraphError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "The content must be application/json.",
            ));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(mut object)) => {
                body::without_types(&mut object);
                Ok(object)
            }
            _ => Err(GraphError::protocol(
                "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
            )),
        }
    }

    /// The body as a value of Graph's types.
    fn read<T: DeserializeOwned>(&self) -> Result<T, GraphError> {
        body::read(self.object()?)
    }

    fn context(&self, what: &str) -> String {
        format!("{}/v1.0/$metadata#{what}", self.authority.base)
    }

    /// The URL that was asked for, without its query.
    fn here(&self) -> String {
        format!("{}{}", self.authority.base, self.path)
    }

    /// One object of the set `set`.
    fn one(&self, set: &str, kind: &str, object: Value) -> Answered {
        Ok(Reply::Object(self.entity(set, kind, object)?))
    }

    /// An object that is now in the list of the path, which is of the set `set`.
    fn created(&self, set: &str, kind: &str, object: Value) -> Answered {
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default();
        let location = format!("{}/{id}", self.here());
        Ok(Reply::Created(location, self.entity(set, kind, object)?))
    }

    fn entity(&self, set: &str, kind: &str, object: Value) -> Result<Value, GraphError> {
        if !self.query.is_plain() {
            return Err(GraphError::protocol(
                "The query option is for collections only.",
            ));
        }
        let mut object = self.query.select(object, kind)?;
        if let Value::Object(object) = &mut object {
            let context = self.context(&format!("{set}/$entity"));
            object.insert("@odata.context".to_owned(), context.into());
        }
        Ok(object)
    }

    /// A collection, filtered and cut into pages.
    fn many(
        &self,
        set: &str,
        kind: &str,
        objects: impl IntoIterator<Item = Value>,
        filterable: &[&str],
    ) -> Answered {
        let mut values = Vec::new();
        for object in objects {
            if self.query.matches(&object, filterable, kind)? {
                values.push(self.query.select(object, kind)?);
            }
        }
        let count = self.query.counts().then_some(values.len());
        let (values, next) = self.query.page(values);
        let mut answer = Map::new();
        answer.insert("@odata.context".to_owned(), self.context(set).into());
        if let Some(count) = count {
            answer.insert("@odata.count".to_owned(), count.into());
        }
        if let Some(next) = next {
            answer.insert("@odata.nextLink".to_owned(), self.next(next).into());
        }
        answer.insert("value".to_owned(), values.into());
        Ok(Reply::Object(answer.into()))
    }

    fn next(&self, skip: usize) -> String {
        format!("{}?{}", self.here(), self.query.following(skip))
    }
}
