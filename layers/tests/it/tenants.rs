//! Metadata and keys of several tenants, of both versions of tokens, and of Entra External ID, over HTTP.

use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{
    Algorithm, AuthorityBuilder, CloneBody, Credential, OnBehalfOfExt, Principal, Target,
};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{Body, CLIENT, NOW, TENANT, hello, issued, jwks, request, sign};

const OTHER: &str = "33333333-2222-3333-4444-555555555555";
const FOREIGN: &str = "44444444-2222-3333-4444-555555555555";

async fn serve(server: &MockServer, at: &str, body: Value) {
    Mock::given(method("GET"))
        .and(path(at.to_owned()))
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .expect(1)
        .mount(server)
        .await;
}

/// Metadata under `base`, which lead to the key under `base` too; `of_key` is added to it.
async fn publish(server: &MockServer, base: &str, issuer: &str, of_key: Value) {
    let keys_at = format!("{base}/keys");
    let mut metadata = json!({"issuer": issuer, "jwks_uri": format!("{}{keys_at}", server.uri())});
    let mut keys: Value = serde_json::from_str(&jwks()).unwrap();
    for (name, value) in of_key.as_object().unwrap() {
        keys["keys"][0][name] = value.clone();
    }
    metadata["cloud_instance_name"] = json!("microsoftonline.com");
    serve(
        server,
        &format!("{base}/.well-known/openid-configuration"),
        metadata,
    )
    .await;
    serve(server, &keys_at, keys).await;
}

