//! The directory that a request with a known tenant works on.

use std::sync::Arc;

use crate::directory::Directory;

/// An extension of such a request: one snapshot of the directory, from its beginning to its end.
#[derive(Clone)]
pub(crate) struct Known(pub(crate) Arc<Directory>);
