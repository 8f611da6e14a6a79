//! Pods: what containers share, what they are given, how they end.
use rkube_tests::Host;

/// The containers of a pod see each other on localhost, and as one host by name.
#[test]
fn two_containers_share_localhost_and_a_volume() {
    let Some(host) = Host::new() else { return };
    let outcome = host.run(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  restartPolicy: Never
  volumes: [{name: shared, emptyDir: {}}]
  containers:
  - name: server
    image: localhost/busybox:v1
    command: [sh, -c, 'echo page > /data/index.html; (echo; cat /data/index.html) | nc -l -p 8000; hostname']
    volumeMounts: [{name: shared, mountPath: /data}]
  - name: client
    image: localhost/busybox:v1
    command: [sh, -c, 'until nc -w 5 127.0.0.1 8000 </dev/null; do :; done; cat /there/index.html; hostname']
    volumeMounts: [{name: shared, mountPath: /there, readOnly: true}]
"#,
    );
    let outcome = outcome.ok();
    assert_eq!(outcome.log("server"), "pair\n");
    assert_eq!(outcome.log("client"), "\npage\npage\npair\n");
}
