//! Files of bearer tokens, and a token of a server's own.
//!
//! ```text
//! # token,name[,uid[,"group,group"]]      as API servers read it
//! 31ada4fd-adec-460c-809a-9e56ceb75269,prometheus,1,"system:monitoring"
//! ```
use crate::Stamp;
use crate::file::{create_private, write};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The largest file that is read.
const LIMIT: u64 = 1 << 20;

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The name.
    pub name: String,
    /// Tells users of one name apart; empty where the line has none.
    pub uid: String,
    /// The groups; none where the line says nothing of groups.
    pub groups: Option<Vec<String>>,
}

/// A file of tokens, read again when it has changed.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What stands in the file, and which state of it that is.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    tokens: Known,
}

impl TokenFile {
    /// It is read when somebody comes with a token.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        TokenFile {
            path: path.to_owned(),
            read: Mutex::default(),
        }
    }

    /// Whose token it is.
    #[must_use]
    pub fn owner(&self, token: &str) -> Option<Owner> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::of(&self.path);
        if read.stamp != now {
            match load(&self.path) {
                Ok(tokens) => read.tokens = tokens,
                // What was good before stays so until the file is mended; it is said once.
                Err(err) => tracing::error!(err = crate::chain(&err), "cannot read tokens"),
            }
            read.stamp = now;
        }
        let mut found = None;
        for (known, owner) in &read.tokens {
            if same(token, known) {
                found = Some(owner.clone());
            }
        }
        found
    }
}

/// A server's own token at `path`, made if it is not there.
///
/// # Errors
/// Names the file.
pub fn own(path: &Path) -> io::Result<String> {
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
    write(path, &format!("{token}\n"), 0o600)?;
    Ok(token)
}

/// Tokens and whose they are.
type Known = Vec<(String, Owner)>;

/// What is wrong with a file of tokens, each a line.
#[must_use]
pub fn check(path: &Path) -> Vec<String> {
    match read(path) {
        Ok((_, wrong)) => wrong,
        Err(err) => vec![crate::chain(&err)],
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

fn entry(line: &str) -> Option<(String, Owner)> {
    let (token, rest) = line.split_once(',')?;
    let (name, rest) = rest.split_once(',').unwrap_or((rest, ""));
    let (token, name) = (token.trim(), name.trim());
    if token.is_empty() || name.is_empty() {
        return None;
    }
    let (uid, groups) = match rest.split_once(',') {
        Some((uid, groups)) => (uid, Some(groups)),
        None => (rest, None),
    };
    let groups = groups.map(|groups| {
        let groups = groups.trim().trim_matches('"').split(',').map(str::trim);
        let groups = groups.filter(|group| !group.is_empty());
        groups.map(str::to_owned).collect()
    });
    let owner = Owner {
        name: name.to_owned(),
        uid: uid.trim().to_owned(),
        groups,
    };
    Some((token.to_owned(), owner))
}

/// In a time that depends on the lengths alone.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    let differ = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |differ, (one, other)| differ | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token_and_whose_it_is() {
        for (line, expected) in [
            ("a,b", Some(("b", "", None))),
            ("a, b ,7", Some(("b", "7", None))),
            ("a,b,7,\"x, y\"", Some(("b", "7", Some(vec!["x", "y"])))),
            ("a,b,,\"\"", Some(("b", "", Some(vec![])))),
            ("a,", None),
            (",b", None),
            ("a", None),
        ] {
            let expected = expected.map(|(name, uid, groups): (&str, &str, Option<Vec<&str>>)| {
                let groups = groups.map(|all| all.iter().map(|&one| one.to_owned()).collect());
                let (name, uid) = (name.to_owned(), uid.to_owned());
                ("a".to_owned(), Owner { name, uid, groups })
            });
            assert_eq!(entry(line), expected, "{line}");
        }
    }
}
