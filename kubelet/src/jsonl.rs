//! Small logs of JSON lines that stay small: the newest so many entries are kept.
//!
//! One process appends; anybody may read. A line that a crash cut short is left out by readers.
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::path::Path;

/// What an entry takes on average, for telling by the file's size that it is too long.
const ENTRY: u64 = 512;

/// Appends an entry. A file that has grown to more than about `kept` entries is cut to the newest half of them first.
///
/// # Errors
/// Names the file.
pub fn append<T: Serialize + DeserializeOwned>(
    log: &Path,
    entry: &T,
    kept: usize,
) -> io::Result<()> {
    let long = std::fs::metadata(log).is_ok_and(|meta| meta.len() > kept as u64 * ENTRY);
    if long {
        let entries: Vec<T> = read(log)?;
        let mut text = Vec::new();
        for entry in entries.iter().skip(entries.len().saturating_sub(kept / 2)) {
            text.extend(line(entry)?);
        }
        let aside = log.with_extension("tmp");
        fs_err::write(&aside, text)?;
        fs_err::rename(&aside, log)?;
    }
    fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)?
        .write_all(&line(entry)?)
}

fn line<T: Serialize>(entry: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

/// The entries kept, oldest first.
///
/// # Errors
/// Names the file; one that is not there counts as empty.
pub fn read<T: DeserializeOwned>(log: &Path) -> io::Result<Vec<T>> {
    match fs_err::read(log) {
        Ok(text) => Ok(text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded_and_survives_a_cut_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.jsonl");
        assert!(read::<String>(&log).unwrap().is_empty());
        for number in 0..300 {
            append(&log, &format!("{number} {}", "x".repeat(500)), 20).unwrap();
        }
        let kept: Vec<String> = read(&log).unwrap();
        assert!((10..=25).contains(&kept.len()), "{}", kept.len());
        assert!(kept.last().unwrap().starts_with("299 "));
        let mut file = fs_err::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(b"\"half a li").unwrap();
        assert_eq!(read::<String>(&log).unwrap(), kept);
    }
}
