//! Runs a program as the kernel would: a few lines of classic BPF, for tests.

/// `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&self.number.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.arch.to_ne_bytes());
        for (slot, arg) in bytes[16..].chunks_mut(8).zip(self.args) {
            slot.copy_from_slice(&arg.to_ne_bytes());
        }
        let at = usize::try_from(offset).unwrap();
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }
}

/// What the filter returns for a call.
pub(super) fn run(filter: &[u8], call: &Call) -> u32 {
    let mut at = 0;
    let mut word = 0;
    loop {
        let [c0, c1, yes, no, k0, k1, k2, k3] =
            <[u8; 8]>::try_from(&filter[at * 8..][..8]).unwrap();
        let (code, k) = (
            u16::from_ne_bytes([c0, c1]),
            u32::from_ne_bytes([k0, k1, k2, k3]),
        );
        let branch = |holds: bool| usize::from(if holds { yes } else { no });
        at += 1;
        match code {
            0x20 => word = call.word(k),
            0x54 => word &= k,
            0x15 => at += branch(word == k),
            0x25 => at += branch(word > k),
            0x35 => at += branch(word >= k),
            0x05 => at += usize::try_from(k).unwrap(),
            0x06 => return k,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}
