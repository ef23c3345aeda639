//! The files of a run in its folder: what tells them from others, and the only code that makes, replaces or removes one.
//!
//! The first line of each names the run and the digest of what follows, so that one that somebody has changed since is known by itself. A
//! file is in the record before it is on the disk; what was in its place is kept beside it and put back at the end.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};

use super::disk::{self, exists, is_link, write_atomically};
use super::record::{FileName, Local, Record, RecordError, StateFile, WrittenFile};

/// What the first line of every file begins with.
const MARK: &str = "# Made by `demo-services register`, run ";
/// Between the run and the digest in that line.
const DIGEST: &str = ", sha256 ";
/// Added to the name of a file that was there before.
const KEPT: &str = ".before-register";
/// Added to the name of a file that somebody has changed, when ours goes.
const EDITED: &str = ".edited";
/// Octets of a file. Ours have at most a few KiB.
const MAX_FILE: u64 = 1024 * 1024;
/// Names that are tried for a file that somebody has changed.
const MAX_EDITED: u32 = 100;

/// Why a file is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refuses.
    #[error("{} cannot be {action}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// `made`, `read`, `written`, `removed`, `put back` or `kept`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is another file now, and what was there before cannot go back to its place.
    #[error(
        "{} is not what register has written, and {} waits for its place: both were left. Move one of them away, and run this again",
        path.display(), kept.display()
    )]
    Occupied {
        /// The file.
        path: PathBuf,
        /// What was there before register.
        kept: PathBuf,
    },
    /// Another run has written it.
    #[error(
        "{} is of another registration (run {run}): name another folder with --out, or the record of that one with --state",
        path.display()
    )]
    AnotherRun {
        /// The file.
        path: PathBuf,
        /// The run.
        run: String,
    },
    /// A link, a folder, or something else that is no file.
    #[error("{} is a link, or no file at all: name another folder with --out, or move it away", .0.display())]
    NotAFile(PathBuf),
    /// The folder is a link, or no folder.
    #[error("{} is a link, or no folder: name the place itself with --out", .0.display())]
    NotAFolder(PathBuf),
    /// There is no room for the changed file.
    #[error("{} was changed, and there are too many changed ones beside it: move them away", .0.display())]
    TooManyEdited(PathBuf),
    /// The record, in which a file stands before it is written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What is in the place of a file.
#[derive(Debug)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// A file of this run.
    Ours(Ours),
    /// A file of another run.
    AnotherRuns(String),
    /// Somebody's file.
    Theirs,
    /// A link, a folder or a device.
    NotAFile,
}

/// A file of this run.
#[derive(Debug)]
pub(super) struct Ours {
    text: SecretString,
    /// Nobody has changed it.
    pub(super) is_whole: bool,
    /// Only its owner can read it.
    pub(super) is_private: bool,
}

/// What has become of a file that was removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Restored {
    /// It is gone.
    Removed,
    /// What was there before is there again.
    PutBack,
    /// There was nothing of ours, and there is nothing to put back.
    AsBefore,
    /// It is gone, and so is what was there before: somebody has taken the kept file away.
    OriginalGone(PathBuf),
    /// In its place is somebody's own file, which stays.
    Theirs,
}

/// A file that was changed, and where it is now.
pub(super) type Edited = Option<PathBuf>;

/// The files of one run, with its record: what is noted there is on the disk before the file is.
pub(super) struct OurFiles<'a> {
    record: &'a mut Record,
    state: &'a StateFile,
}

impl Ours {
    /// Without the first line.
    pub(super) fn body(&self) -> &str {
        let text = self.text.expose_secret();
        text.split_once('\n').map_or("", |(_, body)| body)
    }

    fn first_line(&self) -> &str {
        self.text.expose_secret().lines().next().unwrap_or_default()
    }
}

impl<'a> OurFiles<'a> {
    pub(super) fn new(record: &'a mut Record, state: &'a StateFile) -> Self {
        Self { record, state }
    }

    /// The record of the file, if there is one.
    pub(super) fn recorded(&self, name: FileName) -> Option<WrittenFile> {
        let mut files = self.record.files().iter();
        files.find(|file| file.name == name).cloned()
    }

    /// Refuses what could not be written, before anything is made.
    pub(super) fn check(&self, names: &[FileName]) -> Result<(), FileError> {
        let Some(local) = &self.record.local else {
            return Ok(());
        };
        if exists(&local.out) && (is_link(&local.out) || !local.out.is_dir()) {
            return Err(FileError::NotAFolder(local.out.clone()));
        }
        for name in names {
            self.room(local, *name)?;
        }
        Ok(())
    }

