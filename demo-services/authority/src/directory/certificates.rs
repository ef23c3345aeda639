//! Client certificates of applications: from files to PEM text, and the rules for it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{App, Directory, DirectoryError};
use crate::certificate::{self, Certificate};

/// A certificate and its chain take a few KiB.
const MAX_FILE: u64 = 64 * 1024;

/// Puts the text of the first certificate of each file in the place of its path. Paths are relative to `base`.
pub(super) fn read(directory: &mut Directory, base: &Path) -> Result<(), DirectoryError> {
    for app in &mut directory.apps {
        let key = key(app);
        for entry in app.certificates.iter_mut().filter(|entry| !is_text(entry)) {
            let path = base.join(&*entry);
            let wrong = |why: String| {
                DirectoryError::invalid(key.as_str(), format!("`{}`: {why}", path.display()))
            };
            let file =
                contents(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
            *entry = certificate::first(&file).map_err(|error| wrong(error.to_string()))?;
            // Here, where the file can still be named.
            Certificate::parse(entry).map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(())
}

/// Each is PEM text of one certificate, and none stands twice.
pub(super) fn check(app: &App) -> Result<(), DirectoryError> {
    let mut seen = HashSet::new();
    for (index, entry) in app.certificates.iter().enumerate() {
        let wrong = |why: String| DirectoryError::invalid(key(app), why);
        if !is_text(entry) {
            return Err(wrong(format!(
                "`{entry}` is a file, which only a directory that is itself a file can name; put the PEM text here"
            )));
        }
        let certificate = Certificate::parse(entry)
            .map_err(|error| wrong(format!("entry {}: {error}", index + 1)))?;
        if !seen.insert(certificate.sha256().to_vec()) {
            return Err(wrong(format!("entry {}: stands twice", index + 1)));
        }
    }
    Ok(())
}

fn key(app: &App) -> String {
    format!("apps.{}.certificates", app.name)
}

fn is_text(entry: &str) -> bool {
    entry.trim_start().starts_with("-----BEGIN ")
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_FILE) {
        Ok(bytes)
    } else {
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "longer than 64 KiB",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use super::*;
    use crate::certificate::made::{Made, WEAK, elliptic, one_line};

    static MADE: LazyLock<Made> = LazyLock::new(|| Made::between(2020, 2060));

    /// A directory of the file system that goes with the value.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
            std::fs::create_dir_all(folder.join("certs")).unwrap();
            Self(folder)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.join(name), text).unwrap();
        }

        fn load(&self, certificates: &str) -> Result<Directory, String> {
            self.write("directory.toml", &toml(certificates));
            Directory::load(self.0.join("directory.toml")).map_err(|error| error.to_string())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn toml(certificates: &str) -> String {
        format!(
            "[tenant]\nid = \"11111111-2222-3333-4444-555555555555\"\ndomain = \"contoso.example\"\n\
             [[apps]]\nname = \"middle-tier\"\nclient_id = \"22222222-2222-3333-4444-555555555555\"\n\
             certificates = [{certificates}]\n"
        )
    }

    fn parse(certificates: &str) -> Result<Directory, String> {
        toml(certificates)
            .parse::<Directory>()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_is_relative_to_the_file_and_only_the_certificate_is_kept() {
        let folder = Folder::new();
        let secret = one_line("PRIVATE KEY", b"secret");
        folder.write("certs/middle.pem", &format!("{secret}{}", MADE.pem));
        let directory = folder.load("\"certs/middle.pem\"").unwrap();
        let [text] = directory.apps[0].certificates.as_slice() else {
            panic!("one certificate");
        };
        assert!(text.starts_with(certificate::BEGIN) && !text.contains("PRIVATE"));
        // What was loaded can be written down as text and read again.
        let again = parse(&format!("'''{text}'''")).unwrap();
        assert_eq!(again.apps[0].certificates, directory.apps[0].certificates);
        let absolute = folder.0.join("certs/middle.pem");
        assert!(folder.load(&format!("'{}'", absolute.display())).is_ok());
    }

    #[test]
    fn text_in_place_needs_no_file() {
        assert!(parse(&format!("'''{}'''", MADE.pem)).is_ok());
        assert!(Folder::new().load(&format!("'''{}'''", MADE.pem)).is_ok());
        for (entry, why) in [
            ("'middle.pem'".to_owned(), "`middle.pem` is a file"),
            ("''".to_owned(), "`` is a file"),
            (format!("'''{WEAK}'''"), "entry 1: the key"),
            (format!("'''{}'''", elliptic()), "entry 1: the key"),
            (
                format!("'''{}''', '''{}'''", MADE.pem, MADE.pem),
                "entry 2: stands twice",
            ),
            (
                format!("'''{}{}'''", MADE.pem, one_line("PRIVATE KEY", b"x")),
                "entry 1: more than one",
            ),
        ] {
            let text = parse(&entry).unwrap_err();
            let expected = format!("directory: apps.middle-tier.certificates: {why}");
            assert!(text.starts_with(&expected), "{text}");
        }
    }

    #[test]
    fn errors_name_key_and_file() {
        let folder = Folder::new();
        folder.write("weak.pem", WEAK);
        folder.write("elliptic.pem", &elliptic());
        folder.write("key.pem", &one_line("PRIVATE KEY", b"secret"));
        folder.write("junk.pem", &one_line("CERTIFICATE", b"junk"));
        folder.write("long.pem", &"x".repeat(64 * 1024 + 1));
        for (file, why) in [
            ("missing.pem", "cannot be read"),
            ("weak.pem", "the key of the certificate is not RSA"),
            ("elliptic.pem", "the key of the certificate is not RSA"),
            ("key.pem", "not a certificate in PEM"),
            ("junk.pem", "not a readable X.509 certificate"),
            ("long.pem", "longer than 64 KiB"),
        ] {
            let text = folder.load(&format!("\"{file}\"")).unwrap_err();
            assert!(
                text.starts_with("directory: apps.middle-tier.certificates: ")
                    && text.contains(&format!("{file}`: "))
                    && text.contains(why),
                "{text}"
            );
        }
    }
}
