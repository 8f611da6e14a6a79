//! Containers that start, on the real kernel: what a spec asks for is what the process finds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say what they skip"
)]

#[path = "support/trial.rs"]
mod trial;

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rkube_runtime::cgroup::{Cgroup, Hierarchies};
use rkube_runtime::compile::Rootfs;
use serde_json::json;
use trial::{Trial, parked, possible, process};

/// The link of a namespace of this very process.
fn own_namespace(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}"))
        .unwrap()
        .display()
        .to_string()
}

fn namespaces_of(trial: &Trial) -> Vec<String> {
    trial.output().lines().map(str::to_owned).collect()
}

const KINDS: [&str; 6] = ["pid", "mnt", "uts", "ipc", "net", "cgroup"];
const SHOW_NAMESPACES: &str =
    "for n in pid mnt uts ipc net cgroup; do readlink /proc/self/ns/$n; done";

#[test]
fn the_exit_code_is_the_programs() {
    let Some(()) = possible("the_exit_code_is_the_programs") else {
        return;
    };
    assert_eq!(
        Trial::new("echo hello; exit 7").run().unwrap(),
        trial::Outcome {
            code: 7,
            output: "hello\n".into()
        }
    );
}

#[test]
fn namespaces_are_new_or_inherited() {
    let Some(()) = possible("namespaces_are_new_or_inherited") else {
        return;
    };
    for (kind, link) in KINDS
        .iter()
        .zip(namespaces_of(&Trial::new(SHOW_NAMESPACES)))
    {
        assert_ne!(link, own_namespace(kind), "{kind} is new");
    }
    let mut trial = Trial::new(SHOW_NAMESPACES);
    for kind in ["network", "ipc", "uts", "cgroup"] {
        trial.without_namespace(kind);
    }
    trial.set("/hostname", json!(null));
    for (kind, link) in KINDS.iter().zip(namespaces_of(&trial)).skip(2) {
        assert_eq!(link, own_namespace(kind), "{kind} is inherited");
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(()) = possible("namespaces_are_joined_by_path") else {
        return;
    };
    let host = Trial::new("echo ready; exec sleep 60");
    let mut first = host.start().unwrap();
    assert_eq!(first.line(), "ready");
    let mut second =
        Trial::new("for n in pid uts ipc net; do readlink /proc/self/ns/$n; done; hostname");
    second.set("/hostname", json!(null));
    let pid = first.child.pid;
    for (kind, link) in [
        ("pid", "pid"),
        ("uts", "uts"),
        ("ipc", "ipc"),
        ("network", "net"),
    ] {
        second.namespace(kind, Some(&format!("/proc/{pid}/ns/{link}")));
    }
    let want: Vec<String> = ["pid", "uts", "ipc", "net"]
        .iter()
        .map(|kind| {
            fs::read_link(format!("/proc/{pid}/ns/{kind}"))
                .unwrap()
                .display()
                .to_string()
        })
        .chain(["trial".to_owned()])
        .collect();
    assert_eq!(namespaces_of(&second), want);
    assert_eq!(first.kill(), 137);
}

/// Where things are mounted, of `/proc/self/mountinfo` in the container.
fn mount_points(trial: &Trial) -> Vec<String> {
    let output = trial.output();
    let point = |line: &str| line.split(' ').nth(4).unwrap().to_owned();
    output.lines().map(point).collect()
}

#[test]
fn nothing_of_the_host_is_mounted_in_the_container() {
    let Some(()) = possible("nothing_of_the_host_is_mounted_in_the_container") else {
        return;
    };
    let mut trial = Trial::new("cat /proc/self/mountinfo");
    trial.set("/linux/maskedPaths", json!(["/sys/firmware"]));
    trial.set("/linux/readonlyPaths", json!(["/proc/sys"]));
    let want = [
        "/",
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/firmware",
        "/proc/sys",
    ];
    assert_eq!(mount_points(&trial), want);
    trial.set("/linux/maskedPaths", json!([]));
    assert_eq!(mount_points(&trial).len(), want.len() - 1);
    map_users(&mut trial, 100_000);
    trial.set("/linux/maskedPaths", json!(["/sys/firmware"]));
    assert_eq!(
        mount_points(&trial).len(),
        want.len() + 6,
        "six devices are bound"
    );
}

#[test]
fn a_user_namespace_maps_ids() {
    let Some(()) = possible("a_user_namespace_maps_ids") else {
        return;
    };
    let mut trial = Trial::new(
        "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo written; ls -ln /dev/null; stat -c %u /tmp/made /proc/kcore; cat /proc/kcore | head -c 4; touch /tmp/mine; stat -c %t:%T /dev/zero",
    );
    map_users(&mut trial, 100_000);
    let outcome = trial
        .run()
        .unwrap_or_else(|refusal| panic!("{}", refusal.text()));
    let lines: Vec<_> = outcome.output.lines().collect();
    assert_eq!(lines[0], "0");
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536"]
    );
    assert_eq!(lines[2], "written");
    assert_eq!(lines.last(), Some(&"1:5"), "{}", outcome.output);
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(trial.path("tmp/mine")).unwrap().uid(), 100_000);
}

