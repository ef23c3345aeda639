//! What the authority remembers: sessions, pages under way, codes, refresh tokens, and a record for each token.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::authorization::{AuthorizeRequest, Redirect, RedirectKind};
use crate::bounded::Expiring;
use crate::device::{self, Device};
use crate::policy::Authentication;
use crate::random;
use crate::tokens::ACCESS_TOKEN_LIFETIME;

/// Wrong answers per user and kind within ten minutes, over all sign-ins.
pub(crate) const MAX_TRIES: u8 = 5;

/// Everything that expires.
pub(crate) struct Stores {
    /// Browser sessions by cookie value.
    pub(crate) sessions: Expiring<Authentication>,
    /// Sign-ins under way by flow id.
    pub(crate) flows: Expiring<Box<Flow>>,
    /// Devices that wait for a person, by device code.
    pub(crate) devices: Expiring<Box<Device>>,
    /// Their device codes by user code, until somebody has decided.
    pub(crate) user_codes: Expiring<String>,
    /// Authorization codes, also after their redemption.
    pub(crate) codes: Expiring<Box<Code>>,
    /// Refresh tokens by family id.
    pub(crate) families: Expiring<Box<Family>>,
    /// Grant records by `uti`.
    pub(crate) records: Expiring<Record>,
    /// Names of the scopes that a user has granted to a client on an API.
    pub(crate) consents: Expiring<BTreeSet<String>>,
    /// Tries to guess a password or a second factor, by user and kind.
    pub(crate) tries: Expiring<u8>,
    /// How often and when a user's sessions were revoked. Only users of the directory get in.
    pub(crate) revocations: HashMap<Uuid, Revocation>,
    /// How often anybody's were.
    pub(crate) revoked: u64,
}

/// The server's side of a sign-in that is under way.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) request: AuthorizeRequest,
    pub(crate) to: To,
    /// Who has given the right password, once somebody has.
    pub(crate) authentication: Option<Authentication>,
    pub(crate) failures: u8,
    /// The page that was drawn last: only its form is taken.
    pub(crate) waiting: Waiting,
    /// Whether the user has accepted what this request asks for.
    pub(crate) consented: bool,
    /// Whether the user has said that the device is theirs.
    pub(crate) confirmed: bool,
}

/// Who hears of the outcome of a sign-in.
#[derive(Clone)]
pub(crate) enum To {
    /// The client, through this browser.
    Client(Box<Redirect>),
    /// The device of this device code, when it asks.
    Device(String),
}

/// A page that waits for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Consent,
    /// Whether the user has started this on a device.
    Device,
    Mfa,
    SignIn,
}

/// Who lets whom use what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) user: Uuid,
    pub(crate) client: Uuid,
    pub(crate) resource: Uuid,
}

impl Grant {
    fn key(self) -> String {
        format!("{} {} {}", self.user, self.client, self.resource)
    }
}

/// What a code stands for.
#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) request: AuthorizeRequest,
    pub(crate) redirect: Redirect,
    pub(crate) authentication: Authentication,
    /// Set at redemption: the refresh token family that came of it, if any.
    pub(crate) redeemed: Option<Option<String>>,
}

/// A chain of refresh tokens, of which only the newest is good.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    pub(crate) client: Uuid,
    pub(crate) kind: RedirectKind,
    pub(crate) authentication: Authentication,
    current: String,
}

/// What is known about an issued access token.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) resource: Uuid,
    /// `None` for a token without a user.
    pub(crate) authentication: Option<Authentication>,
}

/// What can be guessed. The second factor is counted on its own: a right password must not buy more tries at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    Code,
    Password,
    /// Of a device; nobody's in particular.
    UserCode,
}

impl Guess {
    fn key(self, user: Uuid) -> String {
        format!("{self:?} {user}")
    }
}

/// Whether a try is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// If it is wrong, the user is locked.
    Last,
    /// Not even a right answer is taken.
    Locked,
    Open,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    generation: u64,
    at: u64,
}

/// A refresh token that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRefreshToken {
    Expired,
    /// It was used before: its whole family is gone.
    Reused,
    Unknown,
}

