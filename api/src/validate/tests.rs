//! Every rule, by example: a piece of a manifest and what is said about it.

use crate::manifest::{Strictness, parse};

/// What is wrong with a text, without lines and names.
fn problems(text: &str) -> Vec<String> {
    match parse(text, "m", Strictness::Strict) {
        Ok(_) => Vec::new(),
        Err(err @ crate::ManifestError::Invalid { .. }) => {
            let text = err.to_string();
            let bare = |line: &str| line.splitn(4, ": ").nth(3).unwrap_or(line).to_owned();
            text.lines().map(bare).collect()
        }
        Err(other) => panic!("{other:?}\n{text}"),
    }
}

/// A pod with these fields in its spec, or in its container, is refused for these reasons.
#[track_caller]
fn check(fields: &str, want: &[&str]) {
    let text = match fields.split_once(": ") {
        Some(("metadata", metadata)) => format!(
            "{{apiVersion: v1, kind: Pod, metadata: {metadata}, spec: {{containers: [{{name: a, image: a}}]}}}}"
        ),
        Some(("spec", spec)) => {
            format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {spec}}}")
        }
        Some(("container", fields)) => format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{volumes: [{{name: v}}, {{name: w}}], \
             containers: [{{name: a, image: a, {fields}}}]}}}}"
        ),
        _ => format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{{name: a, image: a}}], \
             {fields}}}}}"
        ),
    };
    let found: Vec<_> = problems(&text)
        .iter()
        .map(|line| line.replacen("spec.containers[0].", "c.", 1))
        .collect();
    assert_eq!(found, want, "{text}");
}

#[test]
fn names_and_labels() {
    check("metadata: {name: a}", &[]);
    check("metadata: {}", &["metadata.name: required value"]);
    check(
        "metadata: {generateName: a-}",
        &["metadata.name: required value; generateName needs an API server"],
    );
    check(
        "metadata: {name: a, namespace: a.b}",
        &[
            "metadata.namespace: invalid value \"a.b\": must be lower-case letters, digits and '-', beginning and ending \
         with a letter or digit",
        ],
    );
    check(
        "metadata: {name: a, labels: {example.com/app: web}, annotations: {Example.com/A: 'any\n\n text'}}",
        &[],
    );
    check(
        "metadata: {name: a, labels: {app: 'a b'}}",
        &[
            "metadata.labels[app]: invalid value \"a b\": must be letters, digits, '-', '_' and '.', beginning and ending \
         with a letter or digit",
        ],
    );
}

#[test]
fn the_pod_as_a_whole() {
    check(
        "spec: {containers: []}",
        &["spec.containers: required value: a pod needs at least one container"],
    );
    check(
        "spec: {containers: [{}]}",
        &["c.name: required value", "c.image: required value"],
    );
    check(
        "spec: {containers: [{name: a, image: a}, {name: a, image: a}]}",
        &["spec.containers[1].name: duplicate value \"a\""],
    );
    check(
        "initContainers: [{name: a, image: a}]",
        &["c.name: duplicate value \"a\""],
    );
    check(
        "restartPolicy: always",
        &["spec.restartPolicy: unsupported value \"always\": must be Always, OnFailure, Never"],
    );
}

#[test]
fn name_resolution() {
    check(
        "dnsPolicy: Clusterfirst",
        &[
            "spec.dnsPolicy: unsupported value \"Clusterfirst\": must be ClusterFirstWithHostNet, ClusterFirst, Default, None",
        ],
    );
    check(
        "dnsPolicy: None",
        &["spec.dnsConfig.nameservers: required value with dnsPolicy None"],
    );
    check(
        "dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.1], searches: [a.b., _x.c], options: [{name: ndots, value: '2'}]}",
        &[],
    );
    check(
        "dnsConfig: {nameservers: [a, 1.1.1.1, 1.1.1.1, 1.1.1.1], options: [{value: a}, {name: 'a b'}]}",
        &[
            "spec.dnsConfig.nameservers: 4 entries, at most 3 are allowed",
            "spec.dnsConfig.nameservers[0]: invalid value \"a\": must be an IP address",
            "spec.dnsConfig.options[0].name: required value",
            "spec.dnsConfig.options[1]: invalid value: must not contain spaces",
        ],
    );
}

