//! Which images pods use.
use crate::images::Images;
use crate::paths::Paths;
use crate::state::StoredPod;
use rkube_images::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Why it is not known which images are in use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsedError {
    /// The pods' folder cannot be read.
    #[error("cannot look at the pods")]
    Pods(#[source] std::io::Error),
    /// One record cannot be read: it may use any image.
    #[error(
        "a pod's record cannot be read, so nothing is known of its images; remove it with `rkubelet rm -f` and its uid"
    )]
    Record(#[source] std::io::Error),
}

/// The images of pods that are not over, with the pods' names.
#[derive(Clone, Debug, Default)]
pub struct Used(BTreeMap<Digest, BTreeSet<String>>);

impl Used {
    /// Looks at all pods.
    ///
    /// # Errors
    /// When it cannot be known what pods use.
    pub fn find(paths: &Paths, library: &Images) -> Result<Self, UsedError> {
        let (pods, broken) = paths.load_all().map_err(UsedError::Pods)?;
        if let Some(err) = broken.into_iter().next() {
            // It may use any image.
            return Err(UsedError::Record(err));
        }
        let mut used = Used::default();
        for pod in pods
            .iter()
            .filter(|pod| !crate::admission::is_over(paths, pod))
        {
            used.add(pod, |name| {
                let name = library.parse(name).ok()?.to_string();
                Some(library.store.find(&name).ok()??.id)
            });
            // A name may mean another image by now than the one that is mounted.
            for id in crate::volume::images(paths, pod.record.uid()) {
                used.0.entry(id).or_default().insert(pod.record.full_name());
            }
        }
        Ok(used)
    }

    /// What its containers run, and what they are to run next.
    fn add(&mut self, pod: &StoredPod, id_of: impl Fn(&str) -> Option<Digest>) {
        let running = pod.state.containers.iter();
        let running = running.filter_map(|container| Digest::parse(&container.image_id).ok());
        let wanted = pod.record.containers();
        let wanted = wanted.filter_map(|(_, container)| id_of(container.image.as_deref()?));
        let volumes = pod.record.pod.spec.as_ref();
        let volumes = volumes
            .into_iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        let mounted =
            volumes.filter_map(|volume| id_of(volume.image.as_ref()?.reference.as_deref()?));
        for id in running.chain(wanted).chain(mounted) {
            self.0.entry(id).or_default().insert(pod.record.full_name());
        }
    }

    /// The ids, as the store wants them.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<Digest> {
        self.0.keys().cloned().collect()
    }

    /// The pods that use it.
    #[must_use]
    pub fn by(&self, id: &Digest) -> Vec<String> {
        self.0.get(id).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pods::tests::record;
    use crate::state::PodState;
    use serde_json::json;

    #[test]
    fn what_runs_and_what_is_to_run_is_in_use() {
        let spec = json!({"containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "gone"}],
            "volumes": [{"name": "v", "image": {"reference": "tools"}}]});
        let record = record(&spec, &json!({}));
        let mut state = PodState::new(&record, "boot");
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        state.containers[0].image_id = old.to_string();
        let tools = Digest::sha256(b"tools");
        let mut used = Used::default();
        used.add(
            &StoredPod {
                record: record.into(),
                state,
            },
            |name| match name {
                "nginx" => Some(new.clone()),
                "tools" => Some(tools.clone()),
                _ => None,
            },
        );
        assert_eq!(
            used.ids(),
            BTreeSet::from([old.clone(), new.clone(), tools.clone()])
        );
        assert_eq!(used.by(&old), ["default/web"]);
        assert!(used.by(&Digest::sha256(b"other")).is_empty());
    }
}
