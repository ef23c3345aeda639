//! `OnBehalfOf` between a scripted token endpoint and a scripted next tier.

use std::future::Future;

use futures_util::FutureExt as _;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::json;
use tower::{ServiceExt, service_fn};
use tower_bearer::{
    BoxError, ChallengeRequired, CloneBody, Credential, DownstreamChallenges, Never,
    OnBehalfOfError, OnBehalfOfErrorKind, OnBehalfOfExt, OnBehalfOfLayer, Principal, RefusalKind,
    Replay, Target, TokenSource,
};
use wiremock::ResponseTemplate;

use crate::support::*;

const NEXT: &str = "https://next.example";
const DEMANDS_C1: &str = concat!(
    "Bearer realm=\"evil\", authorization_uri=\"https://evil\", error=\"insufficient_claims\", ",
    "claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\""
);
/// Four different demands, c1 to c4; this is `{"access_token":{"acrs":{"essential":true,"value":"c2"}}}`.
const DEMANDS_C2: &str = "Bearer claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzIifX19\"";

const DEMANDS_C3: &str = "Bearer claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzMifX19\"";
const DEMANDS_C4: &str = "Bearer claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzQifX19\"";

fn layer(world: &World) -> OnBehalfOfLayer {
    let credential = Credential::secret("hush").unwrap();
    let client = world.authority.client(CLIENT, credential).unwrap();
    client
        .on_behalf_of(["api://next/.default"], Target::origin(NEXT).unwrap())
        .unwrap()
}

fn call(caller: &Principal) -> Request<Body> {
    let request =
        Request::get(format!("{NEXT}/orders")).header(AUTHORIZATION, "Basic handlers-own");
    request
        .body(Body::from("kept"))
        .unwrap()
        .on_behalf_of(caller)
}

/// One call through `layer` to `next`: its status, or what went wrong.
fn outcome<R>(
    layer: &OnBehalfOfLayer<R>,
    next: &NextTier,
    request: Request<Body>,
) -> impl Future<Output = Result<u16, BoxError>> + use<R>
where
    R: Replay<Body> + Clone,
{
    let next = next.clone();
    let service = layer.wrap(service_fn(move |request| next.answer(request)));
    async move {
        service
            .oneshot(request)
            .await
            .map(|response| response.status().as_u16())
    }
}

fn demanded(outcome: Result<u16, BoxError>) -> RefusalKind {
    ChallengeRequired::find(outcome.unwrap_err().as_ref())
        .expect("a demand")
        .kind()
}

fn failed(outcome: Result<u16, BoxError>) -> OnBehalfOfErrorKind {
    outcome
        .unwrap_err()
        .downcast_ref::<OnBehalfOfError>()
        .expect("our error")
        .kind()
}

