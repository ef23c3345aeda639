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

/// Sign-ins under way in one browser: each has a cookie, and requests must not grow too long for a server.
const PER_BROWSER: usize = 8;

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
        self.find(id, browser)?;
        // `remove` is atomic: of two callbacks with the same state one gets it.
        self.0
            .remove(id)
            .filter(|transaction| transaction.begun.elapsed() < LIFETIME)
    }

    /// Makes room for one more sign-in in a browser that holds these cookies (id and value), and answers which of them are of no
    /// use any more: those of no sign-in under way, and of the oldest beyond the limit, which end hereby.
    pub(super) fn make_room<'c>(
        &self,
        held: impl Iterator<Item = (&'c str, &'c str)>,
    ) -> Vec<&'c str> {
        let (mut under_way, mut useless) = (Vec::new(), Vec::new());
        for (id, browser) in held {
            match self.find(id, browser) {
                Some(transaction) => under_way.push((transaction.begun, id)),
                None => useless.push(id),
            }
        }
        under_way.sort();
        let surplus = (under_way.len() + 1).saturating_sub(PER_BROWSER);
        for (_, id) in under_way.into_iter().take(surplus) {
            self.0.invalidate(id);
            useless.push(id);
        }
        useless
    }

    /// The transaction, if this browser began it.
    fn find(&self, id: &str, browser: &str) -> Option<Arc<Transaction>> {
        self.0
            .get(id)
            .filter(|found| random::equal(&found.browser, &random::sha256(browser)))
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

    #[test]
    fn the_oldest_beyond_eight_in_one_browser_ends() {
        let transactions = Transactions::new();
        let mut begun: Vec<_> = (0..7).map(|_| begin(&transactions)).collect();
        let held = |begun: &[Begun]| -> Vec<(String, String)> {
            let pair = |begun: &Begun| (begun.id.clone(), begun.browser.clone());
            begun.iter().map(pair).collect()
        };
        let room = |held: &[(String, String)]| -> Vec<String> {
            let held = held.iter().map(|(id, value)| (&**id, &**value));
            let useless = transactions.make_room(held);
            useless.into_iter().map(str::to_owned).collect()
        };
        assert_eq!(room(&held(&begun)), [""; 0], "seven and a new one");
        begun.push(begin(&transactions));
        // Cookies stand in no particular order.
        begun.reverse();
        assert_eq!(room(&held(&begun)), [begun[7].id.clone()]);
        assert!(transactions.end(&begun[7].id, &begun[7].browser).is_none());
        assert!(transactions.end(&begun[6].id, &begun[6].browser).is_some());
    }

    #[test]
    fn a_browser_makes_no_room_at_anothers_expense() {
        let transactions = Transactions::new();
        let begun = begin(&transactions);
        let held = [(&*begun.id, "a wrong value"), ("an unknown id", "x")];
        assert_eq!(
            transactions.make_room(held.into_iter()),
            [&*begun.id, "an unknown id"]
        );
        assert!(transactions.end(&begun.id, &begun.browser).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_only_within_ten_minutes() {
        let transactions = Transactions::new();
        let begun = begin(&transactions);
        tokio::time::advance(LIFETIME).await;
        assert!(transactions.end(&begun.id, &begun.browser).is_none());
    }
}
