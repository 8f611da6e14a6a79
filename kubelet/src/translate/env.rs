//! The environment of a container, in the order Kubernetes builds it: image, services, `envFrom`, `env`. `HOME` is the user's unless
//! one of them says otherwise.
use super::{ContainerContext, TranslateError};
use crate::state::PodRecord;
use crate::translate::resources;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource};
use std::collections::BTreeMap;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names with values, each name once, in the order of their first appearance.
///
/// # Errors
/// When a value comes from something that is not there and not optional.
pub fn environment(
    ctx: &ContainerContext<'_>,
    home: &str,
) -> Result<Vec<(String, String)>, TranslateError> {
    let mut env = Vec::new();
    set(&mut env, "PATH", DEFAULT_PATH);
    set(&mut env, "HOSTNAME", ctx.pod.hostname);
    if ctx.container.tty.unwrap_or(false) {
        set(&mut env, "TERM", "xterm");
    }
    for word in ctx
        .image
        .config()
        .as_ref()
        .and_then(|config| config.env().as_ref())
        .into_iter()
        .flatten()
    {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        set(&mut env, name, value);
    }
    for (name, value) in super::services::variables(ctx.pod.record) {
        set(&mut env, &name, &value);
    }
    for source in ctx.container.env_from.iter().flatten() {
        for (name, value) in from_source(ctx, source)? {
            set(&mut env, &name, &value);
        }
    }
    for variable in ctx.container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => from_value(ctx, variable, source)?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &env)),
        };
        if let Some(value) = value {
            set(&mut env, &variable.name, &value);
        }
    }
    if !env.iter().any(|(name, _)| name == "HOME") {
        set(&mut env, "HOME", home);
    }
    Ok(env)
}

/// Replaces `$(NAME)` by the value of an earlier variable; what is unknown stays as it is.
#[must_use]
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    rkube_api::expand::expand(text, |name| {
        env.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    })
}

/// Likewise where every variable must be there.
///
/// # Errors
/// The name of one that is not.
pub fn expand_all(text: &str, env: &[(String, String)]) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let expanded = rkube_api::expand::expand(text, |name| {
        let found = env.iter().find(|(known, _)| known == name);
        if found.is_none() {
            missing.replace(Some(name.to_owned()));
        }
        found.map(|(_, value)| value.as_str())
    });
    missing.into_inner().map_or(Ok(expanded), Err)
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

fn from_source(
    ctx: &ContainerContext<'_>,
    source: &EnvFromSource,
) -> Result<BTreeMap<String, String>, TranslateError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let missing = |kind: &str, name: &str| TranslateError::Env {
        variable: format!("from {kind} {name}"),
        what: format!(
            "{kind} \"{name}\" is not in the manifest's namespace {}",
            ctx.pod.record.namespace()
        ),
    };
    let mut values = BTreeMap::new();
    if let Some(reference) = &source.config_map_ref {
        match ctx.pod.record.config_maps.get(&reference.name) {
            Some(map) => values.extend(map.data.clone().unwrap_or_default()),
            None if reference.optional.unwrap_or(false) => {}
            None => return Err(missing("ConfigMap", &reference.name)),
        }
    }
    if let Some(reference) = &source.secret_ref {
        match ctx.pod.record.secrets.get(&reference.name) {
            Some(secret) => {
                values.extend(secret.data.iter().flatten().map(|(key, value)| {
                    (key.clone(), String::from_utf8_lossy(&value.0).into_owned())
                }))
            }
            None if reference.optional.unwrap_or(false) => {}
            None => return Err(missing("Secret", &reference.name)),
        }
    }
    Ok(values
        .into_iter()
        .map(|(key, value)| (format!("{prefix}{key}"), value))
        .collect())
}

