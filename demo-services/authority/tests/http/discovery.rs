//! Metadata and keys, of the tenant and of all tenants.

use local_authority::{Endpoint, Fault};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Answer, Browser, Harness, claims};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

impl Harness {
    async fn document(&self, path: &str) -> Answer {
        let url = format!("{}/{path}", self.running.url());
        Answer::of(self.http.get(url).send().await.unwrap()).await
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.running.port())
    }
}

/// The whole document for this tenant segment and this version.
fn metadata(base: &str, segment: &str, version: &str) -> Value {
    let (issuer, keys) = match version {
        "v1.0" => ("", "discovery/keys"),
        _ => ("v2.0", "discovery/v2.0/keys"),
    };
    let tenant = if segment == TENANT {
        TENANT
    } else {
        "{tenantid}"
    };
    let host = base.strip_prefix("http://").unwrap();
    json!({
        "issuer": format!("{base}/{tenant}/{issuer}"),
        "authorization_endpoint": format!("{base}/{segment}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/{segment}/oauth2/v2.0/token"),
        "end_session_endpoint": format!("{base}/{segment}/oauth2/v2.0/logout"),
        "device_authorization_endpoint": format!("{base}/{segment}/oauth2/v2.0/devicecode"),
        "jwks_uri": format!("{base}/{segment}/{keys}"),
        "tenant_region_scope": (segment == TENANT).then_some("WW"),
        "cloud_instance_name": host,
        "cloud_graph_host_name": host,
        "msgraph_host": host,
    })
}

#[tokio::test]
async fn metadata_of_each_version_for_each_segment() {
    let authority = Harness::start().await;
    let base = authority.running.url();
    for (segment, in_urls) in [
        (TENANT, TENANT),
        ("contoso.example", TENANT),
        ("common", "common"),
        ("organizations", "organizations"),
    ] {
        for (version, path) in [("v1.0", ""), ("v2.0", "v2.0/")] {
            let path = format!("{segment}/{path}.well-known/openid-configuration?x=y");
            let answer = authority.document(&path).await;
            assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
            let document = answer.json();
            let expected = metadata(base, in_urls, version);
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&document[name], value, "{path}: {name}");
            }
            // What is not there is not advertised.
            for name in [
                "userinfo_endpoint",
                "http_logout_supported",
                "frontchannel_logout_supported",
            ] {
                assert!(document.get(name).is_none(), "{path}: {name}");
            }
            assert_eq!(document["response_types_supported"], json!(["code"]));
            // The document leads to keys.
            let keys = document["jwks_uri"].as_str().unwrap().to_owned();
            let keys = Answer::of(authority.http.get(keys).send().await.unwrap()).await;
            assert_eq!(keys.headers["access-control-allow-origin"], "*", "{path}");
            let key = &keys.json()["keys"][0];
            assert_eq!(key["kid"], authority.running.kid(), "{path}");
            assert_eq!(key["x5t"], key["kid"], "{path}");
            let issuer = (version == "v2.0").then(|| &document["issuer"]);
            assert_eq!(key.get("issuer"), issuer, "{path}");
            let cloud = (version == "v2.0").then(|| &document["cloud_instance_name"]);
            assert_eq!(key.get("cloud_instance_name"), cloud, "{path}");
        }
    }
}

#[tokio::test]
async fn the_key_set_of_the_tenant_is_the_one_of_this_object() {
    let authority = Harness::start().await;
    let answer = authority
        .document(&format!("{TENANT}/discovery/v2.0/keys"))
        .await;
    assert_eq!(answer.text, authority.running.jwks());
}

#[tokio::test]
async fn all_documents_are_counted_and_fail_on_demand_for_scripts_too() {
    let authority = Harness::start().await;
    let endpoint = format!(
        "authorization_endpoint={}/common/oauth2/v2.0/authorize",
        authority.running.url()
    );
    let rows = [
        (
            "v2.0/.well-known/openid-configuration".to_owned(),
            Endpoint::Discovery,
        ),
        (
            ".well-known/openid-configuration".to_owned(),
            Endpoint::Discovery,
        ),
        (
            format!("discovery/instance?{endpoint}"),
            Endpoint::Discovery,
        ),
        ("discovery/v2.0/keys".to_owned(), Endpoint::Keys),
        ("discovery/keys".to_owned(), Endpoint::Keys),
    ];
    let mut counted = (0, 0);
    for (path, endpoint) in rows {
        authority.running.fail_next(endpoint, 1, Fault::status(503));
        for (path, status) in [
            (format!("common/{path}"), 503),
            (format!("common/{path}"), 200),
            (format!("nobody.example/{path}"), 400),
        ] {
            let answer = authority.document(&path).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
            if status == 400 {
                assert_eq!(answer.error_code(), 90_002, "{path}");
            }
        }
        let posted = authority
            .http
            .post(format!("{}/common/{path}", authority.running.url()));
        let posted = Answer::of(posted.send().await.unwrap()).await;
        assert_eq!(posted.status, 405, "{path}");
        assert_eq!(posted.headers["access-control-allow-origin"], "*", "{path}");
        match endpoint {
            Endpoint::Keys => counted.1 += 3,
            _ => counted.0 += 3,
        }
        let counters = authority.running.counters();
        assert_eq!((counters.discovery, counters.keys), counted, "{path}");
    }
}

