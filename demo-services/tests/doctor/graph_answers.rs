//! What is made of single answers of Graph, faults among them: a stand-in gives them.

use std::time::Duration;

use demo_services::tenant::doctor::{
    Check, Configurations, GraphAccess, Options, Report, Service, Severity, Sources, examine,
};
use serde_json::{Value, json};
use tower_bearer::clock::{Clock as _, SystemClock};
use wiremock::matchers::{method, path_regex, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::stage::{Folder, Stage, assert_has, assert_nothing, assert_only, wrong};

const SPA: Option<Service> = Some(Service::SpaBackend);

/// A Graph of one client, the SPA backend, that is all as it should be, but for what is given.
async fn at_graph(broken: Vec<Mock>) -> Report {
    at_graph_within(60, broken).await
}

/// With a deadline of so many seconds.
async fn at_graph_within(seconds: u64, broken: Vec<Mock>) -> Report {
    let stage = Stage::start().await;
    let server = MockServer::start().await;
    // The first that fits answers.
    for mock in broken {
        mock.mount(&server).await;
    }
    let application = application(json!([{ "endDateTime": "2999-01-01T00:00:00Z" }]));
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
    let named = server.uri().parse().unwrap();
    let options = Options {
        graph: Some(GraphAccess::new("t".into(), Some(named)).unwrap()),
        deadline: Duration::from_secs(seconds),
        ..Options::default()
    };
    let report = examine(&configurations, &options).await;
    server.verify().await;
    report
}

/// The SPA backend, with these secrets.
fn application(secrets: Value) -> Value {
    let uris = ["http://localhost:3/auth/callback", "http://localhost:3/"];
    json!({ "web": { "redirectUris": uris }, "passwordCredentials": secrets })
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

    let silent = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
    let report = at_graph_within(2, vec![grants().respond_with(silent)]).await;
    let says = "Microsoft Graph does not answer within 2 seconds";
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
        (Some(in_days(-10)), Severity::Error, "expired 9 days ago"),
        (None, Severity::Error, "neither a secret nor a certificate"),
    ] {
        let ends = end.iter().map(|end| json!({ "endDateTime": end }));
        let answer = json!({ "value": [application(ends.collect())] });
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        let report = at_graph(vec![graph("/applications$").respond_with(answer)]).await;
        assert_has(&report, Check::CredentialExpiry, severity, says);
        assert_eq!(wrong(&report).len(), usize::from(severity != Severity::Ok));
    }
}

/// What Graph has against the token is told once, whatever it is asked.
#[tokio::test]
async fn a_token_that_graph_does_not_take_is_told_once() {
    let challenge = "Bearer error=\"insufficient_claims\", claims=\"e30=\"";
    let plain = refusal(401, "InvalidAuthenticationToken", "x");
    for (answer, says) in [
        (plain.clone(), "refuses it"),
        (
            plain.insert_header("WWW-Authenticate", challenge),
            "demands more of the sign-in",
        ),
    ] {
        let report = at_graph(vec![graph("").respond_with(answer)]).await;
        let (check, severity) = (Check::GraphToken, Severity::Warning);
        assert_only(&report, check, None, severity, says);
        assert_eq!(report.text().matches(says).count(), 1, "{}", report.text());
        for check in [Check::Registration, Check::Consent, Check::MfaPolicy] {
            assert_has(&report, check, Severity::Skipped, "see graph-token");
        }
    }
}

#[tokio::test]
async fn a_404_of_another_server_decides_nothing() {
    let foreign = ResponseTemplate::new(404).set_body_string("<h1>Not Found</h1>");
    let report = at_graph(vec![
        graph("/oauth2PermissionGrants$").respond_with(foreign),
    ])
    .await;
    assert_nothing(&report);
    let says = "is not one of Microsoft Graph";
    assert_has(&report, Check::Consent, Severity::Skipped, says);
}
