//! A binary of its own: the subscriber must be the process's, set before the first event. Beside other tests, events that
//! another thread meets first are cached as unwanted and lost.

#![cfg(test)]

#[expect(
    dead_code,
    reason = "shared with the tests over HTTP, which use more of it"
)]
#[path = "../http/harness.rs"]
mod harness;
#[path = "../http/made.rs"]
#[expect(dead_code, reason = "as the harness")]
mod made;

use harness::{Answer, Browser, C1, Harness, START, claims};
use local_authority::{Directory, ManualClock, Options};
use made::{Made, TYPE};

/// What the subscriber wrote.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("local_authority=trace")
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let certificate = Made::new();
    let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("log-state");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir(&place).unwrap();
    let options = || Options::default().state(place.join("state.json"));
    let mut directory = Directory::demo();
    directory.user_mut("alice").unwrap().otp = Some("one-time".to_owned().into());
    directory.app_mut("daemon").unwrap().certificates = vec![certificate.pem.clone()];
    let start = async || {
        let clock = ManualClock::at(START);
        Harness::start_as(directory.clone(), clock, options()).await
    };
    let authority = start().await.unwrap();
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    let page = authority
        .submit(
            &mut browser,
            "sign-in",
            &[
                ("flow", &page.field("flow")),
                ("username", "alice"),
                ("password", "wrong-password"),
            ],
        )
        .await;
    let flow = page.field("flow");
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    let answer = authority
        .submit(
            &mut browser,
            "mfa",
            &[("flow", &page.field("flow")), ("code", "one-time")],
        )
        .await;
    let code = answer.parameters()["code"].clone();
    authority
        .redeem(&code, &[("client_secret", "wrong-secret")])
        .await;
    let body = authority.redeem(&code, &[]).await.json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    authority.on_behalf_of(&text("access_token"), &[]).await;
    // The state cannot be written, and then it can.
    std::fs::create_dir(place.join("state.json.tmp")).unwrap();
    authority.refresh(&text("refresh_token"), &[]).await;
    std::fs::remove_dir(place.join("state.json.tmp")).unwrap();
    authority.refresh(&text("refresh_token"), &[]).await;
    assert!(authority.running.revoke("alice"));
    let daemon = authority.id("daemon");
    let endpoint = authority.endpoint("oauth2/v2.0/token");
    let [proof, foreign] = [&endpoint, "https://login.example/"]
        .map(|audience| certificate.assertion(&daemon, audience, START));
    for (assertion, status) in [(&proof, 200), (&foreign, 401)] {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "api://downstream-api/.default"),
            ("client_assertion_type", TYPE),
            ("client_assertion", assertion),
        ];
        assert_eq!(authority.token(&form).await.status, status);
    }
    let admin = administer(&authority).await;
    // Loaded under another base URL, and not at all.
    let (cookie, directory, running) = (browser.cookie, authority.directory, authority.running);
    running.shutdown().await;
    let again = start().await.unwrap();
    let busy = start().await.err().unwrap();
    again.running.shutdown().await;
    let state = std::fs::read_to_string(place.join("state.json")).unwrap();
    assert!(state.contains("one-time"));
    std::fs::write(
        place.join("state.json"),
        state.replace("\"otp\":", "\"pto\":"),
    )
    .unwrap();
    let damaged = start().await.err().unwrap();
    tracing::info!(target: "local_authority", ?busy, %busy, ?damaged, %damaged, options = ?options(), "as a program would");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for event in [
        "wrong answer",
        "signed in",
        "code issued",
        "token issued",
        "token refused",
        "revoked",
        "state cannot be written",
        "state is written again",
        "base URL has changed",
        "is damaged",
        "wrong token on the admin page",
        "the admin page was opened",
    ] {
        assert!(log.contains(event), "{event}: {log}");
    }
    let cookie = cookie.unwrap().split_once('=').unwrap().1.to_owned();
    // No value of any claim, beside the secrets.
    let names = [text("access_token"), text("id_token")].map(|token| claims(&token));
    let names: Vec<_> = names
        .iter()
        .flat_map(|claims| claims.as_object().unwrap().values())
        .filter_map(|value| value.as_str().filter(|value| value.len() > 5))
        .collect();
    assert!(names.contains(&directory.user("alice").unwrap().oid.to_string().as_str()));
    let secrets = [
        text("access_token"),
        text("id_token"),
        text("refresh_token"),
        code,
        flow,
        cookie,
        directory
            .app("spa-backend")
            .unwrap()
            .secret()
            .unwrap()
            .to_owned(),
        proof,
        foreign,
        certificate.thumbprint,
        daemon,
        admin[0].clone(),
        admin[1].clone(),
    ];
    for secret in secrets
        .iter()
        .map(String::as_str)
        .chain([
            "alice-in-wonderland",
            "wrong-password",
            "wrong-secret",
            "one-time",
            "control-me",
            "wrong-token",
            "new-code",
        ])
        .chain(names)
    {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// A wrong token, the right one, and a command with a secret in it. The values of cookie and form token.
async fn administer(authority: &Harness) -> [String; 2] {
    let url = format!("{}/admin", authority.running.url());
    let post = async |path: &str, cookie: &str, form: &[(&str, &str)]| {
        let request = authority.http.post(format!("{url}{path}")).form(form);
        let request = request.header("origin", authority.running.url());
        Answer::of(request.header("cookie", cookie).send().await.unwrap()).await
    };
    post("/enter", "", &[("token", "wrong-token")]).await;
    let answer = post("/enter", "", &[("token", "control-me")]).await;
    let set = answer.headers["set-cookie"].to_str().unwrap();
    let cookie = set.split(';').next().unwrap();
    let page = authority.http.get(&url).header("cookie", cookie);
    let form_token = Answer::of(page.send().await.unwrap())
        .await
        .field("form_token");
    let form = [
        ("form_token", form_token.as_str()),
        ("do", "user"),
        ("user", "carol"),
        ("mfa", "registered"),
        ("otp", "new-code"),
    ];
    assert_eq!(post("", cookie, &form).await.status, 303);
    assert_eq!(
        authority.running.directory().user("carol").unwrap().otp(),
        Some("new-code")
    );
    [cookie.split_once('=').unwrap().1.to_owned(), form_token]
}
