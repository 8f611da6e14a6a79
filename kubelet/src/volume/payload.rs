//! What is in the volumes that the kubelet writes: configMap, secret, downwardAPI, projected -> files. Pure.
use super::atomic::{Content, Payload};
use crate::admission::{account, token_wish};
use crate::state::{PodRecord, SourceKind};
use crate::translate::{env, resources};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Secret, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The mode of a file that says nothing else.
const MODE: i32 = 0o644;

/// The files of a volume, or `None` if it is of a kind that the kubelet does not write.
///
/// # Errors
/// Says what is missing, or which path cannot be.
pub(super) fn payload(record: &PodRecord, volume: &Volume) -> Option<Result<Payload, String>> {
    let shared = record.pod.spec.as_ref();
    let shared = shared
        .and_then(|spec| spec.security_context.as_ref()?.fs_group)
        .is_some();
    let mut files = Files {
        record,
        payload: Payload::new(),
        mode: MODE,
        shared,
    };
    let done = if let Some(source) = &volume.config_map {
        files.mode = source.default_mode.unwrap_or(MODE);
        let items = source.items.as_deref();
        files.config_map(&source.name, items, source.optional)
    } else if let Some(source) = &volume.secret {
        files.mode = source.default_mode.unwrap_or(MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        files.secret(name, source.items.as_deref(), source.optional)
    } else if let Some(source) = &volume.downward_api {
        files.mode = source.default_mode.unwrap_or(MODE);
        files.downward(source.items.as_deref())
    } else if let Some(source) = &volume.projected {
        files.mode = source.default_mode.unwrap_or(MODE);
        let mut sources = source.sources.iter().flatten();
        sources.try_for_each(|source| files.projection(source))
    } else {
        return None;
    };
    Some(done.and_then(|()| check(files.payload)))
}

/// The files that have been collected, and what holds for those to come.
struct Files<'a> {
    record: &'a PodRecord,
    payload: Payload,
    mode: i32,
    /// Whether a group shares the volume: then it may read what is in it.
    shared: bool,
}

