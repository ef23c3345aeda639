//! Answers that go back to the client through the browser, in the response mode that it asked for.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::errors::{Refusal, Trace};
use crate::pages;
use crate::requests;

/// OAuth 2.0 Multiple Response Types and Form Post Response Mode.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResponseMode {
    FormPost,
    Fragment,
    Query,
}

/// Where an answer goes: a registered redirect URI, with the client's state.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// As the client wrote it, which is how it must repeat it at the token endpoint.
    pub(crate) redirect_uri: String,
    pub(crate) mode: ResponseMode,
    pub(crate) state: Option<String>,
}

impl Reply {
    pub(crate) fn refuse(
        &self,
        refusal: &Refusal,
        trace: Trace,
        now: u64,
        method: &Method,
    ) -> Response {
        tracing::info!(error = refusal.error, code = refusal.code, trace_id = %trace.trace_id, "authorization refused");
        requests::note(|request| request.refused(refusal, trace));
        let mut parameters = vec![
            ("error", refusal.error.to_owned()),
            ("error_description", refusal.description(trace, now)),
        ];
        if let Some(claims) = &refusal.claims {
            parameters.push(("claims", claims.to_string()));
        }
        self.send(parameters, method)
    }

    pub(crate) fn send(
        &self,
        mut parameters: Vec<(&'static str, String)>,
        method: &Method,
    ) -> Response {
        if let Some(state) = &self.state {
            parameters.push(("state", state.clone()));
        }
        let Ok(mut target) = Url::parse(&self.redirect_uri) else {
            return pages::error(StatusCode::BAD_REQUEST, "The redirect URI is not a URL.");
        };
        match self.mode {
            ResponseMode::FormPost => return pages::form_post(&self.redirect_uri, &parameters),
            ResponseMode::Fragment => {
                let fragment = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(&parameters)
                    .finish();
                target.set_fragment(Some(&fragment));
            }
            ResponseMode::Query => {
                target.query_pairs_mut().extend_pairs(&parameters);
            }
        }
        // After a POST the browser must come with a GET: a 307 would send the password on.
        let status = if method == Method::POST {
            StatusCode::SEE_OTHER
        } else {
            StatusCode::FOUND
        };
        let Ok(location) = HeaderValue::try_from(target.as_str()) else {
            return pages::error(StatusCode::BAD_REQUEST, "The redirect URI is not a URL.");
        };
        let mut response = (status, [(header::LOCATION, location)]).into_response();
        pages::guard(response.headers_mut());
        response
    }
}
