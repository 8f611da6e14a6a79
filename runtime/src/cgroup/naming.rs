//! What OCI's `linux.cgroupsPath` means.

use std::path::{Path, PathBuf};

/// The two ways to spell a cgroup path in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecPath {
    /// A path in the hierarchies.
    Plain(PathBuf),
    /// `slice:prefix:name`, for systemd's cgroup tree.
    Systemd {
        /// The slice, `system.slice` when empty.
        slice: String,
        /// What the scope's name starts with.
        prefix: String,
        /// The container.
        name: String,
    },
}

impl SpecPath {
    /// Reads the field. Without one, a container is `id` below the root.
    pub fn parse(cgroups_path: Option<&Path>, id: &str) -> Self {
        let path = cgroups_path.filter(|path| !path.as_os_str().is_empty());
        let Some(path) = path else {
            return Self::Plain(PathBuf::from(id));
        };
        let parts: Option<Vec<&str>> = path
            .to_str()
            .filter(|text| !text.contains('/'))
            .map(|text| text.split(':').collect());
        match parts.as_deref() {
            Some([slice, prefix, name]) => Self::Systemd {
                slice: (*slice).to_owned(),
                prefix: (*prefix).to_owned(),
                name: (*name).to_owned(),
            },
            _ => Self::Plain(path.to_owned()),
        }
    }

    /// The path below the root of the hierarchies: systemd's `a-b.slice:cri:c1` is at
    /// `a.slice/a-b.slice/cri-c1.scope`.
    pub fn to_path(&self) -> PathBuf {
        match self {
            Self::Plain(path) => path.strip_prefix("/").unwrap_or(path).to_owned(),
            Self::Systemd {
                slice,
                prefix,
                name,
            } => {
                let slice = if slice.is_empty() {
                    "system.slice"
                } else {
                    slice
                };
                let unit = match (name.ends_with(".slice"), prefix.is_empty()) {
                    (true, _) => name.clone(),
                    (false, true) => format!("{name}.scope"),
                    (false, false) => format!("{prefix}-{name}.scope"),
                };
                slice_path(slice).join(unit)
            }
        }
    }
}

/// A slice's directory: every `-` in its name is one level. `-.slice` is the root.
fn slice_path(slice: &str) -> PathBuf {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let ends = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .filter(|&at| at > 0);
    let levels = ends.chain([stem.len()]).map(|end| &stem[..end]);
    levels
        .filter(|name| !name.is_empty() && *name != "-")
        .map(|name| format!("{name}.slice"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cgroups_path: &str, want: &str) {
        let got = SpecPath::parse(Some(Path::new(cgroups_path)), "id").to_path();
        assert_eq!(got, Path::new(want), "{cgroups_path}");
    }

    #[test]
    fn paths_of_the_spec() {
        check("", "id");
        check("/kubepods/pod1/c", "kubepods/pod1/c");
        check("machine/c", "machine/c");
        check("machine.slice:libpod:abc", "machine.slice/libpod-abc.scope");
        check(
            "user-1000-app.slice:p:c",
            "user.slice/user-1000.slice/user-1000-app.slice/p-c.scope",
        );
        check(":p:c", "system.slice/p-c.scope");
        check("-.slice:p:c", "p-c.scope");
        check("a.slice::c", "a.slice/c.scope");
        check("a.slice:p:c.slice", "a.slice/c.slice");
        check("/not:a:triple", "not:a:triple");
        assert_eq!(SpecPath::parse(None, "id"), SpecPath::Plain("id".into()));
    }
}
