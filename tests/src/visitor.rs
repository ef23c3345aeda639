//! A person at the SPA's page: signs in, presses its buttons, goes where it sends them.

use reqwest::Method;
use serde_json::Value;

use crate::{
    html,
    person::{Page, Person},
    world::World,
};

/// A person and the page that they look at.
#[derive(Debug)]
pub struct Visitor {
    /// The person, with their cookies.
    pub person: Person,
    /// The SPA's page as it was last drawn.
    pub page: Page,
}

impl Visitor {
    /// Opens the start page, signed out.
    pub async fn new(world: &World) -> Self {
        let mut person = Person::new();
        let page = person.open(world.demo.spa()).await;
        assert_eq!(page.status, 200, "{page:?}");
        Self { person, page }
    }

    /// Opens the start page and signs in, with the password alone.
    pub async fn signed_in(world: &World, user: &str) -> Self {
        let mut visitor = Self::new(world).await;
        let form = visitor.press_sign_in().await;
        let directory = world.demo.authority().directory();
        let user = directory.user(user).expect("a user of the directory");
        visitor.page = visitor
            .give_password(&form, &user.username, user.password())
            .await;
        assert!(visitor.page.says(&user.username), "{:?}", visitor.page);
        visitor
    }

    /// Follows the sign-in link; returns the authority's page.
    pub async fn press_sign_in(&mut self) -> Page {
        self.person.follow(&self.page, "/auth/sign-in").await
    }

    /// Fills in the authority's sign-in page.
    pub async fn give_password(&mut self, form: &Page, user: &str, password: &str) -> Page {
        let fields = [("username", user), ("password", password)];
        self.person
            .submit(form, &form.form_with("password"), &fields)
            .await
    }

    /// Fills in the authority's second-factor page.
    pub async fn give_code(&mut self, form: &Page, code: &str) -> Page {
        self.person
            .submit(form, &form.form_with("code"), &[("code", code)])
            .await
    }

    /// Presses Cancel on a page of the authority.
    pub async fn cancel(&mut self, form: &Page, input: &str) -> Page {
        self.person
            .submit(form, &form.form_with(input), &[("cancel", "1")])
            .await
    }

    /// What the page's script does for a button: `/api/api`, `/api/secure`.
    pub async fn call(&mut self, path: &str) -> Page {
        self.send(Method::GET, path).await
    }

    /// Goes where an answer sends the person; returns the authority's page, or the SPA's if nothing was asked.
    ///
    /// # Panics
    ///
    /// The answer sends nowhere.
    pub async fn go(&mut self, answer: &Page) -> Page {
        let answer = answer.json();
        let go = answer["go"]
            .as_str()
            .unwrap_or_else(|| panic!("no `go` in {answer}"));
        self.person.follow(&self.page, go).await
    }

    /// What the page's script does when it was drawn with an operation to complete.
    ///
    /// # Panics
    ///
    /// It was drawn with none.
    pub async fn complete(&mut self, page: Page) -> Page {
        let operation = html::attribute(&page.body, ("class", "outcome"), "data-operation");
        let operation = operation.unwrap_or_else(|| panic!("no operation on {page:?}"));
        self.page = page;
        self.send(Method::POST, &format!("/api/ops/{operation}"))
            .await
    }

    async fn send(&mut self, method: Method, path: &str) -> Page {
        self.send_with(method, path, &[]).await
    }

    /// What the page's script sends to the SPA, with these headers as well.
    pub async fn send_with(&mut self, method: Method, path: &str, more: &[(&str, &str)]) -> Page {
        let meta =
            |name| html::attribute(&self.page.body, ("name", name), "content").unwrap_or_default();
        let (token, account) = (meta("session-token"), meta("account"));
        let mut headers = vec![("x-session-token", &*token), ("x-account", &*account)];
        headers.extend(more);
        self.person
            .fetch(&self.page, method, path, &headers, None)
            .await
    }
}

/// The `error` of a problem document.
///
/// # Panics
///
/// The answer is none.
#[must_use]
pub fn error_of(answer: &Page) -> String {
    match &answer.json()["error"] {
        Value::String(error) => error.clone(),
        other => panic!("{other} as error in {answer:?}"),
    }
}
