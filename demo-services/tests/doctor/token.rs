//! `doctor --token -`: why a token would be refused, with nothing of it in the words.

use demo_services::tenant::doctor::{Check, LONGEST_TOKEN, Service, Severity};
use local_authority::{Consent, TokenSpec, TokenVersion};

use crate::stage::{Stage, assert_discreet, assert_has, assert_nothing, assert_only, wrong};

const MIDDLE: Option<Service> = Some(Service::MiddleTier);
const OTHER: &str = "99999999-2222-3333-4444-555555555555";

fn good() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier")
        .mfa()
        .capabilities(["cp1"])
}

#[tokio::test]
async fn a_good_token_is_accepted_and_exchanged() {
    let stage = Stage::start().await;
    let token = stage.authority.issue(good());
    for text in [
        token.clone(),
        format!("Bearer {token}\n"),
        format!("  {token}  "),
    ] {
        let report = stage.explain(&text).await;
        assert_nothing(&report);
        assert_has(&report, Check::Token, Severity::Ok, "takes it");
        assert_has(
            &report,
            Check::TokenScope,
            Severity::Ok,
            "user_impersonation",
        );
        assert_has(&report, Check::OnBehalfOf, Severity::Ok, "exchanges it");
        assert_has(
            &report,
            Check::Token,
            Severity::Skipped,
            "it is for the middle-tier",
        );
        assert_discreet(&stage, &report, Some(&token));
    }
}

#[tokio::test]
async fn each_refusal_is_explained_alone() {
    let stage = Stage::start().await;
    let issuer = stage.authority.issuer().to_owned();
    let foreign = issuer.replace(&stage.authority.tenant().to_string(), OTHER);
    let rows = [
        (
            good().audience("https://graph.microsoft.com"),
            Check::TokenAudience,
            "Microsoft Graph",
        ),
        (
            good().audience("api://somebody"),
            Check::TokenAudience,
            "another application",
        ),
        (good().without("aud"), Check::TokenAudience, "nobody"),
        (
            good().version(TokenVersion::V1),
            Check::TokenVersionClaim,
            "requestedAccessTokenVersion",
        ),
        (
            good().issuer(&foreign).claim("tid", OTHER),
            Check::TokenIssuer,
            "another tenant",
        ),
        (
            good().issuer("https://login.example/x/v2.0"),
            Check::TokenIssuer,
            "another cloud or host",
        ),
        (
            good()
                .issuer(&foreign)
                .claim("tid", "9188040d-6c67-4c5b-b112-36a304b66dad"),
            Check::TokenIssuer,
            "personal Microsoft account",
        ),
        (
            good().expires_in(-7200),
            Check::TokenTime,
            "expired 2 hours ago",
        ),
        (
            good().issued_in(88_000).expires_in(90_000),
            Check::TokenTime,
            "not valid before 24 hours from now",
        ),
        (
            good().without("exp"),
            Check::TokenTime,
            "missing or malformed",
        ),
        (
            good().foreign_key(),
            Check::TokenSignature,
            "does not verify",
        ),
        (
            good().foreign_key().header("nonce", "n"),
            Check::TokenSignature,
            "a nonce in the header",
        ),
        (
            good().kid("nobodys"),
            Check::TokenSignature,
            "no key of this authority",
        ),
        (good().without("azp"), Check::TokenKind, "no access token"),
        (good().claim("cnf", "x"), Check::TokenKind, "bound to a key"),
        (
            good().header("alg", "ES256"),
            Check::TokenFormat,
            "algorithm",
        ),
        (good().header("crit", "x"), Check::TokenFormat, "header"),
    ];
    for (spec, check, says) in rows {
        let token = stage.authority.issue(spec);
        let report = stage.explain(&token).await;
        let found = wrong(&report);
        let checks: Vec<Check> = found.iter().map(|(check, ..)| *check).collect();
        assert_eq!(checks, [Check::Token, check], "{says}: {}", report.text());
        let detail = report
            .findings
            .iter()
            .find(|finding| finding.check == check)
            .unwrap();
        let words = format!("{} {}", detail.says, detail.mend.clone().unwrap());
        assert!(words.contains(says), "{says}: {words}");
        assert_discreet(&stage, &report, Some(&token));
    }
}

/// The id of the application that it is for leads on; nothing else that stands in `aud` is shown.
#[tokio::test]
async fn whom_a_token_is_for_is_told_by_its_client_id_alone() {
    const ID: &str = "99999999-0000-4000-8000-000000000000";
    let stage = Stage::start().await;
    for (audience, shown) in [
        (ID, true),
        ("api://hush", false),
        ("alice@contoso.example", false),
    ] {
        let token = stage.authority.issue(good().audience(audience));
        let text = stage.explain(&token).await.text();
        assert_eq!(text.contains(audience), shown, "{text}");
        let mend = format!("set `client_id` of the middle-tier to {ID}");
        assert_eq!(text.contains(&mend), shown, "{text}");
    }
}

