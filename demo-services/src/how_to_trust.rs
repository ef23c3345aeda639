//! What a person types so that their programs trust the local CA of `--https`.

use std::path::Path;

/// The line for each kind of client; `new` says that the CA was made just now. It vouches for localhost, 127.0.0.1 and ::1 only.
#[must_use]
pub fn how_to_trust(ca: &Path, new: bool) -> String {
    let age = if new {
        "new, so nobody trusts it yet"
    } else {
        "as before"
    };
    let ca = shell_word(&ca.display().to_string());
    format!(
        "
certificates are vouched for by {ca} ({age}); to trust it (for localhost only, it can sign nothing else):
  Node      export NODE_EXTRA_CA_CERTS={ca}
  Python    export REQUESTS_CA_BUNDLE={ca}    # in place of all other CAs
  curl      curl --cacert {ca} ...
  Chromium  mkdir -p $HOME/.pki/nssdb && certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n tower-bearer -i {ca}
  Firefox   Settings, Certificates, View Certificates, Authorities, Import: {ca}
  macOS     security add-trusted-cert -p ssl -k ~/Library/Keychains/login.keychain-db {ca}
  Windows   certutil -user -addstore Root {ca}"
    )
}

/// As it must be typed into a POSIX shell.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._:-".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        for (path, word) in [
            ("/a/ca.pem", "/a/ca.pem"),
            ("http://localhost:8080/", "http://localhost:8080/"),
            ("/my files/ca.pem", "'/my files/ca.pem'"),
            ("/it's/ca.pem", "'/it'\\''s/ca.pem'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(path), word);
        }
    }
}
