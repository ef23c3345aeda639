//! The switches of the demo's page: a policy on and off, and the visitor's own revocation. Without a [`Controls`] there are none.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::App;
use super::guard::Caller;
use super::problem::Problem;

/// Longest body of a command, in bytes.
pub(super) const BODY_LIMIT: usize = 1024;

/// What the page may change, of an authority that is there to be played with.
#[async_trait]
pub trait Controls: Send + Sync + 'static {
    /// How everything stands.
    fn state(&self) -> DemoState;

    /// Switches the policy that guards the downstream API. Whether there is one.
    fn set_policy(&self, enabled: bool) -> bool;

    /// Revokes the user with this object id, at the authority and at the APIs that listen to it. When this returns, whatever was
    /// issued before is no longer good and whatever is issued from now on is. Whether there is such a user.
    async fn revoke(&self, user: &str) -> bool;
}

/// How everything stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DemoState {
    /// The policy that guards the downstream API, if there is one.
    pub policy: Option<PolicyState>,
    /// Whether the middle tier serves `/samples/api`.
    pub samples_way: bool,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyState {
    /// Its name at the authority.
    pub name: String,
    /// Whether it is enforced.
    pub enabled: bool,
}

/// The body of `POST /demo/policy`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    enabled: bool,
}

/// `GET /demo`.
pub(super) async fn state(
    State(app): State<Arc<App>>,
    _: Caller,
) -> Result<Json<DemoState>, Problem> {
    Ok(Json(controls(&app)?.state()))
}

/// `POST /demo/policy`; answers how everything stands then.
pub(super) async fn policy(
    State(app): State<Arc<App>>,
    _: Caller,
    body: Result<Json<Switch>, JsonRejection>,
) -> Result<Json<DemoState>, Problem> {
    let controls = controls(&app)?;
    let Json(Switch { enabled }) = body.map_err(|rejection| {
        let detail =
            "The body must be {\"enabled\": true} or {\"enabled\": false}. Nothing was changed.";
        Problem::new(rejection.status(), "bad_request", detail)
    })?;
    if !controls.set_policy(enabled) {
        return Err(absent("The authority has no such policy any more."));
    }
    tracing::info!(enabled, "the demo's policy was switched");
    Ok(Json(controls.state()))
}

/// `POST /demo/revoke`: the session's own user, nobody else.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    if !controls(&app)?.revoke(caller.seat.account.user()).await {
        return Err(absent("The authority does not know you any more."));
    }
    tracing::info!("a user of the demo was revoked by themselves");
    Ok(StatusCode::NO_CONTENT)
}

fn controls(app: &App) -> Result<&dyn Controls, Problem> {
    let controls = app.controls.as_deref();
    controls.ok_or_else(|| absent("There is nothing to be switched here."))
}

