//! A real etcd that the tests start, stop, freeze and restart.
use super::*;
use crate::source::{Delivery, Set};
use etcd_client::{Client, CompactionOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc;

const SECONDS: Duration = Duration::from_secs(20);

/// An etcd of one member. It goes with the value.
struct Etcd {
    dir: tempfile::TempDir,
    ports: (u16, u16),
    process: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Etcd {
    /// None, and a line of why, where there is no etcd on this host.
    async fn start(test: &str) -> Option<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            println!("SKIP {test}: needs etcd (package etcd-server)");
            return None;
        }
        let mut etcd = Etcd {
            dir: tempfile::tempdir().unwrap(),
            ports: (free_port(), free_port()),
            process: None,
        };
        etcd.up(etcd.dir.path().join("data").as_path()).await;
        Some(etcd)
    }
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }
    async fn up(&mut self, data: &Path) {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.ports.1));
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let process = Command::new("etcd")
            .env_clear()
            .args(["--name", "m", "--data-dir"])
            .arg(data)
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("m={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let ready = async {
            while self.try_put("/ready", "").await.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SECONDS, ready)
            .await
            .expect("etcd to answer");
    }
    fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
    async fn again(&mut self) {
        let data = self.dir.path().join("data");
        self.up(&data).await;
    }
    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().unwrap().id();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    }
    async fn client(&self) -> Client {
        Client::connect([self.url()], None).await.unwrap()
    }
    async fn try_put(&self, key: &str, value: &str) -> Option<()> {
        let mut client = Client::connect([self.url()], None).await.ok()?;
        let put = tokio::time::timeout(Duration::from_secs(1), client.put(key, value, None));
        put.await.ok()?.ok().map(drop)
    }
    async fn put(&self, key: &str, value: impl ToString) {
        self.client()
            .await
            .put(key, value.to_string(), None)
            .await
            .unwrap();
    }
    async fn delete(&self, key: &str) {
        self.client().await.delete(key, None).await.unwrap();
    }
    /// Forgets all history.
    async fn compact(&self) {
        let mut client = self.client().await;
        let revision = client
            .get("/ready", None)
            .await
            .unwrap()
            .header()
            .unwrap()
            .revision();
        let options = CompactionOptions::new().with_physical();
        client.compact(revision, Some(options)).await.unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.down();
    }
}

struct Rig {
    deliveries: mpsc::Receiver<Delivery>,
}

fn watch(endpoints: Vec<String>) -> Rig {
    let (sender, deliveries) = mpsc::channel(16);
    let settings = Settings {
        endpoints,
        tls: TlsFiles::default(),
        node: "n1".to_owned(),
        patience: Duration::from_millis(700),
    };
    spawn(settings, sender);
    Rig { deliveries }
}

fn shown(set: &Set) -> String {
    let pods = set.pods.iter().map(|wanted| {
        let image = wanted.pod.spec.as_ref().unwrap().containers[0]
            .image
            .as_ref();
        format!(
            "{}={}",
            wanted.pod.metadata.name.as_ref().unwrap(),
            image.unwrap()
        )
    });
    let maps = set.companions.config_maps.iter().map(|map| {
        let data = map.data.as_ref().unwrap();
        format!("{}:{}", map.metadata.name.as_ref().unwrap(), data["k"])
    });
    let secrets = set
        .companions
        .secrets
        .iter()
        .map(|secret| secret.metadata.name.clone().unwrap());
    let problems = set
        .problems
        .iter()
        .map(|problem| format!("!{}", problem.place));
    pods.chain(maps)
        .chain(secrets)
        .chain(problems)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Rig {
    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(SECONDS, self.deliveries.recv());
        next.await.expect("a delivery in time").unwrap()
    }
    async fn set(&mut self) -> Set {
        match self.next().await {
            Delivery::Set(set) => set,
            Delivery::Failed(failed) => panic!("{failed:?}"),
        }
    }
    /// Waits for the set that is shown so: events may come one by one.
    async fn until(&mut self, want: &str) -> Set {
        loop {
            match self.next().await {
                Delivery::Set(set) if shown(&set) == want => return set,
                Delivery::Set(set) => println!("on the way to {want:?}: {:?}", shown(&set)),
                Delivery::Failed(failed) => println!("on the way to {want:?}: {failed:?}"),
            }
        }
    }
    async fn failure(&mut self) -> String {
        match self.next().await {
            Delivery::Failed(failed) => {
                format!("{}: {}", failed.problem.place, failed.problem.message)
            }
            Delivery::Set(set) => panic!("{}", shown(&set)),
        }
    }
}

/// A pod as a master stores it.
fn pod(name: &str, node: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": image}]}, "status": {"phase": "Pending"}})
}

