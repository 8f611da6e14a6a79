//! What honest layers have, kept.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;

/// The first file of a mode is looked at, the others are believed to come out the same.
#[test]
fn owners_and_modes_are_right_for_every_file_of_a_kind() {
    if !is_root("owners_and_modes_are_right_for_every_file_of_a_kind") {
        return;
    }
    // A store whose directory hands its group down.
    let bench = Bench::new();
    let above = bench.dir.path().join("store/layers/partial");
    std::os::unix::fs::chown(&above, None, Some(50)).unwrap();
    std::fs::set_permissions(&above, std::fs::Permissions::from_mode(0o2700)).unwrap();
    let modes = [0o644, 0o664, 0o600, 0o444, 0o777, 0o000, 0o4755, 0o1644];
    let dirs = [
        ("plain", 0, 0o755),
        ("implied/sub", 0, 0),
        ("staff", 50, 0o2775),
    ];
    let mut tar = Tar::default();
    for (dir, gid, mode) in dirs {
        let octal = |number: u32| format!("{number:07o}\0");
        if mode != 0 {
            tar = tar.header(dir.as_bytes(), b'5', 0, |block| {
                block[100..108].copy_from_slice(octal(mode).as_bytes());
                block[116..124].copy_from_slice(octal(gid).as_bytes());
            });
        }
        for (mode, turn) in modes.into_iter().flat_map(|mode| [(mode, 1), (mode, 2)]) {
            let name = format!("{dir}/{mode:o}-{turn}");
            tar = tar.header(name.as_bytes(), b'0', 0, |block| {
                block[100..108].copy_from_slice(octal(mode).as_bytes());
            });
        }
    }
    let root = bench.unpack(&tar.done()).unwrap();
    for (dir, ..) in dirs {
        for (mode, turn) in modes.into_iter().flat_map(|mode| [(mode, 1), (mode, 2)]) {
            let name = format!("{dir}/{mode:o}-{turn}");
            let found = std::fs::metadata(root.join(&name)).unwrap();
            assert_eq!(found.mode() & 0o7777, mode, "{name}");
            assert_eq!((found.uid(), found.gid()), (0, 0), "{name}");
        }
    }
}

#[test]
fn attributes_are_kept() {
    if !is_root("attributes_are_kept") {
        return;
    }
    let bench = Bench::new();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let owned = |block: &mut [u8; 512]| {
        block[100..108].copy_from_slice(b"0004751\0");
        block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 0x12, 0xd6, 0x87]);
        block[116..124].copy_from_slice(b"0001750\0");
    };
    let tar = Tar::default()
        .dir("./")
        .header(b"d/", b'5', 0, |block| {
            block[100..108].copy_from_slice(b"0001777\0")
        })
        .pax(&[
            ("mtime", b"1000000000.123456789"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"kept\0\xff"),
            ("SCHILY.xattr.system.posix_acl_access", b"dropped"),
            ("SCHILY.xattr.security.selinux", b"dropped"),
        ])
        .header(b"d/suid", b'0', 0, owned)
        .pax(&[("mtime", b"-5.5")])
        .symlink("d/link", "no/such/target")
        .header(b"d/null", b'3', 0, |block| {
            block[329..337].copy_from_slice(b"0000001\0");
            block[337..345].copy_from_slice(b"0000003\0");
        })
        .entry("d/fifo", b'6', b"")
        .hard_link("d/second", "d/suid");
    let root = bench.unpack(&tar.done()).unwrap();
    let stat = |name: &str| std::fs::symlink_metadata(root.join(name)).unwrap();
    let suid = stat("d/suid");
    assert_eq!(
        (suid.mode(), suid.uid(), suid.gid()),
        (0o10_4751, 1_234_567, 1000)
    );
    assert_eq!(
        (suid.mtime(), suid.mtime_nsec()),
        (1_000_000_000, 123_456_789)
    );
    assert_eq!((suid.nlink(), suid.ino()), (2, stat("d/second").ino()));
    assert_eq!(
        xattr(&root.join("d/suid"), "security.capability").unwrap(),
        capability
    );
    assert_eq!(
        xattr(&root.join("d/suid"), "user.note").unwrap(),
        b"kept\0\xff"
    );
    assert_eq!(xattr(&root.join("d/suid"), "system.posix_acl_access"), None);
    let link = stat("d/link");
    assert_eq!((link.mtime(), link.mtime_nsec()), (-6, 500_000_000));
    let null = stat("d/null");
    assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
    assert!(stat("d/fifo").file_type().is_fifo());
    let dir = stat("d");
    assert_eq!(
        (dir.mode() & 0o7777, dir.mtime()),
        (0o1777, 0o7_346_545_000)
    );
    assert_eq!(stat("").mtime(), 0o7_346_545_000);
}

