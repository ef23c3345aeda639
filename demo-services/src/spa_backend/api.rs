//! `/api/*` and `/api/ops/{id}`: calls of the page, sent to the middle tier with the session's token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderName, Method, StatusCode};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::App;
use super::authority::AuthorityError;
use super::demand::{Demand, capabilities};
use super::flow::Flow;
use super::flows::Asked;
use super::guard::Caller;
use super::operations::{Gone, Operation};
use super::problem::Problem;
use super::proxy::{Answer, Call};
use super::store::StoreError;
use super::vault::{NoToken, Seat};
use crate::outbound::NoAnswer;

/// Largest request body that is passed on, and kept if the call has to wait.
const BODY_LIMIT: usize = 64 * 1024;

/// The longest that a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no answer of the API to pass on.
enum Failure {
    /// The person must satisfy it first.
    Demand(Demand),
    /// It was surely not carried out, and the reason may pass.
    NotSent(Problem),
    /// It cannot be repeated, or its outcome is unknown.
    Ended(Problem),
}

/// `ANY /api/{*path}`: the same method, path and body at the middle tier.
pub(super) async fn call(
    State(app): State<Arc<App>>,
    Extension(flow): Extension<Flow>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let target = app
        .middle_tier
        .target(&parts.uri)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such API."))?;
    let passed = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    if !passed.contains(&parts.method) {
        return Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "That method is not passed on.",
        ));
    }
    let header = |name: HeaderName| parts.headers.get(name).cloned();
    let (content_type, language) = (header(CONTENT_TYPE), header(ACCEPT_LANGUAGE));
    let arrived = timeout(BODY_TIMEOUT, to_bytes(body, BODY_LIMIT)).await;
    let arrived = arrived.map_err(|_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_request",
            "The request did not arrive in time. Nothing was sent.",
        )
    })?;
    let body = arrived.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The request is larger than 64 KiB, or broke off.",
        )
    })?;
    let own = flow;
    let flow = app.flows.go_on(&caller.seat.id, own, &parts.headers);
    let asked = Asked::new(&app, &parts.method, parts.uri.path());
    let call = Call {
        method: parts.method,
        target,
        content_type,
        language,
        body,
    };
    let operation = Operation::new(call, caller.seat.account.clone());
    let answer = run(&app, &caller.seat, None, operation, flow, asked);
    Ok(answer.instrument(flow.span_in(own)).await)
}

/// `POST /api/ops/{id}`: runs a kept operation, at most once, and answers what the call itself would have been answered.
pub(super) async fn repeat(
    State(app): State<Arc<App>>,
    Extension(flow): Extension<Flow>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let operations = caller.seat.operations();
    // Taken out before it is sent: whatever happens from here on, it is not sent a second time.
    let taken = match &id {
        Ok(Path(id)) => operations.take(id, &caller.seat.account).await,
        // Not UTF-8: no operation is called so.
        Err(_) => Err(Gone::Unknown),
    };
    match taken {
        Ok(operation) => {
            let own = flow;
            let flow = app.flows.resume(&caller.seat.id, own, operation.flow);
            // The operation's id is nobody else's business, the picture's included.
            let asked = Asked::new(&app, &Method::POST, "/api/ops/{id}");
            let id = id.as_ref().ok().map(|Path(id)| id.as_str());
            let answer = run(&app, &caller.seat, id, operation, flow, asked);
            Ok(answer.instrument(flow.span_in(own)).await)
        }
        Err(Gone::Sent) => {
            let detail = "This operation was run before, or is being run. It is not run a second time; start it anew if you still want it.";
            Err(Problem::new(StatusCode::GONE, "operation_sent", detail))
        }
        Err(Gone::Unknown) => {
            let detail = "This operation is not kept any more: it was not sent, or its outcome is unknown. It is not sent again.";
            Err(Problem::new(StatusCode::GONE, "operation_unknown", detail))
        }
        Err(Gone::Away) => Err(Problem::sessions_away()),
    }
}

