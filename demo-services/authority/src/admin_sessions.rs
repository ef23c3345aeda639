//! Who has typed the control token. In memory only, and by the clock without the skew that the page itself can set.

use crate::bounded::Expiring;
use crate::random;
use crate::records::MAX_TRIES;

const LIFETIME: u64 = 8 * 3600;
const MAX_SESSIONS: usize = 64;
/// For how long wrong tokens count, from the first of them.
const MEMORY: u64 = 600;

/// Sessions of the admin page, and the tries to get one.
pub(crate) struct Sessions {
    open: Expiring<Session>,
    tries: u8,
    /// When the tries are forgotten.
    forgotten: u64,
}

struct Session {
    /// Stands in every form; a page of another session does not know it.
    form_token: String,
    notice: Option<Notice>,
}

/// What was done, or why not: shown once, on the page after it.
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) failed: bool,
}

impl Notice {
    pub(crate) fn done(text: String) -> Self {
        Self {
            text,
            failed: false,
        }
    }

    pub(crate) fn failed(text: String) -> Self {
        Self { text, failed: true }
    }
}

/// What a token leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Not even the right token is taken.
    Locked,
    /// The value of the cookie.
    Open(String),
    Wrong,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            open: Expiring::new(LIFETIME, MAX_SESSIONS),
            tries: 0,
            forgotten: 0,
        }
    }
}

impl Sessions {
    pub(crate) fn enter(&mut self, right: bool, now: u64) -> Entry {
        if now >= self.forgotten {
            self.tries = 0;
        }
        if self.tries >= MAX_TRIES {
            return Entry::Locked;
        }
        if !right {
            if self.tries == 0 {
                self.forgotten = now.saturating_add(MEMORY);
            }
            self.tries += 1;
            return if self.tries == MAX_TRIES {
                Entry::Locked
            } else {
                Entry::Wrong
            };
        }
        self.tries = 0;
        let cookie = random::secret();
        let session = Session {
            form_token: random::secret(),
            notice: None,
        };
        self.open.insert(cookie.clone(), session, now);
        Entry::Open(cookie)
    }

    /// The form token of a live session, and its notice, which is gone after this.
    pub(crate) fn visit(&mut self, cookie: &str, now: u64) -> Option<(String, Option<Notice>)> {
        let session = self.open.get_mut(cookie, now)?;
        Some((session.form_token.clone(), session.notice.take()))
    }

    pub(crate) fn form_token(&self, cookie: &str, now: u64) -> Option<String> {
        Some(self.open.get(cookie, now)?.form_token.clone())
    }

    pub(crate) fn notify(&mut self, cookie: &str, notice: Notice, now: u64) {
        if let Some(session) = self.open.get_mut(cookie, now) {
            session.notice = Some(notice);
        }
    }

    pub(crate) fn leave(&mut self, cookie: &str, now: u64) {
        self.open.remove(cookie, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(sessions: &mut Sessions, now: u64) -> String {
        match sessions.enter(true, now) {
            Entry::Open(cookie) => cookie,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn five_wrong_tokens_lock_until_ten_minutes_after_the_first() {
        let mut sessions = Sessions::default();
        for now in 0..4 {
            assert_eq!(sessions.enter(false, now), Entry::Wrong);
        }
        assert_eq!(sessions.enter(false, 4), Entry::Locked);
        assert_eq!(sessions.enter(true, 599), Entry::Locked);
        open(&mut sessions, 600);
    }

    #[test]
    fn a_right_token_forgives_wrong_ones() {
        let mut sessions = Sessions::default();
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(sessions.enter(false, 0), Entry::Wrong);
            }
            open(&mut sessions, 0);
        }
    }

    #[test]
    fn a_session_ends_after_eight_hours_and_at_the_end() {
        let mut sessions = Sessions::default();
        let cookie = open(&mut sessions, 0);
        assert!(sessions.visit(&cookie, LIFETIME - 1).is_some());
        assert!(sessions.visit(&cookie, LIFETIME).is_none());
        let cookie = open(&mut sessions, 0);
        sessions.leave(&cookie, 1);
        assert!(sessions.form_token(&cookie, 1).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_differ() {
        let mut sessions = Sessions::default();
        let all: Vec<_> = (0..=MAX_SESSIONS).map(|_| open(&mut sessions, 0)).collect();
        assert!(sessions.form_token(&all[0], 0).is_none());
        let (one, other) = (
            sessions.form_token(&all[1], 0),
            sessions.form_token(&all[2], 0),
        );
        assert!(one.is_some() && other.is_some() && one != other);
    }

    #[test]
    fn a_notice_is_shown_once() {
        let mut sessions = Sessions::default();
        let cookie = open(&mut sessions, 0);
        sessions.notify(&cookie, Notice::done("x".into()), 0);
        assert_eq!(sessions.visit(&cookie, 0).unwrap().1.unwrap().text, "x");
        assert!(sessions.visit(&cookie, 0).unwrap().1.is_none());
    }
}
