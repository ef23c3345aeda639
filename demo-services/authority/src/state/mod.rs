//! What outlives the process: loaded at start, written when it has changed, and on disk before anybody is told of it.

mod directory;
mod error;
mod file;
mod snapshot;
mod stores;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

pub use error::StateError;
pub(crate) use snapshot::Restored;
pub(crate) use writer::Writer;

use crate::authority::{Authority, Shared};
use crate::directory::Directory;
use crate::saving::Saved;
use file::StateFile;
use snapshot::{Snapshot, Unreadable, fingerprint};
use stores::StoresText;

/// A state file that was opened, and what was in it.
pub(crate) struct Opened {
    file: StateFile,
    began_from: String,
    snapshot: Option<Snapshot>,
}

impl Opened {
    /// Locks and reads the file. Blocks.
    pub(crate) fn open(path: &Path, directory: &Directory) -> Result<Self, StateError> {
        let file = StateFile::open(path)?;
        let began_from = fingerprint(directory).map_err(|error| StateError::Io {
            action: "write",
            path: file.path().to_owned(),
            source: error.into(),
        })?;
        let snapshot = file
            .read()?
            .map(|bytes| Snapshot::from_bytes(&bytes))
            .transpose()
            .map_err(|reason| refused(&file, reason))?;
        if snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.began_from() != began_from)
        {
            return Err(StateError::DirectoryChanged {
                path: file.path().to_owned(),
            });
        }
        Ok(Self {
            file,
            began_from,
            snapshot,
        })
    }

    /// What was in the file; `None` at the first start. `base` is that of this start.
    pub(crate) fn restore(&mut self, base: &str, now: u64) -> Result<Option<Restored>, StateError> {
        let Some(snapshot) = self.snapshot.take() else {
            return Ok(None);
        };
        if snapshot.base() != base {
            tracing::warn!(
                now = base,
                then = snapshot.base(),
                "the base URL has changed: access tokens from before are of another issuer"
            );
        }
        let restored = snapshot
            .restore(now)
            .map_err(|reason| refused(&self.file, reason))?;
        Ok(Some(restored))
    }

    /// Writes the state for the first time, so that a file that cannot be written is known now.
    pub(crate) async fn start(self, authority: Shared, saved: Saved) -> Result<Writer, StateError> {
        let path = self.file.path().to_owned();
        let changes = authority.changes.clone();
        let write = move || self.file.replace(&snapshot(&authority, &self.began_from)?);
        let writer = Writer::new(changes, saved, path.clone(), Arc::new(write));
        writer.write().await.map_err(|source| StateError::Io {
            action: "write",
            path,
            source,
        })?;
        Ok(writer)
    }
}

fn refused(file: &StateFile, reason: Unreadable) -> StateError {
    let path = file.path().to_owned();
    match reason {
        Unreadable::Damaged(reason) => StateError::Damaged { path, reason },
        Unreadable::Version(found) => StateError::Version { path, found },
    }
}

/// Middleware: what an answer may tell is on disk before the answer leaves. Many answers share one write.
pub(crate) async fn on_disk_first(
    State(authority): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if let Some(saving) = &authority.saving {
        saving.reached(authority.changes.count()).await;
    }
    response
}

/// The state now. The stores are locked for a copy, not for the rest.
fn snapshot(authority: &Authority, began_from: &str) -> io::Result<Vec<u8>> {
    let stores = StoresText::of(&authority.stores());
    let (directory, keys) = (authority.directory(), authority.keys.published());
    let snapshot = Snapshot::of(&authority.base, began_from, &directory, &keys, stores)
        .map_err(|_| io::Error::other("a signing key cannot be exported"))?;
    Ok(snapshot.to_bytes()?)
}
