//! What a container finds: variables, volumes, the files of /etc, its name.
use crate::support::{documents, once, once_with, pod, sh, with};
use rkube_tests::Host;
use serde_json::{Value, json};

fn config_map() -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"colour": "green", "size": "large", "not.a.name": "x"}, "binaryData": {"blob": "AAEC"}})
    .to_string()
}

fn secret() -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "data": {"password": "aHVudGVyMg=="}, "stringData": {"token": "plain"}})
    .to_string()
}

#[test]
fn variables_come_from_everywhere() {
    let Some(host) = Host::new() else { return };
    let env = json!([
        {"name": "PLAIN", "value": "a b"},
        {"name": "USES", "value": "$(PLAIN)-$(COLOUR)-$(MISSING)-$$(PLAIN)"},
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "other", "key": "k", "optional": true}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "AFTER", "value": "$(COLOUR)"},
    ]);
    let more = json!({
        "env": env,
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "CM_"}, {"secretRef": {"name": "gone", "optional": true}}],
        "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
    });
    let script = "for v in PLAIN USES COLOUR PASSWORD TOKEN NAME NAMESPACE LABEL CPU MEMORY AFTER CM_colour CM_size; do
        eval echo \"$v=\\$$v\"; done; echo none=${NONE-unset}; [ $(hostname -i) = $IP ] && echo ip";
    let mut value: Value =
        serde_json::from_str(&pod("p", &[with(sh("c", script), more)], json!({}))).unwrap();
    value["metadata"]["labels"] = json!({"app": "web"});
    let outcome = host
        .run(&documents(&[config_map(), secret(), value.to_string()]))
        .ok();
    let want = "PLAIN=a b\nUSES=a b-$(COLOUR)-$(MISSING)-$(PLAIN)\nCOLOUR=green\nPASSWORD=hunter2\nTOKEN=plain\nNAME=p\n\
        NAMESPACE=default\nLABEL=web\nCPU=250\nMEMORY=64\nAFTER=green\nCM_colour=green\nCM_size=large\nnone=unset\nip\n";
    assert_eq!(outcome.log("c"), want);
}

#[test]
fn a_variable_without_its_source_stops_the_pod() {
    let Some(host) = Host::new() else { return };
    let env = |source: Value| {
        once_with(
            "echo never",
            json!({"env": [{"name": "X", "valueFrom": source}]}),
        )
    };
    host.run(&env(
        json!({"configMapKeyRef": {"name": "nowhere", "key": "k"}}),
    ))
    .code(125)
    .complains("nowhere");
    let missing = documents(&[
        config_map(),
        env(json!({"configMapKeyRef": {"name": "settings", "key": "shape"}})),
    ]);
    host.run(&missing).code(125).complains("shape");
}

#[test]
fn empty_dirs_are_writable_and_limited() {
    let Some(host) = Host::new() else { return };
    let script = "stat -c %a /disk /memory; grep ' /memory ' /proc/mounts | cut -d' ' -f3; touch /disk/f && echo disk
        dd if=/dev/zero of=/memory/f bs=64k count=100 2>/dev/null || echo full; du -k /memory/f | cut -f1";
    let more = json!({"volumeMounts": [{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}],
        "securityContext": {"runAsUser": 1000}});
    let volumes = json!({"volumes": [{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]});
    let outcome = host
        .run(&pod("p", &[with(sh("c", script), more)], volumes))
        .ok();
    assert_eq!(outcome.log("c"), "777\n777\ntmpfs\ndisk\nfull\n1024\n");
}

#[test]
fn config_maps_and_secrets_become_files() {
    let Some(host) = Host::new() else { return };
    let script = "cd /settings; for f in $(ls); do echo $f $(stat -L -c %a $f) $(wc -c < $f); done
        cd /keys; for f in $(ls) sub/pw; do [ -d $f ] || echo $f $(stat -L -c %a $f) $(cat $f); done
        echo x 2>/dev/null > /settings/colour || echo read-only";
    let more = json!({"volumeMounts": [{"name": "settings", "mountPath": "/settings"}, {"name": "keys", "mountPath": "/keys"}]});
    let volumes = json!({"volumes": [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400, "items": [
            {"key": "token", "path": "t"}, {"key": "password", "path": "sub/pw", "mode": 0o440}]}}]});
    let outcome = host
        .run(&documents(&[
            config_map(),
            secret(),
            pod("p", &[with(sh("c", script), more)], volumes),
        ]))
        .ok();
    let want = "blob 644 3\ncolour 644 5\nnot.a.name 644 1\nsize 644 5\nt 400 plain\nsub/pw 440 hunter2\nread-only\n";
    assert_eq!(outcome.log("c"), want);
}