#[tokio::test]
async fn pods_of_this_node_come_and_go_with_their_keys() {
    let Some(etcd) = Etcd::start("pods_of_this_node_come_and_go_with_their_keys").await else {
        return;
    };
    etcd.put("/registry/pods/default/a", pod("a", "n1", "i:1"))
        .await;
    etcd.put("/registry/pods/default/b", pod("b", "n2", "i"))
        .await;
    let mut rig = watch(vec![etcd.url()]);
    let set = rig.set().await;
    assert_eq!(shown(&set), "a=i:1");
    assert_eq!(set.pods[0].place, "/registry/pods/default/a");
    assert_eq!(set.pods[0].pod.metadata.uid.as_deref(), Some("uid-a"));
    assert!(set.pods[0].pod.metadata.creation_timestamp.is_none());

    etcd.put("/registry/pods/default/a", pod("a", "n1", "i:2"))
        .await;
    assert_eq!(shown(&rig.set().await), "a=i:2");
    // Bound by a scheduler, later.
    etcd.put("/registry/pods/default/c", pod("c", "", "i"))
        .await;
    etcd.put("/registry/pods/default/c", pod("c", "n1", "i"))
        .await;
    rig.until("a=i:2 c=i").await;
    let mut going = pod("c", "n1", "i");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    etcd.put("/registry/pods/default/c", going).await;
    rig.until("a=i:2").await;
    // A value that is broken keeps the pod; one that was nobody's says nothing.
    etcd.put("/registry/pods/default/x", "{").await;
    etcd.put("/registry/pods/default/a", "{").await;
    rig.until("a=i:2 !/registry/pods/default/a").await;
    etcd.delete("/registry/pods/default/a").await;
    rig.until("").await;
}

#[tokio::test]
async fn manifests_by_hand_and_those_of_2014_are_read() {
    let Some(etcd) = Etcd::start("manifests_by_hand_and_those_of_2014_are_read").await else {
        return;
    };
    let mut rig = watch(vec![etcd.url()]);
    rig.until("").await;
    let web = "version: v1beta1\nid: web\ncontainers: [{name: c, image: i}]\n";
    etcd.put("/registry/nodes/n1/manifests/web.yaml", web).await;
    let set = rig.until("web=i").await;
    assert_eq!(set.pods[0].place, "/registry/nodes/n1/manifests/web.yaml");
    let bound = json!({"kind": "BoundPods", "apiVersion": "v1beta1", "host": "", "items": [
        {"id": "old", "namespace": "ns", "uid": "u-1", "spec": {"containers": [{"name": "c", "image": "o"}], "restartPolicy": {}}}]});
    etcd.put("/registry/nodes/n1/boundpods", bound).await;
    let set = rig.until("old=o web=i").await;
    assert_eq!(set.pods[0].pod.metadata.uid.as_deref(), Some("u-1"));
    etcd.put("/registry/nodes/n1/manifests/web.yaml", "kind: [")
        .await;
    rig.until("old=o web=i !/registry/nodes/n1/manifests/web.yaml")
        .await;
    etcd.put("/registry/nodes/n1/other", web).await;
    etcd.put("/registry/nodes/n10/manifests/web", web).await;
    etcd.delete("/registry/nodes/n1/manifests/web.yaml").await;
    rig.until("old=o").await;
}

#[tokio::test]
async fn what_a_pod_refers_to_is_followed_and_nothing_else() {
    let Some(etcd) = Etcd::start("what_a_pod_refers_to_is_followed_and_nothing_else").await else {
        return;
    };
    let map = |name: &str, value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": value}});
    for name in ["m", "other"] {
        etcd.put(
            &format!("/registry/configmaps/default/{name}"),
            map(name, "1"),
        )
        .await;
    }
    let mut needy = pod("a", "n1", "i");
    needy["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "m"}}, {"name": "s", "secret": {"secretName": "s"}}]);
    etcd.put("/registry/pods/default/a", &needy).await;
    let mut rig = watch(vec![etcd.url()]);
    assert_eq!(
        shown(&rig.set().await),
        "a=i m:1",
        "the pod never comes without it"
    );
    etcd.put("/registry/configmaps/default/m", map("m", "2"))
        .await;
    assert_eq!(shown(&rig.set().await), "a=i m:2");
    etcd.put("/registry/configmaps/default/other", map("other", "2"))
        .await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}, "data": {}});
    etcd.put("/registry/secrets/default/s", secret).await;
    assert_eq!(shown(&rig.set().await), "a=i m:2 s");
    // A need that comes up while it is watched.
    let mut second = pod("b", "n1", "i");
    second["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "other"}}]);
    etcd.put("/registry/pods/default/b", second).await;
    assert_eq!(shown(&rig.set().await), "a=i b=i m:2 other:2 s");
    etcd.put("/registry/configmaps/default/other", map("other", "3"))
        .await;
    assert_eq!(shown(&rig.set().await), "a=i b=i m:2 other:3 s");
    etcd.delete("/registry/pods/default/a").await;
    rig.until("b=i other:3").await;
}