    /// What is in the place of a file.
    pub(super) fn look(&self, name: FileName) -> Result<There, FileError> {
        look(self.record, name)
    }

    /// Puts a file into its place. One of others is kept beside it; one of ours that somebody has changed goes beside it as well.
    pub(super) fn put(&mut self, name: FileName, body: &str) -> Result<Edited, FileError> {
        self.make_folder()?;
        let Some(local) = &self.record.local else {
            return Ok(None);
        };
        let path = local.out.join(name.as_str());
        let there = self.room(local, name)?;
        let file = WrittenFile {
            name,
            replaced: matches!(there, There::Theirs),
        };
        if !local.files.contains(&file) {
            self.note(file)?;
        }
        let disk = self.state.disk();
        let edited = match there {
            There::Ours(ours) if !ours.is_whole => Some(self.set_aside(&path)?),
            There::Theirs => {
                let kept = kept(&path);
                disk.rename(&path, &kept).map_err(failed(&path, "kept"))?;
                None
            }
            _ => None,
        };
        let text = SecretString::from(marked(&self.record.run, body));
        write_atomically(disk, &path, text.expose_secret().as_bytes())
            .map_err(failed(&path, "written"))?;
        Ok(edited)
    }

    /// Another body for a file that somebody has changed. It is a changed one still.
    pub(super) fn put_edited(
        &mut self,
        name: FileName,
        ours: &Ours,
        body: &str,
    ) -> Result<(), FileError> {
        let Some(path) = self.path(name) else {
            return Ok(());
        };
        let text = SecretString::from(format!("{}\n{body}", ours.first_line()));
        let disk = self.state.disk();
        write_atomically(disk, &path, text.expose_secret().as_bytes())
            .map_err(failed(&path, "written"))
    }

    /// Removes a file and puts back what was there before, then strikes it from the record. One that somebody has changed is kept beside it.
    pub(super) fn restore(&mut self, file: WrittenFile) -> Result<(Restored, Edited), FileError> {
        let Some(path) = self.path(file.name) else {
            return Ok((Restored::AsBefore, None));
        };
        let disk = self.state.disk();
        disk::remove_temporary(disk, &path).map_err(failed(&path, "removed"))?;
        let original = Some(kept(&path)).filter(|_| file.replaced);
        let back = original.clone().filter(|kept| exists(kept));
        let (ours, edited) = match look(self.record, file.name)? {
            There::Nothing => (false, None),
            There::Ours(ours) if ours.is_whole => (true, None),
            There::Ours(_) => (true, Some(self.set_aside(&path)?)),
            There::AnotherRuns(_) | There::Theirs | There::NotAFile => {
                return match (&original, back) {
                    (_, Some(kept)) => Err(FileError::Occupied { path, kept }),
                    // It was put back already, or never taken away.
                    (Some(_), None) => self.strike(file, (Restored::AsBefore, None)),
                    (None, None) => self.strike(file, (Restored::Theirs, None)),
                };
            }
        };
        let restored = match (back, original) {
            (Some(kept), _) => {
                disk.rename(&kept, &path)
                    .map_err(failed(&path, "put back"))?;
                Restored::PutBack
            }
            (None, original) => {
                if ours && edited.is_none() {
                    disk.remove(&path).map_err(failed(&path, "removed"))?;
                }
                match original {
                    Some(kept) => Restored::OriginalGone(kept),
                    None if ours => Restored::Removed,
                    None => Restored::AsBefore,
                }
            }
        };
        self.strike(file, (restored, edited))
    }

    /// Removes the folder if the run has made it and nothing is left in it.
    pub(super) fn remove_folder(record: &Record, state: &dyn disk::Disk) {
        if let Some(local) = record.local.as_ref().filter(|local| local.made_out) {
            let _ = state.remove_folder(&local.out);
        }
    }

    fn make_folder(&mut self) -> Result<(), FileError> {
        let Some(local) = &mut self.record.local else {
            return Ok(());
        };
        if exists(&local.out) {
            return Ok(());
        }
        let out = local.out.clone();
        local.made_out = true;
        self.state.save(self.record)?;
        let made = self.state.disk().make_folder(&out);
        made.map_err(failed(&out, "made"))
    }

