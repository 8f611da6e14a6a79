//! Descriptors that a container inherits: `--preserve-fds`, and those of socket activation.
use std::os::fd::RawFd;

use oci_spec::runtime::{Process, Spec};

/// The first descriptor after standard input, output and error.
const FIRST: u32 = 3;

/// Descriptors from 3 on that have been checked to be open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inherited {
    listen: u32,
    preserve: u32,
}

/// A descriptor to inherit is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot preserve descriptor {fd}: it is not open (--preserve-fds {wanted})")]
pub(super) struct InheritedError {
    fd: u32,
    wanted: u32,
}

impl Inherited {
    /// Checks `preserve` descriptors, after those that `LISTEN_FDS` announces to us.
    pub(super) fn check(preserve: u32) -> Result<Inherited, InheritedError> {
        let variable = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let ours = variable("LISTEN_PID") == Some(std::process::id());
        let listen = variable("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
        Inherited::check_count(listen, preserve)
    }

    fn check_count(listen: u32, preserve: u32) -> Result<Inherited, InheritedError> {
        let wanted = listen.saturating_add(preserve);
        for fd in FIRST..FIRST.saturating_add(wanted) {
            if !RawFd::try_from(fd).is_ok_and(super::sys::is_open) {
                return Err(InheritedError { fd, wanted });
            }
        }
        Ok(Inherited { listen, preserve })
    }

    /// How many descriptors from 3 on the container inherits.
    pub(super) fn count(&self) -> u32 {
        self.listen + self.preserve
    }

    /// Tells the program about socket activation: as pid 1 it takes `LISTEN_FDS` for its own.
    pub(super) fn announce(&self, spec: &mut Spec) {
        if let Some(process) = spec.process_mut() {
            self.announce_to(process);
        }
    }

    fn announce_to(&self, process: &mut Process) {
        if self.listen > 0 {
            let mut env = process.env().clone().unwrap_or_default();
            env.push(format!("LISTEN_FDS={}", self.listen));
            env.push("LISTEN_PID=1".to_owned());
            process.set_env(Some(env));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_open_cannot_be_inherited() {
        assert_eq!(Inherited::check_count(0, 0).unwrap().count(), 0);
        let err = Inherited::check_count(0, 100_000).unwrap_err();
        assert!(err.to_string().contains("--preserve-fds 100000"), "{err}");
    }

    #[test]
    fn socket_activation_is_announced() {
        let mut process = Process::default();
        process.set_env(Some(vec!["A=b".to_owned()]));
        Inherited {
            listen: 0,
            preserve: 2,
        }
        .announce_to(&mut process);
        assert_eq!(process.env().as_ref().unwrap().len(), 1);
        Inherited {
            listen: 2,
            preserve: 0,
        }
        .announce_to(&mut process);
        assert_eq!(
            process.env().as_ref().unwrap()[1..],
            ["LISTEN_FDS=2", "LISTEN_PID=1"]
        );
    }
}
