//! The record in its file: taken by one process, read as a whole or not at all, and replaced as a whole.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Record, RecordError, VERSION};
use crate::plain_file;
use crate::tenant::disk::{
    Disk, RealDisk, beside, is_link, private, remove_temporary, write_atomically,
};

/// The file of a record, which this process alone may write while this value is there.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: PathBuf,
    disk: Arc<dyn Disk>,
    /// The lock ends with it.
    _locked: File,
}

impl StateFile {
    /// Takes the file for this process, and reads the record in it if there is one. A file that cannot be read is never written to.
    ///
    /// # Errors
    ///
    /// Another process has it, or what is there is no record that can be used.
    pub fn open(path: &Path) -> Result<(Self, Option<Record>), RecordError> {
        Self::open_on(path, Arc::new(RealDisk))
    }

    /// The same on another disk, which has all files of the run then.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_on(
        path: &Path,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Option<Record>), RecordError> {
        no_link(path)?;
        let lock = beside(path, "lock");
        let locked = take(path, &lock)?;
        let file = Self {
            path: path.to_owned(),
            lock,
            disk,
            _locked: locked,
        };
        let record = read(path)?;
        Ok((file, record))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What changes files for this run.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Replaces the file as a whole: after a crash there is either the old record or the new one.
    ///
    /// # Errors
    ///
    /// The file system refuses, or the record could not be read again; the old record is still there.
    pub fn save(&self, record: &Record) -> Result<(), RecordError> {
        if let Some(reason) = record.flaw() {
            return Err(RecordError::Unfit {
                path: self.path.clone(),
                reason,
            });
        }
        let written = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(record)?;
            text.push(b'\n');
            write_atomically(&*self.disk, &self.path, &text)
        };
        written().map_err(|source| self.io("written", source))
    }

    /// Removes the file: nothing is registered any more.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn remove(self) -> Result<(), RecordError> {
        let temporary = remove_temporary(&*self.disk, &self.path);
        temporary.map_err(|error| self.io("removed", error))?;
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("removed", error)),
            _ => Ok(()),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> RecordError {
        RecordError::Io {
            path: self.path.clone(),
            action,
            source,
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Whoever opened it before and waits finds out that it is gone (`take`).
        let _ = fs::remove_file(&self.lock);
    }
}

/// A link has a lock of its own name, and would be replaced by a file.
fn no_link(path: &Path) -> Result<(), RecordError> {
    match is_link(path) {
        true => Err(RecordError::Link(path.to_owned())),
        false => Ok(()),
    }
}

