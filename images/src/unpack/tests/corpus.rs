//! One archive for each trick, next to a canary tree that must stay as it is.

use super::*;

/// What must happen to a hostile archive.
enum Want {
    /// An error whose text has this in it.
    Refused(&'static str),
    /// It unpacks, harmlessly; this file has this content afterwards.
    Harmless(&'static str, &'static str),
}
use Want::{Harmless, Refused};

fn long(len: usize) -> String {
    "n".repeat(len)
}

fn names() -> Vec<(&'static str, Tar, Want)> {
    vec![
        (
            "dotdot",
            Tar::default().file("../canary/secret", "x"),
            Refused("upwards"),
        ),
        (
            "dotdot inside",
            Tar::default().file("a/../../canary/secret", "x"),
            Refused("upwards"),
        ),
        (
            "dotdot at the end",
            Tar::default().dir("a/.."),
            Refused("upwards"),
        ),
        (
            "absolute",
            Tar::default().file("/canary/secret", "x"),
            Harmless("canary/secret", "x"),
        ),
        (
            "slashes",
            Tar::default().file("//.//a", "x"),
            Harmless("a", "x"),
        ),
        ("empty name", Tar::default().file("", "x"), Refused("empty")),
        (
            "only a dot",
            Tar::default().file(".", "x"),
            Refused("empty"),
        ),
        (
            "symlink as root",
            Tar::default().symlink("./", "/tmp"),
            Refused("empty"),
        ),
        (
            "NUL in a name",
            Tar::default().pax(&[("path", b"a\0b")]).file("c", "x"),
            Refused("NUL"),
        ),
        (
            "NUL in a target",
            Tar::default()
                .pax(&[("linkpath", b"a\0b")])
                .symlink("c", "x"),
            Refused("impossible"),
        ),
        (
            "component too long",
            Tar::default()
                .pax(&[("path", long(256).as_bytes())])
                .file("c", "x"),
            Refused("255 bytes"),
        ),
        (
            "path too long",
            Tar::default()
                .pax(&[("path", "abcdefg/".repeat(600).as_bytes())])
                .file("c", "x"),
            Refused("longer than any path"),
        ),
        (
            "deep nesting",
            Tar::default()
                .pax(&[("path", "d/".repeat(300).as_bytes())])
                .dir("c"),
            Refused("components in one name"),
        ),
        (
            "255 bytes are fine",
            Tar::default()
                .pax(&[("path", long(255).as_bytes())])
                .file("c", "x")
                .file("ok", "y"),
            Harmless("ok", "y"),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn links() -> Vec<(&'static str, Tar, Want)> {
    vec![
        (
            "file through an absolute symlink",
            Tar::default()
                .symlink("out", "/")
                .file("out/canary-in-root", "x"),
            Harmless("canary-in-root", "x"),
        ),
        (
            "file through a dotdot symlink",
            Tar::default()
                .symlink("out", "../../../../..")
                .file("out/here", "x"),
            Harmless("here", "x"),
        ),
        (
            "symlink chain",
            Tar::default()
                .dir("a")
                .symlink("a/up", "..")
                .symlink("b", "a/up/a/up")
                .file("b/here", "x"),
            Harmless("here", "x"),
        ),
        (
            "symlink loop",
            Tar::default()
                .symlink("a", "b")
                .symlink("b", "a")
                .file("a/x", "x"),
            Refused("cannot unpack"),
        ),
        (
            "symlink that grows",
            Tar::default().symlink("a", "a/a").file("a/x", "x"),
            Refused("cannot unpack"),
        ),
        (
            "name over a symlink",
            Tar::default()
                .symlink("f", "/canary/secret")
                .file("f", "mine"),
            Harmless("f", "mine"),
        ),
        (
            "directory over a symlink",
            Tar::default()
                .symlink("d", "/")
                .dir("d")
                .file("d/f", "mine"),
            Harmless("d/f", "mine"),
        ),
        (
            "directory through a symlink to a file",
            Tar::default()
                .file("f", "x")
                .symlink("l", "f")
                .file("l/x", "y"),
            Refused("no directory"),
        ),
        (
            "hard link out",
            Tar::default().hard_link("h", "../canary/secret"),
            Refused("impossible"),
        ),
        (
            "hard link to an absolute name",
            Tar::default().hard_link("h", "/etc/passwd"),
            Refused("same layer"),
        ),
        (
            "hard link through a symlink out",
            Tar::default()
                .symlink("s", "/etc")
                .hard_link("h", "s/passwd"),
            Refused("same layer"),
        ),
        (
            "hard link to a symlink, then a write",
            Tar::default()
                .symlink("s", "/etc/passwd")
                .hard_link("h", "s")
                .file("h", "mine"),
            Harmless("h", "mine"),
        ),
        (
            "hard link to itself",
            Tar::default().hard_link("h", "h"),
            Refused("same layer"),
        ),
        (
            "hard link to itself, which exists",
            Tar::default().file("h", "x").hard_link("h", "./h"),
            Harmless("h", "x"),
        ),
        (
            "hard link to a directory",
            Tar::default().dir("d").hard_link("h", "d"),
            Refused("directory"),
        ),
        (
            "hard link to the root",
            Tar::default().hard_link("h", "."),
            Refused("root"),
        ),
        (
            "hard link that removes its own target",
            Tar::default().file("d/f", "x").hard_link("d", "d/f"),
            Refused("same layer"),
        ),
        (
            "writing to a hard link's second name",
            Tar::default()
                .file("a", "old")
                .hard_link("b", "a")
                .file("b", "new"),
            Harmless("a", "old"),
        ),
    ]
}

fn kinds() -> Vec<(&'static str, Tar, Want)> {
    vec![
        (
            "duplicate names",
            Tar::default()
                .file("f", "first")
                .file("f", "second, longer")
                .file("f", "3"),
            Harmless("f", "3"),
        ),
        (
            "file over directory",
            Tar::default().file("d/a/b", "x").file("d", "y"),
            Harmless("d", "y"),
        ),
        (
            "directory over file",
            Tar::default().file("d", "y").file("d/f", "x"),
            Refused("no directory"),
        ),
        (
            "directory entry over file",
            Tar::default().file("d", "y").dir("d").file("d/f", "x"),
            Harmless("d/f", "x"),
        ),
        (
            "device over a file",
            Tar::default()
                .file("f", "x")
                .link("f", b'6', "")
                .file("f", "y"),
            Harmless("f", "y"),
        ),
        (
            "overlayfs's whiteout, planted",
            Tar::default().header(b"gone", b'3', 0, |block| {
                block[329..337].copy_from_slice(b"0000000\0");
                block[337..345].copy_from_slice(b"0000000\0");
            }),
            Refused("0:0"),
        ),
        (
            "overlayfs's attributes",
            Tar::default()
                .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
                .dir("d"),
            Refused("overlayfs's own"),
        ),
        (
            "whiteout of dotdot",
            Tar::default().file("a/.wh...", ""),
            Refused("whiteout of no name"),
        ),
        (
            "whiteout with a path",
            Tar::default().file(".wh.a/b", ""),
            Refused("below a whiteout"),
        ),
        (
            "whiteout of nothing",
            Tar::default().file(".wh.", ""),
            Refused("whiteout of no name"),
        ),
        (
            "hard link to a whiteout",
            Tar::default().hard_link("a", ".wh.b"),
            Refused("to a whiteout"),
        ),
        (
            "unknown type",
            Tar::default().entry("f", b'Q', b""),
            Refused("unknown"),
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn damage() -> Vec<(&'static str, Tar, Want)> {
    let size = |field: &'static [u8; 12]| {
        Tar::default().header(b"f", b'0', 0, move |block| {
            block[124..136].copy_from_slice(field)
        })
    };
    let mut broken_sum = Tar::default().file("f", "x");
    broken_sum.0[0] = b'g';
    let huge = Tar::default().header(b"x", b'x', 1 << 40, |_| {});
    let huge_name = Tar::default().header(b"x", b'L', 2 << 20, |_| {});
    let many = (0..3000).fold(Tar::default(), |tar, _| {
        tar.pax(&[("comment", &[b'c'; 400])])
    });
    vec![
        ("wrong checksum", broken_sum, Refused("checksum")),
        (
            "no tar at all",
            Tar::default().raw(&[b'z'; 2048]),
            Refused("checksum"),
        ),
        (
            "size with letters",
            size(b"0000000000z\0"),
            Refused("size is impossible"),
        ),
        (
            "negative size",
            size(&[0xff; 12]),
            Refused("size is impossible"),
        ),
        (
            "size beyond everything",
            size(b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Refused("impossible"),
        ),
        (
            "larger than the archive",
            size(b"00000100000\0"),
            Refused("cut off"),
        ),
        ("huge PAX header", huge, Refused("bytes of headers")),
        ("huge GNU name", huge_name, Refused("bytes of headers")),
        (
            "endless PAX headers",
            many.file("f", "x"),
            Refused("bytes of headers"),
        ),
        (
            "damaged PAX header",
            Tar::default().entry("x", b'x', b"999 path=a\n"),
            Refused("PAX"),
        ),
        (
            "PAX header and nothing else",
            Tar::default().pax(&[("path", b"a")]),
            Refused("without an entry"),
        ),
        (
            "owner beyond 32 bits",
            Tar::default().pax(&[("uid", b"4294967296")]).file("f", "x"),
            Refused("impossible owner"),
        ),
        (
            "owner -1",
            Tar::default().pax(&[("gid", b"4294967295")]).file("f", "x"),
            Refused("impossible group"),
        ),
        (
            "negative owner",
            Tar::default().header(b"f", b'0', 0, |block| block[108..116].fill(0xff)),
            Refused("impossible owner"),
        ),
        (
            "sparse map beyond the end",
            Tar::default()
                .pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"8,4")])
                .file("f", "abcd"),
            Refused("beyond its end"),
        ),
        (
            "sparse map out of order",
            Tar::default()
                .pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"50,2,0,2")])
                .file("f", "abcd"),
            Refused("out of order"),
        ),
        (
            "sparse map that does not fit",
            Tar::default()
                .pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"0,99")])
                .file("f", "abcd"),
            Refused("does not fit"),
        ),
        (
            "sparse file of absurd length",
            Tar::default()
                .pax(&[
                    ("GNU.sparse.size", b"9000000000000000000"),
                    ("GNU.sparse.map", b"0,4"),
                ])
                .file("f", "abcd"),
            Refused("bytes in one file"),
        ),
        (
            "garbage after the end",
            Tar::default()
                .file("f", "x")
                .raw(&[0; 1024])
                .raw(&[b'z'; 5000]),
            Harmless("f", "x"),
        ),
    ]
}

