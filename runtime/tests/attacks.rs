//! Attacks on the start path, grouped by the vulnerability that they are modelled on. None may reach the host, and
//! each must end in a clear refusal or in a container that has gained nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say what they skip"
)]

#[path = "support/trial.rs"]
mod trial;

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rkube_runtime::compile::Seccomp;
use serde_json::json;
use trial::{Trial, parked, possible, process};

/// How often a race is tried.
const ROUNDS: usize = 300;

/// A directory of the host that no container may touch.
struct Canary {
    dir: tempfile::TempDir,
}

impl Canary {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rkube-canary-")
            .tempdir()
            .unwrap();
        fs::write(dir.path().join("file"), "untouched").unwrap();
        Self { dir }
    }

    /// A link target that climbs out of any root.
    fn climb(&self) -> PathBuf {
        let mut path = PathBuf::from("../../../../../../../../..");
        path.push(self.dir.path().strip_prefix("/").unwrap());
        path
    }

    #[track_caller]
    fn check(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
        assert_eq!(
            fs::read_to_string(self.dir.path().join("file")).unwrap(),
            "untouched"
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(self.dir.path().to_str().unwrap()),
            "something is mounted on the host"
        );
    }
}

/// Replaces a directory or file of the image by a symbolic link.
fn replace(path: &Path, target: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
    symlink(target, path).unwrap();
}

// --- CVE-2016-9962: a process on its way in (CVE-2019-5736 is in oci_cli and supervisor) ------------------------------

#[test]
fn cve_2016_9962_a_process_that_enters_is_not_dumpable() {
    let Some(()) = possible("cve_2016_9962") else {
        return;
    };
    let trial = Trial::new("echo ready; exec sleep 60");
    let mut running = trial.start().unwrap();
    assert_eq!(running.line(), "ready");
    let mut other = process("true");
    other["user"] = json!({"uid": 1000, "gid": 1000});
    let launch = trial
        .compile_exec(&other, running.child.pidfd.as_fd())
        .unwrap();
    let mut entering = trial::launch(&launch, parked()).unwrap();
    entering.child.wait_parked().unwrap();
    // A process that can be traced has files of /proc that belong to its user.
    use std::os::unix::fs::MetadataExt as _;
    let mem = fs::metadata(format!("/proc/{}/mem", entering.child.pid)).unwrap();
    assert_eq!(mem.uid(), 0, "as uid 1000 it is not dumpable");
    entering.child.start().unwrap();
    entering.child.wait_exec().unwrap();
    assert_eq!(entering.finish().code, 0);
    running.kill();
}

// --- CVE-2024-21626: leaked descriptors -----------------------------------------------------------------------------

#[test]
fn cve_2024_21626_no_working_directory_through_a_descriptor() {
    let Some(()) = possible("cve_2024_21626_cwd") else {
        return;
    };
    let host = fs::File::open("/").unwrap();
    let mut trial = Trial::new("ls /proc/self/cwd/");
    let other = Trial::new("exec sleep 60");
    let running = other.start().unwrap();
    for fd in 3..40 {
        let cwd = format!("/proc/self/fd/{fd}");
        trial.set("/process/cwd", json!(cwd));
        let refusal = trial.refusal();
        assert!(refusal.contains("/proc/self/fd/"), "{refusal}");
        let mut entering = process("ls /proc/self/cwd/");
        entering["cwd"] = json!(cwd);
        let refusal = trial.exec(&running, &entering).unwrap_err().text();
        assert!(
            refusal.contains("cannot enter the working directory"),
            "{refusal}"
        );
    }
    running.kill();
    drop(host);
}

#[test]
fn cve_2024_21626_no_working_directory_through_a_link_of_the_image() {
    let Some(()) = possible("cve_2024_21626_link") else {
        return;
    };
    let mut trial = Trial::new("true");
    for target in ["/proc/self/fd/7", "/proc/1/root", "/proc/self/cwd"] {
        replace(&trial.path("work"), Path::new(target));
        trial.set("/process/cwd", json!("/work"));
        let refusal = trial.refusal();
        assert!(refusal.contains("/work"), "{target}: {refusal}");
    }
}

