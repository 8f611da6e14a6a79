//! Mount options: which are attributes of the mount, which go to the file system.

use rkube_init::sys::mount::Attributes;

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// The field that holds one of relatime (0), noatime and strictatime.
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// (option, bits set, bits cleared); with an `r` in front, for everything below too.
const ATTRIBUTES: [(&str, u64, u64); 17] = [
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", NOSUID, 0),
    ("suid", 0, NOSUID),
    ("nodev", NODEV, 0),
    ("dev", 0, NODEV),
    ("noexec", NOEXEC, 0),
    ("exec", 0, NOEXEC),
    ("noatime", NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", STRICTATIME, ATIME),
    ("strictatime", STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
];

/// Accepted for the sake of `/etc/fstab`: they ask for what is the case anyway.
const IDLE: [&str; 12] = [
    "defaults",
    "async",
    "nomand",
    "nolazytime",
    "loud",
    "noiversion",
    "nosilent",
    "silent",
    "iversion",
    "mand",
    "symfollow",
    "rsymfollow",
];

/// The recursive forms of [`ATTRIBUTES`], which begin with an `r`.
const RECURSIVE: [&str; 17] = [
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnoatime",
    "ratime",
    "rrelatime",
    "rnorelatime",
    "rstrictatime",
    "rnostrictatime",
    "rnodiratime",
    "rdiratime",
    "rnosymfollow",
];

const PROPAGATION: [&str; 8] = [
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
];

const OTHERS: [&str; 5] = ["bind", "rbind", "tmpcopyup", "idmap", "ridmap"];

/// The options that are not left to the file system.
pub fn names() -> impl Iterator<Item = &'static str> {
    let attributes = ATTRIBUTES.iter().map(|(name, _, _)| *name);
    attributes
        .chain(RECURSIVE)
        .chain(PROPAGATION)
        .chain(IDLE)
        .chain(OTHERS)
}

/// The options of a mount, sorted by what they do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// For the mount.
    pub(super) one: Attributes,
    /// For the mount and everything below.
    pub(super) all: Attributes,
    /// `MS_PRIVATE` and so on, perhaps with `MS_REC`; 0 = not asked for.
    pub(super) propagation: u32,
    /// `bind` or `rbind`: whether with everything below.
    pub(super) bind: Option<bool>,
    /// `tmpcopyup`.
    pub(super) copy_up: bool,
    /// `idmap` or `ridmap`: whether with everything below.
    pub(super) id_map: Option<bool>,
    /// For the file system: key and value, or key and nothing.
    pub(super) rest: Vec<(String, String)>,
}

impl Options {
    pub(super) fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option);
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        if let Some(flags) = propagation(option) {
            self.propagation = flags;
            return;
        }
        if let Some((set, clear)) = attribute(option) {
            merge(&mut self.one, set, clear);
            return;
        }
        if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
            merge(&mut self.all, set, clear);
            return;
        }
        match option {
            "bind" => self.bind = Some(false),
            "rbind" => self.bind = Some(true),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            option if IDLE.contains(&option) || option.is_empty() => {}
            option => {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                self.rest.push((key.to_owned(), value.to_owned()));
            }
        }
    }
}

fn attribute(option: &str) -> Option<(u64, u64)> {
    ATTRIBUTES
        .iter()
        .find(|(name, _, _)| *name == option)
        .map(|&(_, set, clear)| (set, clear))
}

/// Later options win over earlier ones.
fn merge(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    // The kernel wants the whole atime field cleared to change it, and a bit not both set and cleared otherwise.
    attributes.clear = attributes.clear & !(set & !ATIME) | clear;
}

/// `MS_*` of a propagation, with `MS_REC` for the `r` forms.
pub(super) fn propagation(name: &str) -> Option<u32> {
    let (kind, recursive) = match name {
        "private" | "rprivate" => (libc::MS_PRIVATE, name.starts_with('r')),
        "slave" | "rslave" => (libc::MS_SLAVE, name.starts_with('r')),
        "shared" | "rshared" => (libc::MS_SHARED, name.starts_with('r')),
        "unbindable" | "runbindable" => (libc::MS_UNBINDABLE, name.starts_with('r')),
        _ => return None,
    };
    let flags = if recursive { kind | libc::MS_REC } else { kind };
    u32::try_from(flags).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &str, want: &Options) {
        let list: Vec<String> = options.split(',').map(str::to_owned).collect();
        assert_eq!(&Options::parse(&list), want);
    }

    fn one(set: u64, clear: u64) -> Options {
        Options {
            one: Attributes {
                set,
                clear,
                ..Attributes::default()
            },
            ..Options::default()
        }
    }

    #[test]
    fn attributes_are_told_from_options() {
        check("ro,nosuid,nodev", &one(RDONLY | NOSUID | NODEV, 0));
        check("ro,rw", &one(0, RDONLY));
        check("rw,ro", &one(RDONLY, 0));
        check("defaults,noatime", &one(NOATIME, ATIME));
        check("noatime,strictatime", &one(STRICTATIME, ATIME));
        let all = Attributes {
            set: RDONLY | NOEXEC,
            ..Attributes::default()
        };
        check(
            "rro,rnoexec",
            &Options {
                all,
                ..Options::default()
            },
        );
        let rest = vec![
            ("mode".into(), "755".into()),
            ("nr_inodes".into(), "1k".into()),
            ("x".into(), String::new()),
        ];
        check(
            "mode=755,nr_inodes=1k,x",
            &Options {
                rest,
                ..Options::default()
            },
        );
    }

    #[test]
    fn every_name_is_understood() {
        for name in names() {
            let parsed = Options::parse(&[name.to_owned()]);
            assert_eq!(parsed.rest, [], "{name}");
        }
        assert!(
            RECURSIVE
                .iter()
                .zip(ATTRIBUTES)
                .all(|(long, (short, _, _))| long.strip_prefix('r') == Some(short))
        );
    }

    #[test]
    fn binds_and_propagation_are_understood() {
        check(
            "rbind,rslave",
            &Options {
                bind: Some(true),
                propagation: u32::try_from(libc::MS_SLAVE | libc::MS_REC).expect("small"),
                ..Options::default()
            },
        );
        check(
            "tmpcopyup,idmap",
            &Options {
                copy_up: true,
                id_map: Some(false),
                ..Options::default()
            },
        );
        // Not "r" + "elatime".
        check("relatime", &one(0, ATIME));
    }
}