#[test]
fn times_and_namespaces() {
    check(
        "terminationGracePeriodSeconds: -1, activeDeadlineSeconds: 0",
        &[
            "spec.terminationGracePeriodSeconds: invalid value -1: must be 0 or more",
            "spec.activeDeadlineSeconds: invalid value 0: must be between 1 and 2147483647",
        ],
    );
    check(
        "hostAliases: [{ip: 127.0.0.1, hostnames: [a.b]}, {ip: x, hostnames: [B]}]",
        &[
            "spec.hostAliases[1].ip: invalid value \"x\": must be an IP address",
            "spec.hostAliases[1].hostnames[0]: invalid value \"B\": must be lower-case letters, digits, '-' and '.', each \
         part beginning and ending with a letter or digit",
        ],
    );
    check(
        "os: {name: windows}",
        &["spec.os.name: unsupported value \"windows\": must be linux"],
    );
    check(
        "ephemeralContainers: [{name: b, image: a}]",
        &["spec.ephemeralContainers: forbidden: they can only be added to a pod that runs"],
    );
    check(
        "hostPID: true, shareProcessNamespace: true",
        &[
            "spec.shareProcessNamespace: forbidden with hostPID: the processes of the host are shared already; remove one of \
         them",
        ],
    );
    check(
        "hostUsers: false, hostNetwork: true, hostIPC: true",
        &[
            "spec.hostNetwork: forbidden with hostUsers: false",
            "spec.hostIPC: forbidden with hostUsers: false",
        ],
    );
    check(
        "hostname: A.b",
        &[
            "spec.hostname: invalid value \"A.b\": must be lower-case letters, digits and '-', beginning and ending with a \
         letter or digit",
        ],
    );
}

#[test]
fn ports() {
    check(
        "container: ports: [{containerPort: 80}, {containerPort: 81, hostPort: 8080, protocol: UDP, name: dns}]",
        &[],
    );
    check(
        "container: ports: [{}, {containerPort: 65536, hostPort: 70000}]",
        &[
            "c.ports[0].containerPort: required value",
            "c.ports[1].containerPort: invalid value 65536: must be between 1 and 65535",
            "c.ports[1].hostPort: invalid value 70000: must be between 1 and 65535",
        ],
    );
    check(
        "container: ports: [{containerPort: 80, protocol: tcp}]",
        &["c.ports[0].protocol: unsupported value \"tcp\": must be SCTP, TCP, UDP"],
    );
    check(
        "container: ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]",
        &["c.ports[1].name: duplicate value \"a\""],
    );
    check(
        "container: ports: [{containerPort: 80, hostPort: 1}, {containerPort: 81, hostPort: 1}]",
        &["c.ports[1].hostPort: duplicate value 1"],
    );
    let two = |first: &str, second: &str, clash: bool| {
        let ports = format!(
            "container: ports: [{{containerPort: 80, hostPort: 1, {first}}}, {{containerPort: 81, hostPort: 1, {second}}}]"
        );
        check(
            &ports,
            if clash {
                &["c.ports[1].hostPort: duplicate value 1"]
            } else {
                &[]
            },
        );
    };
    two("protocol: TCP", "protocol: UDP", false);
    two("hostIP: 127.0.0.1", "hostIP: 127.0.0.2", false);
    two("hostIP: 127.0.0.1", "hostIP: 127.0.0.1", true);
    two("hostIP: 127.0.0.1", "hostIP: 0.0.0.0", true);
    two("hostIP: 0.0.0.0", "hostIP: 127.0.0.1", true);
    check(
        "container: ports: [{containerPort: 80, hostPort: 1, hostIP: here}]",
        &["c.ports[0].hostIP: invalid value \"here\": must be an IP address"],
    );
    check(
        "spec: {hostNetwork: true, containers: [{name: a, image: a, ports: [{containerPort: 80, hostPort: 81}, {containerPort: 82}]}]}",
        &["c.ports[0].hostPort: must be the containerPort, 80, with hostNetwork"],
    );
    check(
        "spec: {hostNetwork: true, containers: [{name: a, image: a, ports: [{containerPort: 80}]}, {name: b, image: a, ports: [{containerPort: 80}]}]}",
        &["spec.containers[1].ports[0].hostPort: duplicate value 80"],
    );
}

