//! The container manifest of 2014 and the pod spec of `v1`. What means what is told in `docs/v1beta1.md`.
use super::probe;
use super::{required, set, text};
use crate::quantity::Quantity;
use crate::v1beta1::names;
use crate::v1beta1::table::Version;
use crate::validate::FieldError;
use serde_json::{Map, Value, json};

/// Where a container leaves its last words, unless it says otherwise.
const LAST_WORDS: &str = "/dev/termination-log";

/// The sources of volumes that 2014 had, and what `v1` calls them.
const SOURCES: [(&str, &str); 4] = [
    ("hostDir", "hostPath"),
    ("emptyDir", "emptyDir"),
    ("persistentDisk", "gcePersistentDisk"),
    ("gitRepo", "gitRepo"),
];

/// What a server of 2014 filled in.
pub(super) fn complete(manifest: &mut Value) {
    if !manifest.is_object() {
        return;
    }
    let policy = manifest["restartPolicy"].as_object();
    if policy.is_none_or(Map::is_empty) {
        manifest["restartPolicy"] = json!({"always": {}});
    }
    for volume in items_mut(manifest, "volumes") {
        let source = &volume["source"];
        if SOURCES.iter().all(|(then, _)| source[*then].is_null()) {
            volume["source"] =
                json!({"hostDir": null, "emptyDir": {}, "persistentDisk": null, "gitRepo": null});
        }
    }
    for container in items_mut(manifest, "containers") {
        for port in items_mut(container, "ports") {
            if text(port, "protocol").is_none() {
                port["protocol"] = "TCP".into();
            }
        }
    }
}

fn items_mut<'v>(value: &'v mut Value, name: &str) -> impl Iterator<Item = &'v mut Value> {
    let items = value.get_mut(name).and_then(Value::as_array_mut);
    items.into_iter().flatten()
}

pub(super) fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    let items = value.get(name).and_then(Value::as_array);
    items.into_iter().flatten()
}

/// The `v1` spec; `at` is in front of every path of a mistake.
pub(super) fn spec(manifest: &Value, at: &str, mistakes: &mut Vec<FieldError>) -> Value {
    match text(manifest, "version") {
        None => mistakes.push(required(format!("{at}version"))),
        Some(version) if Version::parse(version).is_some() => {}
        Some(version) => {
            mistakes.push(FieldError::unsupported(
                format!("{at}version"),
                version,
                &["v1beta1", "v1beta2"],
            ));
        }
    }
    let policies = manifest["restartPolicy"].as_object();
    let mut policies = policies.into_iter().flat_map(Map::keys);
    let policy = match policies.next().map(String::as_str) {
        Some("onFailure") => "OnFailure",
        Some("never") => "Never",
        _ => "Always",
    };
    if policies.next().is_some() {
        let why = "choose one of always, onFailure and never";
        let shown = manifest["restartPolicy"].clone();
        mistakes.push(FieldError::invalid(
            format!("{at}restartPolicy"),
            shown,
            why,
        ));
    }
    let containers = items(manifest, "containers").enumerate();
    let containers: Vec<Value> = containers
        .map(|(index, given)| container(given, &format!("{at}containers[{index}]"), mistakes))
        .collect();
    let volumes: Vec<Value> = items(manifest, "volumes").map(volume).collect();
    let mut spec = json!({"containers": containers, "restartPolicy": policy});
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    spec
}

fn volume(given: &Value) -> Value {
    let mut volume = json!({"name": given["name"]});
    for (then, now) in SOURCES {
        let mut source = given["source"][then].clone();
        if then == "gitRepo" && text(&source, "revision").is_none() {
            source.as_object_mut().map(|repo| repo.remove("revision"));
        }
        if source.is_object() {
            volume[now] = source;
        }
    }
    volume
}