impl Files<'_> {
    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), String> {
        match self.record.config_maps.get(name) {
            Some(map) => self.keys(
                &of_map(map),
                items,
                optional,
                &format!("ConfigMap {name:?}"),
            ),
            None if optional.unwrap_or(false) => Ok(()),
            None => Err(format!(
                "ConfigMap {name:?} is not in the manifest; add it as a further document"
            )),
        }
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), String> {
        match self.record.secrets.get(name) {
            Some(secret) => self.keys(
                &of_secret(secret),
                items,
                optional,
                &format!("Secret {name:?}"),
            ),
            None if optional.unwrap_or(false) => Ok(()),
            None => Err(format!(
                "Secret {name:?} is not in the manifest; add it as a further document"
            )),
        }
    }

    fn keys(
        &mut self,
        files: &BTreeMap<&str, &[u8]>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        from: &str,
    ) -> Result<(), String> {
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return files
                .iter()
                .try_for_each(|(key, bytes)| self.add(key, bytes, None));
        };
        for item in items {
            match files.get(item.key.as_str()) {
                Some(bytes) => self.add(&item.path, bytes, item.mode)?,
                None if optional.unwrap_or(false) => {}
                None => return Err(format!("{from} has no key {:?}", item.key)),
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: Option<&[DownwardAPIVolumeFile]>) -> Result<(), String> {
        for item in items.into_iter().flatten() {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => field_in_file(self.record, &field.field_path)?,
                (None, Some(resource)) => resources::field_of(self.record, None, resource)?,
                (None, None) => {
                    return Err(format!(
                        "item {:?} names neither fieldRef nor resourceFieldRef",
                        item.path
                    ));
                }
            };
            self.add(&item.path, value.as_bytes(), item.mode)?;
        }
        Ok(())
    }

    fn projection(&mut self, source: &VolumeProjection) -> Result<(), String> {
        if let Some(map) = &source.config_map {
            self.config_map(&map.name, map.items.as_deref(), map.optional)
        } else if let Some(secret) = &source.secret {
            self.secret(&secret.name, secret.items.as_deref(), secret.optional)
        } else if let Some(api) = &source.downward_api {
            self.downward(api.items.as_deref())
        } else if let Some(token) = &source.service_account_token {
            self.token(token)
        } else {
            Err("projected sources may be configMap, secret, downwardAPI and serviceAccountToken; nobody here issues certificates, so give them as a Secret".to_owned())
        }
    }

    /// A token that a group shares is for its owner and the group alone, as Kubernetes has it.
    fn token(&mut self, source: &ServiceAccountTokenProjection) -> Result<(), String> {
        let mode = self.shared.then_some(0o600);
        match self.record.tokens.get(&token_wish(source)) {
            Some(token) => self.add(&source.path, token.as_bytes(), mode),
            // From a master's store come pods that were made for nodes which ask its API.
            None if self.record.origin.source == SourceKind::Etcd => Ok(()),
            None => Err(format!(
                "the API server has issued no token of service account {:?} yet",
                account(&self.record.pod)
            )),
        }
    }

    fn add(&mut self, path: &str, bytes: &[u8], mode: Option<i32>) -> Result<(), String> {
        let parts = || Path::new(path).components();
        let plain = parts().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !plain || path.contains('\0') || path.len() >= 4096 {
            return Err(format!("path {path:?} must be relative and without `..`"));
        }
        if path.starts_with("..") {
            return Err(format!(
                "path {path:?} begins with `..`, which the volume keeps for itself"
            ));
        }
        if parts().any(|part| part.as_os_str().len() > 255) {
            return Err(format!("path {path:?} has a part of more than 255 bytes"));
        }
        let mode = u32::try_from(mode.unwrap_or(self.mode)).unwrap_or(0o644) & 0o777;
        let content = Content {
            bytes: bytes.to_owned(),
            mode: if self.shared { mode | 0o440 } else { mode },
        };
        // A later source stands over an earlier one.
        self.payload.insert(parts().collect::<PathBuf>(), content);
        Ok(())
    }
}

/// No file may be another one's directory.
fn check(payload: Payload) -> Result<Payload, String> {
    for path in payload.keys() {
        let above = path.ancestors().skip(1);
        if let Some(file) = above.into_iter().find(|dir| payload.contains_key(*dir)) {
            return Err(format!(
                "{} cannot be a file and the directory of {}",
                file.display(),
                path.display()
            ));
        }
    }
    Ok(payload)
}

fn of_map(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten();
    let text = text.map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten();
    text.chain(binary.map(|(key, value)| (key.as_str(), value.0.as_slice())))
        .collect()
}

fn of_secret(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.as_str(), value.0.as_slice()))
        .collect()
}

/// A field of the pod as the content of a file.
fn field_in_file(record: &PodRecord, path: &str) -> Result<String, String> {
    let meta = &record.pod.metadata;
    match path {
        "metadata.labels" => Ok(lines(meta.labels.as_ref())),
        "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
        _ => env::metadata_field(record, path).unwrap_or_else(|| {
            Err(format!(
                "fieldPath {path} is unknown; known are metadata.name, .namespace, .uid, .labels, .annotations, .labels['k'], .annotations['k']"
            ))
        }),
    }
}

/// `key="value"` a line, sorted by key, without an end of line at the end.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten();
    let lines = lines.map(|(key, value)| format!("{key}={}", quote(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Quotes as Go's `%q` does, which all readers of such files expect.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if printable(c) => quoted.push(c),
            c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a character shows. Of all blanks only the plain one does.
fn printable(c: char) -> bool {
    // Behind another character a combining mark counts as what it is.
    c == ' ' || c == '\'' || !c.is_whitespace() && format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests;
