use std::collections::HashSet;

use oci_spec::runtime::Capability;

use super::interpret::{Call, run};
use super::*;

mod kernel;
mod random;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn build(json: &str) -> Result<Program, String> {
    compile_for(&profile(json), Machine::X86_64).map_err(|err| err.to_string())
}

/// What happens to a call of 64-bit x86.
fn verdict(program: &Program, name: &str, args: [u64; 6]) -> u32 {
    let number = Machine::X86_64.number(name).flatten().unwrap();
    run(
        &program.filter,
        &Call {
            number,
            arch: X86_64,
            args,
        },
    )
}

/// `index op value [value_two]` against arguments that hold and that do not.
#[track_caller]
fn check_operator(op: &str, value: u64, two: u64, yes: &[u64], no: &[u64]) {
    let json = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],
            "action":"SCMP_ACT_ALLOW",
            "args":[{{"index":1,"op":"{op}","value":{value},"valueTwo":{two}}}]}}]}}"#
    );
    let program = build(&json).unwrap();
    let holds = |value: u64| verdict(&program, "read", [7, value, 7, 7, 7, 7]) == ALLOW;
    assert!(
        yes.iter().all(|&value| holds(value)),
        "{op} {value:#x}: {yes:x?}"
    );
    assert!(
        !no.iter().any(|&value| holds(value)),
        "{op} {value:#x}: not {no:x?}"
    );
}

#[test]
fn operators_compare_64_bits() {
    const K: u64 = 0x5_0000_0005;
    let below = [0, 5, 0x5_0000_0004, 0x4_ffff_ffff];
    let above = [0x5_0000_0006, 0x6_0000_0000, 0x6_0000_0005, u64::MAX];
    let others = [below, above].concat();
    check_operator("SCMP_CMP_EQ", K, 0, &[K], &others);
    check_operator("SCMP_CMP_NE", K, 0, &others, &[K]);
    check_operator("SCMP_CMP_LT", K, 0, &below, &[&above[..], &[K]].concat());
    check_operator("SCMP_CMP_LE", K, 0, &[&below[..], &[K]].concat(), &above);
    check_operator("SCMP_CMP_GT", K, 0, &above, &[&below[..], &[K]].concat());
    check_operator("SCMP_CMP_GE", K, 0, &[&above[..], &[K]].concat(), &below);
    check_operator("SCMP_CMP_EQ", 5, 0, &[5], &[0x1_0000_0005, 4]);
    check_operator(
        "SCMP_CMP_MASKED_EQ",
        0xf0,
        0x50,
        &[0x50, 0x1_0000_0f5f],
        &[0x40, 0],
    );
    check_operator(
        "SCMP_CMP_MASKED_EQ",
        0xf << 32,
        5 << 32,
        &[5 << 32 | 1],
        &[5, 6 << 32],
    );
    check_operator("SCMP_CMP_MASKED_EQ", 0xf0, 0x51, &[], &[0x50, 0x51]);
}

#[test]
fn upper_bits_do_not_slip_past_a_rule_on_an_int() {
    // socket(AF_VSOCK) is refused, and the kernel only looks at 32 bits of the family.
    let program = build(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["socket"],
            "action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"SCMP_CMP_NE","value":40}]}]}"#,
    )
    .unwrap();
    assert_eq!(verdict(&program, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&program, "socket", [40, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(
        verdict(&program, "socket", [40 | 1 << 40, 0, 0, 0, 0, 0]),
        errno(1)
    );
}

#[test]
fn all_tests_of_a_rule_must_hold_and_any_rule_will_do() {
    let program = build(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,"syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[
                {"index":0,"op":"SCMP_CMP_EQ","value":1},{"index":2,"op":"SCMP_CMP_EQ","value":2}]},
            {"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":7,"args":[
                {"index":0,"op":"SCMP_CMP_EQ","value":1}]},
            {"names":["write"],"action":"SCMP_ACT_ALLOW","args":[
                {"index":0,"op":"SCMP_CMP_EQ","value":1},{"index":0,"op":"SCMP_CMP_EQ","value":2}]}
        ]}"#,
    )
    .unwrap();
    assert_eq!(verdict(&program, "read", [1, 0, 2, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&program, "read", [1, 0, 3, 0, 0, 0]), errno(7));
    assert_eq!(verdict(&program, "read", [2, 0, 2, 0, 0, 0]), errno(13));
    // Two tests of one argument are two rules.
    assert_eq!(verdict(&program, "write", [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&program, "write", [3, 0, 0, 0, 0, 0]), errno(13));
}

#[test]
fn a_rule_without_arguments_decides() {
    for order in [[0, 1], [1, 0]] {
        let rules = [
            r#"{"names":["read"],"action":"SCMP_ACT_TRAP",
                "args":[{"index":0,"op":"SCMP_CMP_EQ","value":1}]}"#,
            r#"{"names":["read"],"action":"SCMP_ACT_ALLOW"}"#,
        ];
        let rules = order.map(|at| rules[at]).join(",");
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
        assert_eq!(
            verdict(&build(&json).unwrap(), "read", [1, 0, 0, 0, 0, 0]),
            ALLOW
        );
    }
}

