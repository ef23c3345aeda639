//! Everything that changes a file of a registration: whole or not at all, and for its owner alone.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The steps of which every change consists. After each of them a machine may stop; tests have a disk that does.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a file that only its owner can read, down to the disk. One that is there already is an error.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    fn write_new(&self, path: &Path, contents: &[u8]) -> io::Result<()>;

    /// Gives a file another name in its folder, and takes the place of one that has it.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The file system refuses, or there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder that only its owner can enter, in one that is there.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    ///
    /// The file system refuses, or it is not empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The one of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write_new(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
        file.write_all(contents)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        // The rename itself is on the disk with the folder; where a folder cannot be opened it is the system's own matter.
        if let Ok(folder) = File::open(folder(to)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

/// Writes a file: beside its place, to the disk, and into its place. What a run that was killed has left beside it goes first.
///
/// # Errors
///
/// The file system refuses; what was in the place is still there.
pub fn write_atomically(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    remove_temporary(disk, path)?;
    let temporary = temporary(path);
    let written = disk
        .write_new(&temporary, contents)
        .and_then(|()| disk.rename(&temporary, path));
    if written.is_err() {
        let _ = remove_temporary(disk, path);
    }
    written
}

/// Removes what a killed run has left beside this place.
pub(super) fn remove_temporary(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let temporary = temporary(path);
    match exists(&temporary) {
        true => disk.remove(&temporary),
        false => Ok(()),
    }
}

/// A hidden file in the same folder, always of the same name, so that nothing secret is left under one that nobody knows.
fn temporary(path: &Path) -> PathBuf {
    beside(path, "register-tmp")
}

/// A hidden file in the same folder.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
}

/// Also a link that leads nowhere.
pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

pub(super) fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_symlink())
}

pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
