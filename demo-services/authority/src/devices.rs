//! RFC 8628: how a device waits while a person signs in elsewhere.

use uuid::Uuid;

use crate::authorization::AuthorizeRequest;
use crate::device::{Device, INTERVAL, MAX_WRONG, State};
use crate::policy::Authentication;
use crate::random;
use crate::records::{Guess, Stores};

/// What a poll is told.
pub(crate) enum Poll {
    Declined,
    Expired,
    Granted(Box<(AuthorizeRequest, Authentication)>),
    Pending,
    SlowDown,
    /// The tokens were given out before.
    Spent,
    /// Nobody has this code, or another client has it.
    Unknown,
}

/// Why a typed code leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEntered {
    /// Too many wrong ones of late, whosever they were.
    Locked,
    Unknown,
}

/// The two codes of a new device.
pub(crate) struct Codes {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
}

impl Stores {
    /// `None` if the system has no randomness.
    pub(crate) fn await_person(&mut self, request: AuthorizeRequest, now: u64) -> Option<Codes> {
        let user_code = loop {
            let user_code = random::user_code()?;
            if self.user_codes.get(&user_code, now).is_none() {
                break user_code;
            }
        };
        let device_code = random::secret();
        let device = Device {
            request,
            user_code: user_code.clone(),
            state: State::Pending,
            polled: None,
            interval: INTERVAL,
        };
        self.devices
            .insert(device_code.clone(), Box::new(device), now);
        self.user_codes
            .insert(user_code.clone(), device_code.clone(), now);
        Some(Codes {
            device_code,
            user_code,
        })
    }

    /// The device that shows this code, and its device code. Case, blanks and hyphens do not count (RFC 8628 section 6.1).
    pub(crate) fn enter(
        &mut self,
        typed: &str,
        now: u64,
    ) -> Result<(String, AuthorizeRequest), NotEntered> {
        if self.tried(Guess::UserCode, Uuid::nil(), now) >= MAX_WRONG {
            return Err(NotEntered::Locked);
        }
        let typed: String = typed
            .chars()
            .filter(|letter| !letter.is_whitespace() && *letter != '-')
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let found = self.user_codes.get(&typed, now).and_then(|code| {
            let device = self.devices.get(code, now)?;
            Some((code.clone(), device.request.clone()))
        });
        if found.is_none() {
            self.attempt(Guess::UserCode, Uuid::nil(), now);
        }
        found.ok_or(NotEntered::Unknown)
    }

    /// Whether the device still waits for a person.
    pub(crate) fn is_awaited(&self, device_code: &str, now: u64) -> bool {
        self.devices
            .get(device_code, now)
            .is_some_and(|device| matches!(device.state, State::Pending))
    }

    /// What the person has decided, `None` being a refusal; the user code leads nowhere from now on. Whether the device still waited.
    pub(crate) fn decide(
        &mut self,
        device_code: &str,
        decision: Option<Authentication>,
        now: u64,
    ) -> bool {
        let Some(device) = self
            .devices
            .get_mut(device_code, now)
            .filter(|device| matches!(device.state, State::Pending))
        else {
            return false;
        };
        device.state = decision.map_or(State::Declined, State::Granted);
        let user_code = device.user_code.clone();
        self.user_codes.remove(&user_code, now);
        true
    }

    pub(crate) fn poll(&mut self, device_code: &str, client: Uuid, now: u64) -> Poll {
        if self.devices.is_expired(device_code, now) {
            return Poll::Expired;
        }
        let Some(device) = self
            .devices
            .get_mut(device_code, now)
            .filter(|device| device.request.client.client_id == client)
        else {
            return Poll::Unknown;
        };
        match &device.state {
            State::Declined => Poll::Declined,
            State::Spent => Poll::Spent,
            State::Granted(authentication) => {
                Poll::Granted(Box::new((device.request.clone(), authentication.clone())))
            }
            State::Pending => {
                // The clock counts whole seconds: two polls five seconds apart may be four of them apart.
                let early = device
                    .polled
                    .is_some_and(|last| now.saturating_sub(last) + 1 < device.interval);
                device.polled = Some(now);
                if early {
                    device.interval = device.interval.saturating_add(INTERVAL);
                    Poll::SlowDown
                } else {
                    Poll::Pending
                }
            }
        }
    }

    /// Gives the tokens out. Whether they were still to be had.
    pub(crate) fn spend(&mut self, device_code: &str, now: u64) -> bool {
        match self.devices.get_mut(device_code, now) {
            Some(device) if matches!(device.state, State::Granted(_)) => {
                device.state = State::Spent;
                true
            }
            _ => false,
        }
    }

    /// With the end of an application.
    pub(crate) fn end_devices(&mut self, app: Uuid, now: u64) {
        self.devices
            .remove_where(now, |_, device| device.request.client.client_id == app);
        let devices = &self.devices;
        self.user_codes
            .remove_where(now, |_, code| devices.get(code, now).is_none());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::authorization::Prompt;
    use crate::demands::Demands;
    use crate::device::MAX_DEVICES;
    use crate::directory::Directory;
    use crate::errors::Trace;
    use crate::scopes::Requested;

    fn request(client: &str) -> AuthorizeRequest {
        let directory = Directory::demo();
        AuthorizeRequest {
            client: directory.app(client).unwrap().clone(),
            requested: Requested::parse(&directory, Some("User.Read")).unwrap(),
            prompt: Prompt::WhenNeeded,
            login_hint: None,
            max_age: None,
            demands: Demands::default(),
            trace: Trace::new(None),
        }
    }

    fn authentication() -> Authentication {
        Authentication {
            user: Uuid::from_u128(1),
            sid: Uuid::nil(),
            auth_time: 0,
            mfa: false,
            contexts: BTreeSet::new(),
            generation: 0,
        }
    }

    fn waiting() -> (Stores, Codes, Uuid) {
        let mut stores = Stores::new();
        let request = request("daemon");
        let client = request.client.client_id;
        let codes = stores.await_person(request, 0).unwrap();
        (stores, codes, client)
    }

    fn word(poll: Poll) -> &'static str {
        match poll {
            Poll::Declined => "declined",
            Poll::Expired => "expired",
            Poll::Granted(_) => "granted",
            Poll::Pending => "pending",
            Poll::SlowDown => "slow_down",
            Poll::Spent => "spent",
            Poll::Unknown => "unknown",
        }
    }

