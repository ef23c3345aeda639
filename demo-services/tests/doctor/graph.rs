//! What the tenant says through Graph.

use std::time::Duration;

use demo_services::tenant::doctor::{
    Check, Configurations, GraphAccess, Options, Report, Service, Severity, Sources, examine,
};
use local_authority::{Consent, Directory, OptionalClaim, Running, TokenSpec};
use serde_json::json;
use tower_bearer::clock::{Clock as _, SystemClock};
use wiremock::matchers::{method, path, path_regex, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::stage::{
    Folder, Stage, assert_discreet, assert_has, assert_nothing, assert_only, wrong,
};

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

    let instance = stage.authority.url().parse().unwrap();
    let options = Options {
        graph: Some(GraphAccess::new("no token".into(), None, &instance).unwrap()),
        ..Options::default()
    };
    let report = stage.report_with(|_| {}, options).await;
    assert_nothing(&report);
    assert_has(
        &report,
        Check::Registration,
        Severity::Skipped,
        "refuses the token",
    );
    assert!(!report.text().contains("no token"), "{}", report.text());
}

/// A Graph of one client, the SPA backend, that is all as it should be, but for what is given.
async fn at_graph(broken: Vec<Mock>) -> Report {
    let stage = Stage::start().await;
    let server = MockServer::start().await;
    // The first that fits answers.
    for mock in broken {
        mock.mount(&server).await;
    }
    let uris = ["http://localhost:3/auth/callback", "http://localhost:3/"];
    let application = json!({
        "web": { "redirectUris": uris },
        "passwordCredentials": [{ "endDateTime": "2999-01-01T00:00:00Z" }],
    });
    let grant = json!({ "consentType": "AllPrincipals", "resourceId": "p2", "scope": "user_impersonation" });
    for (end, value) in [
        ("/applications$", json!([application])),
        ("/oauth2PermissionGrants$", json!([grant])),
        (
            "/servicePrincipals$",
            json!([{ "id": "p2", "appId": "c2" }]),
        ),
        ("/policies$", json!([])),
    ] {
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "value": value }));
        graph(end).respond_with(answer).mount(&server).await;
    }
    let folder = Folder::of(&stage.texts);
    let files = Sources::Files(vec![folder.path().join("spa-backend.toml")]);
    let (configurations, _) = Configurations::read(&files, &[]);
    let instance = server.uri().parse().unwrap();
    let options = Options {
        graph: Some(GraphAccess::new("t".into(), None, &instance).unwrap()),
        deadline: Duration::from_secs(60),
        ..Options::default()
    };
    let report = examine(&configurations, &options).await;
    server.verify().await;
    report
}

fn graph(end: &str) -> wiremock::MockBuilder {
    Mock::given(method("GET")).and(path_regex(format!("^/v1.0.*{end}")))
}

/// As Graph words an error.
fn refusal(status: u16, code: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .set_body_json(json!({ "error": { "code": code, "message": message } }))
}

