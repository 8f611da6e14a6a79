//! Who the program runs as, and what it may do.

use crate::launch::Start;
use crate::record::Record;
use crate::record::layout::{self, GROUPS_MAX, flag, header};
use crate::status::{At as _, Fault, Step};
use crate::sys::{Errno, errno, process};
use linux_raw_sys::general as k;

const CAPABILITIES: u32 = 64;
const SYS_ADMIN: u64 = 1 << k::CAP_SYS_ADMIN;

/// Becomes the user with the capabilities of the record, except for what [`seal`] still needs.
pub(super) fn assume(record: &Record<'_>) -> Result<(), Fault> {
    let wanted = record.has(flag::CAPABILITIES);
    if wanted {
        drop_bounding(record.long(header::BOUNDING))?;
        process::keep_capabilities(true).at(Step::Capabilities)?;
    }
    if !record.has(flag::NO_SETGROUPS) {
        set_groups(record)?;
    }
    process::setgid(record.field(header::GID)).at(Step::Gid)?;
    process::setuid(record.field(header::UID)).at(Step::Uid)?;
    if wanted {
        let held = process::permitted().at(Step::Capabilities)?;
        let more = if needs_admin(record) {
            SYS_ADMIN & held
        } else {
            0
        };
        set(record, held, more)?;
        process::keep_capabilities(false).at(Step::Capabilities)?;
    }
    // Whether we still are after this change is up to a sysctl; and while parked we hold descriptors.
    process::set_undumpable().at(Step::Capabilities)?;
    if record.has(flag::DIE_WITH_PARENT) {
        process::die_with_parent().at(Step::Capabilities)?;
    }
    Ok(())
}

/// The last of our privileges, and the seccomp filter after everything that it might forbid.
pub(super) fn seal(start: &Start<'_>) -> Result<(), Fault> {
    let record = &start.record;
    if record.has(flag::NO_NEW_PRIVILEGES) {
        process::set_no_new_privileges().at(Step::Capabilities)?;
    }
    if !start.plain_signals {
        process::reset_signals();
    }
    process::set_signal_mask(0)?;
    let filter = record.filter();
    if !filter.is_empty() {
        process::load_filter(filter, record.field(header::SECCOMP_FLAGS))?;
    }
    if record.has(flag::CAPABILITIES) && needs_admin(record) {
        set(record, u64::MAX, 0)?;
    }
    Ok(())
}

/// Without `no_new_privs`, loading a filter takes `CAP_SYS_ADMIN`: then that is given up last.
fn needs_admin(record: &Record<'_>) -> bool {
    !record.filter().is_empty()
        && !record.has(flag::NO_NEW_PRIVILEGES)
        && record.long(header::EFFECTIVE) & SYS_ADMIN == 0
}

fn set_groups(record: &Record<'_>) -> Result<(), Fault> {
    let mut groups = [0u32; GROUPS_MAX];
    let count = record.count(&layout::GROUPS);
    let room = groups
        .get_mut(..count)
        .ok_or(Errno::of(errno::E2BIG))
        .at(Step::Groups)?;
    for (slot, row) in room.iter_mut().zip(record.rows(&layout::GROUPS)) {
        *slot = row.word(0);
    }
    process::setgroups(room).at(Step::Groups)
}

fn drop_bounding(keep: u64) -> Result<(), Fault> {
    for capability in 0..CAPABILITIES {
        if keep >> capability & 1 == 0 {
            match process::drop_bounding(capability) {
                // Past the last one that this kernel knows.
                Err(err) if err.is(errno::EINVAL) => break,
                done => done.at(Step::Bounding)?,
            }
        }
    }
    Ok(())
}

/// Sets the three sets and the ambient one, never more than is `held`; `more` is effective for the time being.
fn set(record: &Record<'_>, held: u64, more: u64) -> Result<(), Fault> {
    let permitted = record.long(header::PERMITTED) & held;
    let effective = record.long(header::EFFECTIVE) & held;
    // What may not be inherited must not be asked for: not in the bounding set, not to be had.
    let inheritable = record.long(header::INHERITABLE) & record.long(header::BOUNDING);
    process::capset(
        effective | more,
        permitted | more,
        inheritable & (held | permitted),
    )
    .at(Step::Capabilities)?;
    process::clear_ambient().at(Step::Ambient)?;
    let ambient = record.long(header::AMBIENT) & permitted & inheritable;
    for capability in (0..CAPABILITIES).filter(|c| ambient >> c & 1 == 1) {
        process::raise_ambient(capability).at(Step::Ambient)?;
    }
    Ok(())
}
