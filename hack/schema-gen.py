#!/usr/bin/env python3
"""Writes api/src/schema/builtin.{txt,descriptions}: the types of Kubernetes' objects as data.

usage: hack/schema-gen.py K8S_OPENAPI_SRC K8S_PB_SRC

Both arguments are unpacked sources of crates (Apache-2.0), for example below ~/.cargo/registry/src:
  k8s-openapi-0.29.0   the names, shapes and descriptions of fields as JSON has them (its v1_37 types)
  k8s-pb-0.9.0         protobuf tags, and in comments the markers of lists, merging and defaults

To be run by hand when one of them is renewed. builtin.txt says at its head how it is read.
"""
import re
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
GROUPS = [
    "api/core/v1", "api/apps/v1", "api/batch/v1", "api/autoscaling/v1", "api/autoscaling/v2", "api/policy/v1",
    "api/networking/v1", "api/rbac/v1", "api/discovery/v1", "api/events/v1", "api/coordination/v1",
    "api/authentication/v1", "api/authorization/v1", "api/scheduling/v1", "api/storage/v1", "api/node/v1",
    "api/certificates/v1", "apiextensions_apiserver/pkg/apis/apiextensions/v1", "apimachinery/pkg/apis/meta/v1",
]
SPECIAL = {
    "Quantity": "q", "IntOrString": "x", "Time": "t", "MicroTime": "T", "RawExtension": "*", "FieldsV1": "*",
    "JSON": "*", "JSONSchemaPropsOrArray": "*", "JSONSchemaPropsOrBool": "*", "JSONSchemaPropsOrStringArray": "*",
    "Patch": "*", "WatchEvent": "*",
}
# Kinds of groups that only old clients ask for, with the same fields as today's.
ALIASES = {("policy", "v1", "Eviction"): [("policy", "v1beta1", "Eviction")]}
# Fields of plain values whose zero means something else than their absence (pointers in Go's types, k8s.io/api). Protobuf
# bodies hold the zeros of all others, which JSON leaves out. Neither source says so; the list is kept by hand.
POINTERS = """
PersistentVolumeClaimSpec storageClassName volumeMode volumeAttributesClassName
PersistentVolumeSpec volumeMode volumeAttributesClassName
AzureDiskVolumeSource cachingMode fsType readOnly kind
AzureFilePersistentVolumeSource secretNamespace
ISCSIVolumeSource initiatorName
ISCSIPersistentVolumeSource initiatorName
FCVolumeSource lun
HostPathVolumeSource type
LocalVolumeSource fsType
SecretVolumeSource defaultMode optional
ConfigMapVolumeSource defaultMode optional
SecretProjection optional
ConfigMapProjection optional
ProjectedVolumeSource defaultMode
DownwardAPIVolumeSource defaultMode
DownwardAPIVolumeFile mode
KeyToPath mode
ServiceAccountTokenProjection expirationSeconds
ClusterTrustBundleProjection name signerName optional
PodCertificateProjection maxExpirationSeconds
CSIVolumeSource readOnly fsType
VolumeMount mountPropagation recursiveReadOnly
VolumeMountStatus recursiveReadOnly
ConfigMapKeySelector optional
SecretKeySelector optional
FileKeySelector optional
ConfigMapEnvSource optional
SecretEnvSource optional
GRPCAction service
Probe terminationGracePeriodSeconds
Lifecycle stopSignal
SecurityContext privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation procMount
PodSecurityContext runAsUser runAsGroup runAsNonRoot fsGroup fsGroupChangePolicy supplementalGroupsPolicy seLinuxChangePolicy
WindowsSecurityContextOptions gmsaCredentialSpecName gmsaCredentialSpec runAsUserName hostProcess
SeccompProfile localhostProfile
AppArmorProfile localhostProfile
Container restartPolicy
EphemeralContainer restartPolicy
PodSpec terminationGracePeriodSeconds activeDeadlineSeconds automountServiceAccountToken shareProcessNamespace priority runtimeClassName enableServiceLinks preemptionPolicy setHostnameAsFQDN hostUsers hostnameOverride
ContainerStatus started stopSignal
Toleration tolerationSeconds
PodDNSConfigOption value
TopologySpreadConstraint minDomains nodeAffinityPolicy nodeTaintsPolicy
PodResourceClaim resourceClaimName resourceClaimTemplateName
PodResourceClaimStatus resourceClaimName
TypedObjectReference apiGroup namespace
TypedLocalObjectReference apiGroup
PersistentVolumeClaimStatus currentVolumeAttributesClassName
ServiceSpec ipFamilyPolicy allocateLoadBalancerNodePorts loadBalancerClass internalTrafficPolicy trafficDistribution
ClientIPConfig timeoutSeconds
ServicePort appProtocol
core.v1.EndpointPort appProtocol
discovery.v1.EndpointPort name protocol port appProtocol
EndpointAddress nodeName
LoadBalancerIngress ipMode
PortStatus error
ReplicationControllerSpec replicas
ConfigMap immutable
Secret immutable
ServiceAccount automountServiceAccountToken
NodeRuntimeHandlerFeatures recursiveReadOnlyMounts userNamespaces
NodeFeatures supplementalGroupsPolicy
NodeSwapStatus capacity
ObjectMeta deletionGracePeriodSeconds
OwnerReference controller blockOwnerDeletion
DeleteOptions gracePeriodSeconds orphanDependents propagationPolicy ignoreStoreReadErrorWithClusterBreakingPotential
Preconditions uid resourceVersion
ListMeta remainingItemCount
DeploymentSpec replicas revisionHistoryLimit progressDeadlineSeconds
DeploymentStatus collisionCount terminatingReplicas
DaemonSetSpec revisionHistoryLimit
DaemonSetStatus collisionCount
StatefulSetSpec replicas revisionHistoryLimit
RollingUpdateStatefulSetStrategy partition maxUnavailable
RollingUpdateDeployment maxSurge maxUnavailable
RollingUpdateDaemonSet maxSurge maxUnavailable
StatefulSetStatus collisionCount
ReplicaSetSpec replicas
ReplicaSetStatus terminatingReplicas
JobSpec parallelism completions activeDeadlineSeconds backoffLimit backoffLimitPerIndex maxFailedIndexes manualSelector ttlSecondsAfterFinished completionMode suspend podReplacementPolicy managedBy
JobStatus failedIndexes terminating ready
PodFailurePolicyOnExitCodesRequirement containerName
SuccessPolicyRule succeededIndexes succeededCount
CronJobSpec timeZone startingDeadlineSeconds suspend successfulJobsHistoryLimit failedJobsHistoryLimit
HorizontalPodAutoscalerSpec minReplicas targetCPUUtilizationPercentage
HorizontalPodAutoscalerStatus observedGeneration currentCPUUtilizationPercentage
HPAScalingRules stabilizationWindowSeconds selectPolicy
MetricTarget averageUtilization
MetricValueStatus averageUtilization
PodDisruptionBudgetSpec minAvailable maxUnavailable unhealthyPodEvictionPolicy
IngressSpec ingressClassName
HTTPIngressPath pathType
IngressPortStatus error
NetworkPolicyPort port protocol endPort
IngressClassParametersReference apiGroup scope namespace
Endpoint hostname nodeName zone
EndpointConditions ready serving terminating
LeaseSpec holderIdentity leaseDurationSeconds leaseTransitions strategy preferredHolder
TokenRequestSpec expirationSeconds
TokenRequest expirationSeconds
PriorityClass preemptionPolicy value
StorageClass reclaimPolicy allowVolumeExpansion volumeBindingMode
CSIDriverSpec attachRequired podInfoOnMount storageCapacity fsGroupPolicy requiresRepublish seLinuxMount nodeAllocatableUpdatePeriodSeconds
VolumeNodeResources count
VolumeAttachmentSource persistentVolumeName
VolumeError errorCode
VolumeAttributesClass driverName
JSONSchemaProps $ref maximum minimum maxLength minLength maxItems minItems multipleOf maxProperties minProperties x-kubernetes-preserve-unknown-fields x-kubernetes-list-type x-kubernetes-map-type
CustomResourceDefinitionVersion deprecationWarning
CustomResourceSubresourceScale labelSelectorPath
ServiceReference path port
WebhookClientConfig url
ValidationRule reason optionalOldSelf
CertificateSigningRequestSpec expirationSeconds
"""
POINTERS = {line.split()[0]: line.split()[1:] for line in POINTERS.strip().splitlines()}
TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|subschema_for::<([\w:<>]+?)>\(\)|([{}\[\]():,])|(\btrue\b|\bfalse\b)', re.S)
TEXT_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "r": "\r", "'": "'", "0": "\0"}


