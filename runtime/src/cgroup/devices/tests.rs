use super::*;

/// `c 1:3 rwm`, with `!` in front for a denial and `a` for all kinds.
fn parse(text: &str) -> Rule {
    let (allow, text) = text
        .strip_prefix('!')
        .map_or((true, text), |rest| (false, rest));
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let number = |text: &str| text.parse().ok();
    let kind = match words[0] {
        "a" => None,
        "b" => Some(Kind::Block),
        _ => Some(Kind::Char),
    };
    let bit = |letter| match letter {
        'r' => READ,
        'w' => WRITE,
        _ => MKNOD,
    };
    let access = words[3].chars().map(bit).fold(0, |all, bit| all | bit);
    Rule {
        allow,
        kind,
        major: number(words[1]),
        minor: number(words[2]),
        access,
    }
}

fn list(rules: &[&str]) -> Vec<Rule> {
    rules.iter().map(|text| parse(text)).collect()
}

#[track_caller]
fn check_v1(rules: &[&str], now: &str, want: &str) {
    let got = match writes_v1(&list(rules), now) {
        Ok(writes) => writes
            .iter()
            .map(|write| {
                format!(
                    "{}={}",
                    write.file.trim_start_matches("devices."),
                    write.value
                )
            })
            .collect::<Vec<_>>()
            .join(", "),
        Err(err) => err.to_string(),
    };
    assert_eq!(got, want);
}

#[test]
fn v1_lines() {
    let all = "a *:* rwm\n";
    check_v1(&["!a *:* rwm"], all, "deny=a");
    check_v1(
        &["!a *:* rwm", "c 1:3 rwm", "b 8:* r", "a 5:1 w"],
        all,
        "deny=a, allow=b 5:1 w, allow=b 8:* r, allow=c 1:3 rwm, allow=c 5:1 w",
    );
    // Without a rule for all the rest is denied as well.
    check_v1(&["c 1:3 r", "c 1:3 w"], all, "deny=a, allow=c 1:3 rw");
    check_v1(&["c 1:3 rwm", "!c 1:3 wm"], all, "deny=a, allow=c 1:3 r");
    check_v1(
        &["c 9:9 r", "a *:* rwm", "!c 1:3 w"],
        all,
        "allow=a, deny=c 1:3 w",
    );
    check_v1(
        &["c 1:* rwm", "!c 1:3 w"],
        all,
        "devices cannot be set on this host: cgroup v1 cannot take single devices out of a range",
    );
}

#[test]
fn v1_update_writes_the_difference() {
    let now = "c 1:3 rwm\nc 1:5 rwm\n";
    check_v1(&["c 1:3 rwm", "c 1:5 rwm"], now, "");
    check_v1(
        &["c 1:5 rwm", "b 7:0 r"],
        now,
        "deny=c 1:3 rwm, allow=b 7:0 r",
    );
    check_v1(
        &["c 1:5 rwm", "c 1:3 r"],
        now,
        "deny=c 1:3 rwm, allow=c 1:3 r",
    );
}

#[test]
fn oci_rules_are_read() {
    let read = |json: &str| {
        let list: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        rules(&list).map_err(|err| err.to_string())
    };
    assert_eq!(
        read(r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":-1}]"#),
        Ok(list(&["!a *:* rwm", "c 1:* rwm"]))
    );
    assert!(
        read(r#"[{"allow":true,"access":"x"}]"#)
            .unwrap_err()
            .contains("'x'")
    );
    assert!(
        read(r#"[{"allow":true,"type":"c","major":-2}]"#)
            .unwrap_err()
            .contains("major -2")
    );
    assert!(
        read(r#"[{"allow":true,"type":"p"}]"#)
            .unwrap_err()
            .contains("pipe")
    );
}

#[test]
fn default_devices_are_always_usable() {
    let rules = with_defaults(list(&["!a *:* rwm", "c 1:3 r", "!c 1:3 w"]));
    assert!(decide(&rules, Kind::Char, (1, 3), READ | WRITE | MKNOD));
    assert!(decide(&rules, Kind::Char, (136, 7), READ | WRITE));
    assert!(decide(&rules, Kind::Block, (8, 0), MKNOD));
    assert!(!decide(&rules, Kind::Block, (8, 0), READ));
    assert!(writes_v1(&rules, "a *:* rwm").is_ok());
    // Nothing is added to "everything", which v1 could not express beside an exception.
    let open = list(&["a *:* rwm", "!c 10:200 rwm"]);
    assert_eq!(with_defaults(open.clone()), open);
}

/// What the rules say, put as directly as can be: each kind of access by itself.
fn decide(rules: &[Rule], kind: Kind, (major, minor): (u32, u32), access: Access) -> bool {
    let fits = |rule: &&Rule, bit: Access| {
        rule.kind.is_none_or(|want| want == kind)
            && rule.major.is_none_or(|want| want == major)
            && rule.minor.is_none_or(|want| want == minor)
            && rule.access & bit != 0
    };
    [READ, WRITE, MKNOD]
        .into_iter()
        .filter(|bit| access & bit != 0)
        .all(|bit| {
            rules
                .iter()
                .rev()
                .find(|rule| fits(rule, bit))
                .is_some_and(|rule| rule.allow)
        })
}

/// Runs the program on `struct bpf_cgroup_dev_ctx`: only the instructions that we use.
fn run(program: &[u64], context: [u32; 3]) -> u32 {
    let mut registers = [0_u32; 11];
    let mut at = 0;
    loop {
        let [code, regs, o1, o2, i @ ..] = program[at].to_ne_bytes();
        let (dst, src) = (usize::from(regs & 15), usize::from(regs >> 4));
        let (off, imm) = (i16::from_le_bytes([o1, o2]), u32::from_le_bytes(i));
        let jump = |at: usize| at + usize::try_from(off).unwrap();
        match code {
            0x61 => registers[dst] = context[usize::try_from(off).unwrap() / 4],
            0xbc => registers[dst] = registers[src],
            0xb4 => registers[dst] = imm,
            0x54 => registers[dst] &= imm,
            0x74 => registers[dst] >>= imm,
            0x56 if registers[dst] != imm => at = jump(at),
            0x46 if registers[dst] & imm != 0 => at = jump(at),
            0x56 | 0x46 => {}
            0x05 => at = jump(at),
            0x95 => return registers[0],
            other => panic!("no such instruction: {other:#x}"),
        }
        at += 1;
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> impl Strategy<Value = Rule> {
        let kind = proptest::option::of(prop_oneof![Just(Kind::Block), Just(Kind::Char)]);
        let number = || proptest::option::of(0_u32..3);
        (any::<bool>(), kind, number(), number(), 1_u8..8).prop_map(
            |(allow, kind, major, minor, access)| Rule {
                allow,
                kind,
                major,
                minor,
                access,
            },
        )
    }

    proptest! {
        #[test]
        fn the_program_follows_the_rules(rules in proptest::collection::vec(rule(), 0..8)) {
            let program = program(&rules);
            for (kind, number) in [(Kind::Block, 1), (Kind::Char, 2)] {
                for major in 0..4 {
                    for minor in 0..4 {
                        for access in 1..8_u8 {
                            let context = [number | u32::from(access) << 16, major, minor];
                            let want = decide(&rules, kind, (major, minor), access);
                            prop_assert_eq!(run(&program, context) == 1, want);
                        }
                    }
                }
            }
        }
    }
}
