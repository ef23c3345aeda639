//! `layers/THREATS.md` names a test, or a reason, for each row of the project's list.

use std::fs;

/// The sections of the list that concern a resource server, a middle tier, and the authority that the tests trust.
const NUMBERS: [std::ops::RangeInclusive<u32>; 2] = [1..=139, 152..=168];

struct Row {
    number: u32,
    tests: Vec<String>,
    /// What stands outside of the names.
    words: String,
}

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

fn table() -> Vec<Row> {
    rows(&fs::read_to_string(super::root().join("layers/THREATS.md")).unwrap())
}

#[test]
fn each_threat_has_one_row() {
    let numbers: Vec<u32> = table().iter().map(|row| row.number).collect();
    assert_eq!(numbers, NUMBERS.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn each_row_has_a_test_or_says_why_not() {
    for row in table() {
        let words = row.words.trim_start_matches([',', ';', ' ']);
        let reason = ["open: ", "not ours: "]
            .iter()
            .any(|kind| words.starts_with(kind));
        assert!(
            reason || words.is_empty(),
            "row {}: `{words}` is neither a test nor a reason",
            row.number
        );
        assert!(reason || !row.tests.is_empty(), "row {}", row.number);
    }
}

#[test]
fn each_named_test_exists() {
    for row in table() {
        for test in row.tests {
            let (file, name) = test.split_once("::").unwrap();
            let path = super::root().join("layers").join(file);
            let source = fs::read_to_string(path);
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
