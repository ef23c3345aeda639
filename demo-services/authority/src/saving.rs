//! How far the state file has come: what requests wait for, and what readiness asks.

use tokio::sync::watch;

/// How far the file has come.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Changes up to this one were written, or it was tried.
    pub(crate) attempted: u64,
    pub(crate) failed: bool,
    /// A write has taken too long and goes on.
    pub(crate) hangs: bool,
}

/// The writer's end of [`Saving`].
pub(crate) struct Saved(watch::Sender<Progress>);

/// What requests know of the file.
pub(crate) struct Saving(watch::Receiver<Progress>);

pub(crate) fn saving() -> (Saved, Saving) {
    let (saved, saving) = watch::channel(Progress::default());
    (Saved(saved), Saving(saving))
}

impl Saved {
    pub(crate) fn progress(&self) -> Progress {
        *self.0.borrow()
    }

    pub(crate) fn tell(&self, progress: Progress) {
        self.0.send_replace(progress);
    }
}

impl Saving {
    /// Whether the file is as it should be, or about to be.
    pub(crate) fn is_well(&self) -> bool {
        let gone = self.0.has_changed().is_err();
        !gone && !self.0.borrow().failed
    }

    /// Returns once changes up to `count` are on disk, or could not be written in time: then requests go on from memory.
    pub(crate) async fn reached(&self, count: u64) {
        let reached = |progress: &Progress| progress.attempted >= count || progress.hangs;
        // Without a writer nothing would come of waiting.
        let _ = self.0.clone().wait_for(reached).await;
    }
}

#[cfg(test)]
impl Saving {
    /// Returns when there is no writer any more.
    pub(crate) async fn gone(&self) {
        let _ = self.0.clone().wait_for(|_| false).await;
    }

    /// Returns when [`is_well`](Self::is_well) would say so.
    pub(crate) async fn well(&self) {
        let _ = self.0.clone().wait_for(|progress| !progress.failed).await;
    }
}
