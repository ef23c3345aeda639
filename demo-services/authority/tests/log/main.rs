//! A binary of its own: the subscriber must be the process's, set before the first event. Beside other tests, events that
//! another thread meets first are cached as unwanted and lost.

#![cfg(test)]

#[expect(
    dead_code,
    reason = "shared with the tests over HTTP, which use more of it"
)]
#[path = "../http/harness.rs"]
mod harness;

use harness::{Answer, Browser, C1, Harness, claims};

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
    let authority = Harness::with(|directory| {
        directory.user_mut("alice").unwrap().otp = Some("one-time".to_owned().into());
    })
    .await;
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
    authority.refresh(&text("refresh_token"), &[]).await;
    authority.refresh(&text("refresh_token"), &[]).await;
    assert!(authority.running.revoke("alice"));
    let admin = administer(&authority).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for event in [
        "wrong answer",
        "signed in",
        "code issued",
        "token issued",
        "token refused",
        "revoked",
        "wrong token on the admin page",
        "the admin page was opened",
    ] {
        assert!(log.contains(event), "{event}: {log}");
    }
    let cookie = browser
        .cookie
        .unwrap()
        .split_once('=')
        .unwrap()
        .1
        .to_owned();
    // No value of any claim, beside the secrets.
    let names = [text("access_token"), text("id_token")].map(|token| claims(&token));
    let names: Vec<_> = names
        .iter()
        .flat_map(|claims| claims.as_object().unwrap().values())
        .filter_map(|value| value.as_str().filter(|value| value.len() > 5))
        .collect();
    assert!(
        names.contains(
            &authority
                .directory
                .user("alice")
                .unwrap()
                .oid
                .to_string()
                .as_str()
        )
    );
    let secrets = [
        text("access_token"),
        text("id_token"),
        text("refresh_token"),
        code,
        flow,
        cookie,
        authority.secret("spa-backend"),
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