fn map_users(trial: &mut Trial, host: u32) {
    trial.namespace("user", None);
    let map = json!([{"containerID": 0, "hostID": host, "size": 65536}]);
    trial
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    for dir in ["", "tmp", "dev", "proc", "sys", "etc"] {
        std::os::unix::fs::chown(trial.path(dir), Some(host), Some(host)).unwrap();
    }
    fs::set_permissions(trial.bundle(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_user_namespace_is_joined() {
    let Some(()) = possible("a_user_namespace_is_joined") else {
        return;
    };
    let mut first = Trial::new("echo ready; exec sleep 60");
    map_users(&mut first, 200_000);
    let mut running = first
        .start()
        .unwrap_or_else(|refusal| panic!("{}", refusal.text()));
    assert_eq!(running.line(), "ready");
    let mut second = Trial::new("id -u; cat /proc/self/uid_map; readlink /proc/self/ns/net");
    let pid = running.child.pid;
    second.namespace("user", Some(&format!("/proc/{pid}/ns/user")));
    second.namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    let output = second.output();
    let net = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert!(
        output.contains("200000") && output.contains(&*net.to_string_lossy()),
        "{output}"
    );
    let exec = first.exec(&running, &process("id -u; readlink /proc/self/ns/user"));
    let exec = exec.unwrap_or_else(|refusal| panic!("{}", refusal.text()));
    let user = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(exec.output, format!("0\n{}\n", user.display()));
    running.kill();
}

#[test]
fn a_time_namespace_shifts_the_clocks() {
    let Some(()) = possible("a_time_namespace_shifts_the_clocks") else {
        return;
    };
    if !Path::new("/proc/self/ns/time").exists() {
        println!("SKIP a_time_namespace_shifts_the_clocks: this kernel has no time namespaces");
        return;
    }
    let mut trial = Trial::new("cat /proc/uptime; readlink /proc/self/ns/time");
    trial.namespace("time", None);
    trial.set(
        "/linux/timeOffsets",
        json!({"boottime": {"secs": 500_000_000}}),
    );
    let output = trial.output();
    let uptime: f64 = output.split(['.', ' ']).next().unwrap().parse().unwrap();
    assert!(uptime >= 500_000_000.0, "{output}");
    assert!(!output.contains(&own_namespace("time")), "{output}");
}

#[test]
fn the_process_is_what_the_spec_says() {
    let Some(()) = possible("the_process_is_what_the_spec_says") else {
        return;
    };
    let mut trial = Trial::new(
        "id -u; id -g; id -G; umask; echo $HOME; readlink /proc/self/cwd; ulimit -n; ulimit -Hn; hostname; cat /proc/self/oom_score_adj",
    );
    trial.set(
        "/process/user",
        json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27}),
    );
    trial.set("/process/cwd", json!("/made/deep"));
    trial.set("/process/env", json!(["PATH=/bin", "HOME=/h"]));
    trial.set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]),
    );
    trial.set("/process/oomScoreAdj", json!(500));
    let output = trial.output();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(
        lines,
        [
            "1000",
            "1001",
            "1001 5 6",
            "0027",
            "/h",
            "/made/deep",
            "100",
            "200",
            "trial",
            "500"
        ]
    );
}

