//! `/admin`: its guard, rule by rule, and what each of its buttons does.

use crate::harness::{Answer, Browser, DOWNSTREAM, Harness, MFA_POLICY, REDIRECT};
use local_authority::{Consent, Directory, LocalAuthority, Mfa, Options, Target, TokenSpec};

const HOURS_8: u64 = 8 * 3600;

/// A session of the admin page.
pub(crate) struct Admin {
    pub(crate) cookie: String,
    pub(crate) form_token: String,
}

type Headers<'a> = &'a [(&'a str, &'a str)];
type Form<'a> = &'a [(&'a str, &'a str)];

async fn post(authority: &Harness, path: &str, headers: Headers<'_>, form: Form<'_>) -> Answer {
    let url = format!("{}{path}", authority.running.url());
    let mut request = authority.http.post(url).form(form);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn enter(authority: &Harness, headers: Headers<'_>, token: &str) -> Answer {
    post(authority, "/admin/enter", headers, &[("token", token)]).await
}

impl Admin {
    pub(crate) async fn open(authority: &Harness) -> Self {
        let origin = authority.running.url();
        let answer = enter(authority, &[("origin", origin)], "control-me").await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        assert_eq!(answer.headers["location"], "/admin");
        let set = answer.headers["set-cookie"].to_str().unwrap();
        assert!(
            set.starts_with("__Host-authority-admin=")
                && set.ends_with("; HttpOnly; SameSite=Strict; Secure; Path=/"),
            "{set}"
        );
        let cookie = set.split(';').next().unwrap().to_owned();
        let mut admin = Self {
            cookie,
            form_token: String::new(),
        };
        admin.form_token = admin.page(authority).await.field("form_token");
        admin
    }

    pub(crate) async fn page(&self, authority: &Harness) -> Answer {
        let request = authority
            .http
            .get(format!("{}/admin", authority.running.url()))
            .header("cookie", &self.cookie);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Sends the form that has a button of this name or label, with these fields filled in, and returns the page after it.
    async fn press(&self, authority: &Harness, button: &str, filled: Form<'_>) -> Answer {
        let page = self.page(authority).await.text;
        let label = (format!("\"{button}\">"), format!(">{button}</button>"));
        let form = page
            .split("<form ")
            .filter_map(|rest| rest.split_once("</form>"))
            .map(|(form, _)| form)
            .find(|form| form.contains(&label.0) || form.contains(&label.1))
            .unwrap_or_else(|| panic!("no button {button}: {page}"));
        let mut fields: Vec<(String, String)> = form
            .split("type=\"hidden\" name=\"")
            .skip(1)
            .map(|rest| {
                let mut quoted = rest.split('"');
                let name = quoted.next().unwrap().to_owned();
                (name, quoted.nth(1).unwrap().to_owned())
            })
            .collect();
        for (name, value) in filled {
            assert!(form.contains(&format!("name=\"{name}\"")), "{name}: {form}");
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = self.send(authority, "/admin", &[], &fields).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        assert_eq!(answer.headers["location"], "/admin");
        self.page(authority).await
    }

    /// Posts from a page of the authority's own, with this session's cookie.
    async fn send(
        &self,
        authority: &Harness,
        path: &str,
        headers: Headers<'_>,
        form: Form<'_>,
    ) -> Answer {
        let own = [
            ("origin", authority.running.url()),
            ("cookie", &self.cookie),
        ];
        let headers: Vec<_> = own.into_iter().chain(headers.iter().copied()).collect();
        post(authority, path, &headers, form).await
    }
}

#[tokio::test]
async fn without_control_there_is_no_admin_page() {
    let running = LocalAuthority::start(Directory::demo(), Options::default())
        .await
        .unwrap();
    let http = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", running.url());
    let get = http.get(url("/admin")).send().await.unwrap();
    assert_eq!(get.status(), 404);
    for path in ["/admin", "/admin/enter", "/admin/leave"] {
        let request = http.post(url(path)).header("origin", running.url());
        let answer = request.form(&[("token", "")]).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    let authority = Harness::start().await;
    let answer = authority
        .http
        .get(format!("{}/admin", authority.running.url()))
        .send();
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_page_is_for_loopback_names_only() {
    let options = Options::default()
        .public_url("https://login.example".parse().unwrap())
        .control_token("control-me");
    let running = LocalAuthority::start(Directory::demo(), options)
        .await
        .unwrap();
    let port = running.port();
    for (host, status) in [
        ("login.example".to_owned(), 403),
        ("evil.example".to_owned(), 421),
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
    ] {
        let http = reqwest::Client::new();
        let url = format!("http://localhost:{port}/admin");
        let get = http.get(&url).header("host", &host).send().await.unwrap();
        assert_eq!(get.status(), status, "{host}");
        let post = http
            .post(format!("{url}/enter"))
            .header("host", &host)
            .header("origin", format!("http://{host}"))
            .form(&[("token", "wrong")]);
        let status = if status == 200 { 401 } else { status };
        assert_eq!(post.send().await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn the_control_token_opens_the_page_and_nothing_else_does() {
    let authority = Harness::start().await;
    let own = authority.running.url().to_owned();
    let origin = ("origin", own.as_str());
    for (headers, token, status) in [
        (&[origin][..], "control-me", 303),
        (&[origin], " control-me ", 303),
        (&[origin], "", 401),
        (&[origin], "control-m", 401),
        (&[], "control-me", 403),
        (&[("origin", "null")], "control-me", 403),
        (&[("origin", "https://evil.example")], "control-me", 403),
        (&[("origin", "http://localhost:3000")], "control-me", 403),
        (
            &[origin, ("sec-fetch-site", "same-origin")],
            "control-me",
            303,
        ),
        (
            &[origin, ("sec-fetch-site", "same-site")],
            "control-me",
            403,
        ),
        (
            &[origin, ("sec-fetch-site", "cross-site")],
            "control-me",
            403,
        ),
    ] {
        let answer = enter(&authority, headers, token).await;
        assert_eq!(answer.status, status, "{headers:?} {token}");
        assert_eq!(answer.headers.contains_key("set-cookie"), status == 303);
        assert!(!answer.text.contains("control-m"), "{}", answer.text);
    }
    let stranger = Admin {
        cookie: "__Host-authority-admin=x".to_owned(),
        form_token: String::new(),
    };
    let page = stranger.page(&authority).await;
    assert!(page.text.contains("name=\"token\"") && !page.text.contains("alice"));
}

#[tokio::test]
async fn five_wrong_tokens_lock_the_page_for_ten_minutes() {
    let authority = Harness::start().await;
    let own = authority.running.url().to_owned();
    let enter = async |token| enter(&authority, &[("origin", &own)], token).await.status;
    for _ in 0..4 {
        assert_eq!(enter("wrong").await, 401);
    }
    assert_eq!(enter("control-me").await, 303, "a right one forgives");
    for _ in 0..4 {
        assert_eq!(enter("wrong").await, 401);
    }
    assert_eq!(enter("wrong").await, 429);
    assert_eq!(enter("control-me").await, 429);
    authority.clock.advance(599);
    assert_eq!(enter("control-me").await, 429);
    authority.clock.advance(1);
    assert_eq!(enter("control-me").await, 303);
}

#[tokio::test]
async fn each_part_of_the_guard_of_a_command_is_needed() {
    let authority = Harness::start().await;
    let (admin, other) = (Admin::open(&authority).await, Admin::open(&authority).await);
    let own = authority.running.url().to_owned();
    let (origin, cookie) = (("origin", own.as_str()), ("cookie", admin.cookie.as_str()));
    let right = ("form_token", admin.form_token.as_str());
    let evil = ("origin", "https://evil.example");
    let cross = ("sec-fetch-site", "cross-site");
    type Row<'a> = (Headers<'a>, Option<(&'a str, &'a str)>, u16);
    let rows: [Row<'_>; 8] = [
        (&[origin, cookie], Some(right), 303),
        (&[origin], Some(right), 401),
        (
            &[origin, ("cookie", "__Host-authority-admin=x")],
            Some(right),
            401,
        ),
        (&[cookie], Some(right), 403),
        (&[evil, cookie], Some(right), 403),
        (&[origin, cross, cookie], Some(right), 403),
        (&[origin, cookie], None, 403),
        (
            &[origin, cookie],
            Some(("form_token", &other.form_token)),
            403,
        ),
    ];
    for path in ["/admin", "/admin/leave"] {
        for (headers, form_token, status) in rows.iter().rev() {
            let before = authority.running.kid();
            let form: Vec<_> = [("do", "rotate_keys")]
                .into_iter()
                .chain(*form_token)
                .collect();
            let answer = post(&authority, path, headers, &form).await;
            assert_eq!(answer.status, *status, "{path} {headers:?} {form_token:?}");
            let acted = path == "/admin" && *status == 303;
            assert_eq!(authority.running.kid() != before, acted);
        }
    }
    // The last row but one left: only this session has ended.
    assert!(admin.page(&authority).await.text.contains("name=\"token\""));
    assert!(
        other
            .page(&authority)
            .await
            .text
            .contains("Recent requests")
    );
}

#[tokio::test]
async fn a_session_lasts_eight_hours_whatever_the_skew() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    authority.running.skew(1_000_000);
    authority.clock.advance(HOURS_8 - 1);
    assert!(
        admin
            .page(&authority)
            .await
            .text
            .contains("1000000 seconds off")
    );
    authority.clock.advance(1);
    assert!(admin.page(&authority).await.text.contains("name=\"token\""));
    let form = [
        ("form_token", admin.form_token.as_str()),
        ("do", "rotate_keys"),
    ];
    assert_eq!(
        admin.send(&authority, "/admin", &[], &form).await.status,
        401
    );
}

#[tokio::test]
async fn all_answers_are_guarded_against_frames_scripts_and_caches() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    let own = authority.running.url().to_owned();
    for answer in [
        admin.page(&authority).await,
        authority
            .authorize(&Browser::default(), &[("client_id", "x")])
            .await,
        enter(&authority, &[("origin", &own)], "wrong").await,
        enter(&authority, &[("origin", &own)], "control-me").await,
        enter(&authority, &[], "control-me").await,
    ] {
        let csp = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"));
        assert!(!csp.contains("unsafe"));
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert_eq!(answer.headers["cache-control"], "no-store");
        for inline in ["<script>", "<style", " style=", "onclick", "javascript:"] {
            assert!(!answer.text.contains(inline), "{inline}: {}", answer.text);
        }
    }
    let page = admin.page(&authority).await;
    let csp = page.headers["content-security-policy"].to_str().unwrap();
    assert!(csp.contains("form-action 'self'") && !csp.contains("script-src"));
}

#[tokio::test]
async fn policies_are_switched_added_replaced_and_removed() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    let policy = |name: &str| authority.running.directory().policy(name).cloned();
    let policies = || authority.running.directory().policies.len();
    let before = policies();
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    let page = admin
        .press(&authority, &format!("Switch off: {MFA_POLICY}"), &[])
        .await;
    assert!(page.text.contains("role=\"status\"") && page.text.contains(" is off."));
    assert!(!policy(MFA_POLICY).unwrap().enabled);
    assert_eq!(authority.on_behalf_of(&weak, &[]).await.status, 200);
    assert!(
        !admin
            .page(&authority)
            .await
            .text
            .contains("role=\"status\""),
        "said once"
    );
    admin
        .press(&authority, &format!("Switch on: {MFA_POLICY}"), &[])
        .await;
    assert!(policy(MFA_POLICY).unwrap().enabled);

    let filled = [("require", "block"), ("app", "downstream-api")];
    let page = admin.press(&authority, "Save policy", &filled).await;
    assert!(
        page.text
            .contains("Policy Block downstream-api now blocks downstream-api.")
    );
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        53_003
    );
    let filled = [
        ("require", "mfa"),
        ("auth_context", "c7"),
        ("name", "Block downstream-api"),
        ("users", "bob@contoso.example"),
        ("sign_in_frequency", "1h"),
    ];
    admin.press(&authority, "Save policy", &filled).await;
    let replaced = policy("Block downstream-api").unwrap();
    assert_eq!(replaced.target, Target::AuthContext("c7".into()));
    assert_eq!(replaced.sign_in_frequency, Some(3600));
    assert_eq!(policies(), before + 1);
    let page = admin
        .press(&authority, "Remove: Block downstream-api", &[])
        .await;
    assert!(page.text.contains("was removed."));
    assert!(policy("Block downstream-api").is_none());

    for (filled, reason) in [
        (
            &[("app", ""), ("require", "mfa")][..],
            "an API or an authentication context",
        ),
        (
            &[("auth_context", "c0"), ("require", "mfa")],
            "not one of c1 to c99",
        ),
        (
            &[("app", "daemon"), ("require", "mfa"), ("users", "nobody")],
            "neither a username nor a group",
        ),
    ] {
        let page = admin.press(&authority, "Save policy", filled).await;
        assert!(page.text.contains("class=\"complaint\"") && page.text.contains(reason));
        assert_eq!(policies(), before);
    }
}

#[tokio::test]
async fn users_keys_clock_failures_and_consent_have_their_buttons() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    let mut browser = Browser::default();
    authority.code(&mut browser).await;
    assert!(
        admin
            .page(&authority)
            .await
            .text
            .contains("data-label=\"Sessions\">1<")
    );
    admin
        .press(&authority, "Revoke sessions: alice@contoso.example", &[])
        .await;
    assert!(authority.authorize(&browser, &[]).await.is_sign_in());
    assert!(
        !admin
            .page(&authority)
            .await
            .text
            .contains("data-label=\"Sessions\">1<")
    );

    let mfa = |user: &str| authority.running.directory().user(user).unwrap().mfa;
    let factor = "second factor:";
    admin
        .press(
            &authority,
            &format!("Remove {factor} alice@contoso.example"),
            &[],
        )
        .await;
    assert_eq!(mfa("alice"), Mfa::NotRegistered);
    admin
        .press(
            &authority,
            &format!("Register {factor} alice@contoso.example"),
            &[],
        )
        .await;
    assert_eq!(mfa("alice"), Mfa::Registered);
    let carol = format!("Register {factor} carol@contoso.example");
    let page = admin.press(&authority, &carol, &[]).await;
    assert!(page.text.contains("there is no second factor"));
    assert_eq!(mfa("carol"), Mfa::NotRegistered);
    let page = admin.press(&authority, &carol, &[("otp", "987654")]).await;
    assert!(!page.text.contains("987654"));
    let directory = authority.running.directory();
    assert_eq!(directory.user("carol").unwrap().otp(), Some("987654"));

    let old = authority.running.kid();
    admin.press(&authority, "Make a new key", &[]).await;
    assert_ne!(authority.running.kid(), old);
    assert!(authority.running.jwks().contains(&old));
    admin
        .press(&authority, &format!("Withdraw: {old}"), &[])
        .await;
    assert!(!authority.running.jwks().contains(&old));

    let page = admin
        .press(&authority, "Set clock", &[("seconds", "-120")])
        .await;
    assert!(page.text.contains("-120 seconds off"));
    let weak = authority
        .running
        .issue(TokenSpec::user("bob", "middle-tier").mfa());
    admin
        .press(&authority, "Set clock", &[("seconds", "0")])
        .await;
    let late = [
        ("endpoint", "token"),
        ("n", "2"),
        ("status", "503"),
        ("retry_after", "9"),
        ("body", "out"),
    ];
    let page = admin.press(&authority, "Let it fail", &late).await;
    assert!(page.text.contains("status 503, 2 times"));
    let answer = authority.on_behalf_of(&weak, &[]).await;
    assert_eq!((answer.status, answer.text.as_str()), (503, "out"));
    assert_eq!(answer.headers["retry-after"], "9");
    admin.press(&authority, "Take back: token", &[]).await;
    assert_eq!(authority.on_behalf_of(&weak, &[]).await.status, 200);
    let page = admin
        .press(
            &authority,
            "Let it fail",
            &[("endpoint", "token"), ("n", "many")],
        )
        .await;
    assert!(page.text.contains("`n` is not a whole number"));

    let consent = || {
        authority
            .running
            .directory()
            .app("spa-backend")
            .unwrap()
            .consent
    };
    admin
        .press(&authority, "Ask each user: spa-backend", &[])
        .await;
    assert_eq!(consent(), Consent::Required);
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_consent());
    authority.accept(&mut browser, &page).await;
    let silent = async || authority.authorize(&browser, &[("prompt", "none")]).await;
    assert!(silent().await.parameters().contains_key("code"));
    admin
        .press(&authority, "Take back consents: alice@contoso.example", &[])
        .await;
    assert_eq!(silent().await.parameters()["error"], "consent_required");
    admin
        .press(&authority, "Grant for everybody: spa-backend", &[])
        .await;
    assert!(silent().await.parameters().contains_key("code"));
    assert_eq!(
        admin
            .send(
                &authority,
                "/admin/leave",
                &[],
                &[("form_token", &admin.form_token)]
            )
            .await
            .status,
        303
    );
}

#[tokio::test]
async fn the_page_says_what_was_asked_and_escapes_it() {
    let evil = "\"><script>alert(1)</script>";
    let authority = Harness::with(|directory| {
        let app = directory.app_mut("daemon").unwrap();
        app.name = evil.to_owned();
        app.redirect_uris.web = vec![REDIRECT.to_owned()];
        app.delegated = vec![DOWNSTREAM.to_owned()];
        directory.user_mut("alice").unwrap().display_name = evil.to_owned();
    })
    .await;
    let admin = Admin::open(&authority).await;
    let client = authority.id(evil);
    let changes = [
        ("client_id", client.as_str()),
        ("scope", evil),
        ("state", evil),
        ("login_hint", evil),
    ];
    authority.authorize(&Browser::default(), &changes).await;
    let changes = [
        ("client_id", client.as_str()),
        ("scope", DOWNSTREAM),
        ("prompt", "none"),
    ];
    authority.authorize(&Browser::default(), &changes).await;
    let filled = [
        ("require", "mfa"),
        ("app", "downstream-api"),
        ("name", evil),
    ];
    let page = admin.press(&authority, "Save policy", &filled).await.text;
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("login_required. AADSTS50058"), "{page}");
    assert!(page.contains("prompt=none") && page.contains("Correlation ID"));
    let (newest, older) = (
        page.find("AADSTS50058").unwrap(),
        page.find("invalid_resource").unwrap(),
    );
    assert!(newest < older, "newest first");
}
