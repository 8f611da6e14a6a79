//! Waiting for things: epoll, timers, signals and clocks as descriptors and numbers.

use super::{Fd, RawFd, Result, call, fd};
use linux_raw_sys::general as k;

/// Readable, or the other end is gone.
pub const IN: u32 = k::EPOLLIN;

/// epoll_create1(2).
pub fn epoll() -> Result<Fd> {
    call!(k::__NR_epoll_create1, k::EPOLL_CLOEXEC).map(fd)
}

/// epoll_ctl(2) `EPOLL_CTL_ADD`, level-triggered. Hang-ups and errors are always reported.
pub fn add(epoll: RawFd, file: RawFd, events: u32, token: u64) -> Result<()> {
    let event = k::epoll_event {
        events,
        data: token,
    };
    call!(
        k::__NR_epoll_ctl,
        epoll,
        k::EPOLL_CTL_ADD,
        file,
        &raw const event
    )
    .map(drop)
}

/// epoll_ctl(2) `EPOLL_CTL_DEL`. Closing is not enough while a child holds a copy.
pub fn remove(epoll: RawFd, file: RawFd) -> Result<()> {
    call!(
        k::__NR_epoll_ctl,
        epoll,
        k::EPOLL_CTL_DEL,
        file,
        core::ptr::null::<u8>()
    )
    .map(drop)
}

/// epoll_pwait(2) for one event: its token. `None` after `timeout` milliseconds; -1 waits for ever.
pub fn wait(epoll: RawFd, timeout: i32) -> Result<Option<u64>> {
    let mut event = k::epoll_event { events: 0, data: 0 };
    let none = core::ptr::null::<u8>();
    let count = call!(
        k::__NR_epoll_pwait,
        epoll,
        &raw mut event,
        1,
        timeout,
        none,
        0
    )?;
    Ok((count == 1).then_some(event.data))
}

/// timerfd_create(2) on the monotonic clock, non-blocking and unarmed.
pub fn timer() -> Result<Fd> {
    let flags = k::TFD_CLOEXEC | k::TFD_NONBLOCK;
    call!(k::__NR_timerfd_create, k::CLOCK_MONOTONIC, flags).map(fd)
}

/// timerfd_settime(2): once, so many milliseconds from now.
pub fn arm(timer: RawFd, milliseconds: u32) -> Result<()> {
    let zero = k::__kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let nanoseconds = i64::from(milliseconds % 1000) * 1_000_000;
    let value = k::__kernel_timespec {
        tv_sec: i64::from(milliseconds / 1000),
        tv_nsec: nanoseconds,
    };
    let spec = k::__kernel_itimerspec {
        it_interval: zero,
        it_value: value,
    };
    call!(
        k::__NR_timerfd_settime,
        timer,
        0,
        &raw const spec,
        core::ptr::null::<u8>()
    )
    .map(drop)
}

/// clock_gettime(2) of the wall clock, in nanoseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let mut time = k::__kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // The call cannot fail with a valid clock and a valid pointer.
    let _ = call!(k::__NR_clock_gettime, k::CLOCK_REALTIME, &raw mut time);
    let (seconds, rest) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// A set of signals as the kernel reads it: bit `n - 1` is signal `n`.
type SigSet = u64;

/// signalfd4(2) for SIGCHLD alone, non-blocking.
pub fn child_signals() -> Result<Fd> {
    let set: SigSet = 1 << (k::SIGCHLD - 1);
    let flags = k::O_CLOEXEC | k::O_NONBLOCK;
    call!(
        k::__NR_signalfd4,
        -1,
        &raw const set,
        size_of::<SigSet>(),
        flags
    )
    .map(fd)
}

/// A child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, as this pid namespace has it.
    pub pid: i32,
    /// Its exit code; 0 when a signal ended it.
    pub code: u8,
    /// The signal that ended it, or 0.
    pub signal: u8,
}

/// wait4(2) with `WNOHANG | __WALL` for any child: one that has ended, now reaped.
pub fn reap_any() -> Result<Option<Ended>> {
    let mut status = 0i32;
    let flags = k::WNOHANG | k::__WALL;
    let none = core::ptr::null::<u8>();
    let pid = super::int(call!(k::__NR_wait4, -1, &raw mut status, flags, none)?);
    let [low, code, ..] = status.to_le_bytes();
    let signal = low & 0x7f;
    Ok((pid > 0).then_some(Ended {
        pid,
        code: if signal == 0 { code } else { 0 },
        signal,
    }))
}
