//! Published ports against the real packet filters of the kernel, in namespaces of their own.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use crate::support::{
    HOST_IP, NEIGHBOUR_IP, World, ask, ask_by, backends, host_port, rules, serve, sh, skip,
};
use rkube_net::Transport::{Tcp, Udp};
use rkube_net::{Backend, HostPort, HostPortGuard, PublishError, Verified, in_netns};

const WEB: &str = "10.77.0.2";
const OTHER: &str = "10.77.0.3";

/// Who reaches a published port, from where, and as whom they are seen.
#[test]
fn published_ports_are_reached_from_everywhere() {
    let test = "published_ports_are_reached_from_everywhere";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        for policy in ["ACCEPT", "DROP"] {
            reach_from_everywhere(backend, policy);
        }
    }
}

fn reach_from_everywhere(backend: Backend, policy: &str) {
    let world = World::new();
    let (web, other) = (world.pod(WEB), world.pod(OTHER));
    sh(&world.host, &format!("{backend} -P FORWARD {policy}"));
    let mut ports = Vec::new();
    for protocol in [Tcp, Udp] {
        serve(&web, protocol, 80, "web");
        serve(&world.neighbour, protocol, 90, "neighbour");
        serve(&world.host, protocol, 91, "host");
        ports.push(host_port(protocol, 8080, WEB, 80));
        let local = Some("127.0.0.1".parse().unwrap());
        ports.push(HostPort {
            host_ip: local,
            ..host_port(protocol, 8081, WEB, 80)
        });
        let outer = Some(HOST_IP.parse().unwrap());
        ports.push(HostPort {
            host_ip: outer,
            ..host_port(protocol, 8082, WEB, 80)
        });
    }
    let published = world.ports(backend);
    // The guards hold the ports as the kubelet's would, and do not get in the way.
    let guards = world.on_host(|| {
        ports
            .iter()
            .map(|port| HostPortGuard::bind(port).unwrap())
            .collect::<Vec<_>>()
    });
    world.on_host(|| published.publish(&ports)).unwrap();

    let (host, neighbour) = (&world.host, &world.neighbour);
    let gateway = "10.77.0.1";
    for protocol in [Tcp, Udp] {
        let table = [
            // from, to, port, answer
            (
                "outside",
                neighbour,
                HOST_IP,
                8080,
                Some(format!("web {NEIGHBOUR_IP}")),
            ),
            ("host", host, HOST_IP, 8080, Some(format!("web {HOST_IP}"))),
            (
                "host",
                host,
                "127.0.0.1",
                8080,
                Some(format!("web {gateway}")),
            ),
            ("host", host, gateway, 8080, Some(format!("web {gateway}"))),
            (
                "itself",
                &web,
                HOST_IP,
                8080,
                Some(format!("web {gateway}")),
            ),
            (
                "itself",
                &web,
                gateway,
                8080,
                Some(format!("web {gateway}")),
            ),
            (
                "other pod",
                &other,
                HOST_IP,
                8080,
                Some(format!("web {gateway}")),
            ),
            ("other pod", &other, WEB, 80, Some(format!("web {OTHER}"))),
            ("host", host, WEB, 80, Some(format!("web {gateway}"))),
            (
                "other pod to the world",
                &other,
                NEIGHBOUR_IP,
                90,
                Some(format!("neighbour {HOST_IP}")),
            ),
            (
                "other pod to the host",
                &other,
                HOST_IP,
                91,
                Some(format!("host {OTHER}")),
            ),
            // Only on 127.0.0.1.
            (
                "host",
                host,
                "127.0.0.1",
                8081,
                Some(format!("web {gateway}")),
            ),
            ("outside", neighbour, HOST_IP, 8081, None),
            ("host", host, HOST_IP, 8081, None),
            ("other pod", &other, gateway, 8081, None),
            // Only on the outer address.
            (
                "outside",
                neighbour,
                HOST_IP,
                8082,
                Some(format!("web {NEIGHBOUR_IP}")),
            ),
            (
                "other pod",
                &other,
                HOST_IP,
                8082,
                Some(format!("web {gateway}")),
            ),
            ("host", host, "127.0.0.1", 8082, None),
            ("other pod", &other, gateway, 8082, None),
        ];
        for (from, netns, ip, port, want) in table {
            let got = ask(netns, protocol, ip, port)
                .ok()
                .filter(|answer| !answer.is_empty());
            assert_eq!(
                got, want,
                "{backend:?} {policy}: {protocol} from {from} to {ip}:{port}"
            );
        }
    }
    drop(guards);
    world.on_host(|| published.withdraw(&ports[0].uid)).unwrap();
    assert!(ask(neighbour, Tcp, HOST_IP, 8080).is_err());
    assert_eq!(published.list().unwrap(), []);
}