#[test]
fn implied_directories_and_the_root_have_plain_attributes() {
    if !is_root("implied_directories_and_the_root_have_plain_attributes") {
        return;
    }
    let bench = Bench::new();
    let root = bench
        .unpack(&Tar::default().file("a/b/c", "x").done())
        .unwrap();
    for name in ["", "a", "a/b"] {
        let stat = std::fs::symlink_metadata(root.join(name)).unwrap();
        assert_eq!(
            (stat.mode() & 0o7777, stat.uid(), stat.mtime()),
            (0o755, 0, 0),
            "{name}"
        );
    }
}

#[test]
fn whiteouts_become_overlayfs_marks_in_any_order() {
    if !is_root("whiteouts_become_overlayfs_marks_in_any_order") {
        return;
    }
    let bench = Bench::new();
    let entries: [fn(Tar) -> Tar; 8] = [
        |tar| tar.file("gone/.wh.file", ""),
        |tar| tar.file("fresh/.wh..wh..opq", ""),
        |tar| tar.file("fresh/kept", "x"),
        |tar| tar.file(".wh.replaced", ""),
        |tar| tar.file("replaced", "new"),
        |tar| tar.file(".wh.dir", ""),
        |tar| tar.file("dir/new", "new"),
        |tar| tar.file(".wh..wh.plnk", "aufs"),
    ];
    for reversed in [false, true] {
        let mut order = entries;
        if reversed {
            order.reverse();
        }
        let root = bench.unpack(
            &order
                .iter()
                .fold(Tar::default(), |tar, add| add(tar))
                .done(),
        );
        let root = root.unwrap();
        let gone = std::fs::symlink_metadata(root.join("gone/file")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        let opaque = |name: &str| xattr(&root.join(name), "trusted.overlay.opaque");
        assert_eq!(opaque("fresh").as_deref(), Some(&b"y"[..]));
        assert_eq!(
            opaque("dir").as_deref(),
            Some(&b"y"[..]),
            "removed and made anew"
        );
        assert_eq!(opaque("gone"), None);
        assert_eq!(read(root.join("replaced")), "new");
        assert_eq!(read(root.join("dir/new")), "new");
        let names = std::fs::read_dir(&root).unwrap().count();
        assert_eq!(names, 4, "no whiteout is left as a file");
    }
}

#[test]
fn sparse_files_keep_their_holes() {
    if !is_root("sparse_files_keep_their_holes") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(dir.path().join("f")).unwrap();
    for at in 0..40_u64 {
        use std::io::Seek as _;
        file.seek(std::io::SeekFrom::Start(at << 20)).unwrap();
        write!(file, "piece {at}").unwrap();
    }
    file.set_len(50 << 20).unwrap();
    drop(file);
    let original = std::fs::read(dir.path().join("f")).unwrap();
    let gnu: &[&str] = &["--format=gnu", "-S"];
    let pax = ["0.0", "0.1", "1.0"].map(|version| format!("--sparse-version={version}"));
    let formats = std::iter::once(gnu.iter().map(ToString::to_string).collect::<Vec<_>>()).chain(
        pax.into_iter()
            .map(|version| vec!["--format=pax".into(), "-S".into(), version]),
    );
    for format in formats {
        let mut command = Command::new("tar");
        command
            .args(&format)
            .arg("-C")
            .arg(dir.path())
            .args(["-cf-", "f"]);
        let tar = out_of(&mut command);
        assert!(tar.len() < 2 << 20, "{format:?}: GNU tar wrote no holes");
        let root = Bench::new();
        let tree = root
            .unpack(&tar)
            .unwrap_or_else(|err| panic!("{format:?}: {err:?}"));
        assert!(
            std::fs::read(tree.join("f")).unwrap() == original,
            "{format:?}"
        );
        let blocks = std::fs::metadata(tree.join("f")).unwrap().blocks();
        assert!(blocks * 512 < 2 << 20, "{format:?}: {blocks} blocks");
    }
}

fn out_of(command: &mut Command) -> Vec<u8> {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

#[test]
fn long_and_strange_names_of_every_dialect() {
    if !is_root("long_and_strange_names_of_every_dialect") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join(format!("{0}/{0}/{0}", "d".repeat(90)));
    std::fs::create_dir_all(&deep).unwrap();
    let strange = std::ffi::OsStr::from_bytes(b"caf\xe9 \n\"x\\");
    std::fs::write(deep.join(strange), "strange").unwrap();
    std::fs::write(deep.join("f".repeat(200)), "long").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), deep.join("l")).unwrap();
    for format in ["gnu", "pax", "posix"] {
        let mut tar = Command::new("tar");
        tar.arg(format!("--format={format}"))
            .arg("-C")
            .arg(dir.path())
            .args(["-cf-", "."]);
        let bench = Bench::new();
        let root = bench.unpack(&out_of(&mut tar)).unwrap();
        let mut diff = Command::new("diff");
        out_of(
            diff.args(["-r", "--no-dereference"])
                .arg(dir.path())
                .arg(&root),
        );
    }
}

