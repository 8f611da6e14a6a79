//! Every flag does what it says, in 2014's writing too.
use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    flags: Flags,
}

fn parse(arguments: &[&str]) -> (KubeletConfig, Overrides) {
    let all = ["rkubelet", "serve"].iter().chain(arguments);
    let (plain, _) = go_style(all.map(OsString::from));
    let command =
        Command::try_parse_from(std::iter::once("x".into()).chain(plain.into_iter().skip(2)));
    let mut config = KubeletConfig::default();
    let given = command.unwrap().flags.apply(&mut config);
    (config, given)
}

#[track_caller]
fn check(arguments: &[&str], path: &str, want: &str) {
    let (config, given) = parse(arguments);
    let pointer = format!("/{}", path.replace('.', "/"));
    let json = serde_json::to_value(&config).unwrap();
    let found = json.pointer(&pointer).unwrap_or(&serde_json::Value::Null);
    assert_eq!(found.to_string(), want, "{arguments:?}");
    assert_ne!(
        serde_json::to_value(KubeletConfig::default())
            .unwrap()
            .pointer(&pointer),
        Some(found)
    );
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), [path]);
}

/// Arguments, the setting, and its value then.
const FLAGS: &[(&[&str], &str, &str)] = &[
    (&["--config", "/etc/m"], "staticPodPath", r#""/etc/m""#),
    (&["--pod-manifest-path=/m"], "staticPodPath", r#""/m""#),
    (
        &["--file-check-frequency=5s"],
        "fileCheckFrequency",
        r#""5s""#,
    ),
    (
        &["--manifest-url=http://h/x"],
        "staticPodURL",
        r#""http://h/x""#,
    ),
    (
        &["--manifest-url-header=A:b", "--manifest-url-header", "A: c"],
        "staticPodURLHeader",
        r#"{"A":["b","c"]}"#,
    ),
    (
        &["--http-check-frequency=1m"],
        "httpCheckFrequency",
        r#""1m0s""#,
    ),
    (
        &["--etcd-servers=http://a:1,http://b:2"],
        "rkube.etcdServers",
        r#"["http://a:1","http://b:2"]"#,
    ),
    (&["--etcd-cafile=/a"], "rkube.etcdCAFile", r#""/a""#),
    (&["--etcd-certfile=/a"], "rkube.etcdCertFile", r#""/a""#),
    (&["--etcd-keyfile=/a"], "rkube.etcdKeyFile", r#""/a""#),
    (
        &["--api-servers=http://m:8080"],
        "rkube.apiServers",
        r#"["http://m:8080"]"#,
    ),
    (&["--kubeconfig=/k"], "rkube.kubeconfig", r#""/k""#),
    (&["--sync-frequency=10s"], "syncFrequency", r#""10s""#),
    (&["--enable-server=false"], "enableServer", "false"),
    (&["--address=0.0.0.0"], "address", r#""0.0.0.0""#),
    (&["--port=10251"], "port", "10251"),
    (&["--read-only-port=10255"], "readOnlyPort", "10255"),
    (&["--tls-cert-file=/c"], "tlsCertFile", r#""/c""#),
    (
        &["--tls-private-key-file=/k"],
        "tlsPrivateKeyFile",
        r#""/k""#,
    ),
    (
        &["--client-ca-file=/c"],
        "authentication.x509.clientCAFile",
        r#""/c""#,
    ),
    (&["--token-auth-file=/t"], "rkube.tokenFile", r#""/t""#),
    (
        &["--enable-debugging-handlers=false"],
        "enableDebuggingHandlers",
        "false",
    ),
    (&["--hostname-override=n1"], "rkube.nodeName", r#""n1""#),
    (&["--max-pods=5"], "maxPods", "5"),
    (
        &["--system-reserved=cpu=1,memory=1Gi"],
        "systemReserved",
        r#"{"cpu":"1","memory":"1Gi"}"#,
    ),
    (
        &["--kube-reserved=pid=10"],
        "kubeReserved",
        r#"{"pid":"10"}"#,
    ),
    (
        &["--eviction-hard=memory.available<5%"],
        "evictionHard",
        r#"{"memory.available":"5%"}"#,
    ),
    (
        &["--container-log-max-size=1Mi"],
        "containerLogMaxSize",
        r#""1Mi""#,
    ),
    (
        &["--container-log-max-files=3"],
        "containerLogMaxFiles",
        "3",
    ),
    (&["--cluster-domain=here"], "clusterDomain", r#""here""#),
    (
        &["--cluster-dns=10.0.0.10"],
        "clusterDNS",
        r#"["10.0.0.10"]"#,
    ),
    (
        &["--minimum-container-ttl-duration=1h"],
        "rkube.minimumContainerTTLDuration",
        r#""1h0m0s""#,
    ),
    (
        &["--maximum-dead-containers-per-container=9"],
        "rkube.maximumDeadContainersPerContainer",
        "9",
    ),
];

#[test]
fn every_flag_sets_its_setting() {
    for (arguments, path, want) in FLAGS {
        check(arguments, path, want);
    }
}

#[test]
fn flags_may_be_written_as_go_has_them() {
    check(&["-config", "/etc/m"], "staticPodPath", r#""/etc/m""#);
    check(
        &["-file_check_frequency=5s"],
        "fileCheckFrequency",
        r#""5s""#,
    );
    check(
        &["--http_check_frequency", "1m"],
        "httpCheckFrequency",
        r#""1m0s""#,
    );
    check(&["", "--port=1", ""], "port", "1");
    let (config, _) = parse(&["--enable_server"]);
    assert!(config.enable_server);
}

#[test]
fn what_is_no_more_is_named_and_passed_over() {
    let all = "rkubelet serve --logtostderr=true --v=2 --etcd_servers=http://127.0.0.1:4001 --docker_endpoint unix:///x \
               --allow_privileged=false -vv --root_dir=/r -h";
    let (plain, passed_over) = go_style(all.split(' ').map(OsString::from));
    let plain: Vec<_> = plain.iter().map(|one| one.to_str().unwrap()).collect();
    assert_eq!(
        plain.join(" "),
        "rkubelet serve -v -v --etcd-servers=http://127.0.0.1:4001 -vv --root=/r -h"
    );
    assert_eq!(passed_over.len(), 3, "{passed_over:?}");
    assert_eq!(
        passed_over[1],
        "--docker-endpoint has no effect: there is no Docker here"
    );
    // Other verbs have arguments of their own, and commands for containers among them.
    let (plain, passed_over) =
        go_style(["rkubelet", "exec", "web", "-logtostderr", ""].map(OsString::from));
    assert_eq!((plain.len(), passed_over.len()), (5, 0));
    let (plain, _) = go_style(
        [
            "rkubelet", "--root", "serve", "run", "--", "serve", "-config",
        ]
        .map(OsString::from),
    );
    assert_eq!(plain.last().unwrap(), "-config");
    let (plain, _) =
        go_style(["rkubelet", "-v", "--root", "/r", "serve", "-config", "/x"].map(OsString::from));
    assert_eq!(plain[5], "--config");
    // Every name in the table is what a look-up finds.
    for (name, ..) in GONE {
        let (_, passed_over) =
            go_style(["rkubelet", "serve", &format!("--{name}=x")].map(OsString::from));
        assert_eq!(passed_over.len(), 1, "{name}");
    }
}
