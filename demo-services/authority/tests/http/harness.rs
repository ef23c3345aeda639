//! An authority in this process and a client that follows no redirect and keeps its cookies by hand.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use local_authority::{Directory, LocalAuthority, ManualClock, Options, Running, StartError};
use serde_json::Value;
use url::Url;

/// The moment at which every test begins.
pub(crate) const START: u64 = 1_795_319_366;
pub(crate) const REDIRECT: &str = "http://localhost:3000/auth/callback";
pub(crate) const MIDDLE: &str =
    "api://middle-tier/user_impersonation openid profile offline_access";
pub(crate) const DOWNSTREAM: &str = "api://downstream-api/user_impersonation";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const C1: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
pub(crate) const MFA_POLICY: &str = "MFA for the downstream API";

/// Parameters to replace, to add, or (when empty) to remove.
pub(crate) type Changes<'a> = &'a [(&'static str, &'a str)];

pub(crate) struct Harness {
    pub(crate) running: Running,
    pub(crate) directory: Directory,
    pub(crate) clock: ManualClock,
    pub(crate) http: reqwest::Client,
}

/// One browser: a cookie and nothing else.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<String>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }

    pub(crate) fn location(&self) -> Url {
        let location = self
            .headers
            .get("location")
            .unwrap_or_else(|| panic!("{} {}", self.status, self.text));
        Url::parse(location.to_str().unwrap()).unwrap()
    }

    /// The parameters of a redirect.
    pub(crate) fn parameters(&self) -> HashMap<String, String> {
        self.location().query_pairs().into_owned().collect()
    }

    /// The value of a hidden field of a page.
    pub(crate) fn field(&self, name: &str) -> String {
        let marker = format!("name=\"{name}\" value=\"");
        let (_, rest) = self
            .text
            .split_once(&marker)
            .unwrap_or_else(|| panic!("{} {}", self.status, self.text));
        rest.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn is_sign_in(&self) -> bool {
        self.status == 200 && self.text.contains("name=\"password\"")
    }

    pub(crate) fn is_mfa(&self) -> bool {
        self.status == 200 && self.text.contains("name=\"code\"")
    }

    pub(crate) fn is_consent(&self) -> bool {
        self.status == 200 && self.text.contains("name=\"accept\"")
    }

    pub(crate) fn error_code(&self) -> u64 {
        self.json()["error_codes"][0].as_u64().unwrap()
    }

    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Directory)) -> Self {
        let mut directory = Directory::demo();
        change(&mut directory);
        Self::start_as(directory, ManualClock::at(START), Options::default())
            .await
            .unwrap()
    }

    pub(crate) async fn start_as(
        directory: Directory,
        clock: ManualClock,
        options: Options,
    ) -> Result<Self, StartError> {
        let options = options.control_token("control-me").clock(clock.clone());
        let running = LocalAuthority::start(directory.clone(), options).await?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Ok(Self {
            running,
            directory,
            clock,
            http,
        })
    }

    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}/{}/{path}", self.running.url(), self.running.tenant())
    }

    pub(crate) fn id(&self, app: &str) -> String {
        self.directory.app(app).unwrap().client_id.to_string()
    }

    pub(crate) fn secret(&self, app: &str) -> String {
        self.directory
            .app(app)
            .unwrap()
            .secret()
            .unwrap()
            .to_owned()
    }

    /// The parameters of a proper authorization request of the SPA backend.
    pub(crate) fn request(&self) -> Vec<(&'static str, String)> {
        [
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", MIDDLE),
            ("state", "a b+c/%"),
            ("nonce", "n-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
        .chain([("client_id", self.id("spa-backend"))])
        .collect()
    }

    pub(crate) async fn authorize(&self, browser: &Browser, changes: Changes<'_>) -> Answer {
        let mut url = Url::parse(&self.endpoint("oauth2/v2.0/authorize")).unwrap();
        url.query_pairs_mut()
            .extend_pairs(changed(self.request(), changes));
        let mut request = self.http.get(url);
        if let Some(cookie) = &browser.cookie {
            request = request.header("cookie", cookie);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Posts a form of the authority's own pages.
    pub(crate) async fn submit(
        &self,
        browser: &mut Browser,
        path: &str,
        form: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.http.post(self.endpoint(path)).form(form);
        if let Some(cookie) = &browser.cookie {
            request = request.header("cookie", cookie);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        if let Some(set) = answer.headers.get("set-cookie") {
            browser.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        answer
    }

    pub(crate) async fn sign_in(&self, browser: &mut Browser, page: &Answer, user: &str) -> Answer {
        let password = self.directory.user(user).unwrap().password();
        let username = &self.directory.user(user).unwrap().username;
        self.submit(
            browser,
            "sign-in",
            &[
                ("flow", &page.field("flow")),
                ("username", username),
                ("password", password),
            ],
        )
        .await
    }

    pub(crate) async fn confirm(&self, browser: &mut Browser, page: &Answer) -> Answer {
        self.submit(
            browser,
            "mfa",
            &[("flow", &page.field("flow")), ("code", "123456")],
        )
        .await
    }

    pub(crate) async fn accept(&self, browser: &mut Browser, page: &Answer) -> Answer {
        let flow = page.field("flow");
        self.submit(browser, "consent", &[("flow", &flow), ("accept", "1")])
            .await
    }

    /// Signs alice in without a second factor and returns the code.
    pub(crate) async fn code(&self, browser: &mut Browser) -> String {
        let page = self.authorize(browser, &[]).await;
        let answer = if page.is_sign_in() {
            self.sign_in(browser, &page, "alice").await
        } else {
            page
        };
        answer.parameters()["code"].clone()
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        Answer::of(
            self.http
                .post(self.endpoint("oauth2/v2.0/token"))
                .form(form)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn redeem(&self, code: &str, changes: Changes<'_>) -> Answer {
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("client_id", self.id("spa-backend")),
            ("client_secret", self.secret("spa-backend")),
            ("code", code.to_owned()),
            ("redirect_uri", REDIRECT.to_owned()),
            ("code_verifier", VERIFIER.to_owned()),
            ("scope", MIDDLE.to_owned()),
        ];
        self.send(changed(form, changes)).await
    }

    pub(crate) async fn refresh(&self, token: &str, changes: Changes<'_>) -> Answer {
        let form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", self.id("spa-backend")),
            ("client_secret", self.secret("spa-backend")),
            ("refresh_token", token.to_owned()),
            ("scope", MIDDLE.to_owned()),
        ];
        self.send(changed(form, changes)).await
    }

    pub(crate) async fn on_behalf_of(&self, assertion: &str, changes: Changes<'_>) -> Answer {
        let form = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned(),
            ),
            ("client_id", self.id("middle-tier")),
            ("client_secret", self.secret("middle-tier")),
            ("assertion", assertion.to_owned()),
            ("requested_token_use", "on_behalf_of".to_owned()),
            ("scope", DOWNSTREAM.to_owned()),
        ];
        self.send(changed(form, changes)).await
    }

    async fn send(&self, form: Vec<(&'static str, String)>) -> Answer {
        let form: Vec<_> = form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.token(&form).await
    }

    /// An access token of the middle tier, by the front door.
    pub(crate) async fn access_token(&self, browser: &mut Browser) -> String {
        let code = self.code(browser).await;
        self.redeem(&code, &[]).await.json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn changed(
    mut form: Vec<(&'static str, String)>,
    changes: Changes<'_>,
) -> Vec<(&'static str, String)> {
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        if !value.is_empty() {
            form.push((name, (*value).to_owned()));
        }
    }
    form
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub(crate) fn capolids(directory: &Directory) -> String {
    let id = directory.policy(MFA_POLICY).unwrap().id;
    format!(r#"{{"access_token":{{"capolids":{{"essential":true,"values":["{id}"]}}}}}}"#)
}
