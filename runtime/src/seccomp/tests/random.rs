//! Random profiles: the program and a plain reading of the rules say the same.

use oci_spec::runtime::{LinuxSeccompAction as Action, LinuxSeccompOperator as Op, LinuxSyscall};
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 8] = [
    "read", "write", "poll", "close", "stat", "socket", "statx", "mseal",
];
/// Values around which comparisons change their mind, in both halves.
const VALUES: [u64; 7] = [
    0,
    1,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    5 << 32,
    u64::MAX,
];

fn returned(action: Action, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match action {
        Action::ScmpActAllow => ALLOW,
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActKillProcess => KILL_PROCESS,
        Action::ScmpActTrace => 0x7ff0_0000 | errno,
        _ => 0x0005_0000 | errno,
    }
}

/// The precedence that the module promises, without any tables.
fn evaluate(profile: &LinuxSeccomp, name: &str, args: [u64; 6]) -> u32 {
    let default = returned(profile.default_action(), profile.default_errno_ret());
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let about = |rule: &&LinuxSyscall| {
        rule.names().iter().any(|other| other == name)
            && returned(rule.action(), rule.errno_ret()) != default
    };
    let rules: Vec<&LinuxSyscall> = rules.iter().filter(about).collect();
    let result = |rule: &&LinuxSyscall| returned(rule.action(), rule.errno_ret());
    if let Some(plain) = rules.iter().find(|rule| rule.args().is_none()) {
        return result(plain);
    }
    let holds = |rule: &&&LinuxSyscall| {
        let tests = rule.args().as_deref().unwrap_or_default();
        let test = |test: &oci_spec::runtime::LinuxSeccompArg| {
            let (mut arg, value) = (args[test.index()], test.value());
            let two = test.value_two().unwrap_or(0);
            let wide = value > 0xffff_ffff || (test.op() == Op::ScmpCmpMaskedEq && two >> 32 != 0);
            if name == "socket" && test.index() < 3 && !wide {
                arg &= 0xffff_ffff;
            }
            match test.op() {
                Op::ScmpCmpEq => arg == value,
                Op::ScmpCmpNe => arg != value,
                Op::ScmpCmpLt => arg < value,
                Op::ScmpCmpLe => arg <= value,
                Op::ScmpCmpGt => arg > value,
                Op::ScmpCmpGe => arg >= value,
                Op::ScmpCmpMaskedEq => arg & value == two,
            }
        };
        let indices: HashSet<usize> = tests.iter().map(|test| test.index()).collect();
        if indices.len() < tests.len() {
            tests.iter().any(test)
        } else {
            tests.iter().all(test)
        }
    };
    rules.iter().find(holds).map_or(default, result)
}

fn value() -> impl Strategy<Value = u64> {
    (0..VALUES.len()).prop_map(|at| VALUES[at])
}

fn arg() -> impl Strategy<Value = serde_json::Value> {
    let op = proptest::sample::select(vec!["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
    (0..4_usize, op, value(), value()).prop_map(|(index, op, value, two)| {
        serde_json::json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value,
            "valueTwo": two})
    })
}

fn action() -> impl Strategy<Value = String> {
    let all = vec!["ALLOW", "LOG", "TRAP", "KILL_PROCESS", "TRACE", "ERRNO"];
    proptest::sample::select(all).prop_map(|name| format!("SCMP_ACT_{name}"))
}

fn rule() -> impl Strategy<Value = serde_json::Value> {
    let names = proptest::sample::subsequence(NAMES.to_vec(), 1..4);
    (
        names,
        action(),
        1_u32..3,
        proptest::collection::vec(arg(), 0..4),
    )
        .prop_map(|(names, action, errno, args)| {
            let mut rule = serde_json::json!({"names": names, "action": action, "errnoRet": errno});
            if !args.is_empty() {
                rule["args"] = args.into();
            }
            rule
        })
}

fn profiles() -> impl Strategy<Value = LinuxSeccomp> {
    (action(), proptest::collection::vec(rule(), 0..12)).prop_map(|(default, rules)| {
        // Every name once, with the default action: known calls, but no rules.
        let mut all = vec![serde_json::json!({"names": NAMES, "action": default})];
        all.extend(rules);
        let json = serde_json::json!({"defaultAction": default, "syscalls": all});
        serde_json::from_value(json).unwrap()
    })
}

proptest! {
    #[test]
    fn the_program_follows_the_profile(
        profile in profiles(),
        args in proptest::collection::vec(proptest::array::uniform6(value()), 1..8),
    ) {
        let program = compile_for(&profile, Machine::X86_64).unwrap();
        for args in args {
            for name in NAMES.into_iter().chain(["lseek", "execve"]) {
                let want = evaluate(&profile, name, args);
                prop_assert_eq!(verdict(&program, name, args), want, "{} {:x?}", name, args);
            }
        }
    }

    #[test]
    fn every_number_of_every_machine_is_decided(
        profile in profiles(),
        numbers in proptest::collection::vec(any::<u32>(), 20),
    ) {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let program = compile_for(&profile, machine).unwrap();
            for &number in &numbers {
                // The interpreter panics on a jump to nowhere.
                run(&program.filter, &Call { number, arch: machine.token(), args: [0; 6] });
                run(&program.filter, &Call { number, arch: number, args: [0; 6] });
            }
        }
    }
}
