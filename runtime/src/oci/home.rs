//! `HOME`, for processes that were not given one: shells and many programs expect it.
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

/// At most this much of a passwd file is read: it is the container's, and may be anything.
const LIMIT: u64 = 1 << 20;
/// The home of users that the container does not know.
const NOWHERE: &str = "/";

/// Adds the home directory of the process's user, by the passwd file below `root`, to an
/// environment without one.
pub(super) fn provide(process: &mut Process, root: &Path) {
    let mut env = process.env().clone().unwrap_or_default();
    if env.iter().any(|one| one.starts_with("HOME=")) {
        return;
    }
    let text = passwd(root).unwrap_or_default();
    let home = home(&text, process.user().uid()).unwrap_or(NOWHERE);
    env.push(format!("HOME={home}"));
    process.set_env(Some(env));
}

/// What cannot be read is as good as empty: there need not be such a file.
fn passwd(root: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = File::from(open_inside(root, "etc/passwd").ok()?);
    let regular = file.metadata().is_ok_and(|found| found.is_file());
    let mut file = Some(file).filter(|_| regular)?.take(LIMIT);
    file.read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The links on the way are the container's, and end inside it. Its fifos are not waited for.
fn open_inside(root: &Path, path: &str) -> rustix::io::Result<OwnedFd> {
    let root = open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// The sixth field of the first line about `uid`: `name:password:uid:gid:comment:home:shell`.
fn home(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (found && !home.is_empty() && !home.contains('\0')).then_some(home)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn process(uid: u32, env: &[&str]) -> Process {
        serde_json::from_value(json!({
            "user": { "uid": uid, "gid": 0 }, "args": ["x"], "env": env, "cwd": "/",
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(root: &Path, uid: u32, env: &[&str], want: &[&str]) {
        let mut process = process(uid, env);
        provide(&mut process, root);
        assert_eq!(process.env().as_deref().unwrap(), want);
    }

    #[test]
    fn the_home_of_the_user_is_found() {
        let text = "broken\nroot:x:0:0:root:/root:/bin/sh\na:x:1:1::/home/a:\na:x:1:1::/other:\nb:x:2:2:::\n";
        assert_eq!(home(text, 0), Some("/root"));
        assert_eq!(home(text, 1), Some("/home/a"));
        assert_eq!(home(text, 2), None);
        assert_eq!(home(text, 3), None);
    }

    #[test]
    fn only_a_missing_home_is_added() {
        let root = tempfile::tempdir().unwrap();
        check(root.path(), 0, &["A=b"], &["A=b", "HOME=/"]);
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let file = root.path().join("etc/passwd");
        std::fs::write(&file, "u:x:7:7::/srv:/bin/sh\n").unwrap();
        check(root.path(), 7, &[], &["HOME=/srv"]);
        check(root.path(), 0, &[], &["HOME=/"]);
        check(root.path(), 7, &["HOME="], &["HOME="]);
    }

    /// Of a link that leads out of the root, and of a fifo, that nobody writes to.
    #[test]
    fn hostile_files_are_harmless() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("passwd");
        std::fs::write(&secret, "u:x:7:7::/secret:\n").unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let file = root.path().join("etc/passwd");
        std::os::unix::fs::symlink(&secret, &file).unwrap();
        check(root.path(), 7, &[], &["HOME=/"]);
        std::fs::remove_file(&file).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &file, kind, mode, 0).unwrap();
        check(root.path(), 7, &[], &["HOME=/"]);
    }
}