fn container(given: &Value, at: &str, mistakes: &mut Vec<FieldError>) -> Value {
    let mut made =
        json!({"name": given["name"], "imagePullPolicy": pull_policy(given, at, mistakes)});
    set(&mut made, "image", text(given, "image").map(Value::from));
    let args: Vec<Value> = items(given, "command").map(escaped).collect();
    set(&mut made, "args", some(args));
    for same in ["workingDir", "terminationMessagePath"] {
        set(&mut made, same, text(given, same).map(Value::from));
    }
    set(
        &mut made,
        "ports",
        some(items(given, "ports").map(port).collect()),
    );
    let env = items(given, "env").map(|env| {
        let mut made = json!({"name": env["name"]});
        set(
            &mut made,
            "value",
            text(env, "value").map(|_| escaped(&env["value"])),
        );
        made
    });
    set(&mut made, "env", some(env.collect()));
    let mounts = items(given, "volumeMounts").map(|mount| {
        let mut made = json!({"name": mount["name"], "mountPath": text(mount, "mountPath").unwrap_or_default()});
        set(&mut made, "readOnly", mount.get("readOnly").cloned());
        made
    });
    set(&mut made, "volumeMounts", some(mounts.collect()));
    for (amount, place, name) in [("cpu", "requests", "cpu"), ("memory", "limits", "memory")] {
        match given[amount].as_i64() {
            None | Some(0) => {}
            Some(value @ ..0) => {
                let why = "must be greater than or equal to 0";
                mistakes.push(FieldError::invalid(format!("{at}.{amount}"), value, why));
            }
            Some(value) if amount == "cpu" => {
                made["resources"][place][name] = Quantity::from_milli(value).to_string().into();
            }
            Some(value) => {
                made["resources"][place][name] = Quantity::from_units(value).to_string().into();
            }
        }
    }
    set(
        &mut made,
        "livenessProbe",
        probe::probe(&given["livenessProbe"]),
    );
    set(
        &mut made,
        "lifecycle",
        probe::lifecycle(&given["lifecycle"]),
    );
    if given["privileged"] == true {
        made["securityContext"] = json!({"privileged": true});
    }
    made
}

fn some(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
}

fn port(given: &Value) -> Value {
    let mut made = json!({"containerPort": given["containerPort"]});
    set(
        &mut made,
        "name",
        text(given, "name").map(|name| names::port(name).into()),
    );
    set(&mut made, "hostPort", given.get("hostPort").cloned());
    let protocol = text(given, "protocol").map(|protocol| protocol.to_ascii_uppercase().into());
    set(&mut made, "protocol", protocol);
    set(&mut made, "hostIP", text(given, "hostIP").map(Value::from));
    made
}

/// What 2014 did where nothing was said: only a written `:latest` was always pulled.
fn unsaid(image: &str) -> &'static str {
    match image.ends_with(":latest") {
        true => "Always",
        false => "IfNotPresent",
    }
}

fn pull_policy(given: &Value, at: &str, mistakes: &mut Vec<FieldError>) -> &'static str {
    let image = text(given, "image").unwrap_or_default();
    let policy = text(given, "imagePullPolicy").unwrap_or_default();
    match policy.to_ascii_lowercase().as_str() {
        "" => unsaid(image),
        "pullalways" => "Always",
        "pullnever" => "Never",
        "pullifnotpresent" => "IfNotPresent",
        _ => {
            let known = ["PullAlways", "PullIfNotPresent", "PullNever"];
            let path = format!("{at}.imagePullPolicy");
            mistakes.push(FieldError::unsupported(path, policy, &known));
            unsaid(image)
        }
    }
}

/// An update that says the same of pulling as before does not change it, though `:latest` came or went: `v1` has the policy
/// of a pod once and for all.
pub(super) fn keep_pull_policies(before: &Value, given: &Value, seen: &Value, after: &mut Value) {
    let manifest = |pod: &Value| pod["desiredState"]["manifest"].clone();
    let (before, given) = (manifest(before), manifest(given));
    let nth = |list: &Value, name: &Value, nth: usize| {
        let mut found = items(list, "containers").filter(|container| container["name"] == *name);
        found.nth(nth).cloned()
    };
    let mut passed: Vec<Value> = Vec::new();
    for container in items_mut(&mut after["spec"], "containers") {
        let name = container["name"].clone();
        // Two of the same name, which no server takes, go by their order.
        let at = passed.iter().filter(|other| **other == name).count();
        if let (Some(before), Some(given)) = (nth(&before, &name, at), nth(&given, &name, at))
            && before["imagePullPolicy"] == given["imagePullPolicy"]
            && let Some(seen) = nth(&seen["spec"], &name, at)
        {
            container["imagePullPolicy"] = seen["imagePullPolicy"].clone();
        }
        passed.push(name);
    }
}

