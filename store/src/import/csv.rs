//! CSV (RFC 4180) whose first line names the fields of CDRs. What separates the cells is a comma, or a tab where the first line has one.

use std::borrow::Cow;

use anyhow::bail;
use serde_json::value::RawValue;

use super::file::Entry;

/// Without these columns nobody can tell whether the call of a row is in the store already. A cell of `icid` may be empty.
const NEEDED: [&str; 2] = ["sessionId", "icid"];
/// What stands in a call's key as it is.
const KEY: [&str; 3] = ["appKey", "sessionId", "icid"];

/// The CDRs of a table.
///
/// # Errors
/// The first line does not name what is needed.
pub(super) fn entries(text: &str) -> anyhow::Result<Vec<Entry<'_>>> {
    let separator = if text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.contains('\t')) {
        '\t'
    } else {
        ','
    };
    let mut reader = Reader { text, place: 0, line: 1, separator };
    let (line, names) = match reader.record() {
        None => bail!("it is empty"),
        Some(Record { cells: None, line, .. }) => bail!("line {line}: quotation marks do not match"),
        Some(Record { cells: Some(cells), line, .. }) => (line, cells),
    };
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    for needed in NEEDED {
        if !names.iter().any(|name| name == needed) {
            bail!(
                "line {line}: no column `{needed}`; a table names Huawei's fields in its first line, `sessionId` and `icid` among \
                 them. Rename the columns of the export to the names of Huawei's CDR push, and add those that are missing"
            );
        }
    }
    if let Some(twice) =
        names.iter().enumerate().find(|(index, name)| names.iter().take(*index).any(|other| other == *name))
    {
        bail!("line {line}: column {} has the name of an earlier one; remove or rename it", twice.0.saturating_add(1));
    }
    let mut entries = Vec::new();
    while let Some(Record { line, cells, end_of_first_line, next_line }) = reader.record() {
        let cdr = match cells {
            Some(cells) if cells.len() == names.len() => cdr(&names, &cells),
            Some(cells) => Err(format!(
                "has {} cells, and the first line names {}; quote cells with commas",
                cells.len(),
                names.len()
            )),
            None => Err("quotation marks do not match; double those inside a cell".to_owned()),
        };
        if cdr.is_err() && reader.place > end_of_first_line {
            // Its quotation marks may be wrong: what follows is not to be lost in it.
            (reader.place, reader.line) = (end_of_first_line, next_line);
        }
        entries.push(Entry { line, cdr });
    }
    Ok(entries)
}

/// A row as Huawei would send it, every value a text. Cells that are empty are left out.
fn cdr<'t>(names: &[String], cells: &[Cow<'_, str>]) -> Result<Cow<'t, RawValue>, String> {
    let mut text = String::from("{");
    for (name, cell) in names.iter().zip(cells).filter(|(name, cell)| !cell.is_empty() && !name.is_empty()) {
        if KEY.contains(&name.as_str()) && cell.trim() != cell.as_ref() {
            return Err(format!(
                "/{name}: begins or ends with blank characters; remove them if Huawei's value has none"
            ));
        }
        if text.len() > 1 {
            text.push(',');
        }
        let pair = (serde_json::to_string(name), serde_json::to_string(cell));
        let (Ok(name), Ok(cell)) = pair else { return Err(format!("/{name}: cannot be written as JSON")) };
        text.extend([name.as_str(), ":", cell.as_str()]);
    }
    text.push('}');
    RawValue::from_string(text).map(Cow::Owned).map_err(|_| "cannot be written as JSON".to_owned())
}

struct Reader<'t> {
    text: &'t str,
    place: usize,
    line: usize,
    separator: char,
}

struct Record<'t> {
    /// The line on which it begins.
    line: usize,
    /// `None` where quotation marks do not match.
    cells: Option<Vec<Cow<'t, str>>>,
    /// Where the line after that begins.
    end_of_first_line: usize,
    next_line: usize,
}

impl<'t> Reader<'t> {
    /// The next record that is not an empty line.
    fn record(&mut self) -> Option<Record<'t>> {
        loop {
            let rest = self.text.get(self.place..).filter(|rest| !rest.is_empty())?;
            let first = rest.split_inclusive('\n').next().unwrap_or(rest);
            let (line, end_of_first_line) = (self.line, self.place.saturating_add(first.len()));
            let next_line = line.saturating_add(1);
            if first.trim().is_empty() {
                (self.place, self.line) = (end_of_first_line, next_line);
                continue;
            }
            let (cells, length) = match cells(rest, self.separator) {
                Some((cells, length)) => (Some(cells), length),
                None => (None, rest.len()),
            };
            let taken = rest.get(..length).unwrap_or(rest);
            self.line = line.saturating_add(taken.matches('\n').count());
            self.place = self.place.saturating_add(length);
            return Some(Record { line, cells, end_of_first_line, next_line });
        }
    }
}

