//! Sessions, codes, refresh tokens and records on paper.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::authorization::KeptRequest;
use crate::bounded::{Entry, Expiring};
use crate::directory::Directory;
use crate::policy::Authentication;
use crate::records::{Code, Family, Record, Revocation, Stores};

/// All that the stores keep beyond the process.
#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoresText {
    pub(super) sessions: Vec<Entry<Authentication>>,
    pub(super) codes: Vec<Entry<CodeText>>,
    pub(super) families: Vec<Entry<Box<Family>>>,
    pub(super) records: Vec<Entry<Record>>,
    pub(super) consents: Vec<Entry<BTreeSet<String>>>,
    pub(super) tries: Vec<Entry<u8>>,
    pub(super) revocations: HashMap<Uuid, Revocation>,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeText {
    request: KeptRequest,
    authentication: Authentication,
    redeemed: Option<Redeemed>,
}

/// The refresh token family that came of a code, if any did.
#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Redeemed {
    family: Option<String>,
}

/// What does not fit, in words.
pub(super) type Misfit = &'static str;

impl StoresText {
    pub(super) fn of(stores: &Stores) -> Self {
        let Stores {
            sessions,
            flows: _,
            devices: _,
            user_codes: _,
            codes,
            families,
            records,
            consents,
            tries,
            revocations,
            revoked: _,
        } = stores;
        Self {
            sessions: all(sessions),
            codes: codes
                .entries()
                .map(|(key, expires, code)| (key, expires, CodeText::of(code)))
                .collect(),
            families: all(families),
            records: all(records),
            consents: all(consents),
            tries: all(tries),
            revocations: revocations.clone(),
        }
    }

    /// Leaves out what the directory no longer has: nobody can redeem it.
    pub(super) fn retain_resolvable(&mut self, directory: &Directory) {
        self.codes
            .retain(|(_, _, code)| code.request.resolves(directory));
    }

    pub(super) fn restore(self, directory: &Directory, now: u64) -> Result<Stores, Misfit> {
        let Self {
            sessions,
            codes,
            families,
            records,
            consents,
            tries,
            revocations,
        } = self;
        let codes = codes
            .into_iter()
            .map(|(key, expires, code)| Some((key, expires, Box::new(code.resolve(directory)?))))
            .collect::<Option<Vec<_>>>()
            .ok_or("a code names an application or a scope that the directory does not have")?;
        let empty = Stores::new();
        let twice = "an entry is there twice";
        Ok(Stores {
            sessions: empty.sessions.refill(sessions, now).ok_or(twice)?,
            flows: empty.flows,
            devices: empty.devices,
            user_codes: empty.user_codes,
            codes: empty.codes.refill(codes, now).ok_or(twice)?,
            families: empty.families.refill(families, now).ok_or(twice)?,
            records: empty.records.refill(records, now).ok_or(twice)?,
            consents: empty.consents.refill(consents, now).ok_or(twice)?,
            tries: empty.tries.refill(tries, now).ok_or(twice)?,
            revocations,
            revoked: 0,
        })
    }
}

impl CodeText {
    fn of(code: &Code) -> Self {
        let Code {
            request,
            redirect,
            authentication,
            redeemed,
        } = code;
        Self {
            request: KeptRequest::of(request, redirect),
            authentication: authentication.clone(),
            redeemed: redeemed.clone().map(|family| Redeemed { family }),
        }
    }

    fn resolve(self, directory: &Directory) -> Option<Code> {
        let (request, redirect) = self.request.resolve(directory)?;
        Some(Code {
            request,
            redirect,
            authentication: self.authentication,
            redeemed: self.redeemed.map(|redeemed| redeemed.family),
        })
    }
}

fn all<V: Clone>(store: &Expiring<V>) -> Vec<Entry<V>> {
    store
        .entries()
        .map(|(key, expires, value)| (key, expires, value.clone()))
        .collect()
}
