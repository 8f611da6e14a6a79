//! Whole manifests: what is read, and what is said about those that cannot be.

use proptest::prelude::*;

use super::*;

/// The messages about a manifest, a line each, without the origin.
fn mistakes(text: &str) -> Vec<String> {
    match parse(text, "m", Strictness::Strict) {
        Ok(manifest) => panic!("read without complaint: {manifest:?}"),
        Err(ManifestError::Syntax { source, .. }) => vec![format!("syntax: {source}")],
        Err(err) => err
            .to_string()
            .lines()
            .map(|line| line.replacen("m: ", "", 1))
            .collect(),
    }
}

#[track_caller]
fn check(text: &str, want: &[&str]) {
    assert_eq!(mistakes(text), want, "{text}");
}

#[track_caller]
fn read(text: &str) -> Manifest {
    match parse(text, "m", Strictness::Strict) {
        Ok(manifest) => manifest,
        Err(err) => panic!("{err}\n{text}"),
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap()
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: httpd
    image: demo/httpd:1
    ports:
    - containerPort: 80
      hostPort: 8080
";

#[test]
fn a_pod_gets_its_defaults() {
    let manifest = read(POD);
    let [pod] = manifest.pods.as_slice() else {
        panic!("one pod")
    };
    assert_eq!(name(pod), "web");
    assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
    assert_eq!(
        spec.containers[0].image_pull_policy.as_deref(),
        Some("IfNotPresent")
    );
    assert_eq!(
        spec.containers[0].ports.as_ref().unwrap()[0]
            .protocol
            .as_deref(),
        Some("TCP")
    );
    assert_eq!(manifest.warnings, Vec::<String>::new());
}

#[test]
fn several_documents_and_lists() {
    let manifest = read(
        "---\n\
         # nothing here\n\
         ---\n\
         {apiVersion: v1, kind: ConfigMap, metadata: {name: conf}, data: {a: b}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: List\n\
         metadata: {}\n\
         items:\n\
         - {apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {containers: [{name: a, image: a}]}}\n\
         - {apiVersion: v1, kind: Secret, metadata: {name: keys}, data: {a: Yg==, b: eA==}, stringData: {a: c}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: PodList\n\
         items:\n\
         - {metadata: {name: two}, spec: {containers: [{name: a, image: a}]}}\n",
    );
    assert_eq!(
        manifest.pods.iter().map(name).collect::<Vec<_>>(),
        ["one", "two"]
    );
    assert_eq!(manifest.config_maps.len(), 1);
    let secret = &manifest.secrets[0];
    let data = secret.data.as_ref().unwrap();
    assert_eq!(
        (data["a"].0.as_slice(), data["b"].0.as_slice()),
        (&b"c"[..], &b"x"[..])
    );
    assert_eq!(
        (secret.string_data.as_ref(), secret.type_.as_deref()),
        (None, Some("Opaque"))
    );
}

#[test]
fn json_with_tabs_and_trailing_commas() {
    let manifest = read(
        "{\n\t\"apiVersion\": \"v1beta1\",\n\t\"kind\": \"Pod\",\n\t\"id\": \"php\",\n\t\"desiredState\": {\n\
         \t\t\"manifest\": {\n\t\t\t\"version\": \"v1beta1\", \"id\": \"ignored\",\n\
         \t\t\t\"containers\": [{\n\t\t\t\t\"name\": \"nginx\",\n\t\t\t\t\"image\": \"dockerfile\\/nginx\",\n\
         \t\t\t\t\"ports\": [{\"containerPort\": 80, \"hostPort\": 8080},],\n\
         \t\t\t\t\"livenessProbe\": {\"enabled\": true, \"type\": \"http\", \"initialDelaySeconds\": 30,\n\
         \t\t\t\t\t\"httpGet\": {\"path\": \"/index.php\", \"port\": \"8080\"}},\n\t\t\t}],\n\t\t}\n\t}\n}\n",
    );
    assert_eq!(name(&manifest.pods[0]), "php");
    let container = &manifest.pods[0].spec.as_ref().unwrap().containers[0];
    assert_eq!(container.image.as_deref(), Some("dockerfile/nginx"));
    assert_eq!(
        manifest.warnings,
        [
            "m: line 12: Pod php: desiredState.manifest.containers[0].livenessProbe.enabled: ignored; it never had an effect",
            "m: line 12: Pod php: desiredState.manifest.containers[0].livenessProbe.type: ignored; it never had an effect",
        ]
    );
}

#[test]
fn bare_manifests() {
    let one = "version: v1beta1\nid: web\ncontainers: [{name: httpd, image: demo/httpd}]\n";
    let two = "{version: V1Beta2, id: db, containers: [{name: db, image: db}]}";
    assert_eq!(name(&read(one).pods[0]), "web");
    let names = |text: &str| {
        read(text)
            .pods
            .iter()
            .map(|pod| name(pod).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&format!(
            "[{{version: v1beta1, id: web, containers: [{{name: a, image: a}}]}}, {two}]"
        )),
        ["web", "db"]
    );
    assert_eq!(
        names(&format!(
            "{{kind: ContainerManifestList, apiVersion: v1beta1, items: [{two}]}}"
        )),
        ["db"]
    );
    assert_eq!(names(&format!("{one}---\n{two}\n")), ["web", "db"]);
}

#[test]
fn unknown_fields_are_named_with_their_line() {
    let text = POD.replace("image:", "imagee:") + "  hostNetwrk: true\n  bogus: {a: 1}\n";
    check(
        &text,
        &[
            "line 8: Pod web: spec.containers[0].imagee: unknown field; did you mean image?",
            "line 12: Pod web: spec.hostNetwrk: unknown field; did you mean hostNetwork?",
            "line 13: Pod web: spec.bogus: unknown field",
        ],
    );
}

#[test]
fn unknown_fields_are_warnings_if_asked() {
    let text = POD.to_owned() + "  bogus: 1\n";
    let manifest = parse(&text, "m", Strictness::Lenient).unwrap();
    assert_eq!(
        manifest.warnings,
        ["m: line 12: Pod web: spec.bogus: unknown field; ignored"]
    );
    assert_eq!(manifest.pods.len(), 1);
    // Everything else stays a mistake.
    let text = POD.replace("image:", "imagee:");
    let err = parse(&text, "m", Strictness::Lenient).unwrap_err();
    assert_eq!(
        err.to_string(),
        "m: line 7: Pod web: spec.containers[0].image: required value"
    );
}

#[test]
fn wrong_types_say_what_was_expected() {
    let text = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: [a]
spec:
  hostNetwork: sometimes
  containers:
  - name: 7
    image: a
    env:
    - name: A
      value: 1
    ports:
    - containerPort: \"80\"
    - containerPort: 99999999999
  - just text
  restartPolicy:
    always: {}
";
    check(
        text,
        &[
            "line 5: Pod web: metadata.labels: expected an object, found a list",
            "line 7: Pod web: spec.hostNetwork: expected true or false, found string \"sometimes\"",
            "line 9: Pod web: spec.containers[0].name: expected a string, found number 7; put it in quotes",
            "line 13: Pod web: spec.containers[0].env[0].value: expected a string, found number 1; put it in quotes",
            "line 15: Pod web: spec.containers[0].ports[0].containerPort: expected an integer, found string \"80\"; remove the quotes",
            "line 16: Pod web: spec.containers[0].ports[1].containerPort: expected a 32-bit integer, found integer `99999999999`",
            "line 17: Pod web: spec.containers[1]: expected an object, found string \"just text\"",
            "line 18: Pod web: spec.restartPolicy: expected a string, found an object",
        ],
    );
}

#[test]
fn duplicate_keys_show_both_lines() {
    check(
        &(POD.to_owned() + "    image: other\n"),
        &["line 12: Pod web: spec.containers[0].image: duplicate key; it is already set on line 8"],
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: a,\n k: b}}",
        &["line 2: ConfigMap a: data.k: duplicate key; it is already set on line 1"],
    );
    check(
        "version: v1beta1\nid: web\ncontainers: [{name: a, image: a}]\nid: again\n",
        &["line 4: Pod web: id: duplicate key; it is already set on line 2"],
    );
}