fn absent(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::Method;
    use http::header::CONTENT_TYPE;
    use serde_json::json;

    use super::*;
    use crate::spa_backend::Demo;
    use crate::spa_backend::doubles::{Browser, Stage, config};
    use crate::spa_backend::router_for_demo;

    /// Notes what it was told.
    #[derive(Default)]
    struct Noted {
        enabled: Mutex<Vec<bool>>,
        revoked: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Controls for Noted {
        fn state(&self) -> DemoState {
            let enabled = self.enabled.lock().unwrap().last() != Some(&false);
            DemoState {
                policy: Some(PolicyState {
                    name: "MFA".into(),
                    enabled,
                }),
                samples_way: true,
            }
        }

        fn set_policy(&self, enabled: bool) -> bool {
            self.enabled.lock().unwrap().push(enabled);
            true
        }

        async fn revoke(&self, user: &str) -> bool {
            self.revoked.lock().unwrap().push(user.to_owned());
            user == "oid-alice"
        }
    }

    /// A browser of `user` at a service with controls.
    async fn signed_in(stage: &Stage, noted: &Arc<Noted>, user: &str) -> Browser {
        let mut config = config(&stage.authority.url, "http://localhost:1");
        // There is no picture without them.
        config.flow_events = true;
        let demo = Demo {
            users: Vec::new(),
            controls: Some(Arc::clone(noted) as Arc<dyn Controls>),
            ca_file: Some("/certificates/ca.pem".into()),
        };
        let mut browser = stage.browser_of(router_for_demo(&config, demo).unwrap());
        browser.sign_in("/auth/sign-in", user).await;
        browser.draw_page().await;
        browser
    }

    /// What the page's script sends, with other headers.
    async fn post(
        browser: &mut Browser,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> StatusCode {
        let json = (CONTENT_TYPE.as_str(), "application/json");
        let headers: Vec<_> = headers.iter().copied().chain([json]).collect();
        let page = browser
            .send(Method::POST, path, &headers, body.to_owned())
            .await;
        page.status
    }

    #[tokio::test]
    async fn the_policy_is_switched_and_its_state_told() {
        let (stage, noted) = (Stage::new().await, Arc::<Noted>::default());
        let mut browser = signed_in(&stage, &noted, "alice").await;
        let told = browser.fetch(Method::GET, "/demo", "").await.json();
        let expected = json!({ "policy": { "name": "MFA", "enabled": true }, "samples_way": true });
        assert_eq!(told, expected);
        let token = browser.session_token.clone();
        let own = [
            ("sec-fetch-site", "same-origin"),
            ("x-session-token", &*token),
        ];
        for body in [
            "",
            "{}",
            "{\"enabled\":1}",
            "{\"enabled\":false,\"user\":\"bob\"}",
            "[1]",
        ] {
            let status = post(&mut browser, "/demo/policy", &own, body).await;
            assert!(status.is_client_error(), "{body}: {status}");
        }
        let long = format!("{{\"enabled\":false{}}}", " ".repeat(BODY_LIMIT));
        let status = post(&mut browser, "/demo/policy", &own, &long).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(noted.enabled.lock().unwrap().is_empty());
        let status = post(&mut browser, "/demo/policy", &own, "{\"enabled\":false}").await;
        assert_eq!(status, StatusCode::OK);
        let told = browser.fetch(Method::GET, "/demo", "").await.json();
        assert_eq!(told["policy"]["enabled"], false);
    }

    #[tokio::test]
    async fn everybody_revokes_themselves_alone() {
        let (stage, noted) = (Stage::new().await, Arc::<Noted>::default());
        let mut alice = signed_in(&stage, &noted, "alice").await;
        let revoked = alice.fetch(Method::POST, "/demo/revoke", "").await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
        // Whatever the request says: there is nobody to name.
        let mut bob = signed_in(&stage, &noted, "bob").await;
        let own = bob.session_token.clone();
        let own = [
            ("sec-fetch-site", "same-origin"),
            ("x-session-token", &*own),
        ];
        let path = "/demo/revoke?user=alice";
        let unknown = post(&mut bob, path, &own, "{\"user\":\"alice\"}").await;
        assert_eq!(
            unknown,
            StatusCode::NOT_FOUND,
            "the double knows alice alone"
        );
        let alices = alice.session_token.clone();
        let foreign = [
            ("sec-fetch-site", "same-origin"),
            ("x-session-token", &*alices),
        ];
        let status = post(&mut bob, "/demo/revoke", &foreign, "").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "alice's header token");
        assert_eq!(*noted.revoked.lock().unwrap(), ["oid-alice", "oid-bob"]);
    }

    #[tokio::test]
    async fn only_the_signed_in_page_commands() {
        let (stage, noted) = (Stage::new().await, Arc::<Noted>::default());
        let mut browser = signed_in(&stage, &noted, "alice").await;
        let token = browser.session_token.clone();
        let same = ("sec-fetch-site", "same-origin");
        let token = ("x-session-token", &*token);
        let cases: [(&[(&str, &str)], StatusCode); 6] = [
            (&[token], StatusCode::FORBIDDEN),
            (
                &[token, ("origin", "http://evil.example")],
                StatusCode::FORBIDDEN,
            ),
            (
                &[token, ("sec-fetch-site", "same-site")],
                StatusCode::FORBIDDEN,
            ),
            (&[same], StatusCode::FORBIDDEN),
            (&[same, ("x-session-token", "wrong")], StatusCode::FORBIDDEN),
            (
                &[same, token, ("x-account", "somebody.else")],
                StatusCode::CONFLICT,
            ),
        ];
        for (headers, status) in cases {
            for path in ["/demo/policy", "/demo/revoke"] {
                let answer = post(&mut browser, path, headers, "{\"enabled\":false}").await;
                assert_eq!(answer, status, "{path} {headers:?}");
            }
            let answer = browser.send(Method::GET, "/demo", headers, "").await;
            assert_eq!(answer.status, status, "{headers:?}");
        }
        browser.cookies.clear();
        for path in ["/demo/policy", "/demo/revoke"] {
            let answer = post(&mut browser, path, &[same, token], "{\"enabled\":false}").await;
            assert_eq!(answer, StatusCode::UNAUTHORIZED, "{path} without a session");
        }
        assert!(noted.enabled.lock().unwrap().is_empty());
        assert!(noted.revoked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn without_controls_there_is_nothing() {
        let stage = Stage::new().await;
        let mut browser = stage.signed_in("alice").await;
        for (method, path) in [
            (Method::GET, "/demo"),
            (Method::POST, "/demo/policy"),
            (Method::POST, "/demo/revoke"),
        ] {
            let answer = browser.fetch(method, path, "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
        assert!(!browser.get("/").await.text.contains("id=\"revoke\""));
        let noted = Arc::<Noted>::default();
        let mut browser = signed_in(&stage, &noted, "alice").await;
        let page = browser.get("/").await.text;
        for part in ["id=\"revoke\"", "data-ca-file=\"/certificates/ca.pem\""] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}
