//! Counting: one cell per case and lane, a table at the end, and the closing line.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How one case came out in one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// It did what it should.
    Passed,
    /// It did not, for this reason.
    Failed(String),
}

/// All cells of a run.
#[derive(Debug, Default)]
pub struct Report {
    lanes: Vec<String>,
    rows: BTreeMap<String, BTreeMap<String, Cell>>,
}

impl Report {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(lanes: &[&str]) -> Self {
        Self { lanes: lanes.iter().map(|&lane| lane.to_owned()).collect(), rows: BTreeMap::new() }
    }

    /// Notes how a case came out.
    pub fn add(&mut self, case: &str, lane: &str, result: Result<(), String>) {
        let cell = result.map_or_else(Cell::Failed, |()| Cell::Passed);
        self.rows.entry(case.to_owned()).or_default().insert(lane.to_owned(), cell);
    }

    /// Cells passed and failed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let cells = || self.rows.values().flat_map(BTreeMap::values);
        let passed = cells().filter(|cell| **cell == Cell::Passed).count();
        (passed, cells().count() - passed)
    }

    /// The table, the reasons of what failed, and the line `N passed, N failed`.
    #[must_use]
    pub fn text(&self) -> String {
        let wide = self.rows.keys().map(String::len).max().unwrap_or(0).max(4);
        let mut text = format!("{:wide$}", "case");
        for lane in &self.lanes {
            let _ = write!(text, "  {lane:>8}");
        }
        text.push('\n');
        for (case, cells) in &self.rows {
            let _ = write!(text, "{case:wide$}");
            for lane in &self.lanes {
                let word = match cells.get(lane) {
                    Some(Cell::Passed) => "ok",
                    Some(Cell::Failed(_)) => "FAILED",
                    None => "-",
                };
                let _ = write!(text, "  {word:>8}");
            }
            text.push('\n');
        }
        for (case, cells) in &self.rows {
            for (lane, cell) in cells {
                if let Cell::Failed(reason) = cell {
                    let _ = writeln!(text, "{case}, {lane}: {reason}");
                }
            }
        }
        let (passed, failed) = self.counts();
        let _ = writeln!(text, "{passed} passed, {failed} failed");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_cells() {
        let mut report = Report::new(&["alone", "moved"]);
        report.add("pipe", "alone", Ok(()));
        report.add("pipe", "moved", Err("lost a byte".into()));
        report.add("tty", "alone", Ok(()));
        assert_eq!(report.counts(), (2, 1));
        let text = report.text();
        assert!(text.ends_with("2 passed, 1 failed\n"), "{text}");
        assert!(text.contains("pipe, moved: lost a byte"), "{text}");
    }
}
