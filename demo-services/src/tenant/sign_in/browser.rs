//! A person signs in with a browser on this machine: authorization code with PKCE (RFC 7636), back to a loopback address (RFC 8252).

use secrecy::ExposeSecret as _;
use url::Url;

use super::NoToken;
use super::endpoint::Tokens;
use super::person::PublicClient;
use super::redirect::{Answer, Redirect};
use crate::random;

/// Shows the page's address, waits for its answer, and redeems the code.
pub(super) async fn sign_in(client: &PublicClient) -> Result<Tokens, NoToken> {
    let (state, verifier) = (random::secret(), random::secret());
    let redirect = Redirect::open(state.clone()).await?;
    let redirect_uri = redirect.uri();
    let address = address(client, &redirect_uri, &state, &verifier);
    (client.tell)(&format!(
        "To sign in, open this address in a browser on this machine (over ssh use --sign-in device-code):\n{address}"
    ));
    let code = match redirect.answer().await? {
        Answer::Code(code) => code,
        Answer::Refused(refusal) => return Err(refusal.into_error()),
    };
    let scope = client.scope();
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", &client.client_id),
        ("code", code.expose_secret()),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", &verifier),
        ("scope", &scope),
    ];
    match client.ask(&form).await? {
        Ok(tokens) => Ok(tokens),
        Err(refusal) => Err(refusal.into_error()),
    }
}

