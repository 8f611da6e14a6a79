//! A node that joins: a real kubelet takes its pods from the API server, tells how they are, and is asked for logs, programs and ports.
use rkube_tests::{Daemon, Host, Master, client, eventually, http_get};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A host with a master and, as node `n1`, a kubelet that knows no other source.
struct Cluster {
    kubelet: Option<Daemon>,
    master: Master,
    host: Host,
}

impl Cluster {
    fn new() -> Option<Self> {
        client("kubectl")?;
        let host = Host::new()?;
        let _gateway = host.neighbour();
        host.netns()
            .ip(&format!("route add default via {}", Host::NEIGHBOUR));
        let master = Master::on(&host, &[]);
        let mut cluster = Cluster {
            kubelet: None,
            master,
            host,
        };
        cluster.join();
        cluster.await_condition("node/n1", "Ready");
        Some(cluster)
    }

    /// Starts the kubelet.
    fn join(&mut self) {
        let kubeconfig = self.master.node_kubeconfig("n1");
        let authority = self.master.data().join("pki/ca.crt");
        self.kubelet = Some(self.host.serve(&[
            "--hostname-override",
            "n1",
            "--address",
            "0.0.0.0",
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--client-ca-file",
            authority.to_str().unwrap(),
        ]));
    }

    fn create(&self, object: &Value) {
        self.master
            .kubectl_reading(&["create", "-f", "-"], &object.to_string())
            .ok();
    }

    #[track_caller]
    fn await_condition(&self, object: &str, condition: &str) {
        eventually(30, "the node and the pod tell how they are", || {
            let got = self.master.kubectl(&["get", object, "-o", "json"]);
            let got: Value = serde_json::from_str(&got.stdout).ok()?;
            let mut conditions = got["status"]["conditions"].as_array()?.iter();
            conditions
                .any(|one| one["type"] == condition && one["status"] == "True")
                .then_some(())
        });
    }

    /// No supervisor of a pod is left.
    #[track_caller]
    fn assert_nothing_runs(&self) {
        eventually(10, "nothing runs any more", || {
            let processes = self.host.processes();
            let mut supervisors = processes.iter();
            (!supervisors.any(|(_, name)| name.contains("rkube-pause"))).then_some(())
        });
    }

    fn pod(&self, name: &str) -> Value {
        self.master.object(&["pod", name])
    }
}

/// A pod on `n1` that has `containers`.
fn pod(name: &str, containers: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 0, "containers": containers}})
}

/// One that runs a script of sh.
fn script(script: &str) -> Value {
    json!({"name": "c", "image": Host::IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script]})
}

const PAGE: &str = "mkdir -p /www && echo the page > /www/index.html && echo serving && exec httpd -f -p 8080 -h /www";

#[test]
fn a_node_joins_and_is_asked() {
    let Some(cluster) = Cluster::new() else {
        return;
    };
    let master = &cluster.master;
    let nodes = master.kubectl(&["get", "nodes", "-o", "wide"]).ok();
    nodes.says("Ready").says(&Host::ADDRESS.to_string());
    cluster.create(&pod("web", &json!([script(PAGE)])));
    cluster.await_condition("pod/web", "Ready");
    let web = cluster.pod("web");
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(web["status"]["hostIP"], Host::ADDRESS.to_string());
    assert!(web["status"]["podIP"].is_string(), "{web}");

    master.kubectl(&["logs", "web"]).ok().says("serving");
    let exec = [
        "exec",
        "-i",
        "web",
        "--",
        "sh",
        "-c",
        "read word; echo got $word; echo wrong >&2; exit 7",
    ];
    master
        .kubectl_reading(&exec, "hello\n")
        .code(7)
        .says("got hello")
        .complains("wrong");
    let page = |path: &str| master.kubectl(&["get", "--raw", path]).ok().stdout;
    assert_eq!(
        page("/api/v1/namespaces/default/pods/web:8080/proxy/"),
        "the page\n"
    );
    assert_eq!(page("/api/v1/nodes/n1/proxy/healthz"), "ok");
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    cluster.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports}}));
    cluster.create(
        &json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": web["status"]["podIP"]}], "ports": [{"port": 8080}]}]}),
    );
    assert_eq!(
        page("/api/v1/namespaces/default/services/web:80/proxy/index.html"),
        "the page\n"
    );

    let forward = master
        .client("kubectl", &["port-forward", "pod/web", "18080:8080"])
        .unwrap();
    let mut forward = forward.within(60).start();
    forward.await_stdout("Forwarding from 127.0.0.1:18080");
    let address = SocketAddr::from(([127, 0, 0, 1], 18080));
    for _ in 0..3 {
        let answer = master.netns().inside(|| http_get(address, "/")).unwrap();
        assert!(answer.contains("the page"), "{answer}");
    }
    drop(forward);

    let events = master
        .kubectl(&[
            "get",
            "events",
            "--field-selector",
            "involvedObject.name=web",
        ])
        .ok();
    events.says("Started");
    master
        .kubectl(&["delete", "pod", "web", "--timeout=20s"])
        .ok();
    cluster.assert_nothing_runs();
}

