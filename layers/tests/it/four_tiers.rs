//! A demand from any depth of four tiers reaches the client as a challenge of the first tier, and its answer opens all of them.

use std::convert::Infallible;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{
    Algorithm, Authority, AuthorityBuilder, CallError, ChallengeRequired, CloneBody, Credential,
    HttpClient, OnBehalfOf, OnBehalfOfExt, Principal, StepUpTable, Target,
};

use crate::compositions::serve;
use crate::support::*;

/// Name and client id of each tier, the one that the client calls first.
const TIERS: [(&str, &str); 4] = [
    ("a", "aaaaaaaa-0000-4000-8000-000000000000"),
    ("b", "bbbbbbbb-0000-4000-8000-000000000000"),
    ("c", "cccccccc-0000-4000-8000-000000000000"),
    ("d", "dddddddd-0000-4000-8000-000000000000"),
];
const D: usize = 3;
/// Of the tests that speak RFC 9470.
const ISSUER: &str = "https://as.example";

/// How the authority writes what it demands: not as anybody else would.
const AUTHORITYS_C1: &str =
    r#"{"access_token" : {"acrs":{"essential":true, "value":"c1"}},"id_token":{}}"#;
const AUTHORITYS_P1: &str = r#"{"access_token":{"capolids":{"essential":true,"values":[ "p1" ]}}}"#;
/// How an API that is none of ours writes it, and what of that may be relayed.
const FOREIGN_C1: &str =
    r#"{"id_token":{"x":null}, "access_token":{"acrs" : {"value":"c1","essential":true}}}"#;
const FOREIGN_C1_RELAYED: &str = r#"{"access_token":{"acrs" : {"value":"c1","essential":true}}}"#;

/// Where the demand comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// The token endpoint, when a token for this tier is asked for.
    Policy(usize),
    /// This tier's own check of an authentication context.
    Context(usize),
    /// The last tier, which uses no layer of ours, by a claims challenge.
    Foreign,
    /// The same by RFC 9470, which the third tier translates.
    ForeignStepUp,
}

#[derive(Clone, Copy, Debug)]
struct Script {
    origin: Origin,
    /// Does the authority name claims when it wants interaction?
    names_claims: bool,
}

/// What a tier asks for by itself.
type Check = fn(&Principal) -> Result<(), ChallengeRequired>;

type Next = (String, OnBehalfOf<HttpClient, CloneBody>);

/// The token endpoint: decides by what the sign-in behind the assertion satisfied (`record`), which every token of it carries on. An
/// authentication context stands in a token only if it was asked for.
async fn token_endpoint(
    script: Script,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let form = request.into_body().collect().await.unwrap().to_bytes();
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&form).into_owned().collect();
    let field = |name: &str| {
        let mut values = form.iter().filter(|(given, _)| given == name);
        values.next().unwrap().1.clone()
    };
    let assertion = field("assertion");
    let payload = BASE64_URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap());
    let mut token: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
    let scope = field("scope");
    let for_tier = |(name, _): &(&str, &str)| scope == format!("api://{name}/.default");
    let tier = TIERS.iter().position(for_tier).unwrap();
    assert_eq!(
        token["aud"],
        TIERS[tier - 1].1,
        "the assertion is the caller's own"
    );
    let claims: Value = serde_json::from_str(&field("claims")).unwrap();
    let demanded = &claims["access_token"];

    let policy = script.origin == Origin::Policy(tier) || demanded.get("capolids").is_some();
    let context = demanded.get("acrs").is_some();
    let satisfied = |what: &str| token["record"].as_array().unwrap().contains(&json!(what));
    let unmet = [
        ("p1", policy, AUTHORITYS_P1),
        ("c1", context, AUTHORITYS_C1),
    ]
    .into_iter()
    .find(|(name, demanded, _)| *demanded && !satisfied(name));
    if let Some((_, _, text)) = unmet {
        let mut refusal = json!({"error": "interaction_required", "suberror": "basic_action"});
        if script.names_claims {
            refusal["claims"] = json!(text);
        }
        let refusal = Response::builder()
            .status(400)
            .body(Body::from(refusal.to_string()));
        return Ok(refusal.unwrap());
    }
    token["aud"] = json!(TIERS[tier].1);
    token["xms_cc"] = demanded["xms_cc"]["values"].clone();
    token["acrs"] = if context { json!(["c1"]) } else { json!([]) };
    let token = sign(&json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}), &token);
    let answer = json!({"token_type": "Bearer", "access_token": token, "expires_in": 3600});
    Ok(Response::new(Body::from(answer.to_string())))
}

