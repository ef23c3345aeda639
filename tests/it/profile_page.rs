//! The profile page in Chromium: what a person sees, types and keeps on the way to the second factor and back.

use integration_tests::{
    browser::{Browser, with_browser},
    world::World,
};
use local_authority::{Endpoint, Fault};
use serde_json::json;
use std::time::Duration;

const POLICY: &str = "MFA for editing the profile";
const ENTER: &str = "\u{e007}";

async fn open_profile(browser: &Browser, world: &World) {
    browser
        .goto(world.demo.spa().join("/profile").unwrap().as_str())
        .await;
}

async fn give_password(browser: &Browser) {
    browser
        .type_into("#username", "alice@contoso.example")
        .await;
    browser.type_into("#password", "alice-in-wonderland").await;
    browser.click("button.primary").await;
}

async fn give_code(browser: &Browser) {
    browser.click("#continue").await;
    browser.wait_for("#code").await;
    browser.type_into("#code", "123456").await;
    browser.click("button.primary").await;
}

async fn value(browser: &Browser, css: &str) -> String {
    let script = "return document.querySelector(arguments[0]).value";
    let value = browser.execute(script, &[json!(css)]).await;
    value.as_str().unwrap().to_owned()
}

fn display_name(world: &World) -> String {
    let directory = world.demo.authority().directory();
    directory.user("alice").unwrap().display_name.clone()
}

/// Nothing stands beyond the right edge.
async fn assert_fits(browser: &Browser) {
    let wide = browser
        .execute(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
            &[],
        )
        .await;
    assert_eq!(wide, 0);
}

