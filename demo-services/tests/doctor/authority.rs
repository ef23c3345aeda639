//! What the authority answers: metadata, time, credentials, tokens, redirect URIs.

use std::time::Duration;

use demo_services::tenant::doctor::{Check, Options, Report, Service, Severity};
use local_authority::Directory;
use serde_json::{Value, json};
use tower_bearer::clock::{Clock as _, SystemClock};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::stage::{
    Folder, Stage, assert_discreet, assert_has, assert_nothing, assert_only, clock_ahead, wrong,
};

const SPA: Option<Service> = Some(Service::SpaBackend);
const MIDDLE: Option<Service> = Some(Service::MiddleTier);
const DOWNSTREAM: Option<Service> = Some(Service::DownstreamApi);

#[tokio::test]
async fn an_authority_that_is_not_there_is_told_once() {
    let stage = Stage::start().await;
    let url = stage.authority.url().to_owned();
    let report = stage
        .report(|texts| {
            for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                *text = text.replace(&url, "http://localhost:4");
            }
        })
        .await;
    assert_only(
        &report,
        Check::Discovery,
        SPA,
        Severity::Error,
        "does not listen there",
    );
    assert_has(
        &report,
        Check::Credential,
        Severity::Skipped,
        "mend the authority first",
    );
}

#[tokio::test]
async fn an_unknown_tenant_is_told() {
    let stage = Stage::start().await;
    let tenant = stage.authority.tenant().to_string();
    let report = stage
        .report(|texts| {
            for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                *text = text.replace(&tenant, "99999999-2222-3333-4444-555555555555");
            }
        })
        .await;
    assert_only(
        &report,
        Check::Discovery,
        SPA,
        Severity::Error,
        "AADSTS90002",
    );
}