impl Stores {
    pub(crate) fn new() -> Self {
        const DAY: u64 = 86_400;
        Self {
            sessions: Expiring::new(DAY, 10_000),
            flows: Expiring::new(600, 1000),
            devices: Expiring::new(device::LIFETIME, device::MAX_DEVICES),
            user_codes: Expiring::new(device::LIFETIME, device::MAX_DEVICES),
            codes: Expiring::new(300, 4096),
            families: Expiring::new(DAY, 50_000),
            records: Expiring::new(ACCESS_TOKEN_LIFETIME, 100_000),
            consents: Expiring::new(365 * DAY, 50_000),
            tries: Expiring::new(600, 10_000),
            revocations: HashMap::new(),
            revoked: 0,
        }
    }

    /// How often something changed that outlives the process: all but the sign-ins under way and the devices that
    /// wait for one, which are started again.
    pub(crate) fn changes(&self) -> u64 {
        let Self {
            sessions,
            flows: _,
            devices: _,
            user_codes: _,
            codes,
            families,
            records,
            consents,
            tries,
            revocations: _,
            revoked,
        } = self;
        sessions.changes()
            + codes.changes()
            + families.changes()
            + records.changes()
            + consents.changes()
            + tries.changes()
            + revoked
    }

    /// Adds to what the user has granted before.
    pub(crate) fn consent(&mut self, grant: Grant, names: BTreeSet<String>, now: u64) {
        let key = grant.key();
        match self.consents.get_mut(&key, now) {
            Some(granted) => granted.extend(names),
            None => self.consents.insert(key, names, now),
        }
    }

    pub(crate) fn consented(&self, grant: Grant, now: u64) -> BTreeSet<String> {
        let granted = self.consents.get(&grant.key(), now);
        granted.cloned().unwrap_or_default()
    }

    /// Takes back all that a user has granted. On how many APIs that was, over all clients.
    pub(crate) fn withdraw_consents(&mut self, user: Uuid, now: u64) -> usize {
        let user = format!("{user} ");
        self.consents
            .remove_where(now, |key, _| key.starts_with(&user))
    }

    /// Ends what was granted to an application and what was granted on it: when its service principal is made again, it begins with
    /// nothing. Access tokens live on.
    pub(crate) fn end_app(&mut self, app: Uuid, now: u64) {
        let id = app.to_string();
        self.consents.remove_where(now, |key, _| {
            // The user stands first.
            key.split(' ').skip(1).any(|part| part == id)
        });
        self.families
            .remove_where(now, |_, family| family.client == app);
        self.codes
            .remove_where(now, |_, code| code.request.client.client_id == app);
        self.flows
            .remove_where(now, |_, flow| flow.request.client.client_id == app);
        self.end_devices(app, now);
    }

    /// Live sessions of a user.
    pub(crate) fn sessions_of(&self, user: Uuid, now: u64) -> usize {
        self.sessions
            .live(now)
            .filter(|session| session.user == user && self.revoked_since(session).is_none())
            .count()
    }

    /// Counts a try **before** its answer is looked at, so that tries at the same time are not let through together.
    pub(crate) fn attempt(&mut self, guess: Guess, user: Uuid, now: u64) -> Attempt {
        let key = guess.key(user);
        let tries = match self.tries.get_mut(&key, now) {
            Some(tries) => {
                *tries = tries.saturating_add(1);
                *tries
            }
            None => {
                self.tries.remove(&key, now);
                self.tries.insert(key, 1, now);
                1
            }
        };
        match tries {
            ..MAX_TRIES => Attempt::Open,
            MAX_TRIES => Attempt::Last,
            _ => Attempt::Locked,
        }
    }

    /// Tries of late.
    pub(crate) fn tried(&self, guess: Guess, user: Uuid, now: u64) -> u8 {
        self.tries.get(&guess.key(user), now).copied().unwrap_or(0)
    }

    /// A right answer: earlier wrong ones no longer count.
    pub(crate) fn forgive(&mut self, guess: Guess, user: Uuid, now: u64) {
        self.tries.remove(&guess.key(user), now);
    }

