//! A container of a pod -> an OCI runtime spec.
//!
//! Everything here is a pure function of the manifest, the image's configuration and what the pod's
//! sandbox and volumes turned out to be; reading `/etc/passwd` of the image is the one exception.
//! The kubelet alone knows both worlds: `rkube-runtime` has never heard of pods.
pub mod env;
pub mod host;
pub mod mounts;
pub mod resources;
pub mod security;
mod services;
#[cfg(test)]
mod tests;
pub mod user;

use crate::state::PodRecord;
use crate::volume::Volumes;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime as oci;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Why a container cannot be made of its manifest. Kubernetes calls all of these
/// `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// Neither the manifest nor the image says what to run.
    #[error("neither the manifest nor image {image} names a command; add `command:`")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// A value of the environment comes from something that is not there.
    #[error("env {variable}: {what}")]
    Env {
        /// The variable.
        variable: String,
        /// What is missing, and where it was looked for.
        what: String,
    },
    /// The user cannot be found or is not allowed.
    #[error("{0}")]
    User(String),
    /// A mount refers to something that is not there.
    #[error("volumeMounts {path}: {what}")]
    Mount {
        /// Where it was to be mounted.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A security setting that this host cannot give.
    #[error("securityContext.{field}: {what}")]
    Security {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A quantity that cannot be read.
    #[error("resources.{field}: {what}")]
    Resources {
        /// The field.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// The spec that resulted breaks the OCI's own rules: a bug.
    #[error("cannot put the OCI spec together")]
    Spec(#[source] oci_spec::OciSpecError),
}

/// What is known of the pod when a container is about to be made.
#[derive(Clone, Debug)]
pub struct PodContext<'a> {
    /// The pod.
    pub record: &'a PodRecord,
    /// The pod's address, if it has a network of its own or the host's.
    pub pod_ip: Option<IpAddr>,
    /// The host's address.
    pub host_ip: Option<IpAddr>,
    /// The host's name.
    pub node_name: &'a str,
    /// The pod's hostname.
    pub hostname: &'a str,
    /// The volumes, ready on the host.
    pub volumes: &'a Volumes,
    /// The files that every container sees under /etc.
    pub etc: &'a Path,
    /// The tmpfs that all containers of the pod see as /dev/shm.
    pub shm: Option<&'a Path>,
    /// Where `localhostProfile` of a seccomp profile is looked for.
    pub seccomp_profiles: &'a Path,
    /// The cgroup of the pod, relative to the root of the hierarchies.
    pub cgroup: &'a str,
}

impl PodContext<'_> {
    /// The pod's spec.
    #[must_use]
    pub fn spec(&self) -> &PodSpec {
        self.record
            .pod
            .spec
            .as_ref()
            .expect("admission lets no pod without a spec through")
    }
}

/// What is known of the container.
#[derive(Clone, Debug)]
pub struct ContainerContext<'a> {
    /// The pod.
    pub pod: &'a PodContext<'a>,
    /// The container.
    pub container: &'a Container,
    /// The image's configuration.
    pub image: &'a ImageConfiguration,
    /// The image's layers, unpacked, the top-most first.
    pub lowers: &'a [PathBuf],
    /// The host's file that is the container's termination log.
    pub termination_log: &'a Path,
}