/// What is found at an authority with this metadata.
async fn with_metadata(body: impl Fn(&str) -> Value, tenant: &str) -> Vec<(Check, String)> {
    let stage = Stage::start().await;
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(body(&server.uri()));
    Mock::given(method("GET"))
        .and(path_regex("openid-configuration$"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let (url, old) = (
        stage.authority.url().to_owned(),
        stage.authority.tenant().to_string(),
    );
    let report = stage
        .report(|texts| {
            for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                *text = text.replace(&url, &server.uri()).replace(&old, tenant);
            }
        })
        .await;
    let of_discovery = report
        .findings
        .iter()
        .filter(|finding| finding.check == Check::Discovery && finding.mend.is_some());
    of_discovery
        .map(|finding| {
            (
                finding.check,
                format!("{} -> {}", finding.says, finding.mend.clone().unwrap()),
            )
        })
        .collect()
}

#[tokio::test]
async fn metadata_of_somebody_else_are_told() {
    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    let metadata =
        |issuer: String, token: String| json!({ "issuer": issuer, "token_endpoint": token });
    let sound = |url: &str| {
        metadata(
            format!("{url}/{TENANT}/v2.0"),
            format!("{url}/{TENANT}/oauth2/v2.0/token"),
        )
    };
    assert_eq!(with_metadata(sound, TENANT).await, []);

    let other_issuer = |url: &str| metadata(format!("{url}/other/v2.0"), format!("{url}/token"));
    let found = with_metadata(other_issuer, TENANT).await;
    assert!(found[0].1.contains("issuer is not the one"), "{found:?}");

    let other_cloud = |url: &str| {
        metadata(
            format!("{url}/{TENANT}/v2.0"),
            "https://login.microsoftonline.us/t/token".into(),
        )
    };
    let found = with_metadata(other_cloud, TENANT).await;
    assert!(
        found[0]
            .1
            .contains("set `authority.instance` to https://login.microsoftonline.us"),
        "{found:?}"
    );

    let by_name = |url: &str| metadata(format!("{url}/{TENANT}/v2.0"), format!("{url}/token"));
    let found = with_metadata(by_name, "contoso.example").await;
    assert!(
        found[0]
            .1
            .contains(&format!("set `authority.tenant` to {TENANT}")),
        "{found:?}"
    );

    let all = |url: &str| metadata(format!("{url}/{{tenantid}}/v2.0"), format!("{url}/token"));
    let found = with_metadata(all, "common").await;
    assert!(found[0].1.contains("every tenant"), "{found:?}");

    let nothing = |_: &str| json!({});
    let found = with_metadata(nothing, TENANT).await;
    assert!(found[0].1.contains("without the metadata"), "{found:?}");
}

#[tokio::test]
async fn a_clock_that_goes_wrong_is_told() {
    let stage = Stage::start().await;
    for (seconds, expected) in [
        (0, None),
        (50, None),
        (-120, Some((Severity::Warning, "behind"))),
        (120, Some((Severity::Warning, "ahead of"))),
        (-600, Some((Severity::Error, "behind"))),
        (600, Some((Severity::Error, "ahead of"))),
    ] {
        let report = stage.report_with(|_| {}, clock_ahead(seconds)).await;
        match expected {
            None => assert_nothing(&report),
            Some((severity, says)) => assert_only(&report, Check::Clock, None, severity, says),
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_not_shown() {
    let stage = Stage::start().await;
    let report = stage
        .report(|texts| {
            texts.spa = texts
                .spa
                .replace("client_secret = \"", "client_secret = \"wrong-")
        })
        .await;
    assert_only(
        &report,
        Check::Credential,
        SPA,
        Severity::Error,
        "AADSTS7000215",
    );
    assert_discreet(&stage, &report, None);
    assert!(!report.text().contains("wrong-"), "{}", report.text());
}

#[tokio::test]
async fn an_unknown_client_and_an_unknown_api_are_told() {
    let stage = Stage::start().await;
    let id = stage
        .authority
        .directory()
        .app("spa-backend")
        .unwrap()
        .client_id
        .to_string();
    let other = "99999999-0000-4000-8000-000000000000";
    let report = stage
        .report(|texts| texts.spa = texts.spa.replace(&id, other))
        .await;
    let expected = [
        (Check::Credential, SPA, Severity::Error),
        (Check::SignInRequest, SPA, Severity::Error),
    ];
    assert_eq!(wrong(&report), expected, "{}", report.text());
    assert_has(&report, Check::Credential, Severity::Error, "AADSTS700016");

    let report = stage
        .report(|texts| {
            texts.middle = texts
                .middle
                .replace("api://downstream-api/", "api://nowhere/")
        })
        .await;
    assert_has(&report, Check::Audience, Severity::Error, "AADSTS500011");
    assert_has(&report, Check::Credential, Severity::Ok, "");
}

/// What is wrong with the clients and their tokens, where the token endpoint answers every request with this number.
async fn with_refusal(number: u32) -> Report {
    let stage = Stage::start().await;
    let server = MockServer::start().await;
    let (url, tenant) = (server.uri(), stage.authority.tenant());
    let metadata = json!({ "issuer": format!("{url}/{tenant}/v2.0"), "token_endpoint": format!("{url}/token") });
    let refusal =
        json!({ "error": "invalid_client", "error_description": format!("AADSTS{number}: x") });
    for (verb, end, answer) in [
        (
            "GET",
            "openid-configuration$",
            ResponseTemplate::new(200).set_body_json(metadata),
        ),
        (
            "POST",
            "/token$",
            ResponseTemplate::new(401).set_body_json(refusal),
        ),
    ] {
        Mock::given(method(verb))
            .and(path_regex(end))
            .respond_with(answer)
            .mount(&server)
            .await;
    }
    let old = stage.authority.url().to_owned();
    stage
        .report(|texts| {
            for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                *text = text.replace(&old, &url);
            }
        })
        .await
}

#[tokio::test]
async fn what_is_wrong_with_the_client_is_told_once_and_not_of_each_api() {
    let credential = |service| (Check::Credential, service, Severity::Error);
    for number in [700_024, 1_000_502, 7_000_215] {
        let report = with_refusal(number).await;
        let found = wrong(&report);
        assert_eq!(found, [credential(SPA), credential(MIDDLE)], "{number}");
    }
    let audience = |service| (Check::Audience, service, Severity::Error);
    let report = with_refusal(500_011).await;
    let found = wrong(&report);
    assert_eq!(found, [audience(SPA), audience(MIDDLE), audience(MIDDLE)]);
    let says = "takes this client's credential";
    assert_has(&report, Check::Credential, Severity::Ok, says);

    // Nobody knows what it means: nothing is said to be in order.
    let report = with_refusal(123_456).await;
    assert_eq!(wrong(&report), [credential(SPA), credential(MIDDLE)]);
    let says = "cannot be told from its reason: AADSTS123456";
    assert_has(&report, Check::Credential, Severity::Error, says);
}

#[tokio::test]
async fn version_1_tokens_are_told() {
    for name in ["middle-tier", "downstream-api"] {
        let stage = Stage::start_with(|directory| {
            directory.app_mut(name).unwrap().access_token_version = 1
        })
        .await;
        let report = stage.report(|_| {}).await;
        let service = if name == "middle-tier" {
            MIDDLE
        } else {
            DOWNSTREAM
        };
        assert_only(
            &report,
            Check::TokenVersion,
            service,
            Severity::Error,
            "requestedAccessTokenVersion",
        );
        assert_discreet(&stage, &report, None);
    }
}

#[tokio::test]
async fn an_audience_that_the_service_does_not_expect_is_told() {
    let stage = Stage::start().await;
    let id = stage
        .authority
        .directory()
        .app("downstream-api")
        .unwrap()
        .client_id
        .to_string();
    let other = "99999999-0000-4000-8000-000000000000";
    let report = stage
        .report(|texts| texts.downstream = texts.downstream.replace(&id, other))
        .await;
    let mend = format!("set `client_id` of the downstream-api to {id}");
    for says in ["another application", &mend] {
        let (check, severity) = (Check::Audience, Severity::Error);
        assert_only(&report, check, DOWNSTREAM, severity, says);
    }
}

/// The tokens tell which of the two keys is wrong, the one of the API or the one of its client.
#[tokio::test]
async fn a_wrong_application_id_uri_is_told_with_its_own_key() {
    let stage = Stage::start().await;
    for (service, name, asker) in [
        (MIDDLE, "middle-tier", SPA),
        (DOWNSTREAM, "downstream-api", MIDDLE),
    ] {
        let report = stage
            .report(|texts| {
                let (right, other) = (
                    format!("app_id_uri = \"api://{name}\""),
                    "app_id_uri = \"api://another\"",
                );
                for text in [&mut texts.middle, &mut texts.downstream] {
                    *text = text.replace(&right, other);
                }
            })
            .await;
        let expected = [
            (Check::Scopes, asker, Severity::Error),
            (Check::Audience, service, Severity::Error),
        ];
        assert_eq!(wrong(&report), expected, "{}", report.text());
        let mend = format!("set `app_id_uri` of the {name} to api://{name}");
        assert_eq!(report.text().matches(&mend).count(), 1, "{}", report.text());
        let either = format!(
            "if the application ID URI under Expose an API is api://{name}, set `app_id_uri`"
        );
        assert!(report.text().contains(&either), "{}", report.text());
    }
}

/// With a certificate of a CA that nobody trusts, and with one that is trusted.
#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_called_a_fault_of_the_network() {
    let ca = listening::LocalCa::in_memory(SystemClock.now()).unwrap();
    let options = local_authority::Options::default().tls(ca.tls().unwrap());
    let authority = local_authority::LocalAuthority::start(Directory::demo(), options)
        .await
        .unwrap();
    let stage = Stage::start().await;
    let (url, old) = (authority.url().to_owned(), stage.authority.url().to_owned());
    let folder = Folder::new();
    let file = folder.write("ca.pem", ca.pem());
    for trusted in [true, false] {
        let report = stage
            .report(|texts| {
                for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                    *text = text.replace(&old, &url);
                    if trusted {
                        *text = format!("ca_file = \"{}\"\n{text}", file.display());
                    }
                }
            })
            .await;
        if trusted {
            assert_has(&report, Check::Discovery, Severity::Ok, "as it should");
            continue;
        }
        let (check, severity) = (Check::Discovery, Severity::Error);
        for says in ["does not trust", "set `ca_file`"] {
            assert_only(&report, check, SPA, severity, says);
        }
        let finding = report
            .findings
            .iter()
            .find(|finding| finding.check == check);
        let mend = finding.unwrap().mend.clone().unwrap();
        assert!(!mend.contains("network"), "{mend}");
    }
}

/// Of a CA that is trusted: one that is right, one for another name, one that has ended.
#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    let stage = Stage::start().await;
    let old = stage.authority.url().to_owned();
    for (name, year, says, mend) in [
        ("localhost", 2999, None, ""),
        (
            "elsewhere.example",
            2999,
            Some("for another name"),
            "write the name in `authority.instance`",
        ),
        ("localhost", 2001, Some("has expired"), "renewed"),
    ] {
        let (ca, tls) = server_certificate(name, year);
        let options = local_authority::Options::default().tls(tls);
        let authority = local_authority::LocalAuthority::start(Directory::demo(), options)
            .await
            .unwrap();
        let folder = Folder::new();
        let file = folder.write("ca.pem", &ca);
        let report = stage
            .report(|texts| {
                for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                    let named = text.replace(&old, authority.url());
                    *text = format!("ca_file = \"{}\"\n{named}", file.display());
                }
            })
            .await;
        let (check, severity) = (Check::Discovery, Severity::Error);
        match says {
            None => assert_has(&report, check, Severity::Ok, "as it should"),
            Some(says) => {
                assert_only(&report, check, SPA, severity, says);
                assert_only(&report, check, SPA, severity, mend);
            }
        }
    }
}

