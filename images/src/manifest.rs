//! Manifests and indexes: what may be in them, checked before anything is believed. Pure.
//!
//! Refused with a reason: documents that could be read as two kinds (CVE-2021-41190), Docker's
//! schema 1, artifacts that are no container images, and layers kept outside the registry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::digest::Digest;
use crate::platform::Platform;
use crate::registry::printable;
use crate::unpack::Compression;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The kinds of manifest we ask for.
pub(crate) const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

/// The kernel takes at most about 500 lower directories in one overlay mount.
const MAX_LAYERS: usize = 500;

/// Points at content by digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    data: Option<String>,
}

/// What a manifest turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// One image: its configuration and layers, lowest first.
    Image {
        media_type: String,
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
    /// A choice of images by platform.
    Index(Vec<Descriptor>),
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not the JSON it should be.
    #[error("manifest is malformed: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The kind is said in two ways that differ.
    #[error("manifest is ambiguous: {why}: refused, it could be read as another image")]
    Ambiguous {
        /// The contradiction.
        why: String,
    },
    /// Docker's first format, which names no configuration and cannot be verified.
    #[error("manifest has Docker's obsolete schema 1: push the image again with a current tool")]
    Schema1,
    /// A kind of document or layer we do not know.
    #[error("unsupported media type \"{media_type}\" of the {what}: {help}")]
    MediaType {
        /// What has this type: manifest, config or layer.
        what: &'static str,
        /// The type.
        media_type: String,
        /// What would do.
        help: &'static str,
    },
    /// No entry of the index is for the wanted platform.
    #[error("no image for {wanted}: the index offers {offered}")]
    Platform {
        /// The platform wanted.
        wanted: Platform,
        /// The platforms there are.
        offered: String,
    },
}

/// All that any kind of manifest may have; which fields are there decides what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyManifest {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads a manifest that came with `content_type`, from a descriptor that said `promised`.
    pub(crate) fn parse(
        bytes: &[u8],
        content_type: &str,
        promised: Option<&str>,
    ) -> Result<Self, ManifestError> {
        if content_type.starts_with(DOCKER_SCHEMA1) {
            return Err(ManifestError::Schema1);
        }
        let document = "application/json application/octet-stream text/plain";
        let generic = content_type.is_empty() || document.split(' ').any(|k| k == content_type);
        if !generic && !ACCEPTED.contains(&content_type) {
            return Err(unsupported_manifest(content_type));
        }
        let mut any: AnyManifest =
            serde_json::from_slice(bytes).map_err(|err| ManifestError::Malformed {
                why: printable(&err.to_string()),
            })?;
        if any.schema_version == Some(1) || any.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        let own = any.media_type.take();
        let said = [
            ("Content-Type", Some(content_type).filter(|_| !generic)),
            ("index", promised.filter(|kind| !kind.is_empty())),
            ("mediaType", own.as_deref().filter(|kind| !kind.is_empty())),
        ];
        let kind = agreed_kind(&said)?;
        any.into_manifest(kind)
    }
}

/// The one media type that all sources agree on; `None` when nobody says.
fn agreed_kind<'a>(said: &[(&str, Option<&'a str>)]) -> Result<Option<&'a str>, ManifestError> {
    let mut agreed: Option<(&str, &str)> = None;
    for (source, kind) in said {
        match (agreed, kind) {
            (Some((first, a)), Some(b)) if a != *b => {
                let b = printable(b);
                let why = format!("{first} says {a}, {source} says {b}");
                return Err(ManifestError::Ambiguous { why });
            }
            (None, Some(kind)) => agreed = Some((source, kind)),
            _ => {}
        }
    }
    Ok(agreed.map(|(_, kind)| kind))
}

