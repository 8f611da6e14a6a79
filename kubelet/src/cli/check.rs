//! `rkubelet check`: what this host lacks, and how to mend it.
//!
//! What matters is tried rather than looked up: an overlay is mounted (nowhere), a cgroup made and removed, devices
//! and rules made in a network namespace that goes with the check. Nothing of the host changes.
mod daemon;
mod host;
mod overlay;

use super::format::{DataFormat, print_data, row};
use super::output::{self, Output};
use super::{Failure, Global};
use clap::Args;
use serde::Serialize;

/// Say what this host lacks for pods, and how to mend it.
///
/// Changes nothing. The exit code is 1 if something is missing without which no pod runs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Check {
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<DataFormat>,
}

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    /// All is well.
    Ok,
    /// Pods run, with less than they should have.
    Warn,
    /// No pod runs.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    detail: String,
    /// What to do about it; empty when nothing is.
    advice: String,
}

impl Finding {
    fn new(check: &'static str, status: Status, detail: impl Into<String>, advice: &str) -> Self {
        Finding {
            check,
            status,
            detail: detail.into(),
            advice: advice.to_owned(),
        }
    }
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Finding::new(check, Status::Ok, detail, "")
    }
    fn warn(check: &'static str, detail: impl Into<String>, advice: &str) -> Self {
        Finding::new(check, Status::Warn, detail, advice)
    }
    fn fail(check: &'static str, detail: impl Into<String>, advice: &str) -> Self {
        Finding::new(check, Status::Fail, detail, advice)
    }
}

impl Check {
    /// Looks at everything and tells.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let findings = findings(global);
        match self.output {
            Some(format) => print_data(&findings, format)?,
            None => output::print(&report(&findings, Output::detect(false)))?,
        }
        let worst = findings.iter().map(|finding| finding.status).max();
        Ok(u8::from(worst == Some(Status::Fail)))
    }
}

fn findings(global: &Global) -> Vec<Finding> {
    let mut findings = vec![
        host::user(),
        host::kernel(),
        host::namespaces(),
        host::seccomp(),
    ];
    findings.push(host::registries(global));
    findings.push(host::resolver());
    if findings[0].status == Status::Fail {
        return findings;
    }
    findings.extend(host::cgroups());
    findings.extend(host::disk(&global.root));
    findings.push(overlay::check(&global.root));
    let network = rkube_net::check(&global.bridge());
    findings.extend(network.into_iter().map(|finding| {
        let status = if finding.ok { Status::Ok } else { Status::Fail };
        Finding::new(finding.what, status, finding.detail, &finding.mend)
    }));
    findings.extend(daemon::findings(global));
    findings
}

/// The table, and the advice below what needs it.
fn report(findings: &[Finding], output: Output) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| row(&[word(finding.status), finding.check, &finding.detail]))
        .collect();
    let table = output::table(&rows, None);
    let mut text = String::new();
    for (line, finding) in table.lines().zip(findings) {
        let colour = match finding.status {
            Status::Ok => 32,
            Status::Warn => 33,
            Status::Fail => 31,
        };
        match (line.strip_prefix(word(finding.status)), output.colour_out) {
            (Some(rest), true) => {
                text.push_str(&format!(
                    "\x1b[{colour}m{}\x1b[0m{rest}\n",
                    word(finding.status)
                ));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
        if !finding.advice.is_empty() {
            text.push_str(&format!("       -> {}\n", finding.advice));
        }
    }
    let count = |status| {
        let such = findings.iter().filter(|finding| finding.status == status);
        such.count()
    };
    let summary = match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => "this host can run pods".to_owned(),
        (0, warned) => format!("this host can run pods; warnings: {warned}"),
        (failed, _) => format!("this host cannot run pods yet; to mend: {failed}"),
    };
    format!("{text}{summary}\n")
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Warn => "WARN",
        Status::Fail => "FAIL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output {
        colour_out: false,
        colour_err: false,
        quiet: false,
    };

    #[test]
    fn the_report_says_what_to_do() {
        let fine = Finding::ok("kernel", "6.1");
        let short = Finding::warn("disk", "80 MiB are free", "make room");
        let broken = Finding::fail("overlayfs", "no such device", "modprobe overlay");
        let report_of = |findings: &[Finding]| report(findings, PLAIN);
        assert_eq!(
            report_of(std::slice::from_ref(&fine)),
            "OK   kernel   6.1\nthis host can run pods\n"
        );
        let text = report_of(&[fine, short, broken]);
        assert!(
            text.contains("WARN   disk        80 MiB are free\n       -> make room\n"),
            "{text}"
        );
        assert!(
            text.ends_with("cannot run pods yet; to mend: 1\n"),
            "{text}"
        );
        assert!(Status::Fail > Status::Warn && Status::Warn > Status::Ok);
    }
}