#[test]
fn compressed_streams_of_several_parts() {
    if !is_root("compressed_streams_of_several_parts") {
        return;
    }
    let tar = Tar::default().file("f", &"content ".repeat(1000)).done();
    let (first, second) = tar.split_at(1234);
    let diff_id = Digest::sha256(&tar);
    let zstd = |bytes| zstd::encode_all(bytes, 1).unwrap();
    let limits = Limits::default();
    for (compression, bytes) in [
        (Compression::Gzip, [gzip(first), gzip(second)].concat()),
        (Compression::Zstd, [zstd(first), zstd(second)].concat()),
    ] {
        let bench = Bench::new();
        assert_eq!(Compression::sniff(&bytes), compression);
        let root = bench
            .unpack_packed(&bytes, compression, &diff_id, &limits)
            .unwrap();
        assert_eq!(read(root.join("f")).len(), 8000);
        // The media type decides, not the content.
        let other = Bench::new();
        let err = other
            .unpack_packed(&bytes, Compression::None, &diff_id, &limits)
            .unwrap_err();
        assert!(
            matches!(
                err,
                UnpackError::Malformed { .. } | UnpackError::Truncated { .. }
            ),
            "{err}"
        );
    }
}

#[test]
fn the_diff_id_decides() {
    if !is_root("the_diff_id_decides") {
        return;
    }
    let bench = Bench::new();
    let tar = Tar::default().file("f", "x").done();
    let wrong = Digest::sha256(b"something else");
    let err = bench
        .unpack_packed(&tar, Compression::None, &wrong, &Limits::default())
        .unwrap_err();
    assert!(matches!(err, UnpackError::DiffId { .. }), "{err}");
    bench.assert_no_leftovers();
    assert_eq!(bench.store.layer(&wrong), None);
}

/// A tmpfs of one MiB, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(dir)
            .status()
            .is_ok_and(|status| status.success())
            .then(|| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_is_said_and_cleaned_up() {
    let name = "a_full_disk_is_said_and_cleaned_up";
    if !is_root(name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else {
        println!("SKIP {name}: cannot mount a tmpfs");
        return;
    };
    let blob = tempfile::NamedTempFile::new().unwrap();
    let tar = Tar::default().file("big/file", &"x".repeat(3 << 20)).done();
    std::fs::write(blob.path(), &tar).unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let (diff_id, limits) = (Digest::sha256(&tar), Limits::default());
    let err = store
        .unpack(
            blob.path(),
            Compression::None,
            &diff_id,
            &limits,
            &unwatched,
        )
        .unwrap_err();
    assert!(
        matches!(&err, UnpackError::DiskFull { entry, .. } if entry == "big/file"),
        "{err:?}"
    );
    assert!(err.to_string().contains("make room"), "{err}");
    assert!(store.disk_usage().unwrap().partial < 1 << 16);
}

/// An overlay mount, gone with the value.
struct Overlay(PathBuf);

impl Drop for Overlay {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn the_kernel_merges_layers_as_oci_says() {
    let name = "the_kernel_merges_layers_as_oci_says";
    if !is_root(name) {
        return;
    }
    let bench = Bench::new();
    let lower = Tar::default()
        .file("opaque/old", "")
        .file("hidden/gone", "")
        .file("hidden/kept", "")
        .file("removed/deep/file", "")
        .file("remade/old", "")
        .file("replaced/by/file", "")
        .file("becomes", "file");
    let upper = Tar::default()
        .file("opaque/new", "")
        .file("opaque/.wh..wh..opq", "")
        .file("hidden/.wh.gone", "")
        .file(".wh.removed", "")
        .dir("remade")
        .file("remade/new", "")
        .file(".wh.remade", "")
        .file("replaced", "")
        .file("becomes/directory", "");
    let lower = bench.unpack(&lower.done()).unwrap();
    let upper = bench.unpack(&upper.done()).unwrap();
    let merged = bench.dir.path().join("merged");
    std::fs::create_dir(&merged).unwrap();
    let layers = format!("lowerdir={}:{}", upper.display(), lower.display());
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "overlay", "none", "-o", &layers])
        .arg(&merged);
    if !mount.status().is_ok_and(|status| status.success()) {
        println!("SKIP {name}: cannot mount an overlay");
        return;
    }
    let _overlay = Overlay(merged.clone());
    let mut find = Command::new("find");
    let found = out_of(find.arg(&merged).args(["-type", "f", "-printf", "%P\n"]));
    let mut found: Vec<&str> = std::str::from_utf8(&found).unwrap().lines().collect();
    found.sort_unstable();
    let want = [
        "becomes/directory",
        "hidden/kept",
        "opaque/new",
        "remade/new",
        "replaced",
    ];
    assert_eq!(found, want);
}