#[test]
fn cve_2024_21626_only_the_standard_descriptors_are_open() {
    let Some(()) = possible("cve_2024_21626_fds") else {
        return;
    };
    let leaked = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    // The last one is that of `ls`.
    assert_eq!(Trial::new("ls /proc/self/fd").output(), "0\n1\n2\n3\n");
    let trial = Trial::new("echo ready; exec sleep 60");
    let mut running = trial.start().unwrap();
    running.line();
    assert_eq!(
        trial
            .exec(&running, &process("ls /proc/self/fd"))
            .unwrap()
            .output,
        "0\n1\n2\n3\n"
    );
    let fds = fs::read_dir(format!("/proc/{}/fd", running.child.pid))
        .unwrap()
        .count();
    assert_eq!(fds, 3);
    running.kill();
}

#[test]
fn cve_2024_21626_a_parked_process_holds_nothing_of_ours() {
    let Some(()) = possible("cve_2024_21626_parked") else {
        return;
    };
    let canary = Canary::new();
    let leaked = fs::File::open(canary.dir.path().join("file")).unwrap();
    let trial = Trial::new("true");
    let mut running = trial.spawn(parked()).unwrap();
    running.child.wait_parked().unwrap();
    for entry in fs::read_dir(format!("/proc/{}/fd", running.child.pid)).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert!(
            !target.starts_with(canary.dir.path()),
            "{}",
            target.display()
        );
    }
    drop(leaked);
    running.child.abandon();
    running.finish();
}

// --- CVE-2021-30465 and its family: links and races on destinations --------------------------------------------------

#[test]
fn cve_2021_30465_destinations_stay_below_the_root() {
    let Some(()) = possible("cve_2021_30465_links") else {
        return;
    };
    let canary = Canary::new();
    for target in [canary.dir.path().to_owned(), canary.climb()] {
        let mut trial = Trial::new("ls /out/here /out/there; touch /out/here/x");
        replace(&trial.path("out"), &target);
        fs::create_dir_all(
            trial
                .path("")
                .join(canary.dir.path().strip_prefix("/").unwrap()),
        )
        .unwrap();
        trial.mount("tmpfs", "tmpfs", "/out/here", &[]);
        trial.mount("tmpfs", "tmpfs", "/out/../out/there", &[]);
        // Within the root, the link is followed.
        let _ = trial.run();
        canary.check();
    }
}

#[test]
fn cve_2024_45310_mount_points_are_made_below_the_root_only() {
    let Some(()) = possible("cve_2024_45310") else {
        return;
    };
    let canary = Canary::new();
    for target in [canary.dir.path().join("made"), canary.climb().join("made")] {
        let mut trial = Trial::new("true");
        replace(&trial.path("out"), &target);
        trial.mount("tmpfs", "tmpfs", "/out/deep/er", &[]);
        trial.mount("bind", "/etc/hostname", "/out/deep/file", &["bind"]);
        let refusal = trial.refusal();
        assert!(
            refusal.contains("mounts[6] /out/deep/er: cannot create mount point"),
            "{refusal}"
        );
        canary.check();
    }
}

/// Exchanges a directory and a link, over and over, as a container that shares the volume would.
fn exchange(volume: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        let dir = fs::File::open(volume).unwrap();
        rustix::fs::renameat_with(&dir, "place", &dir, "link", flags).unwrap();
    }
}

/// Ends the other thread however this one ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn race(name: &str, destination: &str) {
    let Some(()) = possible(name) else { return };
    let canary = Canary::new();
    let volume = tempfile::tempdir().unwrap();
    fs::create_dir(volume.path().join("place")).unwrap();
    symlink(canary.climb(), volume.path().join("link")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| exchange(volume.path(), &stop));
        let mut trial = Trial::new("true");
        trial.set("/process/args", json!(["/bin/true"]));
        trial.mount(
            "bind",
            volume.path().to_str().unwrap(),
            "/volume",
            &["rbind"],
        );
        trial.mount("tmpfs", "tmpfs", destination, &[]);
        for _ in 0..ROUNDS {
            match trial.run() {
                Ok(outcome) => {
                    assert_eq!(outcome.code, 0);
                    ran += 1;
                }
                Err(_) => refused += 1,
            }
        }
    });
    canary.check();
    assert_eq!(ran + refused, ROUNDS);
}