#[test]
fn actions_and_their_data() {
    let all = [
        ("SCMP_ACT_KILL", 0),
        ("SCMP_ACT_KILL_THREAD", 0),
        ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
        ("SCMP_ACT_TRAP", 0x0003_0000),
        ("SCMP_ACT_ERRNO", 0x0005_0009),
        ("SCMP_ACT_TRACE", 0x7ff0_0009),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", 0x7fc0_0000),
    ];
    for (name, want) in all {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/agent","syscalls":[
                {{"names":["mkdir"],"action":"{name}","errnoRet":9}}]}}"#
        );
        let program = build(&json).unwrap();
        assert_eq!(verdict(&program, "mkdir", [0; 6]), want, "{name}");
        assert_eq!(verdict(&program, "rmdir", [0; 6]), ALLOW);
    }
}

#[test]
fn newer_calls_than_the_profile_names_do_not_exist() {
    let program = build(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read","statx"],"action":"SCMP_ACT_ALLOW"},
            {"names":["rseq"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    let number = |number| {
        run(
            &program.filter,
            &Call {
                number,
                arch: X86_64,
                args: [0; 6],
            },
        )
    };
    assert_eq!(verdict(&program, "statx", [0; 6]), ALLOW);
    assert_eq!(verdict(&program, "open", [0; 6]), errno(1));
    // A call named with the default action counts as known.
    assert_eq!(verdict(&program, "rseq", [0; 6]), errno(1));
    assert_eq!(number(335), errno(38));
    assert_eq!(number(100_000), errno(38));
    assert_eq!(number(0x3fff_ffff), errno(38));
    // Skipped by a tracer.
    assert_eq!(number(u32::MAX), errno(1));
    let json = r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(
        verdict(&build(json).unwrap(), "statx", [0; 6]),
        KILL_PROCESS
    );
}

#[test]
fn architectures() {
    let json = |arches: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":[{arches}],"syscalls":[
                {{"names":["getpid","socketcall"],"action":"SCMP_ACT_ALLOW"}}]}}"#
        )
    };
    let only = build(&json(r#""SCMP_ARCH_X86_64","SCMP_ARCH_S390X""#)).unwrap();
    let all = json(r#""SCMP_ARCH_X32","SCMP_ARCH_X86""#);
    let all = build(&all).unwrap();
    let call = |program: &Program, arch, number| {
        run(
            &program.filter,
            &Call {
                number,
                arch,
                args: [0; 6],
            },
        )
    };
    for program in [&only, &all] {
        assert_eq!(call(program, X86_64, 39), ALLOW);
        assert_eq!(call(program, X86_64, 20), errno(1));
        assert_eq!(call(program, 0xc000_00b7, 172), KILL_PROCESS);
    }
    // getpid is 20 on i386, socketcall 102.
    assert_eq!(call(&only, X86, 20), KILL_PROCESS);
    assert_eq!(call(&only, X86_64, 0x4000_0027), KILL_PROCESS);
    assert_eq!(call(&all, X86, 20), ALLOW);
    assert_eq!(call(&all, X86, 102), ALLOW);
    assert_eq!(call(&all, X86, 39), errno(1));
    assert_eq!(call(&all, X86_64, 0x4000_0027), ALLOW);
    assert_eq!(call(&all, X86_64, 0x4000_0026), errno(1));
    assert_eq!(call(&all, X86_64, 0x4000_0028), errno(38));

    let arm = compile_for(&profile(&json(r#""SCMP_ARCH_ARM""#)), Machine::Aarch64).unwrap();
    assert_eq!(call(&arm, 0xc000_00b7, 172), ALLOW);
    assert_eq!(call(&arm, 0x4000_0028, 20), ALLOW);
    assert_eq!(
        call(&arm, 0x4000_0028, 0xf_0002),
        errno(1),
        "private calls are not new ones"
    );
    assert_eq!(call(&arm, X86_64, 39), KILL_PROCESS);
}

#[test]
fn flags_and_the_listener() {
    let json = |action: &str, flags: &str, listener: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":[{flags}],{listener} "syscalls":[
                {{"names":["mkdir"],"action":"{action}"}}]}}"#
        )
    };
    let listener = r#""listenerPath":"/run/agent","listenerMetadata":"m","#;
    let (log, tsync, spec, wait) = (
        r#""SECCOMP_FILTER_FLAG_LOG""#,
        r#""SECCOMP_FILTER_FLAG_TSYNC""#,
        r#""SECCOMP_FILTER_FLAG_SPEC_ALLOW""#,
        r#""SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#,
    );
    let plain = build(&json(
        "SCMP_ACT_ERRNO",
        &[log, tsync, spec].join(","),
        listener,
    ))
    .unwrap();
    assert_eq!((plain.flags, plain.listener), (7, None));
    let notify = build(&json("SCMP_ACT_NOTIFY", &[tsync, wait].join(","), listener)).unwrap();
    assert_eq!(notify.flags, 1 | 8 | 16 | 32);
    let want = Listener {
        path: "/run/agent".into(),
        metadata: "m".to_owned(),
    };
    assert_eq!(notify.listener, Some(want));
    let error = build(&json("SCMP_ACT_NOTIFY", "", "")).unwrap_err();
    assert!(error.contains("listenerPath"), "{error}");
    let error = build(&json("SCMP_ACT_ERRNO", wait, "")).unwrap_err();
    assert!(error.contains("WAIT_KILLABLE"), "{error}");
}

