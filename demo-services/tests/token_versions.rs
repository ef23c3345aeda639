//! The library takes the local authority's tokens of both versions, and keys from its `common` endpoint; each refusal breaks one thing.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, with the place and the reason"
)]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Empty;
use local_authority::{Directory, LocalAuthority, Options, Running, TokenSpec, TokenVersion};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::AuthorityBuilder;

const API: &str = "api://middle-tier";
const OTHER: &str = "33333333-2222-3333-4444-555555555555";
const THIRD: &str = "44444444-2222-3333-4444-555555555555";

async fn start() -> Running {
    LocalAuthority::start(Directory::demo(), Options::default())
        .await
        .unwrap()
}

/// What an API that trusts this authority answers to each of the tokens.
async fn check(running: &Running, trusted: AuthorityBuilder, rows: Vec<(&str, TokenSpec, u16)>) {
    let client_id = running.directory().app(API).unwrap().client_id.to_string();
    let trusted = trusted.instance(running.url()).dangerous_loopback_http();
    let resource = trusted.build().unwrap().resource(&client_id).unwrap();
    let api = ServiceBuilder::new()
        .layer(resource.audience(API).unwrap().protect())
        .service(service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
    for (name, spec, status) in rows {
        let request = Request::get("/")
            .header(AUTHORIZATION, format!("Bearer {}", running.issue(spec)))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = api.clone().oneshot(request).await.unwrap();
        assert_eq!(
            answer.status(),
            StatusCode::from_u16(status).unwrap(),
            "{name}"
        );
    }
}

fn user(version: TokenVersion) -> TokenSpec {
    TokenSpec::user("alice", API).version(version)
}

#[tokio::test]
async fn an_api_for_both_versions_takes_either() {
    let running = start().await;
    let tenant = running.tenant().to_string();
    let foreign_v1 = running.issuer_v1().replace(&tenant, OTHER);
    let foreign_v2 = running.issuer().replace(&tenant, OTHER);
    let client_id = running.directory().app(API).unwrap().client_id.to_string();
    let rows = vec![
        ("v2.0", user(TokenVersion::V2), 200),
        ("v1.0 by URI", user(TokenVersion::V1), 200),
        (
            "v1.0 by client id",
            TokenSpec::user("alice", client_id).version(TokenVersion::V1),
            200,
        ),
        (
            "v1.0 of an application",
            TokenSpec::app("daemon", API).version(TokenVersion::V1),
            200,
        ),
        (
            "v2.0, expired",
            user(TokenVersion::V2).expires_in(-600),
            401,
        ),
        (
            "v1.0, expired",
            user(TokenVersion::V1).expires_in(-600),
            401,
        ),
        (
            "v2.0 for another API",
            user(TokenVersion::V2).audience("api://downstream-api"),
            401,
        ),
        (
            "v1.0 for another API",
            user(TokenVersion::V1).audience("api://downstream-api"),
            401,
        ),
        (
            "v2.0 of another tenant",
            user(TokenVersion::V2).claim("tid", OTHER),
            401,
        ),
        (
            "v1.0 of another tenant",
            user(TokenVersion::V1).claim("tid", OTHER),
            401,
        ),
        (
            "v2.0 of a foreign issuer",
            user(TokenVersion::V2).issuer(foreign_v2),
            401,
        ),
        (
            "v1.0 of a foreign issuer",
            user(TokenVersion::V1).issuer(foreign_v1),
            401,
        ),
        (
            "v2.0, another key",
            user(TokenVersion::V2).foreign_key(),
            401,
        ),
        (
            "v1.0, another key",
            user(TokenVersion::V1).foreign_key(),
            401,
        ),
        (
            "v2.0 without a client",
            user(TokenVersion::V2).without("azp"),
            401,
        ),
        (
            "v1.0 without a client",
            user(TokenVersion::V1).without("appid"),
            401,
        ),
    ];
    let both = AuthorityBuilder::entra(&tenant).v1_tokens();
    check(&running, both, rows).await;
    running.shutdown().await;
}

#[tokio::test]
async fn an_api_for_version_2_takes_no_other() {
    let running = start().await;
    let tenant = running.tenant().to_string();
    let rows = vec![
        ("v2.0", user(TokenVersion::V2), 200),
        ("v1.0", user(TokenVersion::V1), 401),
    ];
    check(&running, AuthorityBuilder::entra(&tenant), rows).await;
    running.shutdown().await;
}

#[tokio::test]
async fn an_api_of_several_tenants_takes_keys_from_common() {
    let running = start().await;
    let tenant = running.tenant().to_string();
    let template = running.issuer().replace(&tenant, "{tenantid}");
    let foreign = running.issuer().replace(&tenant, OTHER);
    let rows = vec![
        ("v2.0", user(TokenVersion::V2), 200),
        (
            "the issuer of another",
            user(TokenVersion::V2).issuer(foreign),
            401,
        ),
        (
            "the template itself",
            user(TokenVersion::V2).issuer(template),
            401,
        ),
        (
            "the tenant of another",
            user(TokenVersion::V2).claim("tid", OTHER),
            401,
        ),
        (
            "without a tenant",
            user(TokenVersion::V2).without("tid"),
            401,
        ),
        ("another key", user(TokenVersion::V2).foreign_key(), 401),
    ];
    let listed = AuthorityBuilder::entra_tenants([tenant.as_str(), OTHER]);
    check(&running, listed, rows).await;
    let both = AuthorityBuilder::entra_tenants([tenant.as_str(), OTHER]).v1_tokens();
    check(
        &running,
        both,
        vec![
            ("v2.0", user(TokenVersion::V2), 200),
            ("v1.0", user(TokenVersion::V1), 200),
        ],
    )
    .await;
    let others = AuthorityBuilder::entra_tenants([OTHER, THIRD]);
    check(
        &running,
        others,
        vec![("not listed", user(TokenVersion::V2), 401)],
    )
    .await;
    running.shutdown().await;
}
