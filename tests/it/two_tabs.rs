//! Two tabs of one browser: they share its cookies, and nothing else may get mixed up.

use integration_tests::{
    browser::{Browser, with_browser},
    world::World,
};

async fn give_password(browser: &Browser, user: &str, password: &str) {
    let username = format!("{user}@contoso.example");
    browser.type_into("#username", &username).await;
    browser.type_into("#password", password).await;
    browser.click("button.primary").await;
}

async fn give_code(browser: &Browser) {
    browser.type_into("#code", "123456").await;
    browser.click("button.primary").await;
}

async fn sign_in(browser: &Browser, world: &World) {
    browser.goto(world.demo.spa().as_str()).await;
    browser.click("#sign-in").await;
    give_password(browser, "alice", "alice-in-wonderland").await;
    browser.wait_for_text("#user", "Alice").await;
}

/// Presses a button and goes on to the page of the second factor.
async fn to_the_second_factor(browser: &Browser, button: &str) {
    browser.click(button).await;
    browser.wait_for_text("#status", "Stronger sign-in").await;
    browser.click("#continue").await;
    browser.wait_for("#code").await;
}

#[tokio::test]
async fn each_tab_completes_its_own_call() {
    with_browser("tabs-parallel", async |browser| {
        let world = World::start_with(|options| options.authority_host = "127.0.0.1".into()).await;
        sign_in(browser, &world).await;
        let first = browser.window().await;
        to_the_second_factor(browser, "#call-api").await;
        browser.new_tab().await;
        browser.goto(world.demo.spa().as_str()).await;
        to_the_second_factor(browser, "#secure").await;

        // The one that began last ends first.
        give_code(browser).await;
        browser.wait_for_text("#status", "Secure succeeded").await;
        browser.switch_to(&first).await;
        give_code(browser).await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_tab_of_the_former_account_sends_nothing_as_the_present_one() {
    with_browser("tabs-account", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world).await;
        let first = browser.window().await;
        browser.new_tab().await;
        let another = "auth/sign-in?prompt=select_account";
        browser
            .goto(world.demo.spa().join(another).unwrap().as_str())
            .await;
        give_password(browser, "bob", "bob-the-builder").await;
        browser.wait_for_text("#user", "Bob").await;

        browser.switch_to(&first).await;
        browser.click("#call-api").await;
        browser
            .wait_for_text("#status", "You are now signed in as bob@contoso.example")
            .await;
        browser.click("#continue").await;
        browser.wait_for_text("#user", "Bob").await;
        world.stop().await;
    })
    .await;
}