/// A CA, and a server of this name that it has certified until this year.
fn server_certificate(name: &str, year: i32) -> (String, listening::Tls) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let mut server = CertificateParams::new(vec![name.to_owned()]).unwrap();
    server.not_before = rcgen::date_time_ymd(2000, 1, 1);
    server.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    let key = pem("PRIVATE KEY", key.serialized_der());
    let tls = listening::Tls::from_pem(&pem("CERTIFICATE", server.der()), &key).unwrap();
    (pem("CERTIFICATE", ca.der()), tls)
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[tokio::test]
async fn a_tenant_that_is_named_by_its_domain_is_told_as_that() {
    let stage = Stage::start().await;
    let tenant = stage.authority.tenant().to_string();
    let report = stage
        .report(|texts| texts.spa = texts.spa.replace(&tenant, "contoso.example"))
        .await;
    let says = "authority.tenant must be the tenant's id, a GUID";
    assert_has(&report, Check::Settings, Severity::Error, says);
    assert!(!report.text().contains("placeholder"), "{}", report.text());
}

#[tokio::test]
async fn missing_optional_claims_are_inferred() {
    let stage = Stage::start_with(|directory| {
        directory
            .app_mut("downstream-api")
            .unwrap()
            .optional_claims
            .clear()
    })
    .await;
    let report = stage.report(|_| {}).await;
    assert_only(
        &report,
        Check::OptionalClaims,
        DOWNSTREAM,
        Severity::Warning,
        "xms_cc and idtyp",
    );
}

