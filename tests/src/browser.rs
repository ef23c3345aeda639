//! A minimal W3C WebDriver client for Debian's ChromeDriver. Nothing waits for time: conditions are polled until a
//! deadline, and a failed wait says what was on the page.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::FutureExt;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, interval},
};

const CHROMIUM: &str = "/usr/bin/chromium";
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";
const CERTUTIL: &str = "/usr/bin/certutil";
/// How long a condition may take to come true on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);
/// The key of an element reference (WebDriver 2, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One headless Chromium with an empty profile.
#[derive(Debug)]
pub struct Browser {
    http: Client,
    session: String,
    driver: Child,
    /// Of a browser that trusts more than others.
    _home: Option<Home>,
}

/// A home directory in which Chromium finds a CA, gone with the browser.
#[derive(Debug)]
struct Home(PathBuf);

/// A WebDriver error: its code, such as `no such element`, and its message.
#[derive(Debug)]
pub struct DriverError {
    /// The code.
    pub code: String,
    /// The message.
    pub message: String,
}

/// Runs a story in a new Chromium and closes it, also when the story fails. Without Chromium the story is skipped with
/// a line that says so; under `CI=true` that is a failure.
///
/// # Panics
///
/// The story fails, or Chromium is missing under `CI=true`.
pub async fn with_browser(name: &str, story: impl AsyncFnOnce(&Browser)) {
    run(name, None, story).await;
}

/// The same with a Chromium that trusts a CA (PEM) besides those that it knows; needs certutil as well.
///
/// # Panics
///
/// As [`with_browser`].
pub async fn with_browser_that_trusts(ca: &str, name: &str, story: impl AsyncFnOnce(&Browser)) {
    run(name, Some(ca), story).await;
}

async fn run(name: &str, ca: Option<&str>, story: impl AsyncFnOnce(&Browser)) {
    let missing = [CHROMIUM, CHROMEDRIVER]
        .into_iter()
        .chain(ca.map(|_| CERTUTIL))
        .find(|program| !Path::new(program).exists());
    if let Some(missing) = missing {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{missing} not found, and CI=true allows no skipped story"
        );
        // Not `eprintln!`, which the test runner keeps to itself when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "{name} skipped: {missing} not found (apt-get install chromium chromium-driver libnss3-tools)"
        );
        return;
    }
    let browser = Browser::start(ca.map(Home::trusting)).await;
    let outcome = std::panic::AssertUnwindSafe(story(&browser))
        .catch_unwind()
        .await;
    if outcome.is_err() {
        let url = browser.url().await;
        let shown = browser.execute("return document.body.innerText", &[]).await;
        let shot = browser.screenshot(&format!("{name}-failed")).await;
        eprintln!("{name} failed at {url}; {}\n{shown}", shot.display());
    }
    browser.close().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

impl Home {
    fn trusting(ca: &str) -> Self {
        static HOMES: AtomicUsize = AtomicUsize::new(0);
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("browser-home-{}-{number}", std::process::id());
        let home = Self(std::env::temp_dir().join(name));
        let database = home.0.join(".pki/nssdb");
        std::fs::create_dir_all(&database).expect("a home directory");
        let file = home.0.join("ca.pem");
        std::fs::write(&file, ca).expect("a CA's file");
        let added = std::process::Command::new(CERTUTIL)
            .arg("-d")
            .arg(format!("sql:{}", database.display()))
            .args(["-A", "-t", "C,,", "-n", "local-ca", "-i"])
            .arg(file)
            .status();
        assert!(added.expect("certutil starts").success(), "certutil");
        home
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Left behind only if Chromium still writes to it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Browser {
    async fn start(home: Option<Home>) -> Self {
        let mut command = Command::new(CHROMEDRIVER);
        if let Some(Home(directory)) = &home {
            command.env("HOME", directory);
        }
        let mut driver = command
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("chromedriver's output");
            let line = line.expect("chromedriver says its port before it ends");
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                break rest.trim_end_matches('.').parse::<u16>().expect("a port");
            }
        };
        // Its pipe must be read on, or it stops when the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        let http = Client::builder()
            .no_proxy()
            .build()
            .expect("an HTTP client");
        let mut browser = Self {
            http,
            session: format!("http://127.0.0.1:{port}/session"),
            driver,
            _home: home,
        };
        // The background-networking flags keep Chromium from calling its vendor, which a closed network refuses.
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1100,900",
        ];
        let options = json!({ "binary": CHROMIUM, "args": arguments });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let session = browser
            .command(
                Method::POST,
                "",
                Some(json!({ "capabilities": { "alwaysMatch": wanted } })),
            )
            .await
            .expect("a Chromium session");
        let id = session["sessionId"].as_str().expect("a session id");
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    /// Opens an address.
    pub async fn goto(&self, url: &str) {
        self.must(Method::POST, "/url", Some(json!({ "url": url })))
            .await;
    }

