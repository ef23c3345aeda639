//! Work that goes on after the user's own token has run out.

use http::Request;
use serde_json::json;
use tower::{ServiceExt as _, service_fn};
use tower_bearer::{
    BoxError, ChallengeRequired, ConfidentialClient, Credential, LongRunning, OnBehalfOfError,
    OnBehalfOfErrorKind, OnBehalfOfExt as _, RefusalKind, Target,
};
use wiremock::ResponseTemplate;

use crate::support::*;

const NEXT: &str = "https://next.example";
const SCOPE: &str = "api://next/.default";

fn client(world: &World) -> ConfidentialClient {
    let credential = Credential::secret("hush").unwrap();
    world.authority.client(CLIENT, credential).unwrap()
}

fn issued_with(token: &str, refresh_token: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "token_type": "Bearer", "access_token": token, "expires_in": 3600, "refresh_token": refresh_token,
    }))
}

async fn call(
    client: &ConfidentialClient,
    scope: &str,
    session: &LongRunning,
) -> Result<String, BoxError> {
    let next = NextTier::new(&[(200, "")]);
    let tier = next.clone();
    let layer = client.on_behalf_of([scope], Target::origin(NEXT)?)?;
    let service = layer.wrap(service_fn(move |request| tier.answer(request)));
    let request = Request::get(format!("{NEXT}/x")).body(Body::default())?;
    service.oneshot(request.in_long_running(session)).await?;
    assert!(next.extensions_are_clean());
    Ok(next.bearers().remove(0).replace("Bearer ", ""))
}

fn kind(error: &BoxError) -> OnBehalfOfErrorKind {
    error.downcast_ref::<OnBehalfOfError>().unwrap().kind()
}

#[tokio::test]
async fn a_session_outlives_the_users_token_and_rotates_its_own() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("offline_access", issued_with("first", "R1"))
        .await;
    let client = client(&world);
    let caller = world.principal(json!({"exp": NOW + 60}));
    let session = client.begin_long_running(&caller, [SCOPE]).await.unwrap();
    assert_eq!(call(&client, SCOPE, &session).await.unwrap(), "first");
    let begun = endpoint.forms().await;
    assert_eq!(begun.len(), 1);
    assert_eq!(field(&begun[0], "scope"), format!("{SCOPE} offline_access"));

    endpoint.server.reset().await;
    endpoint
        .on("refresh_token=R1", issued_with("second", "R2"))
        .await;
    endpoint
        .on("refresh_token=R2", issued_with("third", "R3"))
        .await;
    world.clock.set(NOW + 7200);
    assert_eq!(call(&client, SCOPE, &session).await.unwrap(), "second");
    assert_eq!(call(&client, SCOPE, &session).await.unwrap(), "second");
    world.clock.set(NOW + 14_400);
    assert_eq!(call(&client, SCOPE, &session).await.unwrap(), "third");
    let forms = endpoint.forms().await;
    assert_eq!(forms.len(), 2);
    assert_eq!(field(&forms[0], "grant_type"), "refresh_token");
}

#[tokio::test]
async fn scopes_that_are_wanted_at_once_use_each_refresh_token_once() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("assertion", issued_with("first", "R0")).await;
    for n in 0..4 {
        let (token, next) = (format!("T{n}"), format!("R{}", n + 1));
        endpoint
            .on_first(
                1,
                &format!("refresh_token=R{n}"),
                issued_with(&token, &next),
            )
            .await;
    }
    let client = client(&world);
    let session = client
        .begin_long_running(&world.principal(json!({})), [SCOPE])
        .await
        .unwrap();
    let scopes = ["api://a/x", "api://b/x", "api://c/x", "api://d/x"];
    let calls = scopes.map(|scope| call(&client, scope, &session));
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(endpoint.count().await, 5);
}

