//! The state that all endpoints share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::error::Unspecified;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::admin_sessions::Sessions;
use crate::changes::{Changes, LockedStores, Swapped};
use crate::clock::Clock;
use crate::directory::{Consent, Directory, DirectoryError, Mfa, Policy};
use crate::errors::Refusal;
use crate::keys::{KeyRing, Owner};
use crate::meter::Meter;
use crate::records::{Record, Stores};
use crate::requests::Recent;
use crate::saving::Saving;
use crate::tokens::{AccessToken, Stamp, Subject};
use crate::version::TokenVersion;

/// How many policies there may be before another is refused.
const MAX_POLICIES: usize = 256;

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
    pub(crate) recent: Recent,
    pub(crate) admin: Mutex<Sessions>,
    pub(crate) control_token: Option<String>,
    pub(crate) directory: Swapped<Directory>,
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

    /// Host and port of the base URL.
    pub(crate) fn host(&self) -> &str {
        self.base
            .split_once("://")
            .map_or(self.base.as_str(), |(_, host)| host)
    }

    /// The key set of a version; only version 2.0's names an issuer.
    pub(crate) fn jwks(&self, version: TokenVersion, issuer: &str) -> Value {
        let owner = Owner {
            cloud_instance: self.host(),
            issuer,
        };
        self.keys
            .jwks((version == TokenVersion::V2).then_some(owner))
    }

    /// The directory as it stands now. A request works on one snapshot.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.read()
    }

    /// The stores. Never held across an await or a signature.
    pub(crate) fn stores(&self) -> LockedStores<'_> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        LockedStores::new(stores, &self.changes)
    }

    /// Changes the directory, or nothing of it: `change` works on a copy, which must keep all rules of a directory. Nobody waits for that
    /// but who changes it as well.
    pub(crate) fn change<T, E: From<DirectoryError>>(
        &self,
        change: impl FnOnce(&mut Directory) -> Result<T, E>,
    ) -> Result<T, E> {
        let now = self.now();
        self.directory.change(|directory| {
            directory.forget_deleted(now);
            let done = change(directory)?;
            directory.settle();
            directory.validate()?;
            Ok(done)
        })
    }

    /// A change that can break no rule. Whether there was something to change.
    fn set(&self, change: impl FnOnce(&mut Directory) -> Option<()>) -> bool {
        self.directory
            .change(|directory| change(directory).ok_or(()))
            .is_ok()
    }

    /// Whether the policy exists.
    pub(crate) fn set_policy(&self, name: &str, enabled: bool) -> bool {
        self.set(|directory| {
            directory
                .policy_mut(name)
                .map(|policy| policy.enabled = enabled)
        })
    }

    /// Adds a policy, or puts it in the place of the one of that name.
    pub(crate) fn require(&self, policy: Policy) -> Result<(), DirectoryError> {
        self.change(|directory| {
            let same = |known: &&mut Policy| known.name == policy.name;
            if let Some(known) = directory.policies.iter_mut().find(same) {
                *known = policy;
            } else if directory.policies.len() < MAX_POLICIES {
                directory.policies.push(policy);
            } else {
                return Err(DirectoryError::invalid("policies", "too many"));
            }
            Ok(())
        })
    }

    /// Whether the policy was there.
    pub(crate) fn remove_policy(&self, name: &str) -> bool {
        self.set(|directory| {
            let id = directory.policy(name)?.id;
            directory.policies.retain(|policy| policy.id != id);
            Some(())
        })
    }

    /// Registers a user's second factor, with this code if one is given, or takes it away.
    pub(crate) fn set_mfa(
        &self,
        user: &str,
        mfa: Mfa,
        otp: Option<&str>,
    ) -> Result<(), DirectoryError> {
        self.change(|directory| {
            let user = directory.user_mut(user).ok_or_else(no_such_user)?;
            if let Some(otp) = otp {
                user.otp = Some(otp.to_owned().into());
            }
            user.mfa = mfa;
            if mfa == Mfa::Registered && user.otp.is_none() {
                return Err(DirectoryError::invalid(
                    format!("users.{}.otp", user.username),
                    "without a one-time code there is no second factor",
                ));
            }
            Ok(())
        })
    }

    /// Whether the application exists.
    pub(crate) fn set_consent(&self, app: &str, consent: Consent) -> bool {
        self.set(|directory| directory.app_mut(app).map(|app| app.consent = consent))
    }

    /// Takes back what a user has granted to applications. Whether the user exists.
    pub(crate) fn withdraw_consent(&self, user: &str) -> bool {
        let directory = self.directory();
        let Some(user) = directory.user(user) else {
            return false;
        };
        let now = self.now();
        self.stores().withdraw_consents(user.oid, now);
        tracing::info!("consents of a user withdrawn");
        true
    }

    /// After the end of an application, or of its service principal.
    pub(crate) fn end_app(&self, client_id: Uuid) {
        let now = self.now();
        self.stores().end_app(client_id, now);
        tracing::info!("what an application was granted has ended with it");
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

    /// The `kid` of a new key that signs from now on.
    pub(crate) fn rotate_keys(&self) -> Result<String, Unspecified> {
        self.keys.rotate(self.clock.now())
    }

    /// Whether the key was published.
    pub(crate) fn withdraw_key(&self, kid: &str) -> Result<bool, Unspecified> {
        self.keys.withdraw(kid, self.clock.now())
    }

    /// Signs an access token and puts it on record.
    pub(crate) fn mint(
        &self,
        directory: &Directory,
        token: &AccessToken<'_>,
    ) -> Result<String, Refusal> {
        let now = self.now();
        let (claims, uti) = token.claims(self.stamp(directory));
        let signed = self.sign(token.version, &claims)?;
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

    /// What every token of the tenant says now.
    pub(crate) fn stamp(&self, directory: &Directory) -> Stamp<'_> {
        Stamp {
            base: &self.base,
            tenant: directory.tenant.id,
            now: self.now(),
        }
    }

    pub(crate) fn sign(
        &self,
        version: TokenVersion,
        claims: &Map<String, Value>,
    ) -> Result<String, Refusal> {
        let key = self.keys.current().ok_or_else(Refusal::server_error)?;
        key.sign(&key.header(version), claims)
            .map_err(|_| Refusal::server_error())
    }
}

fn no_such_user() -> DirectoryError {
    DirectoryError::invalid("users", "no such user")
}
