//! Which cgroup hierarchies this host has, and where.
//!
//! Three layouts are told apart by nothing but what is mounted:
//!
//! ```text
//! legacy   /sys/fs/cgroup/{cpu,cpuacct,memory,...}         several v1 trees
//! hybrid   the same, and /sys/fs/cgroup/unified (cgroup2)  v1 trees and one v2 tree
//! unified  /sys/fs/cgroup (cgroup2)                        one v2 tree
//! ```
//!
//! A controller belongs to exactly one tree, so "is memory v1 or v2 here?" always has an answer and
//! the rest of the module never asks for "the" version of the host.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The interface that a controller of this host speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A tree of its own (or shared with a few others), files like `memory.limit_in_bytes`.
    V1,
    /// The unified tree, files like `memory.max`.
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Which interface its files have.
    pub version: Version,
    /// The controllers in it (`cpu`, `name=systemd`, ...).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Where this process is in it, relative to `mount`.
    pub own: PathBuf,
}

/// Why the hierarchies could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A file of `/proc/self` could not be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no cgroup file system in this mount namespace.
    #[error("no cgroup hierarchy is mounted; mount cgroup2 at /sys/fs/cgroup")]
    NotMounted,
}

/// All hierarchies that this process can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    trees: Vec<Tree>,
}

impl Hierarchies {
    /// Looks at `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub fn detect() -> Result<Self, DetectError> {
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        let membership = read(Path::new("/proc/self/cgroup"))?;
        let mut trees = parse(&mounts, &membership, is_visible);
        for tree in trees.iter_mut().filter(|tree| tree.version == Version::V2) {
            let text = read(&tree.mount.join("cgroup.controllers"))?;
            tree.controllers = text.split_whitespace().map(str::to_owned).collect();
        }
        if trees.is_empty() {
            return Err(DetectError::NotMounted);
        }
        Ok(Self { trees })
    }

    /// The given trees: for tests, and for a root that is not the host's.
    pub fn from_trees(trees: Vec<Tree>) -> Self {
        Self { trees }
    }

    /// Every tree, v1 ones first.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// Whether one unified tree is all there is.
    pub fn is_unified(&self) -> bool {
        self.trees.iter().all(|tree| tree.version == Version::V2)
    }

    /// The tree that has `controller`; v1 names (`blkio`) and v2 names (`io`) are the same thing.
    pub fn tree_of(&self, controller: &str) -> Option<&Tree> {
        let wanted = canonical(controller);
        self.trees.iter().find(|tree| {
            tree.controllers
                .iter()
                .any(|name| canonical(name) == wanted)
        })
    }
}

/// Reads a file of the kernel's in one go: they do not tell their size.
fn read(file: &Path) -> Result<String, DetectError> {
    let mut text = String::with_capacity(16 * 1024);
    let done = File::open(file).and_then(|mut open| open.read_to_string(&mut text));
    done.map_err(|source| DetectError::Read {
        file: file.to_owned(),
        source,
    })?;
    Ok(text)
}

/// The one name of a controller that the two versions call differently.
pub(crate) fn canonical(controller: &str) -> &str {
    if controller == "blkio" {
        "io"
    } else {
        controller
    }
}

/// One cgroup mount, as mountinfo has it.
struct Mount<'a> {
    /// `MAJOR:MINOR` of the file system.
    device: &'a str,
    root: String,
    point: String,
    writable: bool,
    kind: &'a str,
    options: &'a str,
}

/// Whether the mount is what one finds at its place: it is listed even where another covers it.
fn is_visible(mount: &Mount<'_>) -> bool {
    std::fs::metadata(&mount.point).is_ok_and(|found| {
        let device = found.dev();
        mount.device
            == format!(
                "{}:{}",
                rustix::fs::major(device),
                rustix::fs::minor(device)
            )
    })
}