#[test]
fn environment() {
    check(
        "container: env: [{name: A, value: b}, {name: a.b-c}], envFrom: [{prefix: P_, configMapRef: {name: c}}]",
        &[],
    );
    check(
        "container: env: [{value: b}, {name: A=B}, {name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        &[
            "c.env[0].name: required value",
            "c.env[1].name: invalid value \"A=B\": must be printable ASCII characters without '='",
            "c.env[2]: has value and valueFrom; only one of them may be set",
        ],
    );
    check(
        "container: env: [{name: A, valueFrom: {}}, {name: B, valueFrom: {fieldRef: {fieldPath: spec.x}}}]",
        &[
            "c.env[0].valueFrom: required value: one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef",
            "c.env[1].valueFrom.fieldRef.fieldPath: unsupported value \"spec.x\": must be metadata.name, metadata.namespace, \
         metadata.uid, spec.nodeName, spec.serviceAccountName, status.hostIP, status.hostIPs, status.podIP, \
         status.podIPs, metadata.labels['<key>'], metadata.annotations['<key>']",
        ],
    );
    check(
        "container: env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}]",
        &[],
    );
    check(
        "container: env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}]",
        &[],
    );
    check(
        "container: env: [{name: A, valueFrom: {resourceFieldRef: {resource: cpu, divisor: x}}}]",
        &[
            "c.env[0].valueFrom.resourceFieldRef.resource: unsupported value \"cpu\": must be limits.cpu, limits.memory, \
         limits.ephemeral-storage, requests.cpu, requests.memory, requests.ephemeral-storage",
            "c.env[0].valueFrom.resourceFieldRef.divisor: \"x\" is not a quantity; write a number with an optional suffix, \
         for example 500m, 2, 64Mi or 1.5Gi",
        ],
    );
    check(
        "container: env: [{name: A, valueFrom: {configMapKeyRef: {key: k}, secretKeyRef: {name: s}}}], envFrom: [{}]",
        &[
            "c.env[0].valueFrom: has configMapKeyRef and secretKeyRef; only one of them may be set",
            "c.env[0].valueFrom.configMapKeyRef.name: required value",
            "c.env[0].valueFrom.secretKeyRef.key: required value",
            "c.envFrom[0]: required value: one of configMapRef, secretRef",
        ],
    );
    check(
        "container: env: [{name: A, value: \"a\\0b\"}]",
        &["c.env[0].value: invalid value: must not contain a NUL character"],
    );
}

#[test]
fn resources() {
    check(
        "container: resources: {limits: {cpu: 1, memory: 64Mi, example.com/gpu: 1}, requests: {cpu: 500m}}",
        &[],
    );
    check(
        "container: resources: {limits: {cpu: 0.1, memory: 1000000}}",
        &[],
    );
    check(
        "container: resources: {limits: {cpu: 500m}, requests: {cpu: 1}}",
        &["c.resources.requests.cpu: invalid value 1: must not be more than the limit, 500m"],
    );
    check(
        "container: resources: {limits: {memory: 64MB}, requests: {cpu: -1}}",
        &[
            "c.resources.limits.memory: \"64MB\" is not a quantity; write a number with an optional suffix, for example \
         500m, 2, 64Mi or 1.5Gi",
            "c.resources.requests.cpu: invalid value -1: must not be negative",
        ],
    );
    check(
        "container: resources: {limits: {mem: 1}}",
        &[
            "c.resources.limits.mem: unknown resource; it must be cpu, memory, ephemeral-storage, hugepages-<size> or \
         <domain>/<name>",
        ],
    );
    check(
        "container: resources: {limits: {cpu: [1]}}",
        &["c.resources.limits.cpu: expected a quantity such as 500m or 64Mi, found sequence"],
    );
}

