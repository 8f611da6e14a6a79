use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

/// A volume beside something that no container may get at.
struct Bed {
    temp: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("volume")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(temp.path().join("volume"), mode).unwrap();
        std::fs::create_dir(temp.path().join("outside")).unwrap();
        std::fs::write(temp.path().join("outside/secret"), "host").unwrap();
        Bed { temp }
    }
    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join("volume").join(name)
    }
    fn open(&self, sub_path: &str, read_only: bool) -> Result<OwnedFd, String> {
        let ready = Ready {
            path: self.temp.path().join("volume"),
            origin: Origin::Pod,
            read_only,
        };
        source(&ready, Some(Path::new(sub_path)))
    }
    /// Where on the host an answer leads.
    fn place(found: &OwnedFd) -> PathBuf {
        use std::os::fd::AsRawFd;
        std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).unwrap()
    }
    /// Whether nothing happened to what is outside.
    fn untouched(&self) -> bool {
        let outside = self.temp.path().join("outside");
        std::fs::read_dir(&outside).unwrap().count() == 1
            && std::fs::read(outside.join("secret")).unwrap() == b"host"
            && std::fs::read_dir(self.temp.path()).unwrap().count() == 2
    }
}

#[test]
fn a_sub_path_is_found_or_made() {
    let bed = Bed::new();
    std::fs::create_dir_all(bed.at("a/b")).unwrap();
    std::fs::write(bed.at("a/file"), "").unwrap();
    symlink("a", bed.at("inside")).unwrap();
    symlink("../inside/file", bed.at("a/back")).unwrap();
    let table = [
        ("a/b", "a/b"),
        ("./a/./b/", "a/b"),
        ("a/file", "a/file"),
        ("inside/b", "a/b"),
        ("a/back", "a/file"),
        ("new/deep", "new/deep"),
        ("inside/new", "a/new"),
    ];
    for (path, want) in table {
        let found = bed.open(path, false).unwrap();
        assert_eq!(Bed::place(&found), bed.at(want), "{path}");
    }
    for made in ["new", "new/deep", "a/new"] {
        let mode = std::fs::metadata(bed.at(made)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o777, "{made}: as the volume");
    }
    let all = bed.open(".", false).unwrap();
    assert_eq!(Bed::place(&all), bed.temp.path().join("volume"));
}

#[test]
fn what_leads_out_is_refused_and_nothing_is_made_there() {
    let bed = Bed::new();
    let outside = bed.temp.path().join("outside");
    symlink(&outside, bed.at("absolute")).unwrap();
    symlink("../outside", bed.at("relative")).unwrap();
    symlink("/", bed.at("root")).unwrap();
    symlink("/proc/self/root", bed.at("magic")).unwrap();
    symlink(outside.join("new"), bed.at("dangling")).unwrap();
    symlink("gone", bed.at("nowhere")).unwrap();
    symlink("loop", bed.at("loop")).unwrap();
    std::fs::write(bed.at("file"), "").unwrap();
    let table = [
        ("absolute", "leads out"),
        ("absolute/secret", "leads out"),
        ("absolute/new", "leads out"),
        ("relative/new/deep", "leads out"),
        ("root/etc", "leads out"),
        ("magic/etc", "leads out"),
        ("dangling", "leads out"),
        ("dangling/x", "leads out"),
        ("nowhere", "must not be followed"),
        ("nowhere/x", "must not be followed"),
        ("loop", "must not be followed"),
        ("..", "without `.` and `..`"),
        ("a/../../outside", "without `.` and `..`"),
        ("/etc", "must be relative"),
        ("file/x", "Not a directory"),
    ];
    for (path, want) in table {
        let problem = bed.open(path, false).unwrap_err();
        assert!(problem.contains(want), "{path}: {problem}");
        assert!(bed.untouched(), "{path}");
    }
}

#[test]
fn nothing_is_made_in_what_cannot_be_written() {
    let bed = Bed::new();
    std::fs::write(bed.at("key"), "").unwrap();
    assert!(bed.open("key", true).is_ok());
    let problem = bed.open("other", true).unwrap_err();
    assert!(problem.contains("no such file"), "{problem}");
    assert!(!bed.at("other").exists());
}

