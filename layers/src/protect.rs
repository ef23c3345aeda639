//! The outer layers in the right order.

use crate::propagate_challenge::PropagateChallengeLayer;
use crate::resource::Resource;
use crate::validate_bearer::ValidateBearerLayer;

impl Resource {
    /// The two layers that every protected service needs, as one: [`PropagateChallengeLayer`] outside, [`ValidateBearerLayer`] inside.
    #[must_use = "a layer does nothing until it is added to a service"]
    pub fn protect(&self) -> (PropagateChallengeLayer, ValidateBearerLayer) {
        (
            PropagateChallengeLayer::new(self),
            ValidateBearerLayer::new(self),
        )
    }
}
