//! A configuration that somebody has changed: what differs in it from what would be written, without its values. Pure.

use secrecy::SecretString;
use toml::{Table, Value};

/// The text with the secret of `wanted` in the place of its own, if it has another one.
pub(super) fn with_secret_of(there: &str, wanted: &str) -> Option<SecretString> {
    let is_secret = |line: &&str| line.starts_with("client_secret = ");
    let old = there.lines().find(is_secret)?;
    let new = wanted.lines().find(is_secret)?;
    (old != new).then(|| there.replacen(old, new, 1).into())
}

/// Which keys differ, in words; `None` where none does.
pub(super) fn told(what: &str, there: &str, wanted: &str) -> Option<String> {
    let stays = format!("{what} was changed by hand and stays as it is");
    let (Ok(there), Ok(wanted)) = (there.parse::<Table>(), wanted.parse::<Table>()) else {
        return Some(format!("{stays}, although it is no TOML any more"));
    };
    let mut keys = Vec::new();
    compare("", &there, &wanted, &mut keys);
    (!keys.is_empty()).then(|| {
        format!(
            "{stays}; from what this run would write differ: {}. Move it away and run this again for a new one",
            keys.join(", ")
        )
    })
}

fn compare(above: &str, there: &Table, wanted: &Table, keys: &mut Vec<String>) {
    let added = there.keys().filter(|key| !wanted.contains_key(*key));
    for key in wanted.keys().chain(added) {
        let name = format!("{above}{key}");
        match (there.get(key), wanted.get(key)) {
            (Some(Value::Table(there)), Some(Value::Table(wanted))) => {
                compare(&format!("{name}."), there, wanted, keys);
            }
            (there, wanted) if there != wanted => keys.push(name.escape_debug().to_string()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn keys_are_told_and_values_are_not() {
        let wanted = "listen = \"a\"\nclient_secret = \"hunter2\"\n[authority]\ntenant = \"t\"\n";
        let same = format!("# a comment\n{wanted}");
        assert_eq!(told("file x", &same, wanted), None);
        let there =
            "listen = \"b\"\nclient_secret = \"hunter3\"\nmore = 1\n[authority]\ntenant = \"u\"\n";
        let said = told("file x", there, wanted).unwrap();
        assert!(
            said.contains("differ: authority.tenant, client_secret, listen, more."),
            "{said}"
        );
        assert!(!said.contains("hunter"), "{said}");
        assert!(told("file x", "][", wanted).unwrap().contains("no TOML"));
    }

    #[test]
    fn only_the_secret_is_exchanged() {
        let wanted = "client_secret = \"new\"\nlisten = \"a\"\n";
        let changed = with_secret_of("listen = \"b\"\nclient_secret = \"old\"\n", wanted);
        assert_eq!(
            changed.unwrap().expose_secret(),
            "listen = \"b\"\nclient_secret = \"new\"\n"
        );
        assert!(with_secret_of(wanted, wanted).is_none());
        assert!(with_secret_of("listen = \"b\"\n", wanted).is_none());
    }
}
