//! What is mounted below a folder.
use std::path::{Path, PathBuf};

/// The mount points below the folder, without itself, the deepest first.
#[must_use]
pub fn below(tree: &Path) -> Vec<PathBuf> {
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    of_table(&table, tree)
}

fn of_table(table: &str, tree: &Path) -> Vec<PathBuf> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut below: Vec<PathBuf> = points
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(tree) && point != tree)
        .collect();
    below.reverse();
    below
}

/// The kernel writes blanks, tabs, newlines and backslashes in octal.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_taken_from_the_deepest() {
        let table = "1 0 0:1 / / rw - ext4 a rw\n\
                     2 1 0:2 / /run rw - tmpfs b rw\n\
                     3 2 0:3 / /run/rkubelet rw - tmpfs c rw\n\
                     4 3 0:4 / /run/rkubelet/pods/u/shm rw - tmpfs d rw\n\
                     5 4 0:5 / /run/rkubelet/pods/u/shm/a\\040b rw - tmpfs e rw\n\
                     6 1 0:6 / /run/rkubelet2/x rw - tmpfs f rw\n";
        let found = of_table(table, Path::new("/run/rkubelet"));
        let expected = ["/run/rkubelet/pods/u/shm/a b", "/run/rkubelet/pods/u/shm"];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