#[tokio::test]
async fn what_is_no_token_is_told() {
    let stage = Stage::start().await;
    let token = stage.authority.issue(good());
    let (cut, _) = token.split_at(token.find('.').unwrap() + 20);
    let five = format!("{token}.x.y");
    let two = format!("{token}\n{token}");
    let long = "x".repeat(LONGEST_TOKEN + 1);
    for (text, says) in [
        ("", "no token"),
        ("EwBIA8l6BAAU", "opaque"),
        (cut, "opaque"),
        (&five, "encrypted"),
        (&two, "two tokens"),
        ("a.b.c", "cut off or changed"),
        (&long, "more than"),
    ] {
        let report = stage.explain(text).await;
        assert_only(&report, Check::TokenFormat, None, Severity::Error, says);
    }
    let signature = token.rfind('.').unwrap();
    let damaged = format!("{}.!!!", &token[..signature]);
    let report = stage.explain(&damaged).await;
    assert_has(&report, Check::TokenFormat, Severity::Error, "damaged");
}

#[tokio::test]
async fn a_token_of_the_next_tier_is_explained_by_that() {
    let stage = Stage::start().await;
    let token = stage
        .authority
        .issue(TokenSpec::user("alice", "downstream-api").capabilities(["cp1"]));
    let report = stage.explain(&token).await;
    assert_nothing(&report);
    assert_has(
        &report,
        Check::TokenContext,
        Severity::Ok,
        "does not satisfy",
    );
    let token = stage.authority.issue(
        TokenSpec::user("alice", "downstream-api")
            .capabilities(["cp1"])
            .acrs(["c1"]),
    );
    let report = stage.explain(&token).await;
    assert_has(&report, Check::TokenContext, Severity::Ok, "it satisfies");
    assert_discreet(&stage, &report, Some(&token));
}

#[tokio::test]
async fn what_an_accepted_token_may_not_do_is_told() {
    let stage = Stage::start().await;
    let rows = [
        (
            good().scopes(["other"]),
            Check::TokenScope,
            MIDDLE,
            Severity::Error,
            "user_impersonation",
        ),
        (
            good().capabilities::<&str>([]),
            Check::TokenChallenges,
            MIDDLE,
            Severity::Warning,
            "plain 403",
        ),
        (
            TokenSpec::app("daemon", "middle-tier"),
            Check::TokenCaller,
            MIDDLE,
            Severity::Error,
            "no user",
        ),
        (
            TokenSpec::app("spa-backend", "downstream-api"),
            Check::TokenCaller,
            Some(Service::DownstreamApi),
            Severity::Error,
            "no user",
        ),
    ];
    for (spec, check, service, severity, says) in rows {
        let token = stage.authority.issue(spec);
        let report = stage.explain(&token).await;
        assert_only(&report, check, service, severity, says);
        assert_discreet(&stage, &report, Some(&token));
    }
    let token = stage
        .authority
        .issue(TokenSpec::app("daemon", "downstream-api"));
    let report = stage.explain(&token).await;
    assert_nothing(&report);
    assert_has(&report, Check::TokenCaller, Severity::Ok, "GET /admin");
}

#[tokio::test]
async fn what_the_exchange_meets_is_told() {
    let stage = Stage::start().await;
    let without_mfa = TokenSpec::user("alice", "middle-tier").capabilities(["cp1"]);
    let report = stage.explain(&stage.authority.issue(without_mfa)).await;
    assert_nothing(&report);
    assert_has(
        &report,
        Check::OnBehalfOf,
        Severity::Ok,
        "demands more of the user",
    );

    let deaf = TokenSpec::user("alice", "middle-tier");
    let report = stage.explain(&stage.authority.issue(deaf)).await;
    assert_has(
        &report,
        Check::OnBehalfOf,
        Severity::Warning,
        "cannot answer a challenge",
    );

    let required = Stage::start_with(|directory| {
        directory.app_mut("middle-tier").unwrap().consent = Consent::Required
    })
    .await;
    let report = required.explain(&required.authority.issue(good())).await;
    assert_only(
        &report,
        Check::Consent,
        MIDDLE,
        Severity::Error,
        "AADSTS65001",
    );

    let report = stage
        .explain_with(
            |texts| {
                texts.middle = texts
                    .middle
                    .replace("client_secret = \"", "client_secret = \"wrong-")
            },
            &stage.authority.issue(good()),
        )
        .await;
    assert_only(
        &report,
        Check::OnBehalfOf,
        MIDDLE,
        Severity::Error,
        "AADSTS7000215",
    );
}

#[tokio::test]
async fn without_keys_nothing_is_decided() {
    let Stage { authority, texts } = Stage::start().await;
    let token = authority.issue(good());
    // Both run for a moment, so that the other one does not get this one's port.
    let other = Stage::start().await;
    authority.shutdown().await;
    let stage = Stage { texts, ..other };
    let report = stage.explain(&token).await;
    assert_has(
        &report,
        Check::TokenSignature,
        Severity::Error,
        "cannot be fetched",
    );
}
