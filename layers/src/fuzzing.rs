//! What must hold of every parser for any bytes at all: one function each, for the fuzzer (`layers/fuzz`) and for the tests.
//!
//! Each says whether the bytes were taken for what its parser reads, and panics where an invariant is broken.

#![allow(
    clippy::indexing_slicing,
    reason = "a panic is how a fuzzer learns of a fault; and of a JSON value it cannot panic"
)]

mod answers;
mod challenges;
mod keys;
mod requests;
mod seeds;
mod tokens;

pub use self::answers::token_response;
pub use self::challenges::{challenge, claims_request};
pub use self::keys::{jwks, metadata};
pub use self::requests::{bearer_header, scopes};
pub use self::tokens::{jose, token};

/// One of the functions.
pub type Target = fn(&[u8]) -> bool;

/// Each with its name, which is that of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("bearer_header", bearer_header),
    ("challenge", challenge),
    ("claims_request", claims_request),
    ("jose", jose),
    ("jwks", jwks),
    ("metadata", metadata),
    ("scopes", scopes),
    ("token", token),
    ("token_response", token_response),
];

/// Two texts, the first of which ends with the first line: one run of a fuzzer makes both.
fn two(data: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
