//! What is going on, as 2014 told it: the current state of a pod.
use super::table::{Kind, Version, read};
use serde_json::{Map, Value, json};

/// Writes the current state of a `v1` pod into what is shown of it. `host_known` says whether its minion is among those
/// that are well.
pub fn of_pod(stored: &Value, host_known: bool, shown: &mut Value) {
    let status = &stored["status"];
    let host = stored["spec"]["nodeName"].as_str().unwrap_or_default();
    let mut info = Map::new();
    let statuses = status["containerStatuses"].as_array();
    for container in statuses.into_iter().flatten() {
        if let Some(name) = container["name"].as_str() {
            let told = json!({
                "state": state(&container["state"]), "restartCount": container["restartCount"], "image": container["image"],
            });
            info.insert(name.to_owned(), told);
        }
    }
    if let Some(ip) = status["podIP"].as_str().filter(|ip| !ip.is_empty()) {
        let started = json!({"running": {"startedAt": status["startTime"]}});
        info.insert("net".to_owned(), json!({"podIP": ip, "state": started}));
    }
    let current = json!({
        "status": word(stored, host, host_known), "host": host, "hostIP": status["hostIP"], "podIP": status["podIP"],
        "message": status["message"], "info": info,
    });
    let all = read(
        Kind::Pod,
        Version::V1beta1,
        &json!({"currentState": current}),
    );
    shown["currentState"] = all["currentState"].clone();
}

/// `Waiting`, `Running` or `Terminated`.
fn word(stored: &Value, host: &str, host_known: bool) -> &'static str {
    let status = &stored["status"];
    let phase = status["phase"].as_str().unwrap_or_default();
    if host.is_empty() {
        return "Waiting";
    }
    if !host_known || matches!(phase, "Succeeded" | "Failed") {
        return "Terminated";
    }
    let told = status["containerStatuses"].as_array();
    let Some(told) = told.filter(|told| !told.is_empty()) else {
        return match phase {
            "Running" => "Running",
            _ => "Waiting",
        };
    };
    let wanted = stored["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten();
    let (mut running, mut stopped, mut unknown) = (0, 0, 0);
    for container in wanted {
        let state = told.iter().find(|told| told["name"] == container["name"]);
        let state = state.map(|told| &told["state"]);
        match state {
            Some(state) if state["running"].is_object() => running += 1,
            Some(state) if state["terminated"].is_object() => stopped += 1,
            _ => unknown += 1,
        }
    }
    match (running, stopped, unknown) {
        (1.., _, 0) => "Running",
        (0, 1.., 0) => "Terminated",
        _ => "Waiting",
    }
}

fn state(v1: &Value) -> Value {
    let mut state = json!({});
    for (now, then) in [
        ("waiting", "waiting"),
        ("running", "running"),
        ("terminated", "termination"),
    ] {
        if v1[now].is_object() {
            state[then] = v1[now].clone();
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_pods() {
        let pod = |phase: &str, states: &[&str]| {
            let containers: Vec<Value> = (0..states.len())
                .map(|n| json!({"name": n.to_string()}))
                .collect();
            let told: Vec<Value> = states
                .iter()
                .enumerate()
                .filter(|(_, state)| !state.is_empty())
                .map(|(n, state)| json!({"name": n.to_string(), "state": {*state: {}}}))
                .collect();
            json!({"spec": {"nodeName": "n", "containers": containers},
                "status": {"phase": phase, "containerStatuses": told}})
        };
        let cases: [(&str, &[&str], bool, &str); 9] = [
            ("Pending", &[""], true, "Waiting"),
            ("Running", &["running"], true, "Running"),
            ("Running", &["running", "terminated"], true, "Running"),
            ("Running", &["running", "waiting"], true, "Waiting"),
            ("Running", &["running", ""], true, "Waiting"),
            ("Running", &["terminated"], true, "Terminated"),
            ("Failed", &["waiting"], true, "Terminated"),
            ("Running", &["running"], false, "Terminated"),
            ("Running", &[""], true, "Running"),
        ];
        for (phase, states, known, want) in cases {
            assert_eq!(
                word(&pod(phase, states), "n", known),
                want,
                "{phase} {states:?}"
            );
        }
        assert_eq!(word(&pod("Running", &["running"]), "", true), "Waiting");
    }

    #[test]
    fn a_pod_as_it_runs() {
        let stored = json!({
            "spec": {"nodeName": "127.0.0.1", "containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Running", "podIP": "10.1.0.2", "hostIP": "127.0.0.1", "startTime": "2014-10-07T00:00:00Z",
                "containerStatuses": [
                    {"name": "a", "image": "i", "restartCount": 1, "state": {"running": {"startedAt": "2014-10-07T00:00:01Z"}}},
                    {"name": "b", "image": "j", "restartCount": 0, "state": {"terminated": {"exitCode": 3, "reason": "Error",
                        "containerID": "x"}}}]},
        });
        let mut shown = json!({});
        of_pod(&stored, true, &mut shown);
        let want = json!({
            "manifest": {"version": "", "id": "", "volumes": null, "containers": null, "restartPolicy": {}},
            "status": "Running", "host": "127.0.0.1", "hostIP": "127.0.0.1", "podIP": "10.1.0.2",
            "info": {
                "a": {"state": {"running": {"startedAt": "2014-10-07T00:00:01Z"}}, "restartCount": 1, "image": "i"},
                "b": {"state": {"termination": {"exitCode": 3, "reason": "Error"}}, "restartCount": 0, "image": "j"},
                "net": {"state": {"running": {"startedAt": "2014-10-07T00:00:00Z"}}, "restartCount": 0,
                    "podIP": "10.1.0.2", "image": ""},
            },
        });
        assert_eq!(shown["currentState"], want);
    }
}
