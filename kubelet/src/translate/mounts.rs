//! What a container sees mounted: the kernel's filesystems, the pod's own files under /etc, volumes.
use super::{ContainerContext, TranslateError, env, security, user};
use crate::volume::Wanted;
use k8s_openapi::api::core::v1::VolumeMount;
use oci_spec::runtime as oci;
use std::path::{Component, Path, PathBuf};

/// The mounts in the order they are to be made: parents before children.
///
/// # Errors
/// Names the mount whose volume is missing.
pub fn mounts(ctx: &ContainerContext<'_>) -> Result<Vec<oci::Mount>, TranslateError> {
    let mut mounts = kernel(ctx)?;
    let taken: Vec<&str> = ctx
        .container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| mount.mount_path.as_str())
        .collect();
    for (file, path) in [
        ("hosts", "/etc/hosts"),
        ("hostname", "/etc/hostname"),
        ("resolv.conf", "/etc/resolv.conf"),
    ] {
        let source = ctx.pod.etc.join(file);
        if !taken.contains(&path) && source.exists() {
            mounts.push(bind(&source, Path::new(path), &["rw"])?);
        }
    }
    let mut volumes = volumes(ctx)?;
    volumes.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(volumes);
    if let Some(path) = ctx
        .container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty())
    {
        mounts.push(bind(ctx.termination_log, Path::new(path), &["rw"])?);
    }
    Ok(mounts)
}

fn kernel(ctx: &ContainerContext<'_>) -> Result<Vec<oci::Mount>, TranslateError> {
    let privileged = security::privileged(ctx);
    let safe = ["nosuid", "noexec", "nodev"];
    let ro = |options: &[&'static str]| -> Vec<&'static str> {
        let mode = if privileged { "rw" } else { "ro" };
        options.iter().copied().chain([mode]).collect()
    };
    let mut mounts = vec![
        special("proc", "/proc", "proc", &safe)?,
        special(
            "tmpfs",
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        special(
            "devpts",
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
        special("mqueue", "/dev/mqueue", "mqueue", &safe)?,
        special("sysfs", "/sys", "sysfs", &ro(&safe))?,
        special(
            "cgroup",
            "/sys/fs/cgroup",
            "cgroup",
            &ro(&["nosuid", "noexec", "nodev", "relatime"]),
        )?,
    ];
    let shm_wanted = ctx
        .container
        .volume_mounts
        .iter()
        .flatten()
        .all(|mount| mount.mount_path != "/dev/shm");
    if shm_wanted {
        mounts.push(match ctx.pod.shm {
            Some(shm) => bind(
                shm,
                Path::new("/dev/shm"),
                &["rw", "nosuid", "noexec", "nodev"],
            )?,
            None => special(
                "shm",
                "/dev/shm",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            )?,
        });
    }
    Ok(mounts)
}

fn volumes(ctx: &ContainerContext<'_>) -> Result<Vec<oci::Mount>, TranslateError> {
    let mut mounts = Vec::new();
    for mount in ctx.container.volume_mounts.iter().flatten() {
        let fail = |what: String| TranslateError::Mount {
            path: mount.mount_path.clone(),
            what,
        };
        let volume = ctx
            .pod
            .volumes
            .get(&mount.name)
            .ok_or_else(|| fail(format!("the pod has no volume \"{}\"", mount.name)))?;
        let read_only = mount.read_only.unwrap_or(false) || volume.read_only;
        let propagation = match mount.mount_propagation.as_deref() {
            None | Some("None") => "rprivate",
            Some("HostToContainer") => "rslave",
            Some("Bidirectional") if security::privileged(ctx) => "rshared",
            Some("Bidirectional") => {
                return Err(fail(
                    "mountPropagation Bidirectional needs a privileged container".to_owned(),
                ));
            }
            Some(other) => {
                return Err(fail(format!(
                    "mountPropagation \"{other}\" is unknown; use None, HostToContainer or Bidirectional"
                )));
            }
        };
        let mode = match (read_only, mount.recursive_read_only.as_deref()) {
            (true, Some("Enabled" | "IfPossible")) => "rro",
            (true, _) => "ro",
            (false, _) => "rw",
        };
        // For people: what is mounted is what `volume::open` has found there.
        let source = match sub_path(ctx, mount)? {
            Some(below) => volume.path.join(below),
            None => volume.path.clone(),
        };
        mounts.push(bind(
            &source,
            Path::new(&mount.mount_path),
            &[mode, propagation],
        )?);
    }
    Ok(mounts)
}

/// What of which volume the container's mounts are of.
///
/// # Errors
/// Names the mount whose `subPathExpr` cannot be expanded.
pub fn wanted(ctx: &ContainerContext<'_>) -> Result<Vec<Wanted>, TranslateError> {
    let mounts = ctx.container.volume_mounts.iter().flatten();
    let one = |mount: &VolumeMount| {
        Ok(Wanted {
            destination: PathBuf::from(&mount.mount_path),
            volume: mount.name.clone(),
            sub_path: sub_path(ctx, mount)?,
        })
    };
    mounts.map(one).collect()
}

/// The part of the volume that is mounted, if it is not all of it.
fn sub_path(
    ctx: &ContainerContext<'_>,
    mount: &VolumeMount,
) -> Result<Option<PathBuf>, TranslateError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let Some(expr) = given(&mount.sub_path_expr) else {
        return Ok(given(&mount.sub_path).map(PathBuf::from));
    };
    let fail = |what: String| TranslateError::Mount {
        path: mount.mount_path.clone(),
        what: format!("subPathExpr {expr}: {what}"),
    };
    let (_, home) = user::resolve(ctx)?;
    let env = env::environment(ctx, &home)?;
    let path = env::expand_all(&expr, &env)
        .map_err(|name| fail(format!("the container has no variable {name}")))?;
    let path = PathBuf::from(path);
    // A variable without a value must not open the whole volume.
    let normal = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.as_os_str().is_empty() || !path.components().all(normal) {
        return Err(fail(format!(
            "{:?} is not a relative path without `..`",
            path.display()
        )));
    }
    Ok(Some(path))
}

fn bind(source: &Path, destination: &Path, options: &[&str]) -> Result<oci::Mount, TranslateError> {
    let options: Vec<&str> = ["rbind"]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    build(source.into(), destination, "bind", &options)
}

fn special(
    source: &str,
    destination: &str,
    kind: &str,
    options: &[&str],
) -> Result<oci::Mount, TranslateError> {
    build(source.into(), Path::new(destination), kind, options)
}

fn build(
    source: PathBuf,
    destination: &Path,
    kind: &str,
    options: &[&str],
) -> Result<oci::Mount, TranslateError> {
    oci::MountBuilder::default()
        .source(source)
        .destination(destination)
        .typ(kind)
        .options(
            options
                .iter()
                .map(|&option| option.to_owned())
                .collect::<Vec<_>>(),
        )
        .build()
        .map_err(TranslateError::Spec)
}