def unescape(text):
    return re.sub(r"\\(u\{(\w+)\}|.)", lambda m: chr(int(m[2], 16)) if m[2] else TEXT_ESCAPES[m[1]], text)


class Reader:
    """Reads the value inside `json_schema!( .. )`: JSON, but for references to other types in round brackets."""

    def __init__(self, text):
        self.tokens = [m for m in TOKEN.finditer(text)]
        self.at = 0

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def peek(self):
        return self.tokens[self.at][0]

    def value(self):
        token = self.next()
        if token[1] is not None:
            return unescape(token[1])
        if token[4]:
            return token[4] == "true"
        if token[2]:
            return {"ref": token[2]}
        if token[0] == "{":
            out = {}
            while self.peek() != "}":
                key = unescape(self.next()[1])
                assert self.next()[0] == ":"
                out[key] = self.value()
                if self.peek() == ",":
                    self.next()
            self.next()
            return out
        if token[0] == "[":
            out = []
            while self.peek() != "]":
                out.append(self.value())
                if self.peek() == ",":
                    self.next()
            self.next()
            return out
        assert token[0] == "(", token[0]
        out, depth, texts = {}, 1, []
        while depth:
            token = self.next()
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if token[2]:
                out["ref"] = token[2]
            elif token[1] is not None:
                texts.append(unescape(token[1]))
        if "description" in texts:
            out["description"] = texts[texts.index("description") + 1]
        return out


