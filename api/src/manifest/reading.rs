//! Going through the documents of a text and collecting what is in them.

mod accept;

use std::collections::BTreeSet;

use accept::{is_below, named};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Manifest, ManifestError, Mistake, Strictness};
use crate::decode::{Decoded, Misfit, decode};
use crate::node::{Node, Value};
use crate::validate::FieldError;
use crate::{defaults, v1beta1, validate};

/// Lists of lists end here.
const MAX_LISTS: usize = 4;
const SUPPORTED: &str = "a manifest may hold Pod, ConfigMap, Secret and lists of them (v1), \
     Pod (v1beta1, v1beta2), and container manifests (version: v1beta1 or v1beta2)";

/// What has been read so far.
pub(super) struct Reading {
    manifest: Manifest,
    mistakes: Vec<Mistake>,
    /// Mistakes beyond the most that are listed.
    more: usize,
    warnings: Vec<Mistake>,
    strictness: Strictness,
    /// The number of the document being read, if there are several.
    document: Option<usize>,
    documents: usize,
    /// Kind, namespace and name of everything so far.
    seen: BTreeSet<(&'static str, String, String)>,
}

/// An object in a document: its tree, and where in the document it stands (`items[2]`).
#[derive(Clone, Copy)]
struct At<'n> {
    node: &'n Node,
    base: &'n str,
    lists: usize,
}

