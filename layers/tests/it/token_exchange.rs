//! Tokens of authorities that are named by their issuer (RFC 8693), and of this client itself (client credentials).

use http::Request;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{
    Algorithm, Authority, AuthorityBuilder, BoxError, CloneBody, ConfidentialClient, ConfigError,
    Credential, OnBehalfOfError, OnBehalfOfErrorKind, OnBehalfOfExt as _, OnBehalfOfLayer,
    Principal, StepUpTable, Target,
};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::*;

const NEXT: &str = "https://next.example";

struct Exchanger {
    server: MockServer,
    authority: Authority,
}

impl Exchanger {
    async fn start(answer: ResponseTemplate) -> Self {
        let server = MockServer::start().await;
        let mock = Mock::given(method("POST")).and(path("/token"));
        mock.respond_with(answer).mount(&server).await;
        let authority = AuthorityBuilder::issuer("https://as.example", [Algorithm::Rs256])
            .token_endpoint(&format!("{}/token", server.uri()))
            .dangerous_loopback_http()
            .clock(ManualClock::new(NOW))
            .key_source(Published)
            .build()
            .unwrap();
        Self { server, authority }
    }

    fn client(&self) -> ConfidentialClient {
        let credential = Credential::secret("hush").unwrap();
        self.authority.client("orders-front", credential).unwrap()
    }

    fn caller(&self) -> Principal {
        let claims = json!({
            "iss": "https://as.example", "aud": "https://front.example", "sub": "alice", "client_id": "spa",
            "scope": "read", "exp": NOW + 3600, "iat": NOW, "jti": "1",
        });
        let token = sign(
            &json!({"alg": "RS256", "typ": "at+jwt", "kid": "k1"}),
            &claims,
        );
        principal_of(
            &self.authority.resource("https://front.example").unwrap(),
            &token,
        )
    }

    async fn form(&self) -> Vec<(String, String)> {
        let requests = self.server.received_requests().await.unwrap();
        assert_eq!(requests.len(), 1);
        url::form_urlencoded::parse(&requests[0].body)
            .into_owned()
            .collect()
    }
}

fn target() -> Target {
    Target::origin(NEXT).unwrap()
}

fn answer(token: &str) -> Value {
    json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 3600,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    })
}

fn token_of(subject: &str) -> String {
    let claims = json!({"iss": "https://as.example", "sub": subject});
    sign(&json!({"alg": "RS256", "kid": "k1"}), &claims)
}

async fn call(layer: &OnBehalfOfLayer, request: Request<Body>) -> Result<String, BoxError> {
    let next = NextTier::new(&[(200, "")]);
    let tier = next.clone();
    let service = layer.wrap(service_fn(move |request| tier.answer(request)));
    service.oneshot(request).await?;
    assert!(next.extensions_are_clean());
    Ok(next.bearers().remove(0))
}

fn request() -> Request<Body> {
    let request = Request::get(format!("{NEXT}/x")).header(AUTHORIZATION, "Basic own");
    request.body(Body::default()).unwrap()
}

fn kind(outcome: Result<String, BoxError>) -> OnBehalfOfErrorKind {
    let error = outcome.unwrap_err();
    error.downcast_ref::<OnBehalfOfError>().unwrap().kind()
}

#[tokio::test]
async fn the_callers_token_is_exchanged_by_rfc_8693() {
    let token = token_of("alice");
    let exchanger =
        Exchanger::start(ResponseTemplate::new(200).set_body_json(answer(&token))).await;
    let layer = exchanger.client().on_behalf_of(["write", "read"], target());
    let layer = layer.unwrap().audience("orders").unwrap();
    let layer = layer.resource("https://orders.example").unwrap();
    let caller = exchanger.caller();
    let bearer = call(&layer, request().on_behalf_of(&caller)).await.unwrap();
    assert_eq!(bearer, format!("Bearer {token}"));
    let form = exchanger.form().await;
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    for (name, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token_type", access_token),
        ("requested_token_type", access_token),
        ("scope", "read write"),
        ("audience", "orders"),
        ("resource", "https://orders.example"),
        ("client_id", "orders-front"),
        ("client_secret", "hush"),
    ] {
        assert_eq!(field(&form, name), value);
    }
    assert!(
        form.iter()
            .all(|(name, _)| name != "claims" && name != "assertion")
    );
}

#[tokio::test]
async fn a_token_for_somebody_else_is_taken_only_where_subjects_are_pairwise() {
    for (subject, pairwise, taken) in [
        ("alice", false, true),
        ("bob", false, false),
        ("bob", true, true),
    ] {
        let answer = ResponseTemplate::new(200).set_body_json(answer(&token_of(subject)));
        let exchanger = Exchanger::start(answer).await;
        let mut client = exchanger.client();
        if pairwise {
            client = client.pairwise_subjects();
        }
        let layer = client.on_behalf_of(["read"], target()).unwrap();
        let outcome = call(&layer, request().on_behalf_of(&exchanger.caller())).await;
        assert_eq!(outcome.is_ok(), taken, "{subject} {pairwise}");
        if !taken {
            assert_eq!(kind(outcome), OnBehalfOfErrorKind::MalformedAnswer);
        }
    }
}

