//! What the daemon needs beside what a pod needs: the clock, the port, inotify, its settings; and what others on the
//! host may have against it: SELinux, firewalld.
use super::Finding;
use crate::cli::{Global, open};
use crate::config::{self, DEFAULT_PATH, Flags};
use jiff::Timestamp;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// No clock is right that is before this program was written.
const WRITTEN: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// A directory of manifests, logs that are followed and volumes take a handful.
const FEW_INSTANCES: u64 = 16;
/// What tells of a service that sets the clock; the first is there once the clock has been set.
const CLOCK_SERVICES: [&str; 5] = [
    "/run/systemd/timesync/synchronized",
    "/run/chrony/chronyd.pid",
    "/run/chronyd.pid",
    "/run/ntpd.pid",
    "/run/openntpd.pid",
];

/// All of it.
pub(super) fn findings(global: &Global) -> Vec<Finding> {
    let mut findings = vec![
        clock(Timestamp::now(), Path::new("/")),
        selinux(Path::new("/sys/fs/selinux")),
        firewalld(Path::new("/run/firewalld")),
        inotify(Path::new("/proc/sys/fs/inotify")),
    ];
    let (settings, config) = settings(global);
    findings.push(settings);
    if let Some(config) = config.filter(|config| config.enable_server) {
        let serving = std::os::unix::net::UnixStream::connect(global.paths().api_socket());
        let address = SocketAddr::new(config.address, config.port);
        findings.push(match serving {
            Ok(_) => Finding::ok("api port", "a daemon serves here"),
            Err(_) => port(address),
        });
    }
    findings
}

fn clock(now: Timestamp, root: &Path) -> Finding {
    if now < WRITTEN {
        let advice = "set the clock: certificates, images and logs depend on it";
        return Finding::fail("clock", format!("it is {now} here"), advice);
    }
    let runs = |path: &&&str| root.join(path.trim_start_matches('/')).exists();
    match CLOCK_SERVICES.iter().find(runs) {
        Some(_) => Finding::ok("clock", "is kept right"),
        None => Finding::warn(
            "clock",
            "nothing is seen that keeps it right",
            "run chronyd or systemd-timesyncd: certificates and the order of events depend on it",
        ),
    }
}

fn selinux(dir: &Path) -> Finding {
    let enforced = fs_err::read_to_string(dir.join("enforce"));
    match enforced.as_deref().map(str::trim) {
        Ok("1") => Finding::warn(
            "selinux",
            "enforcing; containers get no labels of their own and run in rkubelet's domain",
            "files of hostPath volumes need labels that this domain may read (chcon -Rt container_file_t DIR); \
             ausearch -m avc -ts recent says what was denied",
        ),
        Ok(_) => Finding::ok("selinux", "permissive"),
        Err(_) => Finding::ok("selinux", "not there"),
    }
}

fn firewalld(dir: &Path) -> Finding {
    if !dir.exists() {
        return Finding::ok("firewalld", "does not run");
    }
    Finding::warn(
        "firewalld",
        "runs; its reload takes other programs' rules away until the daemon puts them back",
        "trust the pods' bridge: firewall-cmd --permanent --zone=trusted --add-interface=rkube0 && firewall-cmd --reload",
    )
}

fn inotify(dir: &Path) -> Finding {
    let text = fs_err::read_to_string(dir.join("max_user_instances"));
    match text.map(|text| text.trim().parse::<u64>()) {
        Ok(Ok(most)) if most < FEW_INSTANCES => Finding::warn(
            "inotify",
            format!("root may have {most} instances"),
            "sysctl -w fs.inotify.max_user_instances=512; without, changes are seen after fileCheckFrequency",
        ),
        Ok(Ok(_)) => Finding::ok("inotify", "changes of manifests are seen at once"),
        Ok(Err(_)) | Err(_) => Finding::warn(
            "inotify",
            "the kernel has none",
            "changes of manifests are seen after fileCheckFrequency; boot a kernel with CONFIG_INOTIFY_USER",
        ),
    }
}

/// The daemon's settings; and they, if they are right.
fn settings(global: &Global) -> (Finding, Option<config::KubeletConfig>) {
    let loaded = config::load(None, &Flags::default());
    let report = config::check::check(
        None,
        &Flags::default(),
        &open::node_name(),
        global.registries.as_deref(),
    );
    let finding = match report.mistakes.as_slice() {
        [] => Finding::ok("settings", report.summary),
        [first, ..] => Finding::fail(
            "settings",
            first.clone(),
            "mend what `rkubelet serve --check` lists",
        ),
    };
    let config = match loaded {
        Ok(loaded) => Some(loaded.config),
        Err(err) => {
            tracing::debug!(%err, "{DEFAULT_PATH} cannot be used");
            None
        }
    };
    (finding, config)
}

fn port(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("api port", format!("{address} is free")),
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => Finding::warn(
            "api port",
            format!("{address} is taken by another program"),
            "end that program (`ss -ltnp` names it), or set port in the settings; pods run without it",
        ),
        Err(err) => Finding::warn(
            "api port",
            format!("{address}: {err}"),
            "set address in the settings to one of this host's; pods run without it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Status;

    #[test]
    fn clocks_are_judged() {
        let dir = tempfile::tempdir().unwrap();
        let now = WRITTEN + jiff::SignedDuration::from_hours(1);
        assert_eq!(
            clock(Timestamp::UNIX_EPOCH, dir.path()).status,
            Status::Fail
        );
        assert_eq!(clock(now, dir.path()).status, Status::Warn);
        fs_err::create_dir_all(dir.path().join("run/chrony")).unwrap();
        fs_err::write(dir.path().join("run/chrony/chronyd.pid"), "1").unwrap();
        assert_eq!(clock(now, dir.path()).status, Status::Ok);
    }

    #[test]
    fn what_others_have_against_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert_eq!(selinux(path).status, Status::Ok);
        fs_err::write(path.join("enforce"), "0").unwrap();
        assert_eq!(selinux(path).detail, "permissive");
        fs_err::write(path.join("enforce"), "1").unwrap();
        assert_eq!(selinux(path).status, Status::Warn);
        assert_eq!(firewalld(path).status, Status::Warn);
        assert_eq!(firewalld(&path.join("none")).status, Status::Ok);
        assert_eq!(inotify(path).status, Status::Warn);
        fs_err::write(path.join("max_user_instances"), "8\n").unwrap();
        assert!(inotify(path).detail.contains("may have 8"));
        fs_err::write(path.join("max_user_instances"), "128\n").unwrap();
        assert_eq!(inotify(path).status, Status::Ok);
    }

    #[test]
    fn a_taken_port_is_told_from_a_free_one() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        assert!(port(address).detail.contains("taken"));
        drop(held);
        assert_eq!(port(address).status, Status::Ok);
    }
}
