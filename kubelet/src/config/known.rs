//! The fields of KubeletConfiguration that mean nothing here, and what stands in their place.
//!
//! A file that was written for another kubelet is not refused for them: they are named, with the reason.

/// What to say of a field that a KubeletConfiguration may have and this kubelet does not; `None` for one that no
/// kubelet has.
pub(super) fn unsupported(path: &str) -> Option<&'static str> {
    let found = UNSUPPORTED
        .iter()
        .find(|(names, _)| names.split(' ').any(|name| name == path));
    found.map(|(_, instead)| *instead)
}

const NO_MASTER: &str = "it is about the API server's client, which has no such setting";
const CGROUPS: &str = "cgroups are rkubelet's own: /kubepods, by QoS class, without a driver";
const NUMA: &str = "processors and memory are shared by weight; there is no placement on them";
const NO_RUNTIME: &str = "rkubelet is its own container runtime";
const SERVING: &str = "the server speaks TLS 1.2 and 1.3 with today's ciphers only";
const RULES: &str =
    "the packet filter is set up as docs/networking.md says; see --bridge and --pod-subnet";

/// Names that stand together, separated by a space, and what to know.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "authentication.anonymous",
        "nobody without a certificate or a token may ask, ever",
    ),
    (
        "authentication.webhook authorization",
        "who may ask is decided here: see docs/kubelet.md, \"Who may ask\"",
    ),
    (
        "containerRuntimeEndpoint imageServiceEndpoint runtimeRequestTimeout",
        NO_RUNTIME,
    ),
    (
        "cgroupDriver cgroupRoot cgroupsPerQOS kubeletCgroups systemCgroups runtimeCgroups \
         systemReservedCgroup kubeReservedCgroup failCgroupV1 qosReserved memoryThrottlingFactor \
         singleProcessOOMKill",
        CGROUPS,
    ),
    (
        "cpuManagerPolicy cpuManagerPolicyOptions cpuManagerReconcilePeriod memoryManagerPolicy \
         topologyManagerPolicy topologyManagerScope topologyManagerPolicyOptions \
         reservedSystemCPUs reservedMemory",
        NUMA,
    ),
    (
        "cpuCFSQuota cpuCFSQuotaPeriod",
        "limits are always enforced, with the kernel's period of 100ms",
    ),
    ("tlsCipherSuites tlsMinVersion tlsCurvePreferences", SERVING),
    (
        "rotateCertificates serverTLSBootstrap",
        "certificates are files; a changed one is read again",
    ),
    ("registryPullQPS registryBurst", "see maxParallelImagePulls"),
    (
        "serializeImagePulls",
        "write maxParallelImagePulls: 1 instead",
    ),
    (
        "imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist",
        "an image that is here may be used by every pod of the host",
    ),
    (
        "eventRecordQPS eventBurst",
        "events are few: the same one again only counts up",
    ),
    (
        "healthzPort healthzBindAddress",
        "/healthz is answered on `port`, to everybody",
    ),
    (
        "kubeAPIQPS kubeAPIBurst contentType nodeStatusUpdateFrequency nodeStatusReportFrequency \
         nodeLeaseDurationSeconds nodeStatusMaxImages registerNode registerWithTaints providerID \
         enableControllerAttachDetach configMapAndSecretChangeDetectionStrategy",
        NO_MASTER,
    ),
    (
        "hairpinMode podCIDR makeIPTablesUtilChains iptablesMasqueradeBit iptablesDropBit",
        RULES,
    ),
    ("podsPerCore", "write maxPods"),
    (
        "evictionMinimumReclaim mergeDefaultEvictionSettings kernelMemcgNotification",
        "an eviction goes on until the signal is back over its threshold",
    ),
    (
        "resolvConf",
        "the host's own resolv.conf is used, and systemd-resolved's behind a stub",
    ),
    ("runOnce", "use `rkubelet run`"),
    (
        "failSwapOn memorySwap",
        "swap is left to the host; containers with a memory limit do not use it",
    ),
    (
        "seccompDefault",
        "a container says itself which profile it has (securityContext.seccompProfile)",
    ),
    (
        "allowedUnsafeSysctls protectKernelDefaults",
        "a pod may set the sysctls of its own namespaces only; the host's are left alone",
    ),
    (
        "containerLogMaxWorkers containerLogMonitorInterval",
        "a log is rotated by the process that writes it, as it grows",
    ),
    (
        "shutdownGracePeriodByPodPriority",
        "see shutdownGracePeriod and shutdownGracePeriodCriticalPods",
    ),
    (
        "volumePluginDir volumeStatsAggPeriod localStorageCapacityIsolation userNamespaces",
        "volumes are those of docs/manifests.md",
    ),
    (
        "enableContentionProfiling enableProfilingHandler enableDebugFlagsHandler \
         enableSystemLogHandler enableSystemLogQuery showHiddenMetricsForVersion",
        "see enableDebuggingHandlers",
    ),
    (
        "logging",
        "set RKUBELET_LOG, or write -v; the log goes to standard error",
    ),
    ("tracing", "there is no export of spans"),
    ("featureGates", "nothing here is behind a gate"),
    (
        "oomScoreAdj maxOpenFiles",
        "the service manager sets these: see packaging/rkubelet.service",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_field_is_both_honoured_and_unsupported() {
        let config = serde_json::to_value(crate::config::KubeletConfig::default()).unwrap();
        let honoured: BTreeSet<_> = config.as_object().unwrap().keys().cloned().collect();
        let mut seen = BTreeSet::new();
        for name in UNSUPPORTED
            .iter()
            .flat_map(|(names, _)| names.split_whitespace())
        {
            assert!(!honoured.contains(name), "{name}");
            assert!(seen.insert(name), "{name} twice");
            assert!(unsupported(name).is_some(), "{name}");
        }
        assert_eq!(unsupported("cgroupDrivers"), None);
    }
}