    fn path(&self, name: FileName) -> Option<PathBuf> {
        let local = self.record.local.as_ref()?;
        Some(local.out.join(name.as_str()))
    }

    /// What is in the place, if a file of ours can come there.
    fn room(&self, local: &Local, name: FileName) -> Result<There, FileError> {
        let path = local.out.join(name.as_str());
        match self.look(name)? {
            There::AnotherRuns(run) => Err(FileError::AnotherRun { path, run }),
            There::NotAFile => Err(FileError::NotAFile(path)),
            There::Theirs if exists(&kept(&path)) => Err(FileError::Occupied {
                kept: kept(&path),
                path,
            }),
            there => Ok(there),
        }
    }

    fn note(&mut self, file: WrittenFile) -> Result<(), FileError> {
        if let Some(local) = &mut self.record.local {
            local.note(file);
        }
        Ok(self.state.save(self.record)?)
    }

    fn strike<T>(&mut self, file: WrittenFile, done: T) -> Result<T, FileError> {
        if let Some(local) = &mut self.record.local {
            local.files.retain(|other| other.name != file.name);
        }
        self.state.save(self.record)?;
        Ok(done)
    }

    /// Gives the file a free name beside its place.
    fn set_aside(&self, path: &Path) -> Result<PathBuf, FileError> {
        let mut names = (1..=MAX_EDITED).map(|number| match number {
            1 => with(path, EDITED),
            number => with(path, &format!("{EDITED}.{number}")),
        });
        let free = names.find(|name| !exists(name));
        let free = free.ok_or_else(|| FileError::TooManyEdited(path.to_owned()))?;
        let moved = self.state.disk().rename(path, &free);
        moved.map_err(failed(path, "kept"))?;
        Ok(free)
    }
}

/// What is in the place of a file. Nothing but a file is opened, and no link is followed.
pub(super) fn look(record: &Record, name: FileName) -> Result<There, FileError> {
    let Some(local) = &record.local else {
        return Ok(There::Nothing);
    };
    let path = local.out.join(name.as_str());
    let unreadable = failed(&path, "read");
    let about = match fs::symlink_metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(unreadable(error)),
    };
    if !about.is_file() {
        return Ok(There::NotAFile);
    }
    let mut octets = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut octets));
    read.map_err(unreadable)?;
    let text = match String::from_utf8(octets) {
        Ok(text) if text.len() as u64 <= MAX_FILE => SecretString::from(text),
        _ => return Ok(There::Theirs),
    };
    Ok(match mark_of(text.expose_secret()) {
        None => There::Theirs,
        Some((run, _)) if run != record.run => There::AnotherRuns(run.to_owned()),
        Some((_, is_whole)) => There::Ours(Ours {
            is_whole,
            is_private: is_private(&about),
            text,
        }),
    })
}

/// Where a file is that was there before.
pub(super) fn kept(path: &Path) -> PathBuf {
    with(path, KEPT)
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System {
        path,
        action,
        source,
    }
}

fn marked(run: &str, body: &str) -> String {
    format!("{MARK}{run}{DIGEST}{}.\n{body}", digest_of(body))
}

/// The run that has written a text, and whether it is as it was written.
fn mark_of(text: &str) -> Option<(&str, bool)> {
    let (line, body) = text.split_once('\n')?;
    let (run, rest) = line.strip_prefix(MARK)?.split_once(DIGEST)?;
    let is_run = uuid::Uuid::try_parse(run).is_ok();
    is_run.then(|| (run, rest.strip_suffix('.') == Some(&digest_of(body))))
}

