use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn payload(files: &[(&str, &str, u32)]) -> Payload {
    let content = |bytes: &str, mode| Content {
        bytes: bytes.into(),
        mode,
    };
    files
        .iter()
        .map(|&(path, bytes, mode)| (PathBuf::from(path), content(bytes, mode)))
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let name = |name: OsString| name.into_string().unwrap();
    let names = entries.map(|entry| name(entry.unwrap().file_name()));
    // The one directory with the files is called after the time.
    let shown = |name: String| {
        if name[2..].parse::<u64>().is_ok() {
            "..N".to_owned()
        } else {
            name
        }
    };
    let mut names: Vec<_> = names
        .map(|name| {
            if name.starts_with("..") {
                shown(name)
            } else {
                name
            }
        })
        .collect();
    names.sort();
    names
}

#[test]
fn files_appear_with_their_modes_below_one_link() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    let files = payload(&[("key", "1", 0o644), ("sub/deep/key", "2", 0o400)]);
    assert!(write(&dir, &files, None).unwrap());
    assert_eq!(names(temp.path()), ["..N", "..data", "key", "sub"]);
    let read = |name: &str| std::fs::read_to_string(temp.path().join(name)).unwrap();
    assert_eq!(
        (read("key"), read("sub/deep/key")),
        ("1".into(), "2".into())
    );
    assert_eq!(
        std::fs::read_link(temp.path().join("key")).unwrap(),
        Path::new("..data/key")
    );
    let mode = |name: &str| std::fs::metadata(temp.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("key"), mode("sub/deep/key")), (0o644, 0o400));
    assert_eq!((mode("..data"), mode("sub/deep")), (0o755, 0o755));
}

#[test]
fn what_has_not_changed_is_not_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    let files = payload(&[("a", "1", 0o644), ("sub/b", "2", 0o644)]);
    write(&dir, &files, None).unwrap();
    let inode = || std::fs::metadata(temp.path().join("a")).unwrap().ino();
    let before = inode();
    assert!(!write(&dir, &files, None).unwrap());
    assert_eq!(inode(), before);
    for changed in [
        payload(&[("a", "1", 0o644)]),
        payload(&[("a", "1", 0o644), ("sub/b", "22", 0o644)]),
        payload(&[("a", "1", 0o600), ("sub/b", "22", 0o644)]),
        payload(&[("a", "1", 0o600), ("sub/b", "22", 0o644), ("c", "", 0o644)]),
        payload(&[]),
    ] {
        assert!(write(&dir, &changed, None).unwrap(), "{changed:?}");
        assert!(!write(&dir, &changed, None).unwrap(), "{changed:?}");
    }
}

/// A program that has the directory open, as a container has, sees each new set of files, and only those.
#[test]
fn a_change_adds_replaces_and_removes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    write(
        &dir,
        &payload(&[("a", "1", 0o644), ("b/c", "2", 0o644), ("d", "3", 0o644)]),
        None,
    )
    .unwrap();
    write(
        &dir,
        &payload(&[("a/x", "4", 0o644), ("b", "5", 0o644)]),
        None,
    )
    .unwrap();
    assert_eq!(names(temp.path()), ["..N", "..data", "a", "b"]);
    assert_eq!(std::fs::read(temp.path().join("a/x")).unwrap(), b"4");
    assert_eq!(std::fs::read(temp.path().join("b")).unwrap(), b"5");
    write(&dir, &payload(&[]), None).unwrap();
    assert_eq!(names(temp.path()), ["..N", "..data"]);
}

/// Whatever a crash, an older version or somebody else left in the directory gives way, and no link is followed.
#[test]
fn leftovers_give_way_and_links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), "kept").unwrap();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    std::os::unix::fs::symlink(outside.path(), at("..data")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at("..0")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("precious"), at("a")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at("..link_tmp")).unwrap();
    std::fs::create_dir_all(at("b/old/tree")).unwrap();
    std::fs::write(at("b/old/tree/file"), "").unwrap();
    std::fs::write(at("b/file"), "").unwrap();
    std::fs::create_dir(at("..7")).unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    let files = payload(&[("a", "1", 0o644), ("b", "2", 0o644)]);
    assert!(write(&dir, &files, None).unwrap());
    assert_eq!(names(temp.path()), ["..N", "..data", "a", "b"]);
    assert_eq!(std::fs::read(at("b")).unwrap(), b"2");
    assert_eq!(names(outside.path()), ["precious"]);
    let text = std::fs::read_to_string(outside.path().join("precious")).unwrap();
    assert_eq!(text, "kept");
}

/// A reader in a tight loop sees both files of one version, never one of each.
#[test]
fn a_reader_never_sees_half() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    let version = |text: &str| payload(&[("a", text, 0o644), ("b", text, 0o644)]);
    write(&dir, &version("0"), None).unwrap();
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // As a careful program does: one look at `..data`, then both files there.
                let data = std::fs::read_link(temp.path().join("..data")).unwrap();
                let data = temp.path().join(data);
                let read = |name: &str| std::fs::read(data.join(name));
                if let (Ok(a), Ok(b)) = (read("a"), read("b")) {
                    assert_eq!(a, b);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                assert!(std::fs::symlink_metadata(temp.path().join("a")).is_ok());
            }
        });
        for number in 1..1_000_000 {
            write(&dir, &version(&number.to_string()), None).unwrap();
            if number >= 300 && seen.load(Ordering::Relaxed) >= 300 || reader.is_finished() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert!(seen.into_inner() >= 300);
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    write(&dir, &payload(&[("a", "1", 0o644)]), None).unwrap();
    // What `payload` never lets through: a file that is a directory as well.
    let broken = payload(&[("a", "2", 0o644), ("a/b", "3", 0o644)]);
    assert!(write(&dir, &broken, None).is_err());
    assert_eq!(std::fs::read(temp.path().join("a")).unwrap(), b"1");
    let mode = std::fs::metadata(temp.path().join("..data")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o755);
    assert_eq!(names(temp.path()), ["..N", "..data", "a"]);
}
