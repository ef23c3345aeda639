//! `GET /auth/callback`: what the authority sends the browser back with.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use http::header::SET_COOKIE;

use super::App;
use super::authority::AuthorityError;
use super::cookies::Cookies;
use super::id_token::{self, IdToken};
use super::message::{Message, Way};
use super::query::Params;
use super::session::Visitor;
use super::tokens::Tokens;
use super::transactions::{self, Purpose, Transaction};

/// RFC 6749 4.1.2 with RFC 9207. `error_description` is not even read.
pub(super) async fn receive(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    headers: HeaderMap,
    answer: Params,
) -> Response {
    let Some((transaction, spent)) = begun_here(&app, &headers, &answer) else {
        return Message::sign_in_unknown(visitor.seat.is_some()).into_response();
    };
    let mut response = match finish(&app, &visitor, &transaction, &answer).await {
        Ok(target) => Redirect::to(&target).into_response(),
        Err(message) => message.into_response(),
    };
    if let Ok(cookie) = Cookies::new(app.settings.secure_cookies)
        .remove_transaction(&spent)
        .parse()
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// The transaction that this answer ends, if it was begun by this browser and not ended before.
fn begun_here(
    app: &App,
    headers: &HeaderMap,
    answer: &Params,
) -> Option<(Arc<Transaction>, String)> {
    let cookies = Cookies::new(app.settings.secure_cookies);
    let id = transactions::id(answer.one("state")?);
    let browser = cookies.value(headers, &cookies.transaction_name(&id))?;
    let transaction = app.transactions.end(&id, browser)?;
    Some((transaction, id))
}

/// Where to go, or what to say.
async fn finish(
    app: &App,
    visitor: &Visitor,
    transaction: &Transaction,
    answer: &Params,
) -> Result<String, Message> {
    let again = || Way::again(&transaction.purpose);
    let metadata = app
        .authority
        .metadata()
        .await
        .map_err(|error| Message::authority(&error, again()))?;
    let named = answer.has("iss") || metadata.authorization_response_iss_parameter_supported;
    if named && answer.one("iss") != Some(&metadata.issuer) {
        return Err(Message::wrong_authority());
    }
    if let Some(error) = answer.one("error") {
        return Err(Message::refused_by_authority(error, again()));
    }
    let code = answer
        .one("code")
        .ok_or_else(|| Message::authority(&AuthorityError::Unusable, again()))?;
    if let Purpose::StepUp { seat, .. } = &transaction.purpose
        && visitor.seat.as_ref().map(|seat| &seat.id) != Some(seat)
    {
        return Err(Message::session_ended());
    }
    let back = app
        .flows
        .back(visitor.seat.as_deref(), &transaction.purpose);
    let (person, tokens) = back
        .within(redeem(app, transaction, code))
        .await
        .map_err(|error| Message::authority(&error, again()))?;
    match &transaction.purpose {
        Purpose::SignIn(return_to) => {
            let seat = app.vault.seat(person, &app.settings.scope, tokens);
            visitor
                .sit(app, &seat)
                .await
                .map_err(|_| Message::internal())?;
            tracing::info!("signed in");
            Ok(return_to.as_str().to_owned())
        }
        Purpose::StepUp { operation, .. } => {
            let seat = visitor.seat.as_ref().ok_or_else(Message::session_ended)?;
            if !person.account.is(&seat.account) {
                // Their sign-in must not run what this person wanted, nor take this person's session over.
                seat.operations().discard(operation);
                tracing::info!("a step-up came back as somebody else: the operation is dropped");
                return Ok("/?notice=other-account".to_owned());
            }
            seat.replace(&app.settings.scope, tokens);
            back.signed_in();
            tracing::info!("stepped up");
            Ok(format!("/?op={operation}"))
        }
    }
}

async fn redeem(
    app: &App,
    transaction: &Transaction,
    code: &str,
) -> Result<(IdToken, Tokens), AuthorityError> {
    let tokens = app
        .authority
        .redeem_code(
            code,
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
