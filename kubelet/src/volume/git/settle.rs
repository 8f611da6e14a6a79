//! What git has left -> what a pod may have: files, directories and links of root's, no bit that gives anybody rights.
use crate::beneath::Dir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use std::ffi::OsStr;
use std::io;

/// How deep a repository may be; git itself ends at 4096 bytes of path.
const DEEPEST: u32 = 128;
/// How many files and directories it may have.
const MOST: u32 = 1_000_000;

/// Gives everything below `dir`, and `dir`, to root, and to the group that shares the volume if there is one.
///
/// # Errors
/// Names what no repository holds.
pub(super) fn settle(dir: &Dir, group: Option<u32>) -> io::Result<()> {
    let mut pass = Pass {
        group: Gid::from_raw(group.unwrap_or(0)),
        shared: group.is_some(),
        left: MOST,
    };
    pass.dir(dir, 0)
}

struct Pass {
    group: Gid,
    shared: bool,
    left: u32,
}

impl Pass {
    fn dir(&mut self, dir: &Dir, depth: u32) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "the repository is more than {DEEPEST} directories deep"
            )));
        }
        for name in dir.names()? {
            let left = self.left.checked_sub(1);
            self.left = left.ok_or_else(|| {
                io::Error::other(format!("the repository has more than {MOST} files"))
            })?;
            self.entry(dir, &name, depth)?;
        }
        rustix::fs::fchown(dir, Some(Uid::ROOT), Some(self.group))?;
        let mode = if self.shared { 0o2775 } else { 0o755 };
        Ok(rustix::fs::fchmod(dir, Mode::from_raw_mode(mode))?)
    }

    fn entry(&mut self, dir: &Dir, name: &OsStr, depth: u32) -> io::Result<()> {
        let stat = dir.stat(name)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.dir(&dir.dir(name.as_ref())?, depth + 1),
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
                rustix::fs::fchown(&file, Some(Uid::ROOT), Some(self.group))?;
                let shared = if self.shared { 0o060 } else { 0 };
                let mode = stat.st_mode & 0o111 | 0o644 | shared;
                Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
            }
            FileType::Symlink => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let owner = (Some(Uid::ROOT), Some(self.group));
                Ok(rustix::fs::chownat(dir, name, owner.0, owner.1, flags)?)
            }
            _ => Err(io::Error::other(format!(
                "{} in the repository is neither a file, a directory nor a link",
                name.display()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn everything_becomes_roots_and_harmless() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP everything_becomes_roots_and_harmless: needs root");
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("repo/sub")).unwrap();
        std::fs::write(at("precious"), "").unwrap();
        std::fs::write(at("repo/plain"), "").unwrap();
        std::fs::write(at("repo/sub/setuid"), "").unwrap();
        symlink(at("precious"), at("repo/link")).unwrap();
        for name in [
            "precious",
            "repo",
            "repo/sub",
            "repo/plain",
            "repo/sub/setuid",
            "repo/link",
        ] {
            std::os::unix::fs::lchown(at(name), Some(65534), Some(65534)).unwrap();
        }
        let mode = |name: &str, mode| {
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("repo/sub/setuid", 0o6755);
        mode("repo/plain", 0o600);
        mode("repo/sub", 0o3777);
        let seen = |name: &str| {
            let meta = std::fs::symlink_metadata(at(name)).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        settle(&Dir::open(&at("repo")).unwrap(), None).unwrap();
        assert_eq!(seen("repo"), (0, 0, 0o755));
        assert_eq!(seen("repo/sub"), (0, 0, 0o755));
        assert_eq!(seen("repo/plain"), (0, 0, 0o644));
        assert_eq!(seen("repo/sub/setuid"), (0, 0, 0o755));
        assert_eq!(seen("repo/link"), (0, 0, 0o777));
        assert_eq!(seen("precious").0, 65534, "no link is followed");
        settle(&Dir::open(&at("repo")).unwrap(), Some(2000)).unwrap();
        assert_eq!(seen("repo/sub"), (0, 2000, 0o2775));
        assert_eq!(seen("repo/plain"), (0, 2000, 0o664));

        std::os::unix::net::UnixListener::bind(at("repo/socket")).unwrap();
        let err = settle(&Dir::open(&at("repo")).unwrap(), None).unwrap_err();
        assert!(
            err.to_string().contains("socket in the repository"),
            "{err}"
        );
    }
}
