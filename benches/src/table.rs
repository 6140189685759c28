//! What came out, as one Markdown table.

use std::fmt::Write as _;

use crate::{
    clock::Clock,
    group::{Spread, Work},
};

/// One step, measured.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// How time was counted.
    pub clock: Clock,
    /// What one call does.
    pub work: Work,
    /// Seconds for one unit of work.
    pub median: f64,
    /// How far the runs lie apart.
    pub spread: Spread,
    /// Limits by name, and how many times as long as the limit this takes.
    pub ratios: Vec<(&'static str, f64)>,
}

/// The heading, and the rows in their order.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| step | rate | time of one | runs (fastest, slowest) | clock | times the limit |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row { name, clock, spread, .. } = row;
        let spread = format!("-{:.0} %, +{:.0} %", spread.below * 100.0, spread.above * 100.0);
        let ratios: Vec<String> =
            row.ratios.iter().map(|(limit, ratio)| format!("{ratio:.2} x {limit}")).collect();
        let ratios = if ratios.is_empty() { "(a limit)".to_owned() } else { ratios.join("; ") };
        let (rate, time) = (rate(row), duration(row.median * whole(row)));
        writeln!(text, "| {name} | {rate} | {time} | {spread} | {} | {ratios} |", clock.name())
            .expect("writing to a String has no failure");
    }
    text
}

/// Bytes are told by the whole input, everything else by the piece.
fn whole(row: &Row) -> f64 {
    if row.work.unit == "B" { row.work.count } else { 1.0 }
}

fn rate(row: &Row) -> String {
    let rate = 1.0 / row.median;
    match row.work.unit {
        "B" if rate >= 1e9 => format!("{:.2} GB/s", rate / 1e9),
        "B" => format!("{:.0} MB/s", rate / 1e6),
        unit if rate >= 1e4 => format!("{:.1} k {unit}/s", rate / 1e3),
        unit => format!("{rate:.0} {unit}/s"),
    }
}

/// Seconds, for people.
#[must_use]
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.2} us", s * 1e6),
        s => format!("{:.1} ns", s * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_well() {
        let spread = Spread { below: 0.04, above: 0.1 };
        let (name, work) = ("hash".to_owned(), Work::bytes(1 << 20));
        let row = Row { name, clock: Clock::Cpu, work, median: 5e-10, spread, ratios: vec![("memcpy", 4.0)] };
        let expected = "| hash | 2.00 GB/s | 524.29 us | -4 %, +10 % | cpu | 4.00 x memcpy |";
        assert_eq!(table(&[row]).lines().nth(2), Some(expected));
    }
}
