//! A real directory, a real inotify, and a period so long that only inotify can be what was heard.
use super::*;
use crate::source::Delivery;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use tokio::sync::mpsc;

const HOUR: Duration = Duration::from_secs(3600);

struct Rig {
    dir: tempfile::TempDir,
    deliveries: mpsc::Receiver<Delivery>,
}

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"
    )
}

impl Rig {
    /// A source of `path` in a new directory that `prepare` fills.
    fn new(path: &str, period: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (sender, deliveries) = mpsc::channel(1);
        let settings = Settings {
            path: dir.path().join(path),
            period,
            naming: Naming::default(),
        };
        spawn(settings, sender);
        Rig { dir, deliveries }
    }
    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }
    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(Duration::from_secs(20), self.deliveries.recv());
        next.await.expect("a delivery in time").unwrap()
    }
    /// The next set: names of pods with their files, and places of problems with a word of each.
    async fn set(&mut self) -> String {
        match self.next().await {
            Delivery::Set(set) => self.shown(&set),
            Delivery::Failed(failed) => panic!("{failed:?}"),
        }
    }
    fn shown(&self, set: &Set) -> String {
        let dir = format!("{}/", self.dir.path().display());
        let short = |place: &str| place.strip_prefix(&dir).unwrap().to_owned();
        let pods = set.pods.iter().map(|wanted| {
            let name = wanted.pod.metadata.name.clone().unwrap();
            format!("{}:{name}", short(&wanted.place))
        });
        let problems = set
            .problems
            .iter()
            .map(|problem| format!("!{}", short(&problem.place)));
        pods.chain(problems).collect::<Vec<_>>().join(" ")
    }
    /// Waits for the set that is shown so; what comes before it may be anything that `allowed` lists.
    async fn until(&mut self, want: &str, allowed: &[&str]) {
        loop {
            let set = self.set().await;
            if set == want {
                return;
            }
            assert!(
                allowed.contains(&set.as_str()),
                "{set:?} on the way to {want:?}"
            );
        }
    }
    async fn failure(&mut self) -> String {
        match self.next().await {
            Delivery::Failed(failed) => failed.problem.message,
            Delivery::Set(set) => panic!("{}", self.shown(&set)),
        }
    }
}

#[tokio::test]
async fn a_directory_is_read_at_start_and_at_every_change() {
    let mut rig = Rig::new("", HOUR, |dir| {
        fs::write(dir.join("b.yaml"), pod("b")).unwrap();
        fs::write(dir.join("a.manifest"), pod("a1") + "---\n" + &pod("a2")).unwrap();
        for name in [
            ".hidden.yaml",
            "c.yaml~",
            ".c.yaml.swp",
            "c.yaml.bak",
            "#c.yaml#",
            "c.yaml.rpmnew",
        ] {
            fs::write(dir.join(name), pod("ignored")).unwrap();
        }
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/d.yaml"), pod("ignored")).unwrap();
    });
    assert_eq!(rig.set().await, "a.manifest:a1 a.manifest:a2 b.yaml:b");
    rig.write("c.json", &pod("c"));
    let before = "a.manifest:a1 a.manifest:a2 b.yaml:b";
    rig.until(&format!("{before} c.json:c"), &[]).await;
    fs::remove_file(rig.dir.path().join("a.manifest")).unwrap();
    rig.until("b.yaml:b c.json:c", &[]).await;
    fs::rename(rig.dir.path().join("b.yaml"), rig.dir.path().join("e.yaml")).unwrap();
    rig.until("c.json:c e.yaml:b", &[]).await;
    for name in ["c.json", "e.yaml"] {
        fs::remove_file(rig.dir.path().join(name)).unwrap();
    }
    rig.until("", &["e.yaml:b", "c.json:c"]).await;
}

#[tokio::test]
async fn a_file_that_turns_bad_keeps_its_pod_and_harms_no_neighbour() {
    let mut rig = Rig::new("", HOUR, |dir| {
        fs::write(dir.join("a"), pod("a")).unwrap();
        fs::write(dir.join("b"), pod("b")).unwrap();
    });
    assert_eq!(rig.set().await, "a:a b:b");
    rig.write("a", "kind: [");
    rig.until("a:a b:b !a", &[]).await;
    rig.write("b", &pod("b2"));
    rig.until("a:a b:b2 !a", &[]).await;
    rig.write("a", &pod("a2"));
    rig.until("a:a2 b:b2", &[]).await;
    rig.write("a", "");
    rig.until("a:a2 b:b2 !a", &[]).await;
    fs::remove_file(rig.dir.path().join("a")).unwrap();
    rig.until("b:b2", &[]).await;
}

