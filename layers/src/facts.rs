//! What authorization needs to know of a verified token, in one small allocation: this, and not the token, is what the
//! cache of verified tokens holds.

use crate::scope::list_contains;

/// The pieces of text, one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    Subject,
    ObjectId,
    Tenant,
    Client,
    Session,
    /// The granted scopes, one space apart.
    Scopes,
    /// The app roles, one space apart. A role with a space in it is left out: nothing can demand it.
    Roles,
    /// The satisfied authentication contexts, one space apart.
    Contexts,
    /// `acr`.
    AuthenticationClass,
    /// `iss`, where it is not the authority's name.
    Issuer,
}

const PIECES: usize = Piece::Issuer as usize + 1;

/// See the module. Says nothing of who verified it.
pub(crate) struct Facts {
    text: Box<str>,
    ends: [u32; PIECES],
    /// A bit per [`Piece`]: the token has it.
    present: u16,
    marks: Marks,
    /// `exp`, `iat` and `auth_time`; 0 where the token has none that is a NumericDate.
    pub(crate) expires_at: u64,
    pub(crate) issued_at: u64,
    pub(crate) authenticated_at: u64,
}

/// What a token says of its kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    /// It has `scp` or `scope`, of whatever type.
    pub(crate) scope_claim: bool,
    /// `idtyp`.
    pub(crate) kind: TokenKind,
    /// `xms_cc` holds `cp1`.
    pub(crate) claims_capable: bool,
}

/// `idtyp`, the only direct mark of an app-only token (an optional claim of Entra's access tokens).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenKind {
    #[default]
    Unmarked,
    App,
    User,
    /// Something else, as for devices.
    Other,
}

/// Collects the pieces in the order of [`Piece`].
pub(crate) struct FactsBuilder {
    text: String,
    ends: [u32; PIECES],
    present: u16,
}

impl FactsBuilder {
    pub(crate) fn new() -> Self {
        Self {
            text: String::with_capacity(256),
            ends: [0; PIECES],
            present: 0,
        }
    }

    /// Adds a piece that is one text. Pieces must come in order, and each of them.
    pub(crate) fn text(self, piece: Piece, text: Option<&str>) -> Self {
        self.list(piece, text.map(std::iter::once))
    }

    /// Adds a piece that is a list.
    pub(crate) fn list<'a>(
        mut self,
        piece: Piece,
        items: Option<impl Iterator<Item = &'a str>>,
    ) -> Self {
        let start = self.text.len();
        if let Some(items) = items {
            self.present |= 1 << piece as usize;
            for item in items {
                if self.text.len() > start {
                    self.text.push(' ');
                }
                self.text.push_str(item);
            }
        }
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        for slot in self.ends.iter_mut().skip(piece as usize) {
            *slot = end;
        }
        self
    }

    pub(crate) fn build(
        self,
        marks: Marks,
        expires_at: u64,
        issued_at: u64,
        authenticated_at: u64,
    ) -> Facts {
        Facts {
            text: self.text.into_boxed_str(),
            ends: self.ends,
            present: self.present,
            marks,
            expires_at,
            issued_at,
            authenticated_at,
        }
    }
}

impl Facts {
    pub(crate) fn get(&self, piece: Piece) -> Option<&str> {
        if self.present & (1 << piece as usize) == 0 {
            return None;
        }
        let end = self.ends.get(piece as usize)?;
        let start = match (piece as usize).checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start as usize..*end as usize)
    }

    /// Does a piece that is a list hold exactly this entry?
    pub(crate) fn lists(&self, piece: Piece, wanted: &str) -> bool {
        !wanted.is_empty()
            && self
                .get(piece)
                .is_some_and(|list| list_contains(list, wanted))
    }

    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        FactsBuilder::new()
            .text(Piece::Subject, Some("s"))
            .text(Piece::ObjectId, None)
            .text(Piece::Tenant, Some(""))
            .text(Piece::Client, Some("c"))
            .text(Piece::Session, None)
            .list(Piece::Scopes, Some(["read", "write"].into_iter()))
            .list(Piece::Roles, Some(std::iter::empty()))
            .list(Piece::Contexts, None::<std::iter::Empty<&str>>)
            .text(Piece::AuthenticationClass, Some("1"))
            .text(Piece::Issuer, Some("i"))
            .build(Marks::default(), 1, 2, 3)
    }

    #[test]
    fn pieces_come_back_as_they_went_in() {
        let facts = facts();
        assert_eq!(facts.get(Piece::Subject), Some("s"));
        assert_eq!(facts.get(Piece::ObjectId), None);
        assert_eq!(facts.get(Piece::Tenant), Some(""));
        assert_eq!(facts.get(Piece::Client), Some("c"));
        assert_eq!(facts.get(Piece::Scopes), Some("read write"));
        assert_eq!(facts.get(Piece::Roles), Some(""));
        assert_eq!(facts.get(Piece::Contexts), None);
        assert_eq!(facts.get(Piece::AuthenticationClass), Some("1"));
        assert_eq!(facts.get(Piece::Issuer), Some("i"));
    }

    #[test]
    fn entries_of_a_list_are_compared_whole() {
        let facts = facts();
        assert!(facts.lists(Piece::Scopes, "read") && facts.lists(Piece::Scopes, "write"));
        for other in ["rea", "eread", "read write", "", "READ"] {
            assert!(!facts.lists(Piece::Scopes, other), "{other}");
        }
        assert!(!facts.lists(Piece::Contexts, "c1"));
    }

    /// The cache's bound in bytes is this bound times its bound in entries: the rest is text, about 200 bytes in a token of Entra.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Facts>() <= 96, "{}", size_of::<Facts>());
    }
}
