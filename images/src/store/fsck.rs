//! Re-verifying the store: blobs by digest, layers by their summary, records by what they need.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::prune::digests_in;
use super::record::Record;
use super::tree::{LayerRecord, summarise};
use super::{Store, StoreError};
use crate::digest::Digest;

/// What [`Store::fsck`] does about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Only says what is damaged.
    Report,
    /// Removes what is damaged, and unpacks layers again whose blob is sound.
    Mend,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A blob has other content than its name says.
    #[error("blob {digest} is damaged: {problem}")]
    Blob {
        /// Its name.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
    /// An unpacked layer is not what was unpacked.
    #[error("layer {diff_id} is damaged: {problem}")]
    Layer {
        /// Its name.
        diff_id: Digest,
        /// What is wrong.
        problem: String,
    },
    /// An image record cannot be read, or is not about the image its name says.
    #[error("image record {} is damaged: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An image lacks something.
    #[error("image {image} lacks {missing}")]
    Missing {
        /// Its name or ID.
        image: String,
        /// The blob or layer.
        missing: String,
    },
}

/// What [`Store::fsck`] found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FsckReport {
    /// Blobs looked at.
    pub blobs: usize,
    /// Layers looked at.
    pub layers: usize,
    /// Records looked at.
    pub images: usize,
    /// What is wrong.
    pub damages: Vec<Damage>,
    /// What was done about it, for people.
    pub mended: Vec<String>,
    /// Names (or `ID`s of nameless images) that must be pulled again to be whole.
    pub pull_again: Vec<String>,
}

impl FsckReport {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.damages.is_empty()
    }
}

impl Store {
    /// Verifies everything in the store; with [`Repair::Mend`] removes what is damaged, so that a
    /// pull of [`FsckReport::pull_again`] makes it whole.
    pub fn fsck(&self, repair: Repair) -> Result<FsckReport, StoreError> {
        let mut check = Check {
            store: self,
            repair,
            report: FsckReport::default(),
        };
        let bad_blobs = check.blobs()?;
        let bad_layers = check.layers()?;
        let records = check.records()?;
        check.unpack_again(&bad_layers, &bad_blobs, &records);
        check.completeness(&records, &bad_blobs, &bad_layers);
        let report = check.report;
        if repair == Repair::Mend {
            self.settle()?;
        }
        Ok(report)
    }
}

struct Check<'a> {
    store: &'a Store,
    repair: Repair,
    report: FsckReport,
}