fn parse(mountinfo: &str, membership: &str, is_visible: impl Fn(&Mount<'_>) -> bool) -> Vec<Tree> {
    let mounts = mountinfo.lines().filter_map(parse_mount);
    let mounts: Vec<Mount<'_>> = mounts.filter(is_visible).collect();
    let mut trees: Vec<Tree> = membership
        .lines()
        .filter_map(|line| tree_for(line, &mounts))
        .collect();
    trees.sort_by_key(|tree| tree.version == Version::V2);
    trees
}

/// The tree of one line of `/proc/self/cgroup`: `9:cpu,cpuacct:/path` or `0::/path`.
fn tree_for(line: &str, mounts: &[Mount<'_>]) -> Option<Tree> {
    let mut fields = line.splitn(3, ':');
    let (id, names, path) = (fields.next()?, fields.next()?, fields.next()?);
    let unified = id == "0" && names.is_empty();
    let belongs = |mount: &&Mount<'_>| {
        if unified {
            return mount.kind == "cgroup2";
        }
        let has = |name: &str| mount.options.split(',').any(|option| option == name);
        mount.kind == "cgroup" && names.split(',').all(has)
    };
    // The same hierarchy may be mounted often (containers bind parts of it): the whole, writable
    // one is the one to work in; of equals the later one, which may hide the earlier.
    let best = mounts.iter().filter(belongs).max_by_key(|mount| {
        (
            mount.writable,
            mount.root == "/",
            path.starts_with(&mount.root),
        )
    })?;
    let own = Path::new(path)
        .strip_prefix(&best.root)
        .unwrap_or(Path::new(""));
    Some(Tree {
        version: if unified { Version::V2 } else { Version::V1 },
        controllers: names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        mount: PathBuf::from(&best.point),
        own: own.strip_prefix("/").unwrap_or(own).to_owned(),
    })
}

/// `36 35 98:0 /root /point rw,noatime master:1 - cgroup cgroup rw,cpu`, if it is about cgroups.
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (head, tail) = line.split_once(" - ")?;
    let mut tail = tail.split(' ');
    let kind = tail.next()?;
    if kind != "cgroup" && kind != "cgroup2" {
        return None;
    }
    let options = tail.nth(1).unwrap_or("");
    let mut head = head.split(' ').skip(2);
    let (device, root) = (head.next()?, head.next()?);
    let (point, flags) = (head.next()?, head.next()?);
    let writable = ![flags, options]
        .iter()
        .any(|list| list.split(',').any(|flag| flag == "ro"));
    Some(Mount {
        device,
        root: unescape(root),
        point: unescape(point),
        writable,
        kind,
        options,
    })
}

/// Undoes mountinfo's octal escapes (`\040` is a space).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mountinfo: &str, membership: &str, want: &[(Version, &str, &str, &str)]) {
        let got = parse(mountinfo, membership, |mount| mount.device != "0:99");
        let got: Vec<_> = got
            .iter()
            .map(|tree| {
                let names = tree.controllers.join(",");
                let (mount, own) = (tree.mount.to_str().unwrap(), tree.own.to_str().unwrap());
                (tree.version, names, mount.to_owned(), own.to_owned())
            })
            .collect();
        let want: Vec<_> = want
            .iter()
            .map(|&(version, names, mount, own)| {
                (version, names.to_owned(), mount.to_owned(), own.to_owned())
            })
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_three_layouts() {
        use Version::{V1, V2};
        check(
            "30 20 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/session-1.scope\n",
            &[(V2, "", "/sys/fs/cgroup", "user.slice/session-1.scope")],
        );
        check(
            "32 31 0:29 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /cg/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n",
            "9:name=systemd:/\n2:cpu,cpuacct:/a\n0::/\n",
            &[
                (V1, "name=systemd", "/cg/systemd", ""),
                (V1, "cpu,cpuacct", "/cg/cpu,cpuacct", "a"),
                (V2, "", "/cg/unified", ""),
            ],
        );
    }

    #[test]
    fn a_container_sees_its_part_as_the_whole() {
        check(
            "32 31 0:29 /docker/abc /cg/cpu rw - cgroup cgroup rw,cpu\n",
            "1:cpu:/docker/abc/inner\n",
            &[(Version::V1, "cpu", "/cg/cpu", "inner")],
        );
    }

    #[test]
    fn the_writable_whole_mount_wins() {
        check(
            "32 31 0:29 / /ro ro - cgroup cgroup rw,cpu\n\
             33 31 0:29 / /a\\040b rw - cgroup cgroup rw,cpu\n\
             34 31 0:29 /x /part rw - cgroup cgroup rw,cpu\n",
            "1:cpu:/\n",
            &[(Version::V1, "cpu", "/a b", "")],
        );
    }

    #[test]
    fn covered_mounts_are_passed_over() {
        check(
            "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu\n\
             33 31 0:99 / /cg/cpu rw - cgroup cgroup rw,cpu\n\
             34 31 0:99 / /cg/unified rw - cgroup2 cgroup2 rw\n",
            "1:cpu:/\n0::/\n",
            &[(Version::V1, "cpu", "/cg/cpu", "")],
        );
    }

    #[test]
    fn other_mounts_and_broken_lines_are_passed_over() {
        check(
            "1 1 0:1 / / rw - ext4 /dev/vda rw\nnonsense\n- cgroup\n",
            "x\n1:cpu:/\n",
            &[],
        );
    }

    #[test]
    fn this_host_is_understood() {
        let hierarchies = Hierarchies::detect().unwrap();
        for tree in hierarchies.trees() {
            assert!(
                tree.mount.join(&tree.own).join("cgroup.procs").exists(),
                "{tree:?}"
            );
        }
        assert!(hierarchies.tree_of("memory").is_some());
        assert_eq!(hierarchies.tree_of("blkio"), hierarchies.tree_of("io"));
    }
}
