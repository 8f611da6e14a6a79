//! Which extended attributes of a layer are kept.
//!
//! `security.capability` and `user.*` are; they are what images need. `trusted.overlay.*` would forge
//! overlayfs's own marks, so an entry with one is refused. Everything else belongs to the machine
//! the image was built on (SELinux labels, IMA signatures, ACLs) and is dropped.

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;

use super::UnpackError;
use super::entries::Entry;
use crate::sys;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
    Refuse,
}

fn judge(name: &[u8]) -> Verdict {
    if name.starts_with(b"trusted.overlay.") {
        Verdict::Refuse
    } else if name.starts_with(b"user.overlay.") {
        // What overlayfs uses in user namespaces: never meant to be seen.
        Verdict::Drop
    } else if name == b"security.capability" || name.starts_with(b"user.") {
        Verdict::Keep
    } else {
        Verdict::Drop
    }
}

/// Refuses an entry that forges overlayfs's marks, whatever kind of entry it is.
pub(crate) fn check(entry: &Entry) -> Result<(), UnpackError> {
    let forged = entry
        .xattrs
        .iter()
        .find(|(name, _)| judge(name) == Verdict::Refuse);
    match forged {
        Some((name, _)) => {
            let problem = format!("its attribute {:?} is overlayfs's own", sys::lossy(name));
            Err(UnpackError::refused(&entry.name, problem))
        }
        None => Ok(()),
    }
}

/// Sets what is kept on a file or directory. Comes after chown, which takes capabilities away.
pub(crate) fn set(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    for (name, value) in entry
        .xattrs
        .iter()
        .filter(|(name, _)| judge(name) == Verdict::Keep)
    {
        let text = CString::new(name.as_slice())?;
        match sys::fset_xattr(fd, &text, value) {
            // A file system without user attributes loses comments; without capabilities, programs.
            Err(err) if err.kind() == io::ErrorKind::Unsupported && name.starts_with(b"user.") => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        for (name, want) in [
            ("security.capability", Verdict::Keep),
            ("user.mime_type", Verdict::Keep),
            ("user.overlay.opaque", Verdict::Drop),
            ("trusted.overlay.opaque", Verdict::Refuse),
            ("trusted.overlay.redirect", Verdict::Refuse),
            ("trusted.other", Verdict::Drop),
            ("system.posix_acl_access", Verdict::Drop),
            ("security.selinux", Verdict::Drop),
            ("security.capabilityx", Verdict::Drop),
        ] {
            assert_eq!(judge(name.as_bytes()), want, "{name}");
        }
    }
}
