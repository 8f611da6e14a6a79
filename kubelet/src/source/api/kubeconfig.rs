//! The little of a kubeconfig that a kubelet needs: the current context's server, authority, and how to show who is asking.
use super::Settings;
use crate::source::client::{Inline, TlsFiles};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is not right.
    #[error("{file}: {what}")]
    Wrong {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    current_context: String,
    clusters: Vec<Cluster>,
    contexts: Vec<Context>,
    users: Vec<User>,
}
#[derive(Deserialize)]
struct Cluster {
    name: String,
    cluster: ClusterOf,
}
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterOf {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}
#[derive(Deserialize)]
struct Context {
    name: String,
    context: ContextOf,
}
#[derive(Deserialize)]
struct ContextOf {
    cluster: String,
    #[serde(default)]
    user: String,
}
#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    user: UserOf,
}
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UserOf {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

/// Reads `file`; the servers of the result are the one that it names.
///
/// # Errors
/// Names the file and what is missing in it.
pub fn read(file: &Path) -> Result<Settings, KubeconfigError> {
    let wrong = |what: String| KubeconfigError::Wrong {
        file: file.display().to_string(),
        what,
    };
    let text = fs_err::read_to_string(file)?;
    let all: Kubeconfig = serde_saphyr::from_str(&text).map_err(|err| wrong(err.to_string()))?;
    let missing = |kind: &str, name: &str| wrong(format!("no {kind} named {name:?} in it"));
    let context = &all.current_context;
    let context = all.contexts.iter().find(|one| one.name == *context);
    let context = &context
        .ok_or_else(|| missing("context", &all.current_context))?
        .context;
    let cluster = all.clusters.iter().find(|one| one.name == context.cluster);
    let cluster = &cluster
        .ok_or_else(|| missing("cluster", &context.cluster))?
        .cluster;
    let nobody = UserOf::default();
    let user = match all.users.iter().find(|one| one.name == context.user) {
        Some(user) => &user.user,
        None if context.user.is_empty() => &nobody,
        None => return Err(missing("user", &context.user)),
    };
    // Paths in it are seen from where it lies.
    let dir = file.parent().unwrap_or(Path::new("/"));
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| dir.join(path));
    let data = |text: &Option<String>, name: &str| {
        let decoded = text.as_ref().map(|text| STANDARD.decode(text.trim()));
        decoded
            .transpose()
            .map_err(|err| wrong(format!("{name}: {err}")))
    };
    let token = match (&user.token, path(&user.token_file)) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(fs_err::read_to_string(file)?.trim().to_owned()),
        (None, None) => None,
    };
    Ok(Settings {
        servers: vec![cluster.server.clone()],
        tls: TlsFiles {
            ca: path(&cluster.certificate_authority),
            cert: path(&user.client_certificate),
            key: path(&user.client_key),
            inline: Inline {
                ca: data(
                    &cluster.certificate_authority_data,
                    "certificate-authority-data",
                )?,
                cert: data(&user.client_certificate_data, "client-certificate-data")?,
                key: data(&user.client_key_data, "client-key-data")?,
            },
        },
        token,
        node: String::new(),
    })
}
