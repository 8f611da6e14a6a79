//! The shape of the program: which architecture, which range of numbers, which arguments.

use oci_spec::runtime::LinuxSeccompOperator as Op;

use super::SeccompError;
use super::assemble::{Code, If, Label};
use super::policy::{Action, Decision, KILL_PROCESS, Policy, Range, Test};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// The whole program, as the bytes of `struct sock_filter[]`.
pub(super) fn program(policy: &Policy) -> Result<Vec<u8>, SeccompError> {
    let mut code = Code::default();
    let mut otherwise = code.ret(KILL_PROCESS);
    // Written backwards: the native machine comes last, and so is found first.
    let mut starts = Vec::new();
    for (token, ranges) in policy.machines.iter().rev() {
        let tree = search(&mut code, &leaves(ranges));
        code.go(tree);
        starts.push((*token, code.load(NUMBER)));
    }
    for (token, start) in starts {
        otherwise = code.branch(If::Equal, token, start, otherwise);
    }
    code.go(otherwise);
    code.load(ARCH);
    code.finish()
}

/// What the search ends at.
struct Leaf<'a> {
    first: u32,
    decision: &'a Decision,
    /// One number inside for which something else holds.
    except: Option<(u32, &'a Decision)>,
}

/// The ranges, except that one number between two ranges of the same kind makes no ranges of its own:
/// "is it that one?" is one comparison where three ranges would be two.
fn leaves(ranges: &[Range]) -> Vec<Leaf<'_>> {
    let mut out: Vec<Leaf<'_>> = Vec::new();
    let mut rest = ranges;
    while let [range, tail @ ..] = rest {
        let mut leaf = Leaf {
            first: range.first,
            decision: &range.decision,
            except: None,
        };
        rest = tail;
        if let [one, after, ..] = tail
            && after.first == one.first + 1
            && after.decision == range.decision
        {
            leaf.except = Some((one.first, &one.decision));
            rest = &tail[2..];
        }
        out.push(leaf);
    }
    out
}

/// A balanced tree of comparisons over the leaves. The number is loaded.
fn search(code: &mut Code, leaves: &[Leaf<'_>]) -> Label {
    match leaves {
        [] => code.ret(KILL_PROCESS),
        [leaf] => {
            let usual = decide(code, leaf.decision);
            let Some((number, decision)) = leaf.except else {
                return usual;
            };
            let special = decide(code, decision);
            code.branch(If::Equal, number, special, usual)
        }
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let first = high[0].first;
            let high = search(code, high);
            let low = search(code, low);
            code.branch(If::GreaterOrEqual, first, high, low)
        }
    }
}

fn decide(code: &mut Code, decision: &Decision) -> Label {
    match decision {
        Decision::Always(action) => code.ret(*action),
        Decision::Depends { rules, otherwise } => {
            let mut next = code.ret(*otherwise);
            for (tests, action) in rules.iter().rev() {
                next = rule(code, tests, *action, next);
            }
            next
        }
    }
}

/// One rule: its tests in order, each leading to `no` when it fails.
fn rule(code: &mut Code, tests: &[Test], action: Action, no: Label) -> Label {
    let mut yes = code.ret(action);
    for test in tests.iter().rev() {
        yes = compare(code, test, yes, no);
    }
    yes
}

/// A comparison of 64 bits is one of two words; the upper one decides unless it is equal.
fn compare(code: &mut Code, test: &Test, yes: Label, no: Label) -> Label {
    let [low, high] = halves(test.value);
    let [low_mask, high_mask] = halves(test.mask);
    let at = ARGS + 8 * u32::from(test.index);
    let (low_at, high_at) = if cfg!(target_endian = "little") {
        (at, at + 4)
    } else {
        (at + 4, at)
    };

    // `Lt` and `Le` are `Ge` and `Gt` with the answers exchanged; so is `Ne`.
    let (op, yes, no) = match test.op {
        Op::ScmpCmpEq | Op::ScmpCmpMaskedEq => (If::Equal, yes, no),
        Op::ScmpCmpNe => (If::Equal, no, yes),
        Op::ScmpCmpGe => (If::GreaterOrEqual, yes, no),
        Op::ScmpCmpLt => (If::GreaterOrEqual, no, yes),
        Op::ScmpCmpGt => (If::Greater, yes, no),
        Op::ScmpCmpLe => (If::Greater, no, yes),
    };
    code.branch(op, low, yes, no);
    if low_mask != u32::MAX {
        code.and(low_mask);
    }
    let lower = code.load(low_at);
    if test.narrow || (high_mask == 0 && high == 0) {
        return lower;
    }
    let same = code.branch(If::Equal, high, lower, no);
    if !matches!(op, If::Equal) {
        code.branch(If::Greater, high, yes, same);
    }
    if high_mask != u32::MAX {
        code.and(high_mask);
    }
    code.load(high_at)
}

/// The lower and the upper 32 bits.
fn halves(value: u64) -> [u32; 2] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half is the other one"
    )]
    let low = value as u32;
    [low, u32::try_from(value >> 32).unwrap_or(u32::MAX)]
}
