//! The state that all endpoints share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::changes::{Changes, LockedStores, Watched};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::errors::Refusal;
use crate::keys::KeyRing;
use crate::meter::Meter;
use crate::records::{Record, Stores};
use crate::state::Saving;
use crate::tokens::{AccessToken, Stamp, Subject};

/// One authority, shared by its connections and by [`Running`](crate::Running).
pub(crate) type Shared = Arc<Authority>;

pub(crate) struct Authority {
    /// The base URL without a trailing slash.
    pub(crate) base: String,
    /// `{base}/{tenant id}/v2.0`.
    pub(crate) issuer: String,
    /// Values of `Host` that are this service.
    pub(crate) hosts: Vec<String>,
    pub(crate) keys: KeyRing,
    pub(crate) meter: Meter,
    pub(crate) control_token: Option<String>,
    pub(crate) directory: Watched<Arc<Directory>>,
    pub(crate) stores: Mutex<Stores>,
    /// Counts for keys, directory and stores together.
    pub(crate) changes: Changes,
    /// How far a state file has come, where there is one.
    pub(crate) saving: Option<Saving>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) skew: AtomicI64,
}

impl Authority {
    pub(crate) fn now(&self) -> u64 {
        self.clock
            .now()
            .saturating_add_signed(self.skew.load(Ordering::Relaxed))
    }

    /// The directory as it stands now. A request works on one snapshot.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.read().clone()
    }

    /// The stores. Never held across an await or a signature.
    pub(crate) fn stores(&self) -> LockedStores<'_> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        LockedStores::new(stores, &self.changes)
    }

    /// Whether the policy exists.
    pub(crate) fn set_policy(&self, name: &str, enabled: bool) -> bool {
        let mut directory = self.directory.write();
        let changed = Arc::make_mut(&mut directory)
            .policy_mut(name)
            .map(|policy| policy.enabled = enabled);
        changed.is_some()
    }

    /// Whether the user exists.
    pub(crate) fn revoke(&self, user: &str) -> bool {
        let directory = self.directory();
        let Some(user) = directory.user(user) else {
            return false;
        };
        let now = self.now();
        self.stores().revoke(user.oid, now);
        tracing::info!("sessions of a user revoked");
        true
    }

    /// Signs an access token and puts it on record.
    pub(crate) fn mint(
        &self,
        directory: &Directory,
        token: &AccessToken<'_>,
    ) -> Result<String, Refusal> {
        let now = self.now();
        let (claims, uti) = token.claims(Stamp {
            issuer: &self.issuer,
            tenant: directory.tenant.id,
            now,
        });
        let signed = self.sign(&claims)?;
        let authentication = match &token.subject {
            Subject::App { .. } => None,
            Subject::User { authentication, .. } => Some((*authentication).clone()),
        };
        self.stores().records.insert(
            uti,
            Record {
                resource: token.resource.client_id,
                authentication,
            },
            now,
        );
        Ok(signed)
    }

    pub(crate) fn sign(&self, claims: &Map<String, Value>) -> Result<String, Refusal> {
        let key = self.keys.current().ok_or_else(Refusal::server_error)?;
        key.sign(&key.header(), claims)
            .map_err(|_| Refusal::server_error())
    }
}
