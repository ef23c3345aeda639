//! Requests that no browser sends: any header, any byte.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Client, Method, redirect};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use url::Url;

/// No answer within this time is a fault; nothing waits for it otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

thread_local! {
    /// One for each test, which has a thread and a runtime of its own.
    static CLIENT: Client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
}

/// One answer, headers in lower case; those that came several times stand on several lines.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// `error` of a problem document, empty if it is none.
    pub(super) fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    }
}

/// A proper HTTP request with any headers.
pub(super) async fn send(
    base: &Url,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let url = base.join(path).unwrap();
    let mut request = CLIENT.with(|client| client.request(method, url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    let mut found = BTreeMap::<String, String>::new();
    for (name, value) in response.headers() {
        let line = found.entry(name.as_str().to_owned()).or_default();
        if !line.is_empty() {
            line.push('\n');
        }
        line.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Answer {
        status: response.status().as_u16(),
        headers: found,
        body: response.text().await.unwrap(),
    }
}

/// Sends bytes and returns what comes until the server closes: the request must say `Connection: close` or be refused for good.
pub(super) async fn raw(base: &Url, request: &[u8]) -> String {
    let exchange = async {
        let port = base.port().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // A server that has refused the beginning may have closed before the end.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
    let answer = timeout(DEADLINE, exchange).await;
    answer.unwrap_or_else(|_| panic!("the connection stays open after {shown:?}"))
}

/// A head for [`raw`] that ends the connection.
pub(super) fn head(method: &str, target: &str, host: &str, lines: &[&str]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for line in lines {
        head += &format!("{line}\r\n");
    }
    head + "Connection: close\r\n\r\n"
}

/// The statuses of all answers on one connection, the interim ones left out.
pub(super) fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .filter(|status| *status >= 200)
        .collect()
}

/// Where the service itself says that it is.
pub(super) fn host(base: &Url) -> String {
    format!("localhost:{}", base.port().unwrap())
}