#[test]
fn an_oom_score_that_cannot_be_lowered_is_left() {
    let Some(()) = possible("an_oom_score_that_cannot_be_lowered_is_left") else {
        return;
    };
    let mut trial = Trial::new("cat /proc/self/oom_score_adj");
    trial.set("/process/oomScoreAdj", json!(-998));
    let score: i32 = trial.output().trim().parse().unwrap();
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(score == -998 || score == own, "{score}");
}

/// The value of a line of `/proc/self/status`.
fn status(output: &str, key: &str) -> String {
    let line = output
        .lines()
        .find(|line| line.starts_with(key))
        .unwrap_or_else(|| panic!("no {key} in {output}"));
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn capabilities_are_those_of_the_spec() {
    let Some(()) = possible("capabilities_are_those_of_the_spec") else {
        return;
    };
    let mut trial = Trial::new("cat /proc/self/status");
    let (chown, both) = (json!(["CAP_CHOWN"]), json!(["CAP_CHOWN", "CAP_KILL"]));
    trial.set(
        "/process/capabilities",
        json!({"bounding": both, "effective": both, "permitted": both}),
    );
    let output = trial.output();
    for (key, want) in [
        ("CapBnd", 0x21),
        ("CapEff", 0x21),
        ("CapPrm", 0x21),
        ("CapInh", 0),
        ("CapAmb", 0),
        ("NoNewPrivs", 1),
    ] {
        assert_eq!(
            u64::from_str_radix(&status(&output, key), 16).unwrap(),
            want,
            "{key}"
        );
    }
    trial.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    trial.set("/process/noNewPrivileges", json!(false));
    trial.set("/process/capabilities", json!({"bounding": both, "effective": both, "permitted": both, "inheritable": chown, "ambient": chown}));
    let output = trial.output();
    for (key, want) in [
        ("CapBnd", 0x21),
        ("CapEff", 1),
        ("CapPrm", 1),
        ("CapInh", 1),
        ("CapAmb", 1),
        ("NoNewPrivs", 0),
    ] {
        assert_eq!(
            u64::from_str_radix(&status(&output, key), 16).unwrap(),
            want,
            "{key}"
        );
    }
    trial.spec["process"]
        .as_object_mut()
        .unwrap()
        .remove("capabilities");
    assert_eq!(status(&trial.output(), "CapBnd"), "0000000000000000");
}

#[test]
fn a_filter_is_loaded_with_and_without_new_privileges() {
    let Some(()) = possible("a_filter_is_loaded_with_and_without_new_privileges") else {
        return;
    };
    // RET ALLOW.
    let program = [
        6u16.to_ne_bytes().as_slice(),
        &[0, 0],
        &0x7fff_0000u32.to_ne_bytes(),
    ]
    .concat();
    for no_new_privileges in [true, false] {
        let mut trial = Trial::new("cat /proc/self/status");
        trial.seccomp = Some(rkube_runtime::compile::Seccomp {
            program: program.clone(),
            flags: 0,
        });
        trial.set("/process/noNewPrivileges", json!(no_new_privileges));
        let output = trial.output();
        assert_eq!(status(&output, "Seccomp:"), "2");
        assert_eq!(
            status(&output, "NoNewPrivs"),
            u8::from(no_new_privileges).to_string()
        );
        assert_eq!(status(&output, "CapEff"), "0000000000000421");
    }
}

#[test]
fn mount_options_arrive() {
    let Some(()) = possible("mount_options_arrive") else {
        return;
    };
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "text").unwrap();
    let source = outside.path().to_str().unwrap().to_owned();
    let file = format!("{source}/file");
    let mut trial =
        Trial::new("cat /proc/self/mountinfo; cat /data/file /etc/one; touch /data/new 2>&1");
    trial.mount(
        "bind",
        &source,
        "/data",
        &["rbind", "ro", "nosuid", "nodev", "noexec", "noatime"],
    );
    trial.mount("bind", &file, "/etc/one", &["bind", "rro"]);
    trial.mount(
        "tmpfs",
        "tmpfs",
        "/small",
        &["size=64k", "mode=0700", "nr_inodes=77", "noexec"],
    );
    trial.mount("tmpfs", "tmpfs", "/fixed", &["ro", "size=64k"]);
    trial.mount("tmpfs", "tmpfs", "/fixed/below", &["size=64k"]);
    let output = trial
        .run()
        .unwrap_or_else(|refusal| panic!("{}", refusal.text()))
        .output;
    let options = |point: &str| {
        let line = output
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(point))
            .unwrap_or_else(|| panic!("no {point} in {output}"));
        let words: Vec<_> = line.split(' ').collect();
        (
            words[5].to_owned(),
            (*words.last().unwrap()).to_owned(),
            line.contains("shared:") || line.contains("master:"),
        )
    };
    let (data, _, propagates) = options("/data");
    assert_eq!(
        (data.as_str(), propagates),
        ("ro,nosuid,nodev,noexec,noatime", false)
    );
    assert!(options("/etc/one").0.starts_with("ro,"));
    let (small, superblock, _) = options("/small");
    assert_eq!(small, "rw,noexec,relatime");
    assert!(
        superblock.contains("size=64k")
            && superblock.contains("mode=700")
            && superblock.contains("nr_inodes=77"),
        "{superblock}"
    );
    assert!(options("/fixed").0.starts_with("ro,") && options("/fixed/below").0.starts_with("rw,"));
    assert!(options("/sys").0.starts_with("ro,nosuid,nodev,noexec"));
    assert!(
        output.contains("texttext") && output.contains("Read-only file system"),
        "{output}"
    );
}

