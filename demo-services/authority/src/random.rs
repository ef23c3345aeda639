//! Names that nobody can guess.

use uuid::Uuid;

/// 244 bits from the operating system's generator, as 64 hexadecimal digits: codes, refresh tokens, cookies, flow ids, secrets.
pub(crate) fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// RFC 8628 section 6.1: no vowels, which make words, and nothing that looks like something else.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Nine letters for a person to type, 38 bits; `None` if the operating system has no randomness.
pub(crate) fn user_code() -> Option<String> {
    let mut code = String::with_capacity(9);
    while code.len() < 9 {
        let mut byte = [0u8; 1];
        aws_lc_rs::rand::fill(&mut byte).ok()?;
        // Of 256 the last 16 would make the first letters more frequent.
        let letter = byte
            .first()
            .filter(|byte| **byte < 240)
            .and_then(|byte| LETTERS.get(usize::from(byte % 20)));
        code.extend(letter.map(|letter| char::from(*letter)));
    }
    Some(code)
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
