//! hostPorts: from where they are reached, and that they are gone after the pod.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually, http_get, udp_ask};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};

/// Serves its name by HTTP on 80.
fn server(name: &str, ports: Value) -> String {
    let script = "mkdir /www; hostname > /www/name; httpd -p 80 -h /www; echo up; exec sleep 1000";
    pod(
        name,
        &[with(sh("c", script), json!({"ports": ports}))],
        json!({"terminationGracePeriodSeconds": 0}),
    )
}

/// The state of the pod once its container is on record as running.
fn running_state(host: &Host, name: &str) -> Value {
    eventually(5, "the pod's state", || {
        let state = host.state(name)?;
        state["containers"][0]["state"]["Running"]["pid"].as_u64()?;
        Some(state)
    })
}

fn pod_ip(host: &Host, name: &str) -> String {
    running_state(host, name)["pod_ip"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Echoes datagrams on port 81 of the pod until the pod ends; busybox has no server for them.
fn echo_datagrams(host: &Host, name: &str) {
    let pid = running_state(host, name)["containers"][0]["state"]["Running"]["pid"]
        .as_u64()
        .unwrap();
    let netns = rkube_tests::NetNs::of_process(u32::try_from(pid).unwrap()).unwrap();
    let socket = netns.inside(|| std::net::UdpSocket::bind("0.0.0.0:81").unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        // The last question is an empty one.
        while let Ok((count @ 1.., peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..count], peer);
        }
    });
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

/// The name that answers, or nothing.
fn ask(address: SocketAddr) -> Option<String> {
    http_get(address, "/name").ok()
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let Some(host) = Host::new() else { return };
    let outside = host.neighbour();
    let ports = json!([
        {"containerPort": 80, "hostPort": 8080},
        {"containerPort": 81, "hostPort": 8081, "protocol": "UDP"},
    ]);
    let mut running = host.start(&server("web", ports));
    running.await_stdout("up");
    let pod_ip: Ipv4Addr = pod_ip(&host, "web").parse().unwrap();
    echo_datagrams(&host, "web");
    let here = host.netns();
    let web = Some("web\n".to_owned());

    outside.inside(|| eventually(5, "an answer to the neighbour", || ask(Host::at(8080))));
    for (what, got) in [
        ("the neighbour", outside.inside(|| ask(Host::at(8080)))),
        (
            "the host by its address",
            here.inside(|| ask(Host::at(8080))),
        ),
        (
            "the host by loopback",
            here.inside(|| ask(at(Ipv4Addr::LOCALHOST, 8080))),
        ),
        (
            "the host by the pod's address",
            here.inside(|| ask(at(pod_ip, 80))),
        ),
    ] {
        assert_eq!(got, web, "HTTP from {what}");
    }
    for (what, netns, address) in [
        ("the neighbour", outside, Host::at(8081)),
        ("the host by its address", here, Host::at(8081)),
        ("the host by loopback", here, at(Ipv4Addr::LOCALHOST, 8081)),
    ] {
        let answer =
            netns.inside(|| eventually(5, "a datagram's echo", || udp_ask(address, "echo").ok()));
        assert_eq!(answer, "echo", "UDP from {what}");
    }
    // The pod itself, by the port that it has published.
    let own = format!(
        "wget -q -O - http://{}:8080/name; wget -q -O - http://localhost/name",
        Host::ADDRESS
    );
    host.rkubelet(&["exec", "web", "--", "sh", "-c", &own])
        .run()
        .ok()
        .says("web\nweb\n");

    // The echo's socket would keep the pod's namespace.
    here.inside(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"", at(pod_ip, 81)).unwrap();
    });

    let uids = host.uids();
    running.signal(Signal::INT);
    running.wait();
    host.assert_no_pods(&uids);
    assert_eq!(
        outside.inside(|| ask(Host::at(8080))),
        None,
        "still published"
    );
    assert_eq!(
        here.inside(|| ask(at(Ipv4Addr::LOCALHOST, 8080))),
        None,
        "still published on loopback"
    );
}

