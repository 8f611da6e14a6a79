//! Static programs so small that they cost what any program must cost: `true`, and one that says when it began.
//!
//! They are written as bytes, because a host that runs pods need not have a compiler.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// `_exit(0)`.
#[cfg(target_arch = "x86_64")]
const TRUE: &[u8] = &[
    0x31, 0xff, // xor edi, edi
    0xb8, 0x3c, 0, 0, 0, // mov eax, exit
    0x0f, 0x05, // syscall
];
/// Reads `CLOCK_MONOTONIC` first of all, writes the 16 bytes to the file `/stamp`, or to standard output if that cannot be
/// made, and exits.
#[cfg(target_arch = "x86_64")]
const STAMP: &[u8] = &[
    0x48, 0x83, 0xec, 0x20, // sub rsp, 32
    0xb8, 0xe4, 0, 0, 0, // mov eax, clock_gettime
    0xbf, 1, 0, 0, 0, // mov edi, CLOCK_MONOTONIC
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0x0f, 0x05, // syscall
    0xb8, 2, 0, 0, 0, // mov eax, open
    0x48, 0x8d, 0x3d, 0x2f, 0, 0, 0, // lea rdi, [rip + 47] (the path below)
    0xbe, 0x41, 0x02, 0, 0, // mov esi, O_WRONLY | O_CREAT | O_TRUNC
    0xba, 0xa4, 0x01, 0, 0, // mov edx, 0644
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov edi, eax
    0x85, 0xc0, // test eax, eax
    0x79, 0x05, // jns +5
    0xbf, 1, 0, 0, 0, // mov edi, 1
    0xb8, 1, 0, 0, 0, // mov eax, write
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0xba, 16, 0, 0, 0, // mov edx, 16
    0x0f, 0x05, // syscall
    0x31, 0xff, // xor edi, edi
    0xb8, 0x3c, 0, 0, 0, // mov eax, exit
    0x0f, 0x05, // syscall
    b'/', b's', b't', b'a', b'm', b'p', 0,
];
/// Reads `CLOCK_MONOTONIC` first of all, writes the 16 bytes to standard output and exits.
#[cfg(target_arch = "x86_64")]
const STAMP_OUT: &[u8] = &[
    0x48, 0x83, 0xec, 0x20, // sub rsp, 32
    0xb8, 0xe4, 0, 0, 0, // mov eax, clock_gettime
    0xbf, 1, 0, 0, 0, // mov edi, CLOCK_MONOTONIC
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0x0f, 0x05, // syscall
    0xbf, 1, 0, 0, 0, // mov edi, 1
    0xb8, 1, 0, 0, 0, // mov eax, write
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0xba, 16, 0, 0, 0, // mov edx, 16
    0x0f, 0x05, // syscall
    0x31, 0xff, // xor edi, edi
    0xb8, 0x3c, 0, 0, 0, // mov eax, exit
    0x0f, 0x05, // syscall
];
/// Reads `CLOCK_MONOTONIC` first of all, writes the 16 bytes to the file `/out/stamp` if that can be made, and stays until
/// SIGTERM comes, also as the first process of a pid namespace.
#[cfg(target_arch = "x86_64")]
const STAY: &[u8] = &[
    0x48, 0x83, 0xec, 0x20, // sub rsp, 32
    0xb8, 0xe4, 0, 0, 0, // mov eax, clock_gettime
    0xbf, 1, 0, 0, 0, // mov edi, CLOCK_MONOTONIC
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0x0f, 0x05, // syscall
    0xb8, 2, 0, 0, 0, // mov eax, open
    0x48, 0x8d, 0x3d, 0x5f, 0, 0, 0, // lea rdi, [rip + 95] (the path below)
    0xbe, 0x41, 0x02, 0, 0, // mov esi, O_WRONLY | O_CREAT | O_TRUNC
    0xba, 0xa4, 0x01, 0, 0, // mov edx, 0644
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov edi, eax
    0x85, 0xc0, // test eax, eax
    0x78, 0x0f, // js +15
    0xb8, 1, 0, 0, 0, // mov eax, write
    0x48, 0x89, 0xe6, // mov rsi, rsp
    0xba, 16, 0, 0, 0, // mov edx, 16
    0x0f, 0x05, // syscall
    0x48, 0xc7, 0x44, 0x24, 0x10, 0, 0x40, 0, 0, // mov qword [rsp + 16], 1 << (SIGTERM - 1)
    0x31, 0xff, // xor edi, edi (SIG_BLOCK)
    0x48, 0x8d, 0x74, 0x24, 0x10, // lea rsi, [rsp + 16]
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
    0xb8, 14, 0, 0, 0, // mov eax, rt_sigprocmask
    0x0f, 0x05, // syscall
    0x48, 0x8d, 0x7c, 0x24, 0x10, // lea rdi, [rsp + 16]
    0x31, 0xf6, // xor esi, esi
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
    0xb8, 128, 0, 0, 0, // mov eax, rt_sigtimedwait
    0x0f, 0x05, // syscall
    0x31, 0xff, // xor edi, edi
    0xb8, 0x3c, 0, 0, 0, // mov eax, exit
    0x0f, 0x05, // syscall
    b'/', b'o', b'u', b't', b'/', b's', b't', b'a', b'm', b'p', 0,
];
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;