#[tokio::test]
async fn plain_on_behalf_of_asks_for_no_refresh_token() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("jwt-bearer", issued_with("T", "R")).await;
    let layer = client(&world)
        .on_behalf_of([SCOPE], Target::origin(NEXT).unwrap())
        .unwrap();
    let next = NextTier::new(&[(200, "")]);
    let service = layer.wrap(service_fn(move |request| next.answer(request)));
    let request = Request::get(format!("{NEXT}/x"));
    let request = request.body(Body::default()).unwrap();
    let request = request.on_behalf_of(&world.principal(json!({})));
    service.oneshot(request).await.unwrap();
    assert_eq!(field(&endpoint.forms().await[0], "scope"), SCOPE);
}

#[tokio::test]
async fn a_session_that_is_over_wants_the_user() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("offline_access&", issued_with("first", "R1"))
        .await;
    let client = client(&world);
    let session = client
        .begin_long_running(&world.principal(json!({})), [SCOPE])
        .await
        .unwrap();
    // Entra, and any authority by RFC 6749 5.2.
    for revoked in [
        json!({"error": "invalid_grant", "suberror": "bad_token"}),
        json!({"error": "invalid_grant"}),
    ] {
        endpoint.server.reset().await;
        let revoked = ResponseTemplate::new(400).set_body_json(revoked);
        endpoint.on("refresh_token", revoked).await;
        world.clock.set(NOW + 7200);
        let error = call(&client, SCOPE, &session).await.unwrap_err();
        let demand = ChallengeRequired::find(error.as_ref()).expect("a demand");
        assert_eq!(demand.kind(), RefusalKind::InvalidToken);
    }
}

#[tokio::test]
async fn a_session_that_was_ended_is_used_no_more_by_any_clone_of_it() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("offline_access&", issued_with("first", "R1"))
        .await;
    let client = client(&world);
    let session = client
        .begin_long_running(&world.principal(json!({})), [SCOPE])
        .await
        .unwrap();
    let clone = session.clone();
    assert_eq!(call(&client, SCOPE, &clone).await.unwrap(), "first");
    client.end_long_running(&session).await.unwrap();
    assert!(call(&client, SCOPE, &clone).await.is_err());
    assert_eq!(endpoint.count().await, 1);
    let error = client.resume_long_running(clone.id()).await.unwrap_err();
    assert_eq!(error.kind(), OnBehalfOfErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_session_is_of_the_client_and_of_the_user_that_began_it() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint
        .on("offline_access&", issued_with("first", "R1"))
        .await;
    let begun_with = client(&world);
    let session = begun_with
        .begin_long_running(&world.principal(json!({})), [SCOPE])
        .await
        .unwrap();
    let error = call(&client(&world), SCOPE, &session).await.unwrap_err();
    assert_eq!(kind(&error), OnBehalfOfErrorKind::Misconfigured);

    endpoint.server.reset().await;
    let bobs = sign(
        &json!({"alg": "RS256"}),
        &json!({"oid": "bob", "tid": TENANT}),
    );
    endpoint.on("refresh_token", issued_with(&bobs, "R2")).await;
    world.clock.set(NOW + 7200);
    let error = call(&begun_with, SCOPE, &session).await.unwrap_err();
    assert_eq!(kind(&error), OnBehalfOfErrorKind::MalformedAnswer);
}

#[tokio::test]
async fn without_a_refresh_token_or_a_user_there_is_no_session() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("offline_access", issued("first")).await;
    let client = client(&world);
    let user = world.principal(json!({}));
    let error = client.begin_long_running(&user, [SCOPE]).await.unwrap_err();
    assert_eq!(kind(&error), OnBehalfOfErrorKind::Misconfigured);
    let app = world.principal(json!({"scp": null, "roles": ["R"], "idtyp": "app"}));
    let error = client.begin_long_running(&app, [SCOPE]).await.unwrap_err();
    assert_eq!(kind(&error), OnBehalfOfErrorKind::UserRequired);
    assert_eq!(endpoint.count().await, 1);
}
