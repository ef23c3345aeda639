//! Ctrl-C: the first ends a run after its current step, so that what is made is also recorded; the second ends it at once.

use std::{io, time::Duration};

use demo_services::tenant::stop::Stop;

use crate::{Failure, say, stop_signal};

const AT_ONCE: Duration = Duration::from_millis(200);

/// Comes to the end of `run`, which looks at `stop`; or, at the second signal, to none, with the words of `at_once`: what is on its way to
/// Graph then may be carried out without being recorded.
pub(super) async fn stoppable<T>(
    run: impl Future<Output = T>,
    stop: &Stop,
    at_once: impl FnOnce() -> Failure,
) -> Result<T, Failure> {
    let mut run = std::pin::pin!(run);
    let first = stop_signal()?;
    tokio::select! {
        ended = &mut run => return Ok(ended),
        () = first => {}
    }
    stop.ask();
    let second = stop_signal()?;
    // Who only waits ends at once, and needs no word.
    if let Ok(ended) = tokio::time::timeout(AT_ONCE, &mut run).await {
        return Ok(ended);
    }
    say(
        &mut io::stderr(),
        "stopping after this step; press Ctrl-C again to stop at once",
    );
    tokio::select! {
        ended = &mut run => Ok(ended),
        () = second => Err(at_once()),
    }
}
