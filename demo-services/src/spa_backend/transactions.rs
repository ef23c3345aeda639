//! Sign-ins under way: what was promised to the browser when it was sent to the authority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tower_bearer::clock::{Clock, SystemClock};

use super::query::Params;
use super::return_to::ReturnTo;
use super::store::{Kind, Records, StoreError, secret_option};
use crate::random;

/// How long a person may take at the authority.
pub(super) const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Sign-ins under way in one browser: each has a cookie, and requests must not grow too long for a server.
const PER_BROWSER: usize = 8;

/// So many cookies of sign-ins are looked at in one request: ours, and some that somebody planted. Others come the next time.
const LOOKED_AT: usize = PER_BROWSER + 4;

/// Longest code, issuer and error that an authority is expected to answer with, in bytes.
const CODE: usize = 4096;
const SHORT: usize = 512;

/// An error that is none of the registry, and not shown as one.
const UNREADABLE: &str = "-";

/// What a sign-in is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// A new session.
    SignIn(ReturnTo),
    /// A stronger or fresher sign-in of the person in this seat, for a kept operation.
    StepUp { seat: String, operation: String },
}

/// What the authority answered (RFC 6749 4.1.2 with RFC 9207). `error_description` is not even read.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Answer {
    #[serde(with = "secret_option")]
    pub(super) code: Option<SecretString>,
    pub(super) error: Option<String>,
    /// Does it name an issuer at all?
    pub(super) names_issuer: bool,
    pub(super) issuer: Option<String>,
}

/// One sign-in under way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Transaction {
    pub(super) purpose: Purpose,
    pub(super) verifier: String,
    pub(super) nonce: String,
    /// The scopes of the authorization request, repeated at the token endpoint.
    pub(super) scope: String,
    /// The `claims` of the authorization request, repeated at the token endpoint.
    pub(super) claims: String,
    /// What the authority's form said, until the browser comes with its session.
    pub(super) answer: Option<Answer>,
    browser: String,
    /// Seconds since the epoch, and the number in its instance.
    begun: (u64, u64),
}

/// A transaction that was just begun, with what the browser must be given.
pub(super) struct Begun {
    pub(super) state: String,
    /// Value of the transaction cookie.
    pub(super) browser: String,
    /// Name part of the transaction cookie.
    pub(super) id: String,
    pub(super) transaction: Transaction,
}

/// All sign-ins under way, by the hash of their state.
pub(super) struct Transactions {
    records: Records,
    clock: Arc<dyn Clock>,
    number: AtomicU64,
}

impl Answer {
    /// Reads an answer. A parameter that is too long to be one is none.
    pub(super) fn read(parameters: &Params) -> Self {
        let short = |name, longest| {
            let value = parameters.one(name);
            value.filter(|value| value.len() <= longest)
        };
        Self {
            code: short("code", CODE).map(SecretString::from),
            // An error is an error, however it is written.
            error: parameters
                .has("error")
                .then(|| short("error", SHORT).unwrap_or(UNREADABLE).to_owned()),
            names_issuer: parameters.has("iss"),
            issuer: short("iss", SHORT).map(str::to_owned),
        }
    }
}

impl Transactions {
    pub(super) fn new(records: Records) -> Self {
        Self {
            records,
            clock: Arc::new(SystemClock),
            number: AtomicU64::new(0),
        }
    }

    /// Begins a sign-in.
    pub(super) async fn begin(
        &self,
        purpose: Purpose,
        scope: String,
        claims: String,
    ) -> Result<Begun, StoreError> {
        let (state, browser) = (random::secret(), random::secret());
        let transaction = Transaction {
            purpose,
            verifier: random::secret(),
            nonce: random::secret(),
            scope,
            claims,
            answer: None,
            browser: random::sha256(&browser),
            begun: (
                self.clock.now(),
                self.number.fetch_add(1, Ordering::Relaxed),
            ),
        };
        let id = id(&state);
        self.records
            .put(Kind::Transaction.key(&id), &transaction, LIFETIME)
            .await?;
        Ok(Begun {
            state,
            browser,
            id,
            transaction,
        })
    }

