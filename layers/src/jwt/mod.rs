//! The rules for a bearer token, as a pure function of token, keys, policy and time.

mod claims;
mod header;
mod policy;
mod signature;
mod verify;

pub use self::policy::Policy;
pub(crate) use self::verify::Parts;
pub use self::verify::{VerifyError, verify};