/// The token endpoint of an authority by RFC 8693: the sign-in behind the subject token, which an exchange never renews, stands in
/// each token as it did in the first.
async fn exchange(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let form = request.into_body().collect().await.unwrap().to_bytes();
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&form).into_owned().collect();
    assert!(field(&form, "grant_type").ends_with(":token-exchange"));
    let payload = field(&form, "subject_token").split('.').nth(1).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    let mut token: Value = serde_json::from_slice(&payload).unwrap();
    let scope = field(&form, "scope");
    let mut tiers = TIERS.iter();
    let tier = tiers.find(|(name, _)| scope == format!("api://{name}/.default"));
    token["aud"] = json!(tier.unwrap().1);
    let token = sign(&json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}), &token);
    let answer = json!({
        "token_type": "Bearer", "access_token": token, "expires_in": 3600,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    Ok(Response::new(Body::from(answer.to_string())))
}

/// Checks its own demand, then passes the message on, or says what arrived.
async fn handle(
    demands: Option<Check>,
    next: Option<Next>,
    request: Request<Incoming>,
) -> Result<Response<Body>, CallError> {
    let (head, body) = request.into_parts();
    let caller = head.extensions.get::<Principal>().unwrap();
    if let Some(demands) = demands {
        demands(caller)?;
    }
    let message = body.collect().await?.to_bytes();
    let Some((url, client)) = next else {
        return Ok(Response::new(Body::from([b"got ", &*message].concat())));
    };
    let onward = Request::post(url).body(Body::from(message))?;
    let answer = client.oneshot(onward.on_behalf_of(caller)).await?;
    let status = answer.status();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await?;
    let mut response = Response::new(Body::from(body.to_bytes()));
    *response.status_mut() = status;
    Ok(response)
}

/// What a tier's surroundings add to whatever it answers.
fn mark(name: &str, mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, format!("tier-{name}=1").parse().unwrap());
    headers.insert("x-tier", name.parse().unwrap());
    if !response.status().is_success() {
        *response.body_mut() = Body::from(format!("{name} says no"));
    }
    response
}

/// An API that takes any token with the context in it, and says what it wants in its own way.
async fn foreign(origin: Origin, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let bearer = request.headers()[AUTHORIZATION]
        .to_str()
        .unwrap()
        .to_owned();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(bearer.split('.').nth(1).unwrap());
    let token: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
    let message = request.into_body().collect().await.unwrap().to_bytes();
    let mut response = Response::new(Body::from([b"got ", &*message].concat()));
    if token["acrs"] != json!(["c1"]) && token["acr"] != "urn:mfa" {
        let (status, demand) = if origin == Origin::Foreign {
            let claims = BASE64_STANDARD.encode(FOREIGN_C1);
            (StatusCode::FORBIDDEN, format!("claims=\"{claims}\""))
        } else {
            let demand = "error=\"insufficient_user_authentication\", acr_values=\"urn:mfa\"";
            (StatusCode::UNAUTHORIZED, demand.to_owned())
        };
        *response.status_mut() = status;
        let challenge = format!(
            "Basic realm=\"evil\", Bearer realm=\"evil\", authorization_uri=\"https://evil\", client_id=\"evil\", {demand}"
        );
        let headers = response.headers_mut();
        headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
    }
    Ok(mark("d", response))
}

/// Four tiers of one authority, each on a socket of its own.
struct Chain {
    http: HttpClient,
    /// Claims of a token for the first tier, but for some changes.
    claims: Box<dyn Fn(Value) -> Value>,
    authority: String,
    first: String,
}

impl Chain {
    async fn start(http: &HttpClient, script: Script) -> Self {
        let endpoint = service_fn(move |request| token_endpoint(script, request));
        let authority = format!("http://{}", serve(endpoint).await);
        let world = World::at(&authority);
        let demands = |caller: &Principal| caller.require_auth_context("c1");
        Self {
            http: http.clone(),
            first: tiers(http, &world.authority, script.origin, demands).await,
            claims: Box::new(move |changes| world.claims(changes)),
            authority,
        }
    }

    /// Of an authority that is named by its issuer: RFC 8693 between the tiers, RFC 9470 back.
    async fn start_openid(http: &HttpClient, origin: Origin) -> Self {
        let token_endpoint = format!("http://{}/token", serve(service_fn(exchange)).await);
        let authority = AuthorityBuilder::issuer(ISSUER, [Algorithm::Rs256])
            .token_endpoint(&token_endpoint)
            .dangerous_loopback_http()
            .clock(ManualClock::new(NOW))
            .key_source(Published)
            .build()
            .unwrap();
        let demands = |caller: &Principal| caller.require_authentication(&["urn:mfa"], Some(300));
        Self {
            http: http.clone(),
            first: tiers(http, &authority, origin, demands).await,
            claims: Box::new(|changes| {
                let mut claims = json!({
                    "iss": ISSUER, "sub": "alice", "client_id": "spa", "scope": "read", "exp": NOW + 3600, "iat": NOW,
                });
                for (name, value) in changes.as_object().unwrap() {
                    claims[name] = value.clone();
                }
                claims
            }),
            authority: ISSUER.to_owned(),
        }
    }