#[test]
fn recursive_options_reach_the_mounts_below() {
    let Some(()) = possible("recursive_options_reach_the_mounts_below") else {
        return;
    };
    let mut trial = Trial::new("touch /tree/pts/x /tree/x; grep ' /tree' /proc/self/mountinfo");
    trial.mount("bind", "/dev", "/tree", &["rbind", "rro", "rnoexec"]);
    let output = trial
        .run()
        .unwrap_or_else(|refusal| panic!("{}", refusal.text()))
        .output;
    let mounts: Vec<_> = output
        .lines()
        .filter(|line| line.contains(" /tree"))
        .filter(|line| !line.starts_with("touch"))
        .collect();
    assert!(mounts.len() > 1, "{output}");
    assert!(
        mounts
            .iter()
            .all(|line| line.split(' ').nth(5).unwrap().starts_with("ro,")
                && line.contains("noexec")),
        "{output}"
    );
}

#[test]
fn a_tmpfs_takes_over_what_was_there() {
    let Some(()) = possible("a_tmpfs_takes_over_what_was_there") else {
        return;
    };
    let mut trial = Trial::new(
        "cat /stuff/a/b; readlink /stuff/link; stat -c %a /stuff /stuff/a; grep ' /stuff ' /proc/self/mountinfo",
    );
    fs::create_dir_all(trial.path("stuff/a")).unwrap();
    fs::write(trial.path("stuff/a/b"), "copied\n").unwrap();
    fs::set_permissions(trial.path("stuff/a"), fs::Permissions::from_mode(0o710)).unwrap();
    std::os::unix::fs::symlink("a/b", trial.path("stuff/link")).unwrap();
    trial.mount("tmpfs", "tmpfs", "/stuff", &["tmpcopyup"]);
    let output = trial.output();
    assert!(
        output.starts_with("copied\na/b\n755\n710\n") && output.contains("tmpfs"),
        "{output}"
    );
}