#[test]
fn attach_reads_and_writes() {
    let Some(cluster) = Cluster::new() else {
        return;
    };
    let mut echo = script("read word; echo got $word; sleep 1000");
    echo["stdin"] = true.into();
    cluster.create(&pod("echo", &json!([echo])));
    cluster.await_condition("pod/echo", "Ready");
    let attach = cluster
        .master
        .client("kubectl", &["attach", "-i", "echo"])
        .unwrap();
    let mut attach = attach.stdin("hello\n").within(60).start();
    attach.await_stdout("got hello");
    let follow = cluster
        .master
        .client("kubectl", &["logs", "-f", "echo"])
        .unwrap();
    let mut follow = follow.within(60).start();
    follow.await_stdout("got hello");
    cluster
        .master
        .kubectl(&["delete", "pod", "echo", "--timeout=20s"])
        .ok();
    follow.wait().ok();
}

#[test]
fn pods_get_what_the_api_keeps_for_them() {
    let Some(cluster) = Cluster::new() else {
        return;
    };
    cluster
        .master
        .kubectl(&[
            "create",
            "configmap",
            "settings",
            "--from-literal=colour=green",
        ])
        .ok();
    cluster
        .master
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "password",
            "--from-literal=word=sesame",
        ])
        .ok();
    let mut reader = script("cat /settings/colour; echo; echo $WORD");
    reader["env"] = json!([{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "password", "key": "word"}}}]);
    reader["volumeMounts"] = json!([{"name": "settings", "mountPath": "/settings"}]);
    let mut pod = pod("reader", &json!([reader]));
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
    cluster.create(&pod);
    eventually(30, "the pod has ended", || {
        (cluster.pod("reader")["status"]["phase"] == "Succeeded").then_some(())
    });
    let said = cluster.master.kubectl(&["logs", "reader"]).ok().stdout;
    assert_eq!(said, "green\nsesame\n");
}

#[test]
fn a_pod_proves_who_it_is() {
    let Some(cluster) = Cluster::new() else {
        return;
    };
    let say = "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; grep -c CERTIFICATE ca.crt; cat token";
    let mut pod = pod("robot", &json!([script(say)]));
    pod["spec"]["restartPolicy"] = "Never".into();
    cluster.create(&pod);
    eventually(30, "the pod has ended", || {
        (cluster.pod("robot")["status"]["phase"] == "Succeeded").then_some(())
    });
    let said = cluster.master.kubectl(&["logs", "robot"]).ok().stdout;
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[..2], ["default", "2"]);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": said[2]}});
    let review = cluster
        .master
        .kubectl_reading(&["create", "-f", "-", "-o", "json"], &review.to_string());
    let review: Value = serde_json::from_str(&review.ok().stdout).unwrap();
    let user = &review["status"]["user"];
    assert_eq!(user["username"], "system:serviceaccount:default:default");
    assert_eq!(
        user["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["robot"])
    );
    assert_eq!(
        user["extra"]["authentication.kubernetes.io/node-name"],
        json!(["n1"])
    );
}

#[test]
fn a_pod_that_cannot_run_says_why() {
    let Some(cluster) = Cluster::new() else {
        return;
    };
    let mut pod = pod("far", &json!([script("sleep 1000")]));
    pod["spec"]["volumes"] = json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]);
    cluster.create(&pod);
    eventually(30, "the pod's status says why", || {
        (cluster.pod("far")["status"]["reason"] == "BadManifest").then_some(())
    });
    eventually(10, "so does its event", || {
        let described = cluster.master.kubectl(&["describe", "pod", "far"]).ok();
        let tail = described.stdout.split_once("Events:")?.1.to_owned();
        tail.contains("spec.volumes[0].nfs").then_some(())
    });
    let list = cluster.master.kubectl(&["get", "pod", "far"]).ok();
    list.says("BadManifest");
    cluster
        .master
        .kubectl(&["delete", "pod", "far", "--timeout=20s"])
        .ok();
}

#[test]
fn kubelet_and_master_may_be_killed() {
    let Some(mut cluster) = Cluster::new() else {
        return;
    };
    cluster.create(&pod("web", &json!([script(PAGE)])));
    cluster.await_condition("pod/web", "Ready");
    let container = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    let before = container(&cluster.pod("web"));
    cluster.kubelet.take().unwrap().kill();
    cluster.join();
    cluster.create(&pod("second", &json!([script("sleep 1000")])));
    cluster.await_condition("pod/second", "Ready");
    assert_eq!(container(&cluster.pod("web")), before, "it went on");

    cluster.master.kill();
    cluster.master.resume();
    assert_eq!(container(&cluster.pod("web")), before, "it went on");
    cluster.create(&pod("third", &json!([script("sleep 1000")])));
    cluster.await_condition("pod/third", "Ready");
    cluster
        .master
        .kubectl(&["delete", "pod", "web", "second", "third", "--timeout=30s"])
        .ok();
    cluster.assert_nothing_runs();
}
