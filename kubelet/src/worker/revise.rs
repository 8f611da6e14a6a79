//! A pod that is asked for in other words: what can be had without ending it.
use super::Worker;
use crate::change::{Change, kind};
use crate::plan::Restarts;
use crate::state::{PodRecord, Role};
use std::sync::Arc;

impl Worker {
    /// Takes the new words over, or says why it cannot. What follows from them is the next step's work, so a kubelet
    /// that dies in between loses nothing.
    pub(super) fn update(&mut self, wanted: &PodRecord) {
        match kind(&self.record, wanted) {
            Change::Same => return,
            Change::InPlace => {}
            Change::Replace { fields } => {
                let fields = fields.join(", ");
                let message =
                    format!("a pod that runs cannot change {fields}; it must be replaced");
                return self.reporter.warning("UpdateRefused", None, message);
            }
        }
        let record = Arc::make_mut(&mut self.record);
        let in_other_words = says(record) != says(wanted);
        let (old, new) = (&mut record.pod, &wanted.pod);
        old.spec.clone_from(&new.spec);
        old.metadata.labels.clone_from(&new.metadata.labels);
        old.metadata
            .annotations
            .clone_from(&new.metadata.annotations);
        old.status.clone_from(&new.status);
        old.metadata.generation = new.metadata.generation.or(old.metadata.generation);
        record.config_maps.clone_from(&wanted.config_maps);
        record.secrets.clone_from(&wanted.secrets);
        record.tokens.clone_from(&wanted.tokens);
        record.services.clone_from(&wanted.services);
        record.origin.clone_from(&wanted.origin);
        self.save_record();
        if in_other_words {
            self.reporter
                .event("Updated", None, "the pod is asked for in other words now");
        }
        self.restarts = Restarts::of(&self.record);
        // What was fetched of the old image, or could not be had of it, says nothing about the new one.
        for index in 0..self.state.containers.len() {
            if self.is_outdated(index) && !self.state.containers[index].running() {
                let container = &mut self.state.containers[index];
                container.failures = 0;
                container.retry_at = None;
                self.works.remove(&container.name);
            }
        }
        self.prepare_volumes();
    }

    /// Ends the containers that run an image which is not asked for any more; they are started again whatever the restart
    /// policy says. An init container is left to do its work.
    pub(super) fn end_outdated(&mut self) {
        for index in 0..self.state.containers.len() {
            let container = &self.state.containers[index];
            let name = container.name.clone();
            let leave = container.role == Role::Init || !container.running();
            if leave || !self.is_outdated(index) || self.is_ending(&name) {
                continue;
            }
            self.reporter
                .event("Killing", Some(&name), "another image is asked for");
            self.end_container(&name, self.grace());
        }
    }

    /// Whether the container's last try was of an image that is not asked for any more.
    pub(super) fn is_outdated(&self, index: usize) -> bool {
        let ran = &self.state.containers[index].image;
        let asked = self.record.containers().nth(index);
        let asked = asked.and_then(|(_, container)| container.image.as_deref());
        !ran.is_empty() && asked.is_some_and(|asked| asked != ran)
    }
}

/// What a record says in the words of whoever wants the pod; tokens and conditions come and go by themselves.
fn says(record: &PodRecord) -> impl PartialEq {
    let meta = &record.pod.metadata;
    (
        record.pod.spec.clone(),
        (meta.labels.clone(), meta.annotations.clone()),
        (record.config_maps.clone(), record.secrets.clone()),
        record.services.clone(),
        record.origin.clone(),
    )
}