#[test]
fn a_bind_is_id_mapped() {
    let Some(()) = possible("a_bind_is_id_mapped") else {
        return;
    };
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "text").unwrap();
    let mut trial = Trial::new("stat -c %u:%g /data/file");
    let map = json!([{"containerID": 0, "hostID": 3000, "size": 1000}]);
    let mount = json!({"type": "bind", "source": outside.path(), "destination": "/data", "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map});
    trial.spec["mounts"].as_array_mut().unwrap().push(mount);
    match trial.run() {
        Ok(outcome) => assert_eq!(outcome.output, "3000:3000\n"),
        // Not every file system can.
        Err(refusal) => assert!(
            refusal
                .text()
                .contains("cannot set mount options: Invalid argument"),
            "{}",
            refusal.text()
        ),
    }
}

#[test]
fn an_overlay_takes_changes_and_its_layers_do_not() {
    let Some(()) = possible("an_overlay_takes_changes_and_its_layers_do_not") else {
        return;
    };
    let mut trial = Trial::new("cat /etc/two; echo new > /etc/one; cat /etc/one");
    let base = trial.bundle().to_owned();
    for dir in ["layer/etc", "upper", "work"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    fs::write(trial.path("etc/one"), "old\n").unwrap();
    fs::write(trial.path("etc/two"), "below\n").unwrap();
    fs::write(base.join("layer/etc/two"), "above\n").unwrap();
    let lowers = vec![base.join("layer"), base.join("rootfs")];
    trial.rootfs = Rootfs::Overlay {
        lowers: lowers.clone(),
        upper: base.join("upper"),
        work: base.join("work"),
        volatile: true,
    };
    assert_eq!(trial.output(), "above\nnew\n");
    assert_eq!(fs::read_to_string(trial.path("etc/one")).unwrap(), "old\n");
    assert_eq!(
        fs::read_to_string(base.join("upper/etc/one")).unwrap(),
        "new\n"
    );

    let readonly = "cat /etc/one; touch /etc/x 2>&1 || true";
    trial
        .set("/process/args", json!(["/bin/sh", "-c", readonly]))
        .set("/root/readonly", json!(true));
    for lowers in [lowers, vec![base.join("rootfs")]] {
        fs::create_dir_all(base.join("rootfs/work")).unwrap();
        trial.rootfs = Rootfs::ReadOnlyOverlay { lowers };
        assert_eq!(
            trial.output(),
            "old\ntouch: /etc/x: Read-only file system\n"
        );
    }
}

#[test]
fn dev_has_what_programs_expect() {
    let Some(()) = possible("dev_has_what_programs_expect") else {
        return;
    };
    let mut trial = Trial::new(
        "for f in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$f; done; for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; stat -c '%F %t:%T %a %u' /dev/net/x /srv/p",
    );
    trial.set("/linux/devices", json!([
        {"path": "/dev/net/x", "type": "c", "major": 10, "minor": 200, "fileMode": 0o600, "uid": 7},
        {"path": "/srv/p", "type": "p", "fileMode": 0o640},
    ]));
    let output = trial.output();
    let want = "\
/dev/null character special file 1:3 666
/dev/zero character special file 1:5 666
/dev/full character special file 1:7 666
/dev/random character special file 1:8 666
/dev/urandom character special file 1:9 666
/dev/tty character special file 5:0 666
/proc/self/fd
/proc/self/fd/0
/proc/self/fd/1
/proc/self/fd/2
pts/ptmx
character special file a:c8 600 7
fifo 0:0 640 0
";
    assert_eq!(output, want);
}

#[test]
fn paths_are_masked_and_read_only() {
    let Some(()) = possible("paths_are_masked_and_read_only") else {
        return;
    };
    let mut trial = Trial::new(
        "cat /proc/keys /proc/timer_list; ls -A /sys/firmware; touch /sys/firmware/x 2>&1; (echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1; (echo x > /etc/kept) 2>&1; stat -c '%t:%T' /proc/timer_list; ls /dir",
    );
    fs::create_dir(trial.path("dir")).unwrap();
    fs::write(trial.path("dir/secret"), "x").unwrap();
    fs::write(trial.path("etc/kept"), "x").unwrap();
    trial.spec["linux"]["maskedPaths"]
        .as_array_mut()
        .unwrap()
        .push(json!("/dir"));
    trial.spec["linux"]["readonlyPaths"]
        .as_array_mut()
        .unwrap()
        .push(json!("/etc/kept"));
    let output = trial.output();
    assert_eq!(
        output.matches("Read-only file system").count(),
        3,
        "{output}"
    );
    assert!(output.ends_with("1:3\n"), "{output}");
}

#[test]
fn the_root_can_be_read_only() {
    let Some(()) = possible("the_root_can_be_read_only") else {
        return;
    };
    let mut trial = Trial::new("touch /x 2>&1; touch /dev/shm/y && echo shm");
    trial.set("/root/readonly", json!(true));
    assert_eq!(trial.output(), "touch: /x: Read-only file system\nshm\n");
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces() {
    let Some(()) = possible("sysctls_are_set_in_the_containers_namespaces") else {
        return;
    };
    let mut trial = Trial::new(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced",
    );
    trial.set(
        "/linux/sysctl",
        json!({"net.ipv4.ip_unprivileged_port_start": "33", "kernel.shm_rmid_forced": "1"}),
    );
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert_eq!(trial.output(), "33\n1\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap(),
        own
    );
    trial.without_namespace("network");
    assert!(
        trial.refusal().contains("needs a net namespace"),
        "{}",
        trial.refusal()
    );
}

#[test]
fn cgroups_are_shown_read_only_and_only_ones_own() {
    let Some(()) = possible("cgroups_are_shown_read_only_and_only_ones_own") else {
        return;
    };
    let mut trial = Trial::new(
        "grep cgroup /proc/self/mountinfo; cut -d: -f3 /proc/self/cgroup; find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs",
    );
    trial.mount(
        "cgroup",
        "cgroup",
        "/sys/fs/cgroup",
        &["nosuid", "noexec", "nodev", "relatime", "ro"],
    );
    let output = trial
        .run()
        .unwrap_or_else(|refusal| panic!("{}", refusal.text()))
        .output;
    let mounts: Vec<_> = output
        .lines()
        .filter(|line| line.contains(" /sys/fs/cgroup"))
        .collect();
    assert!(!mounts.is_empty(), "{output}");
    for line in mounts {
        let words: Vec<_> = line.split(' ').collect();
        assert!(words[5].starts_with("ro,"), "{line}");
        assert_eq!(words[3], "/", "{line}");
    }
}

/// Deletes the cgroup, whatever becomes of the test.
struct Deleted<'a>(&'a Hierarchies, std::path::PathBuf);

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        let _ = Cgroup::open(self.0, &self.1).and_then(|cgroup| cgroup.delete());
    }
}

