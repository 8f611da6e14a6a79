//! What is pulled and run: a busybox root file system, and an image of six layers and 300 MB that is the same every time.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::stats::Dice;

/// How large the layers are, in thousandths of the whole.
const LAYERS: [usize; 6] = [420, 230, 150, 100, 60, 40];
const TOTAL: usize = 300 << 20;
const FILES: usize = 18_000;
const FILES_PER_DIRECTORY: usize = 60;
/// Of all files, so many in a thousand are libraries and programs rather than text.
const BINARIES: usize = 120;

/// A root file system whose programs are links to a static busybox.
///
/// # Errors
/// When there is no busybox, or it cannot be copied.
pub(crate) fn busybox_tar(path: &Path) -> Result<()> {
    let busybox = crate::bed::find("busybox").context("no busybox; install busybox-static")?;
    let mut tar = tar::Builder::new(File::create(path)?);
    for dir in ["bin/", "dev/", "etc/", "proc/", "sys/", "tmp/", "www/"] {
        tar.append_data(
            &mut header(tar::EntryType::Directory, 0o755, 0),
            dir,
            io::empty(),
        )?;
    }
    let program = std::fs::read(busybox)?;
    let size = u64::try_from(program.len())?;
    tar.append_data(
        &mut header(tar::EntryType::Regular, 0o755, size),
        "bin/busybox",
        &*program,
    )?;
    for applet in ["sh", "httpd", "sleep", "true"] {
        let mut link = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut link, format!("bin/{applet}"), "busybox")?;
    }
    for (name, text) in [
        ("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
        ("www/index.html", "hello\n"),
    ] {
        let size = u64::try_from(text.len())?;
        tar.append_data(
            &mut header(tar::EntryType::Regular, 0o644, size),
            name,
            text.as_bytes(),
        )?;
    }
    tar.finish()?;
    Ok(())
}

/// A root file system whose only program is `/bin/stay`, which says when it began and stays.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn stay_tar(path: &Path) -> Result<()> {
    let program = path.with_extension("elf");
    crate::elf::write(crate::elf::Program::Stay, &program)?;
    let mut tar = tar::Builder::new(File::create(path)?);
    for dir in ["bin/", "dev/", "etc/", "out/", "proc/", "sys/", "tmp/"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, dir, io::empty())?;
    }
    let program = std::fs::read(program)?;
    let mut header = header(
        tar::EntryType::Regular,
        0o755,
        u64::try_from(program.len())?,
    );
    tar.append_data(&mut header, "bin/stay", &*program)?;
    tar.finish()?;
    Ok(())
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_400_000_000);
    header
}

/// An image as an OCI layout on disk.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Its directory.
    pub dir: PathBuf,
    /// The gzip'ed layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Of all layers, gzip'ed.
    pub packed: u64,
    /// Of all layers, as tar.
    pub unpacked: u64,
}

/// Makes the large image.
///
/// # Errors
/// When the disk is full.
pub(crate) fn six_layers(dir: &Path) -> Result<Layout> {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let mut layout = Layout {
        dir: dir.to_owned(),
        layers: Vec::new(),
        packed: 0,
        unpacked: 0,
    };
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, share) in LAYERS.iter().enumerate() {
        let made = layer(&dir.join("layer"), number, *share)?;
        let digest = made.digest;
        let path = blobs.join(&digest);
        std::fs::rename(dir.join("layer"), &path)?;
        layers.push(descriptor(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            &digest,
            made.packed,
        ));
        diff_ids.push(format!("sha256:{}", made.diff_id));
        layout.layers.push(path);
        layout.packed += made.packed;
        layout.unpacked += made.unpacked;
    }
    let config = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let (digest, size) = blob(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &digest, size),
        "layers": layers,
    });
    let (digest, size) = blob(&blobs, &manifest)?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &digest, size);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(dir.join("index.json"), serde_json::to_vec(&index)?)?;
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(layout)
}

fn descriptor(kind: &str, digest: &str, size: u64) -> serde_json::Value {
    json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size})
}

