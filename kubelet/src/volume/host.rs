//! hostPath: something of the host's own, which must be what the manifest says it is.
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use rustix::fs::FileType;
use std::io;
use std::path::Path;

/// What a hostPath must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// Whatever is there.
    Any,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl HostKind {
    /// What is wrong with something of this `found` type, if anything is.
    pub(super) fn check(self, path: &Path, found: FileType) -> Result<(), String> {
        let (fits, what) = match self {
            HostKind::Any => (true, ""),
            HostKind::Directory => (found == FileType::Directory, "directory"),
            HostKind::File => (found == FileType::RegularFile, "file"),
            HostKind::Socket => (found == FileType::Socket, "socket"),
            HostKind::CharDevice => (found == FileType::CharacterDevice, "character device"),
            HostKind::BlockDevice => (found == FileType::BlockDevice, "block device"),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{} is no {what}", path.display()))
        }
    }
}

/// Makes what may be made, and says what must be there. It is looked at when a container gets it, by [`super::open`]; what
/// can be said now is said now.
pub(super) fn ensure(source: &HostPathVolumeSource) -> Result<HostKind, String> {
    let path = Path::new(&source.path);
    let (kind, make) = match source.type_.as_deref().unwrap_or_default() {
        "" => (HostKind::Any, false),
        "Directory" => (HostKind::Directory, false),
        "DirectoryOrCreate" => (HostKind::Directory, true),
        "File" => (HostKind::File, false),
        "FileOrCreate" => (HostKind::File, true),
        "Socket" => (HostKind::Socket, false),
        "CharDevice" => (HostKind::CharDevice, false),
        "BlockDevice" => (HostKind::BlockDevice, false),
        other => return Err(format!("hostPath.type \"{other}\" is unknown")),
    };
    if make && std::fs::symlink_metadata(path).is_err() {
        let made = if kind == HostKind::Directory {
            fs_err::create_dir_all(path)
        } else {
            make_file(path)
        };
        made.map_err(|err| err.to_string())?;
    }
    super::open::host(path, kind).map(|_| kind)
}

/// An empty file; its directory must be there.
fn make_file(path: &Path) -> io::Result<()> {
    match fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
    {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_host_path_must_be_what_it_claims() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        symlink("dir", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let table = [
            ("file", "", None),
            ("file", "File", None),
            ("file", "FileOrCreate", None),
            ("file", "Directory", Some("is no directory")),
            ("file", "DirectoryOrCreate", Some("is no directory")),
            ("file", "Socket", Some("is no socket")),
            ("file", "CharDevice", Some("is no character device")),
            ("file", "BlockDevice", Some("is no block device")),
            ("file", "Door", Some("is unknown")),
            ("file/below", "", Some("Not a directory")),
            ("dir", "Directory", None),
            ("dir", "File", Some("is no file")),
            ("socket", "Socket", None),
            ("socket", "File", Some("is no file")),
            ("gone", "", Some("DirectoryOrCreate")),
            ("gone", "Directory", Some("DirectoryOrCreate")),
            ("made/deep", "DirectoryOrCreate", None),
            ("made/file", "FileOrCreate", None),
            ("missing/file", "FileOrCreate", Some("missing")),
            ("link", "Directory", None),
            ("dangling", "DirectoryOrCreate", Some("is not on this host")),
            ("dangling", "FileOrCreate", Some("is not on this host")),
            ("loop", "", Some("symbolic links")),
        ];
        for (name, kind, want) in table {
            let source = HostPathVolumeSource {
                path: at(name).to_string_lossy().into_owned(),
                type_: Some(kind.to_owned()),
            };
            match (ensure(&source), want) {
                (Ok(_), None) => {}
                (Err(problem), Some(want)) => {
                    assert!(problem.contains(want), "{name} {kind}: {problem}")
                }
                (result, want) => panic!("{name} {kind}: {result:?}, not {want:?}"),
            }
        }
        assert!(at("made/deep").is_dir() && at("made/file").is_file());
    }

    /// The descriptors of this process are nobody else's business.
    #[test]
    fn magic_links_are_refused() {
        for path in ["/proc/self/root", "/proc/self/fd/0", "/proc/self/cwd/x"] {
            let source = HostPathVolumeSource {
                path: path.to_owned(),
                type_: None,
            };
            assert!(ensure(&source).is_err(), "{path}");
        }
        let source = HostPathVolumeSource {
            path: "/dev/null".to_owned(),
            type_: Some("CharDevice".to_owned()),
        };
        assert_eq!(ensure(&source), Ok(HostKind::CharDevice));
    }
}
