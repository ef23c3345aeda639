//! What stands in front of every API: problem documents, and no answer to foreign host names.

use tower::Layer;

use crate::{
    host_guard::{HostGuard, HostGuardLayer},
    problem::{Problem, ProblemLayer},
};

/// Puts `service` behind the frame; `names` are further host names that it answers to.
pub fn frame<S>(service: S, names: impl IntoIterator<Item = String>) -> Problem<HostGuard<S>> {
    // Outside of the guard, so that its refusals get a document too.
    ProblemLayer.layer(HostGuardLayer::new(names).layer(service))
}
