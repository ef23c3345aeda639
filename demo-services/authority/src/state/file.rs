//! The file itself: one owner at a time, and old or new content, never something between.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::StateError;

/// Longest file that is read or written. The stores' own bounds keep below it, with any directory that a person wrote.
const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// A state file that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    temporary: PathBuf,
    /// Locked until it is dropped, however the process ends. A file of its own: the state file is replaced at each write.
    _lock: File,
}

impl StateFile {
    /// Takes the lock. The file need not be there; its directory must.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Io {
            action: "lock",
            path: path.to_owned(),
            source,
        };
        let path = resolve(path).map_err(unusable)?;
        let lock = private(OpenOptions::new().write(true).create(true))
            .open(beside(&path, ".lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                temporary: beside(&path, ".tmp"),
                path,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file; `None` if there is none.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, StateError> {
        let unreadable = |source| StateError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        };
        let damaged = |reason: &str| StateError::Damaged {
            path: self.path.clone(),
            reason: reason.to_owned(),
        };
        // Looked at before it is opened: opening a pipe would wait for its other end.
        match fs::metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => return Err(damaged("it is not a file")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        }
        let file = File::open(&self.path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        self.check_mode(&metadata)?;
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(damaged("it is larger than 512 MiB"));
        }
        Ok(Some(bytes))
    }

    /// Puts `bytes` in the place of the old content. On disk when this returns; on an error the old content is whole.
    pub(super) fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > MAX_SIZE {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the state is larger than 512 MiB",
            ));
        }
        // What a crash left behind. Made anew, so that mode and owner are ours and no link is followed.
        match fs::remove_file(&self.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self
            .write_temporary(bytes)
            .and_then(|()| fs::rename(&self.temporary, &self.path));
        if written.is_err() {
            // It may be what fills the disk.
            let _ = fs::remove_file(&self.temporary);
        }
        written?;
        sync_directory(&self.path)
    }

    fn write_temporary(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file =
            private(OpenOptions::new().write(true).create_new(true)).open(&self.temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    #[cfg(unix)]
    fn check_mode(&self, metadata: &fs::Metadata) -> Result<(), StateError> {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        Err(StateError::Exposed {
            path: self.path.clone(),
            mode,
        })
    }

    #[cfg(not(unix))]
    fn check_mode(&self, _: &fs::Metadata) -> Result<(), StateError> {
        Ok(())
    }
}

/// The one name of the file, so that two names of it lead to one lock and a link stays a link.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Ok(fs::canonicalize(parent)?.join(name))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// For the owner alone, from the first moment on.
fn private(options: &mut OpenOptions) -> &OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// The new name is on disk only with its directory.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    File::open(parent)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty directory of this test's own.
    fn place(name: &str) -> PathBuf {
        let id = uuid::Uuid::new_v4();
        let place = std::env::temp_dir().join(format!("local-authority-{name}-{id}"));
        fs::create_dir(&place).unwrap();
        place
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is_left() {
        let place = place("replace");
        let file = StateFile::open(&place.join("state")).unwrap();
        assert!(file.read().unwrap().is_none());
        for text in ["first", "second, longer", "3"] {
            file.replace(text.as_bytes()).unwrap();
            assert_eq!(file.read().unwrap().unwrap(), text.as_bytes());
        }
        let names: Vec<_> = fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_failure_on_the_way_leaves_the_old_file_whole() {
        let place = place("failure");
        let path = place.join("state");
        let file = StateFile::open(&path).unwrap();
        file.replace(b"old").unwrap();
        // The temporary file cannot be made.
        fs::create_dir(place.join("state.tmp")).unwrap();
        assert!(file.replace(b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir(place.join("state.tmp")).unwrap();
        // It can be made, but not put in place.
        fs::rename(&path, place.join("elsewhere")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.replace(b"new").is_err());
        assert!(!place.join("state.tmp").exists());
        fs::remove_dir(&path).unwrap();
        fs::rename(place.join("elsewhere"), &path).unwrap();
        assert_eq!(file.read().unwrap().unwrap(), b"old");
        file.replace(b"new").unwrap();
        assert_eq!(file.read().unwrap().unwrap(), b"new");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn one_file_has_one_owner() {
        let place = place("lock");
        let path = place.join("state");
        let first = StateFile::open(&path).unwrap();
        let second = StateFile::open(&place.join(".").join("state"));
        assert!(matches!(second, Err(StateError::InUse { .. })));
        assert!(StateFile::open(&place.join("other")).is_ok());
        drop(first);
        assert!(StateFile::open(&path).is_ok());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn what_is_no_file_in_a_directory_is_refused() {
        let place = place("no-file");
        let open = |path: PathBuf| StateFile::open(&path).map(|file| file.read());
        assert!(open(place.join("missing").join("state")).is_err());
        assert!(open(PathBuf::from("/")).is_err() || open(PathBuf::from("/")).unwrap().is_err());
        fs::create_dir(place.join("state")).unwrap();
        assert!(open(place.join("state")).unwrap().is_err());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_file_without_bounds_is_refused() {
        let place = place("size");
        let file = StateFile::open(&place.join("state")).unwrap();
        // Sparse: it takes no space.
        let sparse = private(OpenOptions::new().write(true).create(true))
            .open(place.join("state"))
            .unwrap();
        sparse.set_len(MAX_SIZE + 1).unwrap();
        assert!(matches!(file.read(), Err(StateError::Damaged { .. })));
        fs::remove_dir_all(place).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_the_owners_alone() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let place = place("mode");
        let path = place.join("state");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = StateFile::open(&path).unwrap();
        file.replace(b"x").unwrap();
        assert_eq!(
            (mode(&path), mode(&place.join("state.lock"))),
            (0o600, 0o600)
        );
        for (bits, usable) in [(0o600, true), (0o400, true), (0o640, false), (0o601, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            assert_eq!(file.read().is_ok(), usable, "{bits:o}");
        }
        let refused = file.read().unwrap_err().to_string();
        assert!(refused.contains("mode 601"), "{refused}");
        assert!(
            refused.contains(&format!("`chmod 600 {}`", file.path().display())),
            "{refused}"
        );
        // A temporary file that somebody else left is not written into.
        fs::write(place.join("trap"), "trap").unwrap();
        symlink(place.join("trap"), place.join("state.tmp")).unwrap();
        file.replace(b"y").unwrap();
        assert_eq!(fs::read(place.join("trap")).unwrap(), b"trap");
        assert_eq!(mode(&path), 0o600);
        // A link to the file stays one.
        symlink(&path, place.join("link")).unwrap();
        drop(file);
        StateFile::open(&place.join("link"))
            .unwrap()
            .replace(b"z")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"z");
        assert!(
            fs::symlink_metadata(place.join("link"))
                .unwrap()
                .is_symlink()
        );
        fs::remove_dir_all(place).unwrap();
    }
}
