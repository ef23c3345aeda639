//! Why a state file cannot be used, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why an authority did not start with its state file. The file is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is not what an authority wrote.
    #[error(
        "{} is damaged: {reason}; put a good copy of it back, or delete it to start afresh",
        path.display()
    )]
    #[non_exhaustive]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, without any value of the file.
        reason: String,
    },
    /// It began from another directory than the one given.
    #[error(
        "the directory file has changed since {0} was written; delete {0} to start afresh, or put the directory back",
        path.display()
    )]
    #[non_exhaustive]
    DirectoryChanged {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read or write it.
    #[error(
        "{0} holds passwords and keys, and its mode {mode:03o} lets others at them; run `chmod 600 {0}`",
        path.display()
    )]
    #[non_exhaustive]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another authority has it open.
    #[error("another authority is using {0}; stop that one, or name another file", path.display())]
    #[non_exhaustive]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read, locked or written.
    #[error("cannot {action} {}", path.display())]
    #[non_exhaustive]
    Io {
        /// `read`, `lock` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was written by another release.
    #[error(
        "{0} has version {found} and this release reads version 1; use the release that wrote it, or delete it to start afresh",
        path.display()
    )]
    #[non_exhaustive]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}