fn token(issuer: &str, tenant: &str, changes: Value) -> String {
    let mut claims = json!({
        "iss": issuer, "aud": CLIENT, "tid": tenant, "exp": NOW + 3600, "oid": "alice", "sub": "s", "scp": "read", "azp": "spa",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    sign(&json!({"alg": "RS256", "kid": "k1"}), &claims)
}

fn local(builder: AuthorityBuilder) -> AuthorityBuilder {
    builder
        .dangerous_loopback_http()
        .clock(ManualClock::new(NOW))
}

async fn statuses(builder: AuthorityBuilder, rows: &[(&str, String, u16)]) {
    let api = builder.build().unwrap().resource(CLIENT).unwrap();
    let api = api.audience("api://x").unwrap();
    let service = ServiceBuilder::new()
        .layer(api.protect())
        .service(service_fn(hello));
    for (name, token, status) in rows {
        let response = service.clone().oneshot(request(token)).await.unwrap();
        assert_eq!(response.status(), *status, "{name}");
    }
}

#[tokio::test]
async fn tenants_share_the_keys_of_the_common_endpoint() {
    let server = MockServer::start().await;
    let template = format!("{}/{{tenantid}}/v2.0", server.uri());
    let of_key = json!({"issuer": template, "cloud_instance_name": "microsoftonline.com"});
    publish(&server, "/common/v2.0", &template, of_key).await;
    let of = |tenant: &str| template.replace("{tenantid}", tenant);
    let rows = [
        ("first", token(&of(TENANT), TENANT, json!({})), 200),
        ("second", token(&of(OTHER), OTHER, json!({})), 200),
        ("not trusted", token(&of(FOREIGN), FOREIGN, json!({})), 401),
        ("mixed", token(&of(TENANT), OTHER, json!({})), 401),
    ];
    let tenants = AuthorityBuilder::entra_tenants([TENANT, OTHER]);
    statuses(local(tenants.instance(&server.uri())), &rows).await;
}

#[tokio::test]
async fn key_of_another_cloud_is_not_used() {
    let server = MockServer::start().await;
    let issuer = format!("{}/{TENANT}/v2.0", server.uri());
    let of_key = json!({"cloud_instance_name": "microsoftonline.us"});
    publish(&server, &format!("/{TENANT}/v2.0"), &issuer, of_key).await;
    let rows = [("another cloud", token(&issuer, TENANT, json!({})), 401)];
    let tenant = AuthorityBuilder::entra(TENANT);
    statuses(local(tenant.instance(&server.uri())), &rows).await;
}

#[tokio::test]
async fn both_versions_have_metadata_of_their_own() {
    let server = MockServer::start().await;
    let (v1, v2) = (
        format!("{}/{TENANT}/", server.uri()),
        format!("{}/{TENANT}/v2.0", server.uri()),
    );
    publish(
        &server,
        &format!("/{TENANT}/v2.0"),
        &v2,
        json!({"issuer": v2}),
    )
    .await;
    publish(&server, &format!("/{TENANT}"), &v1, json!({})).await;
    let of_v1 = json!({"aud": "api://x", "appid": "spa", "azp": null});
    let rows = [
        ("v2", token(&v2, TENANT, json!({})), 200),
        ("v1", token(&v1, TENANT, of_v1), 200),
    ];
    let tenant = AuthorityBuilder::entra(TENANT).v1_tokens();
    statuses(local(tenant.instance(&server.uri())), &rows).await;
}

#[tokio::test]
async fn external_id_says_itself_who_it_is() {
    let server = MockServer::start().await;
    // Asked at one name, it calls itself by another.
    let asked = server.uri();
    let issuer = format!("{}/{TENANT}/v2.0", asked.replace("127.0.0.1", "localhost"));
    publish(&server, &format!("/{TENANT}/v2.0"), &issuer, json!({})).await;
    let rows = [
        ("its own name", token(&issuer, TENANT, json!({})), 200),
        (
            "the name that was asked",
            token(&format!("{asked}/{TENANT}/v2.0"), TENANT, json!({})),
            401,
        ),
        ("another tenant", token(&issuer, OTHER, json!({})), 401),
    ];
    statuses(local(AuthorityBuilder::external_id(&asked, TENANT)), &rows).await;
}

#[tokio::test]
async fn metadata_may_stand_elsewhere() {
    let server = MockServer::start().await;
    let issuer = format!("{}/b2c/v2.0/", server.uri());
    publish(&server, "/flow", &issuer, json!({})).await;
    let url = format!("{}/flow/.well-known/openid-configuration", server.uri());
    let builder = AuthorityBuilder::issuer(&issuer, [Algorithm::Rs256]).metadata_url(&url);
    statuses(
        local(builder),
        &[("", token(&issuer, TENANT, json!({})), 200)],
    )
    .await;
}

#[tokio::test]
async fn token_for_the_next_tier_is_asked_for_in_the_users_own_tenant() {
    let server = MockServer::start().await;
    let template = format!("{}/{{tenantid}}/v2.0", server.uri());
    publish(
        &server,
        "/common/v2.0",
        &template,
        json!({"issuer": template}),
    )
    .await;
    Mock::given(method("POST"))
        .and(path(format!("/{OTHER}/oauth2/v2.0/token")))
        .respond_with(issued("next"))
        .expect(1)
        .mount(&server)
        .await;
    let tenants = AuthorityBuilder::entra_tenants([TENANT, OTHER]).instance(&server.uri());
    let authority = local(tenants).build().unwrap();
    let api = authority.resource(CLIENT).unwrap();
    let me = authority
        .client(CLIENT, Credential::secret("s").unwrap())
        .unwrap();
    let client = me
        .on_behalf_of(
            ["api://y/.default"],
            Target::origin("https://next.example").unwrap(),
        )
        .unwrap()
        .replay(CloneBody)
        .wrap(service_fn(async |request: http::Request<Body>| {
            let bearer = request.headers()[http::header::AUTHORIZATION].clone();
            assert_eq!(bearer, "Bearer next");
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::default()))
        }));
    let issuer = template.replace("{tenantid}", OTHER);
    let caller: Principal = api.verify(&token(&issuer, OTHER, json!({}))).await.unwrap();
    let call = http::Request::get("https://next.example/x")
        .body(Body::default())
        .unwrap();
    let response = client.oneshot(call.on_behalf_of(&caller)).await.unwrap();
    assert_eq!(response.status(), 200);
}