#[test]
fn mistakes_of_all_documents_at_once() {
    check(
        "{apiVersion: v1, kind: Pod, metadata: {name: A_b}, spec: {}}\n---\nkind: Service\napiVersion: v1\n",
        &[
            "document 1, line 1: Pod A_b: metadata.name: invalid value \"A_b\": must be lower-case letters, digits, \
             '-' and '.', each part beginning and ending with a letter or digit",
            "document 1, line 1: Pod A_b: spec.containers: required value: a pod needs at least one container",
            "document 2, line 3: Service: kind: Service (v1) is not supported here; a manifest may hold Pod, \
             ConfigMap, Secret and lists of them (v1), Pod (v1beta1, v1beta2), and container manifests (version: \
             v1beta1 or v1beta2)",
        ],
    );
}

#[test]
fn kinds_that_are_not_read() {
    let cases = [
        (
            "apiVersion: apps/v1\nkind: Deployment\n",
            "line 2: Deployment: kind: Deployment (apps/v1) is not supported",
        ),
        (
            "apiVersion: v1beta1\nkind: ReplicationController\nid: a\n",
            "line 2: ReplicationController a: kind: R",
        ),
        (
            "kind: Pod\nspec: {}\n",
            "line 1: Pod: apiVersion: required value for kind Pod",
        ),
        (
            "apiVersion: v1\nspec: {}\n",
            "line 1: kind: required value for apiVersion v1",
        ),
        (
            "apiVersion: 1\nkind: Pod\n",
            "line 1: Pod: apiVersion: expected a string, found number 1",
        ),
        (
            "apiVersion: v1\nkind: [Pod]\n",
            "line 2: kind: expected a string, found a list",
        ),
        (
            "a: b\n",
            "line 1: neither apiVersion and kind nor version is set",
        ),
        (
            "just text\n",
            "line 1: expected an object, found string \"just text\"",
        ),
        ("[1]\n", "line 1: [0]: expected an object, found number 1"),
        (
            "version: v2\ncontainers: []\n",
            "line 1: Pod: version: unsupported value \"v2\"",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: {}\n",
            "line 3: List: items: expected a list",
        ),
        (
            "apiVersion: v1\nkind: List\nitem: []\n",
            "line 3: List: item: unknown field; did you mean items?",
        ),
    ];
    for (text, want) in cases {
        let found = mistakes(text);
        assert!(found[0].starts_with(want), "{found:?}\n{text}");
    }
}

