//! Limits on what a pod keeps on disk: `sizeLimit` of its emptyDirs, `ephemeral-storage` of its containers.
use super::images::bytes;
use super::measure::tree;
use crate::paths::Paths;
use crate::state::PodRecord;
use k8s_openapi::api::core::v1::Container;
use rkube_api::quantity::Quantity;
use std::path::PathBuf;

/// What a limit is on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Volume(String),
    Container(String),
    Pod,
}

/// A limit, and where that lies which counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    of: Of,
    places: Vec<PathBuf>,
    most: u64,
}

impl Limit {
    /// In Kubernetes' words: what is over, by how much.
    fn exceeded(&self, used: u64) -> String {
        let (limit, used) = (bytes(self.most), bytes(used));
        match &self.of {
            Of::Volume(name) => format!(
                "Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\": it holds {used}."
            ),
            Of::Container(name) => format!(
                "Container {name} exceeded its local ephemeral storage limit \"{limit}\": it uses {used}."
            ),
            Of::Pod => format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {limit}: it uses {used}."
            ),
        }
    }
}

/// The limits of a pod; most have none.
#[must_use]
pub fn limits(paths: &Paths, record: &PodRecord) -> Vec<Limit> {
    let volumes = crate::volume::disk_limits(paths, record);
    let mut limits: Vec<Limit> = volumes
        .into_iter()
        .map(|(name, dir, most)| Limit {
            of: Of::Volume(name),
            places: vec![dir],
            most,
        })
        .collect();
    let logs = paths.pod_logs(record.namespace(), record.name(), record.uid());
    let mut sum = None;
    for (_, container) in record.containers() {
        let Some(most) = limit_of(container) else {
            continue;
        };
        sum = Some(sum.unwrap_or(0_u64).saturating_add(most));
        limits.push(Limit {
            of: Of::Container(container.name.clone()),
            places: vec![
                paths.containers(record.uid(), &container.name),
                logs.join(&container.name),
            ],
            most,
        });
    }
    limits.extend(sum.map(|most| Limit {
        of: Of::Pod,
        places: vec![paths.pod(record.uid()), logs],
        most,
    }));
    limits
}

fn limit_of(container: &Container) -> Option<u64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    let quantity: Quantity = limits.get("ephemeral-storage")?.0.parse().ok()?;
    u64::try_from(quantity.units()).ok()
}

/// Measures; the words for the first limit that is exceeded. Blocks.
#[must_use]
pub fn exceeded(limits: &[Limit]) -> Option<String> {
    limits.iter().find_map(|limit| {
        let used = limit.places.iter().map(|place| tree(place).0).sum();
        (used > limit.most).then(|| limit.exceeded(used))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn each_limit_is_measured_where_it_counts() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: dir.path().join("lib"),
            run: dir.path().join("run"),
            logs: dir.path().join("log"),
        };
        let limit = |size: &str| json!({"limits": {"ephemeral-storage": size}});
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}},
                {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}],
            "containers": [{"name": "a", "image": "x", "resources": limit("2Mi")},
                {"name": "b", "image": "x", "resources": limit("1Mi")},
                {"name": "free", "image": "x"}]}});
        let record = PodRecord::new(serde_json::from_value(pod).unwrap(), Timestamp::UNIX_EPOCH);
        let limits = limits(&paths, &record);
        assert_eq!(limits.len(), 4);
        let write = |path: PathBuf, kib: usize| {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, vec![1; kib << 10]).unwrap();
        };
        let volume = paths.pod("u").join("volumes/v/data");
        write(volume.clone(), 900);
        write(paths.container("u", "a", 0).join("upper/data"), 900);
        write(paths.container("u", "free", 0).join("upper/data"), 900);
        assert_eq!(exceeded(&limits), None);
        // A log counts as its container's.
        let log = paths.pod_logs("default", "p", "u").join("b/0.log");
        write(log.clone(), 1100);
        assert_eq!(
            exceeded(&limits).unwrap(),
            "Container b exceeded its local ephemeral storage limit \"1Mi\": it uses 1100Ki."
        );
        write(volume.clone(), 1200);
        let words = exceeded(&limits).unwrap();
        assert!(
            words.starts_with("Usage of EmptyDir volume \"v\" exceeds"),
            "{words}"
        );
        write(volume, 900);
        write(log, 600);
        let words = exceeded(&limits).unwrap();
        assert!(
            words.starts_with("Pod ephemeral local storage usage exceeds"),
            "{words}"
        );
    }

    #[test]
    fn a_pod_without_limits_has_none() {
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {
            "containers": [{"name": "a", "image": "x"}]}});
        let record = PodRecord::new(serde_json::from_value(pod).unwrap(), Timestamp::UNIX_EPOCH);
        assert!(limits(&Paths::default(), &record).is_empty());
    }
}
