//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate within two edits of `name` (fewer for short names), the nearest first.
pub(super) fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let name = fold(name)?;
    let allowed = match name.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    candidates
        .iter()
        .filter_map(|candidate| Some((distance(&name, &fold(candidate)?), *candidate)))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case, `_` and `-` do not count: `host_port` is a way to write `hostPort`. `None` for absurdly long names.
fn fold(name: &str) -> Option<Vec<char>> {
    const LONGEST: usize = 64;
    let folded = name
        .chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .map(|c| c.to_ascii_lowercase());
    (name.len() <= LONGEST).then(|| folded.collect())
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(left != right);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *right && *left == b[j - 1] {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found() {
        let known = [
            "image",
            "imagePullPolicy",
            "name",
            "ports",
            "env",
            "envFrom",
            "hostPort",
        ];
        let cases = [
            ("imagee", Some("image")),
            ("Image", Some("image")),
            ("iamge", Some("image")),
            ("host_port", Some("hostPort")),
            ("imagePulPolicy", Some("imagePullPolicy")),
            ("port", Some("ports")),
            ("ENV", Some("env")),
            ("command", None),
            ("x", None),
            ("", None),
        ];
        for (typed, want) in cases {
            assert_eq!(nearest(typed, &known), want, "{typed}");
        }
    }
}
