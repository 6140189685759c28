//! What is printed: text for people, or one JSON document.

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use crate::failure::summary;

/// Whether a result could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Write to stdout. Who reads may have read enough; anything else that goes wrong is a failure in the end.
#[expect(clippy::print_stderr, reason = "errors go to stderr")]
fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe && !LOST.swap(true, Ordering::Relaxed) => {
            eprintln!("error: the result could not be written: {error}");
        }
        _ => {}
    }
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are documents for programs.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Print a line for people; nothing with `--json`.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        if !self.json {
            write(&format!("{}\n", text.as_ref()));
        }
    }

    /// Print a piece of a foreign text for people as it comes; nothing with `--json`. What steers a terminal is not
    /// passed on.
    pub(crate) fn piece(self, text: &str) {
        if !self.json {
            write(&printable(text));
        }
    }

    /// Print the result as JSON; nothing without `--json`.
    pub(crate) fn document(self, value: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string_pretty(value).expect("results are plain data");
            write(&(text + "\n"));
        }
    }

    /// Print what is meant for another program as it is.
    pub(crate) fn raw(self, text: &str) {
        write(text);
    }

    /// The exit code when everything was done.
    pub(crate) fn done(self) -> ExitCode {
        ExitCode::from(u8::from(LOST.load(Ordering::Relaxed)))
    }

    /// Print an error, and give its exit code.
    #[expect(clippy::print_stderr, reason = "errors go to stderr")]
    pub(crate) fn failure(self, error: &anyhow::Error) -> ExitCode {
        let summary = summary(error);
        if error.downcast_ref::<AlreadyPrinted>().is_none() {
            self.document(&serde_json::json!({ "ok": false, "error": summary }));
        }
        eprintln!("error: {}", summary.message);
        if let Some(hint) = &summary.hint {
            eprintln!("  hint: {hint}");
        }
        ExitCode::from(summary.exit)
    }
}

/// Marks an error whose JSON document is printed already: `error.context(AlreadyPrinted("what failed"))`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AlreadyPrinted(pub(crate) &'static str);

/// A number of bytes for people: `1.5 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (63 - count.max(1).leading_zeros()) / 10;
    let step = (step as usize).min(UNITS.len() - 1);
    match step {
        0 => format!("{count} B"),
        _ => format!("{:.1} {}", count as f64 / 1024f64.powi(i32::try_from(step).unwrap_or(0)), UNITS[step]),
    }
}

/// Text as a terminal may show it: a model's words move no cursor.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}")
}

/// A table with the columns aligned, two spaces between them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let shown = [0, 1023, 1024, 1536, 5 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn a_models_words_move_no_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\n\tc\u{7}\u{9b}\r"), "a\u{fffd}[2Jb\n\tc\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "bb"], ["ccc", "d"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a    bb\nccc  d");
    }
}
