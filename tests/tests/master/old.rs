//! 2014's clients, over TLS: raw requests of their form, chunked watches and WebSockets, beside today's API.
use rkube_tests::{Master, client};

const PYTHON: &str = r#"
import http.client, json, ssl, sys, threading
import websocket

pki = sys.argv[1]
tls = ssl.create_default_context(cafile=pki + "/ca.crt")
tls.load_cert_chain(pki + "/admin.crt", pki + "/admin.key")

def ask(method, path, body=None):
    connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=tls, timeout=30)
    connection.request(method, path, body=json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()

def pod(name, version, image="demo/httpd"):
    return {"kind": "Pod", "apiVersion": version, "id": name, "labels": {"app": "old"},
            "desiredState": {"manifest": {"version": version, "id": name, "containers": [
                {"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}}}

for version in ("v1beta1", "v1beta2"):
    base = "/api/" + version
    name = "p-" + version
    code, pods = ask("GET", base + "/pods")
    assert code == 200 and pods["kind"] == "PodList", (code, pods)
    since = pods["resourceVersion"]
    assert isinstance(since, int), pods

    told = {"chunked": [], "socket": []}
    def chunked():
        connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=tls, timeout=30)
        connection.request("GET", base + "/watch/pods?resourceVersion=%d&labels=app%%3Dold" % since)
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        while True:
            event = json.loads(answer.readline())
            told["chunked"].append((event["type"], event["object"]["id"]))
            if event["type"] == "DELETED":
                return
    def socket():
        url = "wss://127.0.0.1:6443%s/watch/pods?resourceVersion=%d&labels=app%%3Dold" % (base, since)
        files = {"ca_certs": pki + "/ca.crt", "certfile": pki + "/admin.crt", "keyfile": pki + "/admin.key"}
        connection = websocket.create_connection(url, sslopt=files, timeout=30)
        while True:
            event = json.loads(connection.recv())
            told["socket"].append((event["type"], event["object"]["id"]))
            if event["type"] == "DELETED":
                connection.close()
                return
    watchers = [threading.Thread(target=chunked), threading.Thread(target=socket)]
    for watcher in watchers:
        watcher.start()

    code, made = ask("POST", base + "/pods?sync=true", pod(name, version))
    assert code == 200 and made["id"] == name and made["kind"] == "Pod", (code, made)
    assert made["apiVersion"] == version and isinstance(made["resourceVersion"], int), made
    # The same object, as today's clients see it, and changed by one of them.
    code, today = ask("GET", "/api/v1/namespaces/default/pods/" + name)
    assert code == 200 and today["spec"]["containers"][0]["image"] == "demo/httpd", (code, today)
    assert today["metadata"]["labels"] == {"app": "old"}, today
    today["metadata"]["labels"]["tier"] = "front"
    code, today = ask("PUT", "/api/v1/namespaces/default/pods/" + name, today)
    assert code == 200, today
    code, shown = ask("GET", base + "/pods/" + name)
    assert code == 200 and shown["labels"] == {"app": "old", "tier": "front"}, shown
    assert shown["desiredState"]["manifest"]["containers"][0]["image"] == "demo/httpd", shown
    code, listed = ask("GET", base + "/pods?labels=tier%3Dfront")
    assert [item["id"] for item in listed["items"]] == [name], listed
    shown["labels"]["tier"] = "back"
    code, updated = ask("PUT", base + "/pods/" + name + "?sync=true", shown)
    assert code == 200 and updated["labels"]["tier"] == "back", (code, updated)
    code, stale = ask("PUT", base + "/pods/" + name + "?sync=true", shown)
    assert code == 409 and stale["status"].lower() == "failure", (code, stale)
    code, gone = ask("DELETE", base + "/pods/" + name + "?sync=true")
    assert code == 200, (code, gone)
    for watcher in watchers:
        watcher.join(30)
        assert not watcher.is_alive(), told
    want = [("ADDED", name), ("MODIFIED", name), ("MODIFIED", name), ("DELETED", name)]
    assert told == {"chunked": want, "socket": want}, told

    # What 2014's guestbook made beside pods.
    service = {"kind": "Service", "apiVersion": version, "id": "s-" + version, "port": 8000, "containerPort": 80, "selector": {"app": "old"}}
    code, made = ask("POST", base + "/services?sync=true", service)
    assert code == 200 and made["port"] == 8000 and made["portalIP"].startswith("10.0."), (code, made)
    controller = {"kind": "ReplicationController", "apiVersion": version, "id": "oldReplicaController",
                  "desiredState": {"replicas": 2, "replicaSelector": {"app": "old"},
                                   "podTemplate": {"desiredState": pod("t", version)["desiredState"], "labels": {"app": "old"}}}}
    code, made = ask("POST", base + "/replicationControllers?sync=true", controller)
    assert code == 200 and made["id"] == "oldReplicaController", (code, made)
    code, today = ask("GET", "/api/v1/namespaces/default/replicationcontrollers")
    names = [item["metadata"]["name"] for item in today["items"]]
    assert len(names) == 1 and names[0].startswith("oldreplicacontroller-"), names
    code, shown = ask("GET", base + "/replicationControllers/oldReplicaController")
    assert code == 200 and shown["desiredState"]["replicas"] == 2, (code, shown)
    for path in ("/services/s-" + version, "/replicationControllers/oldReplicaController"):
        code, gone = ask("DELETE", base + path + "?sync=true")
        assert code == 200, (path, code, gone)
        code, gone = ask("GET", base + path)
        assert code == 404 and gone["kind"] == "Status", (path, code, gone)

    code, minion = ask("POST", base + "/minions?sync=true", {"kind": "Minion", "apiVersion": version, "id": "m-" + version})
    assert code == 200, (code, minion)
    code, bad = ask("POST", base + "/pods?sync=true", {"kind": "Service", "apiVersion": version, "id": "x", "port": 1})
    assert code == 400 and bad["kind"] == "Status", (code, bad)
    code, operations = ask("GET", base + "/operations")
    assert code == 200, (code, operations)
print("done")
"#;

#[test]
fn pods_services_controllers_and_watches_of_2014() {
    if client("python").is_none() {
        return;
    }
    let Some(master) = Master::start() else {
        return;
    };
    let pki = master.data().join("pki");
    let script = master.file("old.py", PYTHON);
    let arguments = [script.as_str(), pki.to_str().unwrap()];
    let run = master.client("python", &arguments).unwrap().run();
    run.ok().says("done");
}
