//! The seam for a cache that several processes share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::refusal::BoxError;

/// A cache that several processes share, for [`SharedTokens`](crate::SharedTokens). It sees names that tell nothing and sealed
/// values; what it loses is asked for again.
///
/// `RedisStore` is one (feature `redis`). Calls that take too long are dropped, and the text of an error goes to the log and
/// nowhere else. A key is used for values or for claims, never for both.
pub trait TokenStore: Send + Sync + 'static {
    /// The value that was last put under this key and has not expired.
    fn get(&self, key: &str) -> StoreFuture<'_, Option<Vec<u8>>>;

    /// Keeps a value for no longer than `time_to_live` (at least a millisecond) and forgets the one before.
    fn put(&self, key: &str, value: Vec<u8>, time_to_live: Duration) -> StoreFuture<'_, ()>;

    /// Forgets a value. It need not be there.
    fn remove(&self, key: &str) -> StoreFuture<'_, ()>;

    /// The right to do the work for a key: true to one owner, also when he asks again, until he releases it or
    /// `time_to_live` has passed.
    fn claim(&self, key: &str, owner: &str, time_to_live: Duration) -> StoreFuture<'_, bool>;

    /// Gives a claim up if it is this owner's; that of another one stays.
    fn release(&self, key: &str, owner: &str) -> StoreFuture<'_, ()>;
}

/// The future of a [`TokenStore`]'s operation. It may be dropped at any time.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

impl<S: TokenStore + ?Sized> TokenStore for Arc<S> {
    fn get(&self, key: &str) -> StoreFuture<'_, Option<Vec<u8>>> {
        (**self).get(key)
    }

    fn put(&self, key: &str, value: Vec<u8>, time_to_live: Duration) -> StoreFuture<'_, ()> {
        (**self).put(key, value, time_to_live)
    }

    fn remove(&self, key: &str) -> StoreFuture<'_, ()> {
        (**self).remove(key)
    }

    fn claim(&self, key: &str, owner: &str, time_to_live: Duration) -> StoreFuture<'_, bool> {
        (**self).claim(key, owner, time_to_live)
    }

    fn release(&self, key: &str, owner: &str) -> StoreFuture<'_, ()> {
        (**self).release(key, owner)
    }
}
