//! The suite `master`: the store and the API server, from the outside, over TLS.

mod client;
mod held;
mod lists;
mod server;
mod start;
mod watchers;
mod writes;

use anyhow::Result;

use crate::Settings;
use crate::bed::Bed;
use crate::report::Table;

/// The tables of this suite.
///
/// # Errors
/// When the master does not work, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, settings: &Settings) -> Result<Vec<Table>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut tables = Vec::new();
    if settings.wants("start") {
        tables.push(start::table(bed, settings)?);
    }
    if settings.wants("writes") {
        tables.push(runtime.block_on(writes::table(bed))?);
    }
    if settings.wants("lists") {
        tables.push(runtime.block_on(lists::table(bed, settings))?);
    }
    if settings.wants("watchers") {
        tables.push(runtime.block_on(watchers::table(bed, settings))?);
    }
    if settings.wants("held") {
        tables.push(runtime.block_on(held::table(bed))?);
    }
    Ok(tables)
}
