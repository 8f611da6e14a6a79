//! Tables: what sources say, what is here, what is to be done.
use super::*;
use crate::admission::Companions;
use crate::source::{Failed, Wanted};
use crate::state::{Origin, Phase, PodState, StopRequest};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

fn parsed(name: &str, image: &str) -> Pod {
    let object = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let mut pod = serde_json::from_value(object).unwrap();
    rkube_api::defaults::pod(&mut pod);
    pod
}

/// `place/name=command` each; a command makes another pod of it, unlike an image.
fn set(source: SourceKind, words: &str) -> Set {
    let pods = words.split_whitespace().map(|word| {
        let (place, rest) = word.split_once('/').unwrap();
        let (name, command) = rest.split_once('=').unwrap_or((rest, "run"));
        Wanted {
            pod: Arc::new(commanded(parsed(name, "image:1"), command)),
            place: place.to_owned(),
        }
    });
    Set {
        source,
        pods: pods.collect(),
        ..Set::default()
    }
}

fn commanded(mut pod: Pod, command: &str) -> Pod {
    pod.spec.as_mut().unwrap().containers[0].command = Some(vec![command.to_owned()]);
    pod
}

fn stored(name: &str, source: SourceKind, place: &str) -> StoredPod {
    let mut pod = commanded(parsed(name, "image:1"), "run");
    pod.metadata.uid = Some(format!("uid-{name}"));
    let mut record = PodRecord::new(pod, Timestamp::UNIX_EPOCH);
    record.origin = Origin {
        source,
        place: place.to_owned(),
    };
    let mut state = PodState::new(&record, "boot");
    state.phase = Phase::Running;
    StoredPod {
        record: Arc::new(record),
        state,
    }
}

fn over(mut pod: StoredPod, by: Option<StopBy>) -> StoredPod {
    pod.state.phase = Phase::Failed;
    stopped(pod, by)
}

fn stopped(mut pod: StoredPod, by: Option<StopBy>) -> StoredPod {
    Arc::make_mut(&mut pod.record).stop = by.map(|by| StopRequest {
        grace_seconds: 1,
        by,
    });
    pod
}

fn union_of(sets: Vec<Set>) -> Union {
    let sources = [SourceKind::File, SourceKind::Url, SourceKind::Etcd];
    let mut union = Union::new(Settings {
        sources: sources.into(),
    });
    sets.into_iter()
        .for_each(|set| union.accept(Delivery::Set(set)));
    union
}

/// What is to be done, in short: `+name` `~uid` `-uid:why` `x-uid` `!place`.
fn shown(decision: &Decision) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(decision.admit.iter().map(|one| format!("+{}", one.name())));
    words.extend(decision.update.iter().map(|one| format!("~{}", one.uid())));
    words.extend(
        decision
            .end
            .iter()
            .map(|(uid, by)| format!("-{uid}:{by:?}")),
    );
    words.extend(decision.unwanted.iter().map(|uid| format!("x-{uid}")));
    words.extend(decision.refused.iter().map(|one| format!("!{}", one.place)));
    words.join(" ")
}

#[track_caller]
fn check(union: &mut Union, here: &[StoredPod], expected: &str) {
    let here: Vec<_> = here.iter().cloned().map(Arc::new).collect();
    assert_eq!(shown(&union.decide(&here)), expected);
    // What is compared once is not compared again, and says the same.
    assert_eq!(shown(&union.decide(&here)), expected);
}

const FILE: SourceKind = SourceKind::File;

#[test]
fn a_set_against_what_is_here() {
    let here = || stored("p", FILE, "a");
    let table: [(&str, Vec<StoredPod>, &str); 16] = [
        ("a/p", vec![], "+p"),
        ("a/p", vec![here()], ""),
        ("b/p", vec![here()], "~uid-p"),
        ("a/p=other", vec![here()], "-uid-p:Replaced"),
        ("", vec![here()], "-uid-p:Removed"),
        ("", vec![stopped(here(), Some(StopBy::Removed))], ""),
        (
            "a/p=other",
            vec![stopped(here(), Some(StopBy::Replaced))],
            "",
        ),
        (
            "a/p=other",
            vec![stopped(here(), Some(StopBy::Command))],
            "-uid-p:Replaced",
        ),
        ("a/p", vec![stopped(here(), Some(StopBy::Command))], ""),
        ("", vec![over(here(), None)], "x-uid-p"),
        ("", vec![over(here(), Some(StopBy::Removed))], ""),
        ("a/p", vec![over(here(), None)], ""),
        ("b/p", vec![over(here(), None)], ""),
        ("a/p=other", vec![over(here(), None)], "+p"),
        ("a/p", vec![over(here(), Some(StopBy::Removed))], "+p"),
        ("a/p", vec![over(here(), Some(StopBy::Command))], ""),
    ];
    for (words, here, expected) in table {
        println!("{words}: {expected}");
        check(&mut union_of(vec![set(FILE, words)]), &here, expected);
    }
}

#[test]
fn who_has_a_name_keeps_it() {
    let url = SourceKind::Url;
    let table: [(Vec<Set>, Vec<StoredPod>, &str); 7] = [
        (vec![set(FILE, "a/p b/p")], vec![], "+p !b"),
        (
            vec![set(FILE, "a/p b/p")],
            vec![stored("p", FILE, "b")],
            "!a",
        ),
        (vec![set(FILE, "a/p"), set(url, "u/p")], vec![], "+p !u"),
        (
            vec![set(FILE, "a/p"), set(url, "u/p")],
            vec![stored("p", url, "u")],
            "!a",
        ),
        (
            vec![set(FILE, "a/p")],
            vec![stored("p", SourceKind::Command, "")],
            "!a",
        ),
        (
            vec![set(FILE, "a/p")],
            vec![over(stored("p", SourceKind::Command, ""), None)],
            "+p",
        ),
        // It has to end first; then the next decision lets the other in.
        (
            vec![set(FILE, "a/p"), set(url, "")],
            vec![stored("p", url, "u")],
            "-uid-p:Removed !a",
        ),
    ];
    for (sets, here, expected) in table {
        println!("{expected}");
        check(&mut union_of(sets), &here, expected);
    }
}