/// Sends an operation, which was `kept` under this id. One that was surely not carried out is kept there again.
async fn run(
    app: &Arc<App>,
    seat: &Arc<Seat>,
    kept: Option<&str>,
    mut operation: Operation,
    flow: Flow,
    asked: Asked,
) -> Response {
    operation.flow = Some(flow.uuid());
    let answered = async {
        let problem = match send(app, seat, &operation, flow).await {
            Ok(answer) => {
                let body = Body::from(answer.body.clone());
                return (answer.status, answer.passed_on(), body).into_response();
            }
            Err(Failure::Demand(demand)) => hold(seat, operation, demand).await,
            Err(Failure::NotSent(problem)) => match kept {
                Some(id) => put_back(seat, id, &operation, problem).await,
                None => problem,
            },
            Err(Failure::Ended(problem)) => problem,
        };
        problem.correlated(&flow.id()).into_response()
    };
    app.flows.watch(flow, asked, answered).await
}

/// After a plain 401 once more with a renewed token, because a 401 means that it was not carried out.
async fn send(
    app: &Arc<App>,
    seat: &Arc<Seat>,
    operation: &Operation,
    flow: Flow,
) -> Result<Answer, Failure> {
    let mut refused = None;
    loop {
        let access = seat
            .access(
                &app.authority,
                &app.settings.scope,
                &capabilities(),
                refused,
            )
            .await
            .map_err(|error| no_token(error, refused.is_some()))?;
        let answer = app
            .middle_tier
            .send(
                &operation.call,
                &access.token,
                flow,
                1 + u32::from(refused.is_some()),
            )
            .await
            .map_err(|error| no_answer(error, &operation.call))?;
        if let Some(demand) = Demand::read(answer.status, &answer.headers) {
            return Err(Failure::Demand(demand));
        }
        match (answer.status, refused) {
            (StatusCode::UNAUTHORIZED, None) => refused = Some(access.generation),
            (StatusCode::UNAUTHORIZED, Some(_)) => return Err(Failure::Demand(Demand::SignIn)),
            (status, _) if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                return Err(Failure::Ended(Problem::new(
                    StatusCode::BAD_GATEWAY,
                    "redirected",
                    "The API answered with a redirect, which is not followed.",
                )));
            }
            _ => return Ok(answer),
        }
    }
}

/// Keeps an operation until its demand is satisfied. It was refused by the API, or there was no token to send it with.
async fn hold(seat: &Seat, mut operation: Operation, demand: Demand) -> Problem {
    if operation.meet(demand.clone()).is_err() {
        let detail = "The API still asks for the same after you have signed in for it. The operation was given up and not carried out.";
        return Problem::new(StatusCode::FORBIDDEN, "step_up_failed", detail);
    }
    match seat.operations().keep(&operation).await {
        Ok(id) => {
            tracing::info!(demand = demand.error(), "an operation waits for its person");
            Problem::interaction(&demand, &id)
        }
        Err(StoreError::Full) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "More is needed from you for this, and too many operations wait at this moment. Yours was not carried out; \
             start it anew in a moment.",
        ),
        Err(StoreError::Away) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "sessions_unavailable",
            "More is needed from you for this, and what waits for you cannot be kept at this moment. It was refused and so not \
             carried out; start it anew in a moment.",
        ),
    }
}

/// Keeps an operation that was not carried out under its id again, so that it can be tried again as the `problem` says.
async fn put_back(seat: &Seat, id: &str, operation: &Operation, problem: Problem) -> Problem {
    match seat.operations().put_back(id, operation).await {
        Ok(true) => problem,
        Ok(false) | Err(_) => problem.because(
            "This could not be done at this moment. It was not carried out, and is perhaps not kept any more: then start it anew.",
        ),
    }
}