def read_openapi(root):
    """Rust path -> its schema."""
    types = {}
    for path in sorted(root.rglob("*.rs")):
        text = path.read_text()
        found = re.search(r"impl crate::schemars::JsonSchema for (\w+) \{\s*fn schema_name.*?\"([^\"]+)\"", text, re.S)
        if not found:
            continue
        module = "crate::" + "::".join(path.relative_to(root).parts[:-1])
        body = text[text.index("json_schema!(", found.end()) + len("json_schema!("):]
        kind = dict(re.findall(r"const (GROUP|KIND|VERSION|LIST_KIND): &'static str = \"([^\"]*)\"", text))
        types[f"{module}::{found[1]}"] = {"name": found[2], "schema": Reader(body).value(), "kind": kind}
    return types


def read_pb(root):
    """(module folder, lower-cased name) -> its message."""
    messages = {}
    for path in root.rglob("mod.rs"):
        comments, attribute, current = [], None, None
        for line in path.read_text().splitlines():
            line = line.strip()
            if line.startswith("///"):
                comments.append(line[3:].strip())
            elif line.startswith("#[prost("):
                attribute = line
            elif found := re.match(r"pub struct (\w+) \{", line):
                current = {"marks": marks(comments), "fields": {}}
                messages[(str(path.parent.relative_to(root)), found[1].lower())] = current
                comments = []
            elif current is not None and attribute and (found := re.match(r"pub (?:r#)?(\w+):(.*)", line)):
                tag = int(re.search(r'tag = "(\d+)"', attribute)[1])
                key = found[1].rstrip("_").replace("_", "").lower()
                current["fields"][key] = {
                    "tag": tag, "marks": marks(comments), "message": "message" in attribute and "repeated" not in attribute
                    and "map" not in attribute, "type": found[2],
                }
                last, comments, attribute = current["fields"][key], [], None
            elif current is not None and line.startswith(("::", "super", "String", "Vec")):
                last["type"] += line
            elif line.startswith("}"):
                current, comments = None, []
            elif line.startswith("pub "):
                comments, attribute = [], None
    return messages


