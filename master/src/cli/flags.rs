//! Arguments as Go's programs and 2014's service files write them, put in this program's words.
use std::ffi::OsString;

/// Flags that set what there is no more: whether they take a value, and why they have no effect.
const GONE: &[(&str, bool, &str)] = &[
    ("logtostderr", false, "the log goes to standard error"),
    ("alsologtostderr", false, "the log goes to standard error"),
    ("log-dir", true, "the log goes to standard error"),
    ("stderrthreshold", true, "the log goes to standard error"),
    ("vmodule", true, "set RKUBE_MASTER_LOG instead"),
    ("log-flush-frequency", true, "the log is not held back"),
    ("storage-version", true, "objects are stored as v1"),
    (
        "allow-privileged",
        false,
        "a pod may ask for privileges as in v1",
    ),
    (
        "read-only-port",
        true,
        "there is no port that asks for no name but --insecure-port",
    ),
    ("etcd-config", true, "name the servers with --etcd-servers"),
    ("cloud-provider", true, "there are no cloud providers"),
    ("cloud-config", true, "there are no cloud providers"),
    ("machines", true, "nodes register themselves"),
    ("minion-regexp", true, "nodes register themselves"),
    ("health-check-minions", false, "nodes report themselves"),
    (
        "enable-logs-support",
        false,
        "the master serves no log files",
    ),
    (
        "kubelet-https",
        false,
        "kubelets are always spoken with by TLS",
    ),
];

/// The arguments in this program's words, and what was passed over.
#[must_use]
pub fn understood(arguments: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut arguments = arguments.into_iter().peekable();
    let (mut plain, mut passed_over) = (Vec::new(), Vec::new());
    plain.extend(arguments.next());
    let asks = |first: &OsString| {
        let first = first.to_string_lossy();
        !first.starts_with('-') || matches!(&*first, "-h" | "--help" | "-V" | "--version")
    };
    if !arguments.peek().is_some_and(asks) {
        plain.push("serve".into());
    }
    while let Some(argument) = arguments.next() {
        let Some((name, value)) = argument.to_str().and_then(flag) else {
            if !argument.is_empty() {
                plain.push(argument);
            }
            continue;
        };
        if let Some((_, takes_value, why)) = GONE.iter().find(|(gone, ..)| *gone == name) {
            passed_over.push(format!("--{name} has no effect: {why}"));
            let is_value = |next: &OsString| !next.as_encoded_bytes().starts_with(b"-");
            if *takes_value && value.is_none() && arguments.peek().is_some_and(is_value) {
                arguments.next();
            }
            continue;
        }
        match (name.as_str(), value) {
            ("v", Some(level)) => {
                let times = level.parse::<usize>().unwrap_or(0).min(2);
                plain.extend(std::iter::repeat_n(OsString::from("-v"), times));
            }
            (name, Some(value)) => plain.push(format!("--{name}={value}").into()),
            (name, None) => plain.push(format!("--{name}").into()),
        }
    }
    (plain, passed_over)
}

/// Name, with dashes, and value of a flag; none for anything else, and for one letter.
fn flag(argument: &str) -> Option<(String, Option<&str>)> {
    let rest = argument.strip_prefix('-')?;
    let long = rest.strip_prefix('-');
    let (name, value) = match long.unwrap_or(rest).split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long.unwrap_or(rest), None),
    };
    let word = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let short = long.is_none()
        && value.is_none()
        && (name.len() == 1 || name.chars().all(|letter| letter == 'v'));
    (word && !short).then(|| (name.replace('_', "-"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], expected: &[&str]) {
        let given = ["rkube-master"].iter().chain(given).map(OsString::from);
        let (plain, _) = understood(given);
        let plain: Vec<_> = plain
            .iter()
            .skip(1)
            .map(|one| one.to_string_lossy())
            .collect();
        assert_eq!(plain, expected);
    }

    #[test]
    fn serving_is_the_default_and_old_spellings_work() {
        check(&[], &["serve"]);
        check(&["--help"], &["--help"]);
        check(
            &["kubeconfig", "--user", "a_b"],
            &["kubeconfig", "--user", "a_b"],
        );
        check(
            &["-address=127.0.0.1", "--api_prefix", "/api"],
            &["serve", "--address=127.0.0.1", "--api-prefix", "/api"],
        );
        check(
            &["-v=3", "-logtostderr=true", "--machines", "a,b", ""],
            &["serve", "-v", "-v"],
        );
        check(&["serve", "-vv"], &["serve", "-vv"]);
    }
}
