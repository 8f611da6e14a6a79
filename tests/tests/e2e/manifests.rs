//! Every form of manifest becomes a running pod.
use rkube_tests::Host;

#[test]
fn a_v1_pod_from_standard_input() {
    let Some(host) = Host::new() else { return };
    let manifest = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j"},"spec":{"restartPolicy":"Never",
        "containers":[{"name":"c","image":"localhost/busybox:v1","args":["echo","hello"]}]}}"#;
    assert_eq!(host.run(manifest).ok().log("c"), "hello\n");
}
