//! `spec`: a config to start from.
use std::io;
use std::path::PathBuf;

use clap::Args;
use fs_err::os::unix::fs::OpenOptionsExt;
use serde_json::{Value, json};

use super::cli::Failure;

/// A shell with a terminal, in namespaces of its own, with few privileges.
const TEMPLATE: &str = include_str!("spec.json");

/// Write a config.json to start from.
#[derive(Debug, Args)]
pub(super) struct WriteSpec {
    /// Directory to write it to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a user who is not root: in a user namespace, with the host's network
    #[arg(long)]
    rootless: bool,
}

/// Why there is no new config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SpecError {
    /// There is one already.
    #[error("{} exists already; remove it first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the config")]
    Write {
        /// With the path.
        source: io::Error,
    },
    /// A bug in the template.
    #[error("cannot build the config")]
    Build {
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl WriteSpec {
    /// Writes the file; an existing one is never touched.
    pub(super) fn run(self) -> Result<u8, Failure> {
        self.write()?;
        Ok(0)
    }

    fn write(&self) -> Result<(), SpecError> {
        use std::io::Write;
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let rootless = self.rootless.then_some((uid, gid));
        let text = config(rootless).map_err(|source| SpecError::Build { source })?;
        let path = self.bundle.join("config.json");
        let mut options = fs_err::OpenOptions::new();
        let mut file = match options.write(true).create_new(true).mode(0o666).open(&path) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SpecError::Exists { path });
            }
            Err(source) => return Err(SpecError::Write { source }),
        };
        file.write_all(text.as_bytes())
            .map_err(|source| SpecError::Write { source })
    }
}

/// The config; with the ids of a user, one that this user can run.
fn config(rootless: Option<(u32, u32)>) -> Result<String, serde_json::Error> {
    let Some((uid, gid)) = rootless else {
        return Ok(TEMPLATE.to_owned());
    };
    let mut config = serde_json::from_str(TEMPLATE)?;
    make_rootless(&mut config, uid, gid);
    Ok(serde_json::to_string_pretty(&config)? + "\n")
}

/// Without root there are no more gids, no network interface to make, no sysfs of one's own
/// without that, and no cgroup to write to.
fn make_rootless(config: &mut Value, uid: u32, gid: u32) {
    let map = |host: u32| json!([{ "hostID": host, "containerID": 0, "size": 1 }]);
    config["linux"]["uidMappings"] = map(uid);
    config["linux"]["gidMappings"] = map(gid);
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|one| one["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| !option.as_str().is_some_and(|text| text.starts_with("gid=")));
        }
        if mount["type"] == "sysfs" {
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys", "options": options,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn the_template_is_a_config_of_our_version() {
        let spec: Spec = serde_json::from_str(&config(None).unwrap()).unwrap();
        assert_eq!(spec.version(), super::super::bundle::OCI_VERSION);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 6);
        assert!(!linux.masked_paths().as_ref().unwrap().is_empty());
    }

    #[test]
    fn a_rootless_config_maps_the_user_and_keeps_off_the_network() {
        let text: Value = serde_json::from_str(&config(Some((1000, 100))).unwrap()).unwrap();
        serde_json::from_value::<Spec>(text.clone()).unwrap();
        let map = |host| json!([{ "hostID": host, "containerID": 0, "size": 1 }]);
        assert_eq!(text["linux"]["uidMappings"], map(1000));
        assert_eq!(text["linux"]["gidMappings"], map(100));
        let namespaces = text["linux"]["namespaces"].to_string();
        assert!(namespaces.contains("user") && !namespaces.contains("network"));
        assert!(!text["mounts"].to_string().contains("gid="));
        assert!(text["mounts"].to_string().contains("rbind"));
        assert!(text["linux"].get("resources").is_none());
    }

    #[test]
    fn an_existing_config_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let write = || {
            WriteSpec {
                bundle: dir.path().to_owned(),
                rootless: false,
            }
            .write()
        };
        write().unwrap();
        assert!(matches!(write(), Err(SpecError::Exists { .. })));
    }
}