/// A port on one address of the host is not published on the others.
#[test]
fn a_host_ip_limits_who_is_served() {
    let Some(host) = Host::new() else { return };
    let outside = host.neighbour();
    let ports = json!([
        {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"},
        {"containerPort": 80, "hostPort": 9090, "hostIP": Host::ADDRESS.to_string()},
    ]);
    let mut running = host.start(&server("web", ports));
    running.await_stdout("up");
    let loopback = |port| host.netns().inside(|| ask(at(Ipv4Addr::LOCALHOST, port)));
    eventually(5, "an answer by loopback", || loopback(8080));
    assert_eq!(outside.inside(|| ask(Host::at(8080))), None);
    assert_eq!(
        outside.inside(|| ask(Host::at(9090))).as_deref(),
        Some("web\n")
    );
    assert_eq!(loopback(9090), None);
    running.signal(Signal::INT);
    running.wait();
}

/// Two pods with different ports do not get in each other's way, and one's end leaves the other's alone.
#[test]
fn pods_come_and_go_beside_each_other() {
    let Some(host) = Host::new() else { return };
    let outside = host.neighbour();
    let one =
        |name: &str, port: u16| server(name, json!([{"containerPort": 80, "hostPort": port}]));
    let mut first = host.start(&one("first", 8001));
    let mut second = host.start(&one("second", 8002));
    first.await_stdout("up");
    second.await_stdout("up");
    let answer = |port| outside.inside(|| ask(Host::at(port)));
    eventually(5, "both answer", || {
        (answer(8001).as_deref() == Some("first\n") && answer(8002).as_deref() == Some("second\n"))
            .then_some(())
    });
    first.signal(Signal::INT);
    first.wait();
    assert_eq!(
        (answer(8001), answer(8002).as_deref()),
        (None, Some("second\n"))
    );
    second.signal(Signal::INT);
    second.wait();
}

/// Pods reach each other by their addresses.
#[test]
fn pods_reach_each_other_and_the_neighbour() {
    let Some(host) = Host::new() else { return };
    let outside = host.neighbour();
    let mut running = host.start(&server("web", json!([])));
    running.await_stdout("up");
    let ip = pod_ip(&host, "web");
    let script = format!(
        "until wget -q -O - http://{ip}/name; do :; done; wget -q -O - http://{}:7777/x",
        Host::NEIGHBOUR
    );
    let listener = outside.inside(|| std::net::TcpListener::bind("0.0.0.0:7777").unwrap());
    let serve = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, peer) = listener.accept().unwrap();
        let count = stream.read(&mut [0; 1024]).unwrap();
        assert!(count > 0);
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nneighbour\n")
            .unwrap();
        peer
    });
    let outcome = host
        .run(&pod("client", &[sh("c", &script)], json!({})))
        .ok();
    assert_eq!(outcome.log("c"), "web\nneighbour\n");
    assert_eq!(
        serve.join().unwrap().ip(),
        Host::ADDRESS,
        "what leaves the host has the host's address"
    );
    running.signal(Signal::INT);
    running.wait();
}

/// A port that is taken is refused with the name of who has it, before anything is made.
#[test]
fn a_taken_port_is_refused() {
    let Some(host) = Host::new() else { return };
    let want = server("second", json!([{"containerPort": 80, "hostPort": 8080}]));
    let listener = host
        .netns()
        .inside(|| std::net::TcpListener::bind("0.0.0.0:8080").unwrap());
    host.image();
    let before = host.snapshot();
    let outcome = host
        .run(&want)
        .code(1)
        .complains("8080")
        .complains(&format!("pid {}", std::process::id()));
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    let left = host.snapshot().since(&before);
    assert!(
        left.iter()
            .all(|line| line.ends_with("/pods") || line.contains("leases")),
        "{left:?}"
    );
    drop(listener);

    let mut running = host.start(&server(
        "first",
        json!([{"containerPort": 80, "hostPort": 8080}]),
    ));
    running.await_stdout("up");
    host.run(&want)
        .code(1)
        .complains("8080")
        .complains("default/first");
    running.signal(Signal::INT);
    running.wait();
}
