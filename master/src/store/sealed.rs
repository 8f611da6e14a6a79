//! Values that nobody can read in the file or in etcd: secrets at rest.
//!
//! A sealed value is `\0rks1`, the number of its key (4 bytes, big end), a nonce of 12 bytes, and what AES-256-GCM makes of
//! the value with the store's key as associated data, so that a value moved to another key does not open. Everything else is
//! plain: what was written before sealing was switched on stays readable, and is sealed when it is written next.
use super::{
    Batch, Change, Committed, Entry, LeaseId, Listing, Op, Range, Revision, Store, StoreError,
    Watch,
};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fs_err::os::unix::fs::OpenOptionsExt;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How a sealed value begins; no JSON does.
const MAGIC: &[u8] = b"\0rks1";
/// Magic, number of the key, nonce.
const HEADER: usize = MAGIC.len() + 4 + NONCE_LEN;
/// How many batches of a watch are opened ahead of their reader.
const QUEUE: usize = 16;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot use the keys of secrets")]
    Io(#[source] std::io::Error),
    /// Others could read it.
    #[error("{} can be read by others: chmod 600 it, and think of new keys", .0.display())]
    Open(PathBuf),
    /// It is no list of keys.
    #[error("{}:{line} is not `<number> <base64 of 32 bytes>`: put the file of a backup in its place", file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// Which line of it, from 1.
        line: usize,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// The keys of secrets: the first one seals, all of them open.
pub struct Keys {
    file: PathBuf,
    keys: Vec<(u32, LessSafeKey)>,
    random: SystemRandom,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<u32> = self.keys.iter().map(|(number, _)| *number).collect();
        write!(out, "Keys({numbers:?})")
    }
}

/// Reads the keys of a file; makes it, readable by its owner alone, with a new key where there is none.
///
/// # Errors
/// What is wrong with the file.
pub fn keys(file: &Path) -> Result<Keys, KeyError> {
    match read(file) {
        Err(KeyError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            write(file, &new_line(1)?)?;
            read(file)
        }
        read => read,
    }
}

/// Puts a new key before the others: what is written from now on is sealed with it.
///
/// # Errors
/// What is wrong with the file.
pub fn rotate(file: &Path) -> Result<(), KeyError> {
    let known = keys(file)?;
    let next = known.keys.iter().map(|(number, _)| *number).max();
    let rest = fs_err::read_to_string(file).map_err(KeyError::Io)?;
    let line = new_line(next.map_or(1, |number| number.wrapping_add(1)))?;
    write(file, &format!("{line}{rest}"))
}

fn new_line(number: u32) -> Result<String, KeyError> {
    let mut key = [0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| KeyError::Random)?;
    Ok(format!("{number} {}\n", STANDARD.encode(key)))
}

/// Whole or not at all: without its keys a store has no secrets any more.
fn write(file: &Path, text: &str) -> Result<(), KeyError> {
    let partial = file.with_extension("new");
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let done = || -> std::io::Result<()> {
        let mut out = options.open(&partial)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs_err::rename(&partial, file)?;
        let directory = file.parent().unwrap_or(Path::new("."));
        fs_err::File::open(directory)?.sync_all()
    };
    done().map_err(KeyError::Io)
}

fn read(file: &Path) -> Result<Keys, KeyError> {
    let text = fs_err::read_to_string(file).map_err(KeyError::Io)?;
    let mode = fs_err::metadata(file).map_err(KeyError::Io)?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Open(file.to_owned()));
    }
    let malformed = |line| KeyError::Malformed {
        file: file.to_owned(),
        line,
    };
    let lines = text.lines().enumerate();
    let parsed = lines.map(|(line, text)| parse(text).ok_or_else(|| malformed(line + 1)));
    let keys = parsed.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(malformed(1));
    }
    Ok(Keys {
        file: file.to_owned(),
        keys,
        random: SystemRandom::new(),
    })
}

fn parse(line: &str) -> Option<(u32, LessSafeKey)> {
    let (number, key) = line.split_once(' ')?;
    let key = UnboundKey::new(&AES_256_GCM, &STANDARD.decode(key.trim()).ok()?).ok()?;
    Some((number.parse().ok()?, LessSafeKey::new(key)))
}