#[tokio::test]
async fn an_issued_token_of_another_type_is_refused() {
    let mut saml = answer("opaque");
    saml["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:saml2");
    let exchanger = Exchanger::start(ResponseTemplate::new(200).set_body_json(saml)).await;
    let layer = exchanger.client().on_behalf_of(["read"], target()).unwrap();
    let outcome = call(&layer, request().on_behalf_of(&exchanger.caller())).await;
    assert_eq!(kind(outcome), OnBehalfOfErrorKind::MalformedAnswer);
}

#[test]
fn what_belongs_to_another_kind_of_authority_is_refused_at_build() {
    let credential = || Credential::secret("x").unwrap();
    let issuer = Authority::issuer("https://as.example", [Algorithm::Rs256]).unwrap();
    assert_eq!(
        issuer.client("me", credential()).err(),
        Some(ConfigError::TokenEndpoint)
    );
    let entra = AuthorityBuilder::entra(TENANT).token_endpoint("https://as.example/token");
    assert_eq!(entra.build().err(), Some(ConfigError::TokenEndpoint));
    let plain = AuthorityBuilder::issuer("https://as.example", [Algorithm::Rs256]);
    let plain = plain.token_endpoint("http://as.example/token");
    assert_eq!(plain.build().err(), Some(ConfigError::Insecure));
    let client = World::new().authority.client(CLIENT, credential()).unwrap();
    let layer = || client.on_behalf_of(["a"], target()).unwrap();
    assert_eq!(
        layer().audience("a").err(),
        Some(ConfigError::AudienceOrResource)
    );
    assert_eq!(
        layer().resource("https://a").err(),
        Some(ConfigError::AudienceOrResource)
    );
}

#[tokio::test]
async fn an_application_calls_with_a_token_of_its_own() {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    endpoint.on("client_credentials", issued("ours")).await;
    let client = world
        .authority
        .client(CLIENT, Credential::secret("hush").unwrap())
        .unwrap();
    let layer = client.app_only(["api://next/.default"], target()).unwrap();
    // A gateway's request still holds the caller whose token was validated; it is not his right that is used.
    let mut gateways = request();
    gateways.extensions_mut().insert(world.principal(json!({})));
    for request in [request(), gateways, request()] {
        assert_eq!(call(&layer, request).await.unwrap(), "Bearer ours");
    }
    let forms = endpoint.forms().await;
    assert_eq!(forms.len(), 1, "one token for all calls");
    assert_eq!(field(&forms[0], "scope"), "api://next/.default");
    assert!(forms[0].iter().all(|(name, _)| name != "assertion"));
    let named = request().on_behalf_of(&world.principal(json!({})));
    assert_eq!(
        kind(call(&layer, named).await),
        OnBehalfOfErrorKind::Misconfigured
    );
}

#[test]
fn an_application_names_its_tenant_where_there_are_several() {
    let other = "99999999-2222-3333-4444-555555555555";
    let authority = AuthorityBuilder::entra_tenants([TENANT, other]).build();
    let client = authority
        .unwrap()
        .client(CLIENT, Credential::secret("x").unwrap())
        .unwrap();
    assert_eq!(
        client.app_only(["a"], target()).err(),
        Some(ConfigError::Tenant)
    );
    for (tenant, trusted) in [
        (other, true),
        ("88888888-2222-3333-4444-555555555555", false),
        ("common", false),
    ] {
        let layer = client.app_only_in(tenant, ["a"], target());
        assert_eq!(layer.is_ok(), trusted, "{tenant}");
    }
}

#[tokio::test]
async fn what_is_demanded_of_an_application_is_no_users_business() {
    let demands_mfa = "Bearer error=\"insufficient_user_authentication\", acr_values=\"urn:mfa\"";
    let demands_c1: &'static str = format!("Bearer claims=\"{C1_BASE64}\"").leak();
    // What the authority answers at first and to a demand, what the next tier demands, and what the caller gets.
    for (first, then, demands, expected) in [
        (
            interaction_required(C1),
            issued("T"),
            "",
            OnBehalfOfErrorKind::Misconfigured,
        ),
        (
            issued("T"),
            interaction_required(C1),
            demands_c1,
            OnBehalfOfErrorKind::Blocked,
        ),
        (
            issued("T"),
            issued("T2"),
            demands_c1,
            OnBehalfOfErrorKind::Blocked,
        ),
        (
            issued("T"),
            issued("T2"),
            demands_mfa,
            OnBehalfOfErrorKind::Blocked,
        ),
    ] {
        let endpoint = TokenEndpoint::start().await;
        let world = endpoint.world();
        endpoint.on("acrs", then).await;
        endpoint.on("client_credentials", first).await;
        let client = world
            .authority
            .client(CLIENT, Credential::secret("hush").unwrap())
            .unwrap();
        let table = StepUpTable::new([("urn:other", "c2")]).unwrap();
        let layer = client.app_only(["api://next/.default"], target()).unwrap();
        let layer = layer.translate(table).replay(CloneBody);
        let next = NextTier::new(&[(401, demands)]);
        let service = layer.wrap(service_fn(move |request| next.answer(request)));
        let error = service.oneshot(request()).await.unwrap_err();
        let error = error.downcast_ref::<OnBehalfOfError>().expect("our error");
        assert_eq!(error.kind(), expected);
    }
}
