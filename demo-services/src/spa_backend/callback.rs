//! `/auth/callback`: what the authority sends the browser back with.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tracing::Instrument as _;
use url::form_urlencoded::byte_serialize;
use uuid::Uuid;

use super::App;
use super::authority::AuthorityError;
use super::cookies::Cookies;
use super::id_token::{self, IdToken};
use super::message::{Message, Way};
use super::query::Params;
use super::session::{SessionError, Visitor};
use super::store::StoreError;
use super::tokens::Tokens;
use super::transactions::{self, Answer, Purpose, Transaction};
use super::vault::NoToken;
use crate::config::ResponseMode;

/// The longest form that is read, in bytes.
const FORM_LIMIT: usize = 16 * 1024;

/// The longest that it may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(20);

/// `GET`: the end of a sign-in.
pub(super) async fn receive(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    headers: HeaderMap,
    query: Params,
) -> Response {
    let is_signed_in = visitor.seat.is_some();
    let unknown = || Message::sign_in_unknown(is_signed_in).into_response();
    let Some((id, browser)) = begun_here(&app, &headers, &query) else {
        return unknown();
    };
    // In a task: a browser that goes away in the middle leaves nothing half done.
    let ending = {
        let (app, id, browser) = (Arc::clone(&app), id.clone(), browser.to_owned());
        async move { end(&app, &visitor, &id, &browser, &query).await }
    };
    let ended = tokio::spawn(ending.in_current_span()).await;
    let mut response = match ended {
        Ok(Ok(Some(Ok(target)))) => Redirect::to(&target).into_response(),
        Ok(Ok(Some(Err(message)))) => message.into_response(),
        Ok(Ok(None)) => return unknown(),
        Ok(Err(_)) => return Message::sessions_away().into_response(),
        Err(_) => return Message::internal().into_response(),
    };
    if let Ok(cookie) = Cookies::new(app.settings.secure_cookies)
        .remove_transaction(&id)
        .parse()
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// `POST`: `response_mode=form_post` (OAuth 2.0 Form Post Response Mode). The form comes from the authority's site, so the session's
/// `Lax` cookie does not come along; the answer is kept, and the browser asks for the end of the sign-in itself.
pub(super) async fn receive_form(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let cookies = Cookies::new(app.settings.secure_cookies);
    if cookies.transactions(&headers).next().is_none() {
        // Without one no form is of use, so none is waited for.
        return Message::sign_in_unknown(false).into_response();
    }
    let form = match timeout(FORM_TIMEOUT, to_bytes(body, FORM_LIMIT)).await {
        Ok(Ok(form)) => form,
        Ok(Err(_)) => return Message::too_large().into_response(),
        Err(_) => return Message::too_slow().into_response(),
    };
    let form = Params::parse(&form);
    let Some((id, browser)) = begun_here(&app, &headers, &form) else {
        return Message::sign_in_unknown(false).into_response();
    };
    let answer = Answer::read(&form);
    match app.transactions.answer(&id, browser, &answer).await {
        Ok(true) => {
            let state = form.one("state").unwrap_or_default();
            let state: String = byte_serialize(state.as_bytes()).collect();
            Redirect::to(&format!("/auth/callback?state={state}")).into_response()
        }
        Ok(false) => Message::sign_in_unknown(false).into_response(),
        Err(_) => Message::sessions_away().into_response(),
    }
}

/// The id of the transaction that an answer names, and what this browser holds of it.
fn begun_here<'h>(app: &App, headers: &'h HeaderMap, answer: &Params) -> Option<(String, &'h str)> {
    let cookies = Cookies::new(app.settings.secure_cookies);
    let id = transactions::id(answer.one("state")?);
    let browser = cookies.value(headers, &cookies.transaction_name(&id))?;
    Some((id, browser))
}