/// What holds files was not made here, whoever has made it: its mode stays.
#[test]
fn a_directory_that_was_there_keeps_its_mode() {
    let bed = Bed::new();
    std::fs::create_dir(bed.at("private")).unwrap();
    std::fs::set_permissions(bed.at("private"), std::fs::Permissions::from_mode(0o700)).unwrap();
    bed.open("private/new", false).unwrap();
    let mode = std::fs::metadata(bed.at("private")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_volume_that_is_a_file_has_no_sub_path() {
    let bed = Bed::new();
    std::fs::write(bed.at("file"), "").unwrap();
    let volumes = BTreeMap::from([(
        "v".to_owned(),
        Ready {
            path: bed.at("file"),
            origin: Origin::Host(HostKind::Any),
            read_only: false,
        },
    )]);
    let wanted = |volume: &str, sub_path: Option<&str>| Wanted {
        destination: "/d".into(),
        volume: volume.to_owned(),
        sub_path: sub_path.map(PathBuf::from),
    };
    let opened = open(&volumes, &[wanted("v", None)]).unwrap();
    assert_eq!(opened[0].0, Path::new("/d"));
    let problem = open(&volumes, &[wanted("v", Some("x"))]).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "volume \"v\": subPath x: the volume is no directory"
    );
    let problem = open(&volumes, &[wanted("w", None)]).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "volume \"w\": the pod has no such volume"
    );
}

/// CVE-2017-1002101, CVE-2021-25741: while the kubelet looks and makes, a container exchanges a directory for links that
/// lead out. Each try ends inside the volume or in a refusal.
#[test]
fn cve_2021_25741_a_race_never_leaves_the_volume() {
    let bed = Bed::new();
    std::fs::create_dir(bed.at("dir")).unwrap();
    symlink("../outside", bed.at("link")).unwrap();
    symlink(bed.temp.path().join("outside"), bed.at("absolute")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let volume = rustix::fs::open(
                bed.temp.path().join("volume"),
                OFlags::PATH | OFlags::DIRECTORY,
                Mode::empty(),
            )
            .unwrap();
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                for other in ["link", "absolute"] {
                    for _ in 0..2 {
                        rustix::fs::renameat_with(&volume, "dir", &volume, other, exchange)
                            .unwrap();
                    }
                }
            }
        });
        for round in 0..1_000_000 {
            if round >= 4000 && inside >= 100 && refused >= 100 || attacker.is_finished() {
                break;
            }
            let path = ["dir", "dir/secret", "dir/new", "dir/a/b"][round % 4];
            match bed.open(path, false) {
                Ok(found) => {
                    inside += 1;
                    let place = Bed::place(&found);
                    let inside = place.starts_with(bed.temp.path().join("volume"));
                    assert!(inside, "{path}: {}", place.display());
                }
                Err(_) => refused += 1,
            }
            if round % 100 == 0 {
                let _ = std::fs::remove_dir(bed.at("dir/new"));
            }
        }
        stop.store(true, Ordering::Relaxed);
        attacker.join().unwrap();
    });
    assert!(bed.untouched());
    assert!(
        inside >= 100 && refused >= 100,
        "{inside} {refused}: no race"
    );
}

proptest! {
    /// Any path in a volume full of links: what is opened lies inside, and nothing outside is made or changed.
    #[test]
    fn no_sub_path_leads_out(path in "[abl./]{0,12}|([abl.]{1,2}/){1,6}[abl]", links in prop::collection::vec(("[abl]", "[abl./]{1,8}|(\\.\\./){1,4}outside"), 0..4)) {
        let bed = Bed::new();
        std::fs::create_dir_all(bed.at("a/b")).unwrap();
        for (name, target) in links {
            let _ = symlink(target, bed.at(&name));
        }
        if let Ok(found) = bed.open(&path, false) {
            prop_assert!(Bed::place(&found).starts_with(bed.temp.path().join("volume")));
        }
        prop_assert!(bed.untouched());
    }
}
