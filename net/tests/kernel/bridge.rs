//! Bridge, pods' devices and addresses.

use std::os::fd::AsFd;

use rkube_net::{Bridge, BridgeConfig, create_netns, in_netns, lo_up};

use crate::support::{HOST_IP, World, sh, skip};

fn ensure(netns: &impl AsFd, name: &str, subnet: &str) -> Result<Bridge, String> {
    let config = BridgeConfig {
        name: name.into(),
        subnet: subnet.parse().unwrap(),
    };
    let ensure = || Bridge::ensure(&config);
    in_netns(netns.as_fd(), ensure)
        .unwrap()
        .map_err(|err| err.to_string())
}

#[test]
fn a_bridge_is_made_once_and_only_where_there_is_room() {
    if skip("a_bridge_is_made_once_and_only_where_there_is_room") {
        return;
    }
    let host = create_netns().unwrap();
    sh(
        &host,
        "ip link set lo up; ip link add net0 type veth peer name net1; ip link set net0 mtu 1400 up
         ip link set net1 up; ip addr add 192.0.2.2/24 dev net0; ip route add 10.8.0.0/16 dev net0
         ip route add default via 192.0.2.1; ip link add taken type veth",
    );
    let bridge = ensure(&host, "rkube0", "10.77.0.0/22").unwrap();
    assert_eq!(
        (bridge.mtu(), bridge.gateway()),
        (1400, "10.77.0.1".parse().unwrap())
    );
    let show = || sh(&host, "ip -o addr show; ip -o link show; ip route");
    let before = show();
    assert_eq!(ensure(&host, "rkube0", "10.77.0.0/22").unwrap(), bridge);
    assert_eq!(show(), before, "a second time changes nothing");

    let refused = |name: &str, subnet: &str, want: &str| {
        assert_eq!(ensure(&host, name, subnet).unwrap_err(), want);
        assert_eq!(show(), before, "nothing is left behind");
    };
    refused(
        "rkube1",
        "10.8.4.0/24",
        "the pods' addresses 10.8.4.0/24 overlap 10.8.0.0/16, which this host reaches through \
         net0: choose a free range with --pod-subnet",
    );
    refused(
        "rkube1",
        "10.77.1.0/24",
        "the pods' addresses 10.77.1.0/24 overlap 10.77.0.0/22, which this host reaches through \
         rkube0: choose a free range with --pod-subnet",
    );
    refused(
        "rkube0",
        "10.78.0.0/24",
        "bridge rkube0 has the address 10.77.0.1, not one of 10.78.0.0/24: choose another bridge \
         name, or remove it with `rkubelet reset`",
    );
    refused(
        "taken",
        "10.78.0.0/24",
        "taken exists and is not a bridge: choose another name for the pods' bridge",
    );
    for subnet in ["10.78.0.0/30", "fd00::/64"] {
        let want = format!(
            "pods cannot have addresses of {subnet}: give an IPv4 range of at least 8 addresses"
        );
        refused("rkube1", subnet, &want);
    }

    // What a crash or an administrator may have left.
    sh(
        &host,
        "ip link set rkube0 down; ip addr flush dev rkube0; sysctl -qw net.ipv4.ip_forward=0",
    );
    ensure(&host, "rkube0", "10.77.0.0/22").unwrap();
    let state = sh(
        &host,
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/rkube0/accept_ra
         ip -o -4 addr show dev rkube0 up | grep -o 'inet [0-9./]*'",
    );
    assert_eq!(state, "1\n0\ninet 10.77.0.1/22\n");
    in_netns(host.as_fd(), || {
        Bridge::remove("rkube0").unwrap();
        Bridge::remove("rkube0").unwrap();
        assert!(Bridge::remove("net0").is_err());
    })
    .unwrap();
}

/// The check finds what is wrong and says what to do, and leaves the host as it was.
#[test]
fn a_host_is_checked_without_changing_it() {
    if skip("a_host_is_checked_without_changing_it") {
        return;
    }
    let host = create_netns().unwrap();
    sh(
        &host,
        "ip link set lo up; ip link add vpn0 type veth; ip link set vpn0 up",
    );
    let show = || {
        sh(
            &host,
            "ip -o addr; ip route; cat /proc/sys/net/ipv4/ip_forward; nft list ruleset",
        )
    };
    let before = show();
    let check = || in_netns(host.as_fd(), || rkube_net::check(&BridgeConfig::default())).unwrap();
    let wrong: Vec<_> = check().into_iter().filter(|finding| !finding.ok).collect();
    assert_eq!(wrong, []);
    assert_eq!(show(), before);
    sh(&host, "ip route add 10.0.0.0/8 dev vpn0");
    let wrong: Vec<_> = check().into_iter().filter(|finding| !finding.ok).collect();
    assert_eq!(wrong.len(), 1);
    assert_eq!(
        (wrong[0].what, &*wrong[0].mend),
        ("pod addresses", "choose a free range with --pod-subnet")
    );
    assert!(wrong[0].detail.contains("10.0.0.0/8") && wrong[0].detail.contains("vpn0"));
}