#[tokio::test]
async fn what_is_no_manifest_is_a_problem_of_its_own() {
    let rig = Rig::new("", HOUR, |dir| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        symlink("/dev/zero", dir.join("endless")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        symlink("nowhere", dir.join("dangling")).unwrap();
        let huge = fs::File::create(dir.join("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        // A file of /proc says that it has no bytes, and has more than anybody wants to read.
        symlink("/proc/kcore", dir.join("proc")).unwrap();
        fs::write(dir.join("bytes"), [0xff; 100]).unwrap();
        fs::write(dir.join("deep"), "[".repeat(100_000)).unwrap();
        fs::write(dir.join("good.yaml"), pod("good")).unwrap();
        symlink("good.yaml", dir.join("zlink")).unwrap();
    });
    let mut rig = rig;
    let Delivery::Set(set) = rig.next().await else {
        panic!()
    };
    let shown = rig.shown(&set);
    let problems = "!bytes !dangling !deep !endless !fifo !huge !loop";
    let expected = format!("good.yaml:good zlink:good {problems}");
    // Not every kernel lets root read it.
    assert!(
        shown == expected || shown == format!("{expected} !proc"),
        "{shown}"
    );
    for (place, says) in [
        ("fifo", "not a regular file"),
        ("endless", "not a regular file"),
        ("huge", "larger than 16 MiB"),
    ] {
        let problem = set
            .problems
            .iter()
            .find(|problem| problem.place.ends_with(place));
        assert!(problem.unwrap().message.contains(says), "{problem:?}");
    }
}

#[tokio::test]
async fn half_a_file_is_never_used() {
    let mut rig = Rig::new("", HOUR, |dir| fs::write(dir.join("a"), pod("a")).unwrap());
    assert_eq!(rig.set().await, "a:a");
    // What stands there so far is a manifest of its own.
    let mut file = fs::File::create(rig.dir.path().join("two")).unwrap();
    file.write_all(pod("first").as_bytes()).unwrap();
    rig.write("z", &pod("z"));
    rig.until("a:a z:z", &[]).await;
    file.write_all(format!("---\n{}", pod("second")).as_bytes())
        .unwrap();
    drop(file);
    rig.until("a:a two:first two:second z:z", &[]).await;
    // Nor half of a new version.
    let mut file = fs::File::create(rig.dir.path().join("two")).unwrap();
    file.write_all(pod("first").as_bytes()).unwrap();
    rig.write("z", &pod("z2"));
    rig.until("a:a two:first two:second z:z2", &[]).await;
    drop(file);
    rig.until("a:a two:first z:z2", &[]).await;
}

#[tokio::test]
async fn a_file_that_is_never_closed_is_read_in_the_end() {
    let mut rig = Rig::new("", HOUR, |_| {});
    assert_eq!(rig.set().await, "");
    let mut file = fs::File::create(rig.dir.path().join("open")).unwrap();
    file.write_all(pod("open").as_bytes()).unwrap();
    rig.until("open:open", &[]).await;
}

#[tokio::test]
async fn a_file_that_is_replaced_the_way_editors_do_is_never_missing() {
    let mut rig = Rig::new("", HOUR, |dir| fs::write(dir.join("a"), pod("a1")).unwrap());
    assert_eq!(rig.set().await, "a:a1");
    let (path, aside) = (rig.dir.path().join("a"), rig.dir.path().join("a~"));
    for version in ["a2", "a3", "a4"] {
        let before = version.replace(
            ['2', '3', '4'],
            match version {
                "a2" => "1",
                "a3" => "2",
                _ => "3",
            },
        );
        fs::rename(&path, &aside).unwrap();
        tokio::task::yield_now().await;
        fs::write(&path, pod(version)).unwrap();
        fs::remove_file(&aside).unwrap();
        rig.until(&format!("a:{version}"), &[&format!("a:{before}")])
            .await;
    }
}

#[tokio::test]
async fn a_path_that_is_not_there_fails_and_is_noticed_when_it_comes() {
    let mut rig = Rig::new("manifests", HOUR, |_| {});
    assert!(rig.failure().await.contains("No such file"));
    let dir = rig.dir.path().join("manifests");
    fs::create_dir(&dir).unwrap();
    assert_eq!(rig.set().await, "");
    rig.write("manifests/a", &pod("a"));
    assert_eq!(rig.set().await, "manifests/a:a");
    fs::rename(&dir, rig.dir.path().join("elsewhere")).unwrap();
    assert!(rig.failure().await.contains("No such file"));
    fs::rename(rig.dir.path().join("elsewhere"), &dir).unwrap();
    assert_eq!(rig.set().await, "manifests/a:a");
}

#[tokio::test]
async fn a_single_file_is_followed_by_its_name() {
    let mut rig = Rig::new("one.yaml", HOUR, |dir| {
        fs::write(dir.join("one.yaml"), pod("one")).unwrap();
        fs::write(dir.join("other.yaml"), pod("other")).unwrap();
    });
    assert_eq!(rig.set().await, "one.yaml:one");
    rig.write("new", &pod("two"));
    fs::rename(rig.dir.path().join("new"), rig.dir.path().join("one.yaml")).unwrap();
    assert_eq!(rig.set().await, "one.yaml:two");
    // What is wanted of a file that is no more nobody can say.
    fs::remove_file(rig.dir.path().join("one.yaml")).unwrap();
    assert!(rig.failure().await.contains("No such file"));
    rig.write("one.yaml", &pod("two"));
    assert_eq!(rig.set().await, "one.yaml:two");
}

#[tokio::test]
async fn what_inotify_does_not_see_the_period_finds() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, pod("a")).unwrap();
    let mut rig = Rig::new("", Duration::from_millis(50), |dir| {
        symlink(&target, dir.join("link")).unwrap();
    });
    assert_eq!(rig.set().await, "link:a");
    fs::write(outside.path().join("new"), pod("b")).unwrap();
    fs::rename(outside.path().join("new"), &target).unwrap();
    assert_eq!(rig.set().await, "link:b");
}

