//! Root file systems as tar archives, made in memory; the usual one is a static busybox.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tar::{Builder, EntryType, Header};

/// What an entry is, and where it leads if it is a link.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Directory,
    File,
    Link(&'a str),
    HardLink(&'a str),
}

/// A root file system that becomes a tar.
#[expect(missing_debug_implementations, reason = "the builder has none")]
pub struct Rootfs(Builder<Vec<u8>>);

impl Default for Rootfs {
    fn default() -> Self {
        Rootfs(Builder::new(Vec::new()))
    }
}

impl Rootfs {
    /// A directory of root's.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(Kind::Directory, path, mode, (0, 0), b"")
    }
    /// A file of root's.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(Kind::File, path, mode, (0, 0), content.as_ref())
    }
    /// A file of somebody else's.
    #[must_use]
    pub fn owned(
        self,
        path: &str,
        mode: u32,
        owner: (u64, u64),
        content: impl AsRef<[u8]>,
    ) -> Self {
        self.entry(Kind::File, path, mode, owner, content.as_ref())
    }
    /// A symbolic link, to anywhere.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(Kind::Link(target), path, 0o777, (0, 0), b"")
    }
    /// A hard link, to anywhere.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(Kind::HardLink(target), path, 0o644, (0, 0), b"")
    }

    /// Names are written as they are: archives that attack have names that no library would write.
    fn entry(
        mut self,
        kind: Kind<'_>,
        path: &str,
        mode: u32,
        (uid, gid): (u64, u64),
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        let (kind, target) = match kind {
            Kind::Directory => (EntryType::Directory, None),
            Kind::File => (EntryType::Regular, None),
            Kind::Link(target) => (EntryType::Symlink, Some(target)),
            Kind::HardLink(target) => (EntryType::Link, Some(target)),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(content.len() as u64);
        let fields = header.as_gnu_mut().expect("made as GNU");
        put(&mut fields.name, path);
        if let Some(target) = target {
            put(&mut fields.linkname, target);
        }
        header.set_cksum();
        self.0.append(&header, content).expect("memory takes it");
        self
    }

    /// The archive.
    ///
    /// # Panics
    /// Never: it is in memory.
    #[must_use]
    pub fn tar(self) -> Vec<u8> {
        self.0.into_inner().expect("memory takes it")
    }
}

fn put(field: &mut [u8; 100], text: &str) {
    assert!(
        text.len() < field.len(),
        "{text} does not fit into a tar header"
    );
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// Where this machine's static busybox is.
pub(crate) fn busybox() -> Option<PathBuf> {
    [
        "/bin/busybox",
        "/usr/bin/busybox",
        "/sbin/busybox",
        "/usr/sbin/busybox",
    ]
    .iter()
    .map(Path::new)
    .find(|path| path.exists())
    .map(Path::to_owned)
}

/// A root file system of a static busybox with all its applets, users `root` and `app` (1000) and a group `staff`.
///
/// # Panics
/// When busybox cannot be read.
#[must_use]
pub fn busybox_image() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| {
        let busybox = busybox().expect("busybox is installed");
        let applets = Command::new(&busybox)
            .arg("--list")
            .output()
            .expect("busybox runs");
        let mut rootfs = Rootfs::default();
        for dir in [
            "bin", "etc", "home", "home/app", "proc", "sys", "dev", "var",
        ] {
            rootfs = rootfs.dir(dir, 0o755);
        }
        rootfs = rootfs
            .dir("tmp", 0o1777)
            .file(
                "bin/busybox",
                0o755,
                std::fs::read(&busybox).expect("busybox can be read"),
            )
            .file(
                "etc/passwd",
                0o644,
                "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n",
            )
            .file(
                "etc/group",
                0o644,
                "root:x:0:\napp:x:1000:\nstaff:x:50:app\n",
            );
        for applet in String::from_utf8_lossy(&applets.stdout)
            .lines()
            .filter(|applet| *applet != "busybox")
        {
            rootfs = rootfs.link(&format!("bin/{applet}"), "busybox");
        }
        rootfs.tar()
    })
}