#[test]
fn many_processes_may_make_the_bridge_at_once() {
    if skip("many_processes_may_make_the_bridge_at_once") {
        return;
    }
    for _ in 0..5 {
        let host = create_netns().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| ensure(&host, "rkube0", "10.77.0.0/22").unwrap());
            }
        });
    }
}

#[test]
fn a_pod_gets_its_device_address_and_route() {
    if skip("a_pod_gets_its_device_address_and_route") {
        return;
    }
    let world = World::new();
    let pod = world.pod("10.77.0.9");
    let inside = sh(
        &pod,
        "ip -o -4 addr | awk '{print $2, $4}'; ip route; ip -o link show eth0 | grep -o 'mtu [0-9]*'
         ip -o link show eth0 | grep -o 'link/ether [0-9a-f:]*'; ip -6 -o addr show dev eth0
         cat /proc/sys/net/ipv6/conf/eth0/accept_ra",
    );
    let want = "lo 127.0.0.1/8\neth0 10.77.0.9/22\n\
        default via 10.77.0.1 dev eth0 \n10.77.0.0/22 dev eth0 proto kernel scope link src 10.77.0.9 \n\
        mtu 1500\nlink/ether 0a:52:0a:4d:00:09\n0\n";
    assert_eq!(inside, want);
    let host = sh(
        &world.host,
        "ip -o link show master rkube0 up | wc -l; ip -d -o link show master rkube0 | grep -o 'hairpin on'",
    );
    assert_eq!(host, "1\nhairpin on\n");

    // The same pod again before the kernel has let go of its first device.
    let again = create_netns().unwrap();
    let attach = |netns: &std::os::fd::OwnedFd, ip: &str| {
        let ip = ip.parse().unwrap();
        world.on_host(|| world.bridge.attach(netns.as_fd(), ip, "10.77.0.9"))
    };
    attach(&again, "10.77.0.10").unwrap();
    assert!(
        attach(&again, "10.77.0.11").is_err(),
        "a namespace has one eth0"
    );
    for ip in ["10.77.0.1", "10.78.0.5", "fd00::5"] {
        let err = attach(&again, ip).unwrap_err().to_string();
        assert_eq!(
            err,
            format!("{ip} is not a pod's address on bridge rkube0 (10.77.0.0/22)")
        );
    }
}

#[test]
fn a_veth_goes_with_its_namespace() {
    if skip("a_veth_goes_with_its_namespace") {
        return;
    }
    let world = World::new();
    let mut took = Vec::new();
    let pods: Vec<_> = (2..22)
        .map(|n| {
            let pod = create_netns().unwrap();
            let ip = format!("10.77.0.{n}").parse().unwrap();
            world.on_host(|| {
                let start = std::time::Instant::now();
                world
                    .bridge
                    .attach(pod.as_fd(), ip, &n.to_string())
                    .unwrap();
                took.push(start.elapsed());
            });
            pod
        })
        .collect();
    took.sort();
    println!("attach, median {:?}, worst {:?}", took[10], took[19]);
    let ports = || {
        sh(&world.host, "ip -o link show master rkube0 | wc -l")
            .trim()
            .to_owned()
    };
    assert_eq!(ports(), "20");
    drop(pods);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ports() != "0" {
        assert!(
            std::time::Instant::now() < deadline,
            "the kernel keeps the devices"
        );
    }
}

#[test]
fn the_world_is_reached_and_lo_is_up() {
    if skip("the_world_is_reached_and_lo_is_up") {
        return;
    }
    let world = World::new();
    let pod = world.pod("10.77.0.2");
    sh(
        &pod,
        &format!("busybox ping -c1 -W5 {HOST_IP}; busybox ping -c1 -W5 127.0.0.1"),
    );
    let bare = create_netns().unwrap();
    lo_up(bare.as_fd()).unwrap();
    sh(&bare, "busybox ping -c1 -W5 127.0.0.1");
    let file = std::fs::File::open("/dev/null").unwrap();
    let err = lo_up(file.as_fd()).unwrap_err();
    assert_eq!(err.to_string(), "cannot enter the network namespace");
}
