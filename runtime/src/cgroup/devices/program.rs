//! The device rules as a BPF program.

use super::{Access, Kind, MKNOD, READ, Rule, WRITE};

/// One `struct bpf_insn`: opcode, registers, jump offset, constant.
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let [off_low, off_high] = off.to_le_bytes();
    let [a, b, c, d] = imm.to_le_bytes();
    u64::from_ne_bytes([code, dst | src << 4, off_low, off_high, a, b, c, d])
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const MOVE_CONST: u8 = 0xb4;
const AND_CONST: u8 = 0x54;
const RIGHT_CONST: u8 = 0x74;
const JUMP_IF_NOT: u8 = 0x56;
const JUMP_IF_ANY: u8 = 0x46;
const EXIT: u8 = 0x95;

/// The context, and then what the program keeps of it: which kind of device, which access is still
/// undecided, and the numbers.
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const LEFT: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Compiles the rules. Backwards through the list: a rule that fits the device either denies one of
/// the kinds of access that are still open, or settles those that it allows; nothing left open is
/// "yes", and the end of the list is "no".
///
/// The 64-bit words are `struct bpf_insn` in the byte order of this machine (little endian).
pub fn program(rules: &[Rule]) -> Vec<u64> {
    let mut out = vec![
        // The low half of the first word is the kind, the high half the access.
        insn(LOAD_WORD, KIND, CONTEXT, 0, 0),
        insn(MOVE, LEFT, KIND, 0, 0),
        insn(RIGHT_CONST, LEFT, 0, 0, 16),
        insn(AND_CONST, KIND, 0, 0, 0xffff),
        insn(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        insn(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        block(rule, &mut out);
        if rule.is_about_all() {
            // Whatever came earlier cannot matter any more.
            break;
        }
    }
    out.extend([insn(MOVE_CONST, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    out
}

/// One rule: tests that jump past the block, then what it does.
fn block(rule: &Rule, out: &mut Vec<u64>) {
    let kind = rule.kind.map(|kind| match kind {
        Kind::Block => 1,
        Kind::Char => 2,
    });
    let tests = [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)];
    let tests: Vec<(u8, u32)> = tests
        .iter()
        .filter_map(|&(register, want)| Some((register, want?)))
        .collect();
    let action = if rule.allow {
        allow(rule.access)
    } else {
        deny(rule.access)
    };
    let mut to_the_end = i16::try_from(tests.len() + action.len()).unwrap_or(i16::MAX);
    for (register, want) in tests {
        to_the_end -= 1;
        out.push(insn(
            JUMP_IF_NOT,
            register,
            0,
            to_the_end,
            want.cast_signed(),
        ));
    }
    out.extend(action);
}

fn allow(access: Access) -> Vec<u64> {
    let others = i32::from(!access & (READ | WRITE | MKNOD));
    vec![
        insn(AND_CONST, LEFT, 0, 0, others),
        insn(JUMP_IF_NOT, LEFT, 0, 2, 0),
        insn(MOVE_CONST, 0, 0, 0, 1),
        insn(EXIT, 0, 0, 0, 0),
    ]
}

fn deny(access: Access) -> Vec<u64> {
    vec![
        insn(JUMP_IF_ANY, LEFT, 0, 1, i32::from(access)),
        // Not asked for: skip the refusal. (BPF has no "jump if none".)
        insn(0x05, 0, 0, 2, 0),
        insn(MOVE_CONST, 0, 0, 0, 0),
        insn(EXIT, 0, 0, 0, 0),
    ]
}
