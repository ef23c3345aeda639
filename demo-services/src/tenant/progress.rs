//! What happens while a run is at work, for whoever shows it.

use std::{fmt, time::Duration};

/// Is told of everything that happens, as it happens.
pub trait Progress: Send + Sync {
    /// Takes note.
    fn tell(&self, event: &Event);
}

/// One thing that has happened. Its text is a line, without secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// It is there now.
    Made(String),
    /// An earlier run had made it and could not take note.
    Found(String),
    /// It was there and is as it should be.
    Kept(String),
    /// It was there and was set right.
    Changed(String),
    /// The record has it and the tenant has not: it is made again.
    MadeAnew(String),
    /// A credential that was lost on this machine, or is about to end: another one is there now.
    Renewed(String),
    /// Something that whoever looks should know.
    Noted(String),
    /// It is not made.
    LeftOut {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// It is gone now.
    Removed(String),
    /// It was to be removed and was gone already.
    WasGone(String),
    /// Something takes a while.
    Waiting {
        /// So long.
        pause: Duration,
        /// For what.
        why: String,
    },
}

/// Nobody looks.
impl Progress for () {
    fn tell(&self, _event: &Event) {}
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(what) => write!(f, "+ {what}"),
            Self::Found(what) => write!(f, "+ {what} (an earlier run had made it)"),
            Self::Kept(what) => write!(f, "= {what} (kept)"),
            Self::Changed(what) => write!(f, "~ {what} (changed)"),
            Self::MadeAnew(what) => write!(f, "+ {what} (made anew: it was gone from the tenant)"),
            Self::Renewed(what) => write!(
                f,
                "+ {what} (made anew: the one before was lost here, or is about to end)"
            ),
            Self::Noted(what) => write!(f, "! {what}"),
            Self::LeftOut { what, why } => write!(f, "! {what}: left out, {why}"),
            Self::Removed(what) => write!(f, "- {what}"),
            Self::WasGone(what) => write!(f, "- {what} (was gone already)"),
            Self::Waiting { pause, why } => write!(f, ". waiting {} s: {why}", pause.as_secs()),
        }
    }
}
