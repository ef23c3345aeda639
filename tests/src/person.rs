//! A person without a browser: follows redirects, keeps cookies, fills in forms, runs the page's calls.

use std::fmt;

use demo_services::trust::Trust;
use reqwest::{
    Client, Method, StatusCode,
    header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE},
    redirect,
};
use url::Url;

use crate::{
    cookies::{Jar, Sender, same_site},
    html::{self, Form},
};

/// More redirects than any flow of ours takes.
const REDIRECTS: usize = 10;

/// What came back.
#[derive(Clone)]
pub struct Page {
    /// Where it came from, after redirects.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.status,
            self.url,
            html::text(&self.body)
        )
    }
}

impl Page {
    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// It is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The page's text contains this.
    #[must_use]
    pub fn says(&self, text: &str) -> bool {
        html::text(&self.body).contains(text)
    }

    /// Where a redirect leads.
    #[must_use]
    pub fn redirect(&self) -> Option<Url> {
        let location = self
            .headers
            .get(LOCATION)
            .filter(|_| self.status.is_redirection())?;
        Some(
            self.url
                .join(location.to_str().expect("a URL"))
                .expect("a URL"),
        )
    }

    /// The form with an input of this name.
    ///
    /// # Panics
    ///
    /// There is none.
    #[must_use]
    pub fn form_with(&self, input: &str) -> Form {
        self.find_form(input)
            .unwrap_or_else(|| panic!("no form with `{input}` on {self:?}"))
    }

    /// The form with an input of this name, if any.
    #[must_use]
    pub fn find_form(&self, input: &str) -> Option<Form> {
        html::forms(&self.body)
            .into_iter()
            .find(|form| form.has(input))
    }
}

/// One person at one browser profile.
#[derive(Clone, Debug)]
pub struct Person {
    http: Client,
    /// The cookies, to look at or to lose.
    pub jar: Jar,
    /// Every answer so far, redirects included, with the address that was asked.
    pub seen: Vec<Page>,
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

impl Person {
    /// Nobody yet: no cookies.
    ///
    /// # Panics
    ///
    /// The HTTP client cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::trusting(&Trust::default())
    }

    /// The same with a browser that trusts a local CA.
    ///
    /// # Panics
    ///
    /// The HTTP client cannot be made.
    #[must_use]
    pub fn trusting(trust: &Trust) -> Self {
        let http = trust
            .http(Client::builder())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("an HTTP client");
        Self {
            http,
            jar: Jar::default(),
            seen: Vec::new(),
        }
    }

    /// Types an address into the address bar.
    pub async fn open(&mut self, url: &Url) -> Page {
        self.navigate(Method::GET, url.clone(), None, None).await
    }

    /// The same, but stays at the first answer, a redirect for instance.
    pub async fn open_once(&mut self, url: &Url) -> Page {
        self.request(&Method::GET, url, None, None).await
    }

    /// Follows a link of a page.
    pub async fn follow(&mut self, from: &Page, href: &str) -> Page {
        let url = from.url.join(href).expect("a link");
        self.navigate(Method::GET, url, None, Some(&from.url)).await
    }

    /// Sends a form of a page with these fields filled in (a button's name and value count as a field).
    ///
    /// # Panics
    ///
    /// The form has no such field.
    pub async fn submit(&mut self, from: &Page, form: &Form, fields: &[(&str, &str)]) -> Page {
        let (method, url, pairs) = filled_in(from, form, fields);
        self.navigate(method, url, pairs, Some(&from.url)).await
    }

    /// Sends a form and returns where the answer redirects to, without going there.
    ///
    /// # Panics
    ///
    /// The form has no such field, or the answer is no redirect.
    pub async fn submit_once(&mut self, from: &Page, form: &Form, fields: &[(&str, &str)]) -> Url {
        let (method, url, pairs) = filled_in(from, form, fields);
        let page = self
            .request(&method, &url, pairs.as_deref(), Some(&from.url))
            .await;
        page.redirect()
            .unwrap_or_else(|| panic!("no redirect: {page:?}"))
    }

    /// What a script of `page` fetches; redirects are not followed.
    pub async fn fetch(
        &mut self,
        page: &Page,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Page {
        let url = page.url.join(path).expect("a path");
        let mut request = self.http.request(method.clone(), url.clone());
        let site = if same_site(&page.url, &url) {
            "same-origin"
        } else {
            "cross-site"
        };
        request = request
            .header("sec-fetch-site", site)
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-dest", "empty");
        if method != Method::GET && method != Method::HEAD {
            request = request.header(ORIGIN, page.url.origin().ascii_serialization());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        if let Some(cookies) = self.jar.header(&url, &method, Sender::Script(&page.url)) {
            request = request.header(COOKIE, cookies);
        }
        self.send(request, url).await
    }

    async fn navigate(
        &mut self,
        mut method: Method,
        mut url: Url,
        mut form: Option<Vec<(String, String)>>,
        from: Option<&Url>,
    ) -> Page {
        for _ in 0..REDIRECTS {
            let page = self.request(&method, &url, form.as_deref(), from).await;
            let Some(target) = page.redirect() else {
                return page;
            };
            url = target;
            if !matches!(page.status.as_u16(), 307 | 308) {
                (method, form) = (Method::GET, None);
            }
        }
        panic!("more than {REDIRECTS} redirects, the last to {url}");
    }

    async fn request(
        &mut self,
        method: &Method,
        url: &Url,
        form: Option<&[(String, String)]>,
        from: Option<&Url>,
    ) -> Page {
        let sender = from.map_or(Sender::AddressBar, Sender::Navigation);
        let site = match from {
            None => "none",
            Some(page) if page.origin() == url.origin() => "same-origin",
            Some(page) if same_site(page, url) => "same-site",
            Some(_) => "cross-site",
        };
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .header("sec-fetch-site", site)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        if method == Method::POST
            && let Some(from) = from
        {
            request = request.header(ORIGIN, from.origin().ascii_serialization());
        }
        if let Some(form) = form {
            request = request.form(form);
        }
        if let Some(cookies) = self.jar.header(url, method, sender) {
            request = request.header(COOKIE, cookies);
        }
        self.send(request, url.clone()).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder, url: Url) -> Page {
        let response = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{url}: {error:?}"));
        let (status, headers) = (response.status(), response.headers().clone());
        for line in headers.get_all(SET_COOKIE) {
            self.jar.set(&url, line.to_str().expect("ASCII"));
        }
        let body = response.text().await.expect("a body");
        let html = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        assert!(!html || !body.is_empty(), "an empty page at {url}");
        let page = Page {
            url,
            status,
            headers,
            body,
        };
        self.seen.push(page.clone());
        page
    }
}

/// What a form sends: method, URL, and the body's pairs.
fn filled_in(
    from: &Page,
    form: &Form,
    fields: &[(&str, &str)],
) -> (Method, Url, Option<Vec<(String, String)>>) {
    let mut pairs = form.inputs.clone();
    for (name, value) in fields {
        let mut known = form.inputs.iter().chain(&form.buttons);
        assert!(
            known.any(|(input, _)| input == name),
            "no field `{name}` on {from:?}"
        );
        pairs.retain(|(input, _)| input != name);
        pairs.push(((*name).into(), (*value).into()));
    }
    let mut url = from.url.join(&form.action).expect("a form's action");
    if form.post {
        return (Method::POST, url, Some(pairs));
    }
    url.query_pairs_mut().clear().extend_pairs(&pairs);
    (Method::GET, url, None)
}
