//! What all examples have in common: variables, a log, an end.

use std::env;
use std::fmt::Display;

use futures_util::FutureExt as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Warnings, and what `RUST_LOG` says.
pub(super) fn log_to_stderr() {
    let warnings = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    tracing_subscriber::fmt()
        .with_env_filter(warnings.from_env_lossy())
        .with_writer(std::io::stderr)
        .init();
}

/// Ends when the program is told to. Listens from now on and not only from its first poll, when it may be too late.
pub(crate) fn told_to_stop() -> impl Future<Output = ()> + Send {
    let mut told = Box::pin(tokio::signal::ctrl_c());
    let already = told.as_mut().now_or_never();
    async move {
        if already.is_none() {
            let _ = told.await;
        }
    }
}

/// Ends the program with status 2 and the variable's name where it is missing or cannot be used.
pub(super) fn variable<T, E: Display>(name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> T {
    let text = env::var(name).map_err(|error| error.to_string());
    let value = text.and_then(|text| read(&text).map_err(|error| error.to_string()));
    value.unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "a command says what it misses")]
        {
            eprintln!("{name}: {error}");
        }
        std::process::exit(2)
    })
}