def marks(comments):
    out = {}
    for line in comments:
        if found := re.match(r"\+(\w+)(?:=(.*))?$", line):
            out.setdefault(found[1], []).append((found[2] or "").strip())
    return out


class Generator:
    def __init__(self, types, messages):
        self.types, self.messages = types, messages
        self.wanted, self.missing = {}, []

    def message(self, path):
        *module, name = path.removeprefix("crate::").split("::")
        return self.messages.get(("/".join(module), name.lower()))

    def shape(self, schema):
        if ref := schema.get("ref"):
            if ref.startswith("std::"):
                raise SystemExit(f"a type of std: {ref}")
            name = ref.rsplit("::", 1)[1]
            if name in SPECIAL:
                return SPECIAL[name]
            self.want(ref)
            return self.types[ref]["name"]
        kind, form = schema.get("type"), schema.get("format")
        if kind == "string":
            return "B" if form == "byte" else "s"
        if kind == "integer":
            return {"int32": "i", "int64": "l"}[form]
        if kind == "number":
            return "n"
        if kind == "boolean":
            return "b"
        if kind == "array":
            return "[" + self.shape(schema["items"])
        if kind == "object" and "additionalProperties" in schema:
            return "{" + self.shape(schema["additionalProperties"])
        return "*"

    def want(self, path):
        if path in self.wanted:
            return
        entry = self.types[path]
        self.wanted[path] = None
        message = self.message(path)
        if message is None:
            self.missing.append(path)
            message = {"marks": {}, "fields": {}}
        schema = entry["schema"]
        properties = schema.get("properties", {})
        own, embedded = message["fields"], {}
        known = {name.replace("-", "").replace("$", "").lower() for name in properties}
        for key, field in own.items():
            if key not in known and field["message"]:
                inner = re.search(r"(\w+),?\s*>+,?$", field["type"])[1]
                module = "/".join(path.removeprefix("crate::").split("::")[:-1])
                inner = self.messages.get((module, inner.lower()))
                if inner is None:
                    print("not embedded:", path, key, field["type"], file=sys.stderr)
                    continue
                for name, part in inner["fields"].items():
                    embedded[name] = (field["tag"], part)
        fields = []
        for name, property in sorted(properties.items()):
            key = name.replace("-", "").replace("$", "").lower()
            tag, marked = "0", {}
            if key in own:
                tag, marked = str(own[key]["tag"]), own[key]["marks"]
            elif key in embedded:
                outer, part = embedded[key]
                tag, marked = f"{outer}.{part['tag']}", part["marks"]
            elif name not in ("apiVersion", "kind"):
                self.missing.append(f"{path} {name}")
            shape = self.shape(property)
            flags = self.flags(marked, name in schema.get("required", []) and not (entry["kind"] and name == "metadata"))
            if any(name in POINTERS.get(".".join(entry["name"].split(".")[-length:]), []) for length in (1, 3)):
                flags.insert(0, "?")
            fields.append((" ".join([name, tag, shape, *flags]), property.get("description", "")))
        self.wanted[path] = {
            "name": entry["name"], "atomic": message["marks"].get("structType") == ["atomic"], "kind": entry["kind"],
            "fields": fields, "description": schema.get("description", ""),
        }

    @staticmethod
    def flags(marked, required):
        flags = ["!"] if required else []
        strategy = ",".join(marked.get("patchStrategy", []))
        if "merge" in strategy.split(","):
            flags.append("merge=" + marked.get("patchMergeKey", [""])[0])
        if strategy == "replace":
            flags.append("replace")
        if "retainKeys" in strategy:
            flags.append("retainKeys")
        if kinds := marked.get("listType"):
            flags.append({"atomic": "atomic", "set": "set", "map": "map=" + ",".join(marked.get("listMapKey", []))}[kinds[0]])
        for marker in ("structType", "mapType"):
            if marker in marked:
                flags.append(marked[marker][0])
        if default := [d for d in marked.get("default", []) if not d.startswith("ref(")]:
            flags.append("default=" + default[0])
        return flags

    def lines(self):
        """Per type: the lines of the table, the lines of the descriptions."""
        meta = "io.k8s.apimachinery.pkg.apis.meta.v1"
        for entry in sorted(self.wanted.values(), key=lambda entry: entry["name"]):
            kind = entry["kind"]
            head = [f"={entry['name']}" + (" atomic" if entry["atomic"] else "")]
            if kind:
                group_kind = (kind["GROUP"], kind["VERSION"], kind["KIND"])
                head += ["@" + "/".join(each) for each in [group_kind, *ALIASES.get(group_kind, [])]]
            yield head + [line for line, _ in entry["fields"]], [entry["description"]] + [text for _, text in entry["fields"]]
            if "LIST_KIND" in kind:
                name = entry["name"].rsplit(".", 1)[0] + "." + kind["LIST_KIND"]
                described = dict(zip((line.split()[0] for line, _ in entry["fields"]), (text for _, text in entry["fields"])))
                yield [
                    f"={name}", f"@{kind['GROUP']}/{kind['VERSION']}/{kind['LIST_KIND']}", "apiVersion 0 s",
                    f"items 2 [{entry['name']} !", "kind 0 s", f"metadata 1 {meta}.ListMeta",
                ], [
                    f"{kind['LIST_KIND']} is a list of {kind['KIND']} objects.", described["apiVersion"],
                    f"items is the list of {kind['KIND']} objects.", described["kind"], "Standard list metadata.",
                ]