#[tokio::test]
async fn the_next_tier_gets_the_exchanged_token_and_nothing_else() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T2")).await;
    let next = NextTier::new(&[(200, "")]);
    assert_eq!(
        outcome(&layer(&world), &next, call(&world.principal(json!({}))))
            .await
            .unwrap(),
        200
    );
    assert_eq!(next.bearers(), ["Bearer T2"]);
    assert!(next.extensions_are_clean());
    let form = &endpoint.forms().await[0];
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("requested_token_use", "on_behalf_of"),
        ("client_id", CLIENT),
        ("client_secret", "hush"),
        ("scope", "api://next/.default"),
        ("assertion", &world.token(json!({}))),
        (
            "claims",
            r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#,
        ),
    ] {
        assert_eq!(
            form.iter().filter(|(n, v)| n == name && v == value).count(),
            1,
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_inner_request_says_where_its_token_came_from() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("client_credentials", issued("own")).await;
    endpoint.on("c1", issued("for-c1")).await;
    endpoint.on("jwt-bearer", issued("T2")).await;
    let credential = Credential::secret("hush").unwrap();
    let client = world.authority.client(CLIENT, credential).unwrap();
    let own = client
        .app_only(["api://next/.default"], Target::origin(NEXT).unwrap())
        .unwrap();
    let for_users = layer(&world).replay(CloneBody);
    let caller = world.principal(json!({}));

    let next = NextTier::new(&[(200, ""), (200, ""), (401, DEMANDS_C1), (200, "")]);
    // What the caller planted is of no account.
    for planted in [None, Some(TokenSource::Shared), Some(TokenSource::Shared)] {
        let mut request = call(&caller);
        if let Some(planted) = planted {
            request.extensions_mut().insert(planted);
        }
        assert_eq!(outcome(&for_users, &next, request).await.unwrap(), 200);
    }
    use TokenSource::{Authority, Memory};
    assert_eq!(next.sources(), [Authority, Memory, Memory, Authority]);

    let next = NextTier::new(&[(200, "")]);
    for planted in [Memory, Authority] {
        let mut request = Request::get(format!("{NEXT}/x"))
            .body(Body::default())
            .unwrap();
        request.extensions_mut().insert(planted);
        assert_eq!(outcome(&own, &next, request).await.unwrap(), 200);
    }
    assert_eq!(next.sources(), [Authority, Memory]);
}

#[tokio::test]
async fn one_request_per_user_and_scope_at_any_concurrency() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let layer = layer(&world);
    let (alice, bob) = (
        world.principal(json!({})),
        world.principal(json!({"oid": "bob"})),
    );
    endpoint
        .on(&world.token(json!({})), issued("for-alice"))
        .await;
    endpoint
        .on(&world.token(json!({"oid": "bob"})), issued("for-bob"))
        .await;
    for caller in [&alice, &bob] {
        let next = NextTier::new(&[(200, "")]);
        let calls = (0..100).map(|_| outcome(&layer, &next, call(caller)));
        assert!(
            futures_util::future::join_all(calls)
                .await
                .into_iter()
                .all(|status| status.unwrap() == 200)
        );
        let expected = if caller.object_id() == Some("bob") {
            "Bearer for-bob"
        } else {
            "Bearer for-alice"
        };
        assert!(next.bearers().iter().all(|bearer| bearer == expected));
    }
    assert_eq!(endpoint.count().await, 2);
}

#[tokio::test]
async fn a_cancelled_call_does_not_cancel_the_exchange_of_the_others() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T2")).await;
    let layer = layer(&world);
    let caller = world.principal(json!({}));
    let next = NextTier::new(&[(200, "")]);
    {
        let mut leader = Box::pin(outcome(&layer, &next, call(&caller)));
        assert!(futures_util::poll!(&mut leader).is_pending());
    }
    assert_eq!(outcome(&layer, &next, call(&caller)).await.unwrap(), 200);
    assert_eq!(endpoint.count().await, 1);
}

#[test]
fn a_runtime_that_goes_away_leaves_no_flight_behind() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let endpoint = runtime().block_on(TokenEndpoint::start());
    let world = endpoint.world();
    let layer = layer(&world);
    let caller = world.principal(json!({}));
    let next = NextTier::new(&[(200, "")]);
    runtime().block_on(async {
        let mut leader = Box::pin(outcome(&layer, &next, call(&caller)));
        assert!(futures_util::poll!(&mut leader).is_pending());
    });
    runtime().block_on(async {
        endpoint.on("jwt-bearer", issued("T2")).await;
        assert_eq!(outcome(&layer, &next, call(&caller)).await.unwrap(), 200);
    });
    // Without a runtime there is an error, no panic.
    let fresh = world.principal(json!({"oid": "bob"}));
    let mut call = Box::pin(outcome(&layer, &next, call(&fresh)));
    let polled = call.as_mut().now_or_never().expect("decided at once");
    assert_eq!(failed(polled), OnBehalfOfErrorKind::Unavailable);
}

#[tokio::test]
async fn the_authoritys_claims_go_up_byte_for_byte() {
    let odd = r#"{"access_token":{"capolids":{"essential":true, "Values":[ "p1"]}},"id_token":{}}"#;
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", interaction_required(odd)).await;
    let next = NextTier::new(&[(200, "")]);
    for capable in [json!({}), json!({"xms_cc": null})] {
        let error = outcome(&layer(&world), &next, call(&world.principal(capable)))
            .await
            .unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("AADSTS") && !shown.contains("p1"),
            "{shown}"
        );
        let demand = ChallengeRequired::find(error.as_ref()).unwrap();
        assert_eq!(demand.claims().unwrap().as_str(), odd);
    }
    assert!(next.bearers().is_empty(), "no token, no call");
}

