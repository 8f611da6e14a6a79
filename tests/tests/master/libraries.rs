//! The client libraries people write programs with.
use rkube_tests::{Master, client};

const PYTHON: &str = r#"
import threading
from kubernetes import client, config, watch

config.load_kube_config()
core = client.CoreV1Api()
assert {"default", "kube-system"} <= {item.metadata.name for item in core.list_namespace().items}

pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"n": "0"}},
       "spec": {"containers": [{"name": "c", "image": "demo/httpd"}]}}
seen = []
start = core.list_namespaced_pod("default").metadata.resource_version
def look():
    for event in watch.Watch().stream(core.list_namespaced_pod, "default", resource_version=start, timeout_seconds=60):
        seen.append((event["type"], event["object"].metadata.labels["n"]))
        if event["type"] == "DELETED":
            return
looker = threading.Thread(target=look)
looker.start()
made = core.create_namespaced_pod("default", pod)
assert made.status.phase == "Pending", made
for n in ("1", "2"):
    core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"n": n}}})
got = core.read_namespaced_pod("p", "default")
got.metadata.labels["n"] = "3"
core.replace_namespaced_pod("p", "default", got)
try:
    core.replace_namespaced_pod("p", "default", got)
    raise SystemExit("a stale object was taken")
except client.ApiException as err:
    assert err.status == 409, err
core.patch_namespaced_pod_status("p", "default", {"status": {"phase": "Running"}})
core.delete_namespaced_pod("p", "default")
looker.join(60)
assert seen == [("ADDED", "0"), ("MODIFIED", "1"), ("MODIFIED", "2"), ("MODIFIED", "3"), ("MODIFIED", "3"), ("DELETED", "3")], seen

for i in range(7):
    core.create_namespaced_config_map("default", {"metadata": {"generateName": "g-", "labels": {"set": "g"}}, "data": {"i": str(i)}})
names, token, rounds = set(), None, 0
while True:
    page = core.list_namespaced_config_map("default", limit=3, label_selector="set=g", _continue=token)
    names |= {item.metadata.name for item in page.items}
    rounds += 1
    token = page.metadata._continue
    if not token:
        break
assert len(names) == 7 and rounds >= 3, (names, rounds)
core.delete_collection_namespaced_config_map("default", label_selector="set=g")
assert not core.list_namespaced_config_map("default", label_selector="set=g").items

event = core.create_namespaced_event("default", client.CoreV1Event(
    metadata=client.V1ObjectMeta(name="e"), involved_object=client.V1ObjectReference(kind="Pod", name="p", namespace="default"),
    reason="Tried", message="once", type="Normal"))
# (The library's own model of events.k8s.io refuses the nulls that the core's events have.)
assert core.read_namespaced_event("e", "default").involved_object.name == "p"
lease = client.CoordinationV1Api().create_namespaced_lease("default", client.V1Lease(
    metadata=client.V1ObjectMeta(name="l"), spec=client.V1LeaseSpec(holder_identity="me", lease_duration_seconds=15)))
assert lease.spec.holder_identity == "me"
review = client.AuthorizationV1Api().create_self_subject_access_review(
    {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
assert review.status.allowed
assert client.VersionApi().get_code().major == "1"
print("all is well")
"#;

const LIGHTKUBE: &str = r#"
from lightkube import Client, ApiError
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, Service
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.types import PatchType

client = Client(field_manager="tests")
client.create(Namespace(metadata=ObjectMeta(name="lk")))
config = client.create(ConfigMap(metadata=ObjectMeta(name="c", namespace="lk"), data={"a": "1"}))
config.data["a"] = "2"
config = client.replace(config)
assert client.get(ConfigMap, "c", namespace="lk").data == {"a": "2"}
client.patch(ConfigMap, "c", {"data": {"b": "3"}}, namespace="lk", patch_type=PatchType.MERGE)
client.patch(ConfigMap, "c", [{"op": "add", "path": "/data/d", "value": "4"}], namespace="lk", patch_type=PatchType.JSON)
applied = client.apply(ConfigMap(metadata=ObjectMeta(name="s", namespace="lk"), data={"x": "y"}))
assert any(entry.operation == "Apply" for entry in applied.metadata.managedFields)
assert {item.metadata.name for item in client.list(ConfigMap, namespace="lk")} >= {"c", "s", "kube-root-ca.crt"}
try:
    client.get(Pod, "nope", namespace="lk")
    raise SystemExit("it is not there")
except ApiError as err:
    assert err.status.reason == "NotFound" and err.status.code == 404, err
client.delete(Namespace, "lk")
print("all is well")
"#;

const JAVASCRIPT: &str = r#"
const k8s = require('@kubernetes/client-node');
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
(async () => {
  const seen = [];
  let ending = false;
  const informer = k8s.makeInformer(config, '/api/v1/namespaces/default/configmaps',
    () => core.listNamespacedConfigMap({ namespace: 'default' }));
  const deleted = new Promise((resolve) => {
    for (const kind of ['add', 'update', 'delete']) {
      informer.on(kind, (object) => {
        if (object.metadata.name !== 'js') return;
        seen.push(kind);
        if (kind === 'delete') resolve();
      });
    }
    informer.on('error', (err) => { if (!ending) { console.error(err); process.exit(1); } });
  });
  await informer.start();
  await core.createNamespacedConfigMap({ namespace: 'default', body: { metadata: { name: 'js' }, data: { a: '1' } } });
  const object = await core.readNamespacedConfigMap({ namespace: 'default', name: 'js' });
  object.data.a = '2';
  await core.replaceNamespacedConfigMap({ namespace: 'default', name: 'js', body: object });
  await core.deleteNamespacedConfigMap({ namespace: 'default', name: 'js' });
  await deleted;
  ending = true;
  await informer.stop();
  if (seen.join() !== 'add,update,delete') throw new Error(seen.join());
  console.log('all is well');
  process.exit(0);
})().catch((err) => { console.error(err); process.exit(1); });
"#;

#[test]
fn python_kubernetes() {
    if client("python").is_none() {
        return;
    }
    let Some(master) = Master::start() else {
        return;
    };
    let script = master.file("script.py", PYTHON);
    let run = master.client("python", &[&script]).unwrap().run();
    run.ok().says("all is well");
}

#[test]
fn python_lightkube() {
    if client("python").is_none() {
        return;
    }
    let Some(master) = Master::start() else {
        return;
    };
    let script = master.file("script.py", LIGHTKUBE);
    let run = master.client("python", &[&script]).unwrap().run();
    run.ok().says("all is well");
}

#[test]
fn javascript() {
    if client("node-client").is_none() {
        return;
    }
    let Some(master) = Master::start() else {
        return;
    };
    let script = master.file("script.cjs", JAVASCRIPT);
    let run = master.client("node-client", &[&script]).unwrap().run();
    run.ok().says("all is well");
}
