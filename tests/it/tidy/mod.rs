//! What reviewers would otherwise have to remember.

mod dependencies;
mod imports;
mod samples;
mod tables;
mod threats;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One source file: path from the repository's root, and text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The text without its unit tests (which stand last, `style.md`) and comments.
    pub(crate) fn product_code(&self) -> String {
        // A module of test doubles may be declared further up.
        let tests = "#[cfg(test)]\nmod tests";
        let code = self.text.split(tests).next().unwrap_or_default();
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The Rust files below a folder of the repository.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

#[test]
fn no_test_is_ignored() {
    let mark = concat!("#[", "ignore");
    for source in sources(".") {
        assert!(
            !source.text.contains(mark),
            "{}: run it or delete it",
            source.path
        );
    }
}

#[test]
fn readme_is_read_to_its_end() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines < 200, "README.md has {lines} lines");
}
