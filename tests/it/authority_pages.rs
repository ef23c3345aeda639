//! The authority's own pages in Chromium: two screens, two colour schemes, the keyboard alone, no scripts, no frames, hostile text.

use integration_tests::browser::{Browser, with_browser};
use local_authority::{Consent, Directory, LocalAuthority, Mfa, Options, Running};
use serde_json::json;
use url::Url;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const SCOPE: &str = "openid offline_access api://middle-tier/user_impersonation";
const C1: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
const CONTROL: &str = "control-me";
const EVIL: &str = "\"><script>window.hit=1</script><img src=x onerror=\"window.hit=1\">";

/// An authority, and a client that takes whatever is sent to it.
struct Site {
    authority: Running,
    client: MockServer,
}

impl Site {
    /// The user is asked for consent; `name` is the client's.
    async fn start(name: &str) -> Self {
        let client = MockServer::start().await;
        let page = "<!doctype html><title>client</title><p id=arrived>arrived</p>";
        let html = ResponseTemplate::new(200).set_body_raw(page, "text/html");
        for verb in ["GET", "POST"] {
            Mock::given(method(verb))
                .respond_with(html.clone())
                .mount(&client)
                .await;
        }
        let mut directory = Directory::demo();
        let app = directory.app_mut("spa-backend").unwrap();
        app.redirect_uris.web = vec![format!("{}/cb", client.uri())];
        app.consent = Consent::Required;
        app.name = name.to_owned();
        directory.user_mut("alice").unwrap().display_name = name.to_owned();
        let options = Options::default().control_token(CONTROL);
        let authority = LocalAuthority::start(directory, options).await.unwrap();
        Self { authority, client }
    }

    fn authorize(&self, changes: &[(&str, &str)]) -> String {
        let (base, tenant) = (self.authority.url(), self.authority.tenant());
        let mut url = Url::parse(&format!("{base}/{tenant}/oauth2/v2.0/authorize")).unwrap();
        let directory = self.authority.directory();
        let id = directory.apps[0].client_id.to_string();
        let redirect = format!("{}/cb", self.client.uri());
        let request = [
            ("client_id", id.as_str()),
            ("redirect_uri", &redirect),
            ("response_type", "code"),
            ("response_mode", "form_post"),
            ("scope", SCOPE),
            ("claims", C1),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let kept = request
            .iter()
            .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        url.query_pairs_mut()
            .extend_pairs(kept)
            .extend_pairs(changes);
        url.into()
    }

    /// The last form that was posted to the client.
    async fn posted(&self) -> Vec<(String, String)> {
        let requests = self.client.received_requests().await.unwrap();
        let posted = requests.iter().rfind(|request| request.method == "POST");
        url::form_urlencoded::parse(&posted.unwrap().body)
            .into_owned()
            .collect()
    }
}

struct Screen {
    name: &'static str,
    width: u32,
    height: u32,
}

const SCREENS: [Screen; 2] = [
    Screen {
        name: "phone",
        width: 390,
        height: 844,
    },
    Screen {
        name: "desktop",
        width: 1280,
        height: 800,
    },
];

/// Takes the picture of a page after looking at what a picture does not show.
async fn look(browser: &Browser, page: &str, screen: &Screen, scheme: &str) {
    let facts = browser
        .execute(
            "const labelled = e => e.labels.length > 0 || e.getAttribute('aria-label');\
             const named = e => e.textContent.trim() || e.getAttribute('aria-label');\
             const fields = [...document.querySelectorAll('input:not([type=hidden]),select,textarea')];\
             return {\
               wide: document.documentElement.scrollWidth - window.innerWidth,\
               unlabelled: fields.filter(e => !labelled(e)).map(e => e.outerHTML),\
               unnamed: [...document.querySelectorAll('button,a')].filter(e => !named(e)).length,\
               headings: document.querySelectorAll('h1').length,\
               language: document.documentElement.lang,\
               scripts: [...document.scripts].filter(e => !e.src).length,\
             }",
            &[],
        )
        .await;
    let expected =
        json!({ "unlabelled": [], "unnamed": 0, "headings": 1, "language": "en", "scripts": 0 });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&facts[name], value, "{page}: {name} in {facts}");
    }
    assert!(
        facts["wide"].as_i64().unwrap() <= 0,
        "{page} scrolls sideways: {facts}"
    );
    let dark = if scheme == "dark" { "-dark" } else { "" };
    browser
        .whole_page(&format!("authority-{page}-{}{dark}", screen.name))
        .await;
}