#[tokio::test]
async fn a_profile_is_viewed_and_edited_behind_a_second_factor() {
    with_browser("profile", async |browser| {
        let world = World::start_with(|options| options.authority_host = "127.0.0.1".into()).await;
        let shot = async |moment: &str| browser.screenshot(&format!("profile-{moment}")).await;
        open_profile(browser, &world).await;
        give_password(browser).await;
        browser.wait_for_text("#profile", "Alice Liddell").await;
        browser.wait_for_text("#profile", "alice@contoso.example").await;
        shot("1-view").await;

        browser.click("#edit").await;
        browser.wait_for_text("#status", "Editing needs a second factor").await;
        shot("2-step-up").await;
        give_code(browser).await;
        browser.wait_for("#form").await;
        browser.wait_for_text("#status", "Your second factor was accepted").await;
        assert_eq!(value(browser, "#displayName").await, "Alice Liddell");
        assert_eq!(value(browser, "#mail").await, "alice@contoso.example");
        assert!(!browser.url().await.contains("op="), "a reload wishes nothing");
        shot("3-form").await;

        browser.type_into("#displayName", " ").await;
        browser.click("#save").await;
        browser.wait_for_text("#displayName-error", "must not be empty").await;
        shot("4-wrong").await;

        // Refused by the API, beside the field that it is about.
        browser.type_into("#displayName", "Alice\u{202e}").await;
        browser.click("#save").await;
        browser.wait_for_text("#displayName-error", "control characters").await;
        assert_eq!(display_name(&world), "Alice Liddell");

        browser.type_into("#displayName", "Alice Pleasance Liddell").await;
        browser.keys("#displayName", ENTER).await;
        browser.wait_for_text("#status", "Saved.").await;
        browser.wait_for_text("#profile", "Alice Pleasance Liddell").await;
        assert_eq!(display_name(&world), "Alice Pleasance Liddell");
        shot("5-saved").await;

        for (name, width, scheme) in [("phone-light", 390, "light"), ("phone-dark", 390, "dark"), ("desktop-dark", 1100, "dark")] {
            let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
            browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
            let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.devtools("Emulation.setEmulatedMedia", media).await;
            open_profile(browser, &world).await;
            browser.wait_for_text("#profile", "Pleasance").await;
            browser.whole_page(&format!("profile-{name}-view")).await;
            assert_fits(browser).await;
            browser.click("#edit").await;
            browser.wait_for("#form").await;
            browser.wait_for_text("#status", "Change what you like").await;
            browser.whole_page(&format!("profile-{name}-form")).await;
            assert_fits(browser).await;
        }
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_was_typed_is_kept_until_it_is_saved() {
    with_browser("profile-kept", async |browser| {
        let world = World::start_with(|options| options.authority_host = "127.0.0.1".into()).await;
        let authority = world.demo.authority();
        let asked = || world.asked(Endpoint::Me);
        assert!(authority.set_policy(POLICY, false));
        open_profile(browser, &world).await;
        give_password(browser).await;
        browser.click("#edit").await;
        browser.wait_for("#form").await;
        assert!(authority.set_policy(POLICY, true));

        // A challenge in the middle of the save.
        browser.type_into("#displayName", "Alice the First").await;
        browser.click("#save").await;
        browser
            .wait_for_text("#status", "This change needs a second factor")
            .await;
        assert_eq!(value(browser, "#displayName").await, "Alice the First");
        browser.screenshot("profile-6-challenged-save").await;

        // Cancelled: nothing is changed, and what was typed is still there.
        browser.click("#continue").await;
        browser.wait_for("#code").await;
        browser.click("button[name=cancel]").await;
        browser.wait_for("#message").await;
        open_profile(browser, &world).await;
        browser
            .wait_for_text("#status", "What you typed is kept")
            .await;
        assert_eq!(display_name(&world), "Alice Liddell");
        browser.click("#edit").await;
        browser
            .wait_for_text("#status", "Editing needs a second factor")
            .await;
        give_code(browser).await;
        browser
            .wait_for_text("#status", "The form holds what you typed before")
            .await;
        assert_eq!(value(browser, "#displayName").await, "Alice the First");

        // Graph is busy: the form stays as it is, and the same is sent again by the person.
        authority.fail_next(Endpoint::Me, 1, Fault::status(429));
        browser.click("#save").await;
        browser.wait_for_text("#status", "did not succeed").await;
        browser
            .wait_for_text("#status", "The form is as you left it")
            .await;
        assert_eq!(value(browser, "#displayName").await, "Alice the First");
        browser.screenshot("profile-7-busy").await;

        // The outcome is unknown: the page looks, and says what is there.
        authority.fail_next(Endpoint::Me, 1, Fault::status(500));
        browser.click("#save").await;
        browser
            .wait_for_text("#status", "does not have the values that you sent")
            .await;
        assert_eq!(value(browser, "#displayName").await, "Alice the First");

        // Slow: progress is shown.
        let before = asked();
        authority.fail_next(Endpoint::Me, 1, Fault::delay(Duration::from_secs(2)));
        browser.click("#save").await;
        browser.wait_for("#progress").await;
        browser.wait_for_text("#status", "Saved.").await;
        assert_eq!(display_name(&world), "Alice the First");
        assert_eq!(asked(), before + 2, "one change, one look");
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_save_that_was_challenged_is_made_once_and_said() {
    with_browser("profile-once", async |browser| {
        let world = World::start_with(|options| options.authority_host = "127.0.0.1".into()).await;
        let authority = world.demo.authority();
        assert!(authority.set_policy(POLICY, false));
        open_profile(browser, &world).await;
        give_password(browser).await;
        browser.click("#edit").await;
        browser.wait_for("#form").await;
        assert!(authority.set_policy(POLICY, true));
        browser.type_into("#displayName", "Alice Once").await;
        browser.click("#save").await;
        browser
            .wait_for_text("#status", "This change needs a second factor")
            .await;
        let go = browser
            .execute("return document.getElementById('continue').href", &[])
            .await;
        let operation = go.as_str().unwrap().rsplit_once('=').unwrap().1.to_owned();
        let before = world.asked(Endpoint::Me);
        give_code(browser).await;
        browser
            .wait_for_text("#status", "your profile was changed once")
            .await;
        browser.wait_for_text("#profile", "Alice Once").await;
        assert_eq!(
            world.asked(Endpoint::Me),
            before + 2,
            "one change, one look"
        );
        browser.screenshot("profile-8-changed-once").await;

        // The address of the kept operation, opened once more.
        let again = format!("/profile?op={operation}");
        browser
            .goto(world.demo.spa().join(&again).unwrap().as_str())
            .await;
        browser.wait_for_text("#status", "was run before").await;
        browser.wait_for_text("#profile", "Alice Once").await;
        assert_eq!(world.asked(Endpoint::Me), before + 3, "one more look");
        world.stop().await;
    })
    .await;
}
