//! `WWW-Authenticate` as our services print it, read strictly and without the library: an encoding fault shared by
//! printer and reader would pass every test.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde_json::Value;

/// The parameters of one Bearer challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(pub BTreeMap<String, String>);

impl Challenge {
    /// The only challenge of a response.
    ///
    /// # Panics
    ///
    /// There is none, more than one, or it is not `Bearer name="value", ...`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self::find(headers).expect("a challenge")
    }

    /// The only challenge of a response, if there is one.
    ///
    /// # Panics
    ///
    /// There is more than one, or it is not `Bearer name="value", ...`.
    #[must_use]
    pub fn find(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(WWW_AUTHENTICATE).iter();
        let line = lines.next()?.to_str().expect("ASCII");
        assert!(lines.next().is_none(), "two challenges");
        let mut rest = line.strip_prefix("Bearer ").expect("Bearer");
        let mut parameters = BTreeMap::new();
        loop {
            let (name, after) = rest.split_once("=\"").expect("name=\"");
            let (value, after) = after.split_once('"').expect("a closing quote");
            assert!(
                !value.contains('\\'),
                "nothing of ours needs an escape: {line}"
            );
            let before = parameters.insert(name.to_owned(), value.to_owned());
            assert!(before.is_none(), "{name} twice: {line}");
            match after.strip_prefix(", ") {
                Some(more) => rest = more,
                None => {
                    assert_eq!(after, "", "{line}");
                    return Some(Self(parameters));
                }
            }
        }
    }

    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The demanded claims: JSON in padded standard base64.
    ///
    /// # Panics
    ///
    /// There are none, or they are something else.
    #[must_use]
    pub fn claims(&self) -> Value {
        let text = STANDARD.decode(self.get("claims").expect("claims"));
        serde_json::from_slice(&text.expect("padded standard base64")).expect("JSON")
    }
}
