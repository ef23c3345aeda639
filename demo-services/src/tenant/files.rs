//! Files that `register` writes: whole or not at all, and what was there before is kept and put back.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::local::{LocalError, LocalFiles};
use super::plan::Certificate;
use super::record::{Record, WrittenFile, write_atomically};

/// What the first line of every file begins with; in some of them after a `#`.
pub(super) const MARK: &str = "Made by `demo-services register`";
/// Added to the name of a file that was there before.
const KEPT: &str = ".before-register";

const NOTHING: &str = "nothing is made where files are put back";

/// Why a file is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refuses.
    #[error("{} cannot be {action}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// `made`, `written`, `removed`, `put back` or `kept`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is another file now.
    #[error("{} is not what register has written: it was left there. Move it away, and run this again", .0.display())]
    NotOurs(PathBuf),
}

/// Puts back what was there before, and makes nothing: all that `unregister` needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeptFiles;

impl LocalFiles for KeptFiles {
    fn has_credential(&self, _key: &str) -> bool {
        false
    }

    fn certificate(&self, _key: &str) -> Result<(Certificate, Vec<WrittenFile>), LocalError> {
        Err(LocalError::new(NOTHING))
    }

    fn keep_secret(&self, _key: &str, _: SecretString) -> Result<Vec<WrittenFile>, LocalError> {
        Err(LocalError::new(NOTHING))
    }

    fn write(&self, _record: &Record) -> Result<Vec<WrittenFile>, LocalError> {
        Err(LocalError::new(NOTHING))
    }

    fn restore(&self, file: &WrittenFile) -> Result<(), LocalError> {
        restore(file).map_err(LocalError::new)
    }
}

/// Puts a file into its place, for its owner alone. One that is there already and is not `ours` is kept beside it. After a failure
/// everything is as before.
pub(super) fn put(
    path: &Path,
    contents: &str,
    ours: impl FnOnce(&str) -> bool,
) -> Result<WrittenFile, FileError> {
    let failed = |action| {
        move |source| FileError::System {
            path: path.to_owned(),
            action,
            source,
        }
    };
    let kept = kept(path);
    // By a run that ended before it could record it: what it kept is the one to put back.
    let mut replaced = exists(&kept);
    let mut moved = false;
    if exists(path) && !replaced && !fs::read_to_string(path).is_ok_and(|text| ours(&text)) {
        fs::rename(path, &kept).map_err(failed("kept"))?;
        (replaced, moved) = (true, true);
    }
    if let Err(error) = write_atomically(path, contents.as_bytes()) {
        if moved {
            fs::rename(&kept, path).map_err(failed("put back"))?;
        }
        return Err(failed("written")(error));
    }
    Ok(WrittenFile {
        path: path.to_owned(),
        replaced: replaced.then_some(kept),
    })
}

/// Removes a file that was written, and puts back what it replaced. Whatever is gone already is no error.
pub(super) fn restore(file: &WrittenFile) -> Result<(), FileError> {
    let path = &file.path;
    let failed = |action| {
        move |source| FileError::System {
            path: path.clone(),
            action,
            source,
        }
    };
    // A record that was tampered with, or a file that somebody has put there since, is no reason to remove anything.
    if exists(path) && !fs::read_to_string(path).is_ok_and(|text| is_marked(&text)) {
        return match &file.replaced {
            // It was put back already.
            Some(replaced) if !exists(replaced) => Ok(()),
            _ => Err(FileError::NotOurs(path.clone())),
        };
    }
    match &file.replaced {
        Some(replaced) if exists(replaced) => {
            fs::rename(replaced, path).map_err(failed("put back"))
        }
        _ => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removed")(error)),
            _ => {
                // Its folder as well, when this was the last that was in it.
                if let (Some(folder), Ok(here)) = (path.parent(), env::current_dir())
                    && folder != here
                {
                    let _ = fs::remove_dir(folder);
                }
                Ok(())
            }
        },
    }
}

/// A file that an earlier call has put there.
pub(super) fn described(path: &Path) -> WrittenFile {
    let kept = kept(path);
    WrittenFile {
        path: path.to_owned(),
        replaced: exists(&kept).then_some(kept),
    }
}

/// The folder, and those above it.
pub(super) fn make_folder(folder: &Path) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(|source| FileError::System {
        path: folder.to_owned(),
        action: "made",
        source,
    })
}

/// Whether `register` has written the text.
pub(super) fn is_marked(text: &str) -> bool {
    text.trim_start_matches("# ").starts_with(MARK)
}

fn kept(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(KEPT);
    name.into()
}

/// Also a link that leads nowhere.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own, gone when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("tenant-files-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn ours() -> String {
        format!("# {MARK}\nx = 1\n")
    }

    #[test]
    fn what_was_there_is_kept_and_put_back() {
        let scratch = Scratch::new("kept");
        let path = scratch.0.join("a.toml");
        fs::write(&path, "theirs").unwrap();
        let written = put(&path, &ours(), is_marked).unwrap();
        assert_eq!(
            written.replaced,
            Some(scratch.0.join("a.toml.before-register"))
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), ours());
        // Written again, what was kept first is still the one to put back.
        let again = put(&path, &format!("{}y = 2\n", ours()), is_marked).unwrap();
        assert_eq!(again, written);
        restore(&written).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(scratch.names(), ["a.toml"]);
        // A second time there is nothing to do.
        restore(&written).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_removed() {
        let scratch = Scratch::new("foreign");
        let (path, kept) = (scratch.0.join("a"), scratch.0.join("a.before-register"));
        fs::write(&path, "theirs").unwrap();
        fs::write(&kept, "before").unwrap();
        for replaced in [None, Some(kept)] {
            let file = WrittenFile {
                path: path.clone(),
                replaced,
            };
            let error = restore(&file).unwrap_err();
            assert!(matches!(error, FileError::NotOurs(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        }
    }

    #[test]
    fn where_nothing_was_nothing_is_left() {
        let scratch = Scratch::new("nothing");
        let path = scratch.0.join("a.toml");
        let written = put(&path, &ours(), is_marked).unwrap();
        assert_eq!(written.replaced, None);
        assert_eq!(put(&path, &ours(), is_marked).unwrap(), written);
        fs::write(scratch.0.join("b"), "theirs").unwrap();
        restore(&written).unwrap();
        restore(&written).unwrap();
        assert_eq!(scratch.names(), ["b"]);
        fs::remove_file(scratch.0.join("b")).unwrap();
        restore(&written).unwrap();
        assert!(!scratch.0.exists());
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let scratch = Scratch::new("failure");
        // A name so long that there is no room for that of a temporary file.
        let path = scratch.0.join("n".repeat(230));
        fs::write(&path, "theirs").unwrap();
        let error = put(&path, &ours(), is_marked).unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(scratch.names().len(), 1);
    }

    #[test]
    fn a_run_that_ended_in_the_middle_is_gone_on_with() {
        let scratch = Scratch::new("middle");
        let path = scratch.0.join("a.toml");
        let kept = scratch.0.join("a.toml.before-register");
        fs::write(&kept, "theirs").unwrap();
        let written = put(&path, &ours(), is_marked).unwrap();
        assert_eq!(written.replaced, Some(kept));
        restore(&written).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::new("mode");
        let path = scratch.0.join("key.pem");
        fs::write(&path, MARK).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        put(&path, &ours(), is_marked).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