fn page(grants: &[(&str, &str)], next: Option<&str>) -> ResponseTemplate {
    let grants: Vec<_> = grants
        .iter()
        .map(|(kind, resource)| json!({ "consentType": kind, "resourceId": resource, "scope": "user_impersonation" }))
        .collect();
    let mut body = json!({ "value": grants });
    if let Some(next) = next {
        body["@odata.nextLink"] = next.into();
    }
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn a_client_without_a_service_principal_is_told() {
    assert_nothing(&at_graph(Vec::new()).await);
    let gone = refusal(404, "Request_ResourceNotFound", "Resource does not exist.");
    let report = at_graph(vec![graph("/oauth2PermissionGrants$").respond_with(gone)]).await;
    let (check, severity) = (Check::Consent, Severity::Error);
    assert_only(&report, check, SPA, severity, "no service principal");
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

#[tokio::test]
async fn nothing_is_decided_by_a_part_of_a_list() {
    let first = |next: &'static str| {
        graph("/oauth2PermissionGrants$")
            .and(query_param_is_missing("page"))
            .respond_with(move |request: &wiremock::Request| {
                let here = request.headers["host"].to_str().unwrap();
                let here = format!("http://{here}{}", request.url.path());
                let next = next.replace("{here}", &here);
                page(&[("Principal", "p9")], Some(&next))
            })
    };
    let second = graph("/oauth2PermissionGrants$")
        .and(query_param("page", "2"))
        .respond_with(page(&[("AllPrincipals", "p2")], None))
        .expect(1);
    let report = at_graph(vec![first("{here}?page=2"), second]).await;
    assert_nothing(&report);
    assert_has(&report, Check::Consent, Severity::Ok, "for all users");

    for (next, says) in [
        (
            "https://elsewhere.example/v1.0/x",
            "the next page is elsewhere",
        ),
        ("{here}?again", "a list without an end"),
    ] {
        let report = at_graph(vec![first(next)]).await;
        assert_nothing(&report);
        assert_has(&report, Check::Consent, Severity::Skipped, says);
    }
}

#[tokio::test]
async fn what_graph_asks_to_wait_for_is_waited_for_within_bounds() {
    let busy = |seconds: &str| {
        refusal(429, "TooManyRequests", "Too many requests").insert_header("Retry-After", seconds)
    };
    let grants = || graph("/oauth2PermissionGrants$");
    let moment = grants().respond_with(busy("0")).up_to_n_times(1).expect(1);
    let report = at_graph(vec![moment]).await;
    assert_nothing(&report);
    assert_has(&report, Check::Consent, Severity::Ok, "for all users");

    let long = grants().respond_with(busy("120")).expect(1);
    let report = at_graph(vec![long]).await;
    assert_nothing(&report);
    let says = "a wait beyond 60 seconds: Microsoft Graph asks for it (too many requests)";
    assert_has(&report, Check::Consent, Severity::Skipped, says);
}

#[tokio::test]
async fn a_tenant_without_a_licence_is_not_told_as_a_missing_permission() {
    for (message, says) in [
        (
            "Your tenant is not licensed for this feature.",
            "the tenant is not licensed",
        ),
        (
            "You cannot perform the requested operation.",
            "lacks Policy.Read.All",
        ),
    ] {
        let answer = refusal(403, "AccessDenied", message);
        let report = at_graph(vec![graph("/policies$").respond_with(answer)]).await;
        assert_nothing(&report);
        for check in [Check::MfaPolicy, Check::StepUpPolicy] {
            assert_has(&report, check, Severity::Skipped, says);
        }
    }
}

/// What is found with a Graph that tells of an application with this secret's end.
async fn with_end(end: Option<&str>) -> Report {
    let stage = Stage::start().await;
    let server = MockServer::start().await;
    let secrets: Vec<_> = end
        .iter()
        .map(|end| json!({ "endDateTime": end }))
        .collect();
    let application = json!({ "passwordCredentials": secrets, "web": { "redirectUris": [] } });
    let answer = ResponseTemplate::new(200).set_body_json(json!({ "value": [application] }));
    Mock::given(method("GET"))
        .and(path("/v1.0/applications"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let folder = Folder::of(&stage.texts);
    let files = Sources::Files(vec![folder.path().join("spa-backend.toml")]);
    let (configurations, _) = Configurations::read(&files, &[]);
    let instance = server.uri().parse().unwrap();
    let options = Options {
        graph: Some(GraphAccess::new("t".into(), None, &instance).unwrap()),
        deadline: Duration::from_secs(10),
        ..Options::default()
    };
    examine(&configurations, &options).await
}

#[tokio::test]
async fn a_secret_that_ends_is_told() {
    let in_days = |days: i64| {
        let at = SystemClock
            .now()
            .checked_add_signed(days * 86_400 + 3600)
            .unwrap();
        let date = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at);
        let (date, time) = (date.date(), date.time());
        format!(
            "{date}T{:02}:{:02}:{:02}Z",
            time.hour(),
            time.minute(),
            time.second()
        )
    };
    for (end, severity, says) in [
        (Some(in_days(200)), Severity::Ok, "200 days"),
        (Some(in_days(10)), Severity::Warning, "expires in 10 days"),
        (Some(in_days(-10)), Severity::Error, "9 days ago"),
        (None, Severity::Error, "neither a secret nor a certificate"),
    ] {
        let report = with_end(end.as_deref()).await;
        assert_has(&report, Check::CredentialExpiry, severity, says);
        let others = wrong(&report)
            .into_iter()
            .filter(|(check, ..)| *check == Check::CredentialExpiry);
        assert_eq!(others.count(), usize::from(severity != Severity::Ok));
    }
}
