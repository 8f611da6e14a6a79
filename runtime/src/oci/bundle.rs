//! The bundle: a directory with a `config.json` and, as a rule, the root file system.
//!
//! Checked here is what concerns the life cycle; whatever concerns the container's inside is
//! checked where it is compiled.
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Process, Spec};

use super::hooks::Stage;

/// The version of the runtime specification this runtime was written to.
pub(super) const OCI_VERSION: &str = "1.2.1";
/// The oldest version whose configs are understood.
pub(super) const OCI_VERSION_MIN: &str = "1.0.0";

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum BundleError {
    /// The directory of `--bundle` is missing.
    #[error("cannot find the bundle {}", path.display())]
    Directory {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// `config.json` cannot be read.
    #[error("cannot read the bundle's config")]
    Read {
        /// With the path.
        source: io::Error,
    },
    /// `config.json` is not a config.
    #[error("{} is not a valid config", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// `ociVersion` is missing or not `MAJOR.MINOR.PATCH`.
    #[error("config: ociVersion {version:?} is not a semantic version such as {OCI_VERSION}")]
    Version {
        /// As given.
        version: String,
    },
    /// `ociVersion` is of another major version.
    #[error("config: ociVersion {version:?} is not supported: this runtime knows 1.x")]
    Unsupported {
        /// As given.
        version: String,
    },
    /// A property that the life cycle needs is not there or makes no sense.
    #[error("config: {field}: {problem}")]
    Field {
        /// The path of the property.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `root.path` does not exist.
    #[error("config: root.path {} cannot be used", path.display())]
    Rootfs {
        /// Made absolute.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bundle that has been read and checked.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The absolute path of the directory.
    pub(super) path: PathBuf,
    /// The absolute path of the root file system.
    pub(super) rootfs: PathBuf,
    /// The config.
    pub(super) spec: Spec,
    /// The config as it was written, for the state directory.
    pub(super) text: Vec<u8>,
}

impl Bundle {
    /// Reads and checks the bundle in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Bundle, BundleError> {
        let path = dir
            .canonicalize()
            .map_err(|source| BundleError::Directory {
                path: dir.to_owned(),
                source,
            })?;
        let file = path.join("config.json");
        let text = fs_err::read(&file).map_err(|source| BundleError::Read { source })?;
        let spec = parse(&text, &file)?;
        check(&spec)?;
        let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
        let rootfs = path.join(root.path());
        let rootfs = match rootfs.canonicalize() {
            Ok(rootfs) if rootfs.is_dir() => rootfs,
            Ok(path) => {
                let source = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(BundleError::Rootfs { path, source });
            }
            Err(source) => {
                return Err(BundleError::Rootfs {
                    path: rootfs,
                    source,
                });
            }
        };
        Ok(Bundle {
            path,
            rootfs,
            spec,
            text,
        })
    }
}

/// Reads a config that was checked before: the copy in the state directory.
pub(super) fn read(file: &Path) -> Result<Spec, BundleError> {
    let text = fs_err::read(file).map_err(|source| BundleError::Read { source })?;
    parse(&text, file)
}

fn parse(text: &[u8], file: &Path) -> Result<Spec, BundleError> {
    serde_json::from_slice(text).map_err(|source| BundleError::Parse {
        path: file.to_owned(),
        source,
    })
}

fn check(spec: &Spec) -> Result<(), BundleError> {
    check_version(spec.version())?;
    check_process(
        spec.process().as_ref().ok_or_else(|| missing("process"))?,
        "process",
    )?;
    if spec.linux().is_none() {
        return Err(missing("linux"));
    }
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    for stage in Stage::ALL {
        for (index, hook) in stage.hooks(hooks).iter().enumerate() {
            check_hook(hook, &format!("hooks.{}[{index}]", stage.name()))?;
        }
    }
    Ok(())
}

/// Checks what both `create` and `exec --process` need of a process.
pub(super) fn check_process(process: &Process, field: &str) -> Result<(), BundleError> {
    if process
        .args()
        .as_ref()
        .is_none_or(|args| args.first().is_none_or(String::is_empty))
    {
        return Err(invalid(
            format!("{field}.args"),
            "must name a command".to_owned(),
        ));
    }
    if !process.cwd().is_absolute() {
        let problem = format!("must be an absolute path, not {:?}", process.cwd());
        return Err(invalid(format!("{field}.cwd"), problem));
    }
    Ok(())
}

fn check_hook(hook: &Hook, field: &str) -> Result<(), BundleError> {
    if !hook.path().is_absolute() {
        let problem = format!("must be an absolute path, not {:?}", hook.path());
        return Err(invalid(format!("{field}.path"), problem));
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        return Err(invalid(
            format!("{field}.timeout"),
            "must be greater than zero".to_owned(),
        ));
    }
    Ok(())
}

fn missing(field: &str) -> BundleError {
    invalid(field.to_owned(), "must be there".to_owned())
}

fn invalid(field: String, problem: String) -> BundleError {
    BundleError::Field { field, problem }
}

fn check_version(version: &str) -> Result<(), BundleError> {
    let malformed = || BundleError::Version {
        version: version.to_owned(),
    };
    // The build part may hold anything; the pre-release part must not be empty.
    let (core, suffix) = match version.find(['-', '+']) {
        Some(at) => (&version[..at], &version[at + 1..]),
        None => (version, "x"),
    };
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    if numbers.len() != 3 || !numbers.iter().all(is_number) || suffix.is_empty() {
        return Err(malformed());
    }
    if numbers[0] == "1" {
        Ok(())
    } else {
        Err(BundleError::Unsupported {
            version: version.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(config: &str, want: &str) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let err = Bundle::open(dir.path()).unwrap_err().to_string();
        assert!(err.contains(want), "{err:?} should contain {want:?}");
    }

    #[test]
    fn versions_are_semantic_and_of_major_one() {
        for good in ["1.0.0", "1.2.1", "1.0.2-dev", "1.3.0+build", "1.10.0-rc.1"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in [
            "", "1", "1.0", "v1.0.0", "1.0.0.0", "1.0.x", "01.0.0", "1.0.0-", "1..0",
        ] {
            assert!(
                matches!(check_version(bad), Err(BundleError::Version { .. })),
                "{bad}"
            );
        }
        for other in ["0.9.0", "2.0.0"] {
            assert!(matches!(
                check_version(other),
                Err(BundleError::Unsupported { .. })
            ));
        }
    }

    #[test]
    fn configs_that_cannot_run_are_refused_by_field() {
        let config = |process: &str, rest: &str| {
            format!(
                r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}},"linux":{{}},
                     "process":{{"user":{{"uid":0,"gid":0}},{process}}}{rest}}}"#
            )
        };
        refused("{", "is not a valid config");
        refused(r#"{"ociVersion":"1.0"}"#, "not a semantic version");
        refused(r#"{"ociVersion":"1.0.2"}"#, "config: process");
        refused(&config(r#""cwd":"/","args":[]"#, ""), "process.args");
        refused(&config(r#""cwd":"x","args":["a"]"#, ""), "process.cwd");
        let hook = r#","hooks":{"poststop":[{"path":"bin/x"}]}"#;
        refused(
            &config(r#""cwd":"/","args":["a"]"#, hook),
            "hooks.poststop[0].path",
        );
        let hook = r#","hooks":{"prestart":[{"path":"/x","timeout":0}]}"#;
        refused(
            &config(r#""cwd":"/","args":["a"]"#, hook),
            "hooks.prestart[0].timeout",
        );
    }

    #[test]
    fn a_missing_rootfs_is_named() {
        let config = r#"{"ociVersion":"1.0.2","root":{"path":"elsewhere"},"linux":{},
            "process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["a"]}}"#;
        refused(config, "elsewhere");
    }
}