#[tokio::test]
async fn a_downstream_challenge_is_answered_with_a_stronger_token() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("T3")).await;
    endpoint.on("jwt-bearer", issued("T2")).await;
    let next = NextTier::new(&[(401, DEMANDS_C1), (200, "")]);
    let layer = layer(&world).replay(CloneBody);
    let caller = world.principal(json!({}));
    assert_eq!(outcome(&layer, &next, call(&caller)).await.unwrap(), 200);
    assert_eq!(next.bearers(), ["Bearer T2", "Bearer T3"]);
    assert_eq!(outcome(&layer, &next, call(&caller)).await.unwrap(), 200);
    assert_eq!(next.bearers()[2], "Bearer T3", "the entry was replaced");
    assert_eq!(endpoint.count().await, 2);
}

#[tokio::test]
async fn what_a_downstream_demands_and_the_authority_cannot_give_goes_up() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", interaction_required(C1)).await;
    endpoint.on("jwt-bearer", issued("T2")).await;
    let next = NextTier::new(&[(401, DEMANDS_C1)]);
    let outcome = outcome(
        &layer(&world).replay(CloneBody),
        &next,
        call(&world.principal(json!({}))),
    )
    .await;
    assert_eq!(demanded(outcome), RefusalKind::InsufficientClaims);
    assert_eq!(next.bearers().len(), 1);
}

#[tokio::test]
async fn a_downstream_demand_reaches_only_clients_that_can_answer_it() {
    for (caller, error) in [(json!({}), true), (json!({"xms_cc": null}), false)] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint
            .on(
                "acrs",
                ResponseTemplate::new(400).set_body_json(json!({"error": "interaction_required"})),
            )
            .await;
        endpoint.on("jwt-bearer", issued("T2")).await;
        let next = NextTier::new(&[(401, DEMANDS_C1)]);
        let outcome = outcome(
            &layer(&world).replay(CloneBody),
            &next,
            call(&world.principal(caller)),
        )
        .await;
        match error {
            true => assert_eq!(demanded(outcome), RefusalKind::InsufficientClaims),
            false => assert_eq!(failed(outcome), OnBehalfOfErrorKind::Blocked),
        }
    }
}

#[tokio::test]
async fn equal_claims_are_tried_once_and_different_ones_three_times() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let again = NextTier::new(&[(401, DEMANDS_C1)]);
    let layer = layer(&world).replay(CloneBody);
    let caller = world.principal(json!({}));
    assert_eq!(
        demanded(outcome(&layer, &again, call(&caller)).await),
        RefusalKind::InsufficientClaims
    );
    assert_eq!(again.bearers().len(), 2);

    let two = NextTier::new(&[(401, DEMANDS_C1), (403, DEMANDS_C2), (200, "")]);
    assert_eq!(outcome(&layer, &two, call(&caller)).await.unwrap(), 200);
    assert_eq!(two.bearers().len(), 3);
}

#[tokio::test]
async fn a_fourth_demand_within_one_call_goes_up() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let next = NextTier::new(&[
        (401, DEMANDS_C1),
        (401, DEMANDS_C2),
        (401, DEMANDS_C3),
        (401, DEMANDS_C4),
        (200, ""),
    ]);
    let error = outcome(
        &layer(&world).replay(CloneBody),
        &next,
        call(&world.principal(json!({}))),
    )
    .await
    .unwrap_err();
    let demand = ChallengeRequired::find(error.as_ref()).unwrap();
    assert!(
        demand.claims().unwrap().as_str().contains("c4"),
        "the newest claims"
    );
    assert_eq!(next.bearers().len(), 4);
}