#[test]
fn mounts() {
    check(
        "container: volumeMounts: [{name: v, mountPath: /a, subPath: b/c}, {name: v, mountPath: /a/b}]",
        &[],
    );
    check(
        "container: volumeMounts: [{name: x, mountPath: /a}, {mountPath: /b}, {name: v}]",
        &[
            "c.volumeMounts[0].name: volume \"x\" not found; add it to the pod's volumes",
            "c.volumeMounts[1].name: required value",
            "c.volumeMounts[2].mountPath: required value",
        ],
    );
    check(
        "container: volumeMounts: [{name: v, mountPath: a}, {name: v, mountPath: /a/../b}, {name: w, mountPath: /}]",
        &[
            "c.volumeMounts[0].mountPath: invalid value \"a\": must be an absolute path",
            "c.volumeMounts[1].mountPath: invalid value \"/a/../b\": must not contain '..'",
            "c.volumeMounts[2].mountPath: invalid value \"/\": a volume cannot take the place of the image; mount it below",
        ],
    );
    check(
        "container: volumeMounts: [{name: v, mountPath: /a}, {name: w, mountPath: //a/}]",
        &["c.volumeMounts[1].mountPath: duplicate value \"/a\""],
    );
    check(
        "container: volumeMounts: [{name: v, mountPath: /a, subPath: ../b}, {name: v, mountPath: /b, subPath: /c}]",
        &[
            "c.volumeMounts[0].subPath: invalid value \"../b\": must not contain '..'",
            "c.volumeMounts[1].subPath: invalid value \"/c\": must be a relative path",
        ],
    );
    check(
        "container: volumeMounts: [{name: v, mountPath: /a, subPath: a, subPathExpr: b}]",
        &["c.volumeMounts[0]: has subPath and subPathExpr; only one of them may be set"],
    );
    check(
        "container: volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional, recursiveReadOnly: Enabled}]",
        &[
            "c.volumeMounts[0].mountPropagation: Bidirectional is forbidden unless the container is privileged",
            "c.volumeMounts[0].recursiveReadOnly: has no meaning without readOnly: true",
            "c.volumeMounts[0].recursiveReadOnly: is forbidden unless mountPropagation is None",
        ],
    );
}

#[test]
fn the_container_itself() {
    check(
        "container: workingDir: /a, terminationMessagePath: /b, stdin: true, stdinOnce: true",
        &[],
    );
    check(
        "container: workingDir: a, terminationMessagePath: b, stdinOnce: true",
        &[
            "c.workingDir: invalid value \"a\": must be an absolute path",
            "c.terminationMessagePath: invalid value \"b\": must be an absolute path",
            "c.stdinOnce: has no meaning without stdin: true",
        ],
    );
    check(
        "container: imagePullPolicy: PullAlways, terminationMessagePolicy: Logs",
        &[
            "c.imagePullPolicy: unsupported value \"PullAlways\": must be Always, IfNotPresent, Never",
            "c.terminationMessagePolicy: unsupported value \"Logs\": must be File, FallbackToLogsOnError",
        ],
    );
    check(
        "spec: {containers: [{name: a, image: 'a b'}]}",
        &["c.image: invalid value \"a b\": must not contain spaces"],
    );
    check(
        "container: args: [a, \"b\\0\"]",
        &["c.args[1]: invalid value: must not contain a NUL character"],
    );
}

