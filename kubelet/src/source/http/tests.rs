//! Requests, what is delivered for them, and what is left after a restart.
use super::*;
use std::path::Path;
use std::time::Duration;

struct Rig {
    dir: tempfile::TempDir,
    http: HttpSource,
    deliveries: mpsc::Receiver<Delivery>,
}

fn pod(name: &str, image: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: c, image: {image}}}]}}}}\n"
    )
}
fn map(value: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{k: {value}}}}}\n"
    )
}

fn start(dir: &Path) -> (HttpSource, mpsc::Receiver<Delivery>) {
    let (sender, deliveries) = mpsc::channel(16);
    (
        spawn(dir.join("sources/http.json"), "here", sender),
        deliveries,
    )
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (http, deliveries) = start(dir.path());
        Rig {
            dir,
            http,
            deliveries,
        }
    }
    /// As a kubelet that was killed and is back.
    fn again(&mut self) {
        (self.http, self.deliveries) = start(self.dir.path());
    }
    fn file(&self) -> PathBuf {
        self.dir.path().join("sources/http.json")
    }
    async fn set(&mut self) -> Set {
        let next = tokio::time::timeout(Duration::from_secs(20), self.deliveries.recv());
        match next.await.expect("a delivery in time").unwrap() {
            Delivery::Set(set) => set,
            Delivery::Failed(failed) => panic!("{failed:?}"),
        }
    }
    /// Insists on the next set: names, images and places, then the ConfigMaps' values.
    #[track_caller]
    fn check(set: &Set, want: &str) {
        let pods = set.pods.iter().map(|wanted| {
            let image = wanted.pod.spec.as_ref().unwrap().containers[0]
                .image
                .as_ref();
            let name = wanted.pod.metadata.name.as_ref();
            format!("{}={}@{}", name.unwrap(), image.unwrap(), wanted.place)
        });
        let maps = set
            .companions
            .config_maps
            .iter()
            .map(|map| map.data.as_ref().unwrap()["k"].clone());
        let problems = set
            .problems
            .iter()
            .map(|problem| format!("!{}", problem.place));
        assert_eq!(
            pods.chain(maps)
                .chain(problems)
                .collect::<Vec<_>>()
                .join(" "),
            want
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_wanted_until_it_is_deleted_and_survives_a_restart() {
    let mut rig = Rig::new();
    Rig::check(&rig.set().await, "");
    let accepted = rig
        .http
        .put("default", "a", pod("a", "i:1").into())
        .await
        .unwrap();
    assert!(accepted.created);
    Rig::check(&rig.set().await, "a=i:1@/pods/default/a");
    let accepted = rig
        .http
        .put("default", "a", (pod("a", "i:2") + &map("v")).into())
        .await
        .unwrap();
    assert!(!accepted.created);
    Rig::check(&rig.set().await, "a=i:2@/pods/default/a v");
    rig.http
        .put("default", "b", pod("b", "i").into())
        .await
        .unwrap();
    let both = "a=i:2@/pods/default/a b=i@/pods/default/b v";
    Rig::check(&rig.set().await, both);

    rig.again();
    let before = rig.set().await;
    Rig::check(&before, both);
    assert_eq!(rig.http.list().len(), 2);
    assert!(rig.http.get("default", "b").is_some() && rig.http.get("other", "b").is_none());

    let deleted = rig.http.delete("default", "a").await.unwrap();
    assert_eq!(deleted.pods.len(), 1);
    Rig::check(&rig.set().await, "b=i@/pods/default/b");
    assert!(
        rig.http
            .delete("default", "a")
            .await
            .unwrap()
            .pods
            .is_empty()
    );
    rig.again();
    let set = rig.set().await;
    Rig::check(&set, "b=i@/pods/default/b");
    let kept = before.pods.iter().find(|wanted| **wanted == set.pods[0]);
    assert!(kept.is_some(), "a restart changes nothing of a pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_2014_requests_replace_everything() {
    let mut rig = Rig::new();
    rig.set().await;
    rig.http
        .put("default", "a", pod("a", "i").into())
        .await
        .unwrap();
    rig.set().await;
    let two = r#"[{"version":"v1beta1","id":"web","containers":[{"name":"c","image":"i"}]},{"containers":[{"name":"c","image":"j"}]}]"#;
    let accepted = rig
        .http
        .replace_all("/containers", two.into())
        .await
        .unwrap();
    assert_eq!(accepted.pods.len(), 2);
    Rig::check(&rig.set().await, "2=j@/containers web=i@/containers");
    rig.http.delete("default", "2").await.unwrap();
    Rig::check(&rig.set().await, "web=i@/containers");
    rig.http
        .replace_all("/containers", "[]".into())
        .await
        .unwrap();
    Rig::check(&rig.set().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing() {
    let mut rig = Rig::new();
    rig.set().await;
    rig.http
        .put("default", "a", pod("a", "i").into())
        .await
        .unwrap();
    rig.set().await;
    for (text, says) in [
        (
            pod("b", "i"),
            "the manifest is of pod default/b, the request is for default/a",
        ),
        (
            pod("a", "i") + "---\n" + &pod("b", "i"),
            "2 pods in the manifest",
        ),
        (map("v"), "0 pods in the manifest"),
        ("{".to_owned(), "cannot be read as YAML or JSON"),
        (String::new(), "no object"),
    ] {
        let err = rig.http.put("default", "a", text.into()).await.unwrap_err();
        assert!(err.to_string().contains(says), "{err}");
    }
    rig.http
        .replace_all("/containers", "[7]".into())
        .await
        .unwrap_err();
    // A disk that takes nothing: a folder stands where the file is to be written.
    std::fs::create_dir(rig.file().with_extension("new")).unwrap();
    let err = rig.http.delete("default", "a").await.unwrap_err();
    assert!(matches!(err, HttpError::Store(_)), "{err}");
    assert_eq!(rig.http.list().len(), 1);
    rig.again();
    Rig::check(&rig.set().await, "a=i@/pods/default/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_put_brings_the_newer_companion() {
    let mut rig = Rig::new();
    rig.set().await;
    for (name, value) in [("b", "old"), ("a", "new")] {
        let text = pod(name, "i") + &map(value);
        rig.http.put("default", name, text.into()).await.unwrap();
    }
    rig.set().await;
    Rig::check(
        &rig.set().await,
        "a=i@/pods/default/a b=i@/pods/default/b new",
    );
    rig.again();
    Rig::check(
        &rig.set().await,
        "a=i@/pods/default/a b=i@/pods/default/b new",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_version_kept_is_a_problem_and_stays() {
    let mut rig = Rig::new();
    rig.set().await;
    for name in ["a", "b"] {
        rig.http
            .put("default", name, pod(name, "i").into())
            .await
            .unwrap();
    }
    let text = std::fs::read_to_string(rig.file()).unwrap();
    let future = text.replacen(
        "\"image\":\"i\"",
        "\"image\":\"i\",\"fromTheFuture\":true",
        1,
    );
    assert_ne!(text, future);
    std::fs::write(rig.file(), &future).unwrap();
    rig.again();
    Rig::check(&rig.set().await, "b=i@/pods/default/b !/pods/default/a");
    rig.http
        .put("default", "c", pod("c", "i").into())
        .await
        .unwrap();
    Rig::check(
        &rig.set().await,
        "b=i@/pods/default/b c=i@/pods/default/c !/pods/default/a",
    );
    rig.again();
    Rig::check(
        &rig.set().await,
        "b=i@/pods/default/b c=i@/pods/default/c !/pods/default/a",
    );
    assert_eq!(rig.http.delete("default", "a").await.unwrap().pods.len(), 1);
    Rig::check(&rig.set().await, "b=i@/pods/default/b c=i@/pods/default/c");
    // A file that says nothing at all is not taken for one in which nothing is wanted, and not written over.
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    for (text, says) in [
        (newer.as_str(), "newer rkubelet"),
        ("half a fi", "expected"),
    ] {
        std::fs::write(rig.file(), text).unwrap();
        rig.again();
        let failed = match rig.deliveries.recv().await.unwrap() {
            Delivery::Failed(failed) => failed,
            Delivery::Set(set) => panic!("{set:?}"),
        };
        assert!(failed.problem.message.contains(says), "{failed:?}");
        let err = rig
            .http
            .put("default", "d", pod("d", "i").into())
            .await
            .unwrap_err();
        assert!(matches!(err, HttpError::Unusable(_)), "{err}");
        assert_eq!(std::fs::read_to_string(rig.file()).unwrap(), text);
    }
    rig.http
        .replace_all("/container", pod("e", "i").into())
        .await
        .unwrap();
    Rig::check(&rig.set().await, "e=i@/container");
}
