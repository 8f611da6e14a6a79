//! What comes with a pod in its manifest, and which of it the pod refers to.
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Pod, PodSpec, Secret, ServiceAccountTokenProjection, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

/// ConfigMaps and Secrets of all namespaces, and tokens of service accounts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Companions {
    /// ConfigMaps of all namespaces.
    pub config_maps: Vec<ConfigMap>,
    /// Secrets of all namespaces.
    pub secrets: Vec<Secret>,
    /// Tokens, each for one pod.
    pub tokens: Vec<Token>,
}

/// A token of a service account, issued for one pod.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The pod's uid.
    pub pod: String,
    /// Which of the tokens it asks for: [`token_wish`].
    pub wish: String,
    /// The token itself.
    pub token: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Token({} {:?})", self.pod, self.wish)
    }
}

/// The service account that the pod acts as.
#[must_use]
pub fn account(pod: &Pod) -> &str {
    let named = pod.spec.as_ref();
    let named = named.and_then(|spec| spec.service_account_name.as_deref());
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// What tells apart the tokens that one pod asks for: seconds and audience.
#[must_use]
pub fn token_wish(source: &ServiceAccountTokenProjection) -> String {
    let seconds = source.expiration_seconds.unwrap_or(3600);
    format!("{seconds} {}", source.audience.as_deref().unwrap_or(""))
}

impl Companions {
    /// The ConfigMaps that the pod refers to, by name.
    #[must_use]
    pub fn config_maps_of(&self, pod: &Pod) -> BTreeMap<String, ConfigMap> {
        let wanted = References::of(pod).config_maps;
        chosen(&self.config_maps, pod, &wanted, |map| &map.metadata)
    }

    /// Likewise the Secrets.
    #[must_use]
    pub fn secrets_of(&self, pod: &Pod) -> BTreeMap<String, Secret> {
        let wanted = References::of(pod).secrets;
        chosen(&self.secrets, pod, &wanted, |secret| &secret.metadata)
    }

    /// The tokens that were issued for the pod, by wish.
    #[must_use]
    pub fn tokens_of(&self, pod: &Pod) -> BTreeMap<String, String> {
        let uid = pod.metadata.uid.as_deref();
        let own = self.tokens.iter().filter(|one| Some(&*one.pod) == uid);
        own.map(|one| (one.wish.clone(), one.token.clone()))
            .collect()
    }
}

fn chosen<T: Clone>(
    objects: &[T],
    pod: &Pod,
    wanted: &BTreeSet<&str>,
    meta: fn(&T) -> &ObjectMeta,
) -> BTreeMap<String, T> {
    let namespace = |meta: &ObjectMeta| {
        meta.namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned())
    };
    let own = namespace(&pod.metadata);
    objects
        .iter()
        .filter(|object| namespace(meta(object)) == own)
        .filter_map(|object| Some((meta(object).name.clone()?, object)))
        .filter(|(name, _)| wanted.contains(name.as_str()))
        .map(|(name, object)| (name, object.clone()))
        .collect()
}

/// The names that a pod's spec mentions.
#[derive(Default)]
pub(crate) struct References<'a> {
    /// ConfigMaps.
    pub(crate) config_maps: BTreeSet<&'a str>,
    /// Secrets.
    pub(crate) secrets: BTreeSet<&'a str>,
    /// Tokens of the pod's service account, by wish.
    pub(crate) tokens: BTreeMap<String, &'a ServiceAccountTokenProjection>,
}

impl<'a> References<'a> {
    /// Those of one pod.
    pub(crate) fn of(pod: &'a Pod) -> Self {
        let mut all = References::default();
        if let Some(spec) = &pod.spec {
            all.spec(spec);
        }
        all
    }

    fn spec(&mut self, spec: &'a PodSpec) {
        let pull = spec.image_pull_secrets.iter().flatten();
        self.secrets.extend(pull.map(|one| one.name.as_str()));
        for volume in spec.volumes.iter().flatten() {
            self.volume(volume);
        }
        let inits = spec.init_containers.iter().flatten();
        for container in inits.chain(&spec.containers) {
            self.container(container);
        }
    }

    fn volume(&mut self, volume: &'a Volume) {
        let map = volume.config_map.as_ref().map(|one| one.name.as_str());
        let secret = volume
            .secret
            .as_ref()
            .and_then(|one| one.secret_name.as_deref());
        self.config_maps.extend(map);
        self.secrets.extend(secret);
        let projected = volume.projected.as_ref();
        for source in projected
            .and_then(|one| one.sources.as_ref())
            .into_iter()
            .flatten()
        {
            let map = source.config_map.as_ref().map(|one| one.name.as_str());
            let secret = source.secret.as_ref().map(|one| one.name.as_str());
            self.config_maps.extend(map);
            self.secrets.extend(secret);
            let token = source.service_account_token.as_ref();
            self.tokens
                .extend(token.map(|token| (token_wish(token), token)));
        }
    }

    fn container(&mut self, container: &'a Container) {
        for source in container.env_from.iter().flatten() {
            let map = source.config_map_ref.as_ref().map(|one| one.name.as_str());
            let secret = source.secret_ref.as_ref().map(|one| one.name.as_str());
            self.config_maps.extend(map);
            self.secrets.extend(secret);
        }
        let from = container.env.iter().flatten();
        for source in from.filter_map(|var| var.value_from.as_ref()) {
            let map = source.config_map_key_ref.as_ref();
            let secret = source.secret_key_ref.as_ref();
            self.config_maps.extend(map.map(|one| one.name.as_str()));
            self.secrets.extend(secret.map(|one| one.name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_gets_what_it_refers_to_and_nothing_else() {
        let names = [
            "volume",
            "projected",
            "from",
            "env",
            "init",
            "pull",
            "other",
        ];
        let object = |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace}});
        let mut all = Companions::default();
        for name in names {
            for namespace in ["ns", "other"] {
                all.config_maps
                    .push(serde_json::from_value(object(name, namespace)).unwrap());
                all.secrets
                    .push(serde_json::from_value(object(name, namespace)).unwrap());
            }
        }
        let container = |name: &str| {
            json!({"name": name, "envFrom": [{"configMapRef": {"name": "from"}}, {"secretRef": {"name": "from"}}],
            "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": name, "key": "k"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]})
        };
        let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [container("init")], "containers": [container("env")],
            "volumes": [{"name": "a", "configMap": {"name": "volume"}}, {"name": "b", "secret": {"secretName": "volume"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "projected"}}, {"secret": {"name": "projected"}}]}},
                {"name": "d", "configMap": {"name": "missing"}}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let maps = all.config_maps_of(&pod);
        let secrets = all.secrets_of(&pod);
        assert_eq!(
            maps.keys().collect::<Vec<_>>(),
            ["env", "from", "init", "projected", "volume"]
        );
        assert_eq!(
            secrets.keys().collect::<Vec<_>>(),
            ["env", "from", "init", "projected", "pull", "volume"]
        );
        assert!(
            maps.values()
                .all(|map| map.metadata.namespace.as_deref() == Some("ns"))
        );
    }
}
