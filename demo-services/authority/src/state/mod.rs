//! What outlives the process: loaded at start, written when it has changed, and on disk before anybody is told of it.

mod directory;
mod error;
mod file;
mod snapshot;
mod stores;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

pub use error::StateError;
pub(crate) use snapshot::Restored;

use crate::authority::{Authority, Shared};
use crate::directory::Directory;
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
        let mut writer = Writer {
            authority,
            file: Arc::new(self.file),
            began_from: self.began_from.into(),
            saved,
        };
        let path = writer.file.path().to_owned();
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

/// How far the file has come.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Changes up to this one were written, or it was tried.
    attempted: u64,
    failed: bool,
}

/// The writer's end of [`Saving`].
pub(crate) struct Saved(watch::Sender<Progress>);

/// What requests know of the file.
pub(crate) struct Saving(watch::Receiver<Progress>);

pub(crate) fn saving() -> (Saved, Saving) {
    let (saved, saving) = watch::channel(Progress::default());
    (Saved(saved), Saving(saving))
}

impl Saving {
    /// Whether the file is as it should be, or about to be.
    pub(crate) fn is_well(&self) -> bool {
        let gone = self.0.has_changed().is_err();
        !gone && !self.0.borrow().failed
    }

    /// Returns once changes up to `count` are on disk, or could not be written: then requests go on from memory.
    async fn reached(&self, count: u64) {
        let reached = |progress: &Progress| progress.attempted >= count;
        // Without a writer nothing would come of waiting.
        let _ = self.0.clone().wait_for(reached).await;
    }
}

/// Middleware: what an answer may tell is on disk before the answer leaves. Many answers share one write.
pub(crate) async fn on_disk_first(
    State(authority): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    // Probes tell of nothing, and must speak when the disk does not.
    let probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let response = next.run(request).await;
    if let Some(saving) = authority.saving.as_ref().filter(|_| !probe) {
        saving.reached(authority.changes.count()).await;
    }
    response
}

/// The one task that writes the file.
pub(crate) struct Writer {
    authority: Shared,
    file: Arc<StateFile>,
    began_from: Arc<str>,
    saved: Saved,
}

impl Writer {
    /// Writes after each change, and a last time when `stop` is there if anything is left. Changes during a write share the next.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut changes = self.authority.changes.subscribe();
        let mut stop = pin!(stop);
        loop {
            let attempted = self.saved.0.borrow().attempted;
            let stopping = tokio::select! {
                _ = changes.wait_for(|count| *count > attempted) => false,
                () = &mut stop => true,
            };
            let Progress { attempted, failed } = *self.saved.0.borrow();
            if !stopping || failed || self.authority.changes.count() > attempted {
                // Told in the log and by readyz.
                let _ = self.write().await;
            }
            if stopping {
                return;
            }
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        // Before anything is read: what is counted by now is in what is read then.
        let attempted = self.authority.changes.count();
        let (authority, file) = (self.authority.clone(), self.file.clone());
        let began_from = self.began_from.clone();
        let written = spawn_blocking(move || file.replace(&snapshot(&authority, &began_from)?));
        let result = written.await.unwrap_or_else(|error| Err(error.into()));
        let failed = self.saved.0.borrow().failed;
        let path = self.file.path().display();
        match &result {
            Err(error) if !failed => {
                tracing::error!(%error, %path, "the state cannot be written; a restart would go back to what the file holds");
            }
            Ok(()) if failed => tracing::info!(%path, "the state is written again"),
            _ => {}
        }
        self.saved.0.send_replace(Progress {
            attempted,
            failed: result.is_err(),
        });
        result
    }
}

/// The state now. The stores are locked for a copy, not for the rest.
fn snapshot(authority: &Authority, began_from: &str) -> io::Result<Vec<u8>> {
    let stores = StoresText::of(&authority.stores());
    let (directory, keys) = (authority.directory(), authority.keys.published());
    let snapshot = Snapshot::of(&authority.base, began_from, &directory, &keys, stores)
        .map_err(|_| io::Error::other("a signing key cannot be exported"))?;
    Ok(snapshot.to_bytes()?)
}