impl AnyManifest {
    fn into_manifest(self, kind: Option<&str>) -> Result<Manifest, ManifestError> {
        let image = self.config.is_some() || self.layers.is_some();
        let kind = match (kind, self.manifests.is_some(), image) {
            (_, true, true) => {
                let why = "it has both layers and manifests".to_owned();
                return Err(ManifestError::Ambiguous { why });
            }
            (Some(kind), ..) => kind.to_owned(),
            (None, true, _) => OCI_INDEX.to_owned(),
            (None, false, _) => OCI_MANIFEST.to_owned(),
        };
        let missing = |field: &str| ManifestError::Malformed {
            why: format!("{field} is missing"),
        };
        match kind.as_str() {
            OCI_INDEX | DOCKER_LIST => Ok(Manifest::Index(
                self.manifests.ok_or_else(|| missing("manifests"))?,
            )),
            OCI_MANIFEST | DOCKER_MANIFEST => {
                let config = self.config.ok_or_else(|| missing("config"))?;
                let layers = self.layers.ok_or_else(|| missing("layers"))?;
                check_image(&config, &layers)?;
                Ok(Manifest::Image {
                    media_type: kind,
                    config,
                    layers,
                })
            }
            other => Err(unsupported_manifest(other)),
        }
    }
}

fn check_image(config: &Descriptor, layers: &[Descriptor]) -> Result<(), ManifestError> {
    if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
        return Err(ManifestError::MediaType {
            what: "config",
            media_type: printable(&config.media_type),
            help: "this is an artifact, not a container image",
        });
    }
    if layers.len() > MAX_LAYERS {
        let why = format!(
            "{} layers, at most {MAX_LAYERS} can be mounted",
            layers.len()
        );
        return Err(ManifestError::Malformed { why });
    }
    layers
        .iter()
        .try_for_each(|layer| compression(layer).map(|_| ()))
}

/// How a layer is packed, by its media type.
pub(crate) fn compression(layer: &Descriptor) -> Result<Compression, ManifestError> {
    let refuse = |help| ManifestError::MediaType {
        what: "layer",
        media_type: printable(&layer.media_type),
        help,
    };
    let foreign = layer.media_type.contains("nondistributable")
        || layer.media_type.contains(".foreign.")
        || !layer.urls.is_empty();
    if foreign {
        return Err(refuse(
            "foreign layers, kept outside the registry, are not fetched",
        ));
    }
    Compression::from_media_type(&layer.media_type).map_err(|_| {
        refuse(match layer.media_type.contains("encrypted") {
            true => "encrypted layers are not supported",
            false => "layers are tar archives, plain or packed with gzip or zstd",
        })
    })
}

impl Descriptor {
    /// Content carried in the descriptor itself, if it is there and right.
    pub(crate) fn inline(&self) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(self.data.as_ref()?).ok()?;
        (bytes.len() as u64 == self.size && self.digest.matches(&bytes)).then_some(bytes)
    }
}

/// The entry of an index that suits `wanted` best; the first of equals.
pub(crate) fn choose<'a>(
    index: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, ManifestError> {
    // Attestations and signatures stand beside images, for platform unknown/unknown.
    let known = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|p| p.os != "unknown");
    let images: Vec<&Descriptor> = index.iter().filter(known).collect();
    let suiting = images.iter().filter_map(|entry| {
        let distance = wanted.suits(entry.platform.as_ref()?)?;
        Some((distance, *entry))
    });
    if let Some((_, best)) = suiting.min_by_key(|(distance, _)| *distance) {
        return Ok(best);
    }
    // An index of one image may leave its platform to the image's own configuration.
    if let [only] = images.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let mut offered: Vec<String> = images
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .map(Platform::to_string)
        .collect();
    offered.dedup();
    let offered = if offered.is_empty() {
        "nothing".to_owned()
    } else {
        offered.join(", ")
    };
    Err(ManifestError::Platform {
        wanted: wanted.clone(),
        offered: printable(&offered),
    })
}

fn unsupported_manifest(kind: &str) -> ManifestError {
    ManifestError::MediaType {
        what: "manifest",
        media_type: printable(kind),
        help: "expected an OCI or Docker (schema 2) manifest or index; is this host a registry?",
    }
}

#[cfg(test)]
mod tests;
