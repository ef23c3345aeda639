//! Files that a configuration names: regular ones of a sensible size. A pipe would be waited for, and a device may have no end.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Octets; a bundle of all the world's CAs has a quarter of them.
const LARGEST: u64 = 1024 * 1024;

/// Its octets.
///
/// # Errors
///
/// It cannot be read, is no regular file (nor leads to one), or has more than 1 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let refused = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
    // Before it is opened, for which a pipe lets wait already.
    if !fs::metadata(path)?.is_file() {
        return Err(refused("it is no regular file"));
    }
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    match content.len() as u64 > LARGEST {
        true => Err(refused("it is larger than 1 MiB")),
        false => Ok(content),
    }
}

/// Its text.
///
/// # Errors
///
/// Those of [`read`], or it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_read_up_to_its_bound() {
        let folder = std::env::temp_dir().join(format!("plain-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        let most = usize::try_from(LARGEST).unwrap();
        for (size, taken) in [(0, true), (most, true), (most + 1, false)] {
            fs::write(&file, vec![b'x'; size]).unwrap();
            let read = read_text(&file).map(|text| text.len());
            assert_eq!(read.ok(), taken.then_some(size));
        }
        fs::write(&file, [0xff]).unwrap();
        assert!(read(&file).is_ok() && read_text(&file).is_err());
        let error = read(&folder).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_read() {
        let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }
}