fn from_value(
    ctx: &ContainerContext<'_>,
    variable: &EnvVar,
    source: &EnvVarSource,
) -> Result<Option<String>, TranslateError> {
    let fail = |what: String| TranslateError::Env {
        variable: variable.name.clone(),
        what,
    };
    if let Some(field) = &source.field_ref {
        return pod_field(ctx, &field.field_path).map(Some).map_err(fail);
    }
    if let Some(field) = &source.resource_field_ref {
        return resources::field(ctx, field).map(Some).map_err(fail);
    }
    let (kind, name, key, optional, value) = if let Some(of) = &source.config_map_key_ref {
        let map = ctx.pod.record.config_maps.get(&of.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&of.key).cloned());
        ("ConfigMap", &of.name, &of.key, of.optional, value)
    } else if let Some(of) = &source.secret_key_ref {
        let secret = ctx.pod.record.secrets.get(&of.name);
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&of.key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        ("Secret", &of.name, &of.key, of.optional, value)
    } else {
        return Err(fail("valueFrom names no source; give one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef".to_owned()));
    };
    match value {
        Some(value) => Ok(Some(value)),
        None if optional.unwrap_or(false) => Ok(None),
        None => Err(fail(format!(
            "{kind} \"{name}\" has no key \"{key}\" (or is not in the manifest)"
        ))),
    }
}

/// The value of a downward-API field path such as `metadata.labels['app']`.
///
/// # Errors
/// Names the field that does not exist.
pub fn pod_field(ctx: &ContainerContext<'_>, path: &str) -> Result<String, String> {
    if let Some(found) = metadata_field(ctx.pod.record, path) {
        return found;
    }
    let address = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    Ok(match path {
        "spec.nodeName" => ctx.pod.node_name.to_owned(),
        "spec.serviceAccountName" => ctx
            .pod
            .spec()
            .service_account_name
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
        "status.hostIP" | "status.hostIPs" => address(ctx.pod.host_ip),
        "status.podIP" | "status.podIPs" => address(ctx.pod.pod_ip),
        _ => {
            return Err(format!(
                "fieldPath {path} is unknown; known are metadata.name, .namespace, .uid, .labels['k'], .annotations['k'], spec.nodeName, spec.serviceAccountName, status.hostIP, status.podIP"
            ));
        }
    })
}

/// The value of a field path that a pod's metadata answer by themselves: its name, one of its labels. `None` for any other path.
#[must_use]
pub fn metadata_field(record: &PodRecord, path: &str) -> Option<Result<String, String>> {
    let meta = &record.pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => {
                return Some(Err(format!(
                    "fieldPath {path}: only metadata.labels and metadata.annotations take a key"
                )));
            }
        };
        let value = map.as_ref().and_then(|map| map.get(key));
        return Some(Ok(value.cloned().unwrap_or_default()));
    }
    let value = match path {
        "metadata.name" => record.name(),
        "metadata.namespace" => record.namespace(),
        "metadata.uid" => record.uid(),
        _ => return None,
    };
    Some(Ok(value.to_owned()))
}

/// Splits `metadata.labels['app']` into the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once('[')?;
    let key = rest.strip_suffix(']')?;
    let key = key
        .strip_prefix('\'')
        .and_then(|key| key.strip_suffix('\''))
        .or_else(|| key.strip_prefix('"').and_then(|key| key.strip_suffix('"')))?;
    Some((map, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_path_may_take_a_key() {
        assert_eq!(
            subscript("metadata.labels['app.kubernetes.io/name']"),
            Some(("metadata.labels", "app.kubernetes.io/name"))
        );
        assert_eq!(
            subscript("metadata.labels[\"a\"]"),
            Some(("metadata.labels", "a"))
        );
        assert_eq!(subscript("metadata.labels"), None);
        assert_eq!(subscript("metadata.labels[a]"), None);
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one_in_place() {
        let mut env = Vec::new();
        set(&mut env, "A", "1");
        set(&mut env, "B", "2");
        set(&mut env, "A", "3");
        assert_eq!(
            env,
            [
                ("A".to_owned(), "3".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ]
        );
    }
}