#[test]
fn two_objects_of_one_name() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a}]}}";
    check(
        &format!("{pod}\n---\n{pod}\n"),
        &["document 2, line 3: Pod a: there is already one of this name; give it another"],
    );
    let elsewhere = pod.replace("name: a}, spec", "name: a, namespace: b}, spec");
    assert_eq!(read(&format!("{pod}\n---\n{elsewhere}\n")).pods.len(), 2);
}

#[test]
fn mistakes_in_lists_and_old_pods_have_the_paths_of_the_text() {
    check(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    \
         containers: [{name: a}]\n    bogus: 1\n",
        &[
            "line 8: Pod a: items[0].spec.containers[0].image: required value",
            "line 9: Pod a: items[0].spec.bogus: unknown field",
        ],
    );
    check(
        "apiVersion: v1beta1\nkind: Pod\nid: web\ndesiredState:\n  manifest:\n    version: v1beta1\n    containers:\n    \
         - name: a\n      imag: x\n    - name: b\n",
        &[
            "line 9: Pod web: desiredState.manifest.containers[0].imag: unknown field; did you mean image?",
            "line 10: Pod web: desiredState.manifest.containers[1].image: required value",
        ],
    );
    check(
        "version: v1beta1\nid: Web\ncontainers:\n- {name: a, image: a, cpu: -1, volumeMounts: [{name: x, path: rel}]}\n",
        &[
            "line 2: Pod Web: id: invalid value \"Web\": must be lower-case letters, digits, '-' and '.', each part \
             beginning and ending with a letter or digit",
            "line 4: Pod Web: containers[0].cpu: invalid value -1: must not be negative",
            "line 4: Pod Web: containers[0].volumeMounts[0].mountPath: invalid value \"rel\": must be an absolute path",
            "line 4: Pod Web: containers[0].volumeMounts[0].name: volume \"x\" not found; add it to the pod's volumes",
        ],
    );
    check(
        "apiVersion: v1beta1\nkind: Pod\nid: web\n",
        &["line 1: Pod web: desiredState.manifest: required value"],
    );
}

