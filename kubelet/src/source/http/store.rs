//! What was asked for over HTTP, in memory and in its file.
//!
//! The file holds v1 objects: `{"version": 1, "entries": [{"place", "serial", "objects": [pod, ConfigMaps, Secrets]}]}`.
use super::Key;
use crate::admission::Companions;
use crate::source::content::Content;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The most bytes that the file may have.
pub(super) const LIMIT: usize = 64 << 20;
/// The version that a new file carries.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File<E> {
    version: u32,
    entries: Vec<E>,
}

/// A pod in the file, with what stood beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The request's path.
    pub(super) place: String,
    serial: u64,
    objects: Vec<Value>,
}

impl Kept {
    /// A manifest of it.
    pub(super) fn text(&self) -> String {
        Value::Array(self.objects.clone()).to_string()
    }
    fn key(&self) -> Key {
        let meta = self.objects.first().map(|pod| &pod["metadata"]);
        let word = |name: &str| {
            meta.and_then(|meta| meta[name].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        (word("namespace"), word("name"))
    }
}

/// A pod that is wanted, with what stood beside it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: String,
    pub(super) pod: Arc<Pod>,
    config_maps: Vec<ConfigMap>,
    secrets: Vec<Secret>,
}

impl Entry {
    /// The pod, with those companions that are of its namespace.
    pub(super) fn new(place: &str, pod: &Arc<Pod>, companions: &Companions) -> Self {
        let own = |meta: &ObjectMeta| meta.namespace == pod.metadata.namespace;
        let maps = companions
            .config_maps
            .iter()
            .filter(|map| own(&map.metadata));
        let secrets = companions
            .secrets
            .iter()
            .filter(|secret| own(&secret.metadata));
        Entry {
            place: place.to_owned(),
            pod: pod.clone(),
            config_maps: maps.cloned().collect(),
            secrets: secrets.cloned().collect(),
        }
    }

    fn objects(&self) -> Vec<Value> {
        let value = |object: serde_json::Result<Value>| object.ok();
        let maps = self.config_maps.iter().map(serde_json::to_value);
        let secrets = self.secrets.iter().map(serde_json::to_value);
        let pod = std::iter::once(serde_json::to_value(&*self.pod));
        pod.chain(maps).chain(secrets).filter_map(value).collect()
    }
}

/// All that is wanted. A clone is cheap: it is changed, written down, and only then takes the place of the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    entries: BTreeMap<Key, (u64, Arc<Entry>)>,
    /// What cannot be read stays in the file until somebody puts or deletes a pod of its name.
    unread: BTreeMap<Key, Arc<Kept>>,
    /// The newest entry's: of two ConfigMaps of one name that of the newer entry counts.
    serial: u64,
}

impl Entries {
    /// Takes up what was in the file.
    pub(super) fn take_up(&mut self, kept: &Kept, content: &Content) {
        self.serial = self.serial.max(kept.serial);
        for pod in &content.pods {
            let entry = Arc::new(Entry::new(&kept.place, pod, &content.companions));
            self.entries
                .insert(super::key_of(pod), (kept.serial, entry));
        }
    }
    /// Takes up what was in the file and means nothing to this version.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.serial = self.serial.max(kept.serial);
        self.unread.insert(kept.key(), Arc::new(kept));
    }
    /// None, with serials that go on.
    pub(super) fn emptied(&self) -> Self {
        Entries {
            serial: self.serial,
            ..Entries::default()
        }
    }
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }
    pub(super) fn insert(&mut self, key: Key, entry: Entry) {
        self.serial += 1;
        self.unread.remove(&key);
        self.entries.insert(key, (self.serial, Arc::new(entry)));
    }
    /// Removes the pod; it, if it was there.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Pod>> {
        let unread = self.unread.remove(key).map(|_| Arc::default());
        let entry = self.entries.remove(key).map(|(_, entry)| entry.pod.clone());
        entry.or(unread)
    }
    /// The places of what cannot be read.
    pub(super) fn unread(&self) -> BTreeSet<String> {
        self.unread
            .values()
            .map(|kept| kept.place.clone())
            .collect()
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values().map(|(_, entry)| entry)
    }
    pub(super) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.iter().map(|entry| &entry.pod)
    }

    /// All companions; of two with one name that of the newer entry.
    pub(super) fn companions(&self, all: &mut Companions) {
        let mut entries: Vec<_> = self.entries.values().collect();
        entries.sort_by_key(|(serial, _)| *serial);
        let name = |meta: &ObjectMeta| (meta.namespace.clone(), meta.name.clone());
        let (mut maps, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for (_, entry) in entries {
            maps.extend(
                entry
                    .config_maps
                    .iter()
                    .map(|map| (name(&map.metadata), map)),
            );
            secrets.extend(
                entry
                    .secrets
                    .iter()
                    .map(|secret| (name(&secret.metadata), secret)),
            );
        }
        all.config_maps = maps.into_values().cloned().collect();
        all.secrets = secrets.into_values().cloned().collect();
    }

    /// The file's content; none if it is too large.
    pub(super) fn text(&self) -> Option<Vec<u8>> {
        let read = self.entries.values().map(|(serial, entry)| Kept {
            place: entry.place.clone(),
            serial: *serial,
            objects: entry.objects(),
        });
        let unread = self.unread.values().map(|kept| Kept::clone(kept));
        let file = File {
            version: VERSION,
            entries: read.chain(unread).collect(),
        };
        let text = serde_json::to_vec(&file).ok()?;
        (text.len() <= LIMIT).then_some(text)
    }
}

/// What is in the file; nothing if there is none.
///
/// # Errors
/// When it cannot be read, or another version wrote it.
pub(super) fn load(file: &Path) -> io::Result<Vec<Kept>> {
    let bytes = match fs_err::read(file) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let named = |err| io::Error::other(format!("{}: {err}", file.display()));
    let found: File<Value> = serde_json::from_slice(&bytes).map_err(named)?;
    if found.version > VERSION {
        return Err(io::Error::other(format!(
            "{}: written by a newer rkubelet (format {}, this one reads up to {VERSION})",
            file.display(),
            found.version
        )));
    }
    let entries = found.entries.into_iter().map(serde_json::from_value);
    entries.collect::<Result<_, _>>().map_err(named)
}

/// Replaces the file, mode 0600; once this returns it would survive a power cut.
///
/// # Errors
/// Names the file.
pub(super) fn save(file: &Path, text: &[u8]) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    crate::paths::create_private(dir)?;
    let aside = file.with_extension("new");
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.options_mut().mode(0o600);
    let mut out = options.open(&aside)?;
    out.write_all(text)?;
    out.sync_all()?;
    fs_err::rename(&aside, file)?;
    fs_err::File::open(dir)?.sync_all()
}
