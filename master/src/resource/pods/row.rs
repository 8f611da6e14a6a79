//! A pod's row in a table: what became of it in a word, and how often it was started again.
use super::super::cells::{age, at, human, is, list, number, or_none, seconds};
use crate::meta;
use serde_json::Value;

/// The cells of a pod's row (k8s.io/kubernetes, pkg/printers/internalversion, `printPod`).
pub(super) fn cells(pod: &Value, now: i64) -> Vec<Value> {
    let seen = Seen::of(pod);
    let nominated = at(pod, "/status/nominatedNodeName");
    let address = list(pod, "/status/podIPs")
        .first()
        .map(|one| at(one, "/ip"));
    let address = address.unwrap_or_else(|| at(pod, "/status/podIP"));
    vec![
        meta::name(pod).into(),
        format!("{}/{}", seen.ready, seen.total).into(),
        seen.word.into(),
        match seen.last_restart.filter(|_| seen.restarts > 0) {
            Some(then) => format!("{} ({} ago)", seen.restarts, human(now - then)).into(),
            None => seen.restarts.to_string().into(),
        },
        age(pod, now).into(),
        or_none(address).into(),
        or_none(at(pod, "/spec/nodeName")).into(),
        or_none(nominated).into(),
        gates(pod).into(),
    ]
}

fn gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return or_none("");
    }
    let open = |gate: &&Value| condition(pod, at(gate, "/conditionType")) == Some("True");
    format!("{}/{}", gates.iter().filter(open).count(), gates.len())
}

fn condition<'p>(pod: &'p Value, kind: &str) -> Option<&'p str> {
    let conditions = list(pod, "/status/conditions");
    let found = conditions.iter().find(|one| at(one, "/type") == kind);
    found.map(|one| at(one, "/status"))
}

/// What a row says of the containers.
struct Seen {
    word: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<i64>,
}

impl Seen {
    fn of(pod: &Value) -> Seen {
        let phase = at(pod, "/status/phase");
        let reason = at(pod, "/status/reason");
        let scheduled = list(pod, "/status/conditions")
            .iter()
            .find(|one| at(one, "/type") == "PodScheduled");
        let gated = scheduled.is_some_and(|one| at(one, "/reason") == "SchedulingGated");
        let mut seen = Seen {
            word: match (reason, gated) {
                ("", true) => "SchedulingGated".to_owned(),
                ("", false) => phase.to_owned(),
                (reason, _) => reason.to_owned(),
            },
            ready: 0,
            total: list(pod, "/spec/containers").len(),
            restarts: 0,
            last_restart: None,
        };
        let initializing = seen.inits(pod);
        if !initializing || condition(pod, "Initialized") == Some("True") {
            seen.containers(pod, initializing);
        }
        if !meta::text(pod, "deletionTimestamp").is_empty() {
            if reason == "NodeLost" {
                seen.word = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                seen.word = "Terminating".to_owned();
            }
        }
        seen
    }

    /// Counts the containers that run first; whether the pod still waits for one of them.
    fn inits(&mut self, pod: &Value) -> bool {
        let specs = list(pod, "/spec/initContainers");
        let sidecar = |status: &Value| {
            let spec = specs
                .iter()
                .find(|one| one.get("name") == status.get("name"));
            spec.is_some_and(|one| at(one, "/restartPolicy") == "Always")
        };
        self.total += specs
            .iter()
            .filter(|one| at(one, "/restartPolicy") == "Always")
            .count();
        let mut waits = None;
        let (mut sidecars, mut last_of_sidecars) = (0, None);
        for (index, status) in list(pod, "/status/initContainerStatuses")
            .iter()
            .enumerate()
        {
            let beside = sidecar(status);
            if waits.is_none() || beside {
                self.count(status);
                if beside {
                    sidecars += number(status, "/restartCount");
                    last_of_sidecars = last_of_sidecars.max(finished(status));
                    if is(status, "/ready") {
                        self.ready += 1;
                    }
                }
            }
            if waits.is_some() {
                continue;
            }
            let state = |pointer: &str| status.pointer(&format!("/state/{pointer}"));
            let done = state("terminated").is_some_and(|end| number(end, "/exitCode") == 0);
            if done || (beside && is(status, "/started")) {
                continue;
            }
            waits = Some(if let Some(end) = state("terminated") {
                format!("Init:{}", ended(end))
            } else {
                match at(status, "/state/waiting/reason") {
                    "" | "PodInitializing" => format!("Init:{index}/{}", specs.len()),
                    reason => format!("Init:{reason}"),
                }
            });
        }
        match waits {
            Some(word) => {
                self.word = word;
                true
            }
            None => {
                // The work of those that ended counts no more.
                (self.restarts, self.last_restart) = (sidecars, last_of_sidecars);
                false
            }
        }
    }

