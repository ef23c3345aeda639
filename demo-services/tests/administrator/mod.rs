//! An administrator at a browser: opens the address that a command shows, signs in, consents, and ends where the command listens.

use reqwest::{Client, Response, header, redirect::Policy};
use url::Url;

/// What was filled in on each page, in their order.
const PAGES: [&[(&str, &str)]; 2] = [
    &[
        ("username", "admin@contoso.example"),
        ("password", "admin-of-the-tenant"),
    ],
    &[("accept", "1")],
];

/// The text of the last page. Consent is given if it is asked for.
pub(crate) async fn signs_in(address: &str) -> String {
    let http = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let mut answer = http.get(address).send().await.unwrap();
    let mut cookie = String::new();
    for fields in PAGES {
        if answer.headers().contains_key(header::LOCATION) {
            break;
        }
        let page = answer.text().await.unwrap();
        let url: Url = address.parse().unwrap();
        let url = url.join(&attribute(&page, "action")).unwrap();
        let flow = attribute(&page, "name=\"flow\" value");
        let form: Vec<(&str, &str)> = fields.iter().copied().chain([("flow", &*flow)]).collect();
        let request = http.post(url).form(&form).header(header::COOKIE, &cookie);
        answer = request.send().await.unwrap();
        if let Some(set) = answer.headers().get(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            set.split(';').next().unwrap().clone_into(&mut cookie);
        }
    }
    let end = location(&answer);
    http.get(end).send().await.unwrap().text().await.unwrap()
}

fn location(answer: &Response) -> String {
    let location = answer.headers().get(header::LOCATION);
    let location = location.unwrap_or_else(|| panic!("{} is no redirect", answer.status()));
    location.to_str().unwrap().to_owned()
}

fn attribute(page: &str, before: &str) -> String {
    let (_, rest) = page.split_once(&format!("{before}=\"")).expect(page);
    rest.split('"').next().unwrap().to_owned()
}