    /// Ends a sign-in: hands the transaction out once, and only to the browser that began it.
    pub(super) async fn end(
        &self,
        id: &str,
        browser: &str,
    ) -> Result<Option<Transaction>, StoreError> {
        match self.find(id, browser).await? {
            // Taking it out is atomic: of two callbacks with the same state one gets it.
            Some(_) => self.records.take(Kind::Transaction.key(id)).await,
            None => Ok(None),
        }
    }

    /// The same for one whose answer is kept; without an answer it goes on.
    pub(super) async fn end_answered(
        &self,
        id: &str,
        browser: &str,
    ) -> Result<Option<(Transaction, Answer)>, StoreError> {
        let found = self.find(id, browser).await?;
        if found.is_none_or(|transaction| transaction.answer.is_none()) {
            return Ok(None);
        }
        let taken: Option<Transaction> = self.records.take(Kind::Transaction.key(id)).await?;
        Ok(taken.and_then(|mut transaction| {
            let answer = transaction.answer.take()?;
            Some((transaction, answer))
        }))
    }

    /// Keeps the authority's answer, once, for the browser that began the sign-in. Tells whether it did.
    pub(super) async fn answer(
        &self,
        id: &str,
        browser: &str,
        answer: &Answer,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let keep = |transaction: Option<Transaction>| {
            let mut transaction = transaction?;
            if !transaction.is_of(browser) || transaction.answer.is_some() {
                return None;
            }
            let rest = transaction.rest(now)?;
            transaction.answer = Some(answer.clone());
            Some((transaction, rest))
        };
        self.records.change(Kind::Transaction.key(id), keep).await
    }

    /// Makes room for one more sign-in in a browser that holds these cookies (id and value), and answers which of them are of no
    /// use any more: those of no sign-in under way, and of the oldest beyond the limit, which end hereby.
    pub(super) async fn make_room<'c>(
        &self,
        held: impl Iterator<Item = (&'c str, &'c str)>,
    ) -> Result<Vec<&'c str>, StoreError> {
        let looks = held.take(LOOKED_AT).map(async |(id, browser)| {
            let found = self.find(id, browser).await?;
            Ok((id, found.map(|transaction| transaction.begun)))
        });
        let (mut under_way, mut useless) = (Vec::new(), Vec::new());
        for look in join_all(looks).await {
            match look? {
                (id, Some(begun)) => under_way.push((begun, id)),
                (id, None) => useless.push(id),
            }
        }
        under_way.sort();
        let surplus = (under_way.len() + 1).saturating_sub(PER_BROWSER);
        let surplus = under_way.into_iter().take(surplus).map(async |(_, id)| {
            self.records.remove(Kind::Transaction.key(id)).await?;
            Ok(id)
        });
        for ended in join_all(surplus).await {
            useless.push(ended?);
        }
        Ok(useless)
    }

    /// The transaction, if this browser began it and its time has not passed.
    async fn find(&self, id: &str, browser: &str) -> Result<Option<Transaction>, StoreError> {
        let found = self.records.get(Kind::Transaction.key(id), None).await?;
        let now = self.clock.now();
        Ok(found.filter(|transaction: &Transaction| {
            transaction.is_of(browser) && transaction.rest(now).is_some()
        }))
    }
}

impl Transaction {
    fn is_of(&self, browser: &str) -> bool {
        random::equal(&self.browser, &random::sha256(browser))
    }

    /// What is left of its time. A store that was put back to an older state may have it for longer.
    fn rest(&self, now: u64) -> Option<Duration> {
        let age = Duration::from_secs(now.saturating_sub(self.begun.0));
        LIFETIME.checked_sub(age).filter(|rest| !rest.is_zero())
    }
}