/// CVE-2020-8558: `route_localnet` must not let neighbours of the bridge, or of the host, reach
/// what listens on 127.0.0.1 only.
#[test]
fn nobody_reaches_the_loopback_address_of_the_host() {
    let test = "nobody_reaches_the_loopback_address_of_the_host";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let pod = world.pod(WEB);
        for protocol in [Tcp, Udp] {
            serve(&world.host, protocol, 7000, "secret");
        }
        let attack = |netns, gateway: &str, device: &str| {
            sh(
                netns,
                &format!(
                    "ip addr del 127.0.0.1/8 dev lo
                     echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
                     ip route add 127.0.0.1/32 via {gateway} dev {device}"
                ),
            );
        };
        attack(&pod, "10.77.0.1", "eth0");
        attack(&world.neighbour, HOST_IP, "wire1");
        let route_localnet = "/proc/sys/net/ipv4/conf/rkube0/route_localnet";
        let value = || sh(&world.host, &format!("cat {route_localnet}"));
        assert_eq!(value(), "0\n", "off while there is no rule");
        sh(&world.host, &format!("echo 1 > {route_localnet}"));
        let secret = |netns| ask(netns, Udp, "127.0.0.1", 7000).ok();
        assert_eq!(
            secret(&pod).as_deref(),
            Some("secret 10.77.0.2"),
            "the attack must work without the rules, or it shows nothing"
        );
        let ports = world.ports(backend);
        let local = Some("127.0.0.1".parse().unwrap());
        let port = HostPort {
            host_ip: local,
            ..host_port(Tcp, 7001, OTHER, 80)
        };
        world.on_host(|| ports.publish(&[port])).unwrap();
        assert_eq!(value(), "1\n");
        for netns in [&pod, &world.neighbour] {
            assert_eq!(secret(netns), None, "{backend:?}");
            for port in [7000, 7001] {
                assert!(
                    ask(netns, Tcp, "127.0.0.1", port).is_err(),
                    "{backend:?} {port}"
                );
            }
        }
        assert_eq!(
            ask(&world.host, Udp, "127.0.0.1", 7000).unwrap(),
            "secret 127.0.0.1"
        );
    }
}

/// Rules of others stay, in their order, whatever is published, flushed, repaired or removed.
#[test]
fn rules_of_others_are_untouched() {
    let test = "rules_of_others_are_untouched";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let program = match backend {
            Backend::Nft => "iptables-nft",
            Backend::Legacy => "iptables-legacy",
        };
        sh(
            &world.host,
            &format!(
                "{program} -t nat -N DOCKER
                 {program} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
                 {program} -t nat -A DOCKER -p tcp --dport 99 -m comment --comment 'not RKUBE-HOSTPORT' -j RETURN
                 {program} -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
                 {program} -P FORWARD DROP
                 {program} -A FORWARD -i docker0 -j ACCEPT
                 {program} -A INPUT -p tcp --dport 22 -j ACCEPT"
            ),
        );
        let before = rules(&world.host, backend);
        let others = || {
            let all = rules(&world.host, backend);
            all.into_iter()
                .filter(|line| !line.contains("RKUBE-") || line.contains("not RKUBE-"))
                .collect::<Vec<_>>()
        };
        let ports = world.ports(backend);
        let port = host_port(Tcp, 8080, WEB, 80);
        let published = |count: usize| {
            let all = rules(&world.host, backend);
            let ours = all
                .iter()
                .filter(|line| line.starts_with("-A RKUBE-HOSTPORT"));
            assert_eq!(ours.count(), count);
        };
        let on_host = |work: &(dyn Fn() -> Result<(), PublishError> + Sync)| {
            world.on_host(work).unwrap();
            assert_eq!(others(), before);
        };
        let all = |range: std::ops::Range<u16>| {
            range
                .map(|n| host_port(Udp, 9000 + n, OTHER, 53))
                .collect::<Vec<_>>()
        };
        on_host(&|| ports.publish(std::slice::from_ref(&port)));
        let once = rules(&world.host, backend);
        on_host(&|| ports.publish(std::slice::from_ref(&port)));
        assert_eq!(
            rules(&world.host, backend),
            once,
            "publishing again changes nothing"
        );
        on_host(&|| ports.publish(&all(0..5)));
        published(6);
        let verify = || world.on_host(|| ports.verify()).unwrap();
        assert_eq!(verify(), Verified::Intact);
        let damages = [
            "-t nat -F RKUBE-HOSTPORT",
            "-t nat -D RKUBE-HOSTPORT 1",
            "-t nat -A RKUBE-HOSTPORT -j RETURN",
            "-D FORWARD -m comment --comment rkube -j RKUBE-FORWARD",
            "-I INPUT -j RKUBE-INPUT",
        ];
        for damage in damages {
            sh(&world.host, &format!("{program} {damage}"));
            assert_eq!(verify(), Verified::Repaired, "{damage}");
            assert_eq!(verify(), Verified::Intact, "{damage}");
            assert_eq!(others(), before, "{damage}");
            published(6);
        }
        // Damage that shows only when the next port comes or goes.
        sh(
            &world.host,
            &format!("{program} -t nat -D RKUBE-HOSTPORT 3"),
        );
        on_host(&|| ports.withdraw(&format!("uid-{OTHER}")));
        published(1);
        sh(
            &world.host,
            &format!("{program} -D INPUT -m comment --comment rkube -j RKUBE-INPUT"),
        );
        on_host(&|| ports.publish(&all(0..2)));
        assert_eq!(verify(), Verified::Intact);
        on_host(&|| ports.remove_all());
        assert_eq!(
            rules(&world.host, backend),
            before,
            "{backend:?}: nothing is left"
        );
        on_host(&|| ports.remove_all());
    }
}