#[tokio::test]
async fn companions_serve_all_pods_of_the_directory_and_the_first_of_a_name_counts() {
    let map = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{k: {value}}}\n")
    };
    let mut rig = Rig::new("", HOUR, |dir| {
        fs::write(dir.join("a-pod"), pod("a")).unwrap();
        fs::write(dir.join("b-map"), map("first")).unwrap();
        fs::write(dir.join("c-map"), map("second")).unwrap();
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: m}, stringData: {k: v}}";
        fs::write(dir.join("d-secret"), secret).unwrap();
    });
    let Delivery::Set(set) = rig.next().await else {
        panic!()
    };
    let values = set
        .companions
        .config_maps
        .iter()
        .map(|map| map.data.clone().unwrap()["k"].clone());
    assert_eq!(values.collect::<Vec<_>>(), ["first"]);
    assert_eq!(set.companions.secrets.len(), 1);
    assert_eq!(rig.shown(&set), "a-pod:a !c-map");
    assert!(
        set.problems[0].message.contains("b-map"),
        "{:?}",
        set.problems
    );
    // The other one takes its place when the first one goes.
    fs::remove_file(rig.dir.path().join("b-map")).unwrap();
    let Delivery::Set(set) = rig.next().await else {
        panic!()
    };
    assert_eq!(
        set.companions.config_maps[0].data.as_ref().unwrap()["k"],
        "second"
    );
    assert!(set.problems.is_empty());
}

#[tokio::test]
async fn what_says_nothing_new_is_not_delivered() {
    let mut rig = Rig::new("", Duration::from_millis(5), |dir| {
        fs::write(dir.join("a"), pod("a")).unwrap();
    });
    assert_eq!(rig.set().await, "a:a");
    for _ in 0..20 {
        rig.write("a", &pod("a"));
        tokio::task::yield_now().await;
    }
    rig.write("b", &pod("b"));
    assert_eq!(rig.set().await, "a:a b:b");
}

#[tokio::test]
async fn the_source_ends_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, mut deliveries) = mpsc::channel(1);
    let settings = Settings {
        path: dir.path().to_owned(),
        period: HOUR,
        naming: Naming::default(),
    };
    let task = spawn(settings, sender);
    deliveries.recv().await.unwrap();
    drop(deliveries);
    tokio::time::timeout(Duration::from_secs(20), task)
        .await
        .unwrap()
        .unwrap();
}
