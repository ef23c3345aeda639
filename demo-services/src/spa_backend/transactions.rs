//! Sign-ins under way: what was promised to the browser when it was sent to the authority.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::random;
use super::return_to::ReturnTo;

/// How long a person may take at the authority.
pub(super) const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Sign-ins under way at one time; beyond it the oldest is forgotten.
const CAPACITY: u64 = 10_000;

/// What a sign-in is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new session.
    SignIn(ReturnTo),
    /// A stronger or fresher sign-in of the person in this seat, for a kept operation.
    StepUp { seat: String, operation: String },
}

/// One sign-in under way.
pub(super) struct Transaction {
    pub(super) purpose: Purpose,
    pub(super) verifier: String,
    pub(super) nonce: String,
    /// The scopes of the authorization request, repeated at the token endpoint.
    pub(super) scope: String,
    /// The `claims` of the authorization request, repeated at the token endpoint.
    pub(super) claims: String,
    browser: String,
    begun: Instant,
}

/// A transaction that was just begun, with what the browser must be given.
pub(super) struct Begun {
    pub(super) state: String,
    /// Value of the transaction cookie.
    pub(super) browser: String,
    /// Name part of the transaction cookie.
    pub(super) id: String,
    pub(super) transaction: Arc<Transaction>,
}

/// All sign-ins under way, by the hash of their state.
pub(super) struct Transactions(Cache<String, Arc<Transaction>>);

impl Transactions {
    pub(super) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(LIFETIME)
                .build(),
        )
    }

    /// Begins a sign-in.
    pub(super) fn begin(&self, purpose: Purpose, scope: String, claims: String) -> Begun {
        let (state, browser) = (random::secret(), random::secret());
        let transaction = Arc::new(Transaction {
            purpose,
            verifier: random::secret(),
            nonce: random::secret(),
            scope,
            claims,
            browser: random::sha256(&browser),
            begun: Instant::now(),
        });
        let id = id(&state);
        self.0.insert(id.clone(), Arc::clone(&transaction));
        Begun {
            state,
            browser,
            id,
            transaction,
        }
    }

    /// Ends a sign-in: hands the transaction out once, and only to the browser that began it.
    pub(super) fn end(&self, id: &str, browser: &str) -> Option<Arc<Transaction>> {
        let candidate = self.0.get(id)?;
        if !random::equal(&candidate.browser, &random::sha256(browser)) {
            return None;
        }
        // `remove` is atomic: of two callbacks with the same state one gets it.
        self.0
            .remove(id)
            .filter(|transaction| transaction.begun.elapsed() < LIFETIME)
    }

    /// Whether a transaction is still under way.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }
}

/// The name under which the transaction of a state is kept, here and in the cookie's name.
pub(super) fn id(state: &str) -> String {
    random::sha256(state).chars().take(22).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(transactions: &Transactions) -> Begun {
        transactions.begin(
            Purpose::SignIn(ReturnTo::new(None)),
            "openid".into(),
            "{}".into(),
        )
    }

    #[test]
    fn ends_once() {
        let transactions = Transactions::new();
        let begun = begin(&transactions);
        assert_eq!(id(&begun.state), begun.id);
        assert!(transactions.end(&begun.id, &begun.browser).is_some());
        assert!(transactions.end(&begun.id, &begun.browser).is_none());
    }

    #[test]
    fn another_browser_neither_ends_nor_spoils_it() {
        let transactions = Transactions::new();
        let begun = begin(&transactions);
        assert!(transactions.end(&begun.id, &random::secret()).is_none());
        assert!(transactions.end(&begun.id, &begun.browser).is_some());
    }

    #[test]
    fn tabs_do_not_disturb_each_other() {
        let transactions = Transactions::new();
        let (one, two) = (begin(&transactions), begin(&transactions));
        assert!(transactions.end(&two.id, &one.browser).is_none());
        assert!(transactions.end(&two.id, &two.browser).is_some());
        assert!(transactions.end(&one.id, &one.browser).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_only_within_ten_minutes() {
        let transactions = Transactions::new();
        let begun = begin(&transactions);
        tokio::time::advance(LIFETIME).await;
        assert!(transactions.end(&begun.id, &begun.browser).is_none());
    }
}
