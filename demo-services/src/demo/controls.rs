//! The switches of the demo's page, over the authority that the demo started.

use std::{sync::Weak, time::Duration};

use async_trait::async_trait;
use local_authority::{Clock, Directory, Policy, Running, SystemClock, Target};
use tokio::time::sleep;

use super::DOWNSTREAM;
use crate::{
    revocations::Revocations,
    spa_backend::{Controls, DemoState, PolicyState},
};

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(20);

/// Steers the authority and tells the downstream API of its revocations.
pub(super) struct DemoControls {
    /// Does not keep it running: the demo's end is its end.
    authority: Weak<Running>,
    revocations: Revocations,
}

impl DemoControls {
    pub(super) fn new(authority: Weak<Running>, revocations: Revocations) -> Self {
        Self {
            authority,
            revocations,
        }
    }
}

#[async_trait]
impl Controls for DemoControls {
    fn state(&self) -> DemoState {
        let directory = self.authority.upgrade().map(|running| running.directory());
        let policy = directory
            .as_deref()
            .and_then(guard)
            .map(|policy| PolicyState {
                name: policy.name.clone(),
                enabled: policy.enabled,
            });
        DemoState {
            policy,
            samples_way: true,
        }
    }

    fn set_policy(&self, enabled: bool) -> bool {
        let Some(authority) = self.authority.upgrade() else {
            return false;
        };
        let directory = authority.directory();
        guard(&directory).is_some_and(|policy| authority.set_policy(&policy.name, enabled))
    }

    async fn revoke(&self, user: &str) -> bool {
        // First at the authority, from where on no token is issued for an older sign-in; then the time, so that all that was issued
        // is older. Both before anything is awaited: a browser that has gone cannot stop it halfway.
        let running = self.authority.upgrade();
        if !running.is_some_and(|running| running.revoke(user)) {
            return false;
        }
        // Times in tokens are whole seconds. So that nothing good is issued in the second of the revocation, that is the next one,
        // and the answer, after which the person signs in anew, waits until it has begun.
        let before = SystemClock.now().saturating_add(1);
        self.revocations.revoke(user, before);
        while SystemClock.now() < before {
            sleep(LOOK).await;
        }
        true
    }
}

/// The policy that guards the downstream API.
fn guard(directory: &Directory) -> Option<&Policy> {
    let target = Target::App(DOWNSTREAM.to_owned());
    let mut policies = directory.policies.iter();
    policies.find(|policy| policy.target == target)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use local_authority::{LocalAuthority, Options, TokenSpec};
    use tower_bearer::Revoked;

    use super::*;

    /// What the authority says to a token of before, when the middle tier brings it.
    async fn on_behalf_of(authority: &Running, assertion: &str) -> String {
        let directory = authority.directory();
        let app = directory.app("middle-tier").unwrap();
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("requested_token_use", "on_behalf_of"),
            ("scope", "api://downstream-api/user_impersonation"),
            ("client_id", &app.client_id.to_string()),
            ("client_secret", app.secret().unwrap()),
            ("assertion", assertion),
        ];
        let url = format!(
            "{}/{}/oauth2/v2.0/token",
            authority.url(),
            authority.tenant()
        );
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.post(url).form(&form).send().await.unwrap();
        answer.text().await.unwrap()
    }

    #[tokio::test]
    async fn whoever_goes_away_is_revoked_all_the_same() {
        const REVOKED: &str = "AADSTS50173";
        let options = Options::default().listen("localhost:0");
        let authority = LocalAuthority::start(Directory::demo(), options).await;
        let authority = Arc::new(authority.unwrap());
        let token = authority.issue(TokenSpec::user("alice", "middle-tier").mfa());
        let oid = authority.directory().user("alice").unwrap().oid.to_string();
        let revocations = Revocations::new();
        let controls = DemoControls::new(Arc::downgrade(&authority), revocations.clone());
        assert!(!controls.revoke("nobody").await);
        let said = on_behalf_of(&authority, &token).await;
        assert!(!said.contains(REVOKED), "{said}");

        let asked = SystemClock.now();
        // The browser is gone before the answer.
        let _ = controls.revoke(&oid).now_or_never();
        let said = on_behalf_of(&authority, &token).await;
        assert!(said.contains(REVOKED), "{said}");
        let Revoked::Before(before) = revocations.of(&oid) else {
            panic!("not at the API");
        };
        assert!(before > asked, "what was issued until now is not good");
    }
}
