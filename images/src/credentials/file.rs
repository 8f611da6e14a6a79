//! Files that hold logins: docker's `config.json`, containers' `auth.json`, the old `.dockercfg`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::Login;

/// No honest file comes near this.
const MAX_FILE: u64 = 4 << 20;
/// The key under which Docker Hub's login is kept, whatever its host is called.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The logins of one file, by registry.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// Why a file of logins cannot be used. Never quotes the file: it holds secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFileError {
    /// The file cannot be read.
    #[error("cannot be read: {kind}")]
    Read {
        /// What went wrong.
        kind: io::ErrorKind,
    },
    /// The file is larger than any file of logins.
    #[error("is too large")]
    TooLarge,
    /// The file is not the JSON it should be.
    #[error("is not a docker config file: error in line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl AuthFile {
    /// One login for one registry.
    pub(super) fn single(registry: &str, login: Login) -> Self {
        let mut entry = Entry::default();
        match login {
            Login::Basic { user, password } => {
                entry.username = Some(user);
                entry.password = Some(password);
            }
            Login::IdentityToken(token) => entry.identitytoken = Some(token),
            Login::AccessToken(token) => entry.registrytoken = Some(token),
        }
        Self {
            auths: BTreeMap::from([(registry.to_owned(), entry)]),
            ..Self::default()
        }
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, AuthFileError> {
        serde_json::from_slice(text).map_err(|err| malformed(&err))
    }

    /// `.dockercfg` is the `auths` object by itself.
    pub(super) fn parse_legacy(text: &[u8]) -> Result<Self, AuthFileError> {
        let auths = serde_json::from_slice(text).map_err(|err| malformed(&err))?;
        Ok(Self {
            auths,
            ..Self::default()
        })
    }

    /// The login for `repository` on `registry`: the key with the longest matching path wins.
    pub(super) fn login(&self, registry: &str, repository: &str) -> Option<Login> {
        let mut path = format!("{registry}/{repository}");
        loop {
            let hit = self.auths.iter().find(|(key, _)| normal_key(key) == path);
            if let Some(login) = hit.and_then(|(_, entry)| entry.login()) {
                return Some(login);
            }
            path.truncate(path.rfind('/')?);
        }
    }

    /// The helper program that keeps the logins of `registry`.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let own = self
            .cred_helpers
            .iter()
            .find(|(key, _)| normal_key(key) == registry);
        let name = own.map(|(_, name)| name).or(self.creds_store.as_ref())?;
        Some(name.as_str()).filter(|name| !name.is_empty())
    }
}

impl Entry {
    fn login(&self) -> Option<Login> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(token) = set(&self.identitytoken) {
            return Some(Login::IdentityToken(token));
        }
        if let Some(token) = set(&self.registrytoken) {
            return Some(Login::AccessToken(token));
        }
        if let Some(auth) = set(&self.auth) {
            let auth = auth.trim();
            let bytes = STANDARD
                .decode(auth)
                .or_else(|_| STANDARD_NO_PAD.decode(auth))
                .ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (user, password) = text.split_once(':')?;
            let password = password.trim_end_matches('\0');
            return Some(Login::Basic {
                user: user.to_owned(),
                password: password.to_owned(),
            });
        }
        let (user, password) = (set(&self.username)?, set(&self.password)?);
        Some(Login::Basic { user, password })
    }
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFile")
            .field("registries", &self.auths.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Reads `path`; `None` when there is no such file. The old format goes by the file's name.
pub(super) fn read(path: &Path) -> Result<Option<AuthFile>, AuthFileError> {
    let failed = |err: io::Error| AuthFileError::Read { kind: err.kind() };
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(err) => return Err(failed(err)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(AuthFileError::TooLarge);
    }
    let legacy = path.file_name().is_some_and(|name| name == ".dockercfg");
    let file = if legacy {
        AuthFile::parse_legacy(&text)
    } else {
        AuthFile::parse(&text)
    };
    file.map(Some)
}

/// The name under which helpers keep the login of `registry`.
pub(super) fn server_name(registry: &str) -> &str {
    if registry == crate::reference::DEFAULT_REGISTRY {
        HUB_KEY
    } else {
        registry
    }
}

/// `host[/path]` of a key: without scheme, and without the API version docker used to append.
fn normal_key(key: &str) -> String {
    let key = key
        .split_once("://")
        .map_or(key, |(_, rest)| rest)
        .trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key);
    let (host, path) = key.find('/').map_or((key, ""), |at| key.split_at(at));
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => format!("docker.io{path}"),
        _ => format!("{host}{path}"),
    }
}

fn malformed(err: &serde_json::Error) -> AuthFileError {
    AuthFileError::Malformed {
        line: err.line(),
        column: err.column(),
    }
}
