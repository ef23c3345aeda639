//! Keys stay fresh whatever becomes of the runtime that fetched them.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tower_bearer::clock::ManualClock;

use crate::board::{Board, Signer, api};
use crate::support::NOW;

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_runtime_that_runs_only_from_call_to_call_still_refreshes() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let (old, new) = (Signer::new(), Signer::new());
    board.publish(&[("a", &old)]);
    let api = api("https://a", &board, &clock);
    let token = old.token("a", "https://a", &json!({}));
    let runtime = runtime();
    assert!(runtime.block_on(api.verify(&token)).is_ok());
    board.publish(&[("b", &new)]);
    let refused = (0..6).any(|_| {
        runtime.block_on(async {
            // Time goes by while nobody drives the runtime.
            let mut advance = pin!(tokio::time::advance(Duration::from_secs(600)));
            let _ = futures_util::poll!(&mut advance);
        });
        runtime.block_on(api.verify(&token)).is_err()
    });
    assert!(refused, "withdrawn an hour ago");
}

#[test]
fn a_runtime_that_is_parked_does_not_keep_the_keys_from_another() {
    let (board, clock) = (Board::default(), ManualClock::new(NOW));
    let (old, new) = (Signer::new(), Signer::new());
    board.publish(&[("a", &old)]);
    let api = api("https://a", &board, &clock);
    let (by_old, by_new) = (
        old.token("a", "https://a", &json!({})),
        new.token("b", "https://a", &json!({})),
    );
    let parked = runtime();
    assert!(parked.block_on(api.verify(&by_old)).is_ok());
    board.publish(&[("b", &new)]);
    runtime().block_on(async {
        tokio::time::advance(Duration::from_secs(1200)).await;
        assert!(api.verify(&by_new).await.is_ok());
        assert!(api.verify(&by_old).await.is_err(), "withdrawn");
    });
    drop(parked);
}
