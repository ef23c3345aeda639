//! The token endpoint: who asks, for which grant, and the one answer that all user grants share.

mod authorization_code;
mod client_credentials;
mod device_code;
mod on_behalf_of;
mod refresh_token;

use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

pub(crate) use device_code::device_authorization;

use crate::authority::{Authority, Shared};
use crate::authorization::RedirectKind;
use crate::client::Client;
use crate::demands::Demands;
use crate::directory::{Directory, User};
use crate::errors::{Refusal, Trace, no_store};
use crate::form::Form;
use crate::known::Known;
use crate::meter::GrantType;
use crate::policy::{self, Authentication, Question, Setting, Verdict};
use crate::records::Grant;
use crate::requests;
use crate::scopes::Requested;
use crate::tokens::{ACCESS_TOKEN_LIFETIME, AccessToken, IdToken, Subject, client_info};
use crate::version::{Segment, TokenVersion};

/// One request to the token endpoint.
struct TokenRequest<'a> {
    authority: &'a Authority,
    directory: &'a Directory,
    form: &'a Form,
    client: Client<'a>,
    segment: Segment,
    /// Whether a browser's script asks from another origin.
    cross_origin: bool,
    now: u64,
}

/// `POST /{tenant}/oauth2/v2.0/token`.
pub(crate) async fn token(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    Extension(segment): Extension<Segment>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (form, trace) = open(query, &headers, body);
    let answer = form.and_then(|form| respond(&authority, &directory, segment, &headers, &form));
    let answer = answer.map(|(grant, answer)| {
        tracing::info!(?grant, trace_id = %trace.trace_id, "token issued");
        answer
    });
    close(&authority, &headers, trace, answer)
}

/// The form of a request that a program sends, and the trace of its answer.
fn open(
    query: Option<String>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> (Result<Form, Refusal>, Trace) {
    let query = Form::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let form = body
        .map_err(|rejection| Unreadable(rejection.status()))
        .and_then(|body| Form::parse(&body).map_err(|_| Unreadable(StatusCode::BAD_REQUEST)));
    let id = form
        .as_ref()
        .ok()
        .and_then(|form| form.get("client-request-id"))
        .or_else(|| query.get("client-request-id"));
    let trace = Trace::new(id.or_else(|| headers.get("client-request-id")?.to_str().ok()));
    requests::note(|request| request.trace(trace));
    (readable(headers, form), trace)
}

/// The answer to such a request.
fn close(
    authority: &Authority,
    headers: &HeaderMap,
    trace: Trace,
    answer: Result<Value, Refusal>,
) -> Response {
    let used_basic = headers.contains_key(header::AUTHORIZATION);
    let mut response = match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => {
            tracing::info!(error = refusal.error, code = refusal.code, trace_id = %trace.trace_id, "token refused");
            requests::note(|request| request.refused(&refusal, trace));
            let mut response = (
                refusal.status,
                Json(refusal.body(trace, authority.now(), &authority.base)),
            )
                .into_response();
            if refusal.status == StatusCode::UNAUTHORIZED && used_basic {
                response.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"token endpoint\""),
                );
            }
            response
        }
    };
    no_store(response.headers_mut());
    response
}

/// The body is no form, or was not read to its end.
struct Unreadable(StatusCode);

fn readable(headers: &HeaderMap, form: Result<Form, Unreadable>) -> Result<Form, Refusal> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(Refusal::invalid_request(
            900_561,
            "The endpoint only accepts POST requests of type application/x-www-form-urlencoded.",
        ));
    }
    form.map_err(|Unreadable(status)| {
        Refusal::invalid_request(
            90_014,
            "The request body is malformed, too long, or repeats a parameter.",
        )
        .status(status)
    })
}

fn respond(
    authority: &Authority,
    directory: &Directory,
    segment: Segment,
    headers: &HeaderMap,
    form: &Form,
) -> Result<(GrantType, Value), Refusal> {
    requests::note(|request| request.form(directory, form));
    let grant = match form
        .get("grant_type")
        .ok_or_else(|| Refusal::missing("grant_type"))?
    {
        "authorization_code" => GrantType::AuthorizationCode,
        "client_credentials" => GrantType::ClientCredentials,
        "refresh_token" => GrantType::RefreshToken,
        // The second is what MSAL for Node writes, from before RFC 8628.
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => GrantType::DeviceCode,
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => GrantType::OnBehalfOf,
        _ => {
            return Err(Refusal::new(
                "unsupported_grant_type",
                70_003,
                "The app requested an unsupported grant type.",
            ));
        }
    };
    authority.meter.count_grant(grant);
    let now = authority.now();
    let client = Client::identify(directory, headers, form, &authority.base, now)?;
    requests::note(|request| request.client(client.app));
    let request = TokenRequest {
        authority,
        directory,
        form,
        client,
        segment,
        cross_origin: headers.contains_key(header::ORIGIN),
        now,
    };
    let answer = match grant {
        GrantType::AuthorizationCode => authorization_code::redeem(&request),
        GrantType::ClientCredentials => client_credentials::grant(&request),
        GrantType::DeviceCode => device_code::redeem(&request),
        GrantType::OnBehalfOf => on_behalf_of::exchange(&request),
        GrantType::RefreshToken => refresh_token::refresh(&request),
    }?;
    Ok((grant, answer))
}