#[cfg(not(target_arch = "x86_64"))]
const TRUE: &[u8] = &[];
#[cfg(not(target_arch = "x86_64"))]
const STAMP: &[u8] = &[];
#[cfg(not(target_arch = "x86_64"))]
const STAMP_OUT: &[u8] = &[];
#[cfg(not(target_arch = "x86_64"))]
const STAY: &[u8] = &[];
#[cfg(not(target_arch = "x86_64"))]
const MACHINE: u16 = 0;

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// The programs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// Ends at once.
    True,
    /// Writes its first moment to `/stamp`.
    Stamp,
    /// Writes its first moment to standard output.
    StampOut,
    /// Writes its first moment to `/out/stamp` and stays until it is asked to end.
    Stay,
}

/// Writes an executable file.
pub(crate) fn write(program: Program, path: &Path) -> io::Result<()> {
    let code = match program {
        Program::True => TRUE,
        Program::Stamp => STAMP,
        Program::StampOut => STAMP_OUT,
        Program::Stay => STAY,
    };
    if code.is_empty() {
        return Err(io::Error::other("the tiny programs are written for x86-64"));
    }
    std::fs::write(path, image(code))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// An ELF file of one segment.
fn image(code: &[u8]) -> Vec<u8> {
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |value: u16| value.to_le_bytes();
    let word = |value: u32| value.to_le_bytes();
    let long = |value: u64| value.to_le_bytes();
    elf.extend([half(2), half(MACHINE)].concat());
    elf.extend(word(1));
    elf.extend([long(BASE + HEADERS), long(64), long(0)].concat());
    elf.extend(word(0));
    elf.extend([half(64), half(56), half(1), half(0), half(0), half(0)].concat());
    elf.extend([word(1), word(5)].concat());
    elf.extend(
        [
            long(0),
            long(BASE),
            long(BASE),
            long(size),
            long(size),
            long(4096),
        ]
        .concat(),
    );
    elf.extend_from_slice(code);
    elf
}

/// The moment in the 16 bytes, in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn moment(bytes: &[u8]) -> Option<u64> {
    let part = |range: std::ops::Range<usize>| {
        let bytes: [u8; 8] = bytes.get(range)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    Some(part(0..8)? * 1_000_000_000 + part(8..16)?)
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn true_ends_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("true");
        write(Program::True, &path).unwrap();
        assert!(Command::new(&path).status().unwrap().success());
    }

    #[test]
    fn stamps_lie_between_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stamp");
        write(Program::StampOut, &path).unwrap();
        let before = now();
        let output = Command::new(&path).output().unwrap();
        let stamp = moment(&output.stdout).unwrap();
        assert!(before < stamp && stamp < now());
        assert_eq!(output.stdout.len(), 16);
    }

    /// Run by somebody who may not write to `/`, it writes to standard output; the file is tried by the pod suite.
    #[test]
    fn the_path_is_where_the_code_looks_for_it() {
        let at = STAMP
            .windows(7)
            .position(|bytes| bytes == b"/stamp\0")
            .unwrap();
        let lea = STAMP
            .windows(3)
            .position(|bytes| bytes == [0x48, 0x8d, 0x3d])
            .unwrap();
        assert_eq!(at, lea + 7 + usize::from(STAMP[lea + 3]));
    }
}
