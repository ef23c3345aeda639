//! What is demanded of a verified caller, as a pure check.

use crate::challenge::{Answer, StepUp};
use crate::claims::check_context;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::scope::Scope;

/// Built only from parts that can be demanded: nothing here is empty.
#[derive(Clone, Debug)]
pub(super) enum Demand {
    Scopes {
        scopes: Vec<Scope>,
        all: bool,
    },
    /// Any of them.
    Roles {
        roles: Vec<Scope>,
        of_app: bool,
    },
    Clients(Vec<Scope>),
    AuthContext(String),
    Authentication(StepUp),
    Both(Box<Demand>, Box<Demand>),
    Either(Box<Demand>, Box<Demand>),
}

impl Demand {
    pub(super) fn auth_context(context: &str) -> Result<Self, ConfigError> {
        check_context(context)?;
        Ok(Self::AuthContext(context.to_owned()))
    }

    pub(super) fn authentication<'a>(
        acr_values: impl IntoIterator<Item = &'a str>,
        max_age: Option<u64>,
    ) -> Result<Self, ConfigError> {
        StepUp::new(acr_values, max_age).map(Self::Authentication)
    }

    pub(super) fn check(&self, caller: &Principal) -> Result<(), Answer> {
        match self {
            Self::Scopes { scopes, all } => caller.check_scopes(scopes, *all),
            Self::Roles { roles, of_app } => caller.check_roles(roles, *of_app),
            Self::Clients(clients) => caller.check_client(clients),
            Self::AuthContext(context) => caller.check_auth_context(context),
            Self::Authentication(demand) => caller.check_authentication(demand),
            Self::Both(one, two) => match (one.check(caller), two.check(caller)) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(answer), Ok(())) | (Ok(()), Err(answer)) => Err(answer),
                // Nobody is sent to step up who would not be let in afterwards.
                (Err(first), Err(second)) => Err(match can_be_stepped_up(&first) {
                    true => second,
                    false => first,
                }),
            },
            Self::Either(one, two) => one.check(caller).or_else(|first| {
                two.check(caller).map_err(|second| match first {
                    // Whatever the caller could still do about it is worth more than a plain refusal.
                    Answer::Forbidden => second,
                    first => first,
                })
            }),
        }
    }
}

fn can_be_stepped_up(answer: &Answer) -> bool {
    matches!(answer, Answer::InsufficientClaims(_) | Answer::StepUp(_))
}

/// One or more words that can stand in a challenge.
pub(super) fn words<'a>(
    words: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Scope>, ConfigError> {
    let words: Vec<Scope> = words
        .into_iter()
        .map(Scope::new)
        .collect::<Result<_, _>>()?;
    if words.is_empty() {
        Err(ConfigError::Scope)
    } else {
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;
    use crate::authority::Authority;
    use crate::challenge::RefusalKind;
    use crate::resource::Resource;
    use crate::signer;

    static RESOURCE: LazyLock<Resource> = LazyLock::new(|| {
        let authority = Authority::entra("11111111-2222-3333-4444-555555555555").unwrap();
        authority.resource("api://x").unwrap()
    });

    /// A demand that passes, one that nothing helps against, and one that can be answered.
    fn leaf(kind: usize) -> (Demand, Option<RefusalKind>) {
        let scope = |text: &str| Demand::Scopes {
            scopes: words([text]).unwrap(),
            all: false,
        };
        match kind {
            0 => (scope("read"), None),
            1 => (
                Demand::Clients(words(["other"]).unwrap()),
                Some(RefusalKind::Forbidden),
            ),
            2 => (scope("write"), Some(RefusalKind::InsufficientScope)),
            _ => (
                Demand::auth_context("c1").unwrap(),
                Some(RefusalKind::InsufficientClaims),
            ),
        }
    }

    type Expected = Option<RefusalKind>;

    fn both(one: Expected, two: Expected) -> Expected {
        match (one, two) {
            (Some(RefusalKind::InsufficientClaims), Some(two)) => Some(two),
            (one, two) => one.or(two),
        }
    }

    fn either(one: Expected, two: Expected) -> Expected {
        match (one, two) {
            (None, _) | (_, None) => None,
            (Some(RefusalKind::Forbidden), two) => two,
            (one, _) => one,
        }
    }

    #[test]
    fn every_combination_of_three_demands() {
        let caller = signer::caller(&RESOURCE, &json!({"scp": "read", "xms_cc": ["cp1"]}));
        let pair = |how: usize, one: (Demand, Expected), two: (Demand, Expected)| {
            let [left, right] = [one.0, two.0].map(Box::new);
            match how {
                0 => (Demand::Both(left, right), both(one.1, two.1)),
                _ => (Demand::Either(left, right), either(one.1, two.1)),
            }
        };
        let mut seen = 0;
        for n in 0..4 * 4 * 4 * 4 {
            let (a, b, c) = (n % 4, n / 4 % 4, n / 16 % 4);
            let (inner, outer) = (n / 64 % 2, n / 128);
            let (demand, expected) = pair(outer, leaf(a), pair(inner, leaf(b), leaf(c)));
            let refused = demand.check(&caller).err().map(|answer| answer.kind());
            assert_eq!(refused, expected, "{demand:?}");
            seen += usize::from(refused.is_none());
        }
        assert!(seen > 0);
    }
}