#[test]
fn profiles_that_cannot_be() {
    let rule = |rule: &str| {
        build(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/a","syscalls":[{rule}]}}"#
        ))
        .unwrap_err()
    };
    let error = rule(
        r#"{"names":["read"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":6,"op":"SCMP_CMP_EQ","value":1}]}"#,
    );
    assert!(error.contains("read: there is no argument 6"), "{error}");
    let error = rule(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}"#);
    assert!(error.contains("4096"), "{error}");
    let error = rule(r#"{"names":["sendmsg"],"action":"SCMP_ACT_NOTIFY"}"#);
    assert!(error.contains("sendmsg"), "{error}");
    let error = build(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).unwrap_err();
    assert!(error.contains("default action"), "{error}");
}

#[test]
fn names_of_the_future_are_reported() {
    let program = build(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["zz_new","read","aa_new","zz_new"],"action":"SCMP_ACT_ALLOW"}]}"#,
    )
    .unwrap();
    assert_eq!(program.unknown, ["aa_new", "zz_new"]);
    assert_eq!(verdict(&program, "read", [0; 6]), ALLOW);
}

/// A rule with `count` values for one argument of each of these calls.
fn wide(names: &[&str], count: u64) -> LinuxSeccomp {
    let rules: Vec<_> = (0..count)
        .map(|value| {
            serde_json::json!({"names": names, "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 3, "op": "SCMP_CMP_EQ", "value": value << 33 | 1}]})
        })
        .collect();
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
    serde_json::from_value(json).unwrap()
}

#[test]
fn far_jumps_arrive() {
    // Each call alone is more instructions than a conditional jump can skip.
    let names = ["read", "open", "poll", "mmap", "ioctl", "mkdir", "kill"];
    let program = compile_for(&wide(&names, 120), Machine::X86_64).unwrap();
    assert!(program.len() > 2000);
    for name in names {
        for value in [0_u64, 1, 60, 119, 120] {
            let want = if value < 120 { ALLOW } else { errno(1) };
            let args = [0, 0, 0, value << 33 | 1, 0, 0];
            assert_eq!(verdict(&program, name, args), want, "{name} {value}");
            assert_eq!(
                verdict(&program, name, [0, 0, 0, value << 33, 0, 0]),
                errno(1)
            );
        }
    }
    for name in ["write", "close", "rename", "fork"] {
        assert_eq!(verdict(&program, name, [0; 6]), errno(1));
    }
}

#[test]
fn too_long_for_the_kernel() {
    let names = ["read", "open", "poll", "mmap", "ioctl", "mkdir", "kill"];
    let error = compile_for(&wide(&names, 400), Machine::X86_64).unwrap_err();
    assert!(
        matches!(error, SeccompError::TooLong { limit: 4096, .. }),
        "{error}"
    );
}

fn default_program(capabilities: &[Capability]) -> Program {
    let set: HashSet<Capability> = capabilities.iter().copied().collect();
    let program = compile_for(&default_profile(&set), Machine::X86_64).unwrap();
    assert!(program.unknown.is_empty(), "{:?}", program.unknown);
    program
}

/// The capabilities that containers have by default.
fn usual() -> Vec<Capability> {
    use Capability as Cap;
    vec![
        Cap::Chown,
        Cap::DacOverride,
        Cap::Fowner,
        Cap::Fsetid,
        Cap::Kill,
        Cap::NetBindService,
        Cap::NetRaw,
        Cap::Mknod,
        Cap::Setfcap,
        Cap::Setgid,
        Cap::Setpcap,
        Cap::Setuid,
        Cap::SysChroot,
        Cap::AuditWrite,
    ]
}

/// Calls that no container makes by default.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "keyctl", "add_key", "request_key", "bpf", "mount", "umount2", "fsopen", "fsmount",
    "move_mount", "open_tree", "mount_setattr", "pivot_root", "unshare", "setns", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon",
    "swapoff", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "open_by_handle_at", "settimeofday", "clock_settime", "iopl", "ioperm",
    "acct", "quotactl", "syslog", "sethostname", "setdomainname", "vhangup", "move_pages",
    "mbind", "migrate_pages", "nfsservctl", "uselib", "ustat", "sysfs", "_sysctl",
    "lookup_dcookie", "fanotify_init", "pidfd_getfd", "process_madvise", "statmount",
];

#[test]
fn the_default_profile_refuses_what_reaches_beyond() {
    let program = default_program(&usual());
    for name in REFUSED {
        assert_eq!(verdict(&program, name, [0; 6]), errno(1), "{name}");
    }
    assert_eq!(verdict(&program, "clone3", [0; 6]), errno(38));
    for name in [
        "read", "openat", "execve", "chroot", "ptrace", "futex", "rseq", "mseal", "fork",
    ] {
        assert_eq!(verdict(&program, name, [0; 6]), ALLOW, "{name}");
    }
    let number = |number| {
        run(
            &program.filter,
            &Call {
                number,
                arch: X86_64,
                args: [0; 6],
            },
        )
    };
    assert_eq!(number(2000), errno(38));
    assert_eq!(number(0x4000_0001), KILL_PROCESS, "x32");
    assert_eq!(
        run(
            &program.filter,
            &Call {
                number: 1,
                arch: X86,
                args: [0; 6]
            }
        ),
        ALLOW
    );
    assert_eq!(
        run(
            &program.filter,
            &Call {
                number: 21,
                arch: X86,
                args: [0; 6]
            }
        ),
        errno(1)
    );
}

#[test]
fn the_default_profile_looks_at_arguments() {
    let program = default_program(&usual());
    let socket = |family: u64| verdict(&program, "socket", [family, 1, 0, 0, 0, 0]);
    for family in 0..46 {
        let closed = family == 38 || family == 40;
        assert_eq!(
            socket(family),
            if closed { errno(1) } else { ALLOW },
            "family {family}"
        );
        assert_eq!(socket(family | 1 << 32), socket(family));
    }
    let clone = |flags: u64| verdict(&program, "clone", [flags, 0, 0, 0, 0, 0]);
    // A thread, and a process with SIGCHLD.
    assert_eq!(clone(0x003d_0f00), ALLOW);
    assert_eq!(clone(0x0120_0011), ALLOW);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(clone(1 << bit | 17), errno(1), "bit {bit}");
    }
    let personality = |value: u64| verdict(&program, "personality", [value, 0, 0, 0, 0, 0]);
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff, u64::MAX] {
        assert_eq!(personality(value), ALLOW, "{value:#x}");
    }
    // ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC
    for value in [0x004_0000, 0x040_0000] {
        assert_eq!(personality(value), errno(1), "{value:#x}");
    }
}

