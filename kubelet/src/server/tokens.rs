//! Whose a bearer token is: the file that the configuration names, and one of this host's own for root's tools.
//!
//! A line of the file without groups may do everything.
use super::caller::master;
use crate::paths::Paths;
use rkube_http::Caller;
use rkube_http::tokens::{self, Owner, TokenFile};
use std::io;
use std::path::Path;

/// Who has which token.
#[derive(Debug)]
pub(super) struct Tokens {
    own: String,
    file: Option<TokenFile>,
}

impl Tokens {
    /// Reads the host's own token, made if it is not there yet. The file is read when somebody comes with a token.
    ///
    /// # Errors
    /// Names the file.
    pub(super) fn open(paths: &Paths, file: Option<&Path>) -> io::Result<Self> {
        Ok(Tokens {
            own: tokens::own(&paths.token())?,
            file: file.map(TokenFile::new),
        })
    }

    /// Whose token it is.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        if tokens::same(token, &self.own) {
            return Some(master("rkubelet"));
        }
        let Owner { name, groups, .. } = self.file.as_ref()?.owner(token)?;
        Some(match groups {
            Some(groups) => Caller { name, groups },
            None => master(&name),
        })
    }
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
        assert_eq!(tokens.caller(token.trim()), Some(master("rkubelet")));
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
        assert_eq!(tokens.caller("aaa"), Some(master("admin")));
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