/// The rules go where the host's rules are.
#[test]
fn the_backend_in_use_is_found() {
    let test = "the_backend_in_use_is_found";
    if skip(test) || backends(test).len() < 2 {
        return;
    }
    for (backend, program) in [
        (Backend::Nft, "iptables-nft"),
        (Backend::Legacy, "iptables-legacy"),
    ] {
        let world = World::new();
        sh(
            &world.host,
            &format!("{program} -A INPUT -p tcp --dport 22 -j ACCEPT"),
        );
        let ports = rkube_net::HostPorts::open(world.dir.path(), "rkube0", world.bridge.subnet());
        let ports = ports.unwrap();
        world
            .on_host(|| ports.publish(&[host_port(Tcp, 8080, WEB, 80)]))
            .unwrap();
        let ours = rules(&world.host, backend);
        assert!(
            ours.iter()
                .any(|line| line.starts_with("-A RKUBE-HOSTPORT")),
            "{backend:?}"
        );
        world.on_host(|| ports.remove_all()).unwrap();
        assert!(
            !rules(&world.host, backend)
                .iter()
                .any(|line| line.contains("RKUBE"))
        );
    }
}

/// A UDP client that never stops sending notices when the port appears and when it moves.
#[test]
fn udp_clients_follow_a_port() {
    let test = "udp_clients_follow_a_port";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let (web, other) = (world.pod(WEB), world.pod(OTHER));
        serve(&web, Udp, 53, "web");
        serve(&other, Udp, 53, "other");
        let ports = world.ports(backend);
        world.on_host(|| ports.publish(&[])).unwrap();
        for (netns, to) in [(&world.neighbour, HOST_IP), (&world.host, "127.0.0.1")] {
            let socket = in_netns(netns.as_fd(), || UdpSocket::bind("0.0.0.0:0"))
                .unwrap()
                .unwrap();
            let to = format!("{to}:53").parse().unwrap();
            let name = || {
                ask_by(&socket, to)
                    .ok()
                    .and_then(|a| a.split(' ').next().map(str::to_owned))
            };
            assert_eq!(name(), None);
            world
                .on_host(|| ports.publish(&[host_port(Udp, 53, WEB, 53)]))
                .unwrap();
            assert_eq!(name().as_deref(), Some("web"), "{backend:?}");
            world
                .on_host(|| ports.withdraw(&format!("uid-{WEB}")))
                .unwrap();
            assert_eq!(name(), None, "{backend:?}");
            world
                .on_host(|| ports.publish(&[host_port(Udp, 53, OTHER, 53)]))
                .unwrap();
            assert_eq!(name().as_deref(), Some("other"), "{backend:?}");
            world
                .on_host(|| ports.withdraw(&format!("uid-{OTHER}")))
                .unwrap();
        }
    }
}

