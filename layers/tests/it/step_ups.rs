//! A next tier that speaks RFC 9470 to a client that understands Entra's claims.

use http::Request;
use serde_json::json;
use tower::{ServiceExt, service_fn};
use tower_bearer::{
    BoxError, ChallengeRequired, CloneBody, ConfigError, Credential, OnBehalfOfError,
    OnBehalfOfErrorKind, OnBehalfOfExt, OnBehalfOfLayer, StepUpTable, Target,
};
use wiremock::ResponseTemplate;

use crate::support::*;

const NEXT: &str = "https://next.example";
const WANTS_MFA: &str = "Bearer realm=\"evil\", authorization_uri=\"https://evil\", \
     error=\"insufficient_user_authentication\", acr_values=\"urn:other urn:mfa\"";
const WANTS_MFA_NOW: &str =
    "Bearer error=\"insufficient_user_authentication\", acr_values=\"urn:mfa\", max_age=\"0\"";

fn layer(world: &World) -> OnBehalfOfLayer<CloneBody> {
    let client = world
        .authority
        .client(CLIENT, Credential::secret("hush").unwrap())
        .unwrap();
    let layer = client.on_behalf_of(["a"], Target::origin(NEXT).unwrap());
    layer.unwrap().replay(CloneBody)
}

fn translated(world: &World) -> OnBehalfOfLayer<CloneBody> {
    layer(world).translate(StepUpTable::new([("urn:mfa", "c1")]).unwrap())
}

/// One call of a client that can answer claims, or of another: its status, or what went wrong.
async fn call(
    world: &World,
    layer: &OnBehalfOfLayer<CloneBody>,
    next: &NextTier,
    capable: bool,
) -> Result<u16, BoxError> {
    let capabilities = if capable { json!(["cp1"]) } else { json!(null) };
    let caller = world.principal(json!({"xms_cc": capabilities}));
    let next = next.clone();
    let service = layer.wrap(service_fn(move |request| next.answer(request)));
    let request = Request::post(NEXT).body(Body::from("order")).unwrap();
    let answer = service.oneshot(request.on_behalf_of(&caller)).await?;
    Ok(answer.status().as_u16())
}

fn blocked(outcome: Result<u16, BoxError>) -> bool {
    let error = outcome.unwrap_err();
    let error = error.downcast_ref::<OnBehalfOfError>();
    error.is_some_and(|error| error.kind() == OnBehalfOfErrorKind::Blocked)
}

#[tokio::test]
async fn what_no_table_translates_is_a_403_and_asks_nobody() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let other = StepUpTable::new([("urn:another", "c1")]).unwrap();
    for (layer, challenge) in [
        (layer(&world), WANTS_MFA),
        (layer(&world).translate(other), WANTS_MFA),
        // A context says nothing of an age.
        (translated(&world), WANTS_MFA_NOW),
    ] {
        let before = endpoint.count().await;
        let next = NextTier::new(&[(401, challenge), (200, "")]);
        assert!(blocked(call(&world, &layer, &next, true).await));
        assert_eq!(next.bearers().len(), 1, "nothing is sent again");
        assert_eq!(endpoint.count().await - before, 1, "one plain token");
    }
}

#[tokio::test]
async fn what_the_table_translates_is_asked_of_the_authority() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("acrs", issued("strong")).await;
    endpoint.on("jwt-bearer", issued("weak")).await;
    let next = NextTier::new(&[(401, WANTS_MFA), (200, "")]);
    let outcome = call(&world, &translated(&world), &next, true).await;
    assert_eq!(outcome.unwrap(), 200);
    assert_eq!(next.bearers(), ["Bearer weak", "Bearer strong"]);
    let claims = &endpoint.forms().await[1];
    let (_, claims) = claims.iter().find(|(name, _)| name == "claims").unwrap();
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
    assert_eq!(claims["access_token"]["acrs"]["value"], "c1");
}

#[tokio::test]
async fn what_the_authority_does_not_give_goes_up_to_those_who_can_answer() {
    for capable in [true, false] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        let silent = json!({"error": "interaction_required"});
        let silent = ResponseTemplate::new(400).set_body_json(silent);
        endpoint.on("acrs", silent).await;
        endpoint.on("jwt-bearer", issued("weak")).await;
        let next = NextTier::new(&[(401, WANTS_MFA)]);
        let outcome = call(&world, &translated(&world), &next, capable).await;
        if capable {
            let error = outcome.unwrap_err();
            let demand = ChallengeRequired::find(error.as_ref()).unwrap();
            assert_eq!(demand.claims().unwrap().as_str(), C1);
        } else {
            assert!(blocked(outcome));
        }
        assert_eq!(next.bearers().len(), 1);
    }
}

#[tokio::test]
async fn a_tier_that_is_not_content_with_the_context_is_asked_once() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued("T")).await;
    let next = NextTier::new(&[(401, WANTS_MFA)]);
    let error = call(&world, &translated(&world), &next, true)
        .await
        .unwrap_err();
    let demand = ChallengeRequired::find(error.as_ref()).unwrap();
    assert_eq!(demand.claims().unwrap().as_str(), C1);
    assert_eq!(next.bearers().len(), 2);
}

#[test]
fn an_empty_table_fails_at_build() {
    assert_eq!(StepUpTable::new([]).err(), Some(ConfigError::StepUpTable));
    assert!(StepUpTable::new([("urn:mfa", "c1")]).is_ok());
}