/// The name under which the transaction of a state is kept, here and in the cookie's name.
pub(super) fn id(state: &str) -> String {
    random::sha256(state).chars().take(22).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spa_backend::store::MemoryStore;
    use crate::spa_backend::store::unsteady::{Ask, Unsteady};

    fn transactions() -> Transactions {
        Transactions::new(Records::new(MemoryStore::new()))
    }

    async fn begin(transactions: &Transactions) -> Begun {
        let purpose = Purpose::SignIn(ReturnTo::new(None));
        let begun = transactions.begin(purpose, "openid".into(), "{}".into());
        begun.await.unwrap()
    }

    async fn ends(transactions: &Transactions, id: &str, browser: &str) -> bool {
        transactions.end(id, browser).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn ends_once() {
        let transactions = transactions();
        let begun = begin(&transactions).await;
        assert_eq!(id(&begun.state), begun.id);
        assert!(ends(&transactions, &begun.id, &begun.browser).await);
        assert!(!ends(&transactions, &begun.id, &begun.browser).await);
    }

    #[tokio::test]
    async fn another_browser_neither_ends_nor_spoils_it() {
        let transactions = transactions();
        let begun = begin(&transactions).await;
        assert!(!ends(&transactions, &begun.id, &random::secret()).await);
        assert!(ends(&transactions, &begun.id, &begun.browser).await);
    }

    #[tokio::test]
    async fn tabs_do_not_disturb_each_other() {
        let transactions = transactions();
        let (one, two) = (begin(&transactions).await, begin(&transactions).await);
        assert!(!ends(&transactions, &two.id, &one.browser).await);
        assert!(ends(&transactions, &two.id, &two.browser).await);
        assert!(ends(&transactions, &one.id, &one.browser).await);
    }

    #[tokio::test]
    async fn the_oldest_beyond_eight_in_one_browser_ends() {
        let transactions = transactions();
        let mut begun = Vec::new();
        for _ in 0..7 {
            begun.push(begin(&transactions).await);
        }
        let held = |begun: &[Begun]| -> Vec<(String, String)> {
            let pair = |begun: &Begun| (begun.id.clone(), begun.browser.clone());
            begun.iter().map(pair).collect()
        };
        let room = async |held: Vec<(String, String)>| -> Vec<String> {
            let held = held.iter().map(|(id, value)| (&**id, &**value));
            let useless = transactions.make_room(held).await.unwrap();
            useless.into_iter().map(str::to_owned).collect()
        };
        assert_eq!(room(held(&begun)).await, [""; 0], "seven and a new one");
        begun.push(begin(&transactions).await);
        // Cookies stand in no particular order.
        begun.reverse();
        assert_eq!(room(held(&begun)).await, [begun[7].id.clone()]);
        assert!(!ends(&transactions, &begun[7].id, &begun[7].browser).await);
        assert!(ends(&transactions, &begun[6].id, &begun[6].browser).await);
    }

    #[tokio::test]
    async fn a_browser_makes_no_room_at_anothers_expense() {
        let transactions = transactions();
        let begun = begin(&transactions).await;
        let held = [(&*begun.id, "a wrong value"), ("an unknown id", "x")];
        assert_eq!(
            transactions.make_room(held.into_iter()).await.unwrap(),
            [&*begun.id, "an unknown id"]
        );
        assert!(ends(&transactions, &begun.id, &begun.browser).await);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_only_within_ten_minutes() {
        let transactions = transactions();
        let begun = begin(&transactions).await;
        tokio::time::advance(LIFETIME).await;
        assert!(!ends(&transactions, &begun.id, &begun.browser).await);
    }

    #[tokio::test]
    async fn a_store_that_was_put_back_brings_no_old_sign_in_back() {
        let clock = tower_bearer::clock::ManualClock::new(1_000_000);
        let mut transactions = transactions();
        transactions.clock = Arc::new(clock.clone());
        let (one, two) = (begin(&transactions).await, begin(&transactions).await);
        clock.advance(LIFETIME.as_secs() - 1);
        assert!(ends(&transactions, &one.id, &one.browser).await);
        clock.advance(1);
        assert!(!ends(&transactions, &two.id, &two.browser).await);
    }

    #[tokio::test(start_paused = true)]
    async fn invented_cookies_cost_a_few_looks_at_one_time() {
        let late = Duration::from_millis(100);
        let store = Unsteady::new(late);
        let transactions = Transactions::new(Records::new(store.clone()));
        let invented: Vec<_> = (0..100).map(|number| id(&number.to_string())).collect();
        let held = invented.iter().map(|id| (id.as_str(), "x"));
        let began = tokio::time::Instant::now();
        let useless = transactions.make_room(held).await.unwrap();
        assert_eq!(useless.len(), LOOKED_AT);
        assert_eq!(store.asked(Ask::Get, Kind::Transaction), LOOKED_AT);
        assert!(began.elapsed() < late * 2, "{:?}", began.elapsed());
    }

    fn answer(query: &str) -> Answer {
        Answer::read(&Params::parse(query.as_bytes()))
    }

    #[tokio::test]
    async fn an_answer_is_kept_once_and_for_its_own_browser() {
        let transactions = transactions();
        let begun = begin(&transactions).await;
        let (id, browser) = (&*begun.id, &*begun.browser);
        let keep = async |browser: &str| {
            let answer = answer("code=abc&iss=i");
            transactions.answer(id, browser, &answer).await.unwrap()
        };
        let taken = async |browser: &str| transactions.end_answered(id, browser).await.unwrap();
        assert!(taken(browser).await.is_none(), "nothing is answered yet");
        assert!(!keep(&random::secret()).await);
        assert!(keep(browser).await);
        assert!(!keep(browser).await, "a second time");
        assert!(taken(&random::secret()).await.is_none());
        let (_, answer) = taken(browser).await.unwrap();
        assert!(answer.code.is_some() && answer.error.is_none());
        assert_eq!(answer.issuer.as_deref(), Some("i"));
        assert!(taken(browser).await.is_none(), "a second time");
        assert!(!keep(browser).await, "after its end");
    }

    #[test]
    fn an_answer_is_read_strictly() {
        let code = |query: &str| answer(query).code.is_some();
        assert!(code("code=a"));
        assert!(!code("code=a&code=a") && !code("code=") && !code("x=1"));
        assert!(code(&format!("code={}", "a".repeat(CODE))));
        assert!(!code(&format!("code={}", "a".repeat(CODE + 1))));
        let error = |query: &str| answer(query).error;
        assert_eq!(error("code=a"), None);
        assert_eq!(
            error("error=access_denied").as_deref(),
            Some("access_denied")
        );
        for odd in [
            "error=a&error=b",
            "error=",
            &format!("error={}", "a".repeat(SHORT + 1)),
        ] {
            assert_eq!(error(odd).as_deref(), Some(UNREADABLE));
        }
        let twice = answer("iss=a&iss=b");
        assert!(twice.names_issuer && twice.issuer.is_none());
        assert!(!answer("code=a").names_issuer);
    }

    #[tokio::test]
    async fn a_flood_of_sign_ins_forgets_the_oldest_of_them_and_no_session() {
        let records = Records::new(MemoryStore::new());
        let seat = Kind::Seat.key("alice");
        records.put(seat, &"her seat", LIFETIME).await.unwrap();
        let transactions = Transactions::new(records.clone());
        let first = begin(&transactions).await;
        let mut last = begin(&transactions).await;
        for _ in 0..11_000 {
            last = begin(&transactions).await;
        }
        assert!(!ends(&transactions, &first.id, &first.browser).await);
        assert!(ends(&transactions, &last.id, &last.browser).await);
        let seat: Option<String> = records.get(seat, None).await.unwrap();
        assert_eq!(seat.as_deref(), Some("her seat"));
    }
}
