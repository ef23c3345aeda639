//! The caller's own profile in a Graph-like API: seen by whoever is signed in, changed by those who pass the gate.
//!
//! | route | what is asked of the authority, On-Behalf-Of | answer |
//! |---|---|---|
//! | `GET /profile` | the scope to read | `{id, displayName, givenName, surname, mail, userPrincipalName}` |
//! | `GET /profile/edit` | the gate's scope, then as above | the same, for a form |
//! | `PATCH /profile` | the gate's scope, the scope to write | 204 |
//!
//! Body of `PATCH`: `application/json`, at most 4 KiB, with any of `displayName` (1 to 256 characters), `givenName` and `surname` (up to
//! 64; empty takes it away) and nothing else. It is checked before anything is asked of anybody. Of two changes at one time the
//! last one wins, member by member.
//!
//! | what happened | answer | `error` |
//! |---|---|---|
//! | the body breaks a rule | 400, 408, 413, 415 | `invalid_change` with `field`, `slow_request`, `too_large`, `unsupported_media_type` |
//! | the gate wants more | 401 with the challenge | `insufficient_claims` |
//! | Graph refuses the values (400) | 422 | `change_refused` |
//! | Graph says 403 or 404 | the same | `profile_forbidden`, `no_profile` |
//! | Graph is busy or away (429, 503, no connection) | 503 with `Retry-After` | `directory_busy`: nothing was done |
//! | a change was sent and its outcome is unknown (no answer, another 5xx) | 502 | `outcome_unknown` |
//! | anything else of Graph | 502 | `profile_broken` |
//!
//! A change is sent once. Only if Graph refuses its token, which means that it was not carried out, it is sent again with another.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderMap},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tower::{Layer as _, ServiceExt as _};
use tower_bearer::{
    Authority, BoxError, CloneBody, ConfidentialClient, ConfigError, Credential, HttpClient,
    OnBehalfOf, OnBehalfOfExt as _, Target,
};

use super::profile_change::Change;
use super::profile_gate::Gate;
use super::profile_refusal::{Refusal, Wanted};
use super::{answer, caller, client, join, trace};
use crate::config::MiddleTierConfig;
use crate::flow_events::{FlowEvents, Inside, Lane, Outside};
use crate::problem::CorrelationId;
use crate::routes::Routes;

/// Longest body of a change, in bytes.
const MAX_CHANGE: usize = 4 * 1024;
/// Longest profile that is read from Graph, in bytes.
const MAX_PROFILE: usize = 64 * 1024;
/// A body takes no longer to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// The members of [`Profile`], so that nothing else is even sent.
const SELECT: &str = "/v1.0/me?$select=id,displayName,givenName,surname,mail,userPrincipalName";

/// Graph, called for whom the request names.
type Graph = Outside<OnBehalfOf<Inside<HttpClient>, CloneBody>>;

/// The three routes' service.
#[derive(Clone)]
struct Profiles {
    gate: Gate,
    read: Graph,
    write: Graph,
    view: Uri,
    me: Uri,
}

/// What is shown of a profile, in Graph's own names.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    id: String,
    display_name: Option<String>,
    given_name: Option<String>,
    surname: Option<String>,
    mail: Option<String>,
    user_principal_name: String,
}

/// Why there is no answer to pass on.
enum Failure {
    Refused(Refusal),
    /// A demand, or a fault of the way to a token, for the layers outside.
    Up(BoxError),
}

/// Adds the routes, if there is a configuration for them.
pub(super) fn routes(
    routes: Routes,
    config: &MiddleTierConfig,
    authority: &Authority,
    me: &ConfidentialClient,
    credential: Credential,
    events: &FlowEvents,
) -> Result<Routes, ConfigError> {
    let Some(part) = &config.profile else {
        return Ok(routes);
    };
    let graph = |scope: &str| -> Result<Graph, ConfigError> {
        let target = Target::origin(&part.graph.origin().ascii_serialization())?;
        let exchange = me.on_behalf_of([scope], target)?.replay(CloneBody);
        let way = [Lane::MiddleTier, Lane::Graph];
        let watched = events.watch(way, [scope], exchange);
        Ok(watched.layer(client(&part.graph, &config.trust)?))
    };
    let profiles = Profiles {
        gate: Gate::new(authority, &config.client_id, credential, &part.gate_scope)?,
        read: graph(&part.read_scope)?,
        write: graph(&part.write_scope)?,
        view: join(&part.graph, SELECT),
        me: join(&part.graph, "/v1.0/me"),
    };
    let (view, form, change) = (profiles.clone(), profiles.clone(), profiles);
    Ok(routes
        .get(
            "/profile",
            tower::service_fn(move |request| told(view.clone(), request, Profiles::view)),
        )
        .get(
            "/profile/edit",
            tower::service_fn(move |request| told(form.clone(), request, Profiles::form)),
        )
        .patch(
            "/profile",
            tower::service_fn(move |request| told(change.clone(), request, Profiles::change)),
        ))
}

