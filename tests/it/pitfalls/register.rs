//! Every row of the table of how peers broke has tests that carry its letter and number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Rows of the table: statuses; sending; inbound and media; stream, storage and operations.
const ROWS: [(char, u32); 4] = [('s', 13), ('o', 18), ('i', 18), ('t', 14)];

/// The functions below a folder, by the files that they stand in.
fn functions(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let names = std::fs::read_to_string(&path).unwrap();
            let names =
                names.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
            let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
            found.extend(names.map(|rest| (name(rest), path.display().to_string())));
        }
    }
}

/// The rows that a name begins with: `s1_s6_repeated_…` carries S1 and S6.
fn rows_of(name: &str) -> Vec<(char, u32)> {
    let row = |part: &str| {
        let letter = part.chars().next()?;
        ROWS.iter().any(|(known, _)| *known == letter).then(|| Some((letter, part.get(1..)?.parse().ok()?)))?
    };
    name.split('_').map_while(row).collect()
}

#[test]
fn every_row_has_tests_that_carry_its_letter() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    functions(&root.join("src"), &mut found);
    functions(&root.join("tests"), &mut found);
    let mut tests: BTreeMap<(char, u32), BTreeSet<String>> = BTreeMap::new();
    for (name, file) in &found {
        for row in rows_of(name) {
            tests.entry(row).or_default().insert(format!("{name} in {file}"));
        }
    }
    let all = ROWS.iter().flat_map(|(letter, last)| (1..=*last).map(|number| (*letter, number)));
    let missing: Vec<String> =
        all.filter(|row| !tests.contains_key(row)).map(|(letter, n)| format!("{letter}{n}")).collect();
    assert!(missing.is_empty(), "rows without a test in their name: {}", missing.join(", "));
}

#[test]
fn names_tell_their_rows() {
    assert_eq!(rows_of("s1_s6_repeated_reports"), [('s', 1), ('s', 6)]);
    assert_eq!(rows_of("o18_a_contact"), [('o', 18)]);
    assert!(rows_of("a_test_of_o18").is_empty() && rows_of("is_ok").is_empty() && rows_of("sent").is_empty());
}
