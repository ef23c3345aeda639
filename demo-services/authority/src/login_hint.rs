//! The claim `login_hint`: a text that means one user to this authority and nothing to anybody else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::directory::Directory;

/// The hint of a user, by object id.
pub(crate) fn of(user: Uuid) -> String {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        format!("login_hint\0{user}").as_bytes(),
    );
    format!("O.{}", URL_SAFE_NO_PAD.encode(digest))
}

/// What a client sends as `login_hint`, as a username: our own hints are looked up, all else is taken as it is.
pub(crate) fn username(directory: &Directory, hint: &str) -> String {
    let meant = hint
        .starts_with("O.")
        .then(|| directory.users.iter().find(|user| of(user.oid) == hint))
        .flatten();
    meant.map_or(hint, |user| &user.username).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_leads_back_to_its_user_and_to_nobody_else() {
        let directory = Directory::demo();
        for user in &directory.users {
            assert_eq!(username(&directory, &of(user.oid)), user.username);
        }
        let unknown = of(Uuid::from_u128(1));
        for hint in ["alice@contoso.example", "alice", "", "O.", &unknown] {
            assert_eq!(username(&directory, hint), hint);
        }
    }
}