HEAD = """\
# The types of Kubernetes' objects. Written by hack/schema-gen.py from the crates k8s-openapi (names, shapes) and
# k8s-pb (protobuf tags, markers), both Apache-2.0; do not edit.
# =type [atomic] / @group/version/kind / field tag[.tag inside an embedded message] shape [? ! merge=key replace retainKeys atomic set map=keys default=json]
# shapes: s string, i int32, l int64, n number, b boolean, B bytes, t time, T microseconds too, q quantity, x int or string, * anything,
# [ list of, { map of; else a type. ! required; ? its zero is not the same as its absence.
"""


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    openapi, pb = Path(sys.argv[1]) / "src/v1_37", Path(sys.argv[2]) / "src"
    generator = Generator(read_openapi(openapi), read_pb(pb))
    for path in generator.types:
        module = "/".join(path.removeprefix("crate::").split("::")[:-1])
        if module in GROUPS and path.rsplit("::", 1)[1] not in SPECIAL:
            generator.want(path)
    table, descriptions = [], []
    for lines, texts in generator.lines():
        table += lines
        descriptions += [text.replace("\\", "\\\\").replace("\n", "\\n") for text in texts]
    out = HERE / "api/src/schema"
    out.mkdir(exist_ok=True)
    (out / "builtin.txt").write_text(HEAD + "\n".join(table) + "\n")
    (out / "builtin.descriptions").write_bytes(zlib.compress("\n".join(descriptions).encode(), 9))
    print(f"{len(table)} lines; without protobuf tags:", *generator.missing, sep="\n  ", file=sys.stderr)


if __name__ == "__main__":
    main()
