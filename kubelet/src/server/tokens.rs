//! Bearer tokens: the file that the configuration names, and one of this host's own for root's tools.
//!
//! ```text
//! # token,name[,uid[,"group,group"]]      as API servers read it
//! 31ada4fd-adec-460c-809a-9e56ceb75269,prometheus,1,"system:monitoring"
//! ```
//! A line without groups may do everything.
use super::caller::Caller;
use super::stamp::Stamp;
use crate::paths::{Paths, create_private};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The largest file that is read.
const LIMIT: u64 = 1 << 20;

/// Who has which token.
#[derive(Debug)]
pub(super) struct Tokens {
    own: String,
    file: Option<PathBuf>,
    read: Mutex<Read>,
}

/// What stands in the file, and which state of it that is.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    tokens: Vec<(String, Caller)>,
}

impl Tokens {
    /// Reads the host's own token, made if it is not there yet. The file is read when somebody comes with a token.
    ///
    /// # Errors
    /// Names the file.
    pub(super) fn open(paths: &Paths, file: Option<&Path>) -> io::Result<Self> {
        Ok(Tokens {
            own: own(&paths.token())?,
            file: file.map(Path::to_owned),
            read: Mutex::default(),
        })
    }

    /// Whose token it is.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        if same(token, &self.own) {
            return Some(Caller::master("rkubelet"));
        }
        let file = self.file.as_ref()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::of(file);
        if read.stamp != now {
            match load(file) {
                Ok(tokens) => read.tokens = tokens,
                // What was good before stays so until the file is mended; it is said once.
                Err(err) => tracing::error!(err = crate::error::chain(&err), "cannot read tokens"),
            }
            read.stamp = now;
        }
        let mut found = None;
        for (known, caller) in &read.tokens {
            if same(token, known) {
                found = Some(caller.clone());
            }
        }
        found
    }
}

/// The token at `path`, or a new one.
fn own(path: &Path) -> io::Result<String> {
    match fs_err::read_to_string(path) {
        Ok(token) if token.trim().len() >= 32 => return Ok(token.trim().to_owned()),
        Ok(_) => fs_err::remove_file(path)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    if let Some(dir) = path.parent() {
        create_private(dir)?;
    }
    let token = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()]
        .map(|uuid| uuid.simple().to_string())
        .concat();
    let aside = path.with_extension(format!("tmp{}", std::process::id()));
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.options_mut().mode(0o600);
    let mut file = options.open(&aside)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs_err::rename(&aside, path)?;
    Ok(token)
}

/// Tokens and whose they are.
type Known = Vec<(String, Caller)>;

/// What is wrong with a file of tokens, each a line.
pub(super) fn check(path: &Path) -> Vec<String> {
    match read(path) {
        Ok((_, wrong)) => wrong,
        Err(err) => vec![crate::error::chain(&err)],
    }
}

fn load(path: &Path) -> io::Result<Known> {
    let (tokens, wrong) = read(path)?;
    for what in wrong {
        tracing::error!("{what}");
    }
    Ok(tokens)
}

/// The tokens, and what is wrong with other lines.
fn read(path: &Path) -> io::Result<(Known, Vec<String>)> {
    let size = fs_err::metadata(path)?.len();
    if size > LIMIT {
        let message = format!("{}: {size} bytes are too many for tokens", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let text = fs_err::read_to_string(path)?;
    let (mut tokens, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(line) {
            Some(token) => tokens.push(token),
            // Never the line itself: it may hold a secret.
            None => wrong.push(format!(
                "{}: line {}: not token,name[,uid[,\"groups\"]]",
                path.display(),
                number + 1
            )),
        }
    }
    Ok((tokens, wrong))
}

fn entry(line: &str) -> Option<(String, Caller)> {
    let (token, rest) = line.split_once(',')?;
    let (name, rest) = rest.split_once(',').unwrap_or((rest, ""));
    let (token, name) = (token.trim(), name.trim());
    if token.is_empty() || name.is_empty() {
        return None;
    }
    let mut caller = Caller::master(name);
    if let Some((_, groups)) = rest.split_once(',') {
        let groups = groups.trim().trim_matches('"');
        let groups = groups.split(',').map(str::trim);
        caller.groups = groups
            .filter(|group| !group.is_empty())
            .map(str::to_owned)
            .collect();
    }
    Some((token.to_owned(), caller))
}

/// In a time that depends on the lengths alone.
fn same(one: &str, other: &str) -> bool {
    let differ = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn paths(dir: &Path) -> Paths {
        Paths {
            root: dir.join("root"),
            run: dir.join("run"),
            logs: dir.join("logs"),
        }
    }

    #[test]
    fn the_hosts_own_token_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let tokens = Tokens::open(&paths, None).unwrap();
        let token = std::fs::read_to_string(paths.token()).unwrap();
        let mode = std::fs::metadata(paths.token()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(token.trim().len(), 64);
        assert_eq!(
            tokens.caller(token.trim()),
            Some(Caller::master("rkubelet"))
        );
        for wrong in ["", "x", &token.trim()[1..], &format!("{}0", token.trim())] {
            assert_eq!(tokens.caller(wrong), None, "{wrong}");
        }
        let again = Tokens::open(&paths, None).unwrap();
        assert!(again.caller(token.trim()).is_some());
        // An empty one, of a full disk perhaps, is no token.
        std::fs::write(paths.token(), "\n").unwrap();
        assert_eq!(Tokens::open(&paths, None).unwrap().caller(""), None);
    }

    #[test]
    fn a_file_of_tokens_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let tokens = Tokens::open(&paths(dir.path()), Some(&file)).unwrap();
        assert_eq!(tokens.caller("aaa"), None);
        std::fs::write(
            &file,
            "# comment\n\naaa,admin\nbbb,prom,7,\"system:monitoring, other\"\nnoname,\n,x\nbroken\n",
        )
        .unwrap();
        assert_eq!(tokens.caller("aaa"), Some(Caller::master("admin")));
        let prom = tokens.caller("bbb").unwrap();
        assert_eq!(
            (prom.name.as_str(), prom.groups),
            (
                "prom",
                vec!["system:monitoring".to_owned(), "other".to_owned()]
            )
        );
        for wrong in ["", "broken", "noname", "x"] {
            assert_eq!(tokens.caller(wrong), None, "{wrong}");
        }
        std::fs::write(&file, "ccc,admin,,\"\"\n").unwrap();
        assert_eq!(tokens.caller("aaa"), None);
        assert_eq!(tokens.caller("ccc").unwrap().groups, Vec::<String>::new());
        // One that cannot be read any more changes nothing.
        std::fs::write(&file, b"\xff\xfe,a\n").unwrap();
        assert!(tokens.caller("ccc").is_some());
    }
}