/// The cells of the record with which `text` begins, and how long it is with the end of its line. `None` where quotation marks do
/// not match.
fn cells(text: &str, separator: char) -> Option<(Vec<Cow<'_, str>>, usize)> {
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted, separator)?,
            None => {
                let end = rest.find([separator, '\n']).unwrap_or(rest.len());
                let (cell, after) = rest.split_at_checked(end)?;
                (Cow::Borrowed(cell), after)
            }
        };
        let ends = !after.starts_with(separator);
        cells.push(match cell {
            Cow::Borrowed(cell) if ends => Cow::Borrowed(cell.strip_suffix('\r').unwrap_or(cell)),
            cell => cell,
        });
        if ends {
            let after = after.strip_prefix('\n').unwrap_or(after);
            return Some((cells, text.len().saturating_sub(after.len())));
        }
        rest = after.get(1..)?;
    }
}

/// A cell after its first quotation mark, and what follows the cell. `None` where that mark is not closed, or text follows the closing
/// one.
fn quoted_cell(text: &str, separator: char) -> Option<(Cow<'_, str>, &str)> {
    let (mut cell, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"')?;
        cell.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                cell.push('"');
                rest = after;
            }
            None => {
                let after = after.strip_prefix('\r').filter(|after| is_end(after, '\n')).unwrap_or(after);
                return is_end(after, separator).then_some((Cow::Owned(cell), after));
            }
        }
    }
}

/// Whether a cell ends where `text` begins.
fn is_end(text: &str, separator: char) -> bool {
    text.is_empty() || text.starts_with([separator, '\n'])
}

#[cfg(test)]
mod tests {
    use super::super::file::entries;

    fn read(text: &str) -> Vec<(usize, Result<String, String>)> {
        let entries = entries(text).unwrap();
        entries.into_iter().map(|entry| (entry.line, entry.cdr.map(|cdr| cdr.get().to_owned()))).collect()
    }

    #[test]
    fn a_table_is_read_by_the_names_of_its_first_line() {
        let expected = [
            (2, Ok(r#"{"sessionId":"s,1","icid":"i\"1","userData":"a\nb"}"#.to_owned())),
            (4, Ok(r#"{"sessionId":"s2"}"#.to_owned())),
        ];
        assert_eq!(read("sessionId,icid,userData\n\"s,1\",\"i\"\"1\",\"a\nb\"\ns2,,\n"), expected);
        assert_eq!(read("sessionId\ticid\tuserData\r\n\"s,1\"\t\"i\"\"1\"\t\"a\nb\"\r\ns2\t\t\r\n"), expected);
        assert_eq!(read("sessionId,icid,userData\n\"s,1\",\"i\"\"1\",\"a\nb\"\n\"s2\",\"\",\"\"").len(), 2);
    }

    #[test]
    fn p4_a_bad_row_is_named_and_does_not_hinder_the_others() {
        let text = "sessionId,icid\ns1,i1\ns2\ns3,\"i3\ns4,i4\n\ts5,i5\ns6,i6";
        let entries = read(text);
        let good: Vec<usize> = entries.iter().filter(|(_, cdr)| cdr.is_ok()).map(|(line, _)| *line).collect();
        assert_eq!(good, [2, 5, 7]);
        for (index, start) in [(1, "has 1 cells"), (2, "quotation marks do not"), (4, "/sessionId: begins or ends")] {
            assert!(entries[index].1.as_ref().unwrap_err().starts_with(start), "{entries:?}");
        }
        // Two stray marks hold two rows together; both are read, and what is between them.
        let entries = read("sessionId,icid\ns1,\"i1\ns2,i2\ns3,\"i3\ns4,i4");
        assert_eq!(
            entries.iter().map(|(line, cdr)| (*line, cdr.is_ok())).collect::<Vec<_>>(),
            [(2, false), (3, true), (4, false), (5, true)]
        );
    }

    #[test]
    fn p1_a_table_that_cannot_tell_calls_apart_is_refused() {
        for (text, start) in [
            ("sessionId,appKey\ns1,a", "line 1: no column `icid`;"),
            ("\u{8bdd}\u{5355},icid\ns1,a", "line 1: no column `sessionId`;"),
            ("sessionId,icid,icid\ns1,a,b", "line 1: column 3 has the name of an earlier one"),
        ] {
            let error = entries(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
