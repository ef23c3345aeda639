//! Documents with tables whose last column names the tests that show what the row says.

#![allow(
    clippy::panic,
    reason = "helpers of tests fail by panicking, with the place and the reason"
)]

use std::fs;

/// One row: its number, and what its last cell says.
pub(super) struct Row {
    pub(super) number: u32,
    /// Names of tests: `file::name` in backticks.
    pub(super) tests: Vec<String>,
    /// What stands outside of the names.
    pub(super) words: String,
}

/// The rows of all tables of a document; each has four cells.
fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| {
        let line = line.trim_start_matches("| ").trim_end_matches(" |");
        line.split(" | ").collect::<Vec<_>>()
    });
    let rows = cells.filter(|cells| cells[0] != "#").map(|cells| {
        assert_eq!(cells.len(), 4, "{cells:?}");
        let (number, tests) = (cells[0], cells[3]);
        let (mut names, mut words) = (Vec::new(), String::new());
        for (at, part) in tests.split('`').enumerate() {
            if at % 2 == 1 && part.contains("::") {
                names.push(part.to_owned());
            } else {
                words += part;
            }
        }
        Row {
            number: number.parse().unwrap(),
            tests: names,
            words,
        }
    });
    rows.collect()
}

/// Is there a test of that name? A helper of that name is none.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let is_it = |line: &str| {
        let item = line.strip_prefix("async ").unwrap_or(line);
        let rest = item
            .strip_prefix("fn ")
            .and_then(|item| item.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with('('))
    };
    let at = lines.iter().position(|line| is_it(line));
    at.is_some_and(|at| {
        let above = lines[..at].iter().rev();
        let mut attributes = above.take_while(|line| line.starts_with("#["));
        attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// The rows of a document of the repository.
pub(super) fn read(document: &str) -> Vec<Row> {
    rows(&fs::read_to_string(super::root().join(document)).unwrap())
}

pub(super) fn numbers(rows: &[Row]) -> Vec<u32> {
    rows.iter().map(|row| row.number).collect()
}

/// Each row names a test, or begins with one of `reasons` why there is none.
pub(super) fn assert_shown_or_explained(rows: &[Row], reasons: &[&str]) {
    for row in rows {
        let words = row.words.trim_start_matches([',', ';', ' ']);
        let reason = reasons.iter().any(|kind| words.starts_with(kind));
        assert!(
            reason || words.is_empty(),
            "row {}: `{words}` is neither a test nor a reason",
            row.number
        );
        assert!(reason || !row.tests.is_empty(), "row {}", row.number);
    }
}

/// Each named test is in the file that is named, counted from `folder`.
pub(super) fn assert_tests_exist(rows: &[Row], folder: &str) {
    for row in rows {
        for test in &row.tests {
            let (file, name) = test.split_once("::").unwrap();
            let source = fs::read_to_string(super::root().join(folder).join(file));
            let source = source.unwrap_or_else(|_| panic!("row {}: no file {file}", row.number));
            assert!(
                has_test(&source, name),
                "row {}: no test {test}",
                row.number
            );
        }
    }
}

#[test]
fn a_helper_is_no_test_and_a_part_of_a_name_no_name() {
    let source = "#[test]\nfn one() {}\n\nfn two() {}\n    #[tokio::test(start_paused = true)]\n    #[expect(x)]\n    async fn three() {}\n";
    for (name, there) in [
        ("one", true),
        ("on", false),
        ("two", false),
        ("three", true),
        ("four", false),
    ] {
        assert_eq!(has_test(source, name), there, "{name}");
    }
    let rows = rows(
        "text\n| # | a | b | c |\n|---|---|---|---|\n| 7 | x | y | `f.rs::t`, `g.rs::u`; open: `z` |\n",
    );
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].number, rows[0].tests.len()), (7, 2));
    assert!(rows[0].words.contains("open: z"));
}