#[test]
fn probes_and_hooks() {
    check(
        "container: ports: [{name: web, containerPort: 80}], livenessProbe: {httpGet: {port: web}}, readinessProbe: {tcpSocket: {port: '80'}, successThreshold: 2}, startupProbe: {grpc: {port: 1}}",
        &[],
    );
    check(
        "container: livenessProbe: {}, readinessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}, startupProbe: {exec: {}}",
        &[
            "c.livenessProbe: required value: one of exec, httpGet, tcpSocket, grpc",
            "c.readinessProbe: has exec and tcpSocket; only one of them may be set",
            "c.startupProbe.exec.command: required value",
        ],
    );
    check(
        "container: livenessProbe: {httpGet: {port: web, scheme: http}, successThreshold: 2, periodSeconds: -1}",
        &[
            "c.livenessProbe.httpGet.port: port \"web\" not found among the container's ports",
            "c.livenessProbe.httpGet.scheme: unsupported value \"http\": must be HTTP, HTTPS",
            "c.livenessProbe.successThreshold: invalid value 2: must be between 1 and 1",
            "c.livenessProbe.periodSeconds: invalid value -1: must be 1 or more",
        ],
    );
    check(
        "container: livenessProbe: {httpGet: {}}, readinessProbe: {tcpSocket: {port: 99999}}",
        &[
            "c.livenessProbe.httpGet.port: required value",
            "c.readinessProbe.tcpSocket.port: invalid value 99999: must be between 1 and 65535",
        ],
    );
    check(
        "container: readinessProbe: {exec: {command: [a]}, terminationGracePeriodSeconds: 5}",
        &[
            "c.readinessProbe.terminationGracePeriodSeconds: forbidden: a readiness probe never stops a container",
        ],
    );
    check(
        "container: livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: 'a b', value: c}, {name: A, value: \"b\\r\\nc\"}]}}",
        &[
            "c.livenessProbe.httpGet.httpHeaders[0].name: invalid value \"a b\": must be the name of a header",
            "c.livenessProbe.httpGet.httpHeaders[1].value: invalid value: must be one line",
        ],
    );
    check(
        "container: lifecycle: {postStart: {exec: {command: [a]}}, preStop: {sleep: {seconds: 5}}, stopSignal: SIGUSR1}",
        &[],
    );
    check(
        "container: lifecycle: {postStart: {}, preStop: {sleep: {seconds: 31}}, stopSignal: TERM}",
        &[
            "c.lifecycle.postStart: required value: one of exec, httpGet, tcpSocket, sleep",
            "c.lifecycle.preStop.sleep.seconds: invalid value 31: must be between 0 and 30",
            "c.lifecycle.stopSignal: unsupported value \"TERM\": write the name of a signal, for example SIGTERM",
        ],
    );
    check(
        "initContainers: [{name: b, image: a, livenessProbe: {exec: {command: [a]}}}]",
        &[
            "spec.initContainers[0].livenessProbe: forbidden: an init container runs to its end; remove it, or set \
         restartPolicy: Always",
        ],
    );
    check(
        "initContainers: [{name: b, image: a, restartPolicy: Always, livenessProbe: {exec: {command: [a]}}}]",
        &[],
    );
}

#[test]
fn restart_rules() {
    check(
        "container: restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]",
        &[],
    );
    check(
        "container: restartPolicyRules: [{action: Stop, exitCodes: {operator: Is, values: []}}, {action: Restart}]",
        &[
            "c.restartPolicyRules: forbidden: give restartPolicy as well, for the exit codes that no rule names",
            "c.restartPolicyRules[0].action: unsupported value \"Stop\": must be Restart",
            "c.restartPolicyRules[0].exitCodes.operator: unsupported value \"Is\": must be In, NotIn",
            "c.restartPolicyRules[0].exitCodes.values: required value",
            "c.restartPolicyRules[1].exitCodes: required value",
        ],
    );
}

