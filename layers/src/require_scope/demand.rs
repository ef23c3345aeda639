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
        let mut accepted = Vec::new();
        for value in acr_values {
            Scope::new(value).map_err(|_| ConfigError::Authentication)?;
            accepted.push(value);
        }
        let acr_values = (!accepted.is_empty()).then(|| accepted.join(" "));
        if acr_values.is_none() && max_age.is_none() {
            return Err(ConfigError::Authentication);
        }
        Ok(Self::Authentication(StepUp {
            acr_values,
            max_age,
        }))
    }

    pub(super) fn check(&self, caller: &Principal) -> Result<(), Answer> {
        match self {
            Self::Scopes { scopes, all } => caller.check_scopes(scopes, *all),
            Self::Roles { roles, of_app } => caller.check_roles(roles, *of_app),
            Self::Clients(clients) => caller.check_client(clients),
            Self::AuthContext(context) => caller.check_auth_context(context),
            Self::Authentication(demand) => caller.check_authentication(demand),
            Self::Both(one, two) => one.check(caller).and_then(|()| two.check(caller)),
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
