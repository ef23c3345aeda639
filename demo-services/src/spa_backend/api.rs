//! `/api/*` and `/api/ops/{id}`: calls of the page, sent to the middle tier with the session's token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE};
use http::{HeaderName, Method, StatusCode};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::App;
use super::authority::AuthorityError;
use super::demand::{Demand, capabilities};
use super::flow::Flow;
use super::flows::Asked;
use super::guard::Caller;
use super::operations::{Gone, Operation};
use super::outbound::NoAnswer;
use super::problem::Problem;
use super::proxy::{Answer, Call};
use super::vault::Seat;

/// Largest request body that is passed on, and kept if the call has to wait.
const BODY_LIMIT: usize = 64 * 1024;

/// The longest that a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

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
    let answer = run(&app, &caller.seat, operation, flow, asked);
    Ok(answer.instrument(flow.span_in(own)).await)
}

/// `POST /api/ops/{id}`: runs a kept operation, at most once, and answers what the call itself would have been answered.
pub(super) async fn repeat(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Extension(flow): Extension<Flow>,
    caller: Caller,
) -> Result<Response, Problem> {
    // Taken out before it is sent: whatever happens from here on, it is not sent a second time.
    let taken = caller
        .seat
        .operations()
        .take(&id, &caller.seat.account, Instant::now());
    match taken {
        Ok(operation) => {
            let own = flow;
            let flow = app.flows.resume(&caller.seat.id, own, operation.flow);
            // The operation's id is nobody else's business, the picture's included.
            let asked = Asked::new(&app, &Method::POST, "/api/ops/{id}");
            let answer = run(&app, &caller.seat, operation, flow, asked);
            Ok(answer.instrument(flow.span_in(own)).await)
        }
        Err(Gone::Sent) => {
            let detail = "This operation was run before. It is not run a second time; start it anew if you still want it.";
            Err(Problem::new(StatusCode::GONE, "operation_sent", detail))
        }
        Err(Gone::Unknown) => {
            let detail = "This operation is not kept any more: it was not sent, or its outcome is unknown. It is not sent again.";
            Err(Problem::new(StatusCode::GONE, "operation_unknown", detail))
        }
    }
}

/// Sends an operation; after a plain 401 once more with a renewed token, because a 401 means that it was not carried out.
async fn run(
    app: &Arc<App>,
    seat: &Arc<Seat>,
    mut operation: Operation,
    flow: Flow,
    asked: Asked,
) -> Response {
    operation.flow = Some(flow.uuid());
    let answered = async {
        match send(app, seat, operation, flow).await {
            Ok(answer) => {
                (answer.status, answer.passed_on(), Body::from(answer.body)).into_response()
            }
            Err(problem) => problem.correlated(&flow.id()).into_response(),
        }
    };
    app.flows.watch(flow, asked, answered).await
}

async fn send(
    app: &Arc<App>,
    seat: &Arc<Seat>,
    operation: Operation,
    flow: Flow,
) -> Result<Answer, Problem> {
    let mut refused = None;
    loop {
        let access = match seat
            .access(
                &app.authority,
                &app.settings.scope,
                &capabilities(),
                refused,
            )
            .await
        {
            Ok(access) => access,
            Err(error) => match Demand::of(&error) {
                Some(demand) => return Err(hold(app, seat, operation, demand)),
                None => return Err(no_token(&error)),
            },
        };
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
            return Err(hold(app, seat, operation, demand));
        }
        match (answer.status, refused) {
            (StatusCode::UNAUTHORIZED, None) => refused = Some(access.generation),
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                return Err(hold(app, seat, operation, Demand::SignIn));
            }
            (status, _) if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                return Err(Problem::new(
                    StatusCode::BAD_GATEWAY,
                    "redirected",
                    "The API answered with a redirect, which is not followed.",
                ));
            }
            _ => return Ok(answer),
        }
    }
}

/// Keeps an operation until its demand is satisfied.
fn hold(app: &App, seat: &Seat, mut operation: Operation, demand: Demand) -> Problem {
    if operation.meet(demand.clone()).is_err() {
        let detail = "The API still asks for the same after you have signed in for it. The operation was given up and not carried out.";
        return Problem::new(StatusCode::FORBIDDEN, "step_up_failed", detail);
    }
    if !operation.reserve(&app.room) {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too many operations wait at this moment. Yours was not carried out; try again.",
        );
    }
    tracing::info!(demand = demand.error(), "an operation waits for its person");
    let id = seat.operations().keep(operation, Instant::now());
    Problem::interaction(&demand, &id)
}

fn no_token(error: &AuthorityError) -> Problem {
    match error {
        AuthorityError::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "authority_unavailable",
            "The sign-in service does not answer. Nothing was sent; try again in a moment.",
        ),
        AuthorityError::Unusable => Problem::new(
            StatusCode::BAD_GATEWAY,
            "authority_unusable",
            "The sign-in service answered something unusable. Nothing was sent.",
        ),
        AuthorityError::Interaction { .. } | AuthorityError::Misconfigured => Problem::internal(),
    }
}

fn no_answer(error: NoAnswer, call: &Call) -> Problem {
    let (status, code) = match error {
        NoAnswer::Unreachable => {
            return Problem::new(
                StatusCode::BAD_GATEWAY,
                "api_unreachable",
                "The API is not reachable. Nothing was sent; try again in a moment.",
            );
        }
        NoAnswer::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "api_timeout"),
        NoAnswer::Broken | NoAnswer::TooLarge => (StatusCode::BAD_GATEWAY, "api_broken"),
    };
    let detail = if call.method.is_safe() {
        "The API did not give a complete answer. It was only asked, so it is safe to try again."
    } else {
        "The API did not give a complete answer. Whether it carried the operation out is unknown; it is not sent again by itself."
    };
    Problem::new(status, code, detail)
}
