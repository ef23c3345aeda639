//! `layers/THREATS.md` names a test, or a reason, for each row of the project's list.

use super::tables::{self, Row};

/// All rows of the list.
const NUMBERS: std::ops::RangeInclusive<u32> = 1..=168;

fn table() -> Vec<Row> {
    tables::read("layers/THREATS.md")
}

#[test]
fn each_threat_has_one_row() {
    assert_eq!(tables::numbers(&table()), NUMBERS.collect::<Vec<_>>());
}

#[test]
fn each_row_has_a_test_or_says_why_not() {
    tables::assert_shown_or_explained(&table(), &["open: ", "not ours: "]);
}

#[test]
fn each_named_test_exists() {
    tables::assert_tests_exist(&table(), "layers");
}
