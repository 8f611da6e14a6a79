//! One look at a manifest directory: what changed since the last one is read, everything else is known.
//!
//! A place keeps its last good content when it turns bad, and for a moment after it vanished: editors and version
//! control take a file away and put the new one in its place.
use super::watch::{Busy, Changes};
use crate::source::Problem;
use crate::source::content::{self, Content, Naming};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A directory with more files than this is not one of manifests.
const MOST_FILES: usize = 10_000;
/// How long a file that vanished is still wanted.
const GRACE: Duration = Duration::from_millis(100);
/// A file that changed so shortly before it was read may change again without a new time stamp.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// What tells two versions of a file apart without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A place as it was last seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// None if it must be read again.
    stamp: Option<Stamp>,
    digest: u64,
    /// The last content that was good.
    good: Option<Arc<Content>>,
    /// What is wrong with it now.
    problem: Option<String>,
    /// When it was found to be no longer there.
    gone: Option<Instant>,
}

/// All places, and when to look again though nothing is heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    seen: BTreeMap<PathBuf, Seen>,
    hasher: Arc<RandomState>,
    again: Option<Duration>,
}

/// Why the path as a whole cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error("{0}")]
    Read(#[source] io::Error),
    #[error("more than {MOST_FILES} files in it; give a directory of manifests alone")]
    TooMany,
}

impl Scan {
    /// Looks at `path`, a file or a directory.
    pub(super) fn next(
        &self,
        path: &Path,
        naming: &Naming,
        busy: &Busy,
    ) -> Result<Scan, ScanError> {
        let mut next = Scan {
            hasher: self.hasher.clone(),
            ..Scan::default()
        };
        for place in self.places(path)? {
            let seen = self.look(&place, naming, busy, &mut next.again);
            if let Some(seen) = seen {
                next.seen.insert(place, seen);
            }
        }
        self.keep_vanished(&mut next);
        Ok(next)
    }

    /// The files to look at. If one is missing, it is listed again: a rename during a listing can hide a file.
    fn places(&self, path: &Path) -> Result<BTreeSet<PathBuf>, ScanError> {
        let mut places = list(path)?;
        for _ in 0..3 {
            if self.seen.keys().all(|place| places.contains(place)) {
                break;
            }
            let again = list(path)?;
            if again == places {
                break;
            }
            places = again;
        }
        Ok(places)
    }

    /// None for what is no file and says nothing by being there: directories.
    fn look(
        &self,
        place: &Path,
        naming: &Naming,
        busy: &Busy,
        again: &mut Option<Duration>,
    ) -> Option<Seen> {
        let last = self.seen.get(place);
        let mut seen = Seen {
            gone: None,
            ..last.cloned().unwrap_or_default()
        };
        let meta = match fs_err::metadata(place) {
            Ok(meta) if meta.is_dir() => return None,
            Ok(meta) => meta,
            // It went since it was listed. A symbolic link that leads nowhere is still there.
            Err(_) if fs_err::symlink_metadata(place).is_err() => return None,
            Err(err) => {
                seen.problem = Some(crate::error::chain(&err));
                seen.stamp = None;
                return Some(seen);
            }
        };
        let stamp = Stamp::of(&meta);
        if seen.stamp == Some(stamp) {
            return Some(seen);
        }
        // Only what was made by opening it is being written: links have no end of writing.
        let own =
            fs_err::symlink_metadata(place).is_ok_and(|meta| meta.is_file() && meta.nlink() == 1);
        let wait = place
            .file_name()
            .filter(|_| own)
            .and_then(|name| busy.wait(name));
        if let Some(wait) = wait {
            *again = Some(again.map_or(wait, |other| other.min(wait)));
            // Nothing is known yet of a new file.
            return last.is_some().then_some(seen);
        }
        self.read(place, naming, &mut seen);
        seen.stamp = stamp.is_settled().then_some(stamp);
        Some(seen)
    }

    fn read(&self, place: &Path, naming: &Naming, seen: &mut Seen) {
        let bytes = match read_regular(place) {
            Ok(bytes) => bytes,
            Err(message) => {
                seen.problem = Some(message);
                seen.digest = 0;
                return;
            }
        };
        // Never 0, which stands for what could not be read.
        let digest = self.hasher.hash_one(&bytes) | 1;
        if seen.digest == digest {
            return;
        }
        seen.digest = digest;
        match content::read(&bytes, &place.to_string_lossy(), naming) {
            Ok(content) => {
                for warning in &content.warnings {
                    tracing::warn!("{warning}");
                }
                (seen.good, seen.problem) = (Some(Arc::new(content)), None);
            }
            Err(message) => seen.problem = Some(message),
        }
    }

