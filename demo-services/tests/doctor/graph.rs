//! What the tenant says through Graph.

use demo_services::tenant::doctor::{Check, Service, Severity};
use local_authority::{Consent, Directory, OptionalClaim, Running, TokenSpec};
use serde_json::json;
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::stage::{Stage, assert_discreet, assert_has, assert_nothing, assert_only};

const SPA: Option<Service> = Some(Service::SpaBackend);
const MIDDLE: Option<Service> = Some(Service::MiddleTier);
const DOWNSTREAM: Option<Service> = Some(Service::DownstreamApi);

#[tokio::test]
async fn a_sound_tenant_is_in_order() {
    let stage = Stage::start().await;
    let profile = "[profile]\ngraph = \"https://graph.microsoft.com\"\nread_scope = \"https://graph.microsoft.com/User.Read\"\n\
                   write_scope = \"https://graph.microsoft.com/User.ReadWrite\"\ngate_scope = \"api://profile-mfa/User.MFA\"\n";
    let report = stage
        .graph_report(|texts| texts.middle.push_str(profile))
        .await;
    assert_nothing(&report);
    assert_discreet(&stage, &report, None);
    for (check, says) in [
        (Check::Registration, "is registered"),
        (Check::RedirectUri, "with the platform Web"),
        (Check::OptionalClaims, "acrs"),
        (Check::Consent, "api://downstream-api/user_impersonation"),
        (Check::Consent, "api://profile-mfa/User.MFA"),
        (Check::Consent, "https://graph.microsoft.com/User.ReadWrite"),
        (Check::MfaPolicy, "the downstream API"),
        (Check::MfaPolicy, "guards the profile"),
        (Check::StepUpPolicy, "c1"),
        (Check::CredentialExpiry, ""),
    ] {
        assert_has(&report, check, Severity::Ok, says);
    }
}

#[tokio::test]
async fn each_policy_and_consent_that_is_missing_is_found_alone() {
    type Set = fn(&Running, bool);
    let set_consent: [Set; 2] = [
        |authority, right| assert!(authority.set_consent("middle-tier", consent_of(right))),
        |authority, right| assert!(authority.set_consent("spa-backend", consent_of(right))),
    ];
    let set_policy: [Set; 2] = [
        |authority, right| assert!(authority.set_policy("MFA for the downstream API", right)),
        |authority, right| assert!(authority.set_policy("Step-up for c1", right)),
    ];
    let stage = Stage::start().await;
    for (set, check, service, severity, says) in [
        (
            set_consent[0],
            Check::Consent,
            MIDDLE,
            Severity::Error,
            "AADSTS65001",
        ),
        (
            set_consent[1],
            Check::Consent,
            SPA,
            Severity::Error,
            "AADSTS65001",
        ),
        (
            set_policy[0],
            Check::MfaPolicy,
            None,
            Severity::Warning,
            "no policy that is on",
        ),
        (
            set_policy[1],
            Check::StepUpPolicy,
            None,
            Severity::Warning,
            "no policy that is on",
        ),
    ] {
        set(&stage.authority, false);
        assert_only(
            &stage.graph_report(|_| {}).await,
            check,
            service,
            severity,
            says,
        );
        set(&stage.authority, true);
    }
    assert_nothing(&stage.graph_report(|_| {}).await);
}

fn consent_of(right: bool) -> Consent {
    if right {
        Consent::Granted
    } else {
        Consent::Required
    }
}

#[tokio::test]
async fn a_client_that_is_pre_authorized_needs_no_consent() {
    let stage = Stage::start_with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = Consent::Required;
        let id = directory.app("spa-backend").unwrap().client_id;
        directory.app_mut("middle-tier").unwrap().pre_authorized = vec![id];
    })
    .await;
    assert_nothing(&stage.graph_report(|_| {}).await);
}

#[tokio::test]
async fn each_wrong_registration_is_found_alone() {
    let without_acrs = |directory: &mut Directory| {
        let app = directory.app_mut("downstream-api").unwrap();
        app.optional_claims
            .retain(|claim| !matches!(claim, OptionalClaim::Acrs));
    };
    let report = Stage::start_with(without_acrs)
        .await
        .graph_report(|_| {})
        .await;
    let (check, severity) = (Check::OptionalClaims, Severity::Warning);
    assert_only(&report, check, DOWNSTREAM, severity, "lack acrs");

    let other_platform = |directory: &mut Directory| {
        let uris = &mut directory.app_mut("spa-backend").unwrap().redirect_uris;
        uris.spa = std::mem::take(&mut uris.web);
        uris.web.extend(uris.spa.pop());
    };
    let report = Stage::start_with(other_platform)
        .await
        .graph_report(|_| {})
        .await;
    let (check, severity) = (Check::RedirectUri, Severity::Error);
    assert_only(&report, check, SPA, severity, "AADSTS9002327");
}

