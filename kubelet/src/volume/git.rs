//! gitRepo: a repository, cloned before the pod starts.
//!
//! A repository is somebody else's data, and git is a large program that reads it; upstream gave the volume up after hooks in
//! one ran as root on the host. Here git runs in a container of its own (`clone`): an unprivileged user without capabilities,
//! a root with the host's programs read-only and nothing else of it, limits of memory, time and size. What it leaves is looked
//! through before a pod gets it (`settle`).
mod clone;
mod settle;

use crate::beneath::Dir;
use crate::paths::create_private;
use crate::state::PodRecord;
use crate::update::Reporter;
use crate::worker::Node;
use clone::Clone;
use k8s_openapi::api::core::v1::GitRepoVolumeSource;
use std::io;
use std::path::Path;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many are cloned at a time on this host, whoever asks: each takes memory and a processor.
static AT_ONCE: Semaphore = Semaphore::const_new(4);
/// What git may fetch from: nothing of the host's files, no other programs, and nothing that would need keys.
const SCHEMES: [&str; 3] = ["https", "http", "git"];

/// What is wrong with a gitRepo, whatever the repository holds: `field: problem`.
///
/// # Errors
/// Names the field.
pub fn check(source: &GitRepoVolumeSource) -> Result<(), String> {
    let odd = |text: &str| text.chars().any(|c| c.is_control() || c.is_whitespace());
    let url = source.repository.as_str();
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if !SCHEMES.contains(&scheme) || host.is_empty() || host.starts_with('-') || odd(url) {
        return Err(format!(
            "repository: {url:?} cannot be cloned; give a URL that begins with https://, http:// or git://"
        ));
    }
    let revision = source.revision.as_deref().unwrap_or_default();
    if revision.starts_with('-') || odd(revision) || revision.len() > 256 {
        return Err(format!("revision: {revision:?} is no name of a commit"));
    }
    Ok(())
}

/// What is to be cloned, for whom, and where to.
pub(super) struct Wanted<'a> {
    pub(super) node: &'a Node,
    pub(super) record: &'a PodRecord,
    pub(super) source: &'a GitRepoVolumeSource,
    /// The volume.
    pub(super) dir: &'a Path,
    /// Which of the pod's volumes it is.
    pub(super) index: usize,
    /// The group that shares it.
    pub(super) group: Option<u32>,
    /// Ends the clone.
    pub(super) cancel: &'a CancellationToken,
}

/// Clones the repository, unless that was done already.
pub(super) async fn ensure(wanted: Wanted<'_>, reporter: &Reporter) -> Result<(), String> {
    if wanted.dir.is_dir() {
        return Ok(());
    }
    check(wanted.source).map_err(|problem| format!("gitRepo.{problem}"))?;
    let turn = tokio::select! {
        turn = AT_ONCE.acquire() => turn,
        () = wanted.cancel.cancelled() => return Err("stopped before it was cloned".to_owned()),
    };
    let _turn = turn.map_err(|err| err.to_string())?;
    let since = std::time::Instant::now();
    // Aside, so that what has the volume's name is whole.
    let aside = wanted.dir.with_extension("new");
    begin(&aside).map_err(|err| err.to_string())?;
    let clone = Clone::new(&wanted, &aside);
    let cloned = clone.run(wanted.cancel).await;
    // Nothing of git runs any more.
    clone.clear().await?;
    if cloned.is_err() {
        let aside = aside.clone();
        // What is not removed now goes with the pod.
        let _ = tokio::task::spawn_blocking(move || begin(&aside)).await;
    }
    cloned?;
    let (dir, group) = (wanted.dir.to_owned(), wanted.group);
    let settled = tokio::task::spawn_blocking(move || {
        settle::settle(&Dir::open(&aside)?, group)?;
        fs_err::rename(aside, dir)
    });
    let settled = settled.await.map_err(|_| "interrupted".to_owned())?;
    settled.map_err(|err| err.to_string())?;
    reporter.timing("clone", since);
    Ok(())
}

/// Whether this is the folder of a clone's container, among those of a pod.
pub(super) fn is_clone(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(clone::FOLDER))
}

/// An empty directory that git may write to, in one that only root may enter.
fn begin(aside: &Path) -> io::Result<()> {
    let parent = aside.parent().unwrap_or(aside);
    create_private(parent)?;
    if let Some(name) = aside.file_name() {
        Dir::open(parent)?.remove(name)?;
    }
    fs_err::create_dir(aside)?;
    std::os::unix::fs::chown(aside, Some(clone::USER), Some(clone::USER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(repository: &str, revision: &str) -> Option<String> {
        let source = GitRepoVolumeSource {
            repository: repository.to_owned(),
            revision: Some(revision.to_owned()),
            directory: None,
        };
        check(&source).err()
    }

    #[test]
    fn only_what_is_fetched_from_elsewhere_is_cloned() {
        for good in [
            "https://github.com/octo/hello.git",
            "http://10.0.0.1:8080/a",
            "git://host/x~y.git",
            "https://user:token@host/a/b",
        ] {
            assert_eq!(problem(good, ""), None, "{good}");
        }
        for bad in [
            "",
            "file:///etc",
            "/var/lib/rkubelet",
            "../x",
            "git@github.com:octo/hello.git",
            "ssh://git@github.com/octo/hello.git",
            "ext::sh -c touch% /tmp/x",
            "ext::https://x/y",
            "https://",
            "https:///x",
            "https://-oProxyCommand=x/y",
            "--upload-pack=touch /tmp/x",
            "-u://x/y",
            "https://host/a b",
            "https://host/a\nb",
            "HTTPS://host/a",
            "transport::https://host",
        ] {
            let said = problem(bad, "").expect(bad);
            assert!(said.starts_with("repository: "), "{bad}: {said}");
        }
    }

    #[test]
    fn a_revision_is_no_option() {
        for good in ["main", "v1.0", "a1b2c3", "HEAD~1", "refs/heads/x"] {
            assert_eq!(problem("https://h/r", good), None, "{good}");
        }
        let long = "a".repeat(257);
        for bad in ["--exec=x", "-b", "a b", "a\0b", &long] {
            let said = problem("https://h/r", bad).expect(bad);
            assert!(said.starts_with("revision: "), "{bad}: {said}");
        }
    }
}
