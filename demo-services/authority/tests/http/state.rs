//! What survives a restart with a state file, and which files are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use local_authority::{
    Consent, Directory, ManualClock, Options, StartError, StateError, TokenSpec,
};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::graph_story::{CALLBACK, Registered, page, register};
use crate::harness::{Answer, Browser, Harness, MFA_POLICY, START, claims};
use crate::made::{Made, TYPE};

/// The issuer must be the same after a restart, and nobody can promise a free port twice. So the public name is fixed and the client
/// takes the port that is listened on for its proxy: the proxy's requests name the public one.
const PUBLIC: &str = "http://localhost:8080";

const BOB: &str = "b0b00000-0000-4000-8000-000000000002";
const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
const POLICIES: &str = "identity/conditionalAccess/policies";

/// A directory of one test, and an authority that begins from it.
struct Place {
    folder: PathBuf,
    directory: Directory,
    clock: ManualClock,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Directory)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("state-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // A process of the same number may have failed here.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let mut directory = Directory::demo();
        change(&mut directory);
        Self {
            folder,
            directory,
            clock: ManualClock::at(START),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    async fn try_start(&self, file: PathBuf) -> Result<Harness, StartError> {
        let options = Options::default()
            .public_url(PUBLIC.parse().unwrap())
            .state(file);
        let (directory, clock) = (self.directory.clone(), self.clock.clone());
        let mut harness = Harness::start_as(directory, clock, options).await?;
        let listening = format!("http://localhost:{}", harness.running.port());
        harness.http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .proxy(reqwest::Proxy::all(listening).unwrap())
            .build()
            .unwrap();
        Ok(harness)
    }

    async fn start(&self) -> Harness {
        self.try_start(self.file()).await.unwrap()
    }

    /// A start from what is on disk at this moment, as after a crash: the running authority has no chance to write anything more.
    async fn start_after_a_crash(&self) -> Harness {
        let number = fs::read_dir(&self.folder).unwrap().count();
        let file = self.folder.join(format!("crashed-{number}.json"));
        // A copy has the mode of the original.
        fs::copy(self.file(), &file).unwrap();
        self.try_start(file).await.unwrap()
    }

    /// Why the file is refused. It must be left as it is.
    async fn refusal(&self) -> StateError {
        let before = fs::read(self.file()).unwrap();
        let error = match self.try_start(self.file()).await {
            Err(StartError::State(error)) => error,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it starts"),
        };
        assert!(fs::read(self.file()).unwrap() == before);
        assert!(error.to_string().contains("state.json"), "{error}");
        error
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(answer: &Answer, name: &str) -> String {
    let json = answer.json();
    json[name]
        .as_str()
        .unwrap_or_else(|| panic!("{json}"))
        .to_owned()
}

async fn ready(authority: &Harness) -> u16 {
    let url = format!("{}/readyz", authority.running.url());
    authority
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_session_and_its_single_sign_on_survive() {
    let place = Place::new();
    let before = place.start().await;
    let mut browser = Browser::default();
    before.code(&mut browser).await;
    before.running.shutdown().await;
    let after = place.start().await;
    let silent: &[_] = &[("prompt", "none")];
    let answer = after.authorize(&browser, silent).await;
    assert!(answer.parameters().contains_key("code"));
    let answer = after.authorize(&Browser::default(), silent).await;
    assert_eq!(answer.parameters()["error"], "login_required");
    // An end of it survives as well.
    after
        .http
        .get(after.endpoint("oauth2/v2.0/logout"))
        .header("cookie", browser.cookie.as_ref().unwrap())
        .send()
        .await
        .unwrap();
    let again = place.start_after_a_crash().await;
    let answer = again.authorize(&browser, silent).await;
    assert_eq!(answer.parameters()["error"], "login_required");
}

#[tokio::test]
async fn every_refresh_token_that_was_answered_survives_a_crash() {
    let place = Place::new();
    let authority = place.start().await;
    let code = authority.code(&mut Browser::default()).await;
    let mut token = text(&authority.redeem(&code, &[]).await, "refresh_token");
    for _ in 0..3 {
        let crashed = place.start_after_a_crash().await;
        let next = crashed.refresh(&token, &[]).await;
        assert_eq!(next.status, 200, "{}", next.text);
        crashed.running.shutdown().await;
        token = text(&authority.refresh(&token, &[]).await, "refresh_token");
    }
}

#[tokio::test]
async fn a_spent_refresh_token_stays_spent_and_ends_its_family() {
    let place = Place::new();
    let before = place.start().await;
    let code = before.code(&mut Browser::default()).await;
    let first = text(&before.redeem(&code, &[]).await, "refresh_token");
    let second = text(&before.refresh(&first, &[]).await, "refresh_token");
    let after = place.start_after_a_crash().await;
    let reused = after.refresh(&first, &[]).await;
    assert!(text(&reused, "error_description").contains("was used before"));
    let third = place.start_after_a_crash().await;
    assert_eq!(third.refresh(&second, &[]).await.status, 200);
    // Only where the reuse was seen.
    assert_eq!(after.refresh(&second, &[]).await.status, 400);
}

#[tokio::test]
async fn a_redeemed_code_stays_redeemed_and_a_fresh_one_good() {
    let place = Place::new();
    let before = place.start().await;
    let mut browser = Browser::default();
    let (used, fresh) = (
        before.code(&mut browser).await,
        before.code(&mut browser).await,
    );
    let token = text(&before.redeem(&used, &[]).await, "refresh_token");
    before.running.shutdown().await;
    let after = place.start().await;
    assert_eq!(after.redeem(&used, &[]).await.error_code(), 54_005);
    assert_eq!(
        after.refresh(&token, &[]).await.status,
        400,
        "its family ends"
    );
    assert_eq!(after.redeem(&fresh, &[]).await.status, 200);
}

#[tokio::test]
async fn keys_and_records_survive_so_that_an_old_token_is_still_an_assertion() {
    let place = Place::new();
    let before = place.start().await;
    let token = before.access_token(&mut Browser::default()).await;
    let strong = before
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    let first = before.running.kid();
    let second = before.running.rotate_keys().unwrap();
    let jwks = before.running.jwks();
    before.running.shutdown().await;
    let after = place.start().await;
    assert_eq!((after.running.kid(), after.running.jwks()), (second, jwks));
    assert!(after.running.jwks().contains(&first));
    assert_eq!(after.on_behalf_of(&strong, &[]).await.status, 200);
    // What the record says survives: this one came without a second factor.
    assert_eq!(after.on_behalf_of(&token, &[]).await.error_code(), 50_076);
    assert!(after.running.withdraw_key(&first).unwrap());
    after.running.shutdown().await;
    let last = place.start().await;
    assert!(!last.running.jwks().contains(&first));
    assert_eq!(last.on_behalf_of(&strong, &[]).await.error_code(), 50_013);
}

#[tokio::test]
async fn keys_keep_their_age() {
    let place = Place::new();
    let ages = async |authority: &Harness| {
        let page = Admin::open(authority).await.page(authority).await.text;
        let ages = page.split("data-label=\"Age\">").skip(1);
        let ages = ages.map(|rest| rest.split('<').next().unwrap().to_owned());
        ages.collect::<Vec<_>>()
    };
    let before = place.start().await;
    assert_eq!(ages(&before).await, ["0 s"]);
    place.clock.advance(3 * 86_400);
    // What is published outlives the skew, and so does its age.
    before.running.skew(86_400);
    before.running.rotate_keys().unwrap();
    before.running.skew(0);
    place.clock.advance(60);
    assert_eq!(ages(&before).await, ["60 s", "3 days"]);
    before.running.shutdown().await;
    place.clock.advance(60);
    assert_eq!(ages(&place.start().await).await, ["2 min", "3 days"]);
}

#[tokio::test]
async fn consent_survives() {
    let place = Place::with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = Consent::Required;
    });
    let before = place.start().await;
    let mut browser = Browser::default();
    let page = before.authorize(&browser, &[]).await;
    let page = before.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_consent());
    let undecided = place.start_after_a_crash().await;
    assert!(undecided.authorize(&browser, &[]).await.is_consent());
    before.accept(&mut browser, &page).await;
    before.running.shutdown().await;
    let after = place.start().await;
    let answer = after.authorize(&browser, &[("prompt", "none")]).await;
    assert!(answer.parameters().contains_key("code"));
}

#[tokio::test]
async fn a_revocation_survives() {
    let place = Place::new();
    let before = place.start().await;
    let mut browser = Browser::default();
    let spec = || TokenSpec::user("alice", "middle-tier").mfa();
    let code = before.code(&mut browser).await;
    let refresh = text(&before.redeem(&code, &[]).await, "refresh_token");
    let revoked = before.running.issue(spec());
    assert!(before.running.revoke("alice"));
    let fresh = before.running.issue(spec());
    before.running.shutdown().await;
    let after = place.start().await;
    assert_eq!(after.on_behalf_of(&revoked, &[]).await.error_code(), 50_173);
    assert_eq!(after.refresh(&refresh, &[]).await.error_code(), 50_173);
    assert!(after.authorize(&browser, &[]).await.is_sign_in());
    assert_eq!(after.on_behalf_of(&fresh, &[]).await.status, 200);
}

#[tokio::test]
async fn a_switched_policy_stays_switched() {
    let place = Place::new();
    let before = place.start().await;
    let weak = before
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    assert_eq!(before.on_behalf_of(&weak, &[]).await.error_code(), 50_076);
    let command = serde_json::json!({ "do": "policy", "name": MFA_POLICY, "enabled": false });
    let request = before.http.post(format!("{PUBLIC}/control"));
    let request = request.header("x-control", "control-me").json(&command);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let after = place.start_after_a_crash().await;
    assert!(
        !after
            .running
            .directory()
            .policy(MFA_POLICY)
            .unwrap()
            .enabled
    );
    assert_eq!(after.on_behalf_of(&weak, &[]).await.status, 200);
}

#[tokio::test]
async fn wrong_answers_still_count() {
    let place = Place::new();
    let before = place.start().await;
    let mut browser = Browser::default();
    let guess = async |authority: &Harness, browser: &mut Browser, password: &str| {
        let page = authority.authorize(browser, &[]).await;
        let form = [
            ("flow", &*page.field("flow")),
            ("username", "alice"),
            ("password", password),
        ];
        authority.submit(browser, "sign-in", &form).await
    };
    for _ in 0..5 {
        guess(&before, &mut browser, "wrong").await;
    }
    before.running.shutdown().await;
    let after = place.start().await;
    let right = place.directory.user("alice").unwrap().password();
    let locked = guess(&after, &mut browser, right).await;
    assert_eq!(locked.parameters()["error"], "access_denied");
    place.clock.advance(600);
    let answer = guess(&after, &mut browser, right).await;
    assert!(answer.parameters().contains_key("code"));
}

#[tokio::test]
async fn what_expired_while_it_was_away_has_expired() {
    let place = Place::new();
    let before = place.start().await;
    let mut browser = Browser::default();
    let codes = [
        before.code(&mut browser).await,
        before.code(&mut browser).await,
    ];
    let refresh = text(&before.redeem(&codes[0], &[]).await, "refresh_token");
    before.running.shutdown().await;
    let size = fs::metadata(place.file()).unwrap().len();
    place.clock.advance(299);
    let still = place.start_after_a_crash().await;
    assert_eq!(still.redeem(&codes[1], &[]).await.status, 200);
    place.clock.advance(1);
    let over = place.start().await;
    assert_eq!(over.redeem(&codes[1], &[]).await.error_code(), 70_008);
    over.running.shutdown().await;
    place.clock.advance(86_400);
    let over = place.start().await;
    assert!(over.authorize(&browser, &[]).await.is_sign_in());
    assert_eq!(over.refresh(&refresh, &[]).await.error_code(), 700_082);
    over.running.shutdown().await;
    place.clock.advance(86_400);
    place.start().await.running.shutdown().await;
    assert!(
        fs::metadata(place.file()).unwrap().len() < size,
        "forgotten"
    );
}

#[tokio::test]
async fn another_base_url_is_another_issuer_for_the_same_sessions() {
    let place = Place::new();
    let before = place.start().await;
    let mut browser = Browser::default();
    let code = before.code(&mut browser).await;
    let refresh = text(&before.redeem(&code, &[]).await, "refresh_token");
    let token = before
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    before.running.shutdown().await;
    let options = Options::default().state(place.file());
    let after = Harness::start_as(place.directory.clone(), place.clock.clone(), options)
        .await
        .unwrap();
    assert_ne!(after.running.url(), PUBLIC);
    assert_eq!(after.on_behalf_of(&token, &[]).await.error_code(), 50_013);
    let answer = after.refresh(&refresh, &[]).await;
    assert_eq!(
        claims(&text(&answer, "access_token"))["iss"],
        after.running.issuer()
    );
    assert!(
        after
            .authorize(&browser, &[])
            .await
            .parameters()
            .contains_key("code")
    );
}

#[tokio::test]
async fn each_damage_is_refused_with_the_file_untouched() {
    let place = Place::new();
    place.start().await.running.shutdown().await;
    let good = fs::read_to_string(place.file()).unwrap();
    for (bad, expected) in [
        (String::new(), "too early"),
        (good[..good.len() / 2].to_owned(), "too early"),
        ("not hunter2".to_owned(), "not JSON"),
        (good.replace("\"version\":1", "\"version\":2"), "version 2"),
        (
            good.replace("\"pkcs8\":\"", "\"pkcs8\":\"AAAA"),
            "signing key",
        ),
        (
            good.replace("\"sessions\":[]", "\"sessions\":[7]"),
            "wrong members",
        ),
        (
            good.replace("\"mfa\":true", "\"mfa\":\"hunter2\""),
            "wrong members",
        ),
        (
            good.replace("\"password\":\"alice-in-wonderland\"", "\"password\":\"\""),
            "password",
        ),
    ] {
        assert_ne!(bad, good);
        fs::write(place.file(), &bad).unwrap();
        let error = place.refusal().await.to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("delete it"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    fs::write(place.file(), &good).unwrap();
    place.start().await;
}

#[tokio::test]
async fn a_code_for_what_is_not_there_is_damage() {
    let place = Place::new();
    let before = place.start().await;
    before.code(&mut Browser::default()).await;
    let client = before.id("spa-backend");
    before.running.shutdown().await;
    let good = fs::read_to_string(place.file()).unwrap();
    let named = format!("\"request\":{{\"client\":\"{client}\"");
    let other = "\"request\":{\"client\":\"99999999-9999-4999-8999-999999999999\"".to_owned();
    assert!(good.contains(&named));
    fs::write(place.file(), good.replace(&named, &other)).unwrap();
    let error = place.refusal().await.to_string();
    assert!(error.contains("application"), "{error}");
}

#[tokio::test]
async fn a_deleted_application_leaves_nothing_behind() {
    let place = Place::with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = Consent::Required;
    });
    let authority = place.start().await;
    let client = authority.id("spa-backend");
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    let answer = authority.accept(&mut browser, &page).await;
    let code = answer.parameters()["code"].clone();
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
    let written = || fs::read_to_string(place.file()).unwrap();
    assert!(written().contains(&client));
    let path = format!("applications(appId='{client}')");
    let app = authority.admin("GET", &path, None, 200).await;
    authority.admin("DELETE", &path, None, 204).await;
    // Only the application itself is there, to be brought back.
    let mut json: Value = serde_json::from_str(&written()).unwrap();
    let deleted = json["directory"]["deleted_apps"].take().to_string();
    assert!(deleted.contains(&client) && !json.to_string().contains(&client));
    authority.running.shutdown().await;
    let authority = place.start().await;
    let item = format!("directory/deletedItems/{}", app["id"].as_str().unwrap());
    let told = authority.admin("GET", &item, None, 200).await;
    assert_eq!(told["appId"], app["appId"]);
    authority.admin("DELETE", &item, None, 204).await;
    assert!(!written().contains(&client));
}

#[tokio::test]
async fn another_directory_is_refused_until_it_is_put_back() {
    let mut place = Place::new();
    place.start().await.running.shutdown().await;
    let given = place.directory.clone();
    place.directory.user_mut("alice").unwrap().display_name = "Somebody Else".into();
    let error = place.refusal().await;
    assert!(matches!(error, StateError::DirectoryChanged { .. }));
    let error = error.to_string();
    assert!(
        error.starts_with("the directory file has changed since "),
        "{error}"
    );
    assert!(
        error.ends_with(" to start afresh, or put the directory back"),
        "{error}"
    );
    place.directory = given;
    place.start().await;
}

#[tokio::test]
async fn one_state_file_has_one_authority() {
    let place = Place::new();
    let first = place.start().await;
    assert!(matches!(place.refusal().await, StateError::InUse { .. }));
    first.running.shutdown().await;
    place.start().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_others_can_read_is_refused_with_the_way_to_mend_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.start().await.running.shutdown().await;
    let mode = |mode| fs::set_permissions(place.file(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let error = place.refusal().await.to_string();
    assert!(
        error.contains(&format!("chmod 600 {}", place.file().display())),
        "{error}"
    );
    mode(0o600);
    place.start().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_no_start() {
    let place = Place::new();
    for file in [
        place.folder.join("missing/state.json"),
        place.folder.clone(),
    ] {
        let started = place.try_start(file).await;
        assert!(matches!(started, Err(StartError::State(_))));
    }
    fs::create_dir(place.folder.join("state.json.tmp")).unwrap();
    let Err(StartError::State(StateError::Io { action, .. })) = place.try_start(place.file()).await
    else {
        panic!("it starts")
    };
    assert_eq!(action, "write");
    assert!(!place.file().exists());
}

#[tokio::test]
async fn a_disk_that_fails_costs_readiness_and_no_request() {
    let place = Place::new();
    let authority = place.start().await;
    let code = authority.code(&mut Browser::default()).await;
    let first = text(&authority.redeem(&code, &[]).await, "refresh_token");
    assert_eq!(ready(&authority).await, 200);
    let old = fs::read(place.file()).unwrap();
    // Where the new file would be written, something else is.
    let obstacle = place.folder.join("state.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    let second = text(&authority.refresh(&first, &[]).await, "refresh_token");
    let third = text(&authority.refresh(&second, &[]).await, "refresh_token");
    assert_eq!(ready(&authority).await, 503);
    assert!(fs::read(place.file()).unwrap() == old);
    // It is tried again at the next change.
    fs::remove_dir(&obstacle).unwrap();
    let fourth = text(&authority.refresh(&third, &[]).await, "refresh_token");
    assert_eq!(ready(&authority).await, 200);
    let crashed = place.start_after_a_crash().await;
    assert_eq!(crashed.refresh(&fourth, &[]).await.status, 200);
    // Or at the end.
    fs::create_dir(&obstacle).unwrap();
    let fifth = text(&authority.refresh(&fourth, &[]).await, "refresh_token");
    assert_eq!(ready(&authority).await, 503);
    fs::remove_dir(&obstacle).unwrap();
    authority.running.shutdown().await;
    assert_eq!(place.start().await.refresh(&fifth, &[]).await.status, 200);
}

#[tokio::test]
async fn without_a_change_nothing_is_written() {
    let place = Place::new();
    let authority = place.start().await;
    fs::remove_file(place.file()).unwrap();
    for path in [
        "discovery/v2.0/keys",
        "v2.0/.well-known/openid-configuration",
    ] {
        authority
            .http
            .get(authority.endpoint(path))
            .send()
            .await
            .unwrap();
    }
    assert!(
        authority
            .authorize(&Browser::default(), &[])
            .await
            .is_sign_in()
    );
    assert_eq!(authority.refresh("x.y", &[]).await.status, 400);
    assert!(!place.file().exists());
    authority.code(&mut Browser::default()).await;
    assert!(place.file().exists());
}

/// Three applications that were registered through Graph, and what their clients hold.
struct Story {
    web: Registered,
    middle: Registered,
    down: Registered,
    secret: String,
    certificate: Made,
}

impl Story {
    async fn begin(authority: &Harness) -> Self {
        let redirects = json!({ "web": { "redirectUris": [CALLBACK] } });
        let web = register(authority, "web", redirects).await;
        let middle = register(authority, "middle", json!({})).await;
        let down = register(authority, "down", json!({})).await;
        web.needs(authority, &middle).await;
        middle.needs(authority, &down).await;
        web.granted(authority, &middle).await;
        middle.granted(authority, &down).await;
        let secret = web.secret(authority).await;
        let certificate = Made::new();
        let key = json!({ "keyCredentials": [{
            "type": "AsymmetricX509Cert", "usage": "Verify", "key": certificate.base64(), "displayName": "the key",
        }] });
        let path = format!("applications/{}", middle.id);
        authority.admin("PATCH", &path, Some(key), 204).await;
        Self {
            web,
            middle,
            down,
            secret,
            certificate,
        }
    }

    /// A policy on the API behind that spares bob, and a context of its own.
    async fn guard(&self, authority: &Harness) {
        let context =
            json!({ "displayName": "Pay", "description": "for payments", "isAvailable": true });
        authority
            .admin("PUT", &format!("{CONTEXTS}/c7"), Some(context), 204)
            .await;
        let policy = json!({
            "displayName": "MFA for down",
            "state": "enabled",
            "conditions": {
                "applications": { "includeApplications": [self.down.app_id] },
                "users": { "includeUsers": ["All"], "excludeUsers": [BOB] },
            },
            "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
        });
        authority.admin("POST", POLICIES, Some(policy), 201).await;
    }

    /// A user's token for the API in the middle, with the secret.
    async fn token(&self, authority: &Harness, user: &str) -> String {
        let scope = format!("api://{}/access_as_user openid", self.middle.app_id);
        let page = page(authority, &self.web, &scope).await;
        let answer = authority
            .sign_in(&mut Browser::default(), &page, user)
            .await;
        let changes = [
            ("client_id", self.web.app_id.as_str()),
            ("client_secret", &self.secret),
            ("redirect_uri", CALLBACK),
            ("scope", &scope),
        ];
        let code = answer.parameters()["code"].clone();
        text(&authority.redeem(&code, &changes).await, "access_token")
    }

    /// The exchange with the certificate.
    async fn exchange(&self, authority: &Harness, token: &str) -> Answer {
        let audience = authority.endpoint("oauth2/v2.0/token");
        let proof = self
            .certificate
            .assertion(&self.middle.app_id, &audience, START);
        let scope = format!("api://{}/access_as_user", self.down.app_id);
        let changes = [
            ("client_id", self.middle.app_id.as_str()),
            ("client_secret", ""),
            ("client_assertion_type", TYPE),
            ("client_assertion", &proof),
            ("scope", &scope),
        ];
        authority.on_behalf_of(token, &changes).await
    }

    /// All that Graph tells of it.
    async fn told(&self, authority: &Harness) -> Vec<Value> {
        let mut told = Vec::new();
        for app in [&self.web, &self.middle, &self.down] {
            let (app, principal) = (&app.id, &app.principal);
            for path in [
                format!("applications/{app}"),
                format!("applications/{app}/owners"),
                format!("servicePrincipals/{principal}"),
            ] {
                told.push(authority.admin("GET", &path, None, 200).await);
            }
        }
        for path in ["oauth2PermissionGrants", POLICIES, CONTEXTS, "me"] {
            told.push(authority.admin("GET", path, None, 200).await);
        }
        told
    }
}

#[tokio::test]
async fn what_was_registered_through_graph_works_after_a_restart_as_before() {
    let place = Place::new();
    let before = place.start().await;
    let story = Story::begin(&before).await;
    let first = story.token(&before, "alice").await;
    assert_eq!(story.exchange(&before, &first).await.status, 200);
    story.guard(&before).await;
    assert_eq!(story.exchange(&before, &first).await.error_code(), 50_076);
    let profile = json!({ "displayName": "Alice L.", "mobilePhone": "+1 555 0100" });
    before.admin("PATCH", "me", Some(profile), 204).await;
    let told = story.told(&before).await;
    before.running.shutdown().await;

    let after = place.start().await;
    assert_eq!(story.told(&after).await, told);
    assert_eq!(told.last().unwrap()["mobilePhone"], "+1 555 0100");
    // An old token, a new sign-in with the secret, the grants, the certificate, and the policy with its exception.
    assert_eq!(story.exchange(&after, &first).await.error_code(), 50_076);
    let second = story.token(&after, "alice").await;
    assert_eq!(claims(&second)["name"], "Alice L.");
    assert_eq!(story.exchange(&after, &second).await.error_code(), 50_076);
    let spared = story.token(&after, "bob").await;
    let answer = story.exchange(&after, &spared).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        claims(&text(&answer, "access_token"))["aud"],
        story.down.app_id
    );
    // What did not belong to it does not work.
    let stranger = Story {
        certificate: Made::new(),
        ..story
    };
    assert_eq!(
        stranger.exchange(&after, &spared).await.error_code(),
        700_027
    );
}