    /// Ends all sessions and grants of a user.
    pub(crate) fn revoke(&mut self, user: Uuid, now: u64) {
        let revocation = self.revocations.entry(user).or_default();
        revocation.generation = revocation.generation.saturating_add(1);
        revocation.at = now;
        self.revoked += 1;
    }

    pub(crate) fn generation(&self, user: Uuid) -> u64 {
        self.revocations
            .get(&user)
            .map_or(0, |revocation| revocation.generation)
    }

    /// When the user's sessions were revoked, if that was after this sign-in.
    pub(crate) fn revoked_since(&self, authentication: &Authentication) -> Option<u64> {
        self.revocations
            .get(&authentication.user)
            .filter(|revocation| revocation.generation > authentication.generation)
            .map(|revocation| revocation.at)
    }

    /// The live session behind a cookie.
    pub(crate) fn session(&self, cookie: &str, now: u64) -> Option<&Authentication> {
        self.sessions
            .get(cookie, now)
            .filter(|session| self.revoked_since(session).is_none())
    }

    /// The first refresh token of a new family, and the family's id.
    pub(crate) fn found_family(
        &mut self,
        client: Uuid,
        kind: RedirectKind,
        authentication: Authentication,
        now: u64,
    ) -> (String, String) {
        let (id, current) = (random::secret(), random::secret());
        let token = format!("{id}.{current}");
        self.families.insert(
            id.clone(),
            Box::new(Family {
                client,
                kind,
                authentication,
                current,
            }),
            now,
        );
        (token, id)
    }

    pub(crate) fn family(&mut self, token: &str, now: u64) -> Result<&Family, BadRefreshToken> {
        let (id, current) = token.split_once('.').ok_or(BadRefreshToken::Unknown)?;
        let reused = match self.families.get(id, now) {
            None if self.families.is_expired(id, now) => return Err(BadRefreshToken::Expired),
            None => return Err(BadRefreshToken::Unknown),
            Some(family) => family.current != current,
        };
        if reused {
            self.families.remove(id, now);
            return Err(BadRefreshToken::Reused);
        }
        self.families
            .get(id, now)
            .map(AsRef::as_ref)
            .ok_or(BadRefreshToken::Unknown)
    }

    /// Spends `token`; its successor carries `authentication` on.
    pub(crate) fn rotate(
        &mut self,
        token: &str,
        authentication: Authentication,
        now: u64,
    ) -> Result<String, BadRefreshToken> {
        self.family(token, now)?;
        let (id, _) = token.split_once('.').ok_or(BadRefreshToken::Unknown)?;
        let family = self
            .families
            .get_mut(id, now)
            .ok_or(BadRefreshToken::Unknown)?;
        family.current = random::secret();
        family.authentication = authentication;
        Ok(format!("{id}.{}", family.current))
    }