    fn count(&mut self, status: &Value) {
        self.restarts += number(status, "/restartCount");
        self.last_restart = self.last_restart.max(finished(status));
    }

    /// The first container that does not run gives the word.
    fn containers(&mut self, pod: &Value, initializing: bool) {
        let (mut running, mut failed) = (false, None);
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            self.count(status);
            let waiting = at(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.word);
            } else if let Some(end) = status.pointer("/state/terminated") {
                self.word = ended(end);
                if number(end, "/exitCode") != 0 || number(end, "/signal") != 0 {
                    failed = Some(self.word.clone());
                }
            } else if is(status, "/ready") && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.word == "Completed" && !initializing {
            let is_ready = condition(pod, "Ready") == Some("True");
            match (running, is_ready, failed) {
                (true, true, _) => "Running".clone_into(&mut self.word),
                (_, _, Some(word)) => self.word = word,
                (true, false, None) => "NotReady".clone_into(&mut self.word),
                (false, _, None) => {}
            }
        }
    }
}

fn finished(status: &Value) -> Option<i64> {
    seconds(at(status, "/lastState/terminated/finishedAt"))
}

/// Why a container ended, in a word.
fn ended(end: &Value) -> String {
    match (at(end, "/reason"), number(end, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(end, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "tests write it in place")]
    fn row(spec: Value, status: Value) -> [String; 3] {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let cells = cells(&pod, 1_767_225_610);
        [1, 2, 3].map(|cell| cells[cell].as_str().unwrap().to_owned())
    }

    fn two() -> Value {
        json!({"containers": [{"name": "a"}, {"name": "b"}]})
    }

    #[test]
    fn of_running_pods() {
        let run = json!({"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}});
        let done = json!({"name": "b", "restartCount": 1, "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let status =
            json!({"phase": "Running", "containerStatuses": [run, done], "conditions": ready});
        assert_eq!(
            row(two(), status.clone()),
            ["1/2", "Completed", "3 (10s ago)"].map(|word| {
                if word == "Completed" {
                    "Running".to_owned()
                } else {
                    word.to_owned()
                }
            })
        );
        let mut not = status;
        not["conditions"] = json!([]);
        assert_eq!(row(two(), not)[1], "NotReady");
    }

    #[test]
    fn of_pods_that_wait_or_ended() {
        let wait = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason}}}]});
        assert_eq!(
            row(two(), json!({"phase": "Pending"})),
            ["0/2", "Pending", "0"]
        );
        assert_eq!(row(two(), wait("ImagePullBackOff"))[1], "ImagePullBackOff");
        let end = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]});
        assert_eq!(row(two(), end)[1], "ExitCode:3");
        let evicted = json!({"phase": "Failed", "reason": "Evicted"});
        assert_eq!(row(two(), evicted)[1], "Evicted");
    }

    #[test]
    fn of_pods_that_begin() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"},
            {"name": "s", "restartPolicy": "Always"}]});
        let at = |states: Value| {
            row(
                spec.clone(),
                json!({"phase": "Pending", "initContainerStatuses": states}),
            )
        };
        assert_eq!(
            at(json!([{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}])),
            ["0/2", "Init:0/3", "0"]
        );
        let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}});
        assert_eq!(
            at(json!([done, {"name": "j", "state": {"running": {}}}]))[1],
            "Init:1/3"
        );
        assert_eq!(
            at(json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]))
                [1],
            "Init:Error"
        );
        assert_eq!(
            at(json!([{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]))[1],
            "Init:CrashLoopBackOff"
        );
    }
}
