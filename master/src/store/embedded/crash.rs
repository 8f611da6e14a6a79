//! What is left after `kill -9`, and after the power failed at any write.
use super::file::File;
use super::*;
use crate::store::{Change, Guard};
use proptest::prelude::*;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

fn put(key: &str, value: String) -> Op {
    Op {
        key: key.into(),
        guard: Guard::Any,
        change: Change::Put(value.into(), None),
    }
}

/// Where the child finds its directory.
const CHILD: &str = "RKUBE_TEST_STORE";

/// Not a test of its own: the process that `acknowledged_writes_outlive_a_kill` kills. It says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_writes() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let store = Arc::new(open(Path::new(&directory)).unwrap());
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0u64.. {
                let value = format!(
                    "{number} {}",
                    "x".repeat(usize::try_from(number % 50).unwrap() * 100)
                );
                let key = format!("/{writer}/{}", number % 5);
                let last = format!("/{writer}/last");
                let done = store
                    .commit(vec![put(&key, value), put(&last, number.to_string())])
                    .await;
                let line = format!("ack {writer} {number} {}\n", done.unwrap().revision);
                // One write a line: a kill leaves whole lines and perhaps a torn last one.
                io::stdout().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_outlive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=4usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::embedded::crash::a_child_that_writes",
                "--nocapture",
            ])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in &mut lines {
            let line = line.unwrap();
            let Some(rest) = line.split_once("ack ") else {
                continue;
            };
            let numbers: Vec<u64> = rest
                .1
                .split(' ')
                .filter_map(|part| part.parse().ok())
                .collect();
            if let [writer, number, revision] = numbers[..] {
                acknowledged.insert(writer, (number, revision));
                seen += 1;
            }
            if seen == 97 * round {
                child.kill().unwrap();
                break;
            }
        }
        // What was said between the last line we read and the kill counts too; a torn last line does not.
        for line in lines.map_while(Result::ok) {
            let numbers: Vec<u64> = line
                .split(' ')
                .filter_map(|part| part.parse().ok())
                .collect();
            if let ([writer, number, revision], true) = (&numbers[..], line.starts_with("ack ")) {
                let newest = acknowledged.entry(*writer).or_default();
                if *number > newest.0 && *revision > newest.1 {
                    *newest = (*number, newest.1);
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= 97 * round, "the child wrote");
        let store = open(directory.path()).unwrap();
        for (writer, (number, revision)) in acknowledged {
            let last = store
                .get(&format!("/{writer}/last"))
                .await
                .unwrap()
                .unwrap();
            let held: u64 = std::str::from_utf8(&last.value).unwrap().parse().unwrap();
            assert!(
                held >= number && last.modified >= revision,
                "{writer}: {number} is lost, {held} is there"
            );
            // Both keys of a transaction are there.
            let other = store
                .get(&format!("/{writer}/{}", held % 5))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(other.modified, last.modified);
        }
        whole(&store).await;
    }
}

/// The history from its beginning gives what is there.
async fn whole(store: &Embedded) {
    let snapshot = store.shared.file.snapshot().unwrap();
    let mut state: BTreeMap<Arc<str>, Entry> = BTreeMap::new();
    for batch in read::replay(&snapshot, "/", snapshot.state.oldest).unwrap() {
        for event in batch.events {
            match event.deleted {
                true => drop(state.remove(&event.entry.key)),
                false => drop(state.insert(event.entry.key.clone(), event.entry)),
            }
        }
    }
    let listing = store.list(&Range::default()).await.unwrap();
    assert_eq!(listing.revision, snapshot.state.revision);
    if snapshot.state.oldest == 1 {
        assert_eq!(listing.entries, state.into_values().collect::<Vec<_>>());
    }
}

/// A disk that forgets what was not synced, and fails from some operation on.
#[derive(Debug, Default)]
struct Disk(Mutex<Platter>);

#[derive(Debug, Default)]
struct Platter {
    /// As programs see it.
    seen: Vec<u8>,
    /// As it is after the power failed.
    durable: Vec<u8>,
    /// Not synced yet: a length, or bytes at a place.
    pending: Vec<(u64, Option<Vec<u8>>)>,
    /// How many more operations are done.
    left: usize,
}

/// The disk, as redb wants it.
#[derive(Debug)]
struct Drive(Arc<Disk>);