/// Ends a sign-in of this browser, if there is one: where to go, or what to say.
async fn end(
    app: &App,
    visitor: &Visitor,
    id: &str,
    browser: &str,
    query: &Params,
) -> Result<Option<Result<String, Message>>, StoreError> {
    let transactions = &app.transactions;
    let ended = match app.settings.response_mode {
        ResponseMode::Query => transactions
            .end(id, browser)
            .await?
            .map(|transaction| (transaction, Answer::read(query))),
        ResponseMode::FormPost => transactions.end_answered(id, browser).await?,
    };
    Ok(match ended {
        Some((transaction, answer)) => Some(finish(app, visitor, &transaction, &answer).await),
        None => None,
    })
}

/// Where to go, or what to say.
async fn finish(
    app: &App,
    visitor: &Visitor,
    transaction: &Transaction,
    answer: &Answer,
) -> Result<String, Message> {
    let again = || Way::again(&transaction.purpose);
    let metadata = app
        .authority
        .metadata()
        .await
        .map_err(|error| Message::authority(&error, again()))?;
    let named = answer.names_issuer || metadata.authorization_response_iss_parameter_supported;
    if named && answer.issuer.as_ref() != Some(&metadata.issuer) {
        return Err(Message::wrong_authority());
    }
    if let Some(error) = &answer.error {
        return Err(Message::refused_by_authority(error, &transaction.purpose));
    }
    let code = answer
        .code
        .as_ref()
        .ok_or_else(|| Message::authority(&AuthorityError::Unusable, again()))?;
    if let Purpose::StepUp { seat, .. } = &transaction.purpose
        && visitor.seat.as_ref().map(|seat| &seat.id) != Some(seat)
    {
        return Err(Message::session_ended());
    }
    let back = app.flows.back(flow_of(visitor, &transaction.purpose).await);
    let (person, tokens) = back
        .within(redeem(app, transaction, code))
        .await
        .map_err(|error| Message::authority(&error, again()))?;
    match &transaction.purpose {
        Purpose::SignIn(return_to) => {
            let seat = app.vault.seat(person, &app.settings.scope, tokens).await;
            let seat = seat.map_err(SessionError::from)?;
            visitor.sit(&app.vault, &seat).await?;
            tracing::info!("signed in");
            Ok(return_to.as_str().to_owned())
        }
        Purpose::StepUp { operation, .. } => {
            let seat = visitor.seat.as_ref().ok_or_else(Message::session_ended)?;
            let operations = seat.operations();
            if !person.account.is(&seat.account) {
                // Their sign-in must not run what this person wanted, nor take this person's session over.
                let discarded = operations.discard(operation).await;
                discarded.map_err(SessionError::from)?;
                tracing::info!("a step-up came back as somebody else: the operation is dropped");
                return Ok("/?notice=other-account".to_owned());
            }
            match seat.replace(&app.settings.scope, tokens).await {
                Ok(()) => {}
                Err(NoToken::Ended) => return Err(Message::session_ended()),
                Err(_) => return Err(Message::sessions_away()),
            }
            back.signed_in();
            tracing::info!("stepped up");
            let kept = operations.peek(operation).await;
            let kept = kept.map_err(SessionError::from)?;
            let page = kept.map_or("/", |kept| kept.page());
            Ok(format!("{page}?op={operation}"))
        }
    }
}

/// The flow of the operation for which the person was at the authority. Without one the picture lacks the way back, and no more.
async fn flow_of(visitor: &Visitor, purpose: &Purpose) -> Option<Uuid> {
    let (Some(seat), Purpose::StepUp { operation, .. }) = (&visitor.seat, purpose) else {
        return None;
    };
    let kept = seat.operations().peek(operation).await;
    kept.ok().flatten()?.flow
}

async fn redeem(
    app: &App,
    transaction: &Transaction,
    code: &SecretString,
) -> Result<(IdToken, Tokens), AuthorityError> {
    let tokens = app
        .authority
        .redeem_code(
            code.expose_secret(),
            &app.settings.redirect_uri(),
            &transaction.verifier,
            &transaction.scope,
            &transaction.claims,
        )
        .await?;
    let id_token = tokens.id_token.as_ref().ok_or(AuthorityError::Unusable)?;
    let person = id_token::verify(
        &app.settings.id_tokens,
        &app.settings.client_id,
        id_token,
        &transaction.nonce,
    )
    .await?;
    Ok((person, tokens))
}
