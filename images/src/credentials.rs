//! Credentials for registries: where they are kept and which of them fits a repository.
//!
//! Asked in this order, first hit wins: what the caller passed, `$REGISTRY_AUTH_FILE`,
//! `$DOCKER_CONFIG/config.json` (or `~/.docker/config.json`), `containers/auth.json` below
//! `$XDG_RUNTIME_DIR` and `~/.config`, and `~/.dockercfg`. Nothing is read before a registry asks
//! for a login, and no secret is ever part of a message.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::credentials::file::AuthFile;

mod file;
mod helper;

pub use file::AuthFileError;

/// What proves to a registry who we are. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user name and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token to exchange for access tokens at the registry's token server.
    IdentityToken(String),
    /// An access token to present as it is.
    AccessToken(String),
}

/// Where to look for credentials.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Asked before any file.
    pub given: Vec<AuthFile>,
    /// Files to ask, in this order; one that does not exist is passed over.
    pub files: Vec<PathBuf>,
}

/// The outcome of a search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) login: Option<Login>,
    /// Where we looked, for the message when the registry refuses us.
    pub(crate) looked: Vec<String>,
}

impl Credentials {
    /// The usual places, with the environment as `var` tells it.
    pub fn usual_places(var: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let var = |name: &str| {
            var(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = var("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let docker = var("DOCKER_CONFIG").map(|dir| dir.join("config.json"));
        let files = [
            var("REGISTRY_AUTH_FILE"),
            docker.or_else(|| below_home(".docker/config.json")),
            var("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            below_home(".config/containers/auth.json"),
            below_home(".dockercfg"),
        ];
        Self {
            given: Vec::new(),
            files: files.into_iter().flatten().collect(),
        }
    }

    /// Adds a login for one registry, to be preferred to what files say.
    pub fn give(&mut self, registry: &str, login: Login) {
        self.given.push(AuthFile::single(registry, login));
    }

    /// Adds the text of a docker `config.json` (a secret of type `kubernetes.io/dockerconfigjson`).
    pub fn give_docker_config(&mut self, text: &[u8]) -> Result<(), AuthFileError> {
        self.given.push(AuthFile::parse(text)?);
        Ok(())
    }

    /// Adds the text of a `.dockercfg` (a secret of type `kubernetes.io/dockercfg`).
    pub fn give_dockercfg(&mut self, text: &[u8]) -> Result<(), AuthFileError> {
        self.given.push(AuthFile::parse_legacy(text)?);
        Ok(())
    }

    /// Looks for a login for `repository` on `registry`.
    pub(crate) async fn find(&self, registry: &str, repository: &str) -> Found {
        let mut found = Found::default();
        for given in &self.given {
            if let Some(login) = given.login(registry, repository) {
                found
                    .looked
                    .push("the credentials given for this pull".to_owned());
                found.login = Some(login);
                return found;
            }
        }
        for path in &self.files {
            if let Some(login) = search_file(path, registry, repository, &mut found.looked).await {
                found.login = Some(login);
                return found;
            }
        }
        found
    }
}

async fn search_file(
    path: &Path,
    registry: &str,
    repository: &str,
    looked: &mut Vec<String>,
) -> Option<Login> {
    let shown = path.display();
    let file = match file::read(path) {
        Ok(Some(file)) => file,
        Ok(None) => {
            looked.push(format!("{shown} (no such file)"));
            return None;
        }
        Err(err) => {
            looked.push(format!("{shown} ({err})"));
            return None;
        }
    };
    if let Some(helper) = file.helper(registry) {
        match helper::ask(helper, file::server_name(registry)).await {
            Ok(Some(login)) => {
                looked.push(format!("{shown} (helper {helper})"));
                return Some(login);
            }
            Ok(None) => looked.push(format!("{shown} (helper {helper}: no entry)")),
            Err(err) => looked.push(format!("{shown} (helper {helper}: {err})")),
        }
    }
    let login = file.login(registry, repository);
    let entry = if login.is_some() { "" } else { " (no entry)" };
    looked.push(format!("{shown}{entry}"));
    login
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => f
                .debug_struct("Basic")
                .field("user", user)
                .finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
            Self::AccessToken(_) => f.write_str("AccessToken(..)"),
        }
    }
}

#[cfg(test)]
mod tests;