/// The OCI spec of a container.
///
/// # Errors
/// Says which field of the manifest cannot be honoured and why.
pub fn container_spec(ctx: &ContainerContext<'_>) -> Result<oci::Spec, TranslateError> {
    let (user, home) = user::resolve(ctx)?;
    let env = env::environment(ctx, &home)?;
    let process = oci::ProcessBuilder::default()
        .terminal(ctx.container.tty.unwrap_or(false))
        .user(user)
        .args(command(ctx, &env)?)
        .env(
            env.iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>(),
        )
        .cwd(working_dir(ctx))
        .capabilities(security::capabilities(ctx)?)
        .no_new_privileges(security::no_new_privileges(ctx))
        .oom_score_adj(resources::oom_score_adj(ctx))
        .build()
        .map_err(TranslateError::Spec)?;
    let root = oci::RootBuilder::default()
        .path("rootfs")
        .readonly(
            security::context(ctx)
                .read_only_root_filesystem
                .unwrap_or(false),
        )
        .build()
        .map_err(TranslateError::Spec)?;
    let mut spec = oci::SpecBuilder::default()
        .version("1.2.0")
        .root(root)
        .process(process)
        .mounts(mounts::mounts(ctx)?)
        .linux(linux(ctx)?)
        .build()
        .map_err(TranslateError::Spec)?;
    // The host name is the sandbox's; the library's defaults are of no use here.
    spec.set_hostname(None)
        .set_domainname(None)
        .set_hooks(None)
        .set_annotations(None);
    Ok(spec)
}

/// `command` stands for the image's ENTRYPOINT and drops its CMD; `args` stands for CMD.
fn command(
    ctx: &ContainerContext<'_>,
    env: &[(String, String)],
) -> Result<Vec<String>, TranslateError> {
    let config = ctx.image.config().as_ref();
    let entrypoint = config
        .and_then(|config| config.entrypoint().clone())
        .unwrap_or_default();
    let cmd = config
        .and_then(|config| config.cmd().clone())
        .unwrap_or_default();
    let given = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let expand = |words: Vec<String>| words.iter().map(|word| env::expand(word, env)).collect();
    let command = given(&ctx.container.command).map(expand);
    let args = given(&ctx.container.args).map(expand);
    let words = match (command, args) {
        (Some(command), args) => [command, args.unwrap_or_default()].concat(),
        (None, Some(args)) => [entrypoint, args].concat(),
        (None, None) => [entrypoint, cmd].concat(),
    };
    if words.is_empty() {
        let image = ctx.container.image.clone().unwrap_or_default();
        return Err(TranslateError::NoCommand { image });
    }
    Ok(words)
}

fn working_dir(ctx: &ContainerContext<'_>) -> PathBuf {
    let of_image = || {
        let config = ctx.image.config().as_ref()?;
        config.working_dir().clone().filter(|dir| !dir.is_empty())
    };
    let given = ctx
        .container
        .working_dir
        .clone()
        .filter(|dir| !dir.is_empty());
    Path::new("/").join(given.or_else(of_image).unwrap_or_default())
}

fn linux(ctx: &ContainerContext<'_>) -> Result<oci::Linux, TranslateError> {
    let pod = ctx.pod.spec();
    let mut kinds = vec![
        oci::LinuxNamespaceType::Mount,
        oci::LinuxNamespaceType::Cgroup,
    ];
    // The network, IPC and UTS namespaces are the supervisor's. A container has a pid namespace of
    // its own below the pod's, so that the end of the supervisor is the end of all.
    if !pod.share_process_namespace.unwrap_or(false) && !pod.host_pid.unwrap_or(false) {
        kinds.push(oci::LinuxNamespaceType::Pid);
    }
    let namespaces = kinds
        .into_iter()
        .map(|kind| oci::LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()
        .map_err(TranslateError::Spec)?;
    let masks = !security::unmasked(ctx);
    let mut linux = oci::LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(format!("/{}/{}", ctx.pod.cgroup, ctx.container.name))
        .resources(resources::limits(ctx)?)
        .rootfs_propagation("private")
        .masked_paths(if masks {
            security::masked_paths()
        } else {
            Vec::new()
        })
        .readonly_paths(if masks {
            security::readonly_paths()
        } else {
            Vec::new()
        })
        .devices(Vec::new())
        .build()
        .map_err(TranslateError::Spec)?;
    linux.set_seccomp(security::seccomp(ctx)?);
    linux.set_devices(security::devices(ctx)?);
    Ok(linux)
}