    #[test]
    fn a_code_is_found_however_it_is_typed_until_somebody_has_decided() {
        let (mut stores, codes, client) = waiting();
        let (left, right) = codes.user_code.split_at(4);
        for typed in [
            codes.user_code.clone(),
            codes.user_code.to_lowercase(),
            format!(" {left}-{right} "),
        ] {
            let entered = stores.enter(&typed, 1).unwrap();
            assert_eq!(entered.0, codes.device_code, "{typed}");
        }
        assert!(stores.is_awaited(&codes.device_code, 1));
        assert!(stores.decide(&codes.device_code, Some(authentication()), 1));
        assert_eq!(
            stores.enter(&codes.user_code, 1).err(),
            Some(NotEntered::Unknown)
        );
        assert!(!stores.is_awaited(&codes.device_code, 1));
        // The first decision stands.
        assert!(!stores.decide(&codes.device_code, None, 1));
        assert_eq!(word(stores.poll(&codes.device_code, client, 1)), "granted");
        assert!(stores.spend(&codes.device_code, 1));
        assert!(!stores.spend(&codes.device_code, 1));
        assert_eq!(word(stores.poll(&codes.device_code, client, 1)), "spent");
    }

    #[test]
    fn a_refusal_is_told() {
        let (mut stores, codes, client) = waiting();
        assert!(stores.decide(&codes.device_code, None, 1));
        assert_eq!(word(stores.poll(&codes.device_code, client, 1)), "declined");
        assert!(!stores.spend(&codes.device_code, 1));
    }

    #[test]
    fn who_polls_too_often_is_slowed_down_by_five_seconds_each_time() {
        let (mut stores, codes, client) = waiting();
        let mut told = |now| word(stores.poll(&codes.device_code, client, now));
        for (now, expected) in [
            (0, "pending"),
            (4, "pending"),
            (7, "slow_down"),
            (15, "slow_down"),
            (29, "pending"),
            (42, "slow_down"),
            (61, "pending"),
        ] {
            assert_eq!(told(now), expected, "{now}");
        }
    }

    #[test]
    fn codes_end_after_a_quarter_of_an_hour() {
        let (mut stores, codes, client) = waiting();
        assert!(stores.enter(&codes.user_code, 899).is_ok());
        assert_eq!(
            word(stores.poll(&codes.device_code, client, 899)),
            "pending"
        );
        assert_eq!(
            stores.enter(&codes.user_code, 900).err(),
            Some(NotEntered::Unknown)
        );
        assert!(!stores.decide(&codes.device_code, Some(authentication()), 900));
        assert_eq!(
            word(stores.poll(&codes.device_code, client, 900)),
            "expired"
        );
    }

    #[test]
    fn a_device_code_is_good_for_its_client_only() {
        let (mut stores, codes, client) = waiting();
        let other = Uuid::from_u128(7);
        assert_eq!(word(stores.poll(&codes.device_code, other, 1)), "unknown");
        assert_eq!(word(stores.poll("nothing", client, 1)), "unknown");
        assert_eq!(word(stores.poll(&codes.device_code, client, 1)), "pending");
    }

    #[test]
    fn guesses_are_counted_over_everybody_and_right_ones_do_not_pay_for_them() {
        let (mut stores, codes, _) = waiting();
        for _ in 0..MAX_WRONG {
            assert!(stores.enter(&codes.user_code, 1).is_ok());
            assert_eq!(
                stores.enter("BBBBBBBBB", 1).err(),
                Some(NotEntered::Unknown)
            );
        }
        assert_eq!(
            stores.enter(&codes.user_code, 1).err(),
            Some(NotEntered::Locked)
        );
        assert!(stores.enter(&codes.user_code, 601).is_ok());
    }

    #[test]
    fn the_oldest_of_too_many_goes() {
        let mut stores = Stores::new();
        let request = request("daemon");
        let first = stores.await_person(request.clone(), 0).unwrap();
        for _ in 0..MAX_DEVICES {
            stores.await_person(request.clone(), 0).unwrap();
        }
        assert!(!stores.is_awaited(&first.device_code, 0));
        assert!(stores.enter(&first.user_code, 0).is_err());
    }

    #[test]
    fn the_end_of_an_application_is_the_end_of_its_devices() {
        let (mut stores, codes, client) = waiting();
        let other = stores.await_person(request("msal-spa"), 0).unwrap();
        stores.end_devices(client, 1);
        assert_eq!(word(stores.poll(&codes.device_code, client, 1)), "unknown");
        assert!(stores.enter(&codes.user_code, 1).is_err());
        assert!(stores.enter(&other.user_code, 1).is_ok());
    }

    #[test]
    fn user_codes_have_nine_letters_that_nobody_confuses() {
        let codes: BTreeSet<String> = (0..200).map(|_| random::user_code().unwrap()).collect();
        assert_eq!(codes.len(), 200);
        for code in &codes {
            assert_eq!(code.len(), 9);
            assert!(
                code.chars()
                    .all(|letter| "BCDFGHJKLMNPQRSTVWXZ".contains(letter))
            );
        }
    }
}