#[test]
fn octal_modes_and_words_for_booleans_are_read_as_go_reads_them() {
    let text = POD.to_owned()
        + "    stdin: yes\n  hostIPC: on\n  volumes:\n  - {name: c, configMap: {name: c, defaultMode: 0440}}\n  \
           - {name: d, configMap: {name: c, defaultMode: 0o400}}\n";
    let spec = read(&text).pods.remove(0).spec.unwrap();
    assert_eq!(
        (spec.host_ipc, spec.containers[0].stdin),
        (Some(true), Some(true))
    );
    let modes: Vec<_> = spec
        .volumes
        .iter()
        .flatten()
        .map(|v| v.config_map.as_ref().unwrap().default_mode)
        .collect();
    assert_eq!(modes, [Some(0o440), Some(0o400)]);
}

#[test]
fn null_is_the_same_as_absent() {
    let text = POD.to_owned()
        + "    args: null\n    env: ~\n  volumes:\n  - name: a\n    emptyDir:\nstatus:\n";
    let spec = read(&text).pods.remove(0).spec.unwrap();
    assert_eq!(
        (
            spec.containers[0].args.as_ref(),
            spec.containers[0].env.as_ref()
        ),
        (None, None)
    );
    assert!(spec.volumes.unwrap()[0].empty_dir.is_some());
}

#[test]
fn anchors_and_merges() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - &base
    name: a
    image: demo/a
    env: [{name: A, value: '1'}]
  - <<: *base
    name: b
";
    let spec = read(text).pods.remove(0).spec.unwrap();
    assert_eq!(spec.containers[1].name, "b");
    assert_eq!(spec.containers[1].env, spec.containers[0].env);
}

#[test]
fn what_a_node_reports_is_left_aside() {
    let manifest = read(&(POD.to_owned() + "status: {phase: Running}\n"));
    assert_eq!(
        manifest.warnings,
        ["m: line 12: Pod web: status: ignored; it is what a node reports, not what it is told"]
    );
    assert_eq!(manifest.pods[0].status, None);
}

