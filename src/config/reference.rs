//! Keeps `docs/configuration.md`, its Chinese sister and the JSON Schema equal to the declaration.
//!
//! `UPDATE_DOCS=1 cargo test -p private-number-gateway reference` writes what is generated.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::describe;
use super::describer::Row;

const BEGIN: &str = "<!-- generated from src/config/declaration.rs: begin -->\n";
const END: &str = "<!-- generated from src/config/declaration.rs: end -->";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn default_of(row: &Row) -> String {
    match row.default.as_deref() {
        None => "**required**".to_owned(),
        Some("") => "none".to_owned(),
        Some(default) => format!("`{default}`"),
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = "| field | type | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let escaped = |text: &str| text.replace('|', "\\|");
        writeln!(table, "| `{}` | {} | {} | {} |", row.path, escaped(&row.kind), default_of(row), escaped(row.meaning))
            .unwrap();
    }
    table
}

fn check(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the declaration says; run: UPDATE_DOCS=1 cargo test -p private-number-gateway reference",
        path.display()
    );
}

#[test]
fn the_json_schema_is_what_the_declaration_says() {
    let mut schema = serde_json::to_string_pretty(&describe().schema).unwrap();
    schema.push('\n');
    check(&docs().join("configuration.schema.json"), &schema);
}

#[test]
fn the_reference_is_what_the_declaration_says() {
    let path = docs().join("configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the begin marker");
    let (_, after) = rest.split_once(END).expect("the end marker");
    check(&path, &format!("{before}{BEGIN}{}{END}{after}", table(&describe().rows)));
}

/// The Chinese reference is written by hand: it must have the same fields, in the same order, with the same defaults.
#[test]
fn the_chinese_reference_has_the_same_fields_and_defaults() {
    let text = std::fs::read_to_string(docs().join("configuration.zh-CN.md")).unwrap();
    let found: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.split(" | ").collect();
            (cells[0].trim_start_matches("| ").trim_matches('`').to_owned(), cells[2].to_owned())
        })
        .collect();
    let in_chinese = |row: &Row| match row.default.as_deref() {
        None => "**必填**".to_owned(),
        Some("") => "无".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let expected: Vec<_> = describe().rows.iter().map(|row| (row.path.clone(), in_chinese(row))).collect();
    assert_eq!(found, expected);
}