async fn sign_in(browser: &Browser) {
    browser
        .type_into("#username", "alice@contoso.example")
        .await;
    browser.type_into("#password", "alice-in-wonderland").await;
    browser.click("button.primary").await;
}

async fn scripts(browser: &Browser, on: bool) {
    let off = json!({ "value": !on });
    browser
        .devtools("Emulation.setScriptExecutionDisabled", off)
        .await;
}

async fn every_page(browser: &Browser, screen: &Screen, scheme: &str) {
    let metrics = json!({ "width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": screen.name == "phone" });
    browser
        .devtools("Emulation.setDeviceMetricsOverride", metrics)
        .await;
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    browser.devtools("Emulation.setEmulatedMedia", media).await;
    let site = Site::start("spa-backend").await;
    let shot = async |page: &str| look(browser, page, screen, scheme).await;

    browser.goto(&site.authorize(&[])).await;
    browser.wait_for("#username").await;
    shot("sign-in").await;
    browser
        .type_into("#username", "alice@contoso.example")
        .await;
    browser.type_into("#password", "wrong").await;
    browser.click("button.primary").await;
    browser.wait_for("#complaint").await;
    shot("sign-in-wrong").await;
    sign_in(browser).await;
    browser.wait_for("#code").await;
    shot("mfa").await;
    browser.type_into("#code", "123456").await;
    browser.click("button.primary").await;
    browser.wait_for("button[name=accept]").await;
    shot("consent").await;
    scripts(browser, false).await;
    browser.click("button[name=accept]").await;
    browser.wait_for_text("h1", "Back to the application").await;
    shot("form-post").await;
    scripts(browser, true).await;

    browser.goto(&site.authorize(&[("client_id", "x")])).await;
    let text = browser.wait_for_text("main", "AADSTS700016").await;
    assert!(
        text.contains("Correlation ID") && text.contains("start again"),
        "{text}"
    );
    shot("error").await;
    let tenant = site.authority.tenant();
    let base = site.authority.url();
    browser
        .goto(&format!("{base}/{tenant}/oauth2/v2.0/logout"))
        .await;
    browser.wait_for_text("h1", "signed out").await;
    shot("signed-out").await;
    admin_pages(browser, &site, &shot).await;
}

async fn admin_pages(browser: &Browser, site: &Site, shot: &impl AsyncFn(&str)) {
    browser
        .goto(&format!("{}/admin", site.authority.url()))
        .await;
    browser.wait_for("#token").await;
    shot("admin-enter").await;
    browser.type_into("#token", CONTROL).await;
    browser.click("button.primary").await;
    browser.wait_for("#policies").await;
    browser.type_into("#policy-context", "c7").await;
    browser
        .click("button[aria-label='Switch off: MFA for the downstream API']")
        .await;
    browser.wait_for_text("[role=status]", "is off").await;
    browser.type_into("#fault-status", "503").await;
    site.authority.rotate_keys().unwrap();
    browser.click("#failures ~ form button.primary").await;
    let text = browser.wait_for_text("[role=status]", "told to fail").await;
    assert!(text.contains("once"), "{text}");
    shot("admin").await;
    for wrong in ["alice-in-wonderland", "123456", CONTROL] {
        let shown = browser
            .execute("return document.documentElement.outerHTML", &[])
            .await;
        assert!(!shown.as_str().unwrap().contains(wrong), "{wrong}");
    }
}