#[test]
fn host_paths_are_checked_by_their_type() {
    let Some(host) = Host::new() else { return };
    host.file("there", "content\n");
    let path = |name: &str| host.dir().join(name).display().to_string();
    let run = |name: &str, kind: &str, script: &str| {
        let more = json!({"volumeMounts": [{"name": "h", "mountPath": "/h"}]});
        let volumes =
            json!({"volumes": [{"name": "h", "hostPath": {"path": path(name), "type": kind}}]});
        host.run(&pod("p", &[with(sh("c", script), more)], volumes))
    };
    assert_eq!(run("there", "File", "cat /h").ok().log("c"), "content\n");
    assert_eq!(run("there", "", "cat /h").ok().log("c"), "content\n");
    run("made", "DirectoryOrCreate", "echo x > /h/f").ok();
    assert_eq!(
        std::fs::read_to_string(host.dir().join("made/f")).unwrap(),
        "x\n"
    );
    run("made-file", "FileOrCreate", "echo y > /h").ok();
    assert_eq!(
        std::fs::read_to_string(host.dir().join("made-file")).unwrap(),
        "y\n"
    );
    for (name, kind) in [
        ("there", "Directory"),
        ("made", "File"),
        ("missing", "Directory"),
        ("missing", "File"),
        ("there", "Socket"),
        ("there", "CharDevice"),
        ("missing", ""),
    ] {
        run(name, kind, "true").code(125).complains(&path(name));
        assert!(!host.dir().join("missing").exists());
    }
}

/// A mount path is found below the root file system whatever links the image has.
#[test]
fn a_mount_path_does_not_leave_the_root() {
    let Some(host) = Host::new() else { return };
    let image = "localhost/links:v1";
    let outside = host.dir().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    let tar = rkube_tests::Rootfs::default()
        .link("escape", &up)
        .link("absolute", &outside.display().to_string());
    let mut bytes = tar.tar();
    // One archive after another: without the first one's end-of-archive blocks.
    bytes.truncate(bytes.len() - 1024);
    bytes.extend_from_slice(rkube_tests::busybox_image());
    host.import(image, &bytes, &[]);
    for path in ["/escape/deep", "/absolute/deep"] {
        let more = json!({"image": image, "volumeMounts": [{"name": "v", "mountPath": path}]});
        let outcome = host.run(&pod(
            "p",
            &[with(sh("c", &format!("echo x > {path}/f")), more)],
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        ));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{outcome}");
    }
}

#[test]
fn etc_is_the_pods() {
    let Some(host) = Host::new() else { return };
    let more = json!({
        "hostname": "named", "subdomain": "sub",
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["alias", "alias.example"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["example.org"], "options": [{"name": "ndots", "value": "2"}]},
    });
    let script = "hostname; cat /etc/hostname /etc/resolv.conf; grep -c localhost /etc/hosts
        grep '^10.1.2.3' /etc/hosts | tr -s '\\t ' ' '; ip=$(hostname -i); grep -q \"^$ip.*named\" /etc/hosts && echo own";
    let outcome = host.run(&pod("p", &[sh("c", script)], more)).ok();
    let log = outcome.log("c");
    assert!(log.starts_with("named\nnamed\n"), "{outcome}");
    for line in [
        "nameserver 192.0.2.53\n",
        "search example.org\n",
        "options ndots:2\n",
        "10.1.2.3 alias alias.example\n",
        "own\n",
    ] {
        assert!(log.contains(line), "no {line:?}: {outcome}");
    }
}

#[test]
fn a_container_may_change_its_etc_but_not_the_hosts() {
    let Some(host) = Host::new() else { return };
    let before = std::fs::read("/etc/hosts").unwrap();
    let outcome = host.run(&once(
        "echo '10.0.0.9 mine' >> /etc/hosts; tail -1 /etc/hosts; echo x > /etc/new; ls /etc/new",
    ));
    assert_eq!(outcome.ok().log("c"), "10.0.0.9 mine\n/etc/new\n");
    assert_eq!(std::fs::read("/etc/hosts").unwrap(), before);
}

/// Each container has a root file system of its own above the image's.
#[test]
fn containers_do_not_see_each_others_files() {
    let Some(host) = Host::new() else { return };
    host.run(&once("echo x > /only-here; rm /bin/ls")).ok();
    assert_eq!(
        host.run(&once("ls /only-here 2>/dev/null || echo clean"))
            .ok()
            .log("c"),
        "clean\n"
    );
}

#[test]
fn limits_reach_the_cgroup() {
    let Some(host) = Host::new() else { return };
    // Either hierarchy: what the container itself can see of its own limits.
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
        cat /sys/fs/cgroup/cpu.max 2>/dev/null || echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)";
    let outcome = host
        .run(&once_with(
            script,
            json!({"resources": {"limits": {"cpu": "500m", "memory": "32Mi"}}}),
        ))
        .ok();
    assert_eq!(outcome.log("c"), "33554432\n50000 100000\n");
}
