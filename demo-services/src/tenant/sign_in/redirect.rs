//! Where the browser comes back to after a sign-in: a port of this machine that takes one answer (RFC 8252 section 7.3).
//!
//! Any program here, and any web page that this browser shows, can ask this port. Whatever is not the answer, which alone has the right
//! `state`, is refused and changes nothing: the sign-in goes on waiting.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use listening::{Listeners, Reach, serve};
use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower::service_fn;
use url::form_urlencoded;

use super::NoToken;
use super::endpoint::Refusal;
use crate::random;

/// How long somebody may take to sign in.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long the browser may take to fetch the last page; others are cut off then.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a page of ours may do: nothing but look like one.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    // The page's own address has the code in it.
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'sha256-n/XIQRX87JJR8VbWLf9+rWhijkxAroInJYWuok+o2YQ='; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
];
/// The one style sheet that the policy above lets through.
const STYLE: &str = "html{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}\
    body{max-width:34rem;margin:20vh auto 0;padding:0 1.5rem}";

/// A port that waits for the browser.
pub(super) struct Redirect {
    listeners: Listeners,
    desk: Arc<Desk>,
    answer: oneshot::Receiver<Answer>,
}

/// How a sign-in ended at the page (RFC 6749 section 4.1.2).
pub(super) enum Answer {
    Code(SecretString),
    Refused(Refusal),
}

/// Takes the answer.
struct Desk {
    /// Host and port of the redirect URI.
    host: String,
    state: String,
    /// Until there was one.
    waiting: Mutex<Option<oneshot::Sender<Answer>>>,
}

/// What is said to whoever asked.
type Said = (StatusCode, &'static str);

impl Redirect {
    /// Takes a free port on 127.0.0.1 and, where it exists, ::1.
    pub(super) async fn open(state: String) -> Result<Self, NoToken> {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback).await?;
        let (waiting, answer) = oneshot::channel();
        let desk = Desk {
            host: format!("localhost:{}", listeners.port()),
            state,
            waiting: Mutex::new(Some(waiting)),
        };
        Ok(Self {
            listeners,
            desk: Arc::new(desk),
            answer,
        })
    }

    /// Without a slash at its end: Entra compares all but the port with `http://localhost`.
    pub(super) fn uri(&self) -> String {
        format!("http://{}", self.desk.host)
    }

    /// Waits for the answer, and lets the browser fetch its page. Nothing listens any more afterwards, also if this is dropped.
    pub(super) async fn answer(self) -> Result<Answer, NoToken> {
        let Self {
            listeners,
            desk,
            answer,
        } = self;
        let service = service_fn(move |request| {
            let said = desk.receive(&request);
            async move { Ok::<_, Infallible>(page(said)) }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let mut serving = pin!(serve(listeners, service, async {
            let _ = stopped.await;
        }));
        let answer = tokio::select! {
            answer = timeout(PATIENCE, answer) => answer,
            () = &mut serving => return Err(NoToken::NobodyCame),
        };
        let Ok(Ok(answer)) = answer else {
            return Err(NoToken::NobodyCame);
        };
        let _ = stop.send(());
        let _ = timeout(GOODBYE, serving).await;
        Ok(answer)
    }
}

impl Desk {
    fn receive<B>(&self, request: &Request<B>) -> Said {
        // A name that leads here without being ours is another site's (DNS rebinding).
        if !self.is_host_of(request) {
            return (
                StatusCode::MISDIRECTED_REQUEST,
                "This is another address than that of the sign-in.",
            );
        }
        if request.uri().path() != "/" {
            return (StatusCode::NOT_FOUND, "There is nothing here.");
        }
        if request.method() != Method::GET {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                "The answer of a sign-in comes with GET.",
            );
        }
        match self.read(request.uri().query().unwrap_or_default()) {
            Some(answer) => self.take(answer),
            None => (
                StatusCode::BAD_REQUEST,
                "This is not the answer to the sign-in that is waited for. Open the address that the terminal shows.",
            ),
        }
    }

    fn is_host_of<B>(&self, request: &Request<B>) -> bool {
        let header = request.headers().get(header::HOST);
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => header.and_then(|host| host.to_str().ok()),
        };
        host.is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
    }

    /// `None` unless it is an answer, and to our request.
    fn read(&self, query: &str) -> Option<Answer> {
        let [mut state, mut code, mut error, mut description] = [const { None }; 4];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = match &*name {
                "state" => &mut state,
                "code" => &mut code,
                "error" => &mut error,
                "error_description" => &mut description,
                _ => continue,
            };
            // RFC 6749 section 3.1: no parameter stands twice.
            if known.replace(value).is_some() {
                return None;
            }
        }
        if !random::equal(&state?, &self.state) {
            return None;
        }
        match (code, error) {
            (Some(code), None) if !code.is_empty() => Some(Answer::Code(code.into_owned().into())),
            (None, Some(error)) => {
                let description = description.unwrap_or_default();
                Some(Answer::Refused(Refusal::of_page(&error, &description)))
            }
            _ => None,
        }
    }

    fn take(&self, answer: Answer) -> Said {
        let said = match &answer {
            Answer::Code(_) => {
                "The answer has arrived. You can close this window and go on at the terminal."
            }
            Answer::Refused(_) => {
                "The sign-in did not succeed; the terminal says why. You can close this window."
            }
        };
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match waiting.map(|waiting| waiting.send(answer)) {
            Some(Ok(())) => (StatusCode::OK, said),
            _ => (
                StatusCode::GONE,
                "This sign-in was answered already. You can close this window.",
            ),
        }
    }
}