impl Disk {
    fn lock(&self) -> std::sync::MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platter {
    fn step(&mut self) -> io::Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other("the power failed")),
        }
        Ok(())
    }
    fn apply(to: &mut Vec<u8>, at: u64, data: Option<&[u8]>) {
        let at = usize::try_from(at).unwrap();
        match data {
            None => to.resize(at, 0),
            Some(data) => {
                let end = at + data.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[at..end].copy_from_slice(data);
            }
        }
    }
    /// What is there after the power failed: of each write that was not synced all, nothing or some sectors.
    fn after(&self, dice: &mut u64) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (at, data) in &self.pending {
            let Some(data) = data else {
                if roll(dice).is_multiple_of(2) {
                    Platter::apply(&mut image, *at, None);
                }
                continue;
            };
            let whole = roll(dice) % 3;
            for (sector, part) in data.chunks(512).enumerate() {
                let kept = whole == 0 || (whole == 1 && roll(dice).is_multiple_of(2));
                let at = usize::try_from(*at).unwrap() + sector * 512;
                if kept && at + part.len() <= image.len() {
                    image[at..at + part.len()].copy_from_slice(part);
                }
            }
        }
        image
    }
}

fn roll(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice >> 11
}

impl StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock();
        let at = usize::try_from(offset).unwrap();
        let found = disk
            .seen
            .get(at..at + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        Platter::apply(&mut disk.seen, len, None);
        disk.pending.push((len, None));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        disk.durable = disk.seen.clone();
        disk.pending.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        Platter::apply(&mut disk.seen, offset, Some(data));
        disk.pending.push((offset, Some(data.to_vec())));
        Ok(())
    }
}

fn drive(image: Vec<u8>, left: usize) -> Arc<Disk> {
    Arc::new(Disk(Mutex::new(Platter {
        seen: image.clone(),
        durable: image,
        pending: Vec::new(),
        left,
    })))
}

fn on(disk: &Arc<Disk>) -> Result<Embedded, OpenError> {
    let disk = disk.clone();
    let (file, state) = File::on(move || Drive(disk.clone()))?;
    start(file, state)
}

/// Writes until the power fails; what was acknowledged, and what was asked for last.
async fn write_until_dark(
    store: &Embedded,
    round: u64,
    known: &mut BTreeMap<String, String>,
) -> Option<(String, String)> {
    for number in 0..200u64 {
        let key = format!("/{}", number % 7);
        let value = format!(
            "{round}-{number} {}",
            "y".repeat(usize::try_from(number % 9).unwrap() * 700)
        );
        match store.commit(vec![put(&key, value.clone())]).await {
            Ok(_) => drop(known.insert(key, value)),
            Err(_) => return Some((key, value)),
        }
    }
    None
}

async fn survive(first: usize, seed: u64) {
    // A store gets its name when it is made whole.
    let disk = drive(Vec::new(), usize::MAX);
    on(&disk).unwrap().close();
    let (mut dice, mut image) = (seed | 1, disk.lock().seen.clone());
    let mut known = BTreeMap::new();
    let mut doubtful: Option<(String, String)> = None;
    for round in 0..3u64 {
        let left = if round == 0 {
            first
        } else {
            usize::try_from(roll(&mut dice) % 150).unwrap()
        };
        let disk = drive(image.clone(), left);
        if let Ok(store) = on(&disk) {
            let asked = write_until_dark(&store, round, &mut known).await;
            // It may have been done; then it stands in the place of what was there.
            doubtful = asked.or(doubtful);
            store.close();
        }
        image = disk.lock().after(&mut dice);
        let disk = drive(image.clone(), usize::MAX);
        let store = on(&disk).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let listing = store.list(&Range::default()).await.unwrap();
        for entry in &listing.entries {
            let held = String::from_utf8(entry.value.to_vec()).unwrap();
            let maybe = doubtful
                .as_ref()
                .is_some_and(|(key, value)| **key == *entry.key && *value == held);
            if maybe {
                known.insert(entry.key.to_string(), held);
            } else {
                assert_eq!(
                    known.get(&*entry.key),
                    Some(&held),
                    "round {round}, {}",
                    entry.key
                );
            }
        }
        assert_eq!(
            listing.entries.len(),
            known.len(),
            "round {round}: a write is lost"
        );
        whole(&store).await;
        store.close();
        image = disk.lock().seen.clone();
    }
}