fn digest_of(body: &str) -> String {
    let octets = digest(&SHA256, body.as_bytes());
    let mut text = String::new();
    for octet in octets.as_ref() {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(unix)]
fn is_private(about: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    about.permissions().mode() & 0o077 == 0
}

/// Who may read a file is the folder's matter there.
#[cfg(not(unix))]
fn is_private(_about: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::record::CredentialKind;

    /// A run with a folder of its own, gone when it ends.
    struct Scratch {
        folder: PathBuf,
        record: Record,
        state: StateFile,
    }

    fn name() -> FileName {
        FileName::of("middle-tier.toml").unwrap()
    }

    fn record(out: &Path) -> Record {
        let url = || "http://localhost:1".parse().unwrap();
        let mut record = Record::new("t".into(), "global".into(), url(), url(), "demo".into());
        record.local = Some(Local {
            out: out.to_owned(),
            made_out: false,
            credential: CredentialKind::Certificate,
            base_urls: vec![url()],
            files: Vec::new(),
        });
        record
    }

    impl Scratch {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("files-{}", uuid::Uuid::new_v4()));
            fs::create_dir_all(folder.join("out")).unwrap();
            let (state, _) = StateFile::open(&folder.join("state.json")).unwrap();
            let record = record(&folder.join("out"));
            Self {
                folder,
                record,
                state,
            }
        }

        fn path(&self, ending: &str) -> PathBuf {
            let name = format!("out/middle-tier.toml{ending}");
            self.folder.join(name)
        }

        fn write(&self, ending: &str, text: &str) {
            fs::write(self.path(ending), text).unwrap();
        }

        fn read(&self, ending: &str) -> String {
            fs::read_to_string(self.path(ending)).unwrap()
        }

        fn put(&mut self, body: &str) -> Result<Edited, FileError> {
            OurFiles::new(&mut self.record, &self.state).put(name(), body)
        }

        fn restore(&mut self) -> Result<(Restored, Edited), FileError> {
            let file = self.record.files()[0].clone();
            OurFiles::new(&mut self.record, &self.state).restore(file)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.join("out")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn what_was_there_is_kept_and_put_back() {
        let mut scratch = Scratch::new();
        scratch.write("", "theirs");
        scratch.put("x = 1\n").unwrap();
        assert!(scratch.record.files()[0].replaced);
        assert_eq!(Record::read(scratch.state.path()).unwrap(), scratch.record);
        assert!(scratch.read("").ends_with(".\nx = 1\n"));
        // Written again, what was kept first is still the one to put back.
        assert_eq!(scratch.put("y = 2\n").unwrap(), None);
        assert_eq!(scratch.record.files().len(), 1);
        assert_eq!(scratch.restore().unwrap(), (Restored::PutBack, None));
        assert_eq!(
            (scratch.read(""), scratch.names().len()),
            ("theirs".into(), 1)
        );
        assert!(scratch.record.files().is_empty());
    }

    #[test]
    fn where_nothing_was_nothing_is_left() {
        let mut scratch = Scratch::new();
        scratch.put("x = 1\n").unwrap();
        assert!(!scratch.record.files()[0].replaced);
        // A killed run has left a secret beside it.
        let temporary = scratch
            .path("")
            .with_file_name(".middle-tier.toml.register-tmp");
        fs::write(&temporary, "x").unwrap();
        assert_eq!(scratch.restore().unwrap(), (Restored::Removed, None));
        assert_eq!(scratch.names(), Vec::<String>::new());
        fs::write(&temporary, "x").unwrap();
        scratch.put("x = 1\n").unwrap();
        assert_eq!(scratch.names(), ["middle-tier.toml"]);
    }

    #[test]
    fn a_file_that_is_not_ours_is_neither_removed_nor_overwritten() {
        let mut scratch = Scratch::new();
        scratch.put("x = 1\n").unwrap();
        scratch.write("", "theirs");
        assert_eq!(scratch.restore().unwrap(), (Restored::Theirs, None));
        assert_eq!(scratch.read(""), "theirs");
        // With one that was kept there are two of them.
        scratch.put("x = 1\n").unwrap();
        scratch.write("", "others");
        for error in [
            scratch.put("x").unwrap_err(),
            scratch.restore().unwrap_err(),
        ] {
            assert!(matches!(error, FileError::Occupied { .. }), "{error}");
        }
        assert_eq!(
            (scratch.read(""), scratch.read(KEPT)),
            ("others".into(), "theirs".into())
        );
        // The kept one was taken away by hand: theirs stays.
        fs::remove_file(scratch.path(KEPT)).unwrap();
        assert_eq!(scratch.restore().unwrap(), (Restored::AsBefore, None));
        assert_eq!(scratch.names(), ["middle-tier.toml"]);
    }

    #[test]
    fn a_kept_file_of_before_is_not_ours_to_put_back() {
        let mut scratch = Scratch::new();
        scratch.write(KEPT, "of a lost record");
        scratch.write("", "theirs");
        let error = scratch.put("x").unwrap_err();
        assert!(matches!(error, FileError::Occupied { .. }), "{error}");
        assert!(scratch.record.files().is_empty());
        fs::remove_file(scratch.path("")).unwrap();
        scratch.put("x = 1\n").unwrap();
        assert_eq!(scratch.restore().unwrap(), (Restored::Removed, None));
        assert_eq!(scratch.read(KEPT), "of a lost record");
    }

    #[test]
    fn what_somebody_has_changed_is_kept() {
        let mut scratch = Scratch::new();
        scratch.write("", "theirs");
        scratch.write(EDITED, "of before");
        scratch.put("x = 1\n").unwrap();
        let changed = format!("{}y = 2\n", scratch.read(""));
        scratch.write("", &changed);
        let edited = scratch.path(".edited.2");
        assert_eq!(
            scratch.restore().unwrap(),
            (Restored::PutBack, Some(edited))
        );
        assert_eq!(
            (scratch.read(""), scratch.read(EDITED)),
            ("theirs".into(), "of before".into())
        );
        assert_eq!(scratch.read(".edited.2"), changed);
    }

    #[test]
    fn a_lost_original_is_told() {
        let mut scratch = Scratch::new();
        scratch.write("", "theirs");
        scratch.put("x = 1\n").unwrap();
        fs::remove_file(scratch.path(KEPT)).unwrap();
        let gone = Restored::OriginalGone(scratch.path(KEPT));
        assert_eq!(scratch.restore().unwrap(), (gone, None));
        assert_eq!(scratch.names(), Vec::<String>::new());
    }

    #[test]
    fn another_run_is_somebody_else() {
        let mut scratch = Scratch::new();
        scratch.put("x = 1\n").unwrap();
        let ours = scratch.read("");
        let (first, mut other) = (scratch.record.clone(), record(&scratch.folder.join("out")));
        other.local.clone_from(&first.local);
        scratch.record = other;
        let error = scratch.put("y = 2\n").unwrap_err();
        assert!(matches!(error, FileError::AnotherRun { .. }), "{error}");
        assert_eq!(scratch.restore().unwrap(), (Restored::Theirs, None));
        assert_eq!(scratch.read(""), ours);
        scratch.record = first;
        scratch.put("y = 2\n").unwrap();
        assert!(scratch.read("").ends_with("y = 2\n"));
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let mut scratch = Scratch::new();
        scratch.put("x = 1\n").unwrap();
        let before = scratch.read("");
        // A folder where the temporary file would be.
        let temporary = scratch
            .path("")
            .with_file_name(".middle-tier.toml.register-tmp");
        fs::create_dir(&temporary).unwrap();
        let error = scratch.put("y = 2\n").unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error}");
        assert_eq!(scratch.read(""), before);
        fs::remove_dir(&temporary).unwrap();
        scratch.put("y = 2\n").unwrap();
    }

    #[test]
    fn a_folder_that_the_run_has_made_goes_with_it() {
        for made in [true, false] {
            let mut scratch = Scratch::new();
            let out = scratch.folder.join("out");
            if made {
                fs::remove_dir(&out).unwrap();
            }
            scratch.put("x = 1\n").unwrap();
            #[cfg(unix)]
            if made {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = fs::metadata(&out).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o700);
            }
            scratch.restore().unwrap();
            OurFiles::remove_folder(&scratch.record, scratch.state.disk());
            assert_eq!(out.exists(), !made);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let mut scratch = Scratch::new();
        scratch.put("x = 1\n").unwrap();
        let elsewhere = scratch.folder.join("elsewhere");
        fs::rename(scratch.path(""), &elsewhere).unwrap();
        symlink(&elsewhere, scratch.path("")).unwrap();
        let error = scratch.put("y = 2\n").unwrap_err();
        assert!(matches!(error, FileError::NotAFile(_)), "{error}");
        assert_eq!(scratch.restore().unwrap(), (Restored::Theirs, None));
        assert!(elsewhere.exists() && is_link(&scratch.path("")));
        // The folder itself.
        let link = scratch.folder.join("link");
        symlink(scratch.folder.join("out"), &link).unwrap();
        for (out, refused) in [(link, true), (scratch.folder.join("out"), false)] {
            scratch.record.local.as_mut().unwrap().out = out;
            let files = OurFiles::new(&mut scratch.record, &scratch.state);
            assert_eq!(files.check(&[]).is_err(), refused);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let mut scratch = Scratch::new();
        scratch.write("", "theirs");
        fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o644)).unwrap();
        scratch.put("x = 1\n").unwrap();
        let is_private = |scratch: &Scratch| match look(&scratch.record, name()).unwrap() {
            There::Ours(ours) => ours.is_private,
            _ => panic!("it is ours"),
        };
        assert!(is_private(&scratch));
        fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(!is_private(&scratch));
    }
}