/// Fixed words only: nothing that came with the request.
fn page((status, words): Said) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Sign-in</title><style>{STYLE}</style></head>\n<body><p>{words}</p></body>\n</html>\n"
    );
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use secrecy::ExposeSecret as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    const HOST: &str = "localhost:51234";

    #[test]
    fn the_policy_lets_the_style_sheet_through() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let digest = base64::engine::general_purpose::STANDARD.encode(digest);
        let (_, policy) = HEADERS[4];
        assert!(
            policy.contains(&format!("style-src 'sha256-{digest}';")),
            "{digest}"
        );
    }

    fn desk() -> (Desk, oneshot::Receiver<Answer>) {
        let (waiting, answer) = oneshot::channel();
        let desk = Desk {
            host: HOST.into(),
            state: "right".into(),
            waiting: Mutex::new(Some(waiting)),
        };
        (desk, answer)
    }

    fn request(method: &str, host: &str, target: &str) -> Request<()> {
        Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, host)
            .body(())
            .unwrap()
    }

    #[test]
    fn a_code_with_the_right_state_is_taken_once() {
        for target in [
            "/?code=c0de&state=right",
            "/?state=right&session_state=x&code=c0de&client_info=y",
            "http://localhost:51234/?code=c0de&state=right",
        ] {
            let (desk, mut answer) = desk();
            let (status, words) = desk.receive(&request("GET", HOST, target));
            assert!(status == StatusCode::OK && words.contains("close this window"));
            let Ok(Answer::Code(code)) = answer.try_recv() else {
                panic!("no code");
            };
            assert_eq!(code.expose_secret(), "c0de");
            let again = desk.receive(&request("GET", HOST, target));
            assert_eq!(again.0, StatusCode::GONE);
        }
    }

    #[test]
    fn a_refusal_with_the_right_state_is_taken() {
        let (desk, mut answer) = desk();
        let target = "/?error=access_denied&error_description=AADSTS53003%3A+x&state=right";
        let (status, words) = desk.receive(&request("GET", HOST, target));
        assert!(status == StatusCode::OK && words.contains("did not succeed"));
        let Ok(Answer::Refused(refusal)) = answer.try_recv() else {
            panic!("no refusal");
        };
        let said = refusal.into_error().to_string();
        assert!(said.contains("AADSTS53003"), "{said}");
    }

    #[test]
    fn nothing_else_ends_the_sign_in() {
        let good = "/?code=c0de&state=right";
        let (desk, mut answer) = desk();
        for (method, host, target, status) in [
            ("GET", HOST, "/?code=c0de&state=wrong", 400),
            ("GET", HOST, "/?code=c0de&state=", 400),
            ("GET", HOST, "/?code=c0de", 400),
            ("GET", HOST, "/?code=&state=right", 400),
            ("GET", HOST, "/?state=right", 400),
            ("GET", HOST, "/?code=c0de&code=c0de&state=right", 400),
            ("GET", HOST, "/?code=c0de&state=right&state=right", 400),
            ("GET", HOST, "/?code=c0de&state=wrong&state=right", 400),
            ("GET", HOST, "/?code=c0de&error=x&state=right", 400),
            ("GET", HOST, "/?error=access_denied&state=wrong", 400),
            ("GET", HOST, "/?error=access_denied", 400),
            ("GET", HOST, "/", 400),
            ("GET", HOST, "/favicon.ico", 404),
            ("GET", HOST, "/callback?code=c0de&state=right", 404),
            ("GET", HOST, "//?code=c0de&state=right", 404),
            ("HEAD", HOST, good, 405),
            ("POST", HOST, good, 405),
            ("OPTIONS", HOST, good, 405),
            ("GET", "evil.example:51234", good, 421),
            ("GET", "localhost:51235", good, 421),
            ("GET", "localhost", good, 421),
            ("GET", "127.0.0.1:51234", good, 421),
            (
                "GET",
                HOST,
                "http://evil.example/?code=c0de&state=right",
                421,
            ),
        ] {
            let (said, words) = desk.receive(&request(method, host, target));
            assert_eq!(said.as_u16(), status, "{method} {host} {target}");
            assert!(!words.contains("close this window"), "{words}");
            assert!(answer.try_recv().is_err(), "{method} {host} {target}");
        }
        assert_eq!(desk.receive(&request("GET", HOST, good)).0, StatusCode::OK);
        assert!(answer.try_recv().is_ok());
    }

    #[tokio::test]
    async fn nobody_is_waited_for_longer_than_a_quarter_of_an_hour() {
        let redirect = Redirect::open("right".into()).await.unwrap();
        tokio::time::pause();
        let begun = Instant::now();
        let ended = redirect.answer().await;
        assert!(matches!(ended, Err(NoToken::NobodyCame)));
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test]
    async fn a_sign_in_that_is_stopped_hangs_up() {
        let redirect = Redirect::open("right".into()).await.unwrap();
        let port = redirect.listeners.port();
        let waiting = tokio::spawn(redirect.answer());
        let mut caller = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        waiting.abort();
        assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
        let heard = caller.read(&mut [0]).await;
        assert!(heard.is_err() || heard.is_ok_and(|octets| octets == 0));
    }
}