impl Keys {
    fn seal(&self, key: &str, value: &[u8]) -> Result<Bytes, StoreError> {
        let failed = |_| StoreError::Failed(format!("{key} could not be sealed"));
        let (number, first) = &self.keys[0];
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(failed)?;
        let mut sealed = value.to_vec();
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(key));
        let mut out = Vec::with_capacity(HEADER + value.len() + 16);
        out.extend_from_slice(MAGIC);
        out.extend(number.to_be_bytes());
        out.extend_from_slice(nonce.as_ref());
        first
            .seal_in_place_append_tag(nonce, aad, &mut sealed)
            .map_err(failed)?;
        out.extend(sealed);
        Ok(out.into())
    }

    fn open(&self, key: &str, value: &Bytes) -> Result<Bytes, StoreError> {
        let Some(rest) = value.strip_prefix(MAGIC) else {
            return Ok(value.clone());
        };
        let damaged = || {
            StoreError::Failed(format!(
                "{key} cannot be unsealed: it is damaged, or was sealed with another key of its number"
            ))
        };
        let (number, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let number = u32::from_be_bytes(*number);
        let known = self.keys.iter().find(|(known, _)| *known == number);
        let (_, opener) = known.ok_or_else(|| {
            let file = self.file.display();
            StoreError::Failed(format!(
                "{key} cannot be unsealed: {file} has no key {number}; put it back from a backup"
            ))
        })?;
        let (mut sealed, aad) = (sealed.to_vec(), Aad::from(key));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = match opener.open_in_place(nonce, aad, &mut sealed) {
            Ok(open) => open.len(),
            Err(_) => return Err(damaged()),
        };
        sealed.truncate(length);
        Ok(sealed.into())
    }

    fn entry(&self, entry: &mut Entry) -> Result<(), StoreError> {
        entry.value = self.open(&entry.key, &entry.value)?;
        Ok(())
    }

    fn batch(&self, mut batch: Batch) -> Result<Batch, StoreError> {
        for event in &mut batch.events {
            self.entry(&mut event.entry)?;
            event
                .previous
                .as_mut()
                .map_or(Ok(()), |previous| self.entry(previous))?;
        }
        Ok(batch)
    }
}

/// A store whose values under some prefixes are sealed.
#[derive(Debug)]
pub struct Sealed {
    inner: Arc<dyn Store>,
    prefixes: Vec<String>,
    keys: Arc<Keys>,
}

impl Sealed {
    /// Seals what is written under these prefixes, such as `/registry/secrets/`.
    pub fn new(inner: Arc<dyn Store>, prefixes: &[&str], keys: Keys) -> Sealed {
        Sealed {
            inner,
            prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
            keys: Arc::new(keys),
        }
    }
}