/// A call whose first answer comes only after another call of the same user, challenged for `others`, has had its token replaced.
/// The bearers of both, the slow one's first.
async fn overtaken(answers: &[(u16, &'static str)], others: &'static str) -> [Vec<String>; 2] {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("%22c1%22", issued("for-c1")).await;
    endpoint.on("%22c2%22", issued("for-c2")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let layer = layer(&world).replay(CloneBody);
    let caller = world.principal(json!({}));
    let fast = NextTier::new(&[(401, others), (200, "")]);
    let slow = NextTier::new(answers);
    let during = slow.clone();
    let (inner_layer, inner_caller) = (layer.clone(), caller.clone());
    let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let other = fast.clone();
    let service = layer.wrap(service_fn(move |request| {
        let others_turn = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        let other =
            others_turn.then(|| Box::pin(outcome(&inner_layer, &other, call(&inner_caller))));
        let answer = during.answer(request);
        async move {
            if let Some(other) = other {
                assert_eq!(other.await.unwrap(), 200);
            }
            answer.await
        }
    }));
    assert_eq!(service.oneshot(call(&caller)).await.unwrap().status(), 200);
    let tokens = endpoint.count().await;
    let mut different: Vec<String> = [slow.bearers(), fast.bearers()].concat();
    different.sort();
    different.dedup();
    assert_eq!(tokens, different.len(), "each token was asked for once");
    [slow.bearers(), fast.bearers()]
}

#[tokio::test]
async fn a_newer_token_is_tried_before_the_authority_is_asked() {
    let [slow, fast] = overtaken(&[(401, DEMANDS_C1), (200, "")], DEMANDS_C2).await;
    assert_eq!(fast, ["Bearer plain", "Bearer for-c2"]);
    assert_eq!(slow, ["Bearer plain", "Bearer for-c2"]);
}

#[tokio::test]
async fn a_newer_token_that_does_not_do_is_no_round_and_is_tried_once() {
    let answers = [(401, DEMANDS_C1), (401, DEMANDS_C1), (200, "")];
    let [slow, _] = overtaken(&answers, DEMANDS_C2).await;
    assert_eq!(slow, ["Bearer plain", "Bearer for-c2", "Bearer for-c1"]);
}

#[tokio::test]
async fn a_newer_token_with_the_same_claims_is_the_round() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("for-c1")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let layer = layer(&world).replay(CloneBody);
    let caller = world.principal(json!({}));
    let stubborn = NextTier::new(&[(401, DEMANDS_C1)]);
    let kind = demanded(outcome(&layer, &stubborn, call(&caller)).await);
    assert_eq!(kind, RefusalKind::InsufficientClaims);
    assert_eq!(stubborn.bearers(), ["Bearer plain", "Bearer for-c1"]);
}

#[tokio::test]
async fn a_replaced_token_for_the_same_claims_is_taken_without_a_request() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("for-c1")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let layer = layer(&world).replay(CloneBody);
    let caller = world.principal(json!({}));
    let tiers = [0; 20].map(|_| NextTier::new(&[(401, DEMANDS_C1), (200, "")]));
    let calls = tiers
        .iter()
        .map(|next| outcome(&layer, next, call(&caller)));
    assert!(
        futures_util::future::join_all(calls)
            .await
            .into_iter()
            .all(|status| status.unwrap() == 200)
    );
    assert_eq!(endpoint.count().await, 2, "one plain, one with the claims");
}

#[tokio::test]
async fn a_token_near_its_end_serves_while_the_authority_is_down() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on_first(1, "jwt-bearer", issued("T")).await;
    endpoint.on("jwt-bearer", ResponseTemplate::new(503)).await;
    let layer = layer(&world);
    let caller = world.principal(json!({"exp": NOW + 90_000}));
    let next = NextTier::new(&[(200, "")]);
    for (now, requests, served) in [
        (NOW, 1, true),
        // Not yet due, whatever the jitter.
        (NOW + 2700, 1, true),
        // In its last minute a request waits for a newer one, and gets the old one for want of it.
        (NOW + 3540, 2, true),
        (NOW + 3600, 3, false),
    ] {
        world.clock.set(now);
        assert_eq!(
            outcome(&layer, &next, call(&caller)).await.is_ok(),
            served,
            "{now}"
        );
        assert_eq!(endpoint.count().await, requests, "{now}");
    }
}

#[tokio::test]
async fn a_refusal_in_a_second_round_keeps_the_demand() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("for-c1")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let next = NextTier::new(&[(401, DEMANDS_C1), (401, ""), (200, "")]);
    assert_eq!(
        outcome(
            &layer(&world).replay(CloneBody),
            &next,
            call(&world.principal(json!({})))
        )
        .await
        .unwrap(),
        200
    );
    assert_eq!(
        next.bearers(),
        ["Bearer plain", "Bearer for-c1", "Bearer for-c1"]
    );
}

