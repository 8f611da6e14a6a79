//! The instruction that enters the kernel, per architecture.

/// Makes a system call; a result in `-4095..0` is a negated error number.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn syscall6(number: usize, args: [usize; 6]) -> isize {
    let ret: isize;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the kernel's calling convention: rcx and r11 are clobbered, the stack is not touched.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => ret,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// Makes a system call; a result in `-4095..0` is a negated error number.
///
/// # Safety
/// As for the call itself.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(super) unsafe fn syscall6(number: usize, args: [usize; 6]) -> isize {
    let ret: isize;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the kernel's calling convention: only x0 changes, the stack is not touched.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => ret,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    ret
}