#[async_trait]
impl Store for Sealed {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let mut entry = self.inner.get(key).await?;
        entry
            .as_mut()
            .map_or(Ok(()), |entry| self.keys.entry(entry))?;
        Ok(entry)
    }

    async fn list(&self, range: &Range) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(range).await?;
        listing
            .entries
            .iter_mut()
            .try_for_each(|entry| self.keys.entry(entry))?;
        Ok(listing)
    }

    async fn commit(&self, mut ops: Vec<Op>) -> Result<Committed, StoreError> {
        for op in &mut ops {
            let mut prefixes = self.prefixes.iter();
            if let Change::Put(value, _) = &mut op.change
                && prefixes.any(|prefix| op.key.starts_with(prefix.as_str()))
            {
                *value = self.keys.seal(&op.key, value)?;
            }
        }
        match self.inner.commit(ops).await {
            Ok(mut done) => {
                let mut found = done.previous.iter_mut().flatten();
                found.try_for_each(|entry| self.keys.entry(entry))?;
                Ok(done)
            }
            Err(StoreError::Conflict { key, mut current }) => {
                current
                    .as_mut()
                    .map_or(Ok(()), |entry| self.keys.entry(entry))?;
                Err(StoreError::Conflict { key, current })
            }
            Err(error) => Err(error),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let mut sealed = self.inner.watch(prefix, after).await?;
        let keys = self.keys.clone();
        let (tx, rx) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    () = tx.closed() => return,
                    next = sealed.0.recv() => next,
                };
                let Some(next) = next else { return };
                let opened = next.and_then(|batch| keys.batch(batch));
                let over = opened.is_err();
                if tx.send(opened).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Watch(rx))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }
    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant(ttl).await
    }
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.keep_alive(lease).await
    }
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke(lease).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::{self, Bed};
    use crate::store::{Guard, embedded};

    fn open(directory: &Path) -> (Arc<dyn Store>, Sealed) {
        let inner: Arc<dyn Store> = Arc::new(embedded::open(directory).unwrap());
        let keys = keys(&directory.join("keys")).unwrap();
        (inner.clone(), Sealed::new(inner, &["/registry/"], keys))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_passes_the_suite() {
        let directory = tempfile::tempdir().unwrap();
        suite::run(Arc::new(open(directory.path()).1)).await;
    }

    #[tokio::test]
    async fn nothing_can_be_read_below_and_nothing_moved() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, sealed) = open(directory.path());
        let bed = |store: Arc<dyn Store>, prefix: &str| Bed {
            store,
            prefix: prefix.to_owned(),
        };
        let below = bed(inner.clone(), "/registry/");
        below.set("old", "written before").await;
        let above = bed(Arc::new(sealed), "/registry/");
        assert_eq!(above.get("old").await.unwrap().value, "written before");
        above.set("new", "geheim").await;
        let other = bed(above.store.clone(), "/plain/");
        other.set("a", "geheim").await;
        assert_eq!(above.get("new").await.unwrap().value, "geheim");
        let raw = below.get("new").await.unwrap().value;
        assert!(raw.starts_with(MAGIC) && !raw.windows(6).any(|part| part == b"geheim"));
        assert_eq!(
            bed(inner, "/plain/").get("a").await.unwrap().value,
            "geheim"
        );
        // The same bytes under another key, and a changed byte, do not open.
        let mut flipped = raw.to_vec();
        flipped[HEADER] ^= 1;
        for (name, value) in [("moved", raw), ("new", flipped.into())] {
            let put = below.op(name, Guard::Any, Change::Put(value, None));
            below.store.commit(vec![put]).await.unwrap();
            let refused = above.store.get(&above.key(name)).await;
            assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn old_keys_open_what_they_sealed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        let at = |store: Sealed| Bed {
            store: Arc::new(store),
            prefix: "/registry/".to_owned(),
        };
        let first = at(open(directory.path()).1);
        first.set("a", "1").await;
        drop(first);
        let mode = fs_err::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        rotate(&file).unwrap();
        let (below, sealed) = open(directory.path());
        let second = at(sealed);
        assert_eq!(second.get("a").await.unwrap().value, "1");
        second.set("b", "2").await;
        let raw = below.get("/registry/b").await.unwrap().unwrap().value;
        assert_eq!(raw[MAGIC.len()..][..4], [0, 0, 0, 2]);
        drop((below, second));
        // Without the first key its values say which one is missing.
        let text = fs_err::read_to_string(&file).unwrap();
        fs_err::write(&file, text.lines().next().unwrap()).unwrap();
        let third = at(open(directory.path()).1);
        assert_eq!(third.get("b").await.unwrap().value, "2");
        let refused = third.store.get("/registry/a").await.unwrap_err();
        assert!(refused.to_string().contains("has no key 1"), "{refused}");
    }

    #[test]
    fn a_file_of_keys_is_private_and_well_formed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        keys(&file).unwrap();
        fs_err::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(keys(&file), Err(KeyError::Open(_))));
        fs_err::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        for text in [
            "",
            "1\n",
            "1 c2hvcnQ=\n",
            "x AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        ] {
            fs_err::write(&file, text).unwrap();
            assert!(
                matches!(keys(&file), Err(KeyError::Malformed { line: 1, .. })),
                "{text:?}"
            );
        }
    }
}