#[test]
fn text_that_is_not_yaml() {
    for text in [
        "{",
        "a: b: c",
        "a: 'b",
        "- a\nb: c",
        "&a *a",
        "? {a: b}\n: c",
        "%YAML 9",
    ] {
        let err = parse(text, "m", Strictness::Strict).unwrap_err();
        let ManifestError::Syntax { source, .. } = &err else {
            panic!("{err}")
        };
        assert!(source.line.is_some(), "{text:?}: {source}");
        assert!(!source.problem.contains("line "), "{text:?}: {source}");
        assert!(err.to_string().starts_with("m: line "), "{err}");
    }
    let err = parse_bytes(b"a: b\n\xff", "m", Strictness::Strict).unwrap_err();
    assert_eq!(
        err.to_string(),
        "m: line 2: not UTF-8 text; a manifest is YAML or JSON"
    );
    for text in [
        "",
        "\n",
        "---\n---\n",
        "# nothing",
        "\u{feff}",
        "null",
        "[]",
    ] {
        let err = parse(text, "m", Strictness::Strict).unwrap_err();
        assert_eq!(
            err.to_string(),
            "m: no object in it; write a Pod, for example"
        );
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    assert_eq!(read(&format!("\u{feff}{POD}")).pods.len(), 1);
    assert_eq!(read(&POD.replace('\n', "\r\n")).pods.len(), 1);
}

/// Texts made to exhaust memory, stack or time. Each must end in an error on the stack of a thread.
#[test]
fn hostile_texts_end_in_an_error() {
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let list = vec![format!("*a{}", level - 1); 9].join(", ");
            text += &format!("a{level}: &a{level} [{list}]\n");
        }
        text
    };
    let long_scalar = format!(
        "a: &a \"{}\"\nb: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*a"; 900].join(",")
    );
    let texts = [
        bomb,
        long_scalar,
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        "- ".repeat(100_000),
        "---\na: b\n".repeat(100_000),
        "a: b\n".repeat(yaml::MAX_BYTES / 5 + 1),
        format!("apiVersion: v1\nkind: Pod\n{}", "x: 1\n".repeat(100_000)),
        format!(
            "apiVersion: v1\nkind: Pod\nspec: {{containers: [{}]}}",
            "1,".repeat(100_000)
        ),
        (0..300).fold(String::new(), |text, level| {
            text + &" ".repeat(level) + "a:\n"
        }),
    ];
    for text in texts {
        let small = std::thread::Builder::new()
            .name(text.chars().take(15).collect::<String>().replace("\0", ""))
            .stack_size(2 << 20);
        let start: String = text.chars().take(40).collect();
        let outcome = small
            .spawn(move || parse(&text, "m", Strictness::Strict))
            .unwrap()
            .join();
        let err = outcome.unwrap().unwrap_err().to_string();
        assert!(
            err.len() < 20_000,
            "{start}: {} bytes of message",
            err.len()
        );
    }
}

#[test]
fn base64_may_be_broken_into_lines() {
    let text =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  k: |\n    aGVs\n    bG8=\n";
    assert_eq!(
        read(text).secrets[0].data.as_ref().unwrap()["k"].0,
        b"hello"
    );
}

#[test]
fn times() {
    let at = |time: &str| {
        POD.replace(
            "name: web",
            &format!("name: web\n  creationTimestamp: {time}"),
        )
    };
    assert!(
        read(&at("2026-01-31T12:00:00Z")).pods[0]
            .metadata
            .creation_timestamp
            .is_some()
    );
    assert!(
        read(&at("null")).pods[0]
            .metadata
            .creation_timestamp
            .is_none()
    );
    let found = mistakes(&at("yesterday"));
    let want = "line 5: Pod web: metadata.creationTimestamp: expected ";
    assert!(found[0].starts_with(want), "{found:?}");
}

#[test]
fn the_example_is_a_good_manifest() {
    let manifest = read(include_str!("../../../examples/web.yaml"));
    assert_eq!((manifest.pods.len(), manifest.warnings.len()), (1, 0));
}

