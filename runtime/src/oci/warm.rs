//! Attaching to a v1 cgroup, ahead of time.
//!
//! The first attach on a machine that had none for a while waits 8-10 ms for the kernel, later ones
//! take microseconds. A helper process makes a first one, which moves nothing, while we read the
//! bundle and prepare the container.
use crate::cgroup::{Hierarchies, Version};

use super::sys::{self, Helper};

/// The helper; it ends by itself.
#[derive(Debug)]
pub(super) struct Warm {
    helper: Option<Helper>,
}

impl Warm {
    /// Starts the helper where it is of use. Without it everything works, only later.
    pub(super) fn start(wanted: bool) -> Warm {
        let hierarchies = if wanted {
            Hierarchies::detect().ok()
        } else {
            None
        };
        let slow = |all: &Hierarchies| all.trees().iter().any(|tree| tree.version == Version::V1);
        let helper = hierarchies.filter(slow).and_then(|hierarchies| {
            sys::in_helper(|| {
                // Nobody could be told: the attach that counts reports for itself.
                let _ = hierarchies.warm();
            })
            .ok()
        });
        Warm { helper }
    }

    /// Reaps the helper.
    pub(super) fn finish(self) {
        if let Some(helper) = self.helper {
            helper.reap();
        }
    }
}