#[test]
fn every_trick_fails_and_the_canary_lives() {
    if !is_root("every_trick_fails_and_the_canary_lives") {
        return;
    }
    let bench = Bench::new();
    let before = tree::summarise(&bench.canary()).unwrap();
    let passwd = std::fs::metadata("/etc/passwd").unwrap();
    let cases = [names(), links(), kinds(), damage()];
    for (trick, tar, want) in cases.into_iter().flatten() {
        let result = bench.unpack(&tar.done());
        match (want, result) {
            (Refused(part), Err(err)) => {
                let text = err.to_string();
                assert!(text.contains(part), "{trick}: {text:?} lacks {part:?}");
            }
            (Harmless(name, content), Ok(root)) => {
                let found = std::fs::symlink_metadata(root.join(name)).unwrap();
                assert!(found.is_file(), "{trick}: {name} is no file");
                assert_eq!(read(root.join(name)), content, "{trick}");
            }
            (Refused(part), Ok(_)) => panic!("{trick}: unpacked, where {part:?} was expected"),
            (Harmless(..), Err(err)) => panic!("{trick}: {err:?}"),
        }
        bench.assert_no_leftovers();
    }
    assert_eq!(tree::summarise(&bench.canary()).unwrap(), before);
    assert_eq!(read(bench.canary().join("secret")), "untouched");
    let after = std::fs::metadata("/etc/passwd").unwrap();
    assert_eq!(
        (passwd.nlink(), passwd.mtime()),
        (after.nlink(), after.mtime())
    );
    assert!(
        bench
            .store
            .fsck(crate::store::Repair::Report)
            .unwrap()
            .is_clean()
    );
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    if !is_root("an_archive_cut_anywhere_is_an_error") {
        return;
    }
    let bench = Bench::new();
    let tar = Tar::default()
        .dir("d")
        .file("d/f", &long(700))
        .file("g", "x")
        .done();
    let diff_id = Digest::sha256(&tar);
    for len in (0..tar.len()).step_by(101) {
        let cut = &tar[..len];
        let limits = Limits::default();
        let plain = bench.unpack_packed(cut, Compression::None, &diff_id, &limits);
        assert!(plain.is_err(), "{len} bytes were enough");
        let packed = gzip(&tar);
        let cut = &packed[..len.min(packed.len() - 1)];
        let gzip = bench.unpack_packed(cut, Compression::Gzip, &diff_id, &limits);
        assert!(gzip.is_err(), "{len} bytes of gzip were enough");
        bench.assert_no_leftovers();
    }
}

