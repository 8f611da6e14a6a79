//! Manifests as values, so that scripts need no quoting.
use rkube_tests::Host;
use serde_json::{Value, json};

/// A container that runs a shell script of busybox. `$$` in a command stands for one dollar: here it is the shell's.
pub(crate) fn sh(name: &str, script: &str) -> Value {
    json!({"name": name, "image": Host::IMAGE, "command": ["sh", "-c", script.replace("$$", "$$$$")]})
}

/// `base` with the members of `more` in it, one level deep.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(into), Value::Object(more)) = (&mut base, more) else {
        panic!("both are objects");
    };
    into.extend(more);
    base
}

/// A v1 Pod that is not started again, with more members of its spec.
pub(crate) fn pod(name: &str, containers: &[Value], more: Value) -> String {
    let spec = with(
        json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": containers}),
        more,
    );
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

/// A pod of one container `c` that runs a script once.
pub(crate) fn once(script: &str) -> String {
    pod("once", &[sh("c", script)], json!({}))
}

/// The same with more members of the container.
pub(crate) fn once_with(script: &str, more: Value) -> String {
    pod("once", &[with(sh("c", script), more)], json!({}))
}

/// Several documents in one manifest.
pub(crate) fn documents(all: &[String]) -> String {
    all.join("\n---\n")
}
