//! Good files, and every mistake of bad ones at once.
use super::*;

fn of(text: &str) -> Result<Loaded, ConfigError> {
    parse(
        text,
        Some(Path::new("/etc/rkube/kubelet.yaml")),
        &Flags::default(),
    )
}

#[track_caller]
fn mistakes(text: &str, want: &[&str]) {
    let found = of(text).expect_err("mistakes").to_string();
    let found: Vec<_> = found
        .lines()
        .map(|line| line.replace("/etc/rkube/kubelet.yaml: ", ""))
        .collect();
    assert_eq!(found, want);
}

#[test]
fn nothing_is_the_defaults() {
    for text in ["", "# nothing\n", "---\n", "{}"] {
        assert_eq!(
            of(text).unwrap().config,
            KubeletConfig::default(),
            "{text:?}"
        );
    }
    // What the defaults are written as reads as the defaults, and with no remark.
    let text = rkube_api::yaml::to_string(&KubeletConfig::default()).unwrap();
    let loaded = of(&text).unwrap();
    assert_eq!(
        (loaded.config, loaded.warnings),
        (KubeletConfig::default(), Vec::new())
    );
}

#[test]
fn a_whole_file_is_understood() {
    let text = "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: manifests
staticPodURL: https://config.example/pods
staticPodURLHeader: {Metadata-Flavor: [Google]}
address: 0.0.0.0
authentication:
  x509: {clientCAFile: ca.pem}
evictionHard: {memory.available: 200Mi, nodefs.available: 5%}
crashLoopBackOff: {maxContainerRestartPeriod: 1m}
clusterDNS: [10.96.0.10]
rkube:
  nodeName: minion-1
  etcdServers: [http://127.0.0.1:2379]
";
    let loaded = of(text).unwrap();
    let config = loaded.config;
    assert_eq!(
        config.static_pod_path.as_deref(),
        Some(Path::new("/etc/rkube/manifests"))
    );
    assert_eq!(
        config.authentication.x509.client_ca_file.as_deref(),
        Some(Path::new("/etc/rkube/ca.pem"))
    );
    assert_eq!(config.eviction_hard.len(), 2);
    assert_eq!(config.rkube.node_name.as_deref(), Some("minion-1"));
    assert_eq!(config.port, 10250);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_mistake_is_told_with_its_line() {
    mistakes(
        "\
port: 0
readOnlyPort: 80000
adress: 10.0.0.1
address: localhost
fileCheckFrequency: 20
evictionHard:
  memory.availble: 100Mi
  nodefs.available: lots
evictionSoft: {memory.available: 1Gi}
imageGCLowThresholdPercent: 90
port: 5
tlsCertFile: a.pem
systemReserved: {gpu: '1', memory: -1Gi}
rkube:
  etcdServers: [http://127.0.0.1:2379, '127.0.0.1:2379']
  maximumDeadPod: 3
  nodeName: Minion_1
",
        &[
            "line 2: readOnlyPort: expected a number from 0 to 65535, found integer `80000`",
            "line 3: adress: unknown field; did you mean address?",
            "line 4: address: expected IP address, found string \"localhost\" (invalid IP address syntax)",
            "line 5: fileCheckFrequency: expected a string, found number 20; put it in quotes",
            "line 7: evictionHard[memory.availble]: unknown signal; there are memory.available, \
             nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, \
             containerfs.available, containerfs.inodesFree, pid.available",
            "line 8: evictionHard[nodefs.available]: \"lots\" is not a quantity; write a number with an optional suffix, \
             for example 500m, 2, 64Mi or 1.5Gi",
            "line 9: evictionSoft[memory.available]: give the time that it may be crossed in evictionSoftGracePeriod",
            "line 10: imageGCLowThresholdPercent: 90 is not below imageGCHighThresholdPercent, 85",
            "line 11: port: duplicate key; it is already set on line 1",
            "line 12: tlsCertFile: is set without tlsPrivateKeyFile",
            "line 13: systemReserved[gpu]: unknown resource; there are cpu, memory, ephemeral-storage, pid",
            "line 13: systemReserved[memory]: \"-1Gi\" is below zero",
            "line 15: rkube.etcdServers[1]: \"127.0.0.1:2379\" is not an HTTP URL; write it like http://host:port/path",
            "line 16: rkube.maximumDeadPod: unknown field; did you mean maximumDeadPods?",
            "line 17: rkube.nodeName: invalid value \"Minion_1\": must be lower-case letters, digits, '-' \
             and '.', each part beginning and ending with a letter or digit",
        ],
    );
}

#[test]
fn what_others_have_is_named_and_not_refused() {
    let loaded = of("cgroupDriver: systemd\nauthentication: {anonymous: {enabled: false}}\nfeatureGates: {A: true}\n").unwrap();
    let shown: Vec<_> = loaded.warnings.iter().map(Remark::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown[0].starts_with(
            "/etc/rkube/kubelet.yaml: line 1: cgroupDriver: has no effect here: cgroups are"
        ),
        "{shown:?}"
    );
    assert!(
        shown[1].starts_with("/etc/rkube/kubelet.yaml: line 2: authentication.anonymous: has"),
        "{shown:?}"
    );
}

#[test]
fn a_flag_is_named_when_it_is_wrong_and_wins_when_it_is_right() {
    let flags = Flags {
        port: Some(0),
        manifest_url: Some("ftp://x".to_owned()),
        ..Flags::default()
    };
    let err = parse("port: 7\nmaxPods: x\n", Some(Path::new("k.yaml")), &flags).unwrap_err();
    assert_eq!(
        err.to_string(),
        "k.yaml: line 2: maxPods: expected an integer, found string \"x\"\n\
         --manifest-url: staticPodURL: \"ftp://x\" is not an HTTP URL; write it like http://host:port/path\n\
         --port: port: 0 is not a port; write enableServer: false for no server"
    );
    let flags = Flags {
        port: Some(8),
        ..Flags::default()
    };
    assert_eq!(parse("port: 7\n", None, &flags).unwrap().config.port, 8);
}

#[test]
fn what_is_no_file_of_settings_is_refused_whole() {
    for (text, want) in [
        ("port: [", "cannot be read as YAML or JSON"),
        (
            "port: 1\n---\nport: 2\n",
            "line 3: cannot be read as YAML or JSON: a second document",
        ),
        ("- port\n", "expected an object"),
        (
            "kind: Pod\n",
            "line 1: kind: \"Pod\"; only KubeletConfiguration is read here",
        ),
        (
            "apiVersion: v1\n",
            "only kubelet.config.k8s.io/v1beta1 is read here",
        ),
    ] {
        let err = of(text).unwrap_err().to_string();
        assert!(err.contains(want), "{text:?}: {err}");
    }
}

#[test]
fn files_that_never_end_are_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubelet.yaml");
    let err = load(Some(&path), &Flags::default()).unwrap_err();
    assert!(matches!(err, ConfigError::Read(_)), "{err}");
    let err = load(Some(Path::new("/dev/zero")), &Flags::default()).unwrap_err();
    assert!(
        err.remarks()[0].contains("/dev/zero is not a file"),
        "{err}"
    );
    fs_err::write(&path, "#".repeat(2 << 20)).unwrap();
    let err = load(Some(&path), &Flags::default()).unwrap_err();
    assert!(err.remarks()[0].contains("larger than 1 MiB"), "{err}");
    fs_err::write(&path, "maxPods: 7").unwrap();
    let loaded = load(Some(&path), &Flags::default()).unwrap();
    assert_eq!((loaded.config.max_pods, loaded.file), (7, Some(path)));
}