#[tokio::test]
async fn retry_after_of_the_authority_is_passed_on_and_bounded() {
    for (sent, expected) in [("7", 7), ("999999", 3600), ("soon", 1)] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint
            .on(
                "jwt-bearer",
                ResponseTemplate::new(429).insert_header("retry-after", sent),
            )
            .await;
        let next = NextTier::new(&[(200, "")]);
        let error = outcome(&layer(&world), &next, call(&world.principal(json!({}))))
            .await
            .unwrap_err();
        assert_eq!(
            error
                .downcast_ref::<OnBehalfOfError>()
                .unwrap()
                .retry_after(),
            Some(expected),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn a_failed_exchange_is_shared_and_not_remembered() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on_first(1, "jwt-bearer", ResponseTemplate::new(503))
        .await;
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    let caller = world.principal(json!({}));
    let next = NextTier::new(&[(200, "")]);
    let calls = (0..20).map(|_| outcome(&layer, &next, call(&caller)));
    let outcomes = futures_util::future::join_all(calls).await;
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| failed(outcome) == OnBehalfOfErrorKind::Unavailable)
    );
    assert_eq!(endpoint.count().await, 1);
    assert_eq!(outcome(&layer, &next, call(&caller)).await.unwrap(), 200);
}

#[tokio::test]
async fn a_401_that_calls_itself_grpc_is_still_a_401() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let service = layer(&world).wrap(service_fn(|_: Request<Body>| async {
        let odd = http::Response::builder()
            .status(401)
            .header("content-type", "application/grpc")
            .header("grpc-status", "13");
        Ok::<_, std::convert::Infallible>(
            odd.header("www-authenticate", "Bearer realm=\"evil\"")
                .body(Body::default())
                .unwrap(),
        )
    }));
    let error = service
        .oneshot(call(&world.principal(json!({}))))
        .await
        .unwrap_err();
    assert_eq!(
        error.downcast_ref::<OnBehalfOfError>().unwrap().kind(),
        OnBehalfOfErrorKind::TokenRefused
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_is_to_be_repeated_by_the_caller_and_then_passes() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("strong")).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let layer = layer(&world).replay(Never);
    let caller = world.principal(json!({}));
    let next = NextTier::new(&[(401, DEMANDS_C1), (200, "")]);
    let error = outcome(&layer, &next, call(&caller)).await.unwrap_err();
    let error = error.downcast_ref::<OnBehalfOfError>().unwrap();
    // The user has nothing to do: a challenge would send him to sign in for ever.
    assert_eq!(error.kind(), OnBehalfOfErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(1));
    assert_eq!(outcome(&layer, &next, call(&caller)).await.unwrap(), 200);
    assert_eq!(next.bearers(), ["Bearer plain", "Bearer strong"]);
}

#[tokio::test]
async fn what_the_authority_wants_of_the_user_goes_up_whether_the_body_can_be_sent_again_or_not() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", interaction_required(C1)).await;
    endpoint.on("jwt-bearer", issued("plain")).await;
    let next = NextTier::new(&[(401, DEMANDS_C1), (200, "")]);
    let outcome = outcome(
        &layer(&world).replay(Never),
        &next,
        call(&world.principal(json!({}))),
    )
    .await;
    assert_eq!(demanded(outcome), RefusalKind::InsufficientClaims);
    assert_eq!(next.bearers().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_then_a_bad_gateway() {
    for (answers, expected) in [
        (
            &[(401, "Bearer error=\"invalid_token\""), (200, "")][..],
            Some(200),
        ),
        (&[(401, "Bearer error=\"invalid_token\"")][..], None),
        (&[(401, "")][..], None),
    ] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", issued("T")).await;
        let next = NextTier::new(answers);
        let outcome = outcome(
            &layer(&world).replay(CloneBody),
            &next,
            call(&world.principal(json!({}))),
        )
        .await;
        match expected {
            Some(status) => assert_eq!(outcome.unwrap(), status),
            None => assert_eq!(failed(outcome), OnBehalfOfErrorKind::TokenRefused),
        }
        assert_eq!((next.bearers().len(), endpoint.count().await), (2, 2));
    }
}

#[tokio::test]
async fn a_403_loses_its_challenge_and_keeps_its_meaning() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let next = NextTier::new(&[(403, "Bearer error=\"insufficient_scope\", scope=\"a\"")]);
    let service = layer(&world).wrap(service_fn(move |request| next.answer(request)));
    let response = service
        .oneshot(call(&world.principal(json!({}))))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), challenge(&response)),
        (403, "")
    );
    let parsed = response.extensions().get::<DownstreamChallenges>().unwrap();
    assert_eq!(parsed.as_slice()[0].param("scope"), Some("a"));
}