fn take(path: &Path, lock: &Path) -> Result<File, RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        action: "locked",
        source,
    };
    let mut options = OpenOptions::new();
    let options = private(options.write(true).create(true).truncate(false));
    let file = options.open(lock).map_err(io)?;
    match file.try_lock() {
        Ok(()) if is_at(&file, lock) => Ok(file),
        Ok(()) | Err(TryLockError::WouldBlock) => Err(RecordError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Whether the file that was opened is still the one in that place: its last owner removes it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// A file that is open cannot be removed there.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

pub(super) fn read(path: &Path) -> Result<Option<Record>, RecordError> {
    no_link(path)?;
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let damaged = |reason: String| RecordError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let text = match plain_file::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(damaged(error.to_string()));
        }
        Err(error) => return Err(io(error)),
    };
    // serde's own words can quote what is in the file.
    let place =
        |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| damaged(place(&error)))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            return Err(RecordError::Version {
                path: path.to_owned(),
                version,
            });
        }
        None => return Err(damaged("it has no version".to_owned())),
    }
    let record: Record = serde_json::from_slice(&text).map_err(|error| damaged(place(&error)))?;
    match record.flaw() {
        Some(flaw) => Err(damaged(flaw)),
        None => Ok(Some(record)),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::record;
    use super::*;

    /// A folder of its own, which is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("record-{}", Uuid::new_v4()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("state.json")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_saved_is_read_and_only_its_owner_can_read_it() {
        let folder = Folder::new();
        let (file, none) = StateFile::open(&folder.file()).unwrap();
        assert_eq!(none, None);
        file.save(&record()).unwrap();
        let mut more = record();
        more.finished = true;
        file.save(&more).unwrap();
        assert_eq!(Record::read(&folder.file()).unwrap(), more);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        drop(file);
        assert_eq!(
            folder.names(),
            ["state.json"],
            "no temporary file and no lock"
        );
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        file.remove().unwrap();
        assert_eq!(folder.names(), Vec::<String>::new());
        assert!(matches!(
            Record::read(&folder.file()),
            Err(RecordError::Missing(_))
        ));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = Folder::new();
        let held = StateFile::open(&folder.file()).unwrap();
        assert!(matches!(
            StateFile::open(&folder.file()),
            Err(RecordError::Locked(_))
        ));
        drop(held);
        StateFile::open(&folder.file()).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_record() {
        let folder = Folder::new();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        // A folder cannot be replaced by a file.
        fs::create_dir(folder.file()).unwrap();
        let error = file.save(&record()).unwrap_err();
        assert!(matches!(error, RecordError::Io { .. }), "{error}");
        drop(file);
        assert_eq!(folder.names(), ["state.json"], "the temporary file is gone");
    }

    #[test]
    fn what_is_no_record_is_refused_and_left_as_it_is() {
        let folder = Folder::new();
        let whole = record();
        let good = serde_json::to_value(&whole).unwrap();
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = good.clone();
            change(&mut value);
            value.to_string()
        };
        let twice = |value: &mut serde_json::Value| {
            let object = value["objects"][0].clone();
            value["objects"].as_array_mut().unwrap().push(object);
        };
        for text in [
            String::new(),
            "secret-hunter2".to_owned(),
            "[]".to_owned(),
            changed(&|value| value["version"] = 1.into()),
            changed(&|value| value["version"] = 3.into()),
            changed(&|value| value["version"] = "2".into()),
            changed(&|value| value["hunter2"] = 1.into()),
            changed(&|value| value["run"] = "hunter2".into()),
            changed(&|value| value["objects"][0]["id"] = "../hunter2".into()),
            changed(&|value| value["objects"][0]["app_id"] = "".into()),
            changed(&|value| value["objects"][0]["kind"] = "hunter2".into()),
            changed(&|value| {
                value["objects"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("app_id");
            }),
            // It has no parent.
            changed(&|value| value["objects"][0]["kind"] = "role-assignment".into()),
            changed(&twice),
            changed(&|value| value["tenant"] = "hunter2\u{1b}[2J".into()),
            changed(&|value| value["objects"][0]["name"] = "hunter2\u{1b}[1A".into()),
            changed(&|value| value["objects"][0]["key"] = "hunter2\u{202e}".into()),
            changed(&|value| value["local"]["out"] = "hunter2".into()),
            changed(&|value| value["local"]["out"] = "/hunter2\n".into()),
            changed(&|value| value["local"]["files"][0]["name"] = "../hunter2".into()),
            changed(&|value| value["local"]["files"][0]["name"] = "/hunter2".into()),
            changed(&|value| value["local"]["files"][0]["name"] = "hunter2.env".into()),
            changed(&|value| value["local"]["files"][0]["replaced"] = "/hunter2".into()),
            changed(&|value| value["local"]["files"][0]["path"] = "/hunter2".into()),
            changed(&|value| {
                let file = value["local"]["files"][0].clone();
                value["local"]["files"].as_array_mut().unwrap().push(file);
            }),
            " ".repeat(1024 * 1024 + 1),
        ] {
            fs::write(folder.file(), &text).unwrap();
            let error = StateFile::open(&folder.file()).unwrap_err();
            assert!(
                matches!(
                    error,
                    RecordError::Damaged { .. } | RecordError::Version { .. }
                ),
                "{error}"
            );
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
        }
        fs::write(folder.file(), good.to_string()).unwrap();
        assert_eq!(Record::read(&folder.file()).unwrap(), whole);
        let device = Record::read(Path::new("/dev/zero")).unwrap_err();
        assert!(device.to_string().contains("no regular file"), "{device}");
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let folder = Folder::new();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        let mut unfit = record();
        unfit.local.as_mut().unwrap().out = std::env::temp_dir().join("a\u{1b}b");
        let error = file.save(&unfit).unwrap_err();
        assert!(matches!(error, RecordError::Unfit { .. }), "{error}");
        assert!(!folder.file().exists());
        file.save(&record()).unwrap();
    }

    #[test]
    fn what_a_killed_process_has_left_is_in_nobodys_way() {
        let folder = Folder::new();
        fs::write(folder.0.join(".state.json.lock"), "").unwrap();
        fs::write(folder.0.join(".state.json.register-tmp"), "half").unwrap();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        file.save(&record()).unwrap();
        fs::write(folder.0.join(".state.json.register-tmp"), "half").unwrap();
        file.remove().unwrap();
        assert_eq!(folder.names(), Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_its_owner_removed_is_none() {
        let folder = Folder::new();
        let lock = folder.0.join("lock");
        let held = File::create(&lock).unwrap();
        assert!(is_at(&held, &lock));
        fs::remove_file(&lock).unwrap();
        assert!(!is_at(&held, &lock));
        let other = File::create(&lock).unwrap();
        assert!(!is_at(&held, &lock) && is_at(&other, &lock));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_has_no_lock_of_its_own() {
        let folder = Folder::new();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        file.save(&record()).unwrap();
        drop(file);
        let link = folder.0.join("link.json");
        std::os::unix::fs::symlink(folder.file(), &link).unwrap();
        for error in [
            StateFile::open(&link).unwrap_err(),
            Record::read(&link).unwrap_err(),
        ] {
            assert!(matches!(error, RecordError::Link(_)), "{error}");
        }
        StateFile::open(&folder.file()).unwrap();
    }
}