/// A disk that fails and works again: nothing that was acknowledged is lost, nobody who watches misses anything, and the
/// store goes on by itself.
async fn hiccups(seed: u64) {
    let mut dice = seed | 1;
    let disk = drive(Vec::new(), usize::MAX);
    let store = on(&disk).unwrap();
    let mut watch = store.watch("/", 1).await.unwrap();
    let (mut known, mut unsure) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..60u64 {
        if number.is_multiple_of(10) {
            disk.lock().left = usize::try_from(roll(&mut dice) % 60).unwrap();
        }
        let key = format!("/{number}");
        match store.commit(vec![put(&key, "x".repeat(3000))]).await {
            Ok(done) => drop(known.insert(key, done.revision)),
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
                unsure.insert(key, ());
                disk.lock().left = usize::MAX;
            }
        }
    }
    disk.lock().left = usize::MAX;
    let last = store
        .commit(vec![put("/last", String::new())])
        .await
        .unwrap()
        .revision;
    let mut told = BTreeMap::new();
    let mut at = 1;
    while at < last {
        let batch = watch.0.recv().await.unwrap().unwrap();
        assert!(batch.revision > at);
        at = batch.revision;
        for event in batch.events {
            told.insert(event.entry.key.to_string(), event.entry.modified);
        }
    }
    told.remove("/last");
    assert!(
        known
            .iter()
            .all(|(key, revision)| told.get(key) == Some(revision))
    );
    assert!(
        told.keys()
            .all(|key| known.contains_key(key) || unsure.contains_key(key))
    );
    whole(&store).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn acknowledged_writes_outlive_the_power(first in 0usize..600, seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(survive(first, seed));
    }

    #[test]
    fn a_disk_may_fail_for_a_while(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hiccups(seed));
    }

    /// A file that others wrote into is refused or read, and never a reason to fall over.
    #[test]
    fn damage_is_said(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), cut in prop::option::of(any::<prop::sample::Index>())) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = drive(Vec::new(), usize::MAX);
            let store = on(&disk).unwrap();
            write_until_dark(&store, 0, &mut BTreeMap::new()).await;
            store.close();
            let mut image = disk.lock().seen.clone();
            for (place, byte) in places {
                let place = place.index(image.len());
                image[place] = byte;
            }
            if let Some(cut) = cut {
                image.truncate(cut.index(image.len()));
            }
            match on(&drive(image, usize::MAX)) {
                Ok(store) => {
                    let _ = store.list(&Range::default()).await;
                    let _ = store.commit(vec![put("/new", "1".to_owned())]).await;
                }
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        });
    }
}

/// A small disk that is full and has room again. A tmpfs, and so a test for root.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(mebibytes: u64) -> Tmpfs {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .status();
        assert!(mount.unwrap().success());
        Tmpfs(directory)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_read_and_goes_on_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP a_full_disk_is_read_and_goes_on_when_there_is_room: needs root");
        return;
    }
    let disk = Tmpfs::mount(64);
    let store = open(&disk.0.path().join("store")).unwrap();
    let filler = disk.0.path().join("filler");
    store
        .commit(vec![put("/a", "1".to_owned()), put("/b", "1".to_owned())])
        .await
        .unwrap();
    fs_err::write(&filler, vec![1; 44 << 20]).unwrap();
    let refused = store.commit(vec![put("/a", "2".to_owned())]).await;
    assert!(
        matches!(&refused, Err(StoreError::Full(why)) if why.contains("make room")),
        "{refused:?}"
    );
    assert!(matches!(
        store.grant(Duration::from_secs(9)).await,
        Err(StoreError::Full(_))
    ));
    assert_eq!(store.get("/a").await.unwrap().unwrap().value, "1");
    // What takes away is done.
    let delete = Op {
        key: "/b".into(),
        guard: Guard::Any,
        change: Change::Delete,
    };
    store.commit(vec![delete.clone()]).await.unwrap();
    assert_eq!(store.get("/b").await.unwrap(), None);
    // Not the last bytes, though.
    fs_err::write(disk.0.path().join("more"), vec![1; 17 << 20]).unwrap();
    let refused = store.commit(vec![delete]).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    fs_err::remove_file(&filler).unwrap();
    store.commit(vec![put("/a", "2".to_owned())]).await.unwrap();
    whole(&store).await;
    store.close();
}