/// Several processes publish at once: nothing is lost, and a port goes to one of them only.
#[test]
fn publishers_at_once_lose_nothing() {
    let test = "publishers_at_once_lose_nothing";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let ports = world.ports(backend);
        let won: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u16)
                .map(|t| {
                    let (world, ports) = (&world, &ports);
                    scope.spawn(move || {
                        let mut won = 0;
                        for n in 0..8 {
                            let own =
                                host_port(Tcp, 9000 + t * 100 + n, &format!("10.77.1.{t}"), 80);
                            world.on_host(|| ports.publish(&[own])).unwrap();
                            let shared = host_port(Tcp, 8000 + n, &format!("10.77.1.{t}"), 80);
                            won += usize::from(world.on_host(|| ports.publish(&[shared])).is_ok());
                        }
                        won
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(won, 8);
        assert_eq!(ports.list().unwrap().len(), 4 * 8 + 8);
        assert_eq!(
            world.on_host(|| ports.verify()).unwrap(),
            Verified::Intact,
            "{backend:?}"
        );
    }
}

/// Two hundred pods: one run per change, and the rules come out right. The time is printed, not
/// asserted.
#[test]
fn two_hundred_pods() {
    let test = "two_hundred_pods";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let ports = world.ports(backend);
        let mut took = Vec::new();
        for n in 0..200_u16 {
            let ip = format!("10.77.{}.{}", 1 + n / 100, 2 + n % 100);
            let list = [
                host_port(Tcp, 10_000 + n, &ip, 80),
                host_port(Udp, 10_000 + n, &ip, 53),
            ];
            let start = std::time::Instant::now();
            world.on_host(|| ports.publish(&list)).unwrap();
            took.push(start.elapsed());
        }
        took.sort();
        println!(
            "{backend:?}: publish, median {:?}, worst {:?}",
            took[100], took[199]
        );
        assert_eq!(world.on_host(|| ports.verify()).unwrap(), Verified::Intact);
        let start = std::time::Instant::now();
        world.on_host(|| ports.withdraw("uid-10.77.1.2")).unwrap();
        println!("{backend:?}: withdraw {:?}", start.elapsed());
        assert_eq!(ports.list().unwrap().len(), 398);
        assert_eq!(world.on_host(|| ports.verify()).unwrap(), Verified::Intact);
    }
}

/// Whoever died between record and rules, the next change makes them agree; what the dead had
/// published goes.
#[test]
fn a_crash_half_way_is_made_good() {
    let test = "a_crash_half_way_is_made_good";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let ports = world.ports(backend);
        let (web, other) = (host_port(Tcp, 8080, WEB, 80), host_port(Udp, 53, OTHER, 53));
        world
            .on_host(|| ports.publish(&[web.clone(), other.clone()]))
            .unwrap();
        let intact = rules(&world.host, backend);
        sh(&world.host, &format!("{backend} -t nat -F RKUBE-HOSTPORT"));
        let record = world.dir.path().join("hostports.json");
        let text = std::fs::read_to_string(&record).unwrap();
        let unsettled = text.replace("\"settled\"", "\"unsettled\"");
        assert_ne!(text, unsettled);
        std::fs::write(&record, unsettled).unwrap();
        world
            .on_host(|| ports.publish(std::slice::from_ref(&web)))
            .unwrap();
        assert_eq!(rules(&world.host, backend), intact);

        let alive = std::collections::BTreeSet::from([web.uid.clone()]);
        assert_eq!(world.on_host(|| ports.reclaim(&alive)).unwrap(), [other]);
        assert_eq!(ports.list().unwrap(), [web]);
        assert_eq!(world.on_host(|| ports.verify()).unwrap(), Verified::Intact);

        std::fs::write(&record, "{").unwrap();
        let err = ports.list().unwrap_err();
        let cause = std::error::Error::source(&err).unwrap().to_string();
        assert!(cause.starts_with("hostports.json is damaged"), "{cause}");
    }
}

/// A port that cannot be had changes nothing, and the message says whose it is.
#[test]
fn a_refused_port_leaves_everything_as_it_was() {
    let test = "a_refused_port_leaves_everything_as_it_was";
    if skip(test) {
        return;
    }
    for backend in backends(test) {
        let world = World::new();
        let ports = world.ports(backend);
        world
            .on_host(|| ports.publish(&[host_port(Tcp, 8080, WEB, 80)]))
            .unwrap();
        let before = rules(&world.host, backend);
        let more = [
            host_port(Tcp, 8081, OTHER, 80),
            host_port(Tcp, 8080, OTHER, 80),
        ];
        let err = world.on_host(|| ports.publish(&more)).unwrap_err();
        assert_eq!(
            err.to_string(),
            "host port 8080/TCP is taken by pod default/pod-10.77.0.2"
        );
        assert_eq!(rules(&world.host, backend), before);
        assert_eq!(ports.list().unwrap().len(), 1);
    }
}
