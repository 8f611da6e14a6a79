//! Specs that must be refused, and what the error says; and what some harmless ones become.

use std::path::Path;

use oci_spec::runtime::Spec;
use rkube_init::record::Record;
use rkube_init::record::layout::{self, flag, header, mount, trait_of};
use serde_json::{Value, json};

use super::mounts::normal;
use super::{CgroupAttach, CompileError, Launch, Request, Rootfs, Settings, compile};

fn base() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh"], "cwd": "/"},
        "root": {"path": "/"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    })
}

fn try_compile(spec: &Value) -> Result<Launch, CompileError> {
    let spec: Spec = serde_json::from_value(spec.clone()).unwrap();
    compile(Request {
        spec: &spec,
        bundle: Path::new("/"),
        rootfs: Rootfs::Bundle,
        sources: &[],
        cgroup: CgroupAttach::default(),
        seccomp: None,
        settings: Settings::default(),
    })
}

/// Compiles the base with one value changed, by JSON pointer.
fn changed(pointer: &str, value: Value) -> Result<Launch, CompileError> {
    let mut spec = base();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[key] = value;
    try_compile(&spec)
}

#[track_caller]
fn refuse(pointer: &str, value: Value, want: &str) {
    let err = changed(pointer, value).expect_err("refused").to_string();
    assert_eq!(err, want);
}

#[test]
fn a_field_is_named_when_it_is_wrong() {
    refuse("/process", json!(null), "process: is required");
    refuse("/process/args", json!([]), "process.args: names no program");
    refuse(
        "/process/args",
        json!([""]),
        "process.args: names no program",
    );
    refuse(
        "/process/cwd",
        json!("work"),
        "process.cwd: work is not an absolute path",
    );
    refuse(
        "/process/oomScoreAdj",
        json!(1001),
        "process.oomScoreAdj: 1001 is not between -1000 and 1000",
    );
    refuse(
        "/process/user/umask",
        json!(0o1000),
        "process.user.umask: 1000 is more than 777",
    );
    let limit = json!({"type": "RLIMIT_CORE", "soft": 2, "hard": 1});
    refuse(
        "/process/rlimits",
        json!([limit]),
        "process.rlimits[0]: the soft limit is above the hard one",
    );
    let limit = json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
    refuse(
        "/process/rlimits",
        json!([limit, limit]),
        "process.rlimits[1]: RLIMIT_CORE is there twice",
    );
    refuse(
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
        "process.ioPriority.priority: is not between 0 and 7",
    );
    refuse("/root", json!(null), "root: is required");
    refuse(
        "/root/path",
        json!("/etc/hostname"),
        "root.path: /etc/hostname is not a directory",
    );
    refuse(
        "/hostname",
        json!("x"),
        "hostname: needs a uts namespace in linux.namespaces",
    );
    refuse(
        "/linux/rootfsPropagation",
        json!("both"),
        "linux.rootfsPropagation: \"both\" is not a propagation; use private, slave, shared, unbindable or their r forms",
    );
}

#[test]
fn namespaces_must_make_sense() {
    let field = "/linux/namespaces";
    refuse(
        field,
        json!([]),
        "linux.namespaces: a mount namespace is required: add {\"type\": \"mount\"}",
    );
    refuse(
        field,
        json!([{"type": "mount"}, {"type": "mount"}]),
        "linux.namespaces[1].type: mnt is there twice",
    );
    refuse(
        field,
        json!([{"type": "mount"}, {"type": "pid", "path": "/no/ns"}]),
        "linux.namespaces[1].path: cannot open /no/ns",
    );
    refuse(
        field,
        json!([{"type": "mount"}, {"type": "user"}]),
        "linux.uidMappings: a new user namespace needs at least one mapping",
    );
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    refuse(
        "/linux/uidMappings",
        map,
        "linux.uidMappings: needs a user namespace in linux.namespaces",
    );
    let mut spec = base();
    spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "user"}]);
    spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": u32::MAX, "size": 2}]);
    let err = try_compile(&spec).unwrap_err().to_string();
    assert_eq!(
        err,
        "linux.uidMappings[0]: is empty or ends past the last id"
    );
    refuse(
        "/linux/timeOffsets",
        json!({"boottime": {"secs": 1}}),
        "linux.timeOffsets: needs a new time namespace in linux.namespaces",
    );
}

#[test]
fn mounts_are_named_by_their_place() {
    let one = |mount: Value| json!([{"destination": "/proc", "type": "proc"}, mount]);
    refuse(
        "/mounts",
        one(json!({"destination": "/", "type": "tmpfs"})),
        "mounts[1].destination: / is the container's root",
    );
    refuse(
        "/mounts",
        one(json!({"destination": "/a"})),
        "mounts[1].type: is required, unless the options say bind or rbind",
    );
    refuse(
        "/mounts",
        one(json!({"destination": "/a", "options": ["bind"]})),
        "mounts[1].source: is required",
    );
    refuse(
        "/mounts",
        one(json!({"destination": "/a", "source": "/etc", "options": ["bind", "size=3"]})),
        "mounts[1].options: \"size\" is not an option of bind mounts",
    );
    refuse(
        "/mounts",
        one(json!({"destination": "/a", "type": "mqueue", "options": ["tmpcopyup"]})),
        "mounts[1].options: tmpcopyup is for tmpfs only",
    );
    refuse(
        "/linux/devices",
        json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 0}]),
        "linux.devices[0].major: is not a device number",
    );
    refuse(
        "/linux/maskedPaths",
        json!(["/"]),
        "linux.maskedPaths[0]: / is the container's root",
    );
}

#[test]
fn mounts_get_the_traits_that_protect_them() {
    let mounts = json!([
        {"destination": "/proc", "type": "proc"},
        {"destination": "/sys/", "type": "sysfs"},
        {"destination": "/dev", "type": "tmpfs"},
        {"destination": "run/../tmp", "type": "tmpfs", "options": ["ro", "tmpcopyup"]},
        {"destination": "/etc/x", "source": "/etc/hostname", "options": ["bind"]},
    ]);
    let launch = changed("/mounts", mounts).unwrap();
    let record = Record::parse(&launch.record, launch.fds.len()).unwrap();
    let got: Vec<_> = record
        .rows(&layout::MOUNTS)
        .map(|row| {
            (
                row.text(mount::DEST).to_str().unwrap(),
                row.word(mount::TRAITS),
            )
        })
        .collect();
    let want = [
        ("/proc", trait_of::PROC | trait_of::REAL_DIRECTORY),
        ("/sys", trait_of::REAL_DIRECTORY),
        ("/dev", trait_of::DEV | trait_of::REAL_DIRECTORY),
        ("/tmp", trait_of::READONLY_LATE | trait_of::COPY_UP),
        ("/etc/x", trait_of::FILE),
    ];
    assert_eq!(got, want);
    assert!(record.has(flag::CREATE_CWD | flag::CAPABILITIES) && !record.has(flag::EXEC));
    assert_eq!(record.field(header::UMASK), 0o022);
}

#[test]
fn paths_are_made_normal() {
    let check = |path: &str, want: &str| {
        assert_eq!(
            normal("f", Path::new(path)).unwrap(),
            want.as_bytes(),
            "{path}"
        );
    };
    check("/a/b", "/a/b");
    check("a//b/./c/", "/a/b/c");
    check("/a/../../../b", "/b");
    check("/proc/self/../../etc", "/etc");
    assert!(normal("f", Path::new("/a/..")).is_err());
    assert!(normal("f", Path::new(&"/x".repeat(2048))).is_err());
}