/// Runs one of the calls and puts what came of it into a response.
async fn told(
    profiles: Profiles,
    incoming: Request<Incoming>,
    call: impl AsyncFnOnce(&Profiles, Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = incoming.extensions().get::<CorrelationId>().copied();
    match call(&profiles, incoming).await {
        Ok(response) => Ok(response),
        Err(Failure::Refused(refusal)) => Ok(refusal.into_response(id)),
        Err(Failure::Up(error)) => answer(std::future::ready(Err(error))).await,
    }
}

impl Profiles {
    async fn view(&self, incoming: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        self.show(&incoming).await
    }

    async fn form(&self, incoming: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        self.gate.pass(&incoming).await?;
        self.show(&incoming).await
    }

    async fn change(&self, incoming: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        if !is_json(incoming.headers()) {
            return Err(Refusal::not_json().into());
        }
        let (head, body) = incoming.into_parts();
        let arriving = Limited::new(body, MAX_CHANGE).collect();
        let arrived = tokio::time::timeout(ARRIVAL, arriving).await;
        let body = arrived
            .map_err(|_| Refusal::slow())?
            .map_err(|_| Refusal::too_large())?;
        let change = Change::read(&body.to_bytes()).map_err(Refusal::from)?;
        let incoming = Request::from_parts(head, ());

        self.gate.pass(&incoming).await?;
        let body = Full::from(change.to_json());
        let mut request = self.request(Method::PATCH, &self.me, body, &incoming)?;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = ask(&self.write, request, Wanted::Change).await?;
        if !answer.status().is_success() {
            let refusal = Refusal::of_graph(Wanted::Change, answer.status(), answer.headers());
            return Err(refusal.into());
        }
        let mut done = Response::new(Full::default());
        *done.status_mut() = StatusCode::NO_CONTENT;
        Ok(done)
    }

    async fn show<B>(&self, incoming: &Request<B>) -> Result<Response<Full<Bytes>>, Failure> {
        let request = self.request(Method::GET, &self.view, Full::default(), incoming)?;
        let answer = ask(&self.read, request, Wanted::View).await?;
        if !answer.status().is_success() {
            let refusal = Refusal::of_graph(Wanted::View, answer.status(), answer.headers());
            return Err(refusal.into());
        }
        let body = Limited::new(answer.into_body(), MAX_PROFILE)
            .collect()
            .await
            .map_err(|_| Refusal::lost(Wanted::View))?;
        // Read and written anew: what Graph says besides stays here.
        let profile: Profile =
            serde_json::from_slice(&body.to_bytes()).map_err(|_| Refusal::unusable())?;
        let profile = serde_json::to_vec(&profile).map_err(|_| Refusal::unusable())?;
        let mut response = Response::new(Full::from(profile));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    fn request<B>(
        &self,
        method: Method,
        uri: &Uri,
        body: Full<Bytes>,
        incoming: &Request<B>,
    ) -> Result<Request<Full<Bytes>>, BoxError> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri.clone())
            .body(body)?
            .on_behalf_of(caller(incoming)?);
        request.headers_mut().extend(trace(incoming));
        Ok(request)
    }
}

async fn ask(
    graph: &Graph,
    request: Request<Full<Bytes>>,
    wanted: Wanted,
) -> Result<Response<reqwest::Body>, Failure> {
    let answer = graph.clone().oneshot(request).await;
    answer.map_err(|error| match error.downcast_ref::<reqwest::Error>() {
        Some(fault) => {
            tracing::info!(error = %fault, "no answer of the Graph-like API");
            let refusal = match fault.is_connect() {
                true => Refusal::unreachable(wanted),
                false => Refusal::lost(wanted),
            };
            Failure::Refused(refusal)
        }
        None => Failure::Up(error),
    })
}

/// `application/json`, whatever parameters follow.
fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return false;
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        Self::Up(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_read() {
        let headers = |kinds: &[&str]| -> HeaderMap {
            let kinds = kinds
                .iter()
                .map(|kind| (CONTENT_TYPE, kind.parse().unwrap()));
            kinds.collect()
        };
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=utf-8",
        ] {
            assert!(is_json(&headers(&[good])), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "text/plain; application/json",
        ] {
            assert!(!is_json(&headers(&[bad])), "{bad}");
        }
        assert!(!is_json(&headers(&[])));
        assert!(!is_json(&headers(&["application/json", "text/plain"])));
    }

    #[test]
    fn six_members_are_shown_and_no_other() {
        let graph = r#"{"@odata.context":"x","id":"1","displayName":"A","givenName":null,"mail":"a@b","userPrincipalName":"u","jobTitle":"j"}"#;
        let profile: Profile = serde_json::from_str(graph).unwrap();
        let shown = serde_json::to_value(&profile).unwrap();
        let expected = serde_json::json!({
            "id": "1", "displayName": "A", "givenName": null, "surname": null, "mail": "a@b", "userPrincipalName": "u"
        });
        assert_eq!(shown, expected);
        for broken in ["", "[]", "{}", r#"{"id":7,"userPrincipalName":"u"}"#] {
            assert!(serde_json::from_str::<Profile>(broken).is_err(), "{broken}");
        }
    }
}