fn blob(blobs: &Path, content: &serde_json::Value) -> Result<(String, u64)> {
    let bytes = serde_json::to_vec(content)?;
    let digest = hex::encode(Sha256::digest(&bytes));
    std::fs::write(blobs.join(&digest), &bytes)?;
    Ok((digest, u64::try_from(bytes.len())?))
}

/// One layer that was written.
struct Made {
    digest: String,
    diff_id: String,
    packed: u64,
    unpacked: u64,
}

/// Writes through to another writer, and digests and counts on the way.
struct Counted<W> {
    inner: W,
    digest: Sha256,
    count: u64,
}

impl<W: Write> Counted<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            count: 0,
        }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn layer(path: &Path, number: usize, share: usize) -> Result<Made> {
    let packed = Counted::new(io::BufWriter::new(File::create(path)?));
    let unpacked = Counted::new(GzEncoder::new(packed, Compression::new(6)));
    let mut tar = tar::Builder::new(unpacked);
    let mut dice = Dice::new(0x5eed_0000 + u64::try_from(number)?);
    let (mut bytes, mut files) = (TOTAL * share / 1000, FILES * share / 1000);
    let mut index = 0;
    while files > 0 {
        if index % FILES_PER_DIRECTORY == 0 {
            let dir = format!("usr/share/l{number}/d{}/", index / FILES_PER_DIRECTORY);
            tar.append_data(
                &mut header(tar::EntryType::Directory, 0o755, 0),
                dir,
                io::empty(),
            )?;
        }
        // Between a tenth of the mean and twice it; binaries are large, and take what text leaves.
        let mean = bytes / files;
        let is_binary = dice.below(1000) < BINARIES;
        let size = if is_binary {
            mean * 4
        } else {
            mean / 10 + dice.below(mean)
        };
        let size = if files == 1 { bytes } else { size.min(bytes) };
        let content = if is_binary {
            binary(&mut dice, size)
        } else {
            text(&mut dice, size)
        };
        let name = format!(
            "usr/share/l{number}/d{}/f{index}",
            index / FILES_PER_DIRECTORY
        );
        let mode = if is_binary { 0o755 } else { 0o644 };
        let mut header = header(tar::EntryType::Regular, mode, u64::try_from(size)?);
        tar.append_data(&mut header, name, &*content)?;
        (bytes, files, index) = (bytes - size, files - 1, index + 1);
    }
    let unpacked = tar.into_inner()?;
    let (diff_id, tar_size) = (unpacked.digest.finalize(), unpacked.count);
    let mut packed = unpacked.inner.finish()?;
    packed.flush()?;
    Ok(Made {
        digest: hex::encode(packed.digest.finalize()),
        diff_id: hex::encode(diff_id),
        packed: packed.count,
        unpacked: tar_size,
    })
}

/// Words: gzip makes a fifth of it.
fn text(dice: &mut Dice, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 16);
    while out.len() < size {
        let word = dice.below(4000) * dice.below(4000) / 4000;
        out.extend_from_slice(format!("{word:x}").as_bytes());
        out.extend_from_slice([" the ", " of ", ", ", "; return ", "\n    "][word % 5].as_bytes());
    }
    out.truncate(size);
    out
}

/// Instructions and tables: half of the bytes are any of a few, the rest are any.
fn binary(dice: &mut Dice, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        let bytes = dice.next().to_le_bytes();
        let common = [0x48, 0x8b, 0x00, 0x89][usize::from(bytes[7] % 4)];
        out.extend_from_slice(&[common, bytes[0], 0, bytes[1], common, bytes[2], 0, 0]);
    }
    out.truncate(size);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_the_same_every_time_and_as_large_as_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer");
        let (first, again) = (layer(&path, 5, 2).unwrap(), layer(&path, 5, 2).unwrap());
        assert_eq!(first.digest, again.digest);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), first.packed);
        let gz = flate2::read::GzDecoder::new(File::open(&path).unwrap());
        let mut tar = tar::Archive::new(gz);
        let entries: Vec<_> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().size())
            .collect();
        assert_eq!(
            entries.iter().sum::<u64>(),
            u64::try_from(TOTAL * 2 / 1000).unwrap()
        );
        assert!(first.packed < first.unpacked / 2);
    }
}