#[tokio::test]
async fn a_policy_that_only_reports_is_told() {
    let stage = Stage::start().await;
    let spec = TokenSpec::user("alice", "https://graph.microsoft.com").client("spa-backend");
    let token = stage
        .authority
        .issue(spec.scopes(["Policy.Read.All", "Policy.ReadWrite.ConditionalAccess"]));
    let policy = stage
        .authority
        .directory()
        .policy("MFA for the downstream API")
        .unwrap()
        .id;
    let url = format!(
        "{}/v1.0/identity/conditionalAccess/policies/{policy}",
        stage.authority.url()
    );
    let body = json!({ "state": "enabledForReportingButNotEnforced" });
    let answer = reqwest::Client::new()
        .patch(url)
        .bearer_auth(token)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    let report = stage.graph_report(|_| {}).await;
    assert_only(
        &report,
        Check::MfaPolicy,
        None,
        Severity::Warning,
        "only reports",
    );
}

#[tokio::test]
async fn an_application_and_names_that_the_tenant_does_not_have_are_told() {
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
        .graph_report(|texts| texts.downstream = texts.downstream.replace(&id, other))
        .await;
    assert_has(
        &report,
        Check::Registration,
        Severity::Error,
        "has no application",
    );

    let report = stage
        .graph_report(|texts| {
            texts.downstream = texts
                .downstream
                .replace("api://downstream-api", "api://another");
            texts.middle = texts
                .middle
                .replace("api://downstream-api", "api://another");
        })
        .await;
    assert_has(
        &report,
        Check::Registration,
        Severity::Error,
        "application ID URI api://another",
    );

    let report = stage
        .graph_report(|texts| {
            texts.downstream = texts
                .downstream
                .replace("\"user_impersonation\"", "\"read\"");
            texts.middle = texts
                .middle
                .replace("downstream-api/user_impersonation", "downstream-api/read");
        })
        .await;
    assert_has(&report, Check::Registration, Severity::Error, "scope read");
}

#[tokio::test]
async fn what_the_token_may_not_read_is_left_out_with_its_reason() {
    let stage = Stage::start().await;
    let report = stage
        .graph_report_as(&["Application.Read.All"], |_| {})
        .await;
    assert_nothing(&report);
    assert_has(&report, Check::Registration, Severity::Ok, "");
    assert_has(
        &report,
        Check::Consent,
        Severity::Skipped,
        "Directory.Read.All",
    );
    assert_has(
        &report,
        Check::MfaPolicy,
        Severity::Skipped,
        "Policy.Read.All",
    );

    let report = stage.graph_report_as(&["User.Read"], |_| {}).await;
    assert_has(
        &report,
        Check::Registration,
        Severity::Skipped,
        "Application.Read.All",
    );
}

/// A token of the authority is taken; each that is not, or is none, is told once and not sent.
#[tokio::test]
async fn a_token_that_does_not_fit_is_told_once() {
    let stage = Stage::start().await;
    let other = Stage::start().await;
    let spec = || {
        let spec = TokenSpec::user("alice", "https://graph.microsoft.com").client("spa-backend");
        spec.scopes(["Application.Read.All"])
    };
    let good = stage.authority.issue(spec());
    let report = stage.graph_report_of(&good, |_| {}).await;
    assert_nothing(&report);
    assert_has(&report, Check::Registration, Severity::Ok, "is registered");
    for (token, says) in [
        ("no token".to_owned(), "holds no access token"),
        (other.authority.issue(spec()), "not of the authority"),
        (
            stage.authority.issue(spec().expires_in(-7200)),
            "has expired",
        ),
        (
            stage
                .authority
                .issue(TokenSpec::user("alice", "middle-tier").client("spa-backend")),
            "another API",
        ),
    ] {
        let report = stage.graph_report_of(&token, |_| {}).await;
        let (check, severity) = (Check::GraphToken, Severity::Warning);
        assert_only(&report, check, None, severity, says);
        assert_eq!(report.text().matches(says).count(), 1, "{}", report.text());
        assert!(!report.text().contains("no token"), "{}", report.text());
        assert_discreet(&stage, &report, None);
        assert_has(
            &report,
            Check::Registration,
            Severity::Skipped,
            "graph-token",
        );
    }
}

