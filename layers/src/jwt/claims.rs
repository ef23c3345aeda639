//! The claims that the rules look at, read in one pass over the payload.

use std::borrow::Cow;

use crate::json::{Members, Node};

/// A claim as it stands in the token.
#[derive(Default)]
pub(super) enum Claim<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Date(u64),
    List(Vec<Node<'a>>),
    /// Of a type that no claim here has.
    Other,
}

macro_rules! claims {
    ($($name:ident),* $(,)?) => {
        /// Registered claims (RFC 7519 4.1, RFC 9068 2.2, RFC 8705 3.1) and those of Entra's access tokens.
        #[derive(Default)]
        pub(super) struct Claims<'a> {
            $(pub(super) $name: Claim<'a>,)*
        }

        impl<'a> Members<'a> for Claims<'a> {
            fn wants(&self, name: &str) -> bool {
                matches!(name, $(stringify!($name))|*)
            }

            fn take(&mut self, name: &str, value: Node<'a>) {
                match name {
                    $(stringify!($name) => self.$name = value.into(),)*
                    _ => {}
                }
            }
        }
    };
}

claims!(
    acr, acrs, appid, aud, auth_time, azp, client_id, cnf, exp, iat, idtyp, iss, jti, nbf, oid,
    roles, scope, scp, sid, sub, tid, xms_cc,
);

impl<'a> From<Node<'a>> for Claim<'a> {
    fn from(node: Node<'a>) -> Self {
        match node {
            Node::Text(text) => Self::Text(text),
            Node::Date(date) => Self::Date(date),
            Node::List(items) => Self::List(items),
            Node::Other => Self::Other,
        }
    }
}

impl Claim<'_> {
    pub(super) fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A NumericDate after the epoch.
    pub(super) fn date(&self) -> Option<u64> {
        self.instant().filter(|date| *date > 0)
    }

    /// A NumericDate, of which all before the epoch are the same to us.
    pub(super) fn instant(&self) -> Option<u64> {
        match self {
            Self::Date(date) => Some(*date),
            _ => None,
        }
    }

    /// The strings of an array.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let items = match self {
            Self::List(items) => items.as_slice(),
            _ => &[],
        };
        items.iter().filter_map(|item| match item {
            Node::Text(text) => Some(&**text),
            _ => None,
        })
    }
}