    /// A place that is no longer there stays for [`GRACE`], unless its pods stand at another place by now.
    fn keep_vanished(&self, next: &mut Scan) {
        let vanished = self
            .seen
            .iter()
            .filter(|(place, _)| !next.seen.contains_key(*place));
        let mut kept = Vec::new();
        for (place, seen) in vanished {
            let gone = seen.gone.unwrap_or_else(Instant::now);
            let left = GRACE.saturating_sub(gone.elapsed());
            let moved = names(seen).any(|name| {
                next.seen
                    .values()
                    .flat_map(names)
                    .any(|other| other == name)
            });
            if left.is_zero() || seen.good.is_none() || moved {
                continue;
            }
            next.again = Some(next.again.map_or(left, |other| other.min(left)));
            let seen = Seen {
                gone: Some(gone),
                stamp: None,
                ..seen.clone()
            };
            kept.push((place.clone(), seen));
        }
        next.seen.extend(kept);
    }

    /// What was found, but for the files that changed while they were read: these are as they were before.
    pub(super) fn without(mut self, changes: &Changes, before: &Scan) -> Scan {
        let concerned =
            |place: &PathBuf| place.file_name().is_some_and(|name| changes.concern(name));
        self.seen.retain(|place, _| !concerned(place));
        let before = before.seen.iter().filter(|(place, _)| concerned(place));
        self.seen
            .extend(before.map(|(place, seen)| (place.clone(), seen.clone())));
        self.again = Some(GRACE);
        self
    }

    /// When to look again though nothing is heard.
    pub(super) fn again(&self) -> Option<Duration> {
        self.again
    }

    /// Whether there is anything that the other one does not say as well.
    pub(super) fn differs(&self, other: &Scan) -> bool {
        let same = |mine: &Seen, theirs: &Seen| {
            mine.problem == theirs.problem
                && match (&mine.good, &theirs.good) {
                    (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
        };
        self.seen.len() != other.seen.len()
            || self
                .seen
                .iter()
                .zip(&other.seen)
                .any(|((place, mine), (other, theirs))| place != other || !same(mine, theirs))
    }

    /// The good contents with their places.
    pub(super) fn contents(&self) -> impl Iterator<Item = (String, &Arc<Content>)> {
        self.seen.iter().filter_map(|(place, seen)| {
            Some((place.to_string_lossy().into_owned(), seen.good.as_ref()?))
        })
    }

    /// The places that cannot be used.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.seen.iter().filter_map(|(place, seen)| {
            Some(Problem {
                place: place.to_string_lossy().into_owned(),
                message: seen.problem.clone()?,
            })
        })
    }
}

/// The pods' names of a place that is there.
fn names(seen: &Seen) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
    let pods = seen.good.iter().flat_map(|content| &content.pods);
    pods.map(|pod| {
        (
            pod.metadata.namespace.as_deref(),
            pod.metadata.name.as_deref(),
        )
    })
}

fn list(path: &Path) -> Result<BTreeSet<PathBuf>, ScanError> {
    if !fs_err::metadata(path).map_err(ScanError::Read)?.is_dir() {
        return Ok(BTreeSet::from([path.to_owned()]));
    }
    let mut places = BTreeSet::new();
    for entry in fs_err::read_dir(path).map_err(ScanError::Read)? {
        let entry = entry.map_err(ScanError::Read)?;
        if is_manifest(&entry.file_name()) {
            places.insert(entry.path());
        }
        if places.len() > MOST_FILES {
            return Err(ScanError::TooMany);
        }
    }
    Ok(places)
}

/// Whether a file of that name is meant: hidden ones, and those that editors and package managers leave, are not.
fn is_manifest(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let left = [
        "~",
        ".swp",
        ".swo",
        ".swx",
        ".tmp",
        ".bak",
        ".orig",
        ".rej",
        ".part",
        ".rpmsave",
        ".rpmnew",
        ".rpmorig",
        ".dpkg-old",
        ".dpkg-new",
        ".dpkg-dist",
        ".dpkg-tmp",
        ".ucf-old",
        ".ucf-new",
        ".ucf-dist",
    ];
    !name.starts_with(['.', '#']) && !left.iter().any(|end| name.ends_with(end))
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Self {
        Stamp {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
    /// Whether a later change is sure to have another stamp.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let newest = self.modified.0.max(self.changed.0);
        u64::try_from(newest).is_ok_and(|newest| newest + CLOCK_STEP.as_secs() < now.as_secs())
    }
}

/// Reads a regular file and nothing else: what a FIFO or a device does when it is opened is never found out.
fn read_regular(place: &Path) -> Result<Vec<u8>, String> {
    let failed = |err: rustix::io::Errno| format!("cannot be opened: {}", io::Error::from(err));
    // A descriptor of the name alone opens nothing.
    let name =
        rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&name).map_err(failed)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err("is not a regular file; put the manifest itself there".to_owned());
    }
    let limit = crate::manifest::LIMIT;
    let too_large = || format!("is larger than {} MiB, which no manifest is", limit >> 20);
    if u64::try_from(stat.st_size).is_ok_and(|size| size > limit) {
        return Err(too_large());
    }
    use std::os::fd::AsRawFd;
    let file = fs_err::File::open(format!("/proc/self/fd/{}", name.as_raw_fd()))
        .map_err(|err| format!("cannot be opened: {}", err.kind()))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|err| format!("cannot be read: {}", crate::error::chain(&err)))?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}
