//! Random trees: packed into a tar and unpacked, they are the same; random bytes never panic.

use std::ffi::OsString;

use proptest::prelude::*;

use super::*;
use crate::archive::ImportOptions;

/// One thing in a random tree.
#[derive(Debug, Clone)]
enum Node {
    File {
        content: Vec<u8>,
        mode: u32,
        uid: u32,
        mtime: i64,
        nanos: u32,
        note: Option<Vec<u8>>,
    },
    Symlink(String),
    Fifo,
    /// Another name for the first file.
    HardLink,
    Directory(Vec<(OsString, Node)>),
}

fn name() -> impl Strategy<Value = OsString> {
    let bytes = prop_oneof![
        4 => "[a-z]{1,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(1_u8..=255, 1..40),
        1 => "[a-z]{101,255}".prop_map(String::into_bytes),
    ];
    bytes.prop_filter_map("a name", |bytes| {
        use std::os::unix::ffi::OsStringExt as _;
        let bad = bytes.contains(&b'/') || bytes == b"." || bytes == b"..";
        let bad = bad || bytes.starts_with(b".wh.");
        (!bad).then(|| OsString::from_vec(bytes))
    })
}

fn node() -> impl Strategy<Value = Node> {
    let note = prop::option::of(prop::collection::vec(any::<u8>(), 0..30));
    let file = (
        prop::collection::vec(any::<u8>(), 0..2000),
        0_u32..0o10000,
        prop_oneof![0_u32..3000, Just(5_000_000), Just(u32::MAX - 1)],
        prop_oneof![0_i64..2_000_000_000, -1000_i64..0],
        0_u32..1_000_000_000,
        note,
    );
    let file = file.prop_map(|(content, mode, uid, mtime, nanos, note)| Node::File {
        content,
        mode,
        uid,
        mtime,
        nanos,
        note,
    });
    let leaf = prop_oneof![
        6 => file,
        2 => "[a-z/.]{1,150}".prop_map(Node::Symlink),
        1 => Just(Node::Fifo),
        2 => Just(Node::HardLink),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop::collection::vec((name(), inner), 0..6).prop_map(Node::Directory)
    })
}

fn build(at: &Path, node: &Node, first: &mut Option<PathBuf>) {
    if std::fs::symlink_metadata(at).is_ok() {
        return;
    }
    match node {
        Node::File {
            content,
            mode,
            uid,
            mtime,
            nanos,
            note,
        } => {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(at, content).unwrap();
            std::os::unix::fs::chown(at, Some(*uid), Some(uid / 2)).unwrap();
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(*mode)).unwrap();
            if let Some(note) = note {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(at, "user.note", note, flags).unwrap();
            }
            let file = std::fs::File::open(at).unwrap();
            let mtime = sys::Mtime {
                secs: *mtime,
                nanos: *nanos,
            };
            sys::fset_mtime(file.as_fd(), mtime).unwrap();
            first.get_or_insert_with(|| at.to_owned());
        }
        Node::Symlink(target) => std::os::unix::fs::symlink(target, at).unwrap(),
        Node::Fifo => {
            let mode = rustix::fs::Mode::from_raw_mode(0o640);
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
        Node::HardLink => {
            if let Some(first) = first {
                std::fs::hard_link(first, at).unwrap();
            }
        }
        Node::Directory(children) => {
            std::fs::create_dir(at).unwrap();
            for (name, child) in children {
                build(&at.join(name), child, first);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_tree_survives_packing_and_unpacking(
        children in prop::collection::vec((name(), node()), 0..8),
    ) {
        if !is_root("a_tree_survives_packing_and_unpacking") {
            return Ok(());
        }
        let bench = Bench::new();
        let tree = bench.dir.path().join("tree");
        build(&tree, &Node::Directory(children), &mut None);
        let source = crate::archive::Source::Path(&tree);
        let images = bench.store.import(source, &ImportOptions::default()).unwrap();
        let unpacked = bench.store.lowerdirs(&images[0]).unwrap().remove(0);
        prop_assert_eq!(tree::summarise(&unpacked).unwrap(), tree::summarise(&tree).unwrap());
        let same = std::process::Command::new("diff").args(["-r", "--no-dereference"])
            .arg(&tree).arg(&unpacked).output().unwrap();
        // diff cannot compare fifos with themselves, and says so with 1.
        let text = String::from_utf8_lossy(&same.stdout).replace('\n', " ");
        prop_assert!(same.status.success() || text.contains("fifo"), "{}", text);
    }

    #[test]
    fn random_blocks_never_panic(
        blocks in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>(), any::<prop::sample::Index>()), 1..6),
    ) {
        if !is_root("random_blocks_never_panic") {
            return Ok(());
        }
        let bench = Bench::new();
        let mut tar = Tar::default()
            .pax(&[("path", b"a/b"), ("GNU.sparse.size", b"20"), ("GNU.sparse.map", b"0,4,16,4")])
            .file("x", "12345678")
            .symlink("l", "a")
            .file("l/c", "y")
            .hard_link("h", "a/b")
            .file(".wh.q", "")
            .done();
        for (at, byte, _) in &blocks {
            let at = at.index(tar.len());
            tar[at] = *byte;
        }
        // Repair the checksums, or nothing but those would be tested.
        for block in tar.chunks_mut(512) {
            if block[257..262] == *b"ustar" {
                block[148..156].copy_from_slice(b"        ");
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let canary = tree::summarise(&bench.canary()).unwrap();
        drop(bench.unpack(&tar));
        bench.assert_no_leftovers();
        prop_assert_eq!(tree::summarise(&bench.canary()).unwrap(), canary);
    }
}
