//! What both benchmarks work on: keys, tokens as Microsoft Entra ID issues them, and the code that one writes by hand.

#![allow(dead_code, reason = "each benchmark uses its share")]

pub(crate) mod by_hand;
pub(crate) mod key;
pub(crate) mod token;

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CLIENT: &str = "22222222-2222-3333-4444-555555555555";
pub(crate) const SCOPE: &str = "access_as_user";
