//! Kernel parameters below `/proc/sys/net`, of the calling thread's network namespace.

use std::io;

const ROOT: &str = "/proc/sys/net";

/// The value of a parameter such as `ipv4/ip_forward`; `None` when the kernel has no such one.
pub(crate) fn read(name: &str) -> io::Result<Option<String>> {
    match fs_err::read_to_string(format!("{ROOT}/{name}")) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// Sets a parameter unless it has the value. Most hosts need no write, and then a read-only
/// `/proc/sys` is no obstacle.
pub(crate) fn ensure(name: &str, value: &str) -> io::Result<()> {
    if read(name)?.as_deref() == Some(value) {
        return Ok(());
    }
    fs_err::write(format!("{ROOT}/{name}"), value)
}

/// Like [`ensure`], for parameters that a kernel may lack (IPv6 compiled out or disabled).
pub(crate) fn ensure_if_present(name: &str, value: &str) -> io::Result<()> {
    match read(name)? {
        Some(found) if found != value => fs_err::write(format!("{ROOT}/{name}"), value),
        Some(_) | None => Ok(()),
    }
}

/// Could a parameter be set?
pub(crate) fn is_writable(name: &str) -> bool {
    fs_err::OpenOptions::new()
        .write(true)
        .open(format!("{ROOT}/{name}"))
        .is_ok()
}