#[test]
fn bombs_end_at_a_limit() {
    if !is_root("bombs_end_at_a_limit") {
        return;
    }
    let bench = Bench::new();
    let zeros = "\0".repeat(4 << 20);
    let tar = Tar::default().file("f", &zeros).done();
    let (packed, diff_id) = (gzip(&tar), Digest::sha256(&tar));
    let check = |limits: &Limits, part: &str| {
        let err = bench
            .unpack_packed(&packed, Compression::Gzip, &diff_id, limits)
            .unwrap_err();
        assert!(err.to_string().contains(part), "{err}");
        bench.assert_no_leftovers();
    };
    let limits = Limits::default;
    check(
        &Limits {
            ratio: 20,
            ratio_from: 1 << 20,
            ..limits()
        },
        "for each compressed one",
    );
    check(
        &Limits {
            bytes: 1 << 20,
            ..limits()
        },
        "1048576 bytes",
    );
    check(
        &Limits {
            file_bytes: 1 << 20,
            ..limits()
        },
        "bytes in one file",
    );
    let many = (0..50)
        .fold(Tar::default(), |tar, n| tar.file(&format!("f{n}"), ""))
        .done();
    let err = bench
        .unpack_within(
            &many,
            &Limits {
                entries: 49,
                ..limits()
            },
        )
        .unwrap_err();
    assert!(err.to_string().contains("more than 49 entries"), "{err}");
    assert!(
        bench
            .unpack_within(
                &many,
                &Limits {
                    entries: 50,
                    ..limits()
                }
            )
            .is_ok()
    );
}
