//! A pod that is asked for in other words: what can be had without ending it.
use super::Worker;
use crate::change::{Change, kind};
use crate::state::{ContainerState, PodRecord};
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
        let (old, new) = (&mut record.pod, &wanted.pod);
        old.spec.clone_from(&new.spec);
        old.metadata.labels.clone_from(&new.metadata.labels);
        old.metadata
            .annotations
            .clone_from(&new.metadata.annotations);
        old.metadata.generation = new.metadata.generation.or(old.metadata.generation);
        record.config_maps.clone_from(&wanted.config_maps);
        record.secrets.clone_from(&wanted.secrets);
        record.services.clone_from(&wanted.services);
        record.origin.clone_from(&wanted.origin);
        self.save_record();
        self.reporter
            .event("Updated", None, "the pod is asked for in other words now");
        if self.sandbox.is_some() {
            match crate::volume::ensure(&self.node.paths, &self.record) {
                Ok(volumes) => self.volumes = volumes,
                Err(err) => self.reporter.warning("FailedMount", None, err.to_string()),
            }
        }
        // What could not be had of the old image says nothing about the new one.
        for index in 0..self.state.containers.len() {
            if self.outdated(index) && !self.state.containers[index].running() {
                let container = &mut self.state.containers[index];
                container.failures = 0;
                container.retry_at = None;
            }
        }
    }

    /// Ends the containers that run an image which is not asked for any more; the next step starts them again.
    pub(super) async fn restart_outdated(&mut self) {
        let outdated: Vec<String> = (0..self.state.containers.len())
            .filter(|&index| self.outdated(index) && self.state.containers[index].running())
            .map(|index| self.state.containers[index].name.clone())
            .collect();
        for name in &outdated {
            self.reporter
                .event("Killing", Some(name), "its image has changed");
        }
        self.stop_containers(&outdated, self.grace()).await;
        for name in outdated {
            if let Some(container) = self.state.container_mut(&name)
                && !container.running()
            {
                // It is started again whatever the restart policy says, and did nothing wrong.
                container.last = container.last_end().cloned();
                container.failures = 0;
                container.retry_at = None;
                container.state = ContainerState::Waiting {
                    reason: "ContainerCreating".to_owned(),
                    message: String::new(),
                };
            }
        }
    }

    fn outdated(&self, index: usize) -> bool {
        let ran = &self.state.containers[index].image;
        let asked = self.record.containers().nth(index);
        let asked = asked.and_then(|(_, container)| container.image.as_deref());
        !ran.is_empty() && asked.is_some_and(|asked| asked != ran)
    }
}