#[tokio::test]
async fn redirect_uris_that_are_not_registered_are_told() {
    let without = |suffix: &'static str| {
        move |directory: &mut Directory| {
            let uris = &mut directory.app_mut("spa-backend").unwrap().redirect_uris.web;
            uris.retain(|uri| !uri.ends_with(suffix));
        }
    };
    for (suffix, severity) in [
        ("/auth/callback", Severity::Error),
        (":3/", Severity::Warning),
    ] {
        let stage = Stage::start_with(without(suffix)).await;
        let report = stage.report(|_| {}).await;
        assert_only(&report, Check::RedirectUri, SPA, severity, "AADSTS50011");
        assert_has(&report, Check::RedirectUri, Severity::Ok, "is registered");
    }
}

#[tokio::test]
async fn a_scope_that_the_authority_does_not_know_is_told() {
    let stage = Stage::start().await;
    let report = stage
        .report(|texts| texts.spa = texts.spa.replace("user_impersonation", "user_impersonaton"))
        .await;
    assert_has(&report, Check::Scopes, Severity::Error, "required_scope");
    assert_has(
        &report,
        Check::SignInRequest,
        Severity::Error,
        "AADSTS650053",
    );
}

/// A self-signed certificate that ends in so many days, and its key, as files.
fn certificate(folder: &Folder, days: i64) -> String {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let key: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let signer = rcgen::KeyPair::try_from(key.as_ref()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    let now = SystemClock.now();
    let ends = now.checked_add_signed(days * 86_400 + 3600).unwrap();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ends);
    let certificate = params.self_signed(&signer).unwrap();
    let pem_text = pem("CERTIFICATE", certificate.der());
    folder.write("spa.pem", &pem_text);
    folder.write("spa-key.pem", &pem("PRIVATE KEY", key.as_ref()));
    pem_text
}

