//! Reading the `exits` file: what happened while no client was there, also after the supervisor
//! itself has died.

use std::io;
use std::path::Path;

use rkube_init::protocol::ExitRecord;

/// All records of a pod's `exits` file, oldest first. A record that was cut short, or is of a
/// version that this build does not know, is passed over.
///
/// # Errors
/// When the file cannot be read. A file that does not exist has no records.
pub fn read(dir: &Path) -> io::Result<Vec<ExitRecord>> {
    let bytes = match fs_err::read(dir.join("exits")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let (records, _) = bytes.as_chunks::<{ ExitRecord::LEN }>();
    Ok(records
        .iter()
        .filter_map(|record| ExitRecord::decode(record).ok())
        .collect())
}
