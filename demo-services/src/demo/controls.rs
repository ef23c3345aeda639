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
        let known = |running: &Running| running.directory().user(user).is_some();
        if !self
            .authority
            .upgrade()
            .is_some_and(|running| known(&running))
        {
            return false;
        }
        // Times in tokens are whole seconds. So that nothing is issued in the second of the revocation and after it, that is the
        // next one, and the answer waits until it has begun.
        let before = SystemClock.now().saturating_add(1);
        self.revocations.revoke(user, before);
        while SystemClock.now() < before {
            sleep(LOOK).await;
        }
        let running = self.authority.upgrade();
        running.is_some_and(|running| running.revoke(user))
    }
}

/// The policy that guards the downstream API.
fn guard(directory: &Directory) -> Option<&Policy> {
    let target = Target::App(DOWNSTREAM.to_owned());
    let mut policies = directory.policies.iter();
    policies.find(|policy| policy.target == target)
}