impl Check<'_> {
    fn blobs(&mut self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut bad = BTreeSet::new();
        let blobs = digests_in(|algorithm| self.store.blobs_dir(algorithm)).map_err(unreadable)?;
        for (digest, path) in blobs {
            self.report.blobs += 1;
            let Some(problem) = blob_problem(&digest, &path) else {
                self.store.note_verified(&digest);
                continue;
            };
            self.report.damages.push(Damage::Blob {
                digest: digest.clone(),
                problem,
            });
            if self.repair == Repair::Mend {
                self.store.discard_blob(&digest)?;
                self.report.mended.push(format!("removed blob {digest}"));
            }
            bad.insert(digest);
        }
        Ok(bad)
    }

    fn layers(&mut self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut bad = BTreeSet::new();
        let layers =
            digests_in(|algorithm| self.store.layers_dir(algorithm)).map_err(unreadable)?;
        for (diff_id, path) in layers {
            self.report.layers += 1;
            let problem = match layer_problem(&diff_id, &path) {
                None if self.store.is_trusted(&path) => continue,
                None => "it was unpacked just before this host went down, and the disk may have \
                         missed some of it"
                    .to_owned(),
                Some(problem) => problem,
            };
            self.report.damages.push(Damage::Layer {
                diff_id: diff_id.clone(),
                problem,
            });
            if self.repair == Repair::Mend {
                self.store.discard_layer(&diff_id)?;
                self.report.mended.push(format!("removed layer {diff_id}"));
            }
            bad.insert(diff_id);
        }
        Ok(bad)
    }

    fn records(&mut self) -> Result<Vec<Record>, StoreError> {
        let _lock = self.store.lock()?;
        let mut damaged = Vec::new();
        let records = self.store.records_and(&mut damaged)?;
        self.report.images = records.len() + damaged.len();
        for err in damaged {
            let StoreError::Record { path, source } = err else {
                return Err(err);
            };
            if self.repair == Repair::Mend {
                fs_err::remove_file(&path).map_err(|source| StoreError::Write { source })?;
                self.report
                    .mended
                    .push(format!("removed the record {}", path.display()));
            }
            let id = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .replacen('-', ":", 1);
            self.report.pull_again.push(id);
            self.report.damages.push(Damage::Record {
                path,
                problem: source.to_string(),
            });
        }
        Ok(records)
    }

    /// A layer whose blob is sound needs no registry.
    fn unpack_again(
        &mut self,
        bad_layers: &BTreeSet<Digest>,
        bad_blobs: &BTreeSet<Digest>,
        records: &[Record],
    ) {
        if self.repair == Repair::Report {
            return;
        }
        let layers = records
            .iter()
            .flat_map(|record| record.layers.iter().map(move |layer| (record, layer)));
        for (record, layer) in layers {
            let gone = self.store.layer(&layer.diff_id).is_none();
            let has_blob = self.store.blob_path(&layer.digest).is_file();
            if !gone || !has_blob || bad_blobs.contains(&layer.digest) {
                continue;
            }
            match self.store.restore(&record.id, layer) {
                Ok(_) => {
                    let verb = if bad_layers.contains(&layer.diff_id) {
                        "again"
                    } else {
                        "anew"
                    };
                    self.report
                        .mended
                        .push(format!("unpacked layer {} {verb}", layer.diff_id));
                }
                Err(err) => {
                    let problem = crate::pull::chain(&err);
                    let diff_id = layer.diff_id.clone();
                    self.report.damages.push(Damage::Layer { diff_id, problem });
                }
            }
        }
    }

    fn completeness(
        &mut self,
        records: &[Record],
        bad_blobs: &BTreeSet<Digest>,
        bad_layers: &BTreeSet<Digest>,
    ) {
        for record in records {
            let image = record.title();
            let mut missing = Vec::new();
            // What is damaged was reported as such already, but still means pulling again.
            let mut broken = false;
            for digest in record.blobs() {
                broken |= bad_blobs.contains(digest);
                if !self.store.blob_path(digest).is_file() && !bad_blobs.contains(digest) {
                    missing.push(format!("blob {digest}"));
                }
            }
            for layer in &record.layers {
                let there = self.store.layer_dir(&layer.diff_id).join("tree").is_dir();
                let bad = bad_layers.contains(&layer.diff_id);
                broken |= bad && (!there || self.repair == Repair::Report);
                if !there && !bad {
                    missing.push(format!("layer {}", layer.diff_id));
                }
            }
            if broken || !missing.is_empty() {
                self.report.pull_again.push(image.clone());
            }
            for missing in missing {
                self.report.damages.push(Damage::Missing {
                    image: image.clone(),
                    missing,
                });
            }
        }
    }
}

fn unreadable(source: std::io::Error) -> StoreError {
    StoreError::Read { source }
}

fn blob_problem(digest: &Digest, path: &Path) -> Option<String> {
    let hashed =
        fs_err::File::open(path).and_then(|file| Digest::of_reader(digest.algorithm(), file));
    match hashed {
        Ok((found, _)) if found == *digest => None,
        Ok((found, len)) => Some(format!("its {len} bytes have digest {found}")),
        Err(err) => Some(err.to_string()),
    }
}

fn layer_problem(diff_id: &Digest, path: &Path) -> Option<String> {
    let record = match LayerRecord::read(&path.join("layer.json")) {
        Ok(record) if record.diff_id == *diff_id => record,
        Ok(record) => return Some(format!("its record is of layer {}", record.diff_id)),
        Err(err) => return Some(format!("its record cannot be read: {err}")),
    };
    match summarise(&path.join("tree")) {
        Ok(found) if found == record.tree => None,
        Ok(found) if (found.entries, found.bytes) == (record.tree.entries, record.tree.bytes) => {
            Some("names, modes, owners, times or attributes have changed".to_owned())
        }
        Ok(found) => Some(format!(
            "it has {} entries and {} bytes where {} and {} were unpacked",
            found.entries, found.bytes, record.tree.entries, record.tree.bytes
        )),
        Err(err) => Some(err.to_string()),
    }
}