    /// The client's call: status, challenge and body, once it is certain that everything else is the first tier's own.
    async fn call(&self, changes: Value) -> (u16, String, String) {
        let mut claims = (self.claims)(changes);
        claims["aud"] = json!(TIERS[0].1);
        let token = sign(&json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}), &claims);
        let request = Request::post(&self.first)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from("order"));
        let response = self.http.clone().oneshot(request.unwrap()).await.unwrap();
        let headers = response.headers();
        for (name, value) in headers {
            let own = match name.as_str() {
                "set-cookie" => value == "tier-a=1",
                "x-tier" => value == "a",
                "access-control-expose-headers" => value == "WWW-Authenticate",
                name => matches!(name, "www-authenticate" | "content-length" | "date"),
            };
            assert!(own, "{name}: {value:?}");
        }
        assert!(headers.get_all(WWW_AUTHENTICATE).iter().count() <= 1);
        let seen = (response.status().as_u16(), challenge(&response).to_owned());
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        let body = String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap();
        (seen.0, seen.1, body)
    }

    /// What the client must see if these claims are demanded.
    fn challenge_of_the_first_tier(&self, claims: &str) -> (u16, String, String) {
        let text = format!(
            "Bearer realm=\"{TENANT}\", authorization_uri=\"{}/{TENANT}/oauth2/v2.0/authorize\", client_id=\"{}\", \
             error=\"insufficient_claims\", claims=\"{}\"",
            self.authority,
            TIERS[0].1,
            BASE64_STANDARD.encode(claims)
        );
        (401, text, "a says no".to_owned())
    }
}

/// The tiers of any authority that gives tokens on behalf of a caller, whatever its dialect; `demands` is what one of them asks for by
/// itself. The URL of the first.
async fn tiers(http: &HttpClient, authority: &Authority, origin: Origin, demands: Check) -> String {
    let mut next: Option<Next> = None;
    let mut url = String::new();
    for (index, (name, id)) in TIERS.into_iter().enumerate().rev() {
        let is_foreign = matches!(origin, Origin::Foreign | Origin::ForeignStepUp);
        let address = if index == D && is_foreign {
            serve(service_fn(move |request| foreign(origin, request))).await
        } else {
            let resource = authority.resource(id).unwrap();
            let demands = (origin == Origin::Context(index)).then_some(demands);
            let next = next.take();
            let service = ServiceBuilder::new()
                .map_response(move |response| mark(name, response))
                .layer(resource.protect())
                .service(service_fn(move |request| {
                    let answer = handle(demands, next.clone(), request);
                    async move {
                        let answer = answer.await.unwrap_or_else(CallError::into_response);
                        Ok::<_, Infallible>(answer)
                    }
                }));
            serve(service).await
        };
        url = format!("http://{address}");
        let caller = index.checked_sub(1);
        next = caller.map(|caller| call(http, authority, TIERS[caller].1, name, &url));
    }
    url
}

/// How a tier calls the next one.
fn call(http: &HttpClient, authority: &Authority, me: &str, next: &str, url: &str) -> Next {
    let credential = Credential::secret("hush").unwrap();
    let client = authority.client(me, credential).unwrap();
    let scope = format!("api://{next}/.default");
    let layer = client
        .on_behalf_of([scope.as_str()], Target::origin(url).unwrap())
        .unwrap()
        .translate(StepUpTable::new([("urn:mfa", "c1")]).unwrap())
        .replay(CloneBody);
    (url.to_owned(), layer.wrap(http.clone()))
}

fn http() -> HttpClient {
    HttpClient::new(reqwest::Client::builder().no_proxy()).unwrap()
}

fn forbidden() -> (u16, String, String) {
    (403, String::new(), "a says no".to_owned())
}

/// A sign-in that satisfied nothing, with a client that can answer challenges or not.
fn weak(capable: bool) -> Value {
    let capabilities = if capable { json!(["cp1"]) } else { Value::Null };
    json!({"record": [], "xms_cc": capabilities})
}

/// What the same client has once the person answered.
fn strong(capable: bool) -> Value {
    let mut token = weak(capable);
    token["record"] = json!(["p1", "c1"]);
    token["acrs"] = json!(["c1"]);
    token
}

async fn assert_answered(chain: &Chain, script: Script, capable: bool) {
    assert_eq!(
        chain.call(strong(capable)).await,
        (200, String::new(), "got order".to_owned()),
        "{script:?}, cp1: {capable}"
    );
}

