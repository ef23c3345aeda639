//! The credentials of a run on this machine. Only files that the run itself has written, unchanged and for their owner alone, are taken.
//!
//! A new certificate waits in a file of its own, with its key, until it is registered and in the record; only then does it take the
//! place of the one before. So there is no moment at which the key in its place is one that the tenant does not know.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::{ConfigureError, TenantFiles};
use crate::tenant::credential_files::{self, DEFAULT_DAYS, MakeError, Pair, after, date_time};
use crate::tenant::files::{OurFiles, Ours, There, look};
use crate::tenant::plan::Certificate;
use crate::tenant::progress::Event;
use crate::tenant::record::{FileName, ForeignName, Record, StateFile};

/// Before the secret in a file that a shell can read.
const VARIABLE: &str = "CLIENT_SECRET=";
/// After the key of an application: a certificate that is not registered yet.
const NEXT: &str = ".next.pem";
/// Before the id of the secret.
const KEY_ID: &str = "# keyId: ";

impl TenantFiles {
    /// The certificate of the application `key`: the one that waits to take its place, or the one in place.
    pub fn certificate(&self, record: &Record, key: &str) -> Option<Certificate> {
        let waiting = self
            .waiting(record, key)
            .map(|(_, certificate)| certificate);
        let held = waiting.or_else(|| self.certificate_in_place(record, key));
        // In this form the order of texts is the order of times.
        held.filter(|held| self.days.is_none() || held.end <= self.credential_end())
    }

    /// The end of a credential that is made now (RFC 3339).
    pub fn credential_end(&self) -> String {
        let days = self.days.unwrap_or(DEFAULT_DAYS);
        date_time(after(self.clock.now(), days))
    }

    /// Makes one with its private key, which waits from now on.
    ///
    /// # Errors
    ///
    /// It cannot be made or written.
    pub fn make_certificate(
        &self,
        record: &mut Record,
        state: &StateFile,
        key: &str,
    ) -> Result<Certificate, ConfigureError> {
        let name = self.app(key);
        let days = self.days.unwrap_or(DEFAULT_DAYS);
        let made = credential_files::make(&name, self.clock.now(), days, &(self.keys)()?)?;
        let text = SecretString::from(format!(
            "# Of {name}, until it is registered. Keep it secret.\n{}{}",
            made.certificate,
            made.private_key.expose_secret()
        ));
        OurFiles::new(record, state).put(next(key)?, text.expose_secret())?;
        let made = self.waiting(record, key).ok_or(MakeError)?;
        Ok(made.1)
    }

    /// The one that waits takes its place. Done again after a crash, it is the same.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn put_certificate_in_place(
        &self,
        record: &mut Record,
        state: &StateFile,
        key: &str,
    ) -> Result<Vec<Event>, ConfigureError> {
        let Some((pair, certificate)) = self.waiting(record, key) else {
            return Ok(Vec::new());
        };
        let name = self.app(key);
        let private_key = SecretString::from(format!(
            "# Of {name}. Keep it secret.\n{}",
            pair.private_key.expose_secret()
        ));
        let public = format!(
            "# Of {name}, good until {}.\n{}",
            certificate.end, pair.certificate
        );
        let mut files = OurFiles::new(record, state);
        let edited = [
            files.put(file(key, "-key.pem")?, private_key.expose_secret())?,
            files.put(file(key, ".pem")?, &public)?,
        ];
        if let Some(waiting) = files.recorded(next(key)?) {
            files.restore(waiting)?;
        }
        Ok(edited.into_iter().flatten().map(told).collect())
    }

    /// The `keyId` of the secret of the application `key`.
    pub fn secret_id(&self, record: &Record, key: &str) -> Option<String> {
        let ours = taken(record, file(key, ".env").ok()?)?;
        line(&ours, KEY_ID).map(str::to_owned)
    }

    /// Keeps the secret of the application `key`, which nobody will tell again.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn keep_secret(
        &self,
        record: &mut Record,
        state: &StateFile,
        key: &str,
        (id, secret): (&str, SecretString),
    ) -> Result<Vec<Event>, ConfigureError> {
        let what_for = match key {
            "daemon" => {
                "The command `daemon` takes it from its environment, by this name.".to_owned()
            }
            _ => format!(
                "register writes it into {key}.toml and keeps it here for its next run; nothing else reads this file."
            ),
        };
        let text = SecretString::from(format!(
            "# Of {}. Keep it secret.\n# {what_for}\n{KEY_ID}{id}\n{VARIABLE}{}\n",
            self.app(key),
            secret.expose_secret()
        ));
        let name = file(key, ".env")?;
        let edited = OurFiles::new(record, state).put(name, text.expose_secret())?;
        Ok(edited.into_iter().map(told).collect())
    }

    pub(super) fn secret(&self, record: &Record, key: &str) -> Option<SecretString> {
        let ours = taken(record, file(key, ".env").ok()?)?;
        let secret = line(&ours, VARIABLE)?;
        (!secret.is_empty()).then(|| secret.into())
    }

    pub(super) fn certificate_in_place(&self, record: &Record, key: &str) -> Option<Certificate> {
        let certificate = taken(record, file(key, ".pem").ok()?)?;
        let private_key = taken(record, file(key, "-key.pem").ok()?)?;
        credential_files::read(certificate.body(), private_key.body(), self.clock.now())
    }

    fn waiting(&self, record: &Record, key: &str) -> Option<(Pair, Certificate)> {
        let both = taken(record, next(key).ok()?)?;
        let pair = credential_files::pair(both.body(), both.body())?;
        let certificate = credential_files::read(both.body(), both.body(), self.clock.now())?;
        Some((pair, certificate))
    }

    fn app(&self, key: &str) -> String {
        format!("{}-{key}", self.configuration.prefix)
    }
}

/// A file that may be taken as a credential.
fn taken(record: &Record, name: FileName) -> Option<Ours> {
    match look(record, name) {
        Ok(There::Ours(ours)) if ours.is_whole && ours.is_private => Some(ours),
        _ => None,
    }
}

fn line<'a>(ours: &'a Ours, before: &str) -> Option<&'a str> {
    let mut lines = ours.body().lines();
    lines.find_map(|line| line.strip_prefix(before))
}

fn file(key: &str, ending: &str) -> Result<FileName, ForeignName> {
    FileName::of(&format!("{key}{ending}")).ok_or(ForeignName)
}

/// Whether a file is there only until its certificate is registered.
pub(super) fn is_waiting(name: FileName) -> bool {
    name.as_str().ends_with(NEXT)
}

fn next(key: &str) -> Result<FileName, ForeignName> {
    file(key, NEXT)
}

fn told(edited: PathBuf) -> Event {
    Event::Noted(format!(
        "a credential that was changed by hand is in {} now",
        edited.display()
    ))
}
