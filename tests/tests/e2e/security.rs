//! `securityContext`: who a container is and what it may do.
use crate::support::{once_with, pod, sh, with};
use rkube_tests::{Host, Outcome};
use serde_json::{Value, json};

fn run(host: &Host, script: &str, security: Value) -> Outcome {
    host.run(&once_with(script, json!({"securityContext": security})))
}

#[track_caller]
fn check(host: &Host, script: &str, security: Value, want: &str) {
    let outcome = run(host, script, security.clone()).ok();
    assert_eq!(outcome.log("c"), want, "{security}");
}

#[test]
fn users_and_groups() {
    let Some(host) = Host::new() else { return };
    let script = "id -u; id -g; id -G";
    check(
        &host,
        script,
        json!({"runAsUser": 1000}),
        "1000\n1000\n1000 50\n",
    );
    check(
        &host,
        script,
        json!({"runAsUser": 4242, "runAsGroup": 77}),
        "4242\n77\n77\n",
    );
    let security = json!({"securityContext": {"runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [3000]},
        "volumes": [{"name": "v", "emptyDir": {}}]});
    let script = "id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; stat -c '%g %A' /v; touch /v/f; stat -c %g /v/f";
    let container = with(
        sh("c", script),
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
    );
    let outcome = host.run(&pod("p", &[container], security)).ok();
    assert_eq!(
        outcome.log("c"),
        "50 1000 2000 3000 2000 drwxrwsrwx\n2000\n"
    );
}

#[test]
fn run_as_non_root_refuses_root() {
    let Some(host) = Host::new() else { return };
    run(&host, "true", json!({"runAsNonRoot": true}))
        .code(125)
        .complains("runAsNonRoot");
    check(
        &host,
        "id -u",
        json!({"runAsNonRoot": true, "runAsUser": 1}),
        "1\n",
    );
}

#[test]
fn a_read_only_root_is_read_only() {
    let Some(host) = Host::new() else { return };
    let script = "touch /x 2>&1 | grep -o 'Read-only file system'; touch /dev/shm/x && echo shm";
    check(
        &host,
        script,
        json!({"readOnlyRootFilesystem": true}),
        "Read-only file system\nshm\n",
    );
}

#[test]
fn capabilities_are_dropped_and_added() {
    let Some(host) = Host::new() else { return };
    let script = "grep Cap /proc/self/status | cut -f2 | tr '\\n' ' '; echo";
    let sets = |permitted: &str, ambient: &str| {
        format!("{ambient} {permitted} {permitted} {permitted} {ambient} \n")
    };
    let none = "0000000000000000";
    check(&host, script, json!({}), &sets("00000000a80425fb", none));
    check(
        &host,
        script,
        json!({"capabilities": {"drop": ["ALL"]}}),
        &sets(none, none),
    );
    check(
        &host,
        script,
        json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        &sets("0000000000000400", none),
    );
    check(
        &host,
        script,
        json!({"capabilities": {"add": ["NET_ADMIN"], "drop": ["CAP_CHOWN"]}}),
        &sets("00000000a80435fa", none),
    );
}

/// A user other than root has nothing at hand, and gets nothing by a setuid program if that is forbidden.
#[test]
fn privileges_cannot_be_escalated() {
    let Some(host) = Host::new() else { return };
    check(
        &host,
        "grep CapEff /proc/self/status | cut -f2",
        json!({"runAsUser": 1000}),
        "0000000000000000\n",
    );
    let script = "grep NoNewPrivs /proc/self/status | cut -f2";
    check(
        &host,
        script,
        json!({"allowPrivilegeEscalation": false}),
        "1\n",
    );
    check(&host, script, json!({}), "0\n");
}

#[test]
fn the_default_seccomp_filter_denies() {
    let Some(host) = Host::new() else { return };
    let script = "grep '^Seccomp:' /proc/self/status | cut -f2; unshare -U true 2>/dev/null && echo made || echo denied";
    check(&host, script, json!({}), "2\ndenied\n");
    check(
        &host,
        script,
        json!({"seccompProfile": {"type": "RuntimeDefault"}}),
        "2\ndenied\n",
    );
    let unconfined = run(
        &host,
        script,
        json!({"seccompProfile": {"type": "Unconfined"}}),
    )
    .ok();
    assert!(unconfined.log("c").starts_with("0\n"), "{unconfined}");
}

/// What leads out of a container is masked or cannot be written.
#[test]
fn the_kernel_is_out_of_reach() {
    let Some(host) = Host::new() else { return };
    let script = "bad() { echo bad: $1; }
        (echo x > /proc/sysrq-trigger) 2>/dev/null && bad sysrq
        (echo /x > /proc/sys/kernel/core_pattern) 2>/dev/null && bad core_pattern
        [ -s /proc/kcore ] && bad kcore
        [ -z \"$(ls /sys/firmware)\" ] || bad firmware
        mount -t tmpfs none /tmp 2>/dev/null && bad mount
        mknod /tmp/mem c 1 1 2>/dev/null && (: < /tmp/mem) 2>/dev/null && bad mem
        (echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes || echo 1 > /sys/fs/cgroup/memory.max) 2>/dev/null && bad cgroup
        echo end";
    check(&host, script, json!({}), "end\n");
}

#[test]
fn a_privileged_container_may_nearly_everything() {
    let Some(host) = Host::new() else { return };
    let script = "mount -t tmpfs none /tmp && echo mounted; grep '^Seccomp:' /proc/self/status | cut -f2; ip link set lo down && echo link; [ -e /dev/null ] && ls /dev | wc -l";
    let outcome = run(&host, script, json!({"privileged": true})).ok();
    assert!(
        outcome.log("c").starts_with("mounted\n0\nlink\n"),
        "{outcome}"
    );
}