#[test]
fn the_process_is_in_its_cgroup_and_sees_only_that() {
    let name = "the_process_is_in_its_cgroup_and_sees_only_that";
    let Some(()) = possible(name) else {
        return;
    };
    let Ok(hierarchies) = Hierarchies::detect() else {
        println!("SKIP {name}: no cgroups are mounted");
        return;
    };
    let path = std::path::PathBuf::from(format!("/rkube-start-{}", std::process::id()));
    let Ok(cgroup) = Cgroup::create(&hierarchies, &path) else {
        println!("SKIP {name}: cgroups cannot be made here");
        return;
    };
    let _deleted = Deleted(&hierarchies, path.clone());
    let count = cgroup.dirs().count();
    // The second of the mounts is one before which the process must have moved.
    let mut trial = Trial::new(
        "cut -d: -f3 /proc/self/cgroup | grep -c '^/$'; \
         cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null | grep -c '^1$'; \
         echo ready; exec sleep 60",
    );
    trial.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["ro"]);
    trial.mount("tmpfs", "tmpfs", "/etc", &["tmpcopyup"]);
    trial.cgroup = Some(cgroup);
    let mut running = trial.start().unwrap();
    let (roots, members) = (running.line(), running.line());
    assert!(
        roots.parse::<usize>().unwrap() >= count,
        "{roots} of {count}"
    );
    assert!(members.parse::<usize>().unwrap() >= 1, "{members}");
    assert_eq!(running.line(), "ready");
    let inside = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let here = |line: &&str| line.rsplit(':').next().unwrap() == path.to_str().unwrap();
        text.lines().filter(here).count()
    };
    assert_eq!(inside(running.child.pid), count);
    let exec = trial.exec(
        &running,
        &process("cut -d: -f3 /proc/self/cgroup | grep -c '^/$'"),
    );
    assert_eq!(exec.unwrap().output, format!("{roots}\n"));
    running.kill();
}

#[test]
fn a_parked_process_waits_and_can_be_given_up() {
    let Some(()) = possible("a_parked_process_waits_and_can_be_given_up") else {
        return;
    };
    let trial = Trial::new("echo ran");
    let mut running = trial.spawn(parked()).unwrap();
    running.child.wait_parked().unwrap();
    let name = fs::read_to_string(format!("/proc/{}/comm", running.child.pid)).unwrap();
    assert_ne!(name, "sh\n", "not executed yet");
    running.child.start().unwrap();
    running.child.wait_exec().unwrap();
    assert_eq!(
        running.finish(),
        trial::Outcome {
            code: 0,
            output: "ran\n".into()
        }
    );

    let mut running = trial.spawn(parked()).unwrap();
    running.child.wait_parked().unwrap();
    running.child.abandon();
    assert_eq!(
        running.finish(),
        trial::Outcome {
            code: 0,
            output: String::new()
        }
    );
}

