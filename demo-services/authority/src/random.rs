//! Names that nobody can guess.

use uuid::Uuid;

/// 244 bits from the operating system's generator, as 64 hexadecimal digits: codes, refresh tokens, cookies, flow ids, secrets.
pub(crate) fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// A GUID that depends on nothing but `name`, for things that a directory file may leave unnamed.
pub(crate) fn derived_guid(kind: &str, name: &str) -> Uuid {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        format!("{kind}\0{name}").as_bytes(),
    );
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
