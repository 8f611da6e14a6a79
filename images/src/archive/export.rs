//! Images to an OCI archive, with the list that `docker load` looks for beside it.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use super::ExportError;
use super::ingest::descriptor;
use super::members::blob_name;
use super::tarball::{Meta, Tarball};
use crate::digest::Digest;
use crate::store::{Image, Store, StoreError};

pub(super) fn export(
    store: &Store,
    names: &[&str],
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    // Everything is looked up before the first byte is written.
    let images: Vec<Image> = names
        .iter()
        .map(|name| store.get(name))
        .collect::<Result<_, _>>()?;
    let mut blobs = BTreeSet::new();
    for image in &images {
        let layers = image.layer_blobs.iter().map(|layer| &layer.digest);
        blobs.extend(
            [&image.manifest_digest, &image.id]
                .into_iter()
                .chain(layers),
        );
    }
    let mut files = Vec::new();
    for digest in blobs {
        let missing = || StoreError::Vanished {
            id: images[0].id.clone(),
            missing: digest.clone(),
        };
        let path = store.blob(digest).ok_or_else(missing)?;
        let file = fs_err::File::open(path).map_err(|source| StoreError::Read { source })?;
        files.push((digest, file));
    }
    let mut tar = Tarball::new(BufWriter::with_capacity(256 << 10, out));
    let written = write(&mut tar, &images, files);
    written
        .and_then(|()| tar.finish().map(drop))
        .map_err(|source| ExportError::Write { source })
}

fn write<W: Write>(
    tar: &mut Tarball<W>,
    images: &[Image],
    files: Vec<(&Digest, fs_err::File)>,
) -> io::Result<()> {
    let document = Meta::plain(b'0', 0o644);
    let mut put = |name: &str, json: &Value| {
        let bytes = json.to_string().into_bytes();
        tar.file(
            name.as_bytes(),
            bytes.len() as u64,
            &document,
            &[],
            &bytes[..],
        )
    };
    put("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
    let sizes = files
        .iter()
        .map(|(digest, file)| Ok(((*digest).clone(), file.metadata()?.len())))
        .collect::<io::Result<std::collections::BTreeMap<_, _>>>()?;
    put("index.json", &index(images, &sizes))?;
    put("manifest.json", &docker_list(images))?;
    let directory = Meta::plain(b'5', 0o755);
    tar.header(b"blobs/", b"", 0, &directory, &[])?;
    let mut algorithms = BTreeSet::new();
    for (digest, file) in files {
        if algorithms.insert(digest.algorithm()) {
            let name = format!("blobs/{}/", digest.algorithm());
            tar.header(name.as_bytes(), b"", 0, &directory, &[])?;
        }
        tar.file(
            blob_name(digest).as_bytes(),
            sizes[digest],
            &document,
            &[],
            file,
        )?;
    }
    Ok(())
}

/// An entry for each name of each image; podman and skopeo go by the one annotation, containerd and
/// docker by the other.
fn index(images: &[Image], sizes: &std::collections::BTreeMap<Digest, u64>) -> Value {
    let mut entries = Vec::new();
    for image in images {
        let digest = &image.manifest_digest;
        let mut entry = descriptor(&image.manifest_media_type, digest, sizes[digest]);
        entry["platform"] = json!(image.platform);
        if image.names.is_empty() {
            entries.push(entry.clone());
        }
        for name in &image.names {
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            });
            entries.push(entry.clone());
        }
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    })
}

fn docker_list(images: &[Image]) -> Value {
    let list = images.iter().map(|image| {
        let layers: Vec<String> = image
            .layer_blobs
            .iter()
            .map(|layer| blob_name(&layer.digest))
            .collect();
        json!({ "Config": blob_name(&image.id), "RepoTags": image.names, "Layers": layers })
    });
    list.collect()
}