#[tokio::test]
async fn guards_refuse_before_any_request() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let layer = layer(&world);
    let next = NextTier::new(&[(200, "")]);
    let alice = world.principal(json!({}));
    let to = |uri: &str| Request::get(uri).body(Body::default()).unwrap();
    let app = world.principal(json!({"idtyp": "app", "scp": null, "roles": ["read"]}));
    let foreign = World::at("http://127.0.0.1:10");
    for (request, expected) in [
        (
            to("https://next.example/"),
            OnBehalfOfErrorKind::NoAssertion,
        ),
        (
            to("https://next.example.evil/").on_behalf_of(&alice),
            OnBehalfOfErrorKind::Origin,
        ),
        (
            to("http://next.example/").on_behalf_of(&alice),
            OnBehalfOfErrorKind::Origin,
        ),
        (
            to("https://next.example:444/").on_behalf_of(&alice),
            OnBehalfOfErrorKind::Origin,
        ),
        (
            to("https://user@next.example/").on_behalf_of(&alice),
            OnBehalfOfErrorKind::Origin,
        ),
        (
            to("/relative").on_behalf_of(&alice),
            OnBehalfOfErrorKind::Origin,
        ),
        (call(&app), OnBehalfOfErrorKind::UserRequired),
        (
            call(&foreign.principal(json!({}))),
            OnBehalfOfErrorKind::Misconfigured,
        ),
    ] {
        let uri = request.uri().clone();
        assert_eq!(
            failed(outcome(&layer, &next, request).await),
            expected,
            "{uri}"
        );
    }
    assert_eq!(endpoint.count().await, 0);
    assert!(next.bearers().is_empty());
}

#[tokio::test]
async fn failures_of_the_authority_are_told_apart() {
    let table = [
        (
            "throttled",
            ResponseTemplate::new(429).insert_header("retry-after", "7"),
            OnBehalfOfErrorKind::Throttled,
        ),
        (
            "down",
            ResponseTemplate::new(503),
            OnBehalfOfErrorKind::Unavailable,
        ),
        (
            "page",
            ResponseTemplate::new(200).set_body_string("<html>"),
            OnBehalfOfErrorKind::MalformedAnswer,
        ),
        (
            "huge",
            ResponseTemplate::new(200).set_body_string("x".repeat(300_000)),
            OnBehalfOfErrorKind::MalformedAnswer,
        ),
        (
            "redirect",
            ResponseTemplate::new(302).insert_header("location", "https://evil"),
            OnBehalfOfErrorKind::MalformedAnswer,
        ),
        (
            "our secret",
            ResponseTemplate::new(401).set_body_json(json!({"error": "invalid_client"})),
            OnBehalfOfErrorKind::Misconfigured,
        ),
    ];
    for (name, answer, expected) in table {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("jwt-bearer", answer).await;
        let next = NextTier::new(&[(200, "")]);
        assert_eq!(
            failed(outcome(&layer(&world), &next, call(&world.principal(json!({})))).await),
            expected,
            "{name}"
        );
        assert!(next.bearers().is_empty(), "{name}: no token, no call");
    }
}

#[tokio::test]
async fn a_cached_token_does_not_outlive_the_assertion() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let layer = layer(&world);
    let caller = world.principal(json!({"exp": NOW + 30}));
    let next = NextTier::new(&[(200, "")]);
    for (now, requests) in [(NOW, 1), (NOW + 29, 1), (NOW + 30, 2)] {
        world.clock.set(now);
        outcome(&layer, &next, call(&caller)).await.unwrap();
        assert_eq!(endpoint.count().await, requests, "{now}");
    }
}

#[test]
fn empty_configuration_fails_at_build() {
    let world = World::new();
    let client = world
        .authority
        .client(CLIENT, Credential::secret("x").unwrap())
        .unwrap();
    let target = || Target::origin(NEXT).unwrap();
    assert!(client.on_behalf_of(["a"], target()).is_ok());
    assert!(client.on_behalf_of([], target()).is_err());
    assert!(client.on_behalf_of(["a b"], target()).is_err());
    assert!(
        world
            .authority
            .client("", Credential::secret("x").unwrap())
            .is_err()
    );
    assert!(Target::origin("next.example").is_err());
}