    /// The address of the page.
    pub async fn url(&self) -> String {
        let url = self.must(Method::GET, "/url", None).await;
        url.as_str().unwrap_or_default().into()
    }

    /// Runs a script in the page and returns what it returns.
    pub async fn execute(&self, script: &str, arguments: &[Value]) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.must(Method::POST, "/execute/sync", Some(body)).await
    }

    /// Clicks on the element, once it is there and takes clicks.
    pub async fn click(&self, css: &str) {
        self.on_element(css, async |element| {
            self.command(
                Method::POST,
                &format!("/element/{element}/click"),
                Some(json!({})),
            )
            .await
        })
        .await;
    }

    /// Replaces the content of an input.
    pub async fn type_into(&self, css: &str, text: &str) {
        self.on_element(css, async |element| {
            let clear = format!("/element/{element}/clear");
            self.command(Method::POST, &clear, Some(json!({}))).await?;
            let path = format!("/element/{element}/value");
            self.command(Method::POST, &path, Some(json!({ "text": text })))
                .await
        })
        .await;
    }

    /// The text of an element, as a person sees it, once it is there.
    pub async fn text(&self, css: &str) -> String {
        let text = self
            .on_element(css, async |element| {
                self.command(Method::GET, &format!("/element/{element}/text"), None)
                    .await
            })
            .await;
        text.as_str().unwrap_or_default().into()
    }

    /// Waits until the element is displayed.
    pub async fn wait_for(&self, css: &str) {
        self.wait_until(&format!("{css} is displayed"), async || {
            let element = self.find(css).await?;
            let path = format!("/element/{element}/displayed");
            let shown = self.command(Method::GET, &path, None).await.ok()?;
            (shown == true).then_some(())
        })
        .await;
    }

    /// Waits until the element's text contains this, and returns the text.
    pub async fn wait_for_text(&self, css: &str, part: &str) -> String {
        self.wait_until(&format!("{css} says {part:?}"), async || {
            let element = self.find(css).await?;
            let path = format!("/element/{element}/text");
            let text = self.command(Method::GET, &path, None).await.ok()?;
            text.as_str()
                .filter(|text| text.contains(part))
                .map(String::from)
        })
        .await
    }

    /// Whether the element is on the page now.
    pub async fn has(&self, css: &str) -> bool {
        self.find(css).await.is_some()
    }

    /// Polls a condition until it holds.
    ///
    /// # Panics
    ///
    /// It does not hold before the deadline.
    pub async fn wait_until<T>(&self, what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut looks = interval(LOOK);
        while Instant::now() < deadline {
            looks.tick().await;
            if let Some(found) = condition().await {
                return found;
            }
        }
        panic!("in {DEADLINE:?} it did not happen that {what}");
    }

    /// A command of the Chrome DevTools Protocol, for what WebDriver does not have: other screens, no scripts.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.must(Method::POST, "/goog/cdp/execute", Some(body))
            .await
    }

    /// Goes into the frame, or back to the page with `None`.
    pub async fn frame(&self, css: Option<&str>) {
        let id = match css {
            None => Value::Null,
            Some(css) => json!({ ELEMENT: self.find(css).await.expect("a frame") }),
        };
        self.must(Method::POST, "/frame", Some(json!({ "id": id })))
            .await;
    }

    /// The window that commands go to.
    pub async fn window(&self) -> String {
        let window = self.must(Method::GET, "/window", None).await;
        window.as_str().unwrap_or_default().into()
    }

    /// Opens another tab and sends commands there from now on.
    pub async fn new_tab(&self) -> String {
        let opened = self
            .must(Method::POST, "/window/new", Some(json!({ "type": "tab" })))
            .await;
        let tab = opened["handle"].as_str().unwrap_or_default().to_owned();
        self.switch_to(&tab).await;
        tab
    }

    /// Sends commands to this window from now on.
    pub async fn switch_to(&self, window: &str) {
        let body = json!({ "handle": window });
        self.must(Method::POST, "/window", Some(body)).await;
    }

    /// Waits for another window, such as a popup, and sends commands there from now on.
    pub async fn switch_to_other_than(&self, window: &str) {
        let other = self
            .wait_until("another window opens", async || {
                let windows = self.must(Method::GET, "/window/handles", None).await;
                let mut windows = windows.as_array()?.iter().filter_map(Value::as_str);
                windows.find(|other| *other != window).map(String::from)
            })
            .await;
        self.switch_to(&other).await;
    }

    /// Types where the focus is moved by the keys themselves, without clearing the input first.
    pub async fn keys(&self, css: &str, keys: &str) {
        self.on_element(css, async |element| {
            let path = format!("/element/{element}/value");
            self.command(Method::POST, &path, Some(json!({ "text": keys })))
                .await
        })
        .await;
    }

    /// Saves the whole page, below the fold as well, as `tests/screenshots/<name>.png`.
    pub async fn whole_page(&self, name: &str) -> PathBuf {
        let whole = json!({ "captureBeyondViewport": true });
        let shot = self.devtools("Page.captureScreenshot", whole).await;
        Self::save(name, &shot["data"])
    }

    /// Saves what is seen as `tests/screenshots/<name>.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let shot = self.must(Method::GET, "/screenshot", None).await;
        Self::save(name, &shot)
    }

    /// Saves one element, below the fold as well, as `tests/screenshots/<name>.png`.
    pub async fn element(&self, css: &str, name: &str) -> PathBuf {
        // With a margin, and room for what the page gains: it is taken without its scroll bar.
        let script = "const { x, y, width, height } = document.querySelector(arguments[0]).getBoundingClientRect();\
            return { x: x + scrollX - 8, y: y + scrollY - 8, width: width + 32, height: height + 16, scale: 1 }";
        let clip = self.execute(script, &[json!(css)]).await;
        let part = json!({ "captureBeyondViewport": true, "clip": clip });
        let shot = self.devtools("Page.captureScreenshot", part).await;
        Self::save(name, &shot["data"])
    }

    fn save(name: &str, shot: &Value) -> PathBuf {
        let bytes = STANDARD
            .decode(shot.as_str().unwrap_or_default())
            .expect("base64");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("screenshots");
        std::fs::create_dir_all(&folder).expect("tests/screenshots");
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, bytes).expect("a screenshot");
        file
    }

    async fn find(&self, css: &str) -> Option<String> {
        let by = json!({ "using": "css selector", "value": css });
        let found = self
            .command(Method::POST, "/element", Some(by))
            .await
            .ok()?;
        found[ELEMENT].as_str().map(String::from)
    }

    /// The page may replace an element between finding and using it: both are tried again together.
    async fn on_element(
        &self,
        css: &str,
        act: impl AsyncFn(String) -> Result<Value, DriverError>,
    ) -> Value {
        self.wait_until(&format!("{css} can be used"), async || {
            let element = self.find(css).await?;
            act(element).await.ok()
        })
        .await
    }

    async fn must(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.command(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {} ({})", error.code, error.message))
    }

    async fn command(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, DriverError> {
        let mut request = self.http.request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("chromedriver answers");
        let failed = !response.status().is_success();
        let mut answer: Value = response.json().await.expect("chromedriver speaks JSON");
        let value = answer["value"].take();
        if failed {
            let part = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            return Err(DriverError {
                code: part("error"),
                message: part("message"),
            });
        }
        Ok(value)
    }

    async fn close(mut self) {
        self.must(Method::DELETE, "", None).await;
        self.driver.kill().await.expect("chromedriver ends");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chromium_finds_types_clicks_and_reads() {
        with_browser("driver", async |browser| {
            browser
                .goto(
                    "data:text/html,<input id=name><button onclick=\"setTimeout(()=>{\
                     let p=document.createElement('p');p.textContent='Hello '+document.getElementById('name').value;\
                     document.body.append(p)},100)\">Go</button>",
                )
                .await;
            browser.type_into("#name", "Alice").await;
            browser.click("button").await;
            assert_eq!(browser.wait_for_text("p", "Hello").await, "Hello Alice");
            assert!(!browser.has("#nothing").await);
            assert_eq!(browser.execute("return 1 + arguments[0]", &[json!(2)]).await, 3);
        })
        .await;
    }
}