/// Why there is no token; `refused` when the API has refused another one.
fn no_token(error: NoToken, refused: bool) -> Failure {
    let error = match error {
        NoToken::Authority(error) => error,
        NoToken::Store(_) if refused => {
            let detail = "Your session cannot be reached at this moment. The API wanted a newer token, so nothing was carried out; \
                          try again in a moment.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Failure::NotSent(Problem::new(status, "sessions_unavailable", detail));
        }
        NoToken::Store(_) => return Failure::NotSent(Problem::sessions_away()),
        NoToken::Ended => return Failure::Ended(Problem::signed_out()),
    };
    if let Some(demand) = Demand::of(&error) {
        return Failure::Demand(demand);
    }
    Failure::NotSent(match error {
        AuthorityError::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "authority_unavailable",
            "The sign-in service does not answer. Nothing was carried out; try again in a moment.",
        ),
        AuthorityError::Unusable => Problem::new(
            StatusCode::BAD_GATEWAY,
            "authority_unusable",
            "The sign-in service answered something unusable. Nothing was carried out.",
        ),
        AuthorityError::Interaction { .. } | AuthorityError::Misconfigured => Problem::internal(),
    })
}

fn no_answer(error: NoAnswer, call: &Call) -> Failure {
    let (status, code) = match error {
        NoAnswer::Unreachable => {
            return Failure::NotSent(Problem::new(
                StatusCode::BAD_GATEWAY,
                "api_unreachable",
                "The API is not reachable. Nothing was carried out; try again in a moment.",
            ));
        }
        NoAnswer::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "api_timeout"),
        NoAnswer::Broken | NoAnswer::TooLarge => (StatusCode::BAD_GATEWAY, "api_broken"),
    };
    let detail = if call.method.is_safe() {
        "The API did not give a complete answer. It was only asked, so it is safe to try again."
    } else {
        "The API did not give a complete answer. Whether it carried the operation out is unknown; it is not sent again by itself."
    };
    Failure::Ended(Problem::new(status, code, detail))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spa_backend::id_token::{IdToken, account};
    use crate::spa_backend::store::unsteady::{Ask, Unsteady};
    use crate::spa_backend::store::{Kind, Records};
    use crate::spa_backend::vault::Vault;

    fn operation() -> Operation {
        let call = Call {
            method: Method::POST,
            target: "/api".into(),
            content_type: None,
            language: None,
            body: bytes::Bytes::new(),
        };
        Operation::new(call, account("alice"))
    }

    async fn seat(store: &Unsteady) -> Arc<Seat> {
        let person = IdToken {
            account: account("alice"),
            claims: Vec::new(),
        };
        let tokens = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 3600 });
        let tokens = serde_json::from_value(tokens).unwrap();
        let vault = Vault::new(Records::new(store.clone()), false);
        vault.seat(person, "scope", tokens).await.unwrap()
    }

    fn told(problem: &Problem) -> (String, String) {
        let told = serde_json::to_value(problem).unwrap();
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        (text("error"), text("detail"))
    }

    #[tokio::test]
    async fn a_call_that_was_refused_and_cannot_be_kept_is_not_said_to_be_unsent() {
        let store = Unsteady::new(Duration::ZERO);
        let seat = seat(&store).await;
        store.refuse(&[(Ask::Put, Kind::Operation)]);
        let (error, detail) = told(&hold(&seat, operation(), Demand::SignIn).await);
        assert_eq!(error, "sessions_unavailable");
        assert!(!detail.contains("was sent"), "{detail}");
        assert!(detail.contains("start it anew"), "{detail}");
    }

    #[tokio::test]
    async fn nobody_is_told_to_try_again_what_could_not_be_put_back() {
        let store = Unsteady::new(Duration::ZERO);
        let seat = seat(&store).await;
        let id = seat.operations().keep(&operation()).await.unwrap();
        let taken = seat.operations().take(&id, &seat.account).await.unwrap();
        store.refuse(&[(Ask::Put, Kind::Operation)]);
        let (error, detail) = told(&put_back(&seat, &id, &taken, Problem::sessions_away()).await);
        assert_eq!(error, "sessions_unavailable");
        assert!(!detail.contains("try again"), "{detail}");
        store.refuse(&[]);
        let (_, detail) = told(&put_back(&seat, &id, &taken, Problem::sessions_away()).await);
        assert!(detail.contains("try again"), "{detail}");
        assert!(seat.operations().peek(&id).await.unwrap().is_some());
    }
}