#[test]
fn a_refusal_says_who_has_the_name() {
    let mut union = union_of(vec![set(FILE, "a/p b/p")]);
    let decision = union.decide(&[]);
    assert!(
        decision.refused[0].message.contains("file a"),
        "{decision:?}"
    );
    let other = Arc::new(stored("p", SourceKind::Command, ""));
    let decision = union.decide(&[other]);
    assert!(
        decision
            .refused
            .iter()
            .any(|one| one.message.contains("uid-p")),
        "{decision:?}"
    );
}

#[test]
fn a_source_that_fails_or_is_silent_keeps_what_it_has() {
    let here = [stored("p", FILE, "a"), stored("h", SourceKind::Http, "h")];
    // One that is not configured any more does not.
    check(&mut union_of(vec![]), &here, "-uid-h:Removed");
    let mut union = union_of(vec![set(FILE, "a/p")]);
    let problem = Problem {
        place: "a".to_owned(),
        message: "gone".to_owned(),
    };
    union.accept(Delivery::Failed(Failed {
        source: FILE,
        problem: problem.clone(),
    }));
    check(&mut union, &here[..1], "");
    assert_eq!(union.decide(&[]).places.len(), 1);
    // A place that turned bad keeps its pod, its neighbours are looked at.
    let bad = Set {
        problems: vec![problem],
        ..set(FILE, "")
    };
    let neighbour = stored("n", FILE, "b");
    check(
        &mut union_of(vec![bad]),
        &[here[0].clone(), neighbour],
        "-uid-n:Removed",
    );
}

#[test]
fn an_image_and_what_comes_beside_change_a_pod_in_place() {
    let mut new = set(FILE, "a/p");
    let mut pod = Pod::clone(&new.pods[0].pod);
    pod.spec.as_mut().unwrap().containers[0].image = Some("image:2".to_owned());
    new.pods[0].pod = Arc::new(pod);
    let decision = union_of(vec![new]).decide(&[Arc::new(stored("p", FILE, "a"))]);
    assert_eq!(shown(&decision), "~uid-p");
    assert_eq!(decision.update[0].origin.place, "a");
    // The pod's own node may be called otherwise than when it came.
    let mut here = stored("p", FILE, "a");
    Arc::make_mut(&mut here.record)
        .pod
        .spec
        .as_mut()
        .unwrap()
        .node_name = Some("before".to_owned());
    check(&mut union_of(vec![set(FILE, "a/p")]), &[here], "");
}

#[test]
fn an_evicted_pod_comes_back_unless_it_runs_once() {
    let evicted = |policy: &str| {
        let mut pod = over(stored("p", FILE, "a"), None);
        let record = Arc::make_mut(&mut pod.record);
        record.eviction = Some(crate::state::Eviction {
            reason: "Evicted".to_owned(),
            message: String::new(),
            grace_seconds: 0,
        });
        record.pod.spec.as_mut().unwrap().restart_policy = Some(policy.to_owned());
        pod
    };
    check(
        &mut union_of(vec![set(FILE, "a/p")]),
        &[evicted("Always")],
        "+p",
    );
    let mut once = set(FILE, "a/p");
    let mut pod = Pod::clone(&once.pods[0].pod);
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".to_owned());
    once.pods[0].pod = Arc::new(pod);
    check(&mut union_of(vec![once]), &[evicted("Never")], "");
}

/// What a bad place gave beside its pod is known to the pod's record alone after a restart, and stays.
#[test]
fn companions_of_a_bad_place_stay() {
    let object = |name: &str| json!({"metadata": {"name": name, "namespace": "default"}});
    let with_maps = |maps: Value| {
        let mut pod = commanded(parsed("p", "image:1"), "run");
        let from: Value = ["kept", "new"]
            .iter()
            .map(|name| json!({"configMapRef": {"name": name}}))
            .collect();
        pod.spec.as_mut().unwrap().containers[0].env_from = serde_json::from_value(from).unwrap();
        let companions = Companions {
            config_maps: serde_json::from_value(maps).unwrap(),
            ..Companions::default()
        };
        let pods = vec![Wanted {
            pod: Arc::new(pod),
            place: "a".to_owned(),
        }];
        Set {
            source: FILE,
            pods,
            companions: Arc::new(companions),
            ..Set::default()
        }
    };
    let first = union_of(vec![with_maps(json!([object("kept")]))])
        .decide(&[])
        .admit
        .remove(0);
    let mut here = stored("p", FILE, "a");
    let mut record = first;
    record.pod.metadata.uid = Some("uid-p".to_owned());
    here.record = Arc::new(record);
    let bad = Problem {
        place: "b".to_owned(),
        message: "bad".to_owned(),
    };
    let lacking = Set {
        problems: vec![bad.clone()],
        ..with_maps(json!([]))
    };
    check(&mut union_of(vec![lacking]), &[here.clone()], "");
    let more = Set {
        problems: vec![bad],
        ..with_maps(json!([object("new")]))
    };
    let decision = union_of(vec![more]).decide(&[Arc::new(here.clone())]);
    let maps: Vec<_> = decision.update[0].config_maps.keys().cloned().collect();
    assert_eq!(maps, ["kept", "new"]);
    check(&mut union_of(vec![with_maps(json!([]))]), &[here], "~uid-p");
}