#[test]
fn security() {
    check(
        "container: securityContext: {runAsUser: 1, runAsGroup: 1, capabilities: {add: [NET_ADMIN, CAP_CHOWN], drop: [ALL]}, seccompProfile: {type: RuntimeDefault}, procMount: Default}",
        &[],
    );
    check(
        "container: securityContext: {runAsUser: -1, runAsGroup: 4294967296, procMount: None}",
        &[
            "c.securityContext.runAsUser: invalid value -1: must be between 0 and 2147483647",
            "c.securityContext.runAsGroup: invalid value 4294967296: must be between 0 and 2147483647",
            "c.securityContext.procMount: unsupported value \"None\": must be Default, Unmasked",
        ],
    );
    check(
        "container: securityContext: {runAsNonRoot: true, runAsUser: 0}",
        &["c.securityContext.runAsUser: invalid value 0: runAsNonRoot is true"],
    );
    check(
        "container: securityContext: {capabilities: {add: ['NET ADMIN']}}",
        &[
            "c.securityContext.capabilities.add[0]: invalid value \"NET ADMIN\": must be a name such as NET_ADMIN, or ALL",
        ],
    );
    check(
        "container: securityContext: {privileged: true, allowPrivilegeEscalation: false}",
        &["c.securityContext.allowPrivilegeEscalation: cannot be false in a privileged container"],
    );
    check(
        "container: securityContext: {seccompProfile: {type: Localhost}}",
        &["c.securityContext.seccompProfile.localhostProfile: required value"],
    );
    check(
        "container: securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../a}, appArmorProfile: {type: Default}}",
        &[
            "c.securityContext.seccompProfile.localhostProfile: invalid value \"../a\": must not contain '..'",
            "c.securityContext.appArmorProfile.type: unsupported value \"Default\": must be RuntimeDefault, Unconfined, Localhost",
        ],
    );
    check(
        "securityContext: {fsGroup: 1, supplementalGroups: [1, 2], sysctls: [{name: net.core.somaxconn, value: '1'}]}",
        &[],
    );
    check(
        "securityContext: {supplementalGroups: [-1], fsGroupChangePolicy: Never, sysctls: [{name: a, value: '1'}, {name: a, value: '1'}, {name: 'a b'}]}",
        &[
            "spec.securityContext.supplementalGroups[0]: invalid value -1: must be between 0 and 2147483647",
            "spec.securityContext.fsGroupChangePolicy: unsupported value \"Never\": must be Always, OnRootMismatch",
            "spec.securityContext.sysctls[1].name: duplicate value \"a\"",
            "spec.securityContext.sysctls[2].name: invalid value \"a b\": must be a name such as net.core.somaxconn",
        ],
    );
    check(
        "hostNetwork: true, securityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}]}",
        &[
            "spec.securityContext.sysctls[0].name: net.core.somaxconn is forbidden with hostNetwork: it would change the host",
        ],
    );
}

