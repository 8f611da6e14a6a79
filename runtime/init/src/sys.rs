//! System calls: the one door to the kernel, without libc.
//!
//! A wrapper makes one call, takes typed arguments and returns owned descriptors; it neither retries nor decides.
//! Everything that makes a descriptor makes it close-on-exec. Descriptors that are only borrowed are plain [`RawFd`]s.
#![expect(
    unsafe_code,
    reason = "system calls are made here and nowhere else in the crate"
)]

mod arch;
pub mod event;
pub mod fs;
pub mod growing;
pub mod host;
pub mod memory;
pub mod mount;
pub mod process;
pub mod seqpacket;
pub mod socket;

use core::ffi::CStr;
use core::fmt;

pub use linux_raw_sys::errno;

/// A borrowed descriptor number.
pub type RawFd = i32;

/// What a system call returns.
pub type Result<T> = core::result::Result<T, Errno>;

/// An error number of the kernel, always positive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Whether this is the given constant of [`errno`].
    #[must_use]
    pub fn is(self, constant: u32) -> bool {
        u32::try_from(self.0) == Ok(constant)
    }

    /// The error number of a constant of [`errno`].
    #[must_use]
    pub const fn of(constant: u32) -> Self {
        Self(constant.cast_signed())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {}", self.0)
    }
}

/// A descriptor that is closed when dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Fd(RawFd);

impl Fd {
    /// The number, borrowed.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.0
    }

    /// Takes over a descriptor that nobody else will close.
    ///
    /// Not memory-unsafe, but closing someone else's descriptor is a bug of the caller.
    #[must_use]
    pub fn adopt(raw: RawFd) -> Self {
        Self(raw)
    }

    /// Gives the number up without closing it.
    #[must_use]
    pub fn release(self) -> RawFd {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        let _ = call!(linux_raw_sys::general::__NR_close, self.0);
    }
}

/// Something that can be passed in a register.
pub(crate) trait Arg {
    fn arg(self) -> usize;
}

macro_rules! args {
    ($($type:ty),*) => {$(
        impl Arg for $type {
            #[expect(clippy::allow_attributes, reason = "which casts are lossy depends on the type")]
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "registers are 64 bits wide; sign extension is what the kernel wants")]
            fn arg(self) -> usize {
                self as usize
            }
        }
    )*};
}
args!(i32, u32, i64, u64, usize);

impl<T> Arg for *const T {
    fn arg(self) -> usize {
        self as usize
    }
}

impl<T> Arg for *mut T {
    fn arg(self) -> usize {
        self as usize
    }
}

impl Arg for &CStr {
    fn arg(self) -> usize {
        self.as_ptr() as usize
    }
}

/// Makes a system call with up to six arguments.
///
/// # Safety
/// As for the call itself: pointers must be valid for what the kernel does with them while it runs.
pub unsafe fn syscall(number: u32, args: [usize; 6]) -> Result<usize> {
    // SAFETY: passed on to the caller.
    let ret = unsafe { arch::syscall6(number as usize, args) };
    match i32::try_from(ret) {
        Ok(code @ -4095..=-1) => Err(Errno(-code)),
        _ => Ok(ret.cast_unsigned()),
    }
}

/// `call!(NR, a, b, ..)`: a system call whose pointer arguments are borrows that outlive it.
macro_rules! call {
    ($number:expr $(, $arg:expr)* $(,)?) => {{
        let mut args = [0usize; 6];
        let given = [$($crate::sys::Arg::arg($arg)),*];
        args[..given.len()].copy_from_slice(&given);
        // SAFETY: every pointer among the arguments is derived from a borrow that is alive across
        // the call and valid for the length passed beside it; the wrapper that expands this keeps it so.
        unsafe { $crate::sys::syscall($number, args) }
    }};
}
pub(crate) use call;

/// The result of a call that returns an `int`.
fn int(ret: usize) -> i32 {
    i32::try_from(ret).unwrap_or(i32::MAX)
}

/// The result of a call that returns a new descriptor.
fn fd(ret: usize) -> Fd {
    Fd(int(ret))
}
