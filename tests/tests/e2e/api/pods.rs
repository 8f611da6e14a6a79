//! Pods as the API shows them, and pods by request.
use super::{ask, curl};
use crate::support::{pod, sh};
use rkube_tests::{Host, eventually};
use serde_json::{Value, json};

const LOOP: &str = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";

fn long(name: &str) -> String {
    pod(name, &[sh("c", LOOP)], json!({"restartPolicy": "Always"}))
}

/// The pod as `/pods/<ns>/<name>` has it, when it is as wanted.
fn awaited(host: &Host, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(30, what, || {
        let got = ask(host, &[&format!("/pods/default/{name}")]);
        Some(got.json()).filter(|pod| got.code == 200 && wanted(pod))
    })
}

fn running(host: &Host, name: &str) -> Value {
    awaited(host, name, "the pod runs", |pod| {
        pod["status"]["phase"] == "Running"
    })
}

#[test]
fn pods_in_todays_words_and_in_those_of_2014() {
    let Some(host) = Host::new() else { return };
    host.manifest("web", &long("web"));
    let _daemon = host.serve(&[]);
    let pod = running(&host, "web");
    assert!(pod["status"]["podIP"].is_string(), "{pod}");
    let list = ask(&host, &["/pods"]).code(200).json();
    assert_eq!(
        (&list["apiVersion"], &list["kind"]),
        (&json!("v1"), &json!("PodList"))
    );
    assert_eq!(list["items"][0]["metadata"]["uid"], pod["metadata"]["uid"]);
    let list = ask(&host, &["/runningpods/"]).code(200).json();
    assert_eq!(
        list["items"][0]["spec"]["containers"],
        json!([{"image": Host::IMAGE, "name": "c"}])
    );
    // A kubelet's client of 2014.
    let info = ask(&host, &["/podInfo?podID=web&podNamespace=default"])
        .code(200)
        .json();
    assert!(
        info["c"]["state"]["running"]["startedAt"].is_string(),
        "{info}"
    );
    assert_eq!(info["c"]["image"], Host::IMAGE);
    assert_eq!(info["net"]["podIP"], pod["status"]["podIP"]);
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    ask(&host, &[&format!("/podInfo?podID=web&UUID={uid}")]).code(200);
    ask(&host, &["/podInfo?podID=web&UUID=other"]).code(404);
    ask(&host, &["/podInfo?podID=none"])
        .code(404)
        .status("NotFound");
    ask(&host, &["/podInfo"]).code(400).status("BadRequest");
    let bound = ask(&host, &["/boundPods"]).code(200).json();
    assert_eq!(
        (&bound["kind"], &bound["apiVersion"]),
        (&json!("BoundPods"), &json!("v1beta1"))
    );
    let item = &bound["items"][0];
    assert_eq!((&item["id"], &item["uid"]), (&json!("web"), &json!(uid)));
    assert_eq!(item["spec"]["restartPolicy"], json!({"always": {}}));
    let config = ask(&host, &["/configz"]).code(200).json();
    assert_eq!(config["kubeletconfig"]["port"], 10250);
    ask(&host, &["/pods/default/none"])
        .code(404)
        .status("NotFound");
    // Of a file: it is that which has to go.
    let said = ask(&host, &["-X", "DELETE", "/pods/default/web"])
        .code(409)
        .status("Conflict");
    assert!(said.contains("web.yaml"), "{said}");
}

#[test]
fn pods_by_request_survive_the_daemon() {
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(&[]);
    let file = host.file("web.json", long("web"));
    let data = format!("@{file}");
    let put = || {
        ask(
            &host,
            &["-X", "PUT", "--data-binary", &data, "/pods/default/web"],
        )
    };
    assert_eq!(put().code(201).json()["metadata"]["name"], "web");
    let first = running(&host, "web");
    put().code(200);
    daemon.kill();
    let _daemon = host.serve(&[]);
    let again = running(&host, "web");
    let started = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone()
    };
    assert_eq!(
        (&again["metadata"]["uid"], started(&again)),
        (&first["metadata"]["uid"], started(&first))
    );
    let deleted = ask(&host, &["-X", "DELETE", "/pods/default/web"])
        .code(200)
        .json();
    assert_eq!(deleted["status"], "Success");
    eventually(30, "nothing of it runs", || {
        let list = ask(&host, &["/runningpods"]).code(200).json();
        list["items"]
            .as_array()
            .is_none_or(Vec::is_empty)
            .then_some(())
    });
    assert_eq!(
        ask(&host, &["-X", "DELETE", "/pods/default/none"]).code,
        404
    );
}

#[test]
fn manifests_are_posted_as_in_2014() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.serve(&[]);
    let manifest = |id: &str| {
        json!({"version": "v1beta1", "id": id, "restartPolicy": {"always": {}},
            "containers": [{"name": "c", "image": Host::IMAGE, "command": ["sh", "-c", LOOP]}]})
    };
    let post = |target: &str, body: &Value| {
        ask(
            &host,
            &["-X", "POST", "--data-binary", &body.to_string(), target],
        )
    };
    assert_eq!(post("/container", &manifest("one")).code(200).text(), "");
    running(&host, "one");
    post("/containers", &json!([manifest("two"), manifest("three")])).code(200);
    running(&host, "two");
    running(&host, "three");
    eventually(30, "what was posted before has gone", || {
        let names = ask(&host, &["/runningpods"]).code(200).json();
        (!names.to_string().contains("\"one\"")).then_some(())
    });
}

#[test]
fn a_bad_body_changes_nothing() {
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(&[]);
    let data = host.file("web.json", long("web"));
    ask(
        &host,
        &[
            "-X",
            "PUT",
            "--data-binary",
            &format!("@{data}"),
            "/pods/default/web",
        ],
    )
    .code(201);
    running(&host, "web");
    for (target, body) in [
        ("/containers", "not a manifest: ["),
        ("/containers", ""),
        ("/container", "{}"),
        ("/pods/default/other", "{\"kind\": \"Pod\"}"),
    ] {
        let method = if target.starts_with("/pods") {
            "PUT"
        } else {
            "POST"
        };
        let said = ask(&host, &["-X", method, "--data-binary", body, target]);
        assert!(
            (400..500).contains(&said.code),
            "{target} {body}: {} {}",
            said.code,
            said.text()
        );
        assert_eq!(said.json()["kind"], "Status");
    }
    // The name in the path is another one.
    ask(
        &host,
        &[
            "-X",
            "PUT",
            "--data-binary",
            &format!("@{data}"),
            "/pods/default/other",
        ],
    )
    .code(422);
    let large = host.file("large", vec![b'#'; 5 << 20]);
    for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let data = format!("@{large}");
        let mut all = vec!["-X", "POST", "-H", "Expect:", "--data-binary", &data];
        all.extend(more);
        all.push("/containers");
        let got = ask(&host, &all);
        // The connection may be closed before all of it was taken.
        assert!(matches!(got.code, 413 | 0), "{}", got.code);
    }
    running(&host, "web");
    // Without the right to.
    let ca = super::ca(&host);
    curl(
        &host,
        &[
            "--cacert",
            &ca,
            "-X",
            "POST",
            "--data-binary",
            "[]",
            "/containers",
        ],
    )
    .code(401);
    running(&host, "web");
    drop(daemon);
    let _daemon = host.serve(&["--enable-debugging-handlers=false"]);
    ask(&host, &["-X", "POST", "--data-binary", "[]", "/containers"]).code(404);
    ask(&host, &["/containerLogs/default/web/c"]).code(404);
    ask(&host, &["/pods"]).code(200);
}
