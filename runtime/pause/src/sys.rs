//! The ground under a program without libc: where it starts, where it panics, the symbols that
//! compilers call, and the one piece of static memory.
#![expect(
    unsafe_code,
    reason = "the entry point, C symbols and static tables are what this module is for"
)]

use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use rkube_init::sys::memory;

use crate::supervisor::Tables;

// The kernel enters with the stack pointer at argc; functions want it aligned, with a return
// address on top.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {}", "ud2", sym start);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x30, xzr", "bl {}", "brk #1", sym start);

extern "C" fn start() -> ! {
    rkube_init::sys::process::exit(crate::main())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    crate::exits::bug();
    rkube_init::sys::process::exit(crate::exits::BUG)
}

/// Zeroed memory for all tables: pages cost nothing until they are touched.
struct Once {
    taken: AtomicBool,
    tables: UnsafeCell<Tables>,
}

// SAFETY: `tables` gives the contents out once, and the program has one thread.
unsafe impl Sync for Once {}

static TABLES: Once = Once {
    taken: AtomicBool::new(false),
    tables: UnsafeCell::new(Tables::EMPTY),
};

/// The tables, to the first who asks.
pub(crate) fn tables() -> Option<&'static mut Tables> {
    if TABLES.taken.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: the swap above lets exactly one caller through, so this is the only reference there
    // will ever be.
    Some(unsafe { &mut *TABLES.tables.get() })
}

unsafe extern "C" {
    // From `link.ld`: where the text that an idle supervisor does not need begins and ends.
    static cold_start: u8;
    static cold_end: u8;
}

/// Gives back the text of booting and launching, and the stack that they have used.
pub(crate) fn cool_down() {
    // SAFETY: the linker script puts text and nothing else between the two, each on a page
    // boundary.
    unsafe {
        memory::forget_text(
            (&raw const cold_start) as usize,
            (&raw const cold_end) as usize,
        )
    };
    memory::forget_stack();
}

/// Never called: nothing unwinds here. The precompiled `core` names it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// memcpy(3).
///
/// # Safety
/// As in C: `len` bytes are readable at `from` and writable at `to`, and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller keeps to the contract; one instruction (x86-64) or volatile accesses copy,
    // which the compiler cannot turn back into a call of this function.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
        #[cfg(not(target_arch = "x86_64"))]
        for at in 0..len {
            to.add(at).write_volatile(from.add(at).read());
        }
    }
    to
}

/// memmove(3).
///
/// # Safety
/// As in C: `len` bytes are readable at `from` and writable at `to`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= len {
        // SAFETY: `to` does not lie within the bytes still to be read, so copying forwards is
        // right.
        return unsafe { memcpy(to, from, len) };
    }
    for at in (0..len).rev() {
        // SAFETY: within the caller's `len` bytes; volatile, so that this loop is not made a call
        // of itself.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
    to
}

/// memset(3).
///
/// # Safety
/// As in C: `len` bytes are writable at `to`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    let [byte, ..] = byte.to_le_bytes();
    // SAFETY: as for `memcpy`.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!(
            "rep stosb",
            inout("rcx") len => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags)
        );
        #[cfg(not(target_arch = "x86_64"))]
        for at in 0..len {
            to.add(at).write_volatile(byte);
        }
    }
    to
}

/// memcmp(3).
///
/// # Safety
/// As in C: `len` bytes are readable at both places.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: within the caller's `len` bytes; volatile, so that this loop is not made a call
        // of itself.
        let (a, b) = unsafe { (left.add(at).read_volatile(), right.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// bcmp(3).
///
/// # Safety
/// As for [`memcmp`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller keeps to the contract.
    unsafe { memcmp(left, right, len) }
}

/// strlen(3).
///
/// # Safety
/// As in C: a NUL ends the bytes at `text`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: reads up to the NUL that the caller promises.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}
