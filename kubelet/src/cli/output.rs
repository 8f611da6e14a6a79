//! What people see: colours, prefixes, tables. Colour only on terminals, and never with `NO_COLOR`.
use std::io::{self, IsTerminal, Write};

/// Colours that tell containers apart, as SGR numbers.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Writes to standard output and standard error as a terminal or a file wants it.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Whether standard output shows colours.
    pub colour_out: bool,
    /// Whether standard error shows colours.
    pub colour_err: bool,
    /// Whether people are spared all that is not asked for.
    pub quiet: bool,
}

impl Output {
    /// Looks at the terminals and the environment.
    #[must_use]
    pub fn detect(quiet: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Output {
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
            quiet,
        }
    }

    /// A line for people, on standard error.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// A warning for people, on standard error, even with `--quiet`.
    pub fn warn(&self, line: &str) {
        let (on, off) = if self.colour_err {
            ("\x1b[33m", "\x1b[0m")
        } else {
            ("", "")
        };
        let _ = writeln!(io::stderr(), "{on}warning:{off} {line}");
    }

    /// What stands before a container's output, in its colour.
    #[must_use]
    pub fn prefix(&self, name: &str, colour: usize) -> String {
        if self.colour_out {
            format!("\x1b[{}m{name} |\x1b[0m ", COLOURS[colour % COLOURS.len()])
        } else {
            format!("{name} | ")
        }
    }

    /// A line of a container's output, prefixed by its name.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn log_line(&self, prefix: &str, colour: usize, text: &[u8]) -> io::Result<()> {
        let mut line = self.prefix(prefix, colour).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        io::stdout().write_all(&line)
    }
}

/// Writes data to standard output. A reader that went away is no failure.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn print(text: &str) -> Result<(), super::Failure> {
    print_bytes(text.as_bytes())
}

/// The same of bytes that need not be text.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn print_bytes(bytes: &[u8]) -> Result<(), super::Failure> {
    match io::stdout()
        .write_all(bytes)
        .and_then(|()| io::stdout().flush())
    {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(super::Failure::of(&err)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Columns padded to their widest cell, three blanks apart, as kubectl prints them; the last one is cut to the
/// terminal's width.
#[must_use]
pub fn table(rows: &[Vec<String>], width: Option<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                let pad = widest[column].saturating_sub(cell.chars().count()) + 3;
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        let line = line.trim_end();
        match width {
            Some(width) if line.chars().count() > width => {
                text.extend(line.chars().take(width.saturating_sub(1)));
                text.push('…');
            }
            Some(_) | None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// The width of the terminal on standard output, if it is one.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// A span of time as kubectl prints it: `5s`, `3m12s`, `2h5m`, `4d`.
#[must_use]
pub fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 && seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 && minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        () if hours < 48 => format!("{hours}h"),
        () => format!("{days}d"),
    }
}

/// Bytes as people read them: `512 B`, `3.4 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut tenths, mut unit) = (u128::from(count) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_fit() {
        let row = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<_>>()
        };
        let rows = [row(&["NAME", "STATUS"]), row(&["a-long-name", "Running"])];
        assert_eq!(
            table(&rows, None),
            "NAME          STATUS\na-long-name   Running\n"
        );
        assert_eq!(table(&rows, Some(12)), "NAME       …\na-long-name…\n");
    }

    #[test]
    fn times_and_sizes_are_short() {
        let ages: Vec<_> = [0, 119, 125, 600, 10_800, 90_000, 200_000]
            .into_iter()
            .map(age)
            .collect();
        assert_eq!(ages, ["0s", "119s", "2m5s", "10m", "3h", "25h", "2d"]);
        let sizes: Vec<_> = [0, 1023, 1024, 1_572_864, 5 << 30]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
    }
}
