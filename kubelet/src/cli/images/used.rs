//! Which images pods use.
use crate::cli::Failure;
use crate::images::Images;
use crate::paths::Paths;
use crate::state::StoredPod;
use rkube_images::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// The images of pods that are not over, with the pods' names.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(BTreeMap<Digest, BTreeSet<String>>);

impl Used {
    /// Looks at all pods.
    pub(super) fn find(paths: &Paths, library: &Images) -> Result<Self, Failure> {
        let (pods, broken) = paths.load_all().map_err(|err| Failure::of(&err))?;
        if let Some(err) = broken.first() {
            // It may use any image.
            return Err(Failure::failed(format!(
                "a pod's record cannot be read, so nothing is known of its images: {err}; remove it with `rkubelet rm -f` and its uid"
            )));
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
        }
        Ok(used)
    }

    /// What its containers run, and what they are to run next.
    fn add(&mut self, pod: &StoredPod, id_of: impl Fn(&str) -> Option<Digest>) {
        let running = pod.state.containers.iter();
        let running = running.filter_map(|container| Digest::parse(&container.image_id).ok());
        let wanted = pod.record.containers();
        let wanted = wanted.filter_map(|(_, container)| id_of(container.image.as_deref()?));
        for id in running.chain(wanted) {
            self.0.entry(id).or_default().insert(pod.record.full_name());
        }
    }

    /// The ids, as the store wants them.
    pub(super) fn ids(&self) -> BTreeSet<Digest> {
        self.0.keys().cloned().collect()
    }

    /// The pods that use it.
    pub(super) fn by(&self, id: &Digest) -> Vec<String> {
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
        let spec = json!({"containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "gone"}]});
        let record = record(&spec, &json!({}));
        let mut state = PodState::new(&record, "boot");
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        state.containers[0].image_id = old.to_string();
        let mut used = Used::default();
        used.add(
            &StoredPod {
                record: record.into(),
                state,
            },
            |name| (name == "nginx").then(|| new.clone()),
        );
        assert_eq!(used.ids(), BTreeSet::from([old.clone(), new]));
        assert_eq!(used.by(&old), ["default/web"]);
        assert!(used.by(&Digest::sha256(b"other")).is_empty());
    }
}
