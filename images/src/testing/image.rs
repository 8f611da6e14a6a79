//! Small images for tests.

use std::io::Write;

use serde_json::{Value, json};

use crate::digest::Digest;

/// An image to serve: layers and what its configuration says.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// The layers, lowest first.
    pub layers: Vec<TestLayer>,
    /// `os` of the configuration.
    pub os: String,
    /// `architecture` of the configuration.
    pub architecture: String,
    /// Docker's media types instead of OCI's.
    pub docker: bool,
    /// The `config` object of the configuration: command, environment and so on.
    pub run: Value,
}

/// One layer of a [`TestImage`].
#[derive(Clone, Debug)]
pub struct TestLayer {
    /// The layer as it is served.
    pub blob: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// Digest of the archive inside.
    pub diff_id: Digest,
}

impl Default for TestImage {
    fn default() -> Self {
        let host = crate::platform::Platform::host();
        Self {
            layers: Vec::new(),
            os: host.os,
            architecture: host.architecture,
            docker: false,
            run: json!({}),
        }
    }
}

impl TestImage {
    /// An image of gzip layers, each with these files.
    pub fn of(layers: &[&[(&str, &[u8])]]) -> Self {
        let layers = layers
            .iter()
            .map(|files| TestLayer::gzip(&tar_of(files)))
            .collect();
        Self {
            layers,
            ..Self::default()
        }
    }

    /// An image of `count` layers with one file of `size` bytes each that do not compress.
    pub fn noise(count: usize, size: usize) -> Self {
        let layer = |index: usize| {
            let name = format!("layer-{index}");
            TestLayer::gzip(&tar_of(&[(name.as_str(), &noise(index as u64 + 1, size))]))
        };
        Self {
            layers: (0..count).map(layer).collect(),
            ..Self::default()
        }
    }

    /// Media type of the manifest.
    pub fn manifest_type(&self) -> &'static str {
        if self.docker {
            "application/vnd.docker.distribution.manifest.v2+json"
        } else {
            "application/vnd.oci.image.manifest.v1+json"
        }
    }

    /// The configuration, as served.
    pub fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|l| l.diff_id.to_string()).collect();
        let config = json!({
            "os": self.os,
            "architecture": self.architecture,
            "config": self.run,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [],
        });
        config.to_string().into_bytes()
    }

    /// The manifest as a value, for tests that change it.
    pub fn manifest_value(&self) -> Value {
        let config = self.config();
        let config_type = if self.docker {
            "application/vnd.docker.container.image.v1+json"
        } else {
            "application/vnd.oci.image.config.v1+json"
        };
        let layers: Vec<Value> = self.layers.iter().map(TestLayer::descriptor).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": self.manifest_type(),
            "config": descriptor(config_type, &config),
            "layers": layers,
        })
    }

    /// The manifest, as served.
    pub fn manifest(&self) -> Vec<u8> {
        self.manifest_value().to_string().into_bytes()
    }
}

impl TestLayer {
    /// A gzip layer of an archive.
    pub fn gzip(tar: &[u8]) -> Self {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(tar).expect("memory takes every byte");
        let blob = packer.finish().expect("memory takes every byte");
        Self::new("application/vnd.oci.image.layer.v1.tar+gzip", blob, tar)
    }

    /// A zstd layer of an archive.
    pub fn zstd(tar: &[u8]) -> Self {
        let blob = zstd::encode_all(tar, 1).expect("memory takes every byte");
        Self::new("application/vnd.oci.image.layer.v1.tar+zstd", blob, tar)
    }

    /// An archive as it is.
    pub fn plain(tar: &[u8]) -> Self {
        Self::new("application/vnd.oci.image.layer.v1.tar", tar.to_vec(), tar)
    }

    /// Digest of the layer as it is served.
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.blob)
    }

    fn new(media_type: &str, blob: Vec<u8>, tar: &[u8]) -> Self {
        Self {
            blob,
            media_type: media_type.to_owned(),
            diff_id: Digest::sha256(tar),
        }
    }

    fn descriptor(&self) -> Value {
        descriptor(&self.media_type, &self.blob)
    }
}

/// An index entry or any other pointer to `bytes`.
pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::sha256(bytes).to_string();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// A tar archive of regular files.
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        tar.append_data(&mut header, name, *content)
            .expect("memory takes every byte");
    }
    tar.into_inner().expect("memory takes every byte")
}

/// Bytes that do not compress, the same for the same seed (xorshift).
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out
}
