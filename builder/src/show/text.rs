//! Numbers and tables as people read them.

use std::fmt::Write as _;

/// A byte count in decimal units: `44.1 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000)];
    for (name, size) in UNITS {
        if count >= size {
            let tenths = count.saturating_mul(10).saturating_add(size / 2) / size;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

/// Rows in aligned columns, two spaces apart, no trailing blanks. A column whose cells all begin with a digit is
/// aligned to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
        longest.max(header[column].chars().count())
    };
    let numeric = |column: usize| {
        rows.iter()
            .all(|row| cell(row, column).starts_with(|first: char| first.is_ascii_digit() || first == '-'))
    };
    let columns: Vec<_> = (0..header.len()).map(|column| (width(column), numeric(column))).collect();
    let mut out = String::new();
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (index, (width, right)) in columns.iter().enumerate() {
            let text = cell(row, index);
            let written =
                if *right { write!(line, "{text:>width$}  ") } else { write!(line, "{text:<width$}  ") };
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_to_a_tenth() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(44_149_999), "44.1 MB");
        assert_eq!(bytes(2_050_000_000), "2.1 GB");
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [vec!["kernel".to_owned(), "11.7 MB".to_owned()], vec!["a".to_owned(), "1 B".to_owned()]];
        assert_eq!(table(&["part", "size"], &rows), "part       size\nkernel  11.7 MB\na           1 B\n");
    }
}