#[test]
fn a_capability_brings_its_calls() {
    use Capability as Cap;
    for (capability, name) in [
        (Cap::SysAdmin, "mount"),
        (Cap::SysAdmin, "clone3"),
        (Cap::SysAdmin, "bpf"),
        (Cap::Bpf, "bpf"),
        (Cap::Perfmon, "perf_event_open"),
        (Cap::Syslog, "syslog"),
        (Cap::SysTime, "clock_settime"),
        (Cap::SysModule, "init_module"),
        (Cap::SysBoot, "reboot"),
        (Cap::DacReadSearch, "open_by_handle_at"),
        (Cap::SysNice, "mbind"),
    ] {
        assert_eq!(
            verdict(&default_program(&[capability]), name, [0; 6]),
            ALLOW,
            "{name}"
        );
        assert_ne!(
            verdict(&default_program(&[]), name, [0; 6]),
            ALLOW,
            "{name}"
        );
    }
    let admin = default_program(&[Cap::SysAdmin]);
    assert_eq!(verdict(&admin, "clone", [1 << 28, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn the_default_profile_is_short() {
    // Loading time follows the number of instructions: the kernel tries each call number.
    let profile = default_profile(&usual().into_iter().collect());
    let mut native = profile.clone();
    native.set_architectures(None);
    let native = compile_for(&native, Machine::X86_64).unwrap().len();
    let both = compile_for(&profile, Machine::X86_64).unwrap().len();
    println!("{native} instructions for x86_64, {both} with i386");
    assert!(native <= 120, "{native}");
    assert!(both <= 200, "{both}");
    let arm = compile_for(&profile, Machine::Aarch64).unwrap().len();
    assert!(arm <= 120, "{arm}");
}
