//! bpf(2), for the one kind of program that we load: cgroup device filters.

#![expect(
    unsafe_code,
    reason = "bpf(2) takes a union by pointer, which no safe crate here wraps"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// The longest name the kernel keeps, with its NUL.
pub(crate) const NAME_LEN: usize = 16;

/// `BPF_PROG_LOAD` of a device filter (`insns` as in `struct bpf_insn`, 8 bytes each). Attaches
/// nothing.
pub(crate) fn load_device_filter(insns: &[u64], name: [u8; NAME_LEN]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; NAME_LEN],
    }
    let license = c"Apache-2.0";
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(insns.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns: insns.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: name,
    };
    // SAFETY: the two pointers in `attr` are to `insns` and `license`, which outlive the call, and
    // the kernel only reads through them.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    // SAFETY: BPF_PROG_LOAD just gave us this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[repr(C)]
struct AttachAttr {
    target_fd: i32,
    attach_bpf_fd: i32,
    attach_type: u32,
    attach_flags: u32,
}

impl AttachAttr {
    fn new(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_flags: u32) -> Self {
        Self {
            target_fd: cgroup.as_raw_fd(),
            attach_bpf_fd: program.as_raw_fd(),
            attach_type: ATTACH_CGROUP_DEVICE,
            attach_flags,
        }
    }
}

/// `BPF_PROG_ATTACH` beside the filters that are there (all must allow an access).
pub(crate) fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut attr = AttachAttr::new(cgroup, program, ALLOW_MULTI);
    // SAFETY: the attribute has no pointers.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// `BPF_PROG_DETACH` of one filter.
pub(crate) fn detach_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut attr = AttachAttr::new(cgroup, program, 0);
    // SAFETY: the attribute has no pointers.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// `BPF_PROG_QUERY`: the ids of the device filters attached to this very cgroup (at most 64).
pub(crate) fn device_filters(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Query {
        target_fd: i32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        pad: u32,
    }
    let mut ids = [0_u32; 64];
    let mut attr = Query {
        target_fd: cgroup.as_raw_fd(),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: 64,
        pad: 0,
    };
    // SAFETY: `prog_ids` is to 64 ids, as `prog_cnt` says, and they outlive the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok(ids.iter().copied().take(attr.prog_cnt as usize).collect())
}

/// `BPF_PROG_GET_FD_BY_ID`.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct ById {
        prog_id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut attr = ById {
        prog_id: id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the attribute has no pointers.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
    // SAFETY: BPF_PROG_GET_FD_BY_ID just gave us this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_GET_INFO_BY_FD`: the name that a program was loaded with.
pub(crate) fn program_name(program: BorrowedFd<'_>) -> io::Result<[u8; NAME_LEN]> {
    /// The start of `struct bpf_prog_info`, as far as the name.
    #[repr(C)]
    #[derive(Default)]
    struct ProgInfo {
        head: [u64; 6],
        created_by_uid_nr_map_ids: [u32; 2],
        map_ids: u64,
        name: [u8; NAME_LEN],
    }
    #[repr(C)]
    struct ByFd {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = ProgInfo::default();
    let mut attr = ByFd {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<ProgInfo>()).map_err(|_| io::ErrorKind::InvalidInput)?,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: `info` is to `info_len` bytes of plain integers, which outlive the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.name)
}

/// bpf(2) itself.
///
/// # Safety
/// `attr` is the part of `union bpf_attr` that `command` reads, and every pointer in it is good for
/// what the command does with it.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the given size at `attr`; the rest is the
    // caller's promise.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(ret).map_err(|_| io::ErrorKind::InvalidData.into())
}