/// The manifest that says what a `v1` spec says, as far as it can.
pub(super) fn show(spec: &Value) -> Value {
    let volumes: Vec<Value> = items(spec, "volumes").filter_map(show_volume).collect();
    let containers: Vec<Value> = items(spec, "containers")
        .map(|container| show_container(container, spec, &volumes))
        .collect();
    let policy = match spec["restartPolicy"].as_str() {
        Some("OnFailure") => "onFailure",
        Some("Never") => "never",
        _ => "always",
    };
    json!({
        "version": "v1beta1", "containers": some(containers), "volumes": some(volumes), "restartPolicy": {policy: {}},
    })
}

/// None for a volume that 2014 had no words for.
fn show_volume(volume: &Value) -> Option<Value> {
    let mut source = json!({});
    for (then, now) in SOURCES {
        if volume[now].is_object() {
            source[then] = volume[now].clone();
        }
    }
    let known = source.as_object().is_some_and(|source| !source.is_empty());
    known.then(|| json!({"name": volume["name"], "source": source}))
}

fn show_container(container: &Value, spec: &Value, volumes: &[Value]) -> Value {
    let mut shown = json!({"imagePullPolicy": show_pull_policy(container)});
    for same in ["name", "image", "workingDir", "ports"] {
        shown[same] = container[same].clone();
    }
    for port in items_mut(&mut shown, "ports") {
        if text(port, "protocol").is_none() {
            port["protocol"] = "TCP".into();
        }
    }
    shown["command"] = items(container, "args").map(unescaped).collect();
    let env = items(container, "env").filter(|env| env["valueFrom"].is_null());
    shown["env"] = env
        .map(|env| json!({"name": env["name"], "value": unescaped(&env["value"])}))
        .collect();
    let hidden = |mount: &Value| {
        let named = |volume: &&Value| volume["name"] == mount["name"];
        items(spec, "volumes").any(|volume| named(&volume))
            && volumes.iter().all(|volume| !named(&volume))
    };
    let mounts = items(container, "volumeMounts").filter(|mount| !hidden(mount));
    shown["volumeMounts"] = mounts.cloned().collect();
    let resources = &container["resources"];
    let amount = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.parse::<Quantity>().ok())
    };
    shown["cpu"] = amount(&resources["requests"]["cpu"])
        .map(Quantity::milli)
        .into();
    shown["memory"] = amount(&resources["limits"]["memory"])
        .map(Quantity::units)
        .into();
    shown["livenessProbe"] = probe::show_probe(&container["livenessProbe"]);
    shown["lifecycle"] = probe::show_lifecycle(&container["lifecycle"]);
    shown["privileged"] = container["securityContext"]["privileged"].clone();
    let words = text(container, "terminationMessagePath").filter(|path| *path != LAST_WORDS);
    shown["terminationMessagePath"] = words.into();
    shown
}

fn show_pull_policy(container: &Value) -> &'static str {
    let policy = text(container, "imagePullPolicy").unwrap_or_default();
    match policy {
        same if same == unsaid(text(container, "image").unwrap_or_default()) => "",
        "Always" => "PullAlways",
        "Never" => "PullNever",
        "IfNotPresent" => "PullIfNotPresent",
        _ => "",
    }
}

/// 2014 expanded nothing; `v1` takes `$(NAME)` for a variable and `$$` for a dollar.
pub(super) fn escaped(text: &Value) -> Value {
    let text = text.as_str().unwrap_or_default();
    let mut escaped = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        escaped.push(letter);
        if letter == '$' && matches!(letters.peek(), Some('$' | '(')) {
            escaped.push('$');
        }
    }
    escaped.into()
}

/// What [`escaped`] was given.
pub(super) fn unescaped(text: &Value) -> Value {
    let text = text.as_str().unwrap_or_default();
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        if letter == '$' {
            letters.next_if_eq(&'$');
        }
    }
    plain.into()
}