#[tokio::test]
async fn it_goes_on_after_a_break_a_freeze_and_a_compaction() {
    let Some(mut etcd) = Etcd::start("it_goes_on_after_a_break_a_freeze_and_a_compaction").await
    else {
        return;
    };
    etcd.put("/registry/pods/default/a", pod("a", "n1", "i:1"))
        .await;
    let mut rig = watch(vec![etcd.url()]);
    assert_eq!(shown(&rig.set().await), "a=i:1");

    etcd.down();
    let failure = rig.failure().await;
    assert!(
        failure.starts_with(&etcd.url()) && failure.contains("refused"),
        "{failure}"
    );
    etcd.again().await;
    rig.until("a=i:1").await;
    // What changed while nobody watched, and was compacted away before anybody could hear of it.
    etcd.signal(Signal::STOP);
    assert!(
        rig.failure().await.contains("within"),
        "a server that hangs is given up"
    );
    etcd.signal(Signal::CONT);
    rig.until("a=i:1").await;

    etcd.down();
    rig.failure().await;
    etcd.again().await;
    rig.until("a=i:1").await;
    etcd.put("/registry/pods/default/b", pod("b", "n1", "i"))
        .await;
    rig.until("a=i:1 b=i").await;
    etcd.compact().await;
    etcd.delete("/registry/pods/default/a").await;
    rig.until("b=i").await;
}

#[tokio::test]
async fn what_was_compacted_away_is_listed() {
    let Some(mut etcd) = Etcd::start("what_was_compacted_away_is_listed").await else {
        return;
    };
    etcd.put("/registry/pods/default/a", pod("a", "n1", "i"))
        .await;
    let proxy = Proxy::new(etcd.ports.0).await;
    let mut rig = watch(vec![proxy.url()]);
    assert_eq!(shown(&rig.set().await), "a=i");
    proxy.open(false);
    rig.failure().await;
    etcd.put("/registry/pods/default/b", pod("b", "n1", "i"))
        .await;
    etcd.delete("/registry/pods/default/a").await;
    etcd.compact().await;
    proxy.open(true);
    rig.until("b=i").await;
    // Another etcd at the same address, younger than what is known.
    proxy.open(false);
    etcd.down();
    let fresh = etcd.dir.path().join("fresh");
    etcd.up(&fresh).await;
    etcd.put("/registry/pods/default/new", pod("new", "n1", "i"))
        .await;
    proxy.open(true);
    rig.until("new=i").await;
    etcd.put("/registry/pods/default/b", pod("b", "n1", "i"))
        .await;
    rig.until("b=i new=i").await;
}

#[tokio::test]
async fn any_server_will_do_and_none_at_start_is_said() {
    let Some(etcd) = Etcd::start("any_server_will_do_and_none_at_start_is_said").await else {
        return;
    };
    etcd.put("/registry/pods/default/a", pod("a", "n1", "i"))
        .await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let mut rig = watch(vec![nobody.clone(), etcd.url()]);
    assert_eq!(shown(&rig.set().await), "a=i");
    let mut rig = watch(vec![nobody]);
    assert!(rig.failure().await.contains("refused"));
    for (wrong, says) in [
        ("http://", "address"),
        (&etcd.url().replace("http", "https"), "etcdCAFile"),
    ] {
        let failure = watch(vec![wrong.to_owned()]).failure().await;
        assert!(failure.contains(says), "{failure}");
    }
}

#[tokio::test]
async fn more_keys_than_a_page_are_all_seen() {
    let Some(etcd) = Etcd::start("more_keys_than_a_page_are_all_seen").await else {
        return;
    };
    for number in 0..100 {
        let name = format!("p{number:03}");
        etcd.put(
            &format!("/registry/pods/default/{name}"),
            pod(&name, if number % 2 == 0 { "n1" } else { "n2" }, "i"),
        )
        .await;
    }
    let mut rig = watch(vec![etcd.url()]);
    assert_eq!(rig.set().await.pods.len(), 50);
}

/// A door before etcd that can be shut: connections that are there break.
struct Proxy {
    port: u16,
    open: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    async fn new(target: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, opened) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut opened = opened.clone();
                if !*opened.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", target)).await
                    else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = opened.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Proxy { port, open }
    }
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
    fn open(&self, open: bool) {
        self.open.send_replace(open);
    }
}