#[tokio::test]
async fn claims_of_the_token_endpoint_at_each_hop_reach_every_client() {
    let http = http();
    for hop in 1..=D {
        for capable in [true, false] {
            let script = Script {
                origin: Origin::Policy(hop),
                names_claims: true,
            };
            let chain = Chain::start(&http, script).await;
            assert_eq!(
                chain.call(weak(capable)).await,
                chain.challenge_of_the_first_tier(AUTHORITYS_P1),
                "{script:?}, cp1: {capable}"
            );
            assert_answered(&chain, script, capable).await;
        }
    }
}

#[tokio::test]
async fn a_context_demanded_at_each_depth_reaches_the_client() {
    let http = http();
    for depth in 0..=D {
        for names_claims in [true, false] {
            for capable in [true, false] {
                let script = Script {
                    origin: Origin::Context(depth),
                    names_claims,
                };
                let chain = Chain::start(&http, script).await;
                let expected = match (depth, names_claims) {
                    // The authority's claims are an OAuth error, which every client must be able to handle.
                    (1.., true) => chain.challenge_of_the_first_tier(AUTHORITYS_C1),
                    _ if capable => chain.challenge_of_the_first_tier(C1),
                    _ => forbidden(),
                };
                let seen = chain.call(weak(capable)).await;
                assert_eq!(seen, expected, "{script:?}, cp1: {capable}");
                assert_answered(&chain, script, capable).await;
            }
        }
    }
}

#[tokio::test]
async fn the_demand_of_an_api_that_is_none_of_ours_reaches_the_client_as_a_fresh_one() {
    let http = http();
    for (names_claims, capable) in [(true, true), (true, false), (false, true), (false, false)] {
        let script = Script {
            origin: Origin::Foreign,
            names_claims,
        };
        let chain = Chain::start(&http, script).await;
        let expected = match (names_claims, capable) {
            (true, _) => chain.challenge_of_the_first_tier(AUTHORITYS_C1),
            (false, true) => chain.challenge_of_the_first_tier(FOREIGN_C1_RELAYED),
            (false, false) => forbidden(),
        };
        let seen = chain.call(weak(capable)).await;
        assert_eq!(seen, expected, "{script:?}, cp1: {capable}");
        assert_answered(&chain, script, capable).await;
    }
}

#[tokio::test]
async fn a_demand_of_rfc_9470_reaches_the_client_in_its_own_dialect() {
    let http = http();
    for (names_claims, capable) in [(true, true), (true, false), (false, true), (false, false)] {
        let script = Script {
            origin: Origin::ForeignStepUp,
            names_claims,
        };
        let chain = Chain::start(&http, script).await;
        let expected = match (names_claims, capable) {
            (true, _) => chain.challenge_of_the_first_tier(AUTHORITYS_C1),
            (false, true) => chain.challenge_of_the_first_tier(C1),
            (false, false) => forbidden(),
        };
        let seen = chain.call(weak(capable)).await;
        assert_eq!(seen, expected, "{script:?}, cp1: {capable}");
        assert_answered(&chain, script, capable).await;
    }
}

/// A sign-in with a password some time ago, and one with a second factor just now; neither client speaks claims.
fn signed_in(strongly: bool) -> Value {
    let (acr, ago) = if strongly {
        ("urn:mfa", 10)
    } else {
        ("urn:pwd", 1000)
    };
    json!({"acr": acr, "auth_time": NOW - ago})
}

async fn assert_relayed_by_rfc_9470(origin: Origin, demand: &str) {
    let chain = Chain::start_openid(&http(), origin).await;
    let realm = TIERS[0].1;
    let text =
        format!("Bearer realm=\"{realm}\", error=\"insufficient_user_authentication\", {demand}");
    let expected = (401, text, "a says no".to_owned());
    let seen = chain.call(signed_in(false)).await;
    assert_eq!(seen, expected, "{origin:?} of {}", chain.authority);
    let answered = (200, String::new(), "got order".to_owned());
    assert_eq!(chain.call(signed_in(true)).await, answered, "{origin:?}");
}

#[tokio::test]
async fn a_step_up_demanded_at_each_depth_reaches_the_client_by_rfc_9470() {
    for depth in 0..=D {
        let demand = "acr_values=\"urn:mfa\", max_age=\"300\"";
        assert_relayed_by_rfc_9470(Origin::Context(depth), demand).await;
    }
}

#[tokio::test]
async fn a_foreign_demand_of_either_dialect_reaches_a_client_of_rfc_9470() {
    for origin in [Origin::ForeignStepUp, Origin::Foreign] {
        assert_relayed_by_rfc_9470(origin, "acr_values=\"urn:mfa\"").await;
    }
}
