//! `rkubelet serve --check`: the settings, and every file that they name, looked at as the daemon would.
//!
//! Nothing is changed and nothing is asked of the network; a daemon may run meanwhile.
use super::{Flags, KubeletConfig, load};
use crate::error::chain;
use crate::server;
use crate::source::{Problem, file, naming};
use rkube_images::RegistryConfig;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong, in the order in which it is read.
    pub mistakes: Vec<String>,
    /// What has no effect, or could be better.
    pub warnings: Vec<String>,
    /// What was found to be right: a line for people.
    pub summary: String,
}

/// Looks at everything. `node` is what this node is called where the settings do not say it; `registries` is the file of
/// registries, if another one than usual.
#[must_use]
pub fn check(
    config_file: Option<&Path>,
    flags: &Flags,
    node: &str,
    registries: Option<&Path>,
) -> Report {
    let mut report = Report::default();
    match load(config_file, flags) {
        Err(err) => report.mistakes.extend(err.remarks()),
        Ok(loaded) => {
            let remarks = loaded.warnings.iter().map(ToString::to_string);
            report.warnings.extend(remarks);
            let shown = loaded.file.as_deref().map(Path::display);
            let shown =
                shown.map_or_else(|| "no file of settings".to_owned(), |file| file.to_string());
            report.summary = format!("{shown}; {}", report.files(&loaded.config, node));
        }
    }
    let registries = match registries {
        Some(path) => RegistryConfig::load(path),
        None => RegistryConfig::load_default(),
    };
    if let Err(err) = registries {
        report.mistakes.push(chain(&err));
    }
    report
}

impl Report {
    /// The files that the settings name; what was found, for people.
    fn files(&mut self, config: &KubeletConfig, node: &str) -> String {
        if config.enable_server {
            self.mistakes.extend(server::check(config));
        }
        self.readable(config);
        self.secrets(config);
        let node = config.rkube.node_name.as_deref().unwrap_or(node);
        match &config.static_pod_path {
            Some(path) => self.manifests(path, config, node),
            None => "no directory of manifests".to_owned(),
        }
    }

    /// Files that others read when it comes to it.
    fn readable(&mut self, config: &KubeletConfig) {
        let rkube = &config.rkube;
        for (setting, path) in [
            ("rkube.etcdCAFile", &rkube.etcd_ca_file),
            ("rkube.etcdCertFile", &rkube.etcd_cert_file),
            ("rkube.etcdKeyFile", &rkube.etcd_key_file),
            ("rkube.kubeconfig", &rkube.kubeconfig),
            ("rkube.staticPodURLCAFile", &rkube.static_pod_url_ca_file),
            (
                "rkube.staticPodURLCertFile",
                &rkube.static_pod_url_cert_file,
            ),
            ("rkube.staticPodURLKeyFile", &rkube.static_pod_url_key_file),
        ] {
            let Some(path) = path else { continue };
            match first_bytes(path) {
                Ok(bytes) if setting != "rkube.kubeconfig" && !is_pem(&bytes) => {
                    self.mistakes
                        .push(format!("{setting}: {} is not PEM", path.display()));
                }
                Ok(_) => {}
                Err(err) => self.mistakes.push(format!("{setting}: {err}")),
            }
        }
    }

    /// What only root should read.
    fn secrets(&mut self, config: &KubeletConfig) {
        let rkube = &config.rkube;
        for path in [
            &config.tls_private_key_file,
            &rkube.token_file,
            &rkube.etcd_key_file,
            &rkube.kubeconfig,
            &rkube.static_pod_url_key_file,
        ]
        .into_iter()
        .flatten()
        {
            let mode = fs_err::metadata(path).map_or(0, |meta| meta.permissions().mode());
            if mode & 0o077 != 0 {
                self.warnings.push(format!(
                    "{} can be read by others than root; chmod 600 it",
                    path.display()
                ));
            }
        }
    }

    /// The manifests, read as the daemon reads them.
    fn manifests(&mut self, path: &Path, config: &KubeletConfig, node: &str) -> String {
        let set = match file::read_once(path, &naming(node, config.rkube.asks_api_servers())) {
            Ok(set) => set,
            Err(err) => {
                self.mistakes.push(format!("staticPodPath: {err}"));
                return format!("{} cannot be read", path.display());
            }
        };
        let line = |problem: &Problem| format!("{}: {}", problem.place, problem.message);
        self.mistakes.extend(set.problems.iter().map(line));
        format!("{} in {}", counted(set.pods.len()), path.display())
    }
}

fn counted(pods: usize) -> String {
    match pods {
        1 => "1 pod".to_owned(),
        many => format!("{many} pods"),
    }
}

fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = fs_err::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other(format!(
            "{} is not a file",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}
