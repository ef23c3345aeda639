//! The one task that writes the file: after each change, and again for as long as it fails.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::changes::Changes;
use crate::saving::{Progress, Saved};

/// From a failed write to the next one, if no change comes first. Each further pause is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A write that takes longer has failed for all who wait for it, though it may yet come to an end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the state as it is. Blocks.
type Write = dyn Fn() -> io::Result<()> + Send + Sync;

pub(crate) struct Writer {
    changes: Changes,
    saved: Saved,
    /// For the log.
    path: PathBuf,
    write: Arc<Write>,
}

/// A write under way.
struct Writing {
    /// Changes up to this one are in it.
    attempted: u64,
    task: JoinHandle<io::Result<()>>,
}

/// It has taken longer than [`PATIENCE`], and goes on.
struct Late;

enum Woken {
    Change,
    Pause,
    Stop,
}

impl Writer {
    pub(super) fn new(changes: Changes, saved: Saved, path: PathBuf, write: Arc<Write>) -> Self {
        Self {
            changes,
            saved,
            path,
            write,
        }
    }

    /// Writes after each change, and a last time when `stop` is there if anything is left. Changes during a write share the next.
    ///
    /// After a failure it does not wait for a change: whoever asks for readiness would send none.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let mut changes = self.changes.subscribe();
        let mut stop = pin!(stop);
        let mut pause = FIRST_PAUSE;
        loop {
            let Progress {
                attempted, failed, ..
            } = self.saved.progress();
            let woken = tokio::select! {
                _ = changes.wait_for(|count| *count > attempted) => Woken::Change,
                () = sleep(pause), if failed => Woken::Pause,
                () = &mut stop => Woken::Stop,
            };
            let stopping = matches!(woken, Woken::Stop);
            if stopping && !failed && self.changes.count() <= attempted {
                return;
            }
            let mut writing = self.begin();
            let mut written = self.end_in_time(&mut writing).await;
            if stopping {
                return;
            }
            if let Err(Late) = written {
                // Nothing else can be written while this one may be.
                written = tokio::select! {
                    result = self.end(&mut writing) => Ok(result),
                    () = &mut stop => return,
                };
            }
            pause = match (written, woken) {
                (Ok(Ok(())), _) => FIRST_PAUSE,
                (_, Woken::Pause) => (pause * 2).min(LONGEST_PAUSE),
                _ => pause,
            };
        }
    }

    /// Writes the state once, for whoever must know how that ends.
    pub(super) async fn write(&self) -> io::Result<()> {
        let mut writing = self.begin();
        let written = self.end_in_time(&mut writing).await;
        written.unwrap_or_else(|Late| Err(io::ErrorKind::TimedOut.into()))
    }

    fn begin(&self) -> Writing {
        // Before anything is read: what is counted by now is in what is read then.
        let attempted = self.changes.count();
        let write = self.write.clone();
        Writing {
            attempted,
            task: spawn_blocking(move || write()),
        }
    }

    async fn end_in_time(&self, writing: &mut Writing) -> Result<io::Result<()>, Late> {
        if let Ok(result) = timeout(PATIENCE, self.end(writing)).await {
            return Ok(result);
        }
        let progress = self.saved.progress();
        if !progress.failed {
            let (seconds, path) = (PATIENCE.as_secs(), self.path.display());
            tracing::error!(seconds, %path, "writing the state takes too long; a restart would go back to what the file holds");
        }
        self.saved.tell(Progress {
            failed: true,
            hangs: true,
            ..progress
        });
        Err(Late)
    }

    /// Tells in the log, to readyz and to all who wait how the write ended.
    async fn end(&self, writing: &mut Writing) -> io::Result<()> {
        let written = (&mut writing.task).await;
        let result = written.unwrap_or_else(|error| Err(error.into()));
        let failed = self.saved.progress().failed;
        let path = self.path.display();
        match &result {
            Err(error) if !failed => {
                tracing::error!(%error, %path, "the state cannot be written; a restart would go back to what the file holds");
            }
            Ok(()) if failed => tracing::info!(%path, "the state is written again"),
            _ => {}
        }
        self.saved.tell(Progress {
            attempted: writing.attempted,
            failed: result.is_err(),
            hangs: false,
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use tokio::sync::mpsc;
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::changes::Watched;
    use crate::saving::{Saving, saving};

    fn mark(changes: &Changes) {
        drop(Watched::new((), changes).write());
    }

    /// A writer that does as it is told, one answer for each write, and tells of each.
    struct Scene {
        changes: Changes,
        saving: Saving,
        began: mpsc::UnboundedReceiver<Instant>,
        answers: std::sync::mpsc::Sender<io::Result<()>>,
    }

    fn scene() -> Scene {
        scene_until(pending())
    }

    fn scene_until(stop: impl Future<Output = ()> + Send + 'static) -> Scene {
        let (changes, (saved, saving)) = (Changes::default(), saving());
        let (begin, began) = mpsc::unbounded_channel();
        let (answers, told) = std::sync::mpsc::channel();
        let told = Mutex::new(told);
        let write = move || {
            begin.send(Instant::now()).unwrap();
            // Nobody is left to tell: the end of the test.
            told.lock().unwrap().recv().unwrap_or(Ok(()))
        };
        let writer = Writer::new(changes.clone(), saved, "state".into(), Arc::new(write));
        tokio::spawn(writer.run(stop));
        Scene {
            changes,
            saving,
            began,
            answers,
        }
    }

    impl Scene {
        fn answer(&self, answer: Result<(), io::ErrorKind>) {
            self.answers.send(answer.map_err(Into::into)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_it_is_tried_again_without_a_change() {
        let mut scene = scene();
        for _ in 0..8 {
            scene.answer(Err(io::ErrorKind::StorageFull));
        }
        scene.answer(Ok(()));
        mark(&scene.changes);
        let first = scene.began.recv().await.unwrap();
        let mut pauses = Vec::new();
        let mut last = first;
        for _ in 0..8 {
            assert!(
                timeout(Duration::from_secs(60), scene.began.recv())
                    .await
                    .is_ok_and(|began| {
                        let began = began.unwrap();
                        pauses.push((began - last).as_secs());
                        last = began;
                        true
                    }),
                "{pauses:?}"
            );
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        scene.saving.well().await;
        assert!(scene.saving.is_well());
        // All is written: there is nothing to do.
        assert!(
            timeout(Duration::from_secs(3600), scene.began.recv())
                .await
                .is_err()
        );
        // The next failure begins anew.
        for _ in 0..2 {
            scene.answer(Err(io::ErrorKind::StorageFull));
        }
        mark(&scene.changes);
        let first = scene.began.recv().await.unwrap();
        let second = scene.began.recv().await.unwrap();
        assert_eq!((second - first).as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_does_not_wait_for_the_end_of_a_pause() {
        let mut scene = scene();
        scene.answer(Err(io::ErrorKind::StorageFull));
        scene.answer(Ok(()));
        mark(&scene.changes);
        let first = scene.began.recv().await.unwrap();
        scene.saving.reached(1).await;
        assert!(!scene.saving.is_well());
        mark(&scene.changes);
        assert_eq!(scene.began.recv().await.unwrap(), first);
        scene.saving.reached(2).await;
        assert!(scene.saving.is_well());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_holds_nobody_for_longer_than_five_seconds() {
        let mut scene = scene();
        mark(&scene.changes);
        scene.began.recv().await.unwrap();
        let held = async |scene: &Scene, count| {
            timeout(Duration::ZERO, scene.saving.reached(count))
                .await
                .is_err()
        };
        // The clock stands still while the write is under way, but for this.
        advance(Duration::from_millis(4999)).await;
        assert!(held(&scene, 1).await && scene.saving.is_well());
        advance(Duration::from_millis(1)).await;
        scene.saving.reached(1).await;
        assert!(!scene.saving.is_well());
        // Nor does a later change wait, and no second write begins beside the first.
        mark(&scene.changes);
        scene.saving.reached(2).await;
        advance(LONGEST_PAUSE * 2).await;
        assert!(scene.began.is_empty());
        // When it ends after all, what has changed since is written, and waited for, as ever.
        scene.answer(Ok(()));
        scene.began.recv().await.unwrap();
        assert!(held(&scene, 2).await && scene.saving.is_well());
        scene.answer(Ok(()));
        scene.saving.reached(2).await;
        assert!(scene.saving.is_well());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_does_not_hold_the_end() {
        let (end, told) = tokio::sync::oneshot::channel::<()>();
        let mut scene = scene_until(async move {
            let _ = told.await;
        });
        mark(&scene.changes);
        scene.began.recv().await.unwrap();
        advance(PATIENCE).await;
        scene.saving.reached(1).await;
        drop(end);
        scene.saving.gone().await;
        scene.answer(Ok(()));
    }
}
