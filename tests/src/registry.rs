//! Debian's `docker-registry` (the reference implementation) on loopback of a host.
use crate::host::Host;
use crate::invocation::{Invocation, Running};
use rkube_images::testing::FixtureRegistry;
use std::path::Path;

/// A registry of the distribution's, empty, on 127.0.0.1:5000 of a host's namespace.
#[derive(Debug)]
pub struct DockerRegistry {
    running: Running,
}

impl DockerRegistry {
    /// Where it is.
    pub const ADDRESS: &'static str = "127.0.0.1:5000";

    /// Starts it with more lines for its configuration (`auth:`, or `tls:` below `http:`); `None` and a line of
    /// why the test is skipped if it is not installed.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(host: &Host, http: &str, more: &str) -> Option<Self> {
        let found = ["docker-registry", "registry"].iter().find(|name| {
            ["/usr/bin", "/usr/local/bin", "/bin"]
                .iter()
                .any(|dir| Path::new(dir).join(name).exists())
        });
        let Some(program) = found else {
            let thread = std::thread::current();
            println!(
                "SKIP {}: needs a registry (package docker-registry)",
                thread.name().unwrap_or("?")
            );
            return None;
        };
        let storage = host.dir().join("registry");
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {}\n{http}{more}",
            storage.display(),
            Self::ADDRESS
        );
        let file = host.file("registry.yml", config);
        let mut command = host.command(program);
        command.args(["serve", &file]);
        let mut running = Invocation::new(command, format!("{program} serve")).start();
        running.await_stderr("listening on");
        Some(DockerRegistry { running })
    }

    /// What it wrote so far: a line a request.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.stdout() + &self.running.stderr()
    }
}

/// The registry that misbehaves on demand, on loopback of a host's namespace.
pub struct FixtureOn<'h> {
    host: &'h Host,
    registry: Option<FixtureRegistry>,
}

impl<'h> FixtureOn<'h> {
    /// Starts it.
    #[must_use]
    pub fn start(host: &'h Host) -> Self {
        let registry = host.netns().inside(FixtureRegistry::start);
        FixtureOn {
            host,
            registry: Some(registry),
        }
    }
}

impl std::ops::Deref for FixtureOn<'_> {
    type Target = FixtureRegistry;
    fn deref(&self) -> &FixtureRegistry {
        self.registry.as_ref().expect("it is there until the end")
    }
}

impl Drop for FixtureOn<'_> {
    fn drop(&mut self) {
        // Its end wakes its thread by a connection, which only gets there from inside.
        let registry = self.registry.take();
        self.host.netns().inside(|| drop(registry));
    }
}

impl std::fmt::Debug for FixtureOn<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FixtureOn").finish_non_exhaustive()
    }
}
