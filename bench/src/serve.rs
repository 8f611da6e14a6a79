//! The suite `serve`: the daemon, from a manifest in its directory to a status, and what it costs while nothing happens.

mod daemon;
mod drop;
mod idle;
mod many;
mod stay;

use anyhow::Result;

use crate::Settings;
use crate::bed::Bed;
use crate::image;
use crate::report::Table;

/// The tables of this suite.
///
/// # Errors
/// When the daemon does not work, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, settings: &Settings) -> Result<Vec<Table>> {
    let dir = bed.subdir("serve")?;
    let rootfs = dir.join("rootfs.tar");
    image::stay_tar(&rootfs)?;
    let mut tables = Vec::new();
    if settings.wants("one") {
        tables.push(drop::table(bed, settings, &rootfs)?);
    }
    if settings.wants("idle") {
        tables.push(idle::table(bed, &rootfs)?);
    }
    if settings.wants("many") {
        tables.push(many::table(bed, settings, &rootfs)?);
    }
    Ok(tables)
}