#[test]
fn hooks_find_the_mounts_made_and_the_root_unchanged() {
    let Some(()) = possible("hooks_find_the_mounts_made_and_the_root_unchanged") else {
        return;
    };
    let mut trial = Trial::new("echo ran");
    trial.set(
        "/hooks",
        json!({"createContainer": [{"path": "/bin/true"}]}),
    );
    let mut running = trial
        .spawn(rkube_runtime::spawn::Options {
            hooks: true,
            ..Default::default()
        })
        .unwrap();
    running.child.wait_hooks().unwrap();
    let pid = running.child.pid;
    let root = fs::read_link(format!("/proc/{pid}/root")).unwrap();
    assert_eq!(root, Path::new("/"));
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let place = trial.path("dev/mqueue");
    let place = format!(" {} ", place.display());
    assert!(
        mounts
            .lines()
            .any(|line| line.contains(&place) && line.contains(" - mqueue ")),
        "{mounts}"
    );
    running.child.release_hooks().unwrap();
    running.child.wait_exec().unwrap();
    assert_eq!(running.finish().output, "ran\n");
}

#[test]
fn exec_joins_the_container() {
    let Some(()) = possible("exec_joins_the_container") else {
        return;
    };
    let trial = Trial::new("echo $$ > /tmp/pid; echo ready; exec sleep 60");
    let mut running = trial.start().unwrap();
    assert_eq!(running.line(), "ready");
    let mut other = process(
        "cat /tmp/pid; hostname; id -u; readlink /proc/self/cwd; ls /proc/self/fd | wc -l; cat /proc/self/status; for n in pid mnt uts ipc net cgroup; do readlink /proc/self/ns/$n; done",
    );
    other["user"] = json!({"uid": 3, "gid": 4});
    other["cwd"] = json!("/tmp");
    let outcome = trial
        .exec(&running, &other)
        .unwrap_or_else(|refusal| panic!("{}", refusal.text()));
    let lines: Vec<_> = outcome.output.lines().collect();
    assert_eq!(lines[..4], ["1", "trial", "3", "/tmp"]);
    // 0, 1, 2 and what `ls` opens.
    assert_eq!(lines[4], "4");
    assert_eq!(status(&outcome.output, "CapBnd"), "0000000000000421");
    for (kind, link) in KINDS.iter().zip(lines.iter().rev().take(6).rev()) {
        let want = fs::read_link(format!("/proc/{}/ns/{kind}", running.child.pid)).unwrap();
        assert_eq!(Path::new(link), want, "{kind}");
    }
    assert_eq!(running.kill(), 137);
}

#[test]
fn a_terminal_is_the_containers_own() {
    let Some(()) = possible("a_terminal_is_the_containers_own") else {
        return;
    };
    let mut trial =
        Trial::new("tty; stty size; echo x > /dev/tty; stat -c %F:%t /dev/console; sleep 60");
    trial.set("/process/terminal", json!(true));
    trial.set("/process/consoleSize", json!({"height": 33, "width": 99}));
    let (mut running, master) = start_with_terminal(&trial.compile().unwrap());
    let mut seen = read_until(&master, "special");
    seen.push_str(&read_until(&master, "\n"));
    assert_eq!(
        seen,
        "/dev/pts/0\r\n33 99\r\nx\r\ncharacter special file:88\r\n"
    );

    let mut other = process("tty");
    other["terminal"] = json!(true);
    let (exec, master) = start_with_terminal(
        &trial
            .compile_exec(&other, running.child.pidfd.as_fd())
            .unwrap(),
    );
    assert_eq!(read_until(&master, "\n"), "/dev/pts/1\r\n");
    assert_eq!(exec.finish().code, 0);
    running.child.abandon();
    assert_eq!(running.kill(), 137);
}