impl At<'_> {
    fn path(&self, below: &str) -> String {
        match (self.base, below) {
            ("", path) | (path, "") => path.to_owned(),
            (base, path) => format!("{base}.{path}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(rename = "apiVersion")]
    _api_version: Option<IgnoredAny>,
    #[serde(rename = "kind")]
    _kind: Option<IgnoredAny>,
    #[serde(rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(rename = "items")]
    _items: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldList {
    #[serde(rename = "apiVersion")]
    _api_version: Option<IgnoredAny>,
    #[serde(rename = "kind")]
    _kind: Option<IgnoredAny>,
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "uid")]
    _uid: Option<IgnoredAny>,
    #[serde(rename = "creationTimestamp")]
    _creation_timestamp: Option<IgnoredAny>,
    #[serde(rename = "selfLink")]
    _self_link: Option<IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _resource_version: Option<IgnoredAny>,
    #[serde(rename = "namespace")]
    _namespace: Option<IgnoredAny>,
    #[serde(rename = "items")]
    _items: Option<IgnoredAny>,
}

impl Reading {
    pub(super) fn new(documents: usize, strictness: Strictness) -> Self {
        Self {
            manifest: Manifest::default(),
            mistakes: Vec::new(),
            more: 0,
            warnings: Vec::new(),
            strictness,
            document: None,
            documents,
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn finish(mut self, origin: &str) -> Result<Manifest, ManifestError> {
        let origin = origin.to_owned();
        if !self.mistakes.is_empty() {
            self.mistakes
                .sort_by_key(|mistake| (mistake.document, mistake.line, mistake.column));
            let Self { mistakes, more, .. } = self;
            return Err(ManifestError::Invalid {
                origin,
                mistakes,
                more,
            });
        }
        let found = &self.manifest;
        if found.pods.is_empty() && found.config_maps.is_empty() && found.secrets.is_empty() {
            return Err(ManifestError::Empty { origin });
        }
        let warnings = self
            .warnings
            .iter()
            .map(|warning| format!("{origin}: {warning}"));
        self.manifest.warnings = warnings.collect();
        Ok(self.manifest)
    }

    /// Reads one document, the `number`-th from 1.
    pub(super) fn document(&mut self, number: usize, node: &Node) {
        self.document = (self.documents > 1).then_some(number);
        match &node.value {
            Value::Null => {}
            Value::Sequence(items) => self.items(
                At {
                    node,
                    base: "",
                    lists: 0,
                },
                items,
                None,
            ),
            _ => self.object(
                At {
                    node,
                    base: "",
                    lists: 0,
                },
                None,
            ),
        }
    }

    fn items(&mut self, list: At<'_>, items: &[Node], kind: Option<(&str, &str)>) {
        let below = if list.lists == 0 && matches!(list.node.value, Value::Sequence(_)) {
            String::new()
        } else {
            list.path("items")
        };
        for (index, node) in items.iter().enumerate() {
            let base = format!("{below}[{index}]");
            self.object(
                At {
                    node,
                    base: &base,
                    lists: list.lists + 1,
                },
                kind,
            );
        }
    }

    /// Reads an object of any kind; `list` is the apiVersion and kind that a typed list gives its items.
    fn object(&mut self, at: At<'_>, list: Option<(&str, &str)>) {
        if !matches!(at.node.value, Value::Mapping(_)) {
            let problem = format!(
                "expected an object, found {}; {SUPPORTED}",
                at.node.describe()
            );
            return self.mistake(at, "", problem);
        }
        let word = |key: &str| at.node.get(key).and_then(Node::as_str);
        let version = word("apiVersion").or(list.map(|(version, _)| version));
        let kind = word("kind").or(list.map(|(_, kind)| kind));
        match (version, kind) {
            (Some("v1"), Some("Pod")) => self.pod(at),
            (Some("v1"), Some("ConfigMap")) => self.config_map(at),
            (Some("v1"), Some("Secret")) => self.secret(at),
            (Some("v1"), Some("List")) => self.list::<List>(at, None),
            (Some("v1"), Some("PodList")) => self.list::<List>(at, Some(("v1", "Pod"))),
            (Some("v1"), Some("ConfigMapList")) => self.list::<List>(at, Some(("v1", "ConfigMap"))),
            (Some("v1"), Some("SecretList")) => self.list::<List>(at, Some(("v1", "Secret"))),
            (Some(old), Some("PodList")) if v1beta1::is_version(old) => {
                self.list::<OldList>(at, Some((old, "Pod")));
            }
            (Some(old), Some("ContainerManifestList")) if v1beta1::is_version(old) => {
                self.list::<OldList>(at, Some((old, "ContainerManifest")));
            }
            (Some(old), Some("ContainerManifest")) if v1beta1::is_version(old) => {
                self.container_manifest(at);
            }
            // The examples of 2014 leave the kind out, and were posted to the URL of pods.
            (Some(old), Some("Pod")) if v1beta1::is_version(old) => self.old_pod(at),
            (Some(old), None)
                if v1beta1::is_version(old) && at.node.get("desiredState").is_some() =>
            {
                self.old_pod(at);
            }
            (None, None) if at.node.get("version").is_some() => self.container_manifest(at),
            (version, kind) => self.refuse(at, version, kind),
        }
    }

    fn refuse(&mut self, at: At<'_>, version: Option<&str>, kind: Option<&str>) {
        let spelled = |key: &str| {
            at.node
                .get(key)
                .map(|node| (key.to_owned(), node.describe()))
        };
        let (path, problem) = match (version, kind) {
            (None, _)
                if at
                    .node
                    .get("apiVersion")
                    .is_some_and(|v| v.as_str().is_none()) =>
            {
                spelled("apiVersion").map_or_else(Default::default, |(key, found)| {
                    (key, format!("expected a string, found {found}"))
                })
            }
            (_, None) if at.node.get("kind").is_some() => spelled("kind")
                .map_or_else(Default::default, |(key, found)| {
                    (key, format!("expected a string, found {found}"))
                }),
            (None, Some(kind)) => (
                "apiVersion".to_owned(),
                format!("required value for kind {kind}; {SUPPORTED}"),
            ),
            (Some(version), None) => (
                "kind".to_owned(),
                format!("required value for apiVersion {version}; {SUPPORTED}"),
            ),
            (None, None) => (
                String::new(),
                format!("neither apiVersion and kind nor version is set; {SUPPORTED}"),
            ),
            (Some(version), Some(kind)) => (
                "kind".to_owned(),
                format!("{kind} ({version}) is not supported here; {SUPPORTED}"),
            ),
        };
        self.mistake(at, &path, problem);
    }

    fn list<L: DeserializeOwned>(&mut self, at: At<'_>, item: Option<(&str, &str)>) {
        let shell: Decoded<L> = decode(at.node, at.base);
        // What is inside the items is reported when they are read.
        let items = at.path("items");
        let misfits = shell
            .misfits
            .into_iter()
            .filter(|misfit| !is_below(&misfit.path, &items));
        self.note("List", misfits.collect());
        if at.lists >= MAX_LISTS {
            return self.mistake(at, "", "lists within lists within lists".to_owned());
        }
        match at.node.get("items").map(|node| &node.value) {
            Some(Value::Sequence(nodes)) => self.items(at, nodes, item),
            Some(_) => self.mistake(at, "items", "expected a list".to_owned()),
            None => {}
        }
    }

    fn pod(&mut self, at: At<'_>) {
        let Decoded { value, misfits } = decode::<Pod>(at.node, at.base);
        let Some(mut pod) = value else {
            return self.note(&named("Pod", at), misfits);
        };
        if pod
            .status
            .take()
            .is_some_and(|status| status != Default::default())
        {
            let problem = "ignored; it is what a node reports, not what it is told";
            self.warn(at, "Pod", FieldError::new("status", problem));
        }
        defaults::pod(&mut pod);
        let errors = validate::pod(&pod);
        if self.accept("Pod", at, &pod.metadata, misfits, errors) {
            self.manifest.pods.push(pod);
        }
    }

    fn config_map(&mut self, at: At<'_>) {
        let Decoded { value, misfits } = decode::<ConfigMap>(at.node, at.base);
        let Some(mut map) = value else {
            return self.note(&named("ConfigMap", at), misfits);
        };
        defaults::config_map(&mut map);
        let errors = validate::config_map(&map);
        if self.accept("ConfigMap", at, &map.metadata, misfits, errors) {
            self.manifest.config_maps.push(map);
        }
    }

    fn secret(&mut self, at: At<'_>) {
        let Decoded { value, misfits } = decode::<Secret>(at.node, at.base);
        let Some(mut secret) = value else {
            return self.note(&named("Secret", at), misfits);
        };
        defaults::secret(&mut secret);
        let errors = validate::secret(&secret);
        if self.accept("Secret", at, &secret.metadata, misfits, errors) {
            self.manifest.secrets.push(secret);
        }
    }

    fn old_pod(&mut self, at: At<'_>) {
        let decoded = decode::<v1beta1::Pod>(at.node, at.base);
        self.converted(at, decoded.value.map(v1beta1::pod), decoded.misfits, true);
    }

    fn container_manifest(&mut self, at: At<'_>) {
        let decoded = decode::<v1beta1::ContainerManifest>(at.node, at.base);
        self.converted(
            at,
            decoded.value.map(v1beta1::manifest),
            decoded.misfits,
            false,
        );
    }

    fn converted(
        &mut self,
        at: At<'_>,
        converted: Option<v1beta1::Converted>,
        misfits: Vec<Misfit>,
        is_pod: bool,
    ) {
        let Some(converted) = converted else {
            return self.note(&named("Pod", at), misfits);
        };
        let mut pod = converted.pod;
        defaults::pod(&mut pod);
        let mut errors = converted.errors;
        // A missing manifest is one mistake, not also that its containers are missing.
        if pod.spec.is_some() {
            errors.extend(validate::pod(&pod).into_iter().map(|error| FieldError {
                path: v1beta1::field_path(&error.path, is_pod),
                ..error
            }));
        }
        for warning in converted.warnings {
            self.warn(at, "Pod", warning);
        }
        if self.accept("Pod", at, &pod.metadata, misfits, errors) {
            self.manifest.pods.push(pod);
        }
    }
}