#[tokio::test]
async fn a_certificate_that_ends_is_told() {
    for (days, severity, says) in [
        (200, Severity::Ok, "good for 200 days"),
        (10, Severity::Warning, "expires in 10 days"),
        (-10, Severity::Error, "certificate expired 9 days ago"),
    ] {
        let folder = Folder::new();
        let pem = certificate(&folder, days);
        let stage = Stage::start_with(|directory| {
            directory.app_mut("spa-backend").unwrap().certificates = vec![pem];
        })
        .await;
        let report = stage
            .report_with(
                |texts| {
                    let mut lines: Vec<String> = texts.spa.lines().map(str::to_owned).collect();
                    let at = lines
                        .iter()
                        .position(|line| line.starts_with("client_secret"))
                        .unwrap();
                    let file = |name: &str| folder.path().join(name).display().to_string();
                    lines[at] = format!(
                        "client_certificate = {{ certificate = \"{}\", private_key = \"{}\" }}",
                        file("spa.pem"),
                        file("spa-key.pem")
                    );
                    texts.spa = lines.join("\n");
                },
                Options::default(),
            )
            .await;
        assert_has(&report, Check::CertificateExpiry, severity, says);
        match severity {
            Severity::Ok => assert_nothing(&report),
            Severity::Warning => assert_only(
                &report,
                Check::CertificateExpiry,
                SPA,
                severity,
                "client_certificate",
            ),
            // The authority does not take it any more.
            _ => assert_has(
                &report,
                Check::Credential,
                Severity::Error,
                "refuses this client",
            ),
        }
    }
}

/// Whoever the configuration names may write anything there.
#[tokio::test]
async fn what_an_authority_says_is_shown_in_part_and_reorders_nothing() {
    let odd = "\u{202e}\u{2066}\u{2028}";
    let issuer = format!("https://x{odd}/{}", "A".repeat(400_000));
    let body = |url: &str| json!({ "issuer": issuer, "token_endpoint": format!("{url}/token") });
    let found = with_metadata(body, "11111111-2222-3333-4444-555555555555").await;
    assert_eq!(found.len(), 1);
    for (check, text) in found {
        assert!(text.contains("https://x"), "{check:?}: {text}");
        assert!(text.len() < 1000, "{check:?}: {} bytes", text.len());
        assert!(
            !text.contains(['\u{202e}', '\u{2066}', '\u{2028}']),
            "{check:?}"
        );
    }
}
