//! `docs/samples.md` says of each feature of the samples where it is and which test shows it.

use super::tables::{self, Row};

fn table() -> Vec<Row> {
    tables::read("docs/samples.md")
}

#[test]
fn each_feature_has_one_row() {
    assert_eq!(tables::numbers(&table()), (1..=59).collect::<Vec<_>>());
}

#[test]
fn each_feature_is_shown_by_a_test_or_says_why_not() {
    tables::assert_shown_or_explained(&table(), &["not yet: ", "not ours: "]);
}

#[test]
fn each_test_of_a_feature_exists() {
    tables::assert_tests_exist(&table(), "");
}