#[test]
fn cve_2021_30465_a_race_on_the_destination_never_leaves_the_root() {
    race("cve_2021_30465_race", "/volume/place");
}

#[test]
fn cve_2024_45310_a_race_on_a_missing_destination_never_leaves_the_root() {
    race("cve_2024_45310_race", "/volume/place/missing/deep");
}

// --- CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc and /sys --------------------------------------------------

#[test]
fn cve_2023_27561_proc_and_sys_must_be_real_directories() {
    let Some(()) = possible("cve_2023_27561") else {
        return;
    };
    for dir in ["proc", "sys", "dev"] {
        let mut trial = Trial::new("true");
        fs::create_dir(trial.path("elsewhere")).unwrap();
        replace(&trial.path(dir), Path::new("/elsewhere"));
        let refusal = trial.refusal();
        assert!(
            refusal.contains(&format!("/{dir}: the destination is not a real directory")),
            "{refusal}"
        );
        fs::remove_file(trial.path(dir)).unwrap();
        fs::write(trial.path(dir), "").unwrap();
        let refusal = trial.refusal();
        assert!(
            refusal.contains(&format!("/{dir}: the destination is not a real directory")),
            "{refusal}"
        );
        trial.set("/hostname", json!("other"));
    }
}

#[test]
fn cve_2019_16884_nothing_is_mounted_over_proc() {
    let Some(()) = possible("cve_2019_16884") else {
        return;
    };
    for destination in [
        "/proc",
        "/proc/",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/./1",
        "/x/../proc/sys/kernel",
    ] {
        let mut trial = Trial::new("true");
        trial.mount("tmpfs", "tmpfs", destination, &[]);
        let refusal = trial.refusal();
        assert!(
            refusal.starts_with("mounts[6].destination: /proc"),
            "{destination}: {refusal}"
        );
    }
    let mut trial = Trial::new("true");
    trial.mount("bind", "/tmp", "/proc", &["rbind"]);
    assert!(
        trial
            .refusal()
            .contains("only a procfs may be mounted on /proc"),
        "{}",
        trial.refusal()
    );
}

#[test]
fn cve_2019_16884_nothing_is_mounted_on_proc_by_way_of_a_link() {
    let Some(()) = possible("cve_2019_16884_link") else {
        return;
    };
    for (target, destination) in [
        ("/proc", "/link/sys"),
        ("/proc/sys/kernel", "/link"),
        ("proc/../proc/fs", "/link"),
    ] {
        let mut trial = Trial::new("true");
        replace(&trial.path("link"), Path::new(target));
        trial.mount("tmpfs", "tmpfs", destination, &[]);
        let refusal = trial.refusal();
        assert!(
            refusal.contains("the destination is not allowed"),
            "{target}: {refusal}"
        );
    }
}

#[test]
fn files_about_the_host_may_be_mounted_on_proc() {
    let Some(()) = possible("files_about_the_host_may_be_mounted_on_proc") else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "MemTotal: 1 kB\n").unwrap();
    let mut trial = Trial::new("cat /proc/meminfo");
    trial.mount(
        "bind",
        file.path().to_str().unwrap(),
        "/proc/meminfo",
        &["bind", "ro"],
    );
    assert_eq!(trial.output(), "MemTotal: 1 kB\n");
}

// --- CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: masks, console, procfs writes -----------------------------------

#[test]
fn cve_2025_31133_masks_do_not_come_from_the_container() {
    let Some(()) = possible("cve_2025_31133") else {
        return;
    };
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("null"), "not a device").unwrap();
    let mut trial = Trial::new(
        "stat -c '%F %t:%T' /etc/secret; cat /etc/secret /etc/other; ls -A /closed; grep ' /closed ' /proc/self/mountinfo",
    );
    fs::write(trial.path("etc/secret"), "secret").unwrap();
    fs::write(trial.path("etc/other"), "other secret").unwrap();
    fs::create_dir(trial.path("closed")).unwrap();
    fs::write(trial.path("closed/secret"), "secret").unwrap();
    // A /dev of the container's own, with whatever it likes in the place of the null device.
    trial.mount("bind", volume.path().to_str().unwrap(), "/dev", &["rbind"]);
    trial.set(
        "/linux/maskedPaths",
        json!(["/etc/secret", "/etc/other", "/closed"]),
    );
    let output = trial.output();
    // Nothing but the device and the line of the closed directory.
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(
        (lines[0], lines.len()),
        ("character special file 1:3", 2),
        "{output}"
    );
    assert!(lines[1].contains(" ro,"), "{output}");
}