#[test]
fn volumes() {
    check(
        "volumes: [{name: a}, {name: b, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, {name: c, hostPath: {path: /a, type: Directory}}]",
        &[],
    );
    check(
        "volumes: [{emptyDir: {}}, {name: a}, {name: a}]",
        &[
            "spec.volumes[0].name: required value",
            "spec.volumes[2].name: duplicate value \"a\"",
        ],
    );
    check(
        "volumes: [{name: a, emptyDir: {}, hostPath: {path: /a}}]",
        &["spec.volumes[0]: has emptyDir and hostPath; only one of them may be set"],
    );
    check(
        "volumes: [{name: a, emptyDir: {medium: Disk, sizeLimit: -1}}, {name: b, hostPath: {path: a, type: Dir}}]",
        &[
            "spec.volumes[0].emptyDir.medium: unsupported value \"Disk\": must be Memory",
            "spec.volumes[0].emptyDir.sizeLimit: must not be negative",
            "spec.volumes[1].hostPath.path: invalid value \"a\": must be an absolute path",
            "spec.volumes[1].hostPath.type: unsupported value \"Dir\": must be DirectoryOrCreate, Directory, FileOrCreate, \
         File, Socket, CharDevice, BlockDevice",
        ],
    );
    check(
        "volumes: [{name: a, image: {}}, {name: b, image: {reference: 'a b', pullPolicy: Sometimes}}, {name: c, gitRepo: {repository: r, directory: ../x}}, \
         {name: d, gitRepo: {repository: ''}}]",
        &[
            "spec.volumes[0].image.reference: required value",
            "spec.volumes[1].image.reference: invalid value \"a b\": must not contain spaces",
            "spec.volumes[1].image.pullPolicy: unsupported value \"Sometimes\": must be Always, IfNotPresent, Never",
            "spec.volumes[2].gitRepo.directory: invalid value \"../x\": must not contain '..'",
            "spec.volumes[3].gitRepo.repository: required value",
        ],
    );
    check(
        "volumes: [{name: a, configMap: {name: c, defaultMode: 0400, items: [{key: k, path: a/b}]}}, {name: b, secret: {secretName: s}}]",
        &[],
    );
    check(
        "volumes: [{name: a, configMap: {defaultMode: 1000, items: [{key: k, path: ../b}, {key: /, path: /c}, {path: ..data}]}}, {name: b, secret: {}}]",
        &[
            "spec.volumes[0].configMap.name: required value",
            "spec.volumes[0].configMap.defaultMode: invalid value 1000 (octal 1750): must be between 0 and 0777",
            "spec.volumes[0].configMap.items[0].path: invalid value \"../b\": must not contain '..'",
            "spec.volumes[0].configMap.items[1].key: invalid value \"/\": must be letters, digits, '-', '_' and '.', and not \
         begin with '..'",
            "spec.volumes[0].configMap.items[1].path: invalid value \"/c\": must be a relative path",
            "spec.volumes[0].configMap.items[2].key: required value",
            "spec.volumes[0].configMap.items[2].path: invalid value \"..data\": must not begin with '..'",
            "spec.volumes[1].secret.secretName: required value",
        ],
    );
    check(
        "volumes: [{name: a, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.labels}}, {path: b, resourceFieldRef: {resource: limits.cpu}}, {path: a}]}}]",
        &[
            "spec.volumes[0].downwardAPI.items[1].resourceFieldRef.containerName: required value",
            "spec.volumes[0].downwardAPI.items[2]: required value: one of fieldRef, resourceFieldRef",
            "spec.volumes[0].downwardAPI.items[2].path: duplicate value \"a\"",
        ],
    );
    check(
        "volumes: [{name: a, projected: {sources: [{}, {secret: {name: s, items: [{key: k, path: p}]}}, {configMap: {name: c, items: [{key: k, path: p}]}}]}}]",
        &[
            "spec.volumes[0].projected.sources[0]: required value: one of configMap, secret, downwardAPI, \
         serviceAccountToken, clusterTrustBundle, podCertificate",
            "spec.volumes[0].projected.sources[2].configMap.items[0].path: duplicate value \"p\"",
        ],
    );
}

#[test]
fn config_maps_and_secrets() {
    let check = |text: &str, want: &[&str]| assert_eq!(problems(text), want, "{text}");
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a.conf: x}, binaryData: {b: AAEC}}",
        &[],
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: x, ../b: z}, binaryData: {a: AAEC}}",
        &[
            "data[../b]: invalid value \"../b\": must be letters, digits, '-', '_' and '.', and not begin with '..'",
            "binaryData[a]: duplicate value: data has this key as well",
        ],
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, binaryData: {a: '%'}}",
        &["binaryData.a: expected base64, found string \"%\" (Invalid symbol 37, offset 0)"],
    );
    check(
        "{apiVersion: v1, kind: Secret, metadata: {name: a}, type: kubernetes.io/tls, stringData: {tls.crt: x}}",
        &["data[tls.key]: required value"],
    );
    let big = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{a: {}}}}}",
        "x".repeat(1_048_577)
    );
    check(&big, &["data: 1048577 bytes, at most 1048576 are allowed"]);
}