/// Whoever answers at the authority's address without being the authority gets nothing, though the token fits the address.
#[tokio::test]
async fn the_token_is_not_sent_before_the_authority_has_shown_itself() {
    let stage = Stage::start().await;
    let (old, tenant) = (stage.authority.url().to_owned(), stage.authority.tenant());
    for good in [true, false] {
        let server = MockServer::start().await;
        let url = server.uri();
        let issuer = format!("{url}/{tenant}/v2.0");
        if good {
            let metadata = json!({ "issuer": issuer, "token_endpoint": format!("{url}/token") });
            Mock::given(path_regex("openid-configuration$"))
                .respond_with(ResponseTemplate::new(200).set_body_json(metadata))
                .mount(&server)
                .await;
        }
        let spec = TokenSpec::user("alice", "https://graph.microsoft.com").client("spa-backend");
        let spec = spec.scopes(["Application.Read.All"]).issuer(&issuer);
        let token = stage.authority.issue(spec);
        let report = stage
            .graph_report_of(&token, |texts| {
                for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
                    *text = text.replace(&old, &url);
                }
            })
            .await;
        let asked = server.received_requests().await.unwrap();
        let sent = asked
            .iter()
            .any(|request| request.headers.contains_key("authorization"));
        assert_eq!(sent, good, "{}", report.text());
    }
}

/// Of the file of the downstream API alone, what it demands and the application does not have.
#[tokio::test]
async fn an_app_role_that_nobody_can_have_is_told() {
    let stage = Stage::start().await;
    let report = stage
        .graph_report(|texts| texts.downstream = texts.downstream.replace("Task.Run", "Task.Ran"))
        .await;
    let (check, severity) = (Check::Registration, Severity::Error);
    assert_only(&report, check, DOWNSTREAM, severity, "no app role Task.Ran");
}

#[tokio::test]
async fn a_scope_that_its_api_does_not_expose_is_told_with_its_key() {
    let stage = Stage::start().await;
    for (key, scope) in [
        ("gate_scope", "api://profile-mfa/User.MFA"),
        ("read_scope", "https://graph.microsoft.com/User.Read"),
    ] {
        let profile = "[profile]\ngraph = \"https://graph.microsoft.com\"\nread_scope = \"https://graph.microsoft.com/User.Read\"\n\
                       write_scope = \"https://graph.microsoft.com/User.ReadWrite\"\ngate_scope = \"api://profile-mfa/User.MFA\"\n";
        let wrong = profile.replace(&format!("\"{scope}\""), &format!("\"{scope}s\""));
        let report = stage
            .graph_report(|texts| texts.middle.push_str(&wrong))
            .await;
        let (check, severity) = (Check::Consent, Severity::Error);
        assert_only(&report, check, MIDDLE, severity, "AADSTS650053");
        assert!(report.text().contains(&format!("correct `profile.{key}`")));
    }
}

#[tokio::test]
async fn a_redirect_uri_is_told_once() {
    for (suffix, severity) in [
        ("/auth/callback", Severity::Error),
        (":3/", Severity::Warning),
    ] {
        let stage = Stage::start_with(|directory| {
            let uris = &mut directory.app_mut("spa-backend").unwrap().redirect_uris.web;
            uris.retain(|uri| !uri.ends_with(suffix));
        })
        .await;
        let report = stage.graph_report(|_| {}).await;
        assert_only(&report, Check::RedirectUri, SPA, severity, "AADSTS50011");
        let of_uris = report
            .findings
            .iter()
            .filter(|finding| finding.check == Check::RedirectUri);
        assert_eq!(of_uris.count(), 2, "{}", report.text());
    }
}

#[tokio::test]
async fn the_local_authority_tells_of_a_missing_service_principal_as_graph_does() {
    let stage = Stage::start().await;
    let spec = TokenSpec::user("alice", "https://graph.microsoft.com").client("spa-backend");
    let token = stage
        .authority
        .issue(spec.scopes(["Application.ReadWrite.All"]));
    let directory = stage.authority.directory();
    let id = directory.app("middle-tier").unwrap().client_id;
    let url = stage.authority.url();
    let principal = format!("{url}/v1.0/servicePrincipals(appId='{id}')");
    let request = reqwest::Client::new().delete(principal).bearer_auth(token);
    assert_eq!(request.send().await.unwrap().status(), 204);
    let report = stage.graph_report(|_| {}).await;
    let says = format!("the application {id} has no service principal");
    assert_has(&report, Check::Consent, Severity::Error, &says);
    assert_eq!(report.text().matches(&says).count(), 1, "{}", report.text());
}
