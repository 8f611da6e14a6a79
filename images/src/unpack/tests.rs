//! Unpacking, against the real kernel: what honest layers need, and one archive for each trick.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::*;
use crate::digest::Digest;

mod concurrent;
mod corpus;
mod honest;
mod random;

/// Unpacking sets owners and makes devices; without root these tests say so and stop.
#[track_caller]
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP {test}: needs root");
    }
    root
}

/// Builds a tar, block by block, with whatever nonsense a test wants.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A header with a right checksum; `change` may spoil it before that is computed.
    fn header(self, name: &[u8], kind: u8, size: u64, change: impl Fn(&mut [u8; 512])) -> Self {
        let mut block = [0; 512];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[100..108].copy_from_slice(b"0000755\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        if size < 1 << 33 {
            block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[136..148].copy_from_slice(b"07346545000\0");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.raw(&block)
    }

    fn entry(self, name: &str, kind: u8, content: &[u8]) -> Self {
        self.bytes(name.as_bytes(), kind, content)
    }

    fn bytes(self, name: &[u8], kind: u8, content: &[u8]) -> Self {
        let tar = self
            .header(name, kind, content.len() as u64, |_| {})
            .raw(content);
        let pad = content.len().next_multiple_of(512) - content.len();
        tar.raw(&[0; 512][..pad])
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(name, b'0', content.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.entry(name, b'5', b"")
    }

    fn link(self, name: &str, kind: u8, target: &str) -> Self {
        self.header(name.as_bytes(), kind, 0, |block| {
            block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        })
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(name, b'2', target)
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(name, b'1', target)
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..)
                .find(|&n: &usize| (rest + n).to_string().len() == n)
                .unwrap();
            text.extend_from_slice(format!("{} {key}=", rest + digits).as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.entry("PaxHeaders/x", b'x', &text)
    }

    fn done(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// A store in a temporary directory, next to files that no layer may touch.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        std::fs::create_dir_all(canary.join("sub")).unwrap();
        std::fs::write(canary.join("secret"), "untouched").unwrap();
        std::fs::write(canary.join("sub/file"), "untouched too").unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    fn unpack(&self, tar: &[u8]) -> Result<PathBuf, UnpackError> {
        self.unpack_within(tar, &Limits::default())
    }

    fn unpack_within(&self, tar: &[u8], limits: &Limits) -> Result<PathBuf, UnpackError> {
        self.unpack_packed(tar, Compression::None, &Digest::sha256(tar), limits)
    }

    fn unpack_packed(
        &self,
        bytes: &[u8],
        compression: Compression,
        diff_id: &Digest,
        limits: &Limits,
    ) -> Result<PathBuf, UnpackError> {
        let blob = self.dir.path().join("blob");
        std::fs::write(&blob, bytes).unwrap();
        self.store
            .unpack(&blob, compression, diff_id, limits, &unwatched)
    }

    /// Nothing under way or broken off is left in the store.
    #[track_caller]
    fn assert_no_leftovers(&self) {
        let names: Vec<_> = std::fs::read_dir(self.store.partial_layers())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| !name.as_bytes().ends_with(b".lock"))
            .collect();
        assert_eq!(names, Vec::<std::ffi::OsString>::new());
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(256);
    let found =
        rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).is_ok();
    found.then_some(value)
}