#[test]
fn cve_2025_31133_a_null_device_of_the_image_is_not_used() {
    let Some(()) = possible("cve_2025_31133_image") else {
        return;
    };
    let canary = Canary::new();
    let mut trial = Trial::new("true");
    trial.spec["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    replace(&trial.path("dev/null"), &canary.climb().join("file"));
    let refusal = trial.refusal();
    assert!(
        refusal.contains("/dev/null: cannot create mount point: File exists"),
        "{refusal}"
    );
    canary.check();
}

/// Without a procfs of its own the image's `/proc` is covered, if it has one, and nothing else is missed.
#[test]
fn masks_hold_where_no_procfs_is_mounted() {
    let Some(()) = possible("masks_hold_where_no_procfs_is_mounted") else {
        return;
    };
    let mut trial =
        Trial::new("cat /proc/kcore; ls -A /proc/acpi; echo x > /proc/sys/x; ls /proc/sys");
    trial.spec["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/proc");
    for dir in ["proc/acpi", "proc/sys"] {
        fs::create_dir_all(trial.path(dir)).unwrap();
    }
    for file in ["proc/kcore", "proc/acpi/secret", "proc/sys/seen"] {
        fs::write(trial.path(file), "secret\n").unwrap();
    }
    let masked = json!(["/proc/kcore", "/proc/acpi", "/proc/keys"]);
    trial.set("/linux/maskedPaths", masked);
    trial.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"]));
    let output = trial.output();
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(
        output.ends_with("\nseen\n") && !output.contains("secret"),
        "{output}"
    );
}

#[test]
fn a_mask_is_left_out_only_where_nothing_is() {
    let Some(()) = possible("a_mask_is_left_out_only_where_nothing_is") else {
        return;
    };
    let mut trial = Trial::new("true");
    trial.set("/linux/maskedPaths", json!(["/absent", "/absent/too"]));
    assert_eq!(trial.output(), "");
    for target in ["/proc/self/fd/1", "/loop"] {
        replace(&trial.path("loop"), Path::new(target));
        trial.set("/linux/maskedPaths", json!(["/loop"]));
        assert!(
            trial
                .refusal()
                .contains("/loop: cannot find the destination"),
            "{}",
            trial.refusal()
        );
    }
}

#[test]
fn cve_2025_52565_the_console_does_not_follow_links() {
    let Some(()) = possible("cve_2025_52565") else {
        return;
    };
    let canary = Canary::new();
    let volume = tempfile::tempdir().unwrap();
    symlink(canary.climb().join("file"), volume.path().join("ptmx")).unwrap();
    let mut trial = Trial::new("true");
    trial.set("/process/terminal", json!(true));
    trial.mount(
        "bind",
        volume.path().to_str().unwrap(),
        "/dev/pts",
        &["rbind"],
    );
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let options = rkube_runtime::spawn::Options {
        console: Some(theirs.as_fd()),
        ..Default::default()
    };
    let mut running = trial.spawn(options).unwrap();
    let err = running.child.wait_exec().unwrap_err().to_string();
    assert_eq!(
        err,
        "container trial: cannot make the terminal: cannot open the terminal multiplexer"
    );
    drop(ours);
    canary.check();
}

#[test]
fn cve_2025_52881_writes_to_proc_do_not_pass_through_mounts() {
    let Some(()) = possible("cve_2025_52881") else {
        return;
    };
    // The container's /proc is a bind of the host's, and there is no pid namespace: still, sysctls go to the
    // container's network namespace, by a procfs of our own.
    let mut trial = Trial::new("cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    trial.without_namespace("pid");
    trial.spec["mounts"][0] =
        json!({"type": "bind", "source": "/proc", "destination": "/proc", "options": ["rbind"]});
    trial.set(
        "/linux/sysctl",
        json!({"net.ipv4.ip_unprivileged_port_start": "44"}),
    );
    trial.set("/linux/readonlyPaths", json!([]));
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert_eq!(trial.output(), "44\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap(),
        before
    );
}

// --- CVE-2026-41579, CVE-2026-47766: /dev ----------------------------------------------------------------------------

#[test]
fn cve_2026_41579_devices_are_never_made_outside() {
    let Some(()) = possible("cve_2026_41579") else {
        return;
    };
    let canary = Canary::new();
    for with_mount in [true, false] {
        let mut trial = Trial::new("true");
        if !with_mount {
            trial.spec["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        }
        replace(&trial.path("dev"), &canary.climb());
        assert!(trial.run().is_err());
        canary.check();
    }
    let mut trial = Trial::new("true");
    replace(&trial.path("srv"), &canary.climb());
    trial.set(
        "/linux/devices",
        json!([{"path": "/srv/node", "type": "c", "major": 1, "minor": 3}]),
    );
    assert!(trial.run().is_err());
    canary.check();
}

#[test]
fn a_device_may_be_in_the_image_only_if_it_is_the_same() {
    let Some(()) = possible("a_device_may_be_in_the_image_only_if_it_is_the_same") else {
        return;
    };
    let mut trial = Trial::new("true");
    trial.spec["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    assert_eq!(trial.output(), "");
    assert!(
        fs::metadata(trial.path("dev/null"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert_eq!(trial.output(), "", "the second start finds them");
    fs::remove_file(trial.path("dev/full")).unwrap();
    fs::write(trial.path("dev/full"), "").unwrap();
    assert!(trial.refusal().contains("/dev/full"), "{}", trial.refusal());
}

// --- CVE-2022-29162, CVE-2022-27650, CVE-2022-24769, CVE-2025-27612: capabilities ------------------------------------

#[test]
fn cve_2022_29162_inheritable_and_ambient_are_empty() {
    let Some(()) = possible("cve_2022_29162") else {
        return;
    };
    let show = "grep -E 'CapInh|CapAmb' /proc/self/status";
    let trial = Trial::new(&format!("{show}; echo ready; exec sleep 60"));
    let mut running = trial.start().unwrap();
    let mut lines = vec![running.line(), running.line()];
    assert_eq!(running.line(), "ready");
    let exec = trial.exec(&running, &process(show)).unwrap();
    lines.extend(exec.output.lines().map(str::to_owned));
    assert_eq!(lines.len(), 4);
    assert!(
        lines
            .iter()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{lines:?}"
    );
    running.kill();
}

// --- CVE-2022-0492, CVE-2023-25809: cgroups --------------------------------------------------------------------------

#[test]
fn cve_2022_0492_cgroups_cannot_be_written() {
    let Some(()) = possible("cve_2022_0492") else {
        return;
    };
    let script = "\
        for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs); do \
            (echo 1 > $f) 2>/dev/null && echo wrote $f; done; \
        mount -t tmpfs none /tmp 2>/dev/null && echo mounted; \
        unshare -m true 2>/dev/null && echo unshared; true";
    let mut trial = Trial::new(script);
    trial.mount(
        "cgroup",
        "cgroup",
        "/sys/fs/cgroup",
        &["nosuid", "noexec", "nodev", "ro"],
    );
    assert_eq!(trial.output(), "");
    // Not even without a namespace in the spec are the host's cgroups shown.
    trial.without_namespace("cgroup");
    assert_eq!(trial.output(), "");
    let show = "readlink /proc/self/ns/cgroup; grep -c ' / /sys/fs/cgroup/' /proc/self/mountinfo; grep cgroup /proc/self/mountinfo | grep -vc ' / /sys/fs'";
    trial.set("/process/args", json!(["/bin/sh", "-c", show]));
    let outcome = trial.run().unwrap();
    let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert!(
        !outcome.output.contains(own.to_str().unwrap()),
        "{}",
        outcome.output
    );
    assert!(outcome.output.ends_with("\n0\n"), "{}", outcome.output);
}

// --- CVE-2022-0811: sysctl injection ---------------------------------------------------------------------------------

#[test]
fn cve_2022_0811_sysctls_of_the_host_are_refused() {
    let Some(()) = possible("cve_2022_0811") else {
        return;
    };
    for name in [
        "kernel.core_pattern",
        "kernel.shm_rmid_forced+kernel.core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "net/ipv4/ip_forward",
        "net..ip_forward",
        "../kernel.sem",
        "kernel.sem\n",
        "vm.swappiness",
    ] {
        let mut trial = Trial::new("true");
        trial.spec["linux"]["sysctl"] = json!({name: "1"});
        assert!(
            trial.refusal().contains("is not a sysctl of a namespace"),
            "{name:?}: {}",
            trial.refusal()
        );
    }
    let mut trial = Trial::new("true");
    trial.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1\n2"}));
    assert!(
        trial.refusal().contains("one of several lines"),
        "{}",
        trial.refusal()
    );
}

// --- CVE-2023-25173, CVE-2022-36109, CVE-2024-40635: users and groups ------------------------------------------------

#[test]
fn cve_2022_36109_groups_are_never_inherited() {
    let Some(()) = possible("cve_2022_36109") else {
        return;
    };
    let mut trial = Trial::new("grep Groups /proc/self/status");
    trial.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(trial.output().trim_end(), "Groups:");
}

#[test]
fn cve_2024_40635_an_id_that_means_no_change_is_refused() {
    let Some(()) = possible("cve_2024_40635") else {
        return;
    };
    for user in [
        json!({"uid": u32::MAX, "gid": 0}),
        json!({"uid": 0, "gid": u32::MAX}),
        json!({"uid": 1, "gid": 1, "additionalGids": [u32::MAX]}),
    ] {
        let mut trial = Trial::new("true");
        trial.set("/process/user", user);
        assert!(
            trial.refusal().contains("4294967295 is not an id"),
            "{}",
            trial.refusal()
        );
    }
}

// --- CVE-2021-43784: lengths -----------------------------------------------------------------------------------------

#[test]
fn cve_2021_43784_a_container_too_large_to_describe_is_refused() {
    let Some(()) = possible("cve_2021_43784") else {
        return;
    };
    let mut trial = Trial::new("true");
    trial.set(
        "/process/env",
        json!([format!("A={}", "x".repeat(1 << 20))]),
    );
    assert!(
        trial.refusal().contains("make the environment smaller"),
        "{}",
        trial.refusal()
    );
    trial.set("/process/env", json!(["A=b\u{0}c"]));
    assert!(
        trial.refusal().contains("contains a NUL byte"),
        "{}",
        trial.refusal()
    );
    let mut trial = Trial::new("true");
    for index in 0..300 {
        trial.mount("bind", "/etc/hostname", &format!("/m{index}"), &["bind"]);
    }
    assert!(
        trial.refusal().contains("use fewer mounts"),
        "{}",
        trial.refusal()
    );
}

// --- What the program could do with what set-up left behind ----------------------------------------------------------

#[test]
fn a_filter_that_forbids_nearly_everything_does_not_break_the_start() {
    let Some(()) = possible("a_filter_that_forbids_nearly_everything") else {
        return;
    };
    // getcwd fails with EPERM; all else is allowed.
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        [&code.to_ne_bytes()[..], &[jt, jf], &k.to_ne_bytes()].concat()
    };
    let getcwd = u32::try_from(libc::SYS_getcwd).unwrap();
    let program = [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, getcwd),
        instruction(6, 0, 0, 0x0005_0001),
        instruction(6, 0, 0, 0x7fff_0000),
    ];
    let mut trial = Trial::new("readlink -f . >/dev/null || echo denied");
    trial.seccomp = Some(Seccomp {
        program: program.concat(),
        flags: 0,
    });
    trial.set("/process/cwd", json!("/tmp"));
    assert_eq!(trial.output(), "denied\n");
}

#[test]
fn mount_points_do_not_become_writable_for_all() {
    let Some(()) = possible("mount_points_do_not_become_writable_for_all") else {
        return;
    };
    let mut trial = Trial::new("stat -c %a /made /made/too /proc/self/fd /dev/shm");
    trial.mount("tmpfs", "tmpfs", "/made/too", &["mode=0711"]);
    assert_eq!(trial.output(), "755\n711\n500\n1777\n");
    let made = fs::metadata(trial.path("made/too")).unwrap().permissions();
    assert_eq!(made.mode() & 0o7777, 0o755);
}
