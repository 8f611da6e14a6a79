//! Classic BPF, written from the last instruction to the first.
//!
//! Jumps only go forward, so that way every target is known when a jump to it is made. Conditional
//! jumps reach 255 instructions; beyond that a return is repeated or a plain jump put in between.

use std::collections::HashMap;

use super::SeccompError;
use super::policy::Action;

/// `BPF_MAXINSNS`
const LIMIT: usize = 4096;
/// How far a conditional jump goes.
const REACH: usize = 255;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;

/// The comparison of a conditional jump.
#[derive(Clone, Copy, Debug)]
pub(super) enum If {
    Equal = 0x15,
    Greater = 0x25,
    GreaterOrEqual = 0x35,
}

/// An instruction that was written, counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label(usize);

#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    k: u32,
}

/// A program that grows at its front.
#[derive(Debug, Default)]
pub(super) struct Code {
    backwards: Vec<Instruction>,
    returns: HashMap<Action, Label>,
}

impl Code {
    /// The instruction that returns `action`: one that is in reach, or a new one.
    pub(super) fn ret(&mut self, action: Action) -> Label {
        match self.returns.get(&action) {
            // Two more may have to be written before the jump to it.
            Some(&label) if self.distance(label) + 2 <= REACH => label,
            _ => {
                let label = self.push(Instruction {
                    code: RETURN,
                    yes: 0,
                    no: 0,
                    k: action,
                });
                self.returns.insert(action, label);
                label
            }
        }
    }

    /// A word of `struct seccomp_data`, followed by what was written last.
    pub(super) fn load(&mut self, offset: u32) -> Label {
        self.push(Instruction {
            code: LOAD,
            yes: 0,
            no: 0,
            k: offset,
        })
    }

    /// Masks the word that is loaded, followed by what was written last.
    pub(super) fn and(&mut self, mask: u32) -> Label {
        self.push(Instruction {
            code: AND,
            yes: 0,
            no: 0,
            k: mask,
        })
    }

    /// Goes to one of two places.
    pub(super) fn branch(&mut self, test: If, k: u32, yes: Label, no: Label) -> Label {
        // What is farther away gets its stepping stone first: that may move the other out of reach,
        // but not the other way round by more than the one instruction that is allowed for.
        let no = self.near(no, 1);
        let yes = self.near(yes, 0);
        let offset = |to: Label| u8::try_from(self.distance(to)).unwrap_or(u8::MAX);
        let (yes, no) = (offset(yes), offset(no));
        self.push(Instruction {
            code: test as u16,
            yes,
            no,
            k,
        })
    }

    /// Makes sure that execution continues at `label` from here.
    pub(super) fn go(&mut self, label: Label) -> Label {
        if self.distance(label) == 0 {
            label
        } else {
            self.hop(label)
        }
    }

    /// The bytes, in the order in which they run.
    pub(super) fn finish(self) -> Result<Vec<u8>, SeccompError> {
        let instructions = self.backwards.len();
        if instructions > LIMIT {
            return Err(SeccompError::TooLong {
                instructions,
                limit: LIMIT,
            });
        }
        let mut out = Vec::with_capacity(instructions * 8);
        for Instruction { code, yes, no, k } in self.backwards.into_iter().rev() {
            out.extend(code.to_ne_bytes());
            out.extend([yes, no]);
            out.extend(k.to_ne_bytes());
        }
        Ok(out)
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.backwards.push(instruction);
        Label(self.backwards.len() - 1)
    }

    /// How many instructions a jump that is written next would skip.
    fn distance(&self, label: Label) -> usize {
        self.backwards.len() - 1 - label.0
    }

    /// `label`, or a stepping stone to it when it would be out of reach after `more` instructions.
    fn near(&mut self, label: Label, more: usize) -> Label {
        if self.distance(label) + more <= REACH {
            label
        } else {
            self.hop(label)
        }
    }

    fn hop(&mut self, label: Label) -> Label {
        let target = self.backwards[label.0];
        if target.code == RETURN {
            let copy = self.push(target);
            self.returns.insert(target.k, copy);
            return copy;
        }
        let k = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
        self.push(Instruction {
            code: JUMP,
            yes: 0,
            no: 0,
            k,
        })
    }
}