#[tokio::test]
async fn every_page_fits_a_phone_and_a_desktop_in_both_colour_schemes() {
    with_browser("authority-pages", async |browser| {
        for screen in &SCREENS {
            for scheme in ["light", "dark"] {
                every_page(browser, screen, scheme).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_keyboard_is_enough() {
    const TAB: char = '\u{e004}';
    const ENTER: char = '\u{e007}';
    with_browser("authority-keyboard", async |browser| {
        let site = Site::start("spa-backend").await;
        let focused = async |what: &str| {
            let active = "const e = document.activeElement; return [e.id || e.name, getComputedStyle(e).outlineStyle]";
            let active = browser.execute(active, &[]).await;
            assert_eq!(active, json!([what, "solid"]));
        };
        browser.goto(&site.authorize(&[])).await;
        browser.wait_for("#username").await;
        focused("username").await;
        let keys = format!("alice@contoso.example{TAB}alice-in-wonderland{ENTER}");
        browser.keys("#username", &keys).await;
        browser.wait_for("#code").await;
        focused("code").await;
        browser.keys("#code", &format!("123456{ENTER}")).await;
        browser.wait_for("button[name=accept]").await;
        browser.keys("button[name=accept]", &ENTER.to_string()).await;
        browser.wait_for("#arrived").await;
        assert!(site.posted().await.iter().any(|(name, _)| name == "code"));
    })
    .await;
}

#[tokio::test]
async fn sign_in_and_administration_need_no_script() {
    with_browser("authority-no-script", async |browser| {
        let site = Site::start("spa-backend").await;
        scripts(browser, false).await;
        browser.goto(&site.authorize(&[("state", "a b+c/%")])).await;
        sign_in(browser).await;
        browser.type_into("#code", "123456").await;
        browser.click("button.primary").await;
        browser.click("button[name=accept]").await;
        browser.wait_for_text("h1", "Back to the application").await;
        browser.wait_for_text("button", "Continue").await;
        browser.click("button").await;
        browser.wait_for("#arrived").await;
        let posted = site.posted().await;
        assert!(
            posted.contains(&("state".into(), "a b+c/%".into())),
            "{posted:?}"
        );
        assert!(posted.iter().any(|(name, _)| name == "code"), "{posted:?}");

        browser
            .goto(&format!("{}/admin", site.authority.url()))
            .await;
        browser.type_into("#token", CONTROL).await;
        browser.click("button.primary").await;
        let remove = "button[aria-label='Remove second factor: alice@contoso.example']";
        browser.click(remove).await;
        browser
            .wait_for_text("[role=status]", "no second factor")
            .await;
        let directory = site.authority.directory();
        assert_eq!(directory.user("alice").unwrap().mfa, Mfa::NotRegistered);
        scripts(browser, true).await;
    })
    .await;
}

#[tokio::test]
async fn no_page_can_be_framed() {
    with_browser("authority-frames", async |browser| {
        let site = Site::start("spa-backend").await;
        let base = site.authority.url();
        let framing = MockServer::start().await;
        let frame = |id: &str, url: &str| {
            format!(
                "<iframe id={id} src=\"{}\"></iframe>",
                url.replace('&', "&amp;")
            )
        };
        let page = format!(
            "<!doctype html><title>framing</title>{}{}{}",
            frame("twin", &format!("{}/cb", site.client.uri())),
            frame("sign-in", &site.authorize(&[])),
            frame("admin", &format!("{base}/admin")),
        );
        let html = ResponseTemplate::new(200).set_body_raw(page, "text/html");
        Mock::given(method("GET"))
            .respond_with(html)
            .mount(&framing)
            .await;
        browser.goto(&framing.uri()).await;
        for (id, element, shown) in [
            ("twin", "#arrived", true),
            ("sign-in", "#username", false),
            ("admin", "#token", false),
        ] {
            browser.frame(Some(&format!("#{id}"))).await;
            assert_eq!(browser.has(element).await, shown, "{id}");
            browser.frame(None).await;
        }
        // Both pages do have the element where they are not framed.
        for (url, element) in [
            (site.authorize(&[]), "#username"),
            (format!("{base}/admin"), "#token"),
        ] {
            browser.goto(&url).await;
            browser.wait_for(element).await;
        }
    })
    .await;
}

#[tokio::test]
async fn hostile_text_stays_text() {
    with_browser("authority-hostile", async |browser| {
        let site = Site::start(EVIL).await;
        let unharmed = async |page: &str| {
            let found = "return [window.hit === undefined, document.images.length]";
            assert_eq!(
                browser.execute(found, &[]).await,
                json!([true, 0]),
                "{page}"
            );
        };
        let request = [("state", EVIL), ("login_hint", EVIL), ("nonce", EVIL)];
        browser.goto(&site.authorize(&request)).await;
        browser.wait_for_text("main", EVIL).await;
        let hint = browser
            .execute("return document.querySelector('#username').value", &[])
            .await;
        assert_eq!(hint, EVIL);
        unharmed("sign-in").await;
        sign_in(browser).await;
        browser.wait_for("#code").await;
        browser.wait_for_text("main", EVIL).await;
        unharmed("mfa").await;
        browser.type_into("#code", "123456").await;
        browser.click("button.primary").await;
        browser.wait_for("button[name=accept]").await;
        browser.wait_for_text("main", EVIL).await;
        unharmed("consent").await;
        browser.click("button[name=accept]").await;
        browser.wait_for("#arrived").await;
        let posted = site.posted().await;
        assert!(
            posted.contains(&("state".into(), EVIL.into())),
            "{posted:?}"
        );

        browser
            .goto(&format!("{}/admin", site.authority.url()))
            .await;
        browser.type_into("#token", CONTROL).await;
        browser.click("button.primary").await;
        browser.wait_for_text("main", EVIL).await;
        unharmed("admin").await;
    })
    .await;
}
