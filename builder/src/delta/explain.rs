//! What of a delta costs how much: a table and a treemap.

use super::operation::Cost;
use crate::{
    show,
    treemap::{Area, treemap},
};
use std::{cmp::Reverse, collections::BTreeMap};

/// Rows of the table that have a name; the rest is summed up.
const ROWS: usize = 30;

/// What one piece of a release costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name: a path of the root, `initramfs/…`, `kernel`, `before …` for what is between files.
    pub name: String,
    /// Its bytes in the new release.
    pub bytes: u64,
    /// Bytes of the delta that it takes.
    pub cost: u64,
    /// `as it was`, `changed`, `new`, `whole`, `zeros`.
    pub how: &'static str,
}

/// What of a delta costs how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Every piece, the dearest first.
    pub rows: Vec<Row>,
    /// Bytes of header, metadata, index and table.
    pub overhead: u64,
}

impl Explanation {
    pub(super) fn of(costs: Vec<Cost>, overhead: u64) -> Self {
        let mut sums: BTreeMap<String, Row> = BTreeMap::new();
        for Cost { name, bytes, takes: cost, how } in costs {
            let row = sums.entry(name.clone()).or_insert(Row { name, bytes: 0, cost: 0, how });
            // Of a piece in several runs the dearest says how.
            if cost > row.cost {
                row.how = how;
            }
            row.bytes = row.bytes.saturating_add(bytes);
            row.cost = row.cost.saturating_add(cost);
        }
        let mut rows: Vec<Row> = sums.into_values().collect();
        rows.sort_by_key(|row| Reverse(row.cost));
        Self { rows, overhead }
    }

    fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.cost).sum::<u64>().saturating_add(self.overhead)
    }

    /// The dearest pieces as a table.
    pub fn table(&self) -> String {
        let total = self.total().max(1);
        let percent = |cost: u64| {
            let tenths = cost.saturating_mul(1000) / total;
            format!("{}.{} %", tenths / 10, tenths % 10)
        };
        let cells = |name: &str, bytes: u64, cost: u64, how: &str| {
            vec![show::bytes(cost), percent(cost), show::bytes(bytes), how.to_owned(), name.to_owned()]
        };
        let (first, rest) = self.rows.split_at(self.rows.len().min(ROWS));
        let mut rows: Vec<Vec<String>> =
            first.iter().map(|row| cells(&row.name, row.bytes, row.cost, row.how)).collect();
        if !rest.is_empty() {
            let sum = |value: fn(&Row) -> u64| rest.iter().map(value).sum();
            let name = format!("{} more", rest.len());
            rows.push(cells(&name, sum(|row| row.bytes), sum(|row| row.cost), ""));
        }
        rows.push(cells("index, signatures, table", self.overhead, self.overhead, ""));
        show::table(&["in the delta", "share", "in the release", "how", "what"], &rows)
    }

    /// Everything as a picture: areas are bytes of the delta.
    pub fn svg(&self, title: &str) -> String {
        let area = |row: &Row| Area {
            path: row.name.trim_start_matches('/').to_owned(),
            size: row.cost,
            colour: match row.how {
                "new" => "#2f8f4e",
                "whole" => "#c8402f",
                _ => "#3a7bbf",
            },
            note: format!("{} of {}, {}", show::bytes(row.cost), show::bytes(row.bytes), row.how),
        };
        let mut areas: Vec<Area> = self.rows.iter().filter(|row| row.cost > 0).map(area).collect();
        areas.push(Area {
            path: "index, signatures, table".to_owned(),
            size: self.overhead,
            colour: "#a9b4c0",
            note: show::bytes(self.overhead),
        });
        let legend =
            [("changed", "#3a7bbf"), ("new", "#2f8f4e"), ("sent whole", "#c8402f"), ("index", "#a9b4c0")];
        treemap(title, &areas, &legend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(name: &str, bytes: u64, cost: u64, how: &'static str) -> Cost {
        Cost { name: name.to_owned(), bytes, takes: cost, how }
    }

    #[test]
    fn pieces_are_summed_over_runs_and_stand_by_what_they_cost() {
        let costs = vec![
            cost("/usr/bin/a", 5000, 10, "changed"),
            cost("kernel", 90_000, 2000, "changed"),
            cost("/usr/bin/a", 3000, 500, "whole"),
            cost("/etc/x", 100, 0, "as it was"),
        ];
        let explained = Explanation::of(costs, 490);
        let rows: Vec<_> =
            explained.rows.iter().map(|row| (row.name.as_str(), row.bytes, row.cost, row.how)).collect();
        let expected = [
            ("kernel", 90_000, 2000, "changed"),
            ("/usr/bin/a", 8000, 510, "whole"),
            ("/etc/x", 100, 0, "as it was"),
        ];
        assert_eq!(rows, expected);
        let table = explained.table();
        assert!(table.contains("66.6 %"), "{table}");
        assert!(table.contains("index, signatures, table"), "{table}");
        assert!(explained.svg("a to b").contains("kernel"));
    }

    #[test]
    fn a_long_tail_is_one_row() {
        let costs = (0..100).map(|number| cost(&format!("/{number}"), 1, 1, "changed")).collect();
        let table = Explanation::of(costs, 1).table();
        assert!(table.contains("70 more"), "{table}");
    }
}
