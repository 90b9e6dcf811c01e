//! Tables as Markdown writes them.

use std::fmt::Write as _;

/// One table with its title.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// One more row; the first cell says what it is about.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table with its title as a heading.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("### {}\n\n| {} |\n|", self.title, self.columns.join(" | "));
        for index in 0..self.columns.len() {
            text.push_str(if index == 0 { " --- |" } else { " ---: |" });
        }
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.join(" | "));
        }
        text.push('\n');
        text
    }
}

/// A number with three digits that matter.
pub fn number(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, number};

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("Cost", &["arm", "µs"]);
        table.row(["filter".to_owned(), number(12.34)]);
        assert_eq!(table.to_markdown(), "### Cost\n\n| arm | µs |\n| --- | ---: |\n| filter | 12.3 |\n");
        assert_eq!([0.756, 9.996, 123.4].map(number), ["0.76", "10.0", "123"]);
    }
}