/// A grant that nothing stands in the way of.
struct Approved<'a> {
    user: &'a User,
    requested: Requested,
    scopes: Vec<String>,
    /// With the contexts that are still satisfied.
    authentication: Authentication,
    demands: Demands,
}

/// What an answer carries beside the access token.
#[derive(Default)]
struct Beside<'a> {
    refresh_token: Option<String>,
    nonce: Option<&'a str>,
    auth_time: bool,
}

impl<'a> TokenRequest<'a> {
    fn required(&self, name: &str) -> Result<&'a str, Refusal> {
        self.form.get(name).ok_or_else(|| Refusal::missing(name))
    }

    fn demands(&self) -> Result<Demands, Refusal> {
        Demands::parse(self.form.get("claims")).map_err(|_| {
            Refusal::invalid_request(9_000_411, "The 'claims' parameter is not valid.")
        })
    }

    /// Public clients show no credential, confidential ones must; only a single-page application asks from another origin.
    fn check_kind(&self, kind: RedirectKind) -> Result<(), Refusal> {
        match kind {
            RedirectKind::Spa if !self.cross_origin => {
                return Err(Refusal::invalid_request(
                    9_002_327,
                    "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
                ));
            }
            RedirectKind::Native | RedirectKind::Web if self.cross_origin => {
                return Err(Refusal::invalid_request(
                    9_002_326,
                    "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
                ));
            }
            _ => {}
        }
        if kind == RedirectKind::Web {
            self.client.confidential()
        } else {
            self.client.public()
        }
    }

    /// Liveness, consent and Conditional Access: the same three questions at every issuance for a user.
    fn approve(
        &self,
        requested: Requested,
        authentication: &Authentication,
        demands: Demands,
    ) -> Result<Approved<'a>, Refusal> {
        let gone = || {
            Refusal::invalid_grant(50_034, "The user account does not exist in the directory.")
                .suberror("bad_token")
        };
        let user = self
            .directory
            .users
            .iter()
            .find(|user| user.oid == authentication.user)
            .ok_or_else(gone)?;
        requested.still_there(self.directory)?;
        requests::note(|request| request.user(user));
        let grant = Grant {
            user: user.oid,
            client: self.client.app.client_id,
            resource: requested.resource.client_id,
        };
        let consented = {
            let stores = self.authority.stores();
            if let Some(at) = stores.revoked_since(authentication) {
                return Err(Refusal::revoked(at));
            }
            stores.consented(grant, self.now)
        };
        let scopes = requested.granted(self.client.app, user.oid, &consented)?;
        let question = Question {
            directory: self.directory,
            user,
            resource: &requested.resource,
            demands: &demands,
            setting: Setting::Token,
            now: self.now,
        };
        match question.decide(authentication) {
            Verdict::Satisfied(contexts) => Ok(Approved {
                user,
                requested,
                scopes,
                authentication: Authentication {
                    contexts,
                    ..authentication.clone()
                },
                demands,
            }),
            Verdict::Blocked => Err(policy::blocked("invalid_grant")),
            Verdict::Unmet(unmet) => Err(unmet.refusal(user, &requested.resource)),
        }
    }

    fn answer(&self, approved: &Approved<'_>, beside: Beside<'_>) -> Result<Value, Refusal> {
        let Approved {
            user,
            requested,
            scopes,
            authentication,
            demands,
        } = approved;
        let token = AccessToken {
            version: requested.resource.token_version(),
            client: self.client.app,
            credential: self.client.credential,
            resource: &requested.resource,
            audience: &requested.audience,
            subject: Subject::User {
                user,
                authentication,
                scopes,
            },
            capabilities: &demands.capabilities,
        };
        let mut answer = bearer(self.authority.mint(self.directory, &token)?);
        answer.insert("scope".into(), requested.text.as_str().into());
        if requested.openid {
            let id_token = IdToken {
                client: self.client.app,
                user,
                authentication,
                nonce: beside.nonce,
                auth_time: beside.auth_time,
                email: requested.email,
            };
            let claims = id_token.claims(self.authority.stamp(self.directory));
            let signed = self.authority.sign(TokenVersion::V2, &claims)?;
            answer.insert("id_token".into(), signed.into());
        }
        if let Some(token) = beside.refresh_token {
            answer.insert("refresh_token".into(), token.into());
        }
        if self.form.get("client_info") == Some("1") {
            answer.insert(
                "client_info".into(),
                client_info(user.oid, self.directory.tenant.id).into(),
            );
        }
        Ok(Value::Object(answer))
    }
}

fn bearer(token: String) -> Map<String, Value> {
    let mut answer = Map::new();
    answer.insert("token_type".into(), "Bearer".into());
    answer.insert("expires_in".into(), ACCESS_TOKEN_LIFETIME.into());
    answer.insert("ext_expires_in".into(), ACCESS_TOKEN_LIFETIME.into());
    answer.insert("access_token".into(), token.into());
    answer
}
