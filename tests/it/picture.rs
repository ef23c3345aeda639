//! The picture of a call in Chromium: what it shows of each story, that it opens by keyboard, and that no token is in it.

mod drawing;
mod stories;

use integration_tests::{
    browser::{Browser, with_browser},
    world::World,
};
use serde_json::{Value, json};

/// One size of screen.
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
        height: 900,
    },
];

async fn sign_in(browser: &Browser, world: &World, user: &str, password: &str) {
    browser.goto(world.demo.spa().as_str()).await;
    browser.click("#sign-in").await;
    let username = format!("{user}@contoso.example");
    browser.type_into("#username", &username).await;
    browser.type_into("#password", password).await;
    browser.click("button.primary").await;
    browser.wait_for_text("#user", &username).await;
}

/// Whether steps appear one after another, and which colours the person likes.
async fn media(browser: &Browser, motion: &str, scheme: &str) {
    let features = json!([
        { "name": "prefers-reduced-motion", "value": motion },
        { "name": "prefers-color-scheme", "value": scheme },
    ]);
    browser
        .devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
}

async fn done(browser: &Browser) {
    browser.wait_for("#picture[data-state=done]").await;
}

/// The steps on the page: kind, lanes, tone.
async fn steps(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#picture li')].map(item => \
        [item.dataset.kind, item.dataset.from, item.dataset.to, item.dataset.tone].join(' '))";
    let steps = browser.execute(script, &[]).await;
    serde_json::from_value(steps).unwrap()
}

/// No text and no attribute of the page holds a JSON Web Token. A challenge's claims begin as one does, but have no dots.
async fn shows_no_token(browser: &Browser) {
    let script = "return document.documentElement.outerHTML.match(/eyJ[\\w-]*\\.[\\w-]*/g)";
    assert_eq!(browser.execute(script, &[]).await, Value::Null);
}

/// Takes a picture of the page after looking at what a picture does not show.
async fn look(browser: &Browser, page: &str) {
    for scheme in ["light", "dark"] {
        media(browser, "reduce", scheme).await;
        for screen in &SCREENS {
            let metrics = json!({ "width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": screen.name == "phone" });
            browser
                .devtools("Emulation.setDeviceMetricsOverride", metrics)
                .await;
            let wide = "return document.documentElement.scrollWidth - window.innerWidth";
            let wide = browser.execute(wide, &[]).await;
            assert!(
                wide.as_i64().unwrap() <= 0,
                "{page} scrolls sideways on a {}: {wide}",
                screen.name
            );
            let dark = if scheme == "dark" { "-dark" } else { "" };
            browser
                .whole_page(&format!("picture-{page}-{}{dark}", screen.name))
                .await;
        }
    }
    browser
        .devtools("Emulation.clearDeviceMetricsOverride", json!({}))
        .await;
    media(browser, "reduce", "light").await;
}