/// The authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
fn address(client: &PublicClient, redirect_uri: &str, state: &str, verifier: &str) -> Url {
    let mut address = client.place.endpoint(&client.tenant, "authorize");
    address.query_pairs_mut().extend_pairs([
        ("client_id", client.client_id.as_str()),
        ("response_type", "code"),
        ("response_mode", "query"),
        ("redirect_uri", redirect_uri),
        ("scope", &client.scope()),
        ("state", state),
        ("code_challenge", &random::sha256(verifier)),
        ("code_challenge_method", "S256"),
        // Who is signed in already need not be the one who may do this.
        ("prompt", "select_account"),
    ]);
    address
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reqwest::{Client, Response, header};
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::join;
    use tokio::net::TcpStream;

    use super::super::stage::Stage;
    use super::*;
    use crate::tenant::cloud::PUBLIC_CLIENT;

    type Pairs = BTreeMap<String, String>;

    /// The authorization request that a person was told to open.
    async fn asked(stage: &Stage) -> Pairs {
        let told = stage.first_told().await;
        let (words, address) = told.split_once('\n').unwrap();
        assert!(words.contains("--sign-in device-code"), "{words}");
        let address: Url = address.parse().unwrap();
        assert_eq!(address.path(), "/tenant/oauth2/v2.0/authorize");
        address.query_pairs().into_owned().collect()
    }

    async fn open(url: &str) -> Response {
        let http = Client::builder().no_proxy().build().unwrap();
        http.get(url).send().await.unwrap()
    }

    async fn comes_back(asked: &Pairs, with: &str) -> Response {
        open(&format!(
            "{}/?{with}&state={}",
            asked["redirect_uri"], asked["state"]
        ))
        .await
    }

    /// The last form that came to the token endpoint.
    async fn redeemed(stage: &Stage) -> Pairs {
        let requests = stage.server.received_requests().await.unwrap();
        let body = &requests.last().unwrap().body;
        url::form_urlencoded::parse(body).into_owned().collect()
    }

    async fn grants(stage: &Stage) {
        let body = json!({ "access_token": "t0ken", "expires_in": 3600 });
        stage.answers("token", "code=c0de", 200, body).await;
    }

    #[tokio::test]
    async fn the_code_is_redeemed_with_what_it_was_asked_for() {
        let stage = Stage::new().await;
        grants(&stage).await;
        let client = stage.client();
        let (tokens, asked) = join!(sign_in(&client), async {
            let asked = asked(&stage).await;
            let page = comes_back(&asked, "code=c0de").await;
            assert_eq!(page.status(), 200);
            let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap();
            assert!(policy.starts_with("default-src 'none';"), "{policy}");
            for (name, value) in [
                (header::CACHE_CONTROL, "no-store"),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ] {
                assert_eq!(page.headers()[&name], value, "{name}");
            }
            let text = page.text().await.unwrap();
            assert!(text.contains("You can close this window"), "{text}");
            for hidden in ["c0de", "t0ken", &asked["state"], "<script"] {
                assert!(!text.contains(hidden), "{text}");
            }
            asked
        });
        assert_eq!(tokens.unwrap().access_token.expose_secret(), "t0ken");
        for (name, value) in [
            ("client_id", PUBLIC_CLIENT),
            ("response_type", "code"),
            ("response_mode", "query"),
            ("code_challenge_method", "S256"),
            ("prompt", "select_account"),
            (
                "scope",
                "https://graph.microsoft.com/Application.ReadWrite.All https://graph.microsoft.com/User.Read.All openid offline_access",
            ),
        ] {
            assert_eq!(asked[name], value, "{name}");
        }
        let port = asked["redirect_uri"]
            .strip_prefix("http://localhost:")
            .unwrap();
        assert!(port.parse::<u16>().is_ok_and(|port| port != 0), "{port}");
        let redeemed = redeemed(&stage).await;
        assert_eq!(redeemed["grant_type"], "authorization_code");
        assert_eq!(
            random::sha256(&redeemed["code_verifier"]),
            asked["code_challenge"]
        );
        for name in ["client_id", "redirect_uri", "scope"] {
            assert_eq!(redeemed[name], asked[name], "{name}");
        }
        assert_eq!(asked.len(), 9);
        assert_eq!(redeemed.len(), 6);
    }

    #[tokio::test]
    async fn no_two_sign_ins_share_a_secret_or_a_port() {
        let (one, two) = (Stage::new().await, Stage::new().await);
        let (first, second) = (one.client(), two.client());
        let differ = async {
            let (one, two) = join!(asked(&one), asked(&two));
            for name in ["state", "code_challenge", "redirect_uri"] {
                assert_ne!(one[name], two[name], "{name}");
            }
        };
        tokio::select! {
            _ = sign_in(&first) => panic!("nobody came back"),
            _ = sign_in(&second) => panic!("nobody came back"),
            () = differ => {}
        }
    }

    #[tokio::test]
    async fn strangers_at_the_port_do_not_disturb_the_sign_in() {
        let stage = Stage::new().await;
        grants(&stage).await;
        let client = stage.client();
        let (tokens, _silent) = join!(sign_in(&client), async {
            let asked = asked(&stage).await;
            let base = &asked["redirect_uri"];
            for (target, status) in [
                ("favicon.ico", 404),
                ("?code=c0de&state=wrong", 400),
                ("?error=access_denied&state=wrong", 400),
            ] {
                assert_eq!(open(&format!("{base}/{target}")).await.status(), status);
            }
            let host = base.strip_prefix("http://").unwrap();
            let mut silent = Vec::new();
            for _ in 0..50 {
                silent.push(TcpStream::connect(host).await.unwrap());
            }
            let mut slow = TcpStream::connect(host).await.unwrap();
            slow.write_all(b"GET /?co").await.unwrap();
            silent.push(slow);
            let mut noise = TcpStream::connect(host).await.unwrap();
            noise
                .write_all(b"\x16\x03\x01 no HTTP\r\n\r\n")
                .await
                .unwrap();
            silent.push(noise);
            let mut large = TcpStream::connect(host).await.unwrap();
            let head = format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nX: {}",
                "x".repeat(64 * 1024)
            );
            // It may be cut off before the last byte.
            let _ = large.write_all(head.as_bytes()).await;
            let mut answer = String::new();
            let _ = large.read_to_string(&mut answer).await;
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
                "{answer}"
            );
            let page = comes_back(&asked, "code=c0de").await;
            assert_eq!(page.status(), 200);
            silent
        });
        assert_eq!(tokens.unwrap().access_token.expose_secret(), "t0ken");
    }

    #[tokio::test]
    async fn what_the_page_refuses_is_told_with_a_way_on() {
        for (with, said) in [
            ("error=access_denied", "declined"),
            (
                "error=access_denied&error_description=AADSTS65004%3A+s3cret",
                "declined",
            ),
            (
                "error=access_denied&error_description=AADSTS53003%3A+s3cret",
                "Conditional Access",
            ),
            (
                "error=consent_required&error_description=AADSTS65001%3A+s3cret",
                "administrator",
            ),
            (
                "error=server_error&error_description=AADSTS90033%3A+s3cret",
                "AADSTS90033",
            ),
            ("error=%1B%5B31mred", "[31mred"),
        ] {
            let stage = Stage::new().await;
            let client = stage.client();
            let (ended, text) = join!(sign_in(&client), async {
                let page = comes_back(&asked(&stage).await, with).await;
                page.text().await.unwrap()
            });
            assert!(text.contains("the terminal says why"), "{text}");
            let told = ended.err().unwrap().to_string();
            assert!(told.contains(said), "{with}: {told}");
            for text in [text, told] {
                assert!(
                    !text.contains("s3cret") && !text.contains('\u{1b}'),
                    "{text}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_code_that_is_refused_is_told_and_one_in_an_outage_tried_again() {
        let stage = Stage::new().await;
        let client = stage.client();
        let refused = json!({ "error": "invalid_grant", "error_codes": [54_005] });
        stage.answers("token", "code=c0de", 400, refused).await;
        let back = async || {
            let asked = asked(&stage).await;
            comes_back(&asked, "code=c0de").await
        };
        let (ended, _) = join!(sign_in(&client), back());
        let told = ended.err().unwrap().to_string();
        assert!(
            told.contains("AADSTS54005") && told.contains("once more"),
            "{told}"
        );
        assert!(!told.contains("c0de"), "{told}");

        let stage = Stage::new().await;
        let client = stage.client();
        stage
            .answers("token", "code=c0de", 503, json!("busy"))
            .await;
        grants(&stage).await;
        let back = async || {
            let asked = asked(&stage).await;
            comes_back(&asked, "code=c0de").await
        };
        let (tokens, _) = join!(sign_in(&client), back());
        assert_eq!(tokens.unwrap().access_token.expose_secret(), "t0ken");
        assert_eq!(stage.waits(), [2]);
    }
}