#[tokio::test]
async fn instance_discovery_leads_to_the_metadata_of_the_authority() {
    let authority = Harness::start().await;
    let (base, host) = (authority.running.url().to_owned(), authority.host());
    let ask = |endpoint: String| {
        let authority = &authority;
        async move {
            let query: String = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("authorization_endpoint", &endpoint)
                .append_pair("api-version", "1.0")
                .finish();
            authority
                .document(&format!("common/discovery/instance?{query}"))
                .await
        }
    };
    for (endpoint, place) in [
        (
            format!("{base}/{TENANT}/oauth2/v2.0/authorize"),
            format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration"),
        ),
        (
            format!("{base}/contoso.example/oauth2/v2.0/authorize"),
            format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration"),
        ),
        (
            format!("{base}/common/oauth2/v2.0/authorize"),
            format!("{base}/common/v2.0/.well-known/openid-configuration"),
        ),
        (
            format!("{base}/organizations/oauth2/authorize"),
            format!("{base}/organizations/.well-known/openid-configuration"),
        ),
        (
            format!("http://localhost/{TENANT}/oauth2/v2.0/authorize"),
            format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration"),
        ),
    ] {
        let answer = ask(endpoint).await;
        assert_eq!(
            answer.json(),
            json!({
                "tenant_discovery_endpoint": place,
                "api-version": "1.1",
                "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
            })
        );
        assert_eq!(
            Answer::of(authority.http.get(place).send().await.unwrap())
                .await
                .status,
            200
        );
    }
    let path = "common/oauth2/v2.0/authorize";
    for (endpoint, error, code) in [
        (
            format!("https://login.example/{path}"),
            "invalid_instance",
            50_049,
        ),
        (format!("https://{host}/{path}"), "invalid_instance", 50_049),
        (
            format!("http://localhost:1/{path}"),
            "invalid_instance",
            50_049,
        ),
        (
            format!("http://login.example/{path}"),
            "invalid_instance",
            50_049,
        ),
        (
            format!("https://localhost/{path}"),
            "invalid_instance",
            50_049,
        ),
        (format!("http://local/{path}"), "invalid_instance", 50_049),
        (
            format!("http://x@{host}/{path}"),
            "invalid_instance",
            50_049,
        ),
        (
            format!("{base}/common/oauth2/v2.0/token"),
            "invalid_instance",
            50_049,
        ),
        (base.clone(), "invalid_instance", 50_049),
        (path.to_owned(), "invalid_instance", 50_049),
        (
            format!("{base}/nobody.example/oauth2/v2.0/authorize"),
            "invalid_request",
            90_002,
        ),
        (String::new(), "invalid_request", 900_144),
    ] {
        let answer = ask(endpoint.clone()).await;
        assert_eq!(answer.status, 400, "{endpoint}");
        assert_eq!(answer.json()["error"], error, "{endpoint}");
        assert_eq!(answer.error_code(), code, "{endpoint}");
    }
    let answer = authority.document("common/discovery/instance").await;
    assert_eq!((answer.status, answer.error_code()), (400, 900_144));
}

#[tokio::test]
async fn a_sign_in_at_common_is_one_of_the_tenant() {
    for segment in ["common", "organizations"] {
        let authority = Harness::start().await;
        let base = format!("{}/{segment}/oauth2/v2.0", authority.running.url());
        let request = authority.request();
        let mut url = Url::parse(&format!("{base}/authorize")).unwrap();
        url.query_pairs_mut().extend_pairs(&request);
        let page = Answer::of(authority.http.get(url).send().await.unwrap()).await;
        let mut browser = Browser::default();
        let answer = authority.sign_in(&mut browser, &page, "alice").await;
        let code = answer.parameters()["code"].clone();
        let form = [
            ("grant_type", "authorization_code".to_owned()),
            ("client_id", authority.id("spa-backend")),
            ("client_secret", authority.secret("spa-backend")),
            ("code", code),
            ("redirect_uri", crate::harness::REDIRECT.to_owned()),
            ("code_verifier", crate::harness::VERIFIER.to_owned()),
        ];
        let request = authority.http.post(format!("{base}/token")).form(&form);
        let answer = Answer::of(request.send().await.unwrap()).await.json();
        for name in ["access_token", "id_token"] {
            let claims = claims(answer[name].as_str().unwrap());
            assert_eq!(claims["iss"], authority.running.issuer(), "{segment}");
            assert_eq!(claims["tid"], TENANT, "{segment}");
        }
        let request = authority.http.get(format!("{base}/logout"));
        let request = request.header("cookie", browser.cookie.clone().unwrap());
        assert_eq!(request.send().await.unwrap().status(), 200);
        let silent = authority.authorize(&browser, &[("prompt", "none")]).await;
        assert_eq!(silent.parameters()["error"], "login_required");
    }
}

#[tokio::test]
async fn an_application_names_its_tenant() {
    let authority = Harness::start().await;
    let form = [
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", authority.id("daemon")),
        ("client_secret", authority.secret("daemon")),
        ("scope", "api://downstream-api/.default".to_owned()),
    ];
    for (segment, code) in [
        (TENANT, None),
        ("contoso.example", None),
        ("common", Some(50_059)),
        ("organizations", Some(50_059)),
        ("consumers", Some(90_002)),
    ] {
        let url = format!("{}/{segment}/oauth2/v2.0/token", authority.running.url());
        let request = authority.http.post(url).form(&form);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        let refused = (answer.status != 200).then(|| answer.error_code());
        assert_eq!(refused, code, "{segment}");
    }
}
