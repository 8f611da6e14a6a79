//! A root file system as an image of one layer, with a config made from settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::ingest::layer_type;
use super::{Import, ImportError, pack, spool};
use crate::digest::{Algorithm, Digest};
use crate::store::{Image, LayerRef};
use crate::unpack::{Compression, decoder};

/// What the image should say about running it; a tar or directory says nothing itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportConfig {
    /// Default arguments, or the command when there is no entrypoint.
    pub cmd: Vec<String>,
    /// The command.
    pub entrypoint: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub workdir: Option<String>,
    /// Ports: `80`, `53/udp`.
    pub expose: Vec<String>,
    /// `user`, `user:group`, by name or number.
    pub user: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15`.
    pub stop_signal: Option<String>,
    /// Directories that are volumes, absolute.
    pub volumes: Vec<String>,
    /// When the image was made, as RFC 3339. Left out, the same content gives the same image ID.
    pub created: Option<String>,
}

impl ImportConfig {
    /// The `config` object of an image config.
    fn to_json(&self) -> Result<Value, ImportError> {
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| {
            config.insert(key.to_owned(), value);
        };
        if let Some(user) = &self.user {
            set("User", json!(user));
        }
        if !self.expose.is_empty() {
            let ports: Result<Map<_, _>, ImportError> = self
                .expose
                .iter()
                .map(|port| Ok((port_spec(port)?, json!({}))))
                .collect();
            set("ExposedPorts", Value::Object(ports?));
        }
        check_env(&self.env)?;
        for (key, list) in [
            ("Env", &self.env),
            ("Entrypoint", &self.entrypoint),
            ("Cmd", &self.cmd),
        ] {
            if !list.is_empty() {
                set(key, json!(list));
            }
        }
        if !self.volumes.is_empty() {
            let volumes: Result<Map<_, _>, ImportError> = self
                .volumes
                .iter()
                .map(|dir| Ok((absolute("--volume", dir)?, json!({}))))
                .collect();
            set("Volumes", Value::Object(volumes?));
        }
        if let Some(dir) = &self.workdir {
            set("WorkingDir", json!(absolute("--workdir", dir)?));
        }
        if !self.labels.is_empty() {
            set("Labels", json!(self.labels));
        }
        if let Some(signal) = &self.stop_signal {
            set("StopSignal", json!(signal));
        }
        Ok(Value::Object(config))
    }
}

fn check_env(env: &[String]) -> Result<(), ImportError> {
    let bad = env
        .iter()
        .find(|text| text.find('=').is_none_or(|at| at == 0) || text.contains('\0'));
    match bad {
        Some(text) => Err(option("--env", text, "write NAME=value")),
        None => Ok(()),
    }
}

fn option(option: &'static str, value: &str, problem: &'static str) -> ImportError {
    ImportError::Option {
        option,
        value: value.to_owned(),
        problem,
    }
}

fn absolute(name: &'static str, dir: &str) -> Result<String, ImportError> {
    let bad =
        !dir.starts_with('/') || dir.contains('\0') || dir.split('/').any(|part| part == "..");
    if bad {
        Err(option(name, dir, "give an absolute path without .."))
    } else {
        Ok(dir.into())
    }
}

fn port_spec(text: &str) -> Result<String, ImportError> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let ok = port.parse::<u16>().is_ok_and(|port| port > 0)
        && ["tcp", "udp", "sctp"].contains(&protocol);
    if ok {
        Ok(format!("{port}/{protocol}"))
    } else {
        Err(option(
            "--expose",
            text,
            "write PORT or PORT/tcp, PORT/udp, PORT/sctp",
        ))
    }
}

impl Import<'_> {
    /// A tar of a root file system. `ours` says that `file` is nameless and in the store.
    pub(super) fn rootfs_tar(
        &self,
        file: &File,
        compression: Compression,
        ours: bool,
    ) -> Result<Image, ImportError> {
        let size = file.metadata().map_err(ImportError::read)?.len();
        let at = || spool::At::new(file, 0, size);
        let (digest, _) = Digest::of_reader(Algorithm::Sha256, at()).map_err(ImportError::read)?;
        let diff_id = match compression {
            Compression::None => digest.clone(),
            Compression::Gzip | Compression::Zstd => {
                let inflated = decoder(at(), compression).map_err(ImportError::read)?;
                Digest::of_reader(Algorithm::Sha256, inflated)
                    .map_err(ImportError::read)?
                    .0
            }
        };
        if ours {
            self.adopt(file, &digest)?;
        } else {
            self.blob(&digest, size, &mut at())?;
        }
        let media_type = layer_type(compression).to_owned();
        self.single_layer(LayerRef {
            digest,
            size,
            media_type,
            diff_id,
        })
    }

    /// A directory: packed into a tar first, in an order that is always the same.
    pub(super) fn directory(&self, dir: &Path) -> Result<Image, ImportError> {
        let file = spool::nameless(self.store)?;
        let (digest, size) = pack::pack(dir, &file)?;
        self.adopt(&file, &digest)?;
        let media_type = layer_type(Compression::None).to_owned();
        self.single_layer(LayerRef {
            diff_id: digest.clone(),
            digest,
            size,
            media_type,
        })
    }

    fn single_layer(&self, layer: LayerRef) -> Result<Image, ImportError> {
        let name = self.name(None)?;
        let settings = self.options.config.to_json()?;
        let platform = self.options.platform.normalized();
        self.unpack(&layer)?;
        let mut config = Map::new();
        if let Some(created) = &self.options.config.created {
            config.insert("created".to_owned(), json!(created));
        }
        config.insert("architecture".to_owned(), json!(platform.architecture));
        if let Some(variant) = &platform.variant {
            config.insert("variant".to_owned(), json!(variant));
        }
        config.insert("os".to_owned(), json!(platform.os));
        config.insert("config".to_owned(), settings);
        let rootfs = json!({ "type": "layers", "diff_ids": [layer.diff_id] });
        config.insert("rootfs".to_owned(), rootfs);
        let history = json!([{ "created_by": "rkubelet images import" }]);
        config.insert("history".to_owned(), history);
        let config = Value::Object(config).to_string().into_bytes();
        self.record_with_new_manifest(name, config, vec![layer])
    }
}