    pub(crate) fn end_family(&mut self, id: &str, now: u64) {
        self.families.remove(id, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authentication(stores: &Stores) -> Authentication {
        let user = Uuid::from_u128(1);
        Authentication {
            user,
            sid: Uuid::nil(),
            auth_time: 0,
            mfa: false,
            contexts: std::collections::BTreeSet::new(),
            generation: stores.generation(user),
        }
    }

    #[test]
    fn a_refresh_token_is_good_once_and_its_reuse_ends_the_family() {
        let mut stores = Stores::new();
        let proven = authentication(&stores);
        let (first, _) = stores.found_family(Uuid::nil(), RedirectKind::Web, proven.clone(), 0);
        assert!(stores.family(&first, 0).is_ok());
        let second = stores.rotate(&first, proven.clone(), 0).unwrap();
        assert!(stores.family(&second, 0).is_ok());
        assert_eq!(
            stores.family(&first, 0).err(),
            Some(BadRefreshToken::Reused)
        );
        assert_eq!(
            stores.family(&second, 0).err(),
            Some(BadRefreshToken::Unknown)
        );
    }

    #[test]
    fn five_wrong_answers_lock_one_user_for_one_kind_until_the_time_is_over() {
        let (alice, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut stores = Stores::new();
        let mut attempts = |guess, user, now| stores.attempt(guess, user, now);
        for now in 0..4 {
            assert_eq!(attempts(Guess::Code, alice, now), Attempt::Open);
        }
        assert_eq!(attempts(Guess::Code, alice, 4), Attempt::Last);
        assert_eq!(attempts(Guess::Code, alice, 599), Attempt::Locked);
        assert_eq!(attempts(Guess::Password, alice, 599), Attempt::Open);
        assert_eq!(attempts(Guess::Code, bob, 599), Attempt::Open);
        assert_eq!(attempts(Guess::Code, alice, 600), Attempt::Open);
    }

    #[test]
    fn a_right_answer_forgives_wrong_ones_of_its_kind() {
        let user = Uuid::from_u128(1);
        let mut stores = Stores::new();
        for _ in 0..4 {
            stores.attempt(Guess::Code, user, 0);
        }
        stores.forgive(Guess::Password, user, 0);
        assert_eq!(stores.attempt(Guess::Code, user, 0), Attempt::Last);
        stores.forgive(Guess::Code, user, 0);
        assert_eq!(stores.attempt(Guess::Code, user, 0), Attempt::Open);
    }

    #[test]
    fn consent_is_for_one_user_one_client_and_one_api() {
        let id = Uuid::from_u128;
        let grant = Grant {
            user: id(1),
            client: id(2),
            resource: id(3),
        };
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let mut stores = Stores::new();
        stores.consent(grant, names(&["a"]), 0);
        stores.consent(grant, names(&["b"]), 0);
        assert_eq!(stores.consented(grant, 1), names(&["a", "b"]));
        for other in [
            Grant {
                user: id(9),
                ..grant
            },
            Grant {
                client: id(9),
                ..grant
            },
            Grant {
                resource: id(9),
                ..grant
            },
        ] {
            assert!(stores.consented(other, 1).is_empty());
        }
    }

    #[test]
    fn the_end_of_an_application_is_no_others() {
        let id = Uuid::from_u128;
        let grant = |user, client, resource| Grant {
            user: id(user),
            client: id(client),
            resource: id(resource),
        };
        let mut stores = Stores::new();
        let proven = authentication(&stores);
        let gone = [grant(1, 2, 3), grant(9, 2, 4), grant(1, 5, 2)];
        let stay = [grant(2, 5, 3), grant(1, 5, 3)];
        for grant in gone.iter().chain(&stay) {
            stores.consent(*grant, BTreeSet::from(["a".to_owned()]), 0);
        }
        let mut family = |client| {
            let proven = proven.clone();
            stores
                .found_family(id(client), RedirectKind::Web, proven, 0)
                .0
        };
        let (theirs, others) = (family(2), family(5));
        stores.end_app(id(2), 1);
        assert!(
            gone.iter()
                .all(|grant| stores.consented(*grant, 1).is_empty())
        );
        assert!(
            stay.iter()
                .all(|grant| stores.consented(*grant, 1).len() == 1)
        );
        assert!(stores.family(&theirs, 1).is_err() && stores.family(&others, 1).is_ok());
    }

    #[test]
    fn refresh_tokens_expire() {
        let mut stores = Stores::new();
        let proven = authentication(&stores);
        let (token, _) = stores.found_family(Uuid::nil(), RedirectKind::Web, proven, 0);
        assert!(stores.family(&token, 86_399).is_ok());
        assert_eq!(
            stores.family(&token, 86_400).err(),
            Some(BadRefreshToken::Expired)
        );
        assert_eq!(stores.family("x", 0).err(), Some(BadRefreshToken::Unknown));
    }

    #[test]
    fn revocation_ends_what_was_there_before_it_and_nothing_after() {
        let mut stores = Stores::new();
        let before = authentication(&stores);
        stores.sessions.insert("cookie".into(), before.clone(), 0);
        assert!(stores.session("cookie", 5).is_some());
        stores.revoke(before.user, 5);
        assert_eq!(stores.revoked_since(&before), Some(5));
        assert!(stores.session("cookie", 5).is_none());
        assert_eq!(stores.revoked_since(&authentication(&stores)), None);
    }
}
