//! Groups, their versions, and what each of them serves, in both forms of discovery.
use crate::resource::{Names, Resource, Subresource};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A resource as discovery sees it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) names: Names,
    pub(super) verbs: &'static [&'static str],
    pub(super) subresources: &'static [Subresource],
}

impl Listed {
    pub(super) fn of(resource: &Arc<dyn Resource>) -> Self {
        Listed {
            names: *resource.names(),
            verbs: resource.verbs(),
            subresources: resource.subresources(),
        }
    }

    /// A part of an `APIResourceList`: itself and each of its subresources.
    fn plain(&self) -> Vec<Value> {
        let names = &self.names;
        let mut main = json!({
            "name": names.plural, "singularName": names.singular, "namespaced": names.namespaced,
            "kind": names.kind, "verbs": self.verbs,
        });
        self.also_known_as(&mut main);
        let mut all = vec![main];
        for sub in self.subresources {
            let mut one = json!({
                "name": format!("{}/{}", names.plural, sub.name), "singularName": "",
                "namespaced": names.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if let Some((group, version)) = sub.group_version {
                one["group"] = group.into();
                one["version"] = version.into();
            }
            all.push(one);
        }
        all
    }

    /// An `APIResourceDiscovery`.
    fn aggregated(&self) -> Value {
        let names = &self.names;
        let own = (names.group, names.version);
        let kind = |(group, version): (&str, &str), kind: &str| json!({"group": group, "version": version, "kind": kind});
        let mut one = json!({
            "resource": names.plural,
            "responseKind": kind(own, names.kind),
            "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": names.singular,
            "verbs": self.verbs,
        });
        self.also_known_as(&mut one);
        let subs = self.subresources.iter().map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": kind(sub.group_version.unwrap_or(own), sub.kind),
                "verbs": sub.verbs,
            })
        });
        if !self.subresources.is_empty() {
            one["subresources"] = subs.collect();
        }
        one
    }

    fn also_known_as(&self, entry: &mut Value) {
        if !self.names.short.is_empty() {
            entry["shortNames"] = self.names.short.into();
        }
        if !self.names.categories.is_empty() {
            entry["categories"] = self.names.categories.into();
        }
    }
}

/// A group with its versions; the first is the one to prefer.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    versions: Vec<(&'static str, Vec<Listed>)>,
}

/// By group and version, in order; resources by name.
pub(super) fn sort(listed: Vec<Listed>) -> Vec<Group> {
    let mut groups: BTreeMap<&'static str, BTreeMap<_, Vec<Listed>>> = BTreeMap::new();
    for one in listed {
        let versions = groups.entry(one.names.group).or_default();
        // `v2` before `v1` before `v1beta1`.
        let version = one.names.version;
        let stable = !version.contains("alpha") && !version.contains("beta");
        let order = (!stable, std::cmp::Reverse(version));
        versions.entry(order).or_default().push(one);
    }
    let group = |(name, versions): (_, BTreeMap<(bool, std::cmp::Reverse<&'static str>), _>)| {
        let versions = versions
            .into_iter()
            .map(|(order, mut list): (_, Vec<Listed>)| {
                list.sort_by_key(|one| one.names.plural);
                (order.1.0, list)
            });
        Group {
            name,
            versions: versions.collect(),
        }
    };
    groups.into_iter().map(group).collect()
}

impl Group {
    pub(super) fn versions(&self) -> impl Iterator<Item = &'static str> {
        self.versions.iter().map(|(version, _)| *version)
    }

    /// `v1`, `apps/v1`.
    fn group_version(&self, version: &str) -> String {
        if self.name.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.name)
        }
    }

    pub(super) fn path(&self, version: &str) -> String {
        let root = if self.name.is_empty() {
            "/api"
        } else {
            "/apis"
        };
        format!("{root}/{}", self.group_version(version))
    }

    /// An `APIGroup`; alone it says so.
    pub(super) fn summary(&self, alone: bool) -> Value {
        let of = |version| json!({"groupVersion": self.group_version(version), "version": version});
        let versions: Vec<Value> = self.versions().map(of).collect();
        let mut group = json!({
            "name": self.name, "preferredVersion": versions.first(), "versions": versions,
        });
        if alone {
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
        }
        group
    }

    /// The `APIResourceList` of each version.
    pub(super) fn lists(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.versions.iter().map(|(version, listed)| {
            let resources: Vec<Value> = listed.iter().flat_map(Listed::plain).collect();
            let content = json!({
                "kind": "APIResourceList", "apiVersion": "v1",
                "groupVersion": self.group_version(version), "resources": resources,
            });
            (*version, content)
        })
    }

    /// An `APIGroupDiscovery`.
    pub(super) fn aggregated(&self) -> Value {
        let versions = self.versions.iter().map(|(version, listed)| {
            let resources: Vec<Value> = listed.iter().map(Listed::aggregated).collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        });
        let versions: Vec<Value> = versions.collect();
        json!({"metadata": {"name": self.name}, "versions": versions})
    }
}
