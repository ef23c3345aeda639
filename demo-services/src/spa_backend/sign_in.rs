//! The way to the authority: for a session, or for a kept operation that demands more.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;
use url::Url;

use super::App;
use super::cookies::Cookies;
use super::demand::{Demand, capabilities};
use super::guard::Navigation;
use super::message::{Message, Way};
use super::metadata::Metadata;
use super::query::Params;
use super::return_to::ReturnTo;
use super::session::Visitor;
use super::settings::Settings;
use super::store::StoreError;
use super::transactions::{Begun, LIFETIME, Purpose};
use crate::random;

/// `GET /auth/sign-in?return_to=`; `prompt=select_account` to use another account.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    _: Navigation,
    query: Params,
    headers: HeaderMap,
) -> Response {
    let prompt = query
        .one("prompt")
        .filter(|prompt| *prompt == "select_account")
        .map(|_| "select_account");
    let purpose = Purpose::SignIn(ReturnTo::new(query.one("return_to")));
    send(
        &app,
        &headers,
        purpose,
        &app.settings.scope,
        capabilities(),
        Ask {
            prompt,
            ..Ask::default()
        },
    )
    .await
}

/// `GET /auth/step-up?op=<id>`: asks the authority for what the operation's last answer demanded.
pub(super) async fn step_up(
    State(app): State<Arc<App>>,
    _: Navigation,
    visitor: Visitor,
    query: Params,
    headers: HeaderMap,
) -> Response {
    let Some(seat) = visitor.seat else {
        return Message::session_ended().into_response();
    };
    let operation = query.one("op").unwrap_or_default().to_owned();
    let kept = match seat.operations().peek(&operation).await {
        Ok(kept) => kept,
        Err(_) => return Message::sessions_away().into_response(),
    };
    let waiting = kept.and_then(|kept| Some((kept.demand()?.clone(), kept.flow)));
    let Some((demand, flow)) = waiting else {
        return Message::operation_gone().into_response();
    };
    app.flows.sign_in(flow, &demand);
    let mut ask = Ask {
        login_hint: Some(seat.account.login_hint.clone()),
        ..Ask::default()
    };
    let mut scope = app.settings.scope.as_str();
    match &demand {
        Demand::Authentication(step_up) => {
            (ask.acr_values, ask.max_age) = (step_up.acr_values.clone(), step_up.max_age)
        }
        Demand::Consent => {
            (scope, ask.prompt) = (app.settings.consent_scope.as_str(), Some("consent"))
        }
        Demand::Claims(_) | Demand::SignIn => {}
    }
    let purpose = Purpose::StepUp {
        seat: seat.id.clone(),
        operation,
    };
    send(&app, &headers, purpose, scope, demand.claims(), ask).await
}

/// What is asked of the authority besides the protocol's own parameters.
#[derive(Default)]
struct Ask {
    prompt: Option<&'static str>,
    login_hint: Option<String>,
    acr_values: Option<String>,
    max_age: Option<u64>,
}

async fn send(
    app: &App,
    headers: &HeaderMap,
    purpose: Purpose,
    scope: &str,
    claims: String,
    ask: Ask,
) -> Response {
    let metadata = match app.authority.present().await {
        Ok(metadata) => metadata,
        Err(error) => return Message::authority(&error, Way::again(&purpose)).into_response(),
    };
    let cookies = Cookies::new(app.settings.secure_cookies);
    let scope = format!("openid profile offline_access {scope}");
    let under_way = async {
        let held = cookies.transactions(headers);
        let useless = app.transactions.make_room(held).await?;
        let begun = app.transactions.begin(purpose, scope, claims).await?;
        Ok::<_, StoreError>((useless, begun))
    };
    let Ok((useless, begun)) = under_way.await else {
        return Message::sessions_away().into_response();
    };
    let address = authorization_request(&metadata, &app.settings, &begun, &ask);
    let mut response = Redirect::to(address.as_str()).into_response();
    let mut set = |cookie: String| {
        if let Ok(cookie) = cookie.parse() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    };
    // An answer must not grow too long either; what is left over goes the next time.
    for id in useless.into_iter().take(50) {
        set(cookies.remove_transaction(id));
    }
    set(cookies.set_transaction(
        &begun.id,
        &begun.browser,
        i64::try_from(LIFETIME.as_secs()).unwrap_or(0),
    ));
    response
}

/// RFC 6749 4.1.1 with RFC 7636 and OpenID Connect Core 3.1.2.1.
fn authorization_request(
    metadata: &Metadata,
    settings: &Settings,
    begun: &Begun,
    ask: &Ask,
) -> Url {
    let mut address = metadata.authorization_endpoint.clone();
    let transaction = &begun.transaction;
    let mut query = address.query_pairs_mut();
    query
        .append_pair("client_id", &settings.client_id)
        .append_pair("response_type", "code")
        .append_pair("response_mode", settings.response_mode.as_str())
        .append_pair("redirect_uri", &settings.redirect_uri())
        .append_pair("scope", &transaction.scope)
        .append_pair("state", &begun.state)
        .append_pair("nonce", &transaction.nonce)
        .append_pair("code_challenge", &random::sha256(&transaction.verifier))
        .append_pair("code_challenge_method", "S256")
        .append_pair("claims", &transaction.claims);
    let max_age = ask.max_age.map(|seconds| seconds.to_string());
    let optional = [
        ("prompt", ask.prompt),
        ("login_hint", ask.login_hint.as_deref()),
        ("acr_values", ask.acr_values.as_deref()),
        ("max_age", max_age.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    drop(query);
    address
}