fn start_with_terminal(launch: &rkube_runtime::compile::Launch) -> (trial::Running, fs::File) {
    use rustix::net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags,
        SocketType,
    };
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let options = rkube_runtime::spawn::Options {
        console: Some(theirs.as_fd()),
        ..Default::default()
    };
    let mut running =
        trial::launch(launch, options).unwrap_or_else(|refusal| panic!("{}", refusal.text()));
    running
        .child
        .wait_exec()
        .unwrap_or_else(|err| panic!("{err}: {:?}", std::error::Error::source(&err)));
    drop(theirs);
    let mut bytes = [0; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [std::io::IoSliceMut::new(&mut bytes)];
    let got =
        rustix::net::recvmsg(&ours, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(&bytes[..got.bytes], b"/dev/ptmx");
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let master = fds.next().unwrap().next().unwrap();
    (running, master.into())
}

fn read_until(master: &fs::File, end: &str) -> String {
    use std::io::Read as _;
    let mut seen = String::new();
    let mut byte = [0];
    let mut master = master;
    while !seen.ends_with(end) && master.read(&mut byte).is_ok_and(|n| n == 1) {
        seen.push(char::from(byte[0]));
    }
    seen
}

#[test]
fn descriptors_are_kept_only_on_request() {
    let Some(()) = possible("descriptors_are_kept_only_on_request") else {
        return;
    };
    // The shell's own `ls` opens one more.
    assert_eq!(Trial::new("ls /proc/self/fd").output(), "0\n1\n2\n3\n");
}

#[test]
fn the_mount_of_a_shared_root_travels_only_if_asked() {
    let Some(()) = possible("the_mount_of_a_shared_root_travels_only_if_asked") else {
        return;
    };
    for (propagation, field) in [
        ("private", ""),
        ("slave", "master:"),
        ("shared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        let mut trial = Trial::new("head -n 200 /proc/self/mountinfo | grep ' / / '");
        trial.set("/linux/rootfsPropagation", json!(propagation));
        trial.set(
            "/process/args",
            json!(["/bin/grep", " / rw,", "/proc/self/mountinfo"]),
        );
        let output = trial.output();
        let tags = output
            .lines()
            .next()
            .unwrap()
            .split(" - ")
            .next()
            .unwrap()
            .split(' ')
            .skip(6)
            .collect::<Vec<_>>()
            .join(" ");
        match field {
            // What the host's mount is private, nothing can follow it.
            "master:" if tags.is_empty() => {}
            "" => assert_eq!(tags, "", "{output}"),
            field => assert!(tags.contains(field), "{propagation}: {output}"),
        }
    }
}

#[test]
fn failures_are_told_by_name() {
    let Some(()) = possible("failures_are_told_by_name") else {
        return;
    };
    let mut trial = Trial::new("true");
    trial.set("/process/args", json!(["no-such-program"]));
    assert_eq!(
        trial.refusal(),
        "container trial: cannot find the program \"no-such-program\": No such file or directory (os error 2)"
    );
    trial.set("/process/args", json!(["/etc"]));
    assert_eq!(
        trial.refusal(),
        "container trial: cannot find the program \"/etc\": Permission denied (os error 13)"
    );
    fs::write(trial.path("etc/text"), "no program").unwrap();
    fs::set_permissions(trial.path("etc/text"), fs::Permissions::from_mode(0o755)).unwrap();
    trial.set("/process/args", json!(["/etc/text"]));
    assert_eq!(
        trial.refusal(),
        "container trial: cannot execute the program \"/etc/text\": Exec format error (os error 8)"
    );

    let mut trial = Trial::new("true");
    let base = trial.bundle().to_owned();
    trial.rootfs = Rootfs::ReadOnlyOverlay {
        lowers: vec![base.join("rootfs")],
    };
    trial.mount("tmpfs", "tmpfs", "/data", &[]);
    assert_eq!(
        trial.refusal(),
        "container trial: mounts[6] /data: cannot create mount point: Read-only file system (os error 30)"
    );
    let mut trial = Trial::new("true");
    trial.mount("tmpfs", "tmpfs", "/data", &["sice=3"]);
    assert_eq!(
        trial.refusal(),
        "container trial: mounts[6] /data: the file system refuses an option: Invalid argument (os error 22)"
    );
    let mut trial = Trial::new("true");
    trial.mount("bind", "/no/such/dir", "/data", &["bind"]);
    assert!(
        trial
            .refusal()
            .starts_with("mounts[6].source: cannot open /no/such/dir"),
        "{}",
        trial.refusal()
    );
}