/// What `kubectl get pod -o yaml` prints may be run as it is.
#[test]
fn what_a_server_of_today_prints() {
    let text = "\
apiVersion: v1
items:
- apiVersion: v1
  kind: Pod
  metadata:
    annotations: {kubernetes.io/config.seen: '2026-01-31T12:00:00.123456789Z'}
    creationTimestamp: '2026-01-31T12:00:00Z'
    generateName: web-
    generation: 1
    labels: {app: web, pod-template-hash: 5d4f8c7b9}
    managedFields:
    - apiVersion: v1
      fieldsType: FieldsV1
      fieldsV1: {f:metadata: {f:labels: {.: {}, f:app: {}}}, f:spec: {f:containers: {'k:{\"name\":\"a\"}': {.: {}, f:image: {}}}}}
      manager: kubectl
      operation: Update
      time: '2026-01-31T12:00:00Z'
    name: web-5d4f8c7b9-x2x4z
    namespace: default
    ownerReferences:
    - {apiVersion: apps/v1, blockOwnerDeletion: true, controller: true, kind: ReplicaSet, name: web-5d4f8c7b9, uid: a}
    resourceVersion: '1234'
    uid: 11111111-2222-3333-4444-555555555555
  spec:
    affinity:
      nodeAffinity:
        preferredDuringSchedulingIgnoredDuringExecution:
        - {weight: 1, preference: {matchExpressions: [{key: a, operator: In, values: [b]}]}}
    containers:
    - image: demo/a:1
      imagePullPolicy: IfNotPresent
      name: a
      resources: {}
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
      volumeMounts:
      - {mountPath: /var/run/secrets/kubernetes.io/serviceaccount, name: kube-api-access-x, readOnly: true}
    dnsPolicy: ClusterFirst
    enableServiceLinks: true
    nodeName: n1
    preemptionPolicy: PreemptLowerPriority
    priority: 0
    restartPolicy: Always
    schedulerName: default-scheduler
    securityContext: {}
    serviceAccount: default
    serviceAccountName: default
    terminationGracePeriodSeconds: 30
    tolerations:
    - {effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}
    volumes:
    - name: kube-api-access-x
      projected:
        defaultMode: 420
        sources:
        - serviceAccountToken: {expirationSeconds: 3607, path: token}
        - configMap: {items: [{key: ca.crt, path: ca.crt}], name: kube-root-ca.crt}
        - downwardAPI: {items: [{fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}, path: namespace}]}
  status: {phase: Pending}
kind: List
metadata: {resourceVersion: ''}
";
    let manifest = read(text);
    assert_eq!(manifest.warnings.len(), 1, "{:?}", manifest.warnings);
    let written = yaml::to_string(&manifest.pods[0]).unwrap();
    assert_eq!(read(&written).pods, manifest.pods);
}

const OLD_POD: &str = "\
{apiVersion: v1beta1, kind: Pod, id: web, desiredState: {manifest: {version: v1beta1, id: web, volumes: [{name: v,
 source: {hostDir: {path: /a}}}], containers: [{name: a, image: b, cpu: 100, memory: 64, ports: [{containerPort: 80,
 hostPort: 8080}], env: [{name: A, value: b}], volumeMounts: [{name: v, mountPath: /a}], livenessProbe: {httpGet:
 {path: /, port: 80}}}], restartPolicy: {always: {}}}}}
";

proptest! {
    /// Damaged manifests are read or refused, and a refusal is never empty.
    #[test]
    fn damaged_manifests_are_read_or_refused(
        old: bool,
        lenient: bool,
        start in 0_usize..400,
        length in 0_usize..12,
        with in "[-a-z0-9:{}\\[\\],&*!|>'\"# \n~]{0,12}",
    ) {
        let text = if old { OLD_POD } else { POD };
        let characters: Vec<char> = text.chars().collect();
        let start = start.min(characters.len());
        let end = (start + length).min(characters.len());
        let text: String =
            characters[..start].iter().copied().chain(with.chars()).chain(characters[end..].iter().copied()).collect();
        let strictness = if lenient { Strictness::Lenient } else { Strictness::Strict };
        match parse(&text, "m", strictness) {
            Ok(manifest) => prop_assert!(!manifest.pods.is_empty() || !manifest.config_maps.is_empty()),
            Err(err) => prop_assert!(err.to_string().starts_with("m: "), "{}", err),
        }
    }
}
