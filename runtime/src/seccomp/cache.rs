//! Compiled programs by content.
//!
//! The name of a program is the hash of the profile it was made from, so that an entry never goes
//! stale: a changed profile, another machine or another compiler simply has another name.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::runtime::LinuxSeccomp;
use sha2::{Digest, Sha256};

use super::{Listener, Machine, Program, SeccompError, compile_for};

/// Raised with every change of what is made from a profile, the default one included.
const COMPILER: u32 = 1;
/// Programs kept in memory. A node has a handful of profiles; this only bounds an odd one.
const KEPT: usize = 64;
/// SHA-256, in bytes.
const HASH: usize = 32;

type Key = [u8; HASH];

/// Programs in memory, and in a directory when there is one.
#[derive(Debug, Default)]
pub struct Cache {
    dir: Option<PathBuf>,
    programs: Mutex<HashMap<Key, Arc<Program>>>,
}

/// A file: the hash of all that follows, the length of the header, the header, the filter.
#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    flags: u32,
    listener: Option<Listener>,
    unknown: Vec<String>,
}

impl Cache {
    /// An empty cache; `dir` exists, and only this program's user may write to it.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            programs: Mutex::default(),
        }
    }

    /// The program for `profile`: from memory, from the directory, or compiled.
    ///
    /// The directory is a convenience: what cannot be read or written there, or is damaged, is made
    /// anew.
    pub fn compile(&self, profile: &LinuxSeccomp) -> Result<Arc<Program>, SeccompError> {
        let machine = Machine::native();
        let key = key(profile, machine);
        if let Some(program) = self.lock().get(&key) {
            return Ok(Arc::clone(program));
        }
        let file = self
            .dir
            .as_ref()
            .map(|dir| dir.join(format!("{}.bpf", hex(&key))));
        let stored = file.as_deref().and_then(|file| fs::read(file).ok());
        let program = match stored.and_then(|bytes| decode(&bytes)) {
            Some(program) => program,
            None => {
                let program = compile_for(profile, machine)?;
                if let Some(file) = &file {
                    // Best effort: see above.
                    let _ = store(file, &encode(&program));
                }
                program
            }
        };
        let program = Arc::new(program);
        let mut programs = self.lock();
        if programs.len() >= KEPT {
            programs.clear();
        }
        programs.insert(key, Arc::clone(&program));
        Ok(program)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Program>>> {
        // Whole entries only are ever put in, so a panic elsewhere does no harm to the map.
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(profile: &LinuxSeccomp, machine: Machine) -> Key {
    let mut hash = Sha256::new();
    hash.update(COMPILER.to_le_bytes());
    hash.update(format!("{machine:?}\n"));
    // The fields of the object in their order: equal profiles give equal text.
    hash.update(serde_json::to_vec(profile).unwrap_or_default());
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(program: &Program) -> Vec<u8> {
    let header = Header {
        flags: program.flags,
        listener: program.listener.clone(),
        unknown: program.unknown.clone(),
    };
    let header = serde_json::to_vec(&header).unwrap_or_default();
    let length = u32::try_from(header.len()).unwrap_or(0).to_le_bytes();
    let body = [&length[..], &header, &program.filter].concat();
    [&Sha256::digest(&body)[..], &body].concat()
}

/// `None` for anything that [`encode`] did not make.
fn decode(bytes: &[u8]) -> Option<Program> {
    let (hash, body) = bytes.split_first_chunk::<HASH>()?;
    if Sha256::digest(body)[..] != hash[..] {
        return None;
    }
    let (length, rest) = body.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (header, filter) = rest.split_at_checked(length)?;
    let Header {
        flags,
        listener,
        unknown,
    } = serde_json::from_slice(header).ok()?;
    let whole = !filter.is_empty() && filter.len() % 8 == 0;
    whole.then(|| Program {
        filter: filter.to_vec(),
        flags,
        listener,
        unknown,
    })
}

/// Under another name first: a reader, or a crash, never sees half a file.
fn store(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let private = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::File::create(&private)
        .and_then(|mut open| open.write_all(bytes))
        .and_then(|()| fs::rename(&private, file));
    if written.is_err() {
        let _ = fs::remove_file(&private);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(errno: u32) -> LinuxSeccomp {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
                {{"names":["mkdir","a_call_of_2040"],"action":"SCMP_ACT_ERRNO","errnoRet":{errno}}}]}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn one_entry_per_content() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_owned()));
        let one = cache.compile(&profile(1)).unwrap();
        assert!(Arc::ptr_eq(&one, &cache.compile(&profile(1)).unwrap()));
        assert_ne!(one, cache.compile(&profile(2)).unwrap());
        assert_eq!(files(dir.path()).len(), 2);
        assert_eq!(one.unknown, ["a_call_of_2040"]);
    }

    #[test]
    fn a_stored_program_is_used_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let made = Cache::new(Some(dir.path().to_owned()))
            .compile(&profile(1))
            .unwrap();
        let file = files(dir.path()).remove(0);
        // A recognizable one, to see that it is not compiled again.
        let mut other = Program::clone(&made);
        other.unknown.push("from the file".to_owned());
        fs::write(&file, encode(&other)).unwrap();
        let got = Cache::new(Some(dir.path().to_owned()))
            .compile(&profile(1))
            .unwrap();
        assert_eq!(*got, other);
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = || Cache::new(Some(dir.path().to_owned()));
        let made = cache().compile(&profile(1)).unwrap();
        let file = files(dir.path()).remove(0);
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
        fs::write(&file, &good[..good.len() - 8]).unwrap();
        assert_eq!(cache().compile(&profile(1)).unwrap(), made);
        assert_eq!(fs::read(&file).unwrap(), good);
    }

    #[test]
    fn without_a_usable_directory_it_still_compiles() {
        let cache = Cache::new(Some("/nonexistent/rkube".into()));
        assert!(!cache.compile(&profile(1)).unwrap().is_empty());
        assert!(!Cache::default().compile(&profile(1)).unwrap().is_empty());
    }
}
