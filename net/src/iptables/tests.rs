use super::*;
use crate::rules::Transport;

fn rules(ports: Vec<HostPort>) -> Ruleset {
    Ruleset {
        bridge: "rkube0".into(),
        subnet: "10.77.0.0/22".parse().unwrap(),
        ports,
    }
}

fn web() -> HostPort {
    HostPort {
        protocol: Transport::Tcp,
        host_ip: None,
        host_port: 8080,
        pod_ip: "10.77.0.5".parse().unwrap(),
        container_port: 80,
        pod: "default/web".into(),
        uid: "u1".into(),
    }
}

#[test]
fn ports_become_rules() {
    assert_eq!(
        port_rule(&web()),
        "-p tcp --dport 8080 -m comment --comment rkube:default/web -j DNAT --to-destination 10.77.0.5:80"
    );
    let dns = HostPort {
        protocol: Transport::Udp,
        host_ip: Some("127.0.0.1".parse().unwrap()),
        pod: "a b\"\n-j DROP/é".into(),
        ..web()
    };
    assert_eq!(
        port_rule(&dns),
        "-d 127.0.0.1 -p udp --dport 8080 -m comment --comment rkube:a_b__-j_DROP/_ -j DNAT --to-destination 10.77.0.5:80"
    );
}

#[test]
fn a_delta_asks_for_the_jumps_first_unless_they_are_known() {
    let removed = HostPort {
        host_port: 81,
        ..web()
    };
    let want = "*filter\n\
        -C INPUT -m comment --comment rkube -j RKUBE-INPUT\n\
        -C FORWARD -m comment --comment rkube -j RKUBE-FORWARD\n\
        COMMIT\n\
        *nat\n\
        -C PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment rkube -j RKUBE-HOSTPORT\n\
        -C OUTPUT -m addrtype --dst-type LOCAL -m comment --comment rkube -j RKUBE-HOSTPORT\n\
        -C POSTROUTING -m comment --comment rkube -j RKUBE-POSTROUTING\n\
        -D RKUBE-HOSTPORT -p tcp --dport 81 -m comment --comment rkube:default/web -j DNAT --to-destination 10.77.0.5:80\n\
        -A RKUBE-HOSTPORT -p tcp --dport 8080 -m comment --comment rkube:default/web -j DNAT --to-destination 10.77.0.5:80\n\
        COMMIT\n";
    assert_eq!(
        delta(&[web()], std::slice::from_ref(&removed), Jumps::Asked),
        want
    );
    let rules = want
        .lines()
        .filter(|line| line.starts_with("-D") || line.starts_with("-A"));
    let short = format!("*nat\n{}\nCOMMIT\n", rules.collect::<Vec<_>>().join("\n"));
    assert_eq!(delta(&[web()], &[removed], Jumps::Known), short);
    assert_eq!(delta(&[], &[], Jumps::Known), "");
}

/// Others' rules, one of which only mentions us in a comment.
const OTHERS: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\n\
    -A DOCKER -m comment --comment \"see RKUBE-HOSTPORT\" -j RETURN\nCOMMIT\n";

#[test]
fn only_ours_is_removed() {
    assert_eq!(removal(OTHERS), None);
    let saved = format!(
        "{OTHERS}*filter\n:FORWARD DROP [0:0]\n:RKUBE-FORWARD - [0:0]\n:MINE - [0:0]\n\
         -A FORWARD -j MINE\n-A FORWARD -m comment --comment rkube -j RKUBE-FORWARD\n\
         -A FORWARD -j RKUBE-FORWARD\n-A MINE -g RKUBE-FORWARD\n\
         -A RKUBE-FORWARD -i rkube0 -j ACCEPT\nCOMMIT\n"
    );
    let want = "*filter\n\
        -D FORWARD -m comment --comment rkube -j RKUBE-FORWARD\n\
        -D FORWARD -j RKUBE-FORWARD\n\
        -D MINE -g RKUBE-FORWARD\n\
        -F RKUBE-FORWARD\n-X RKUBE-FORWARD\nCOMMIT\n";
    assert_eq!(removal(&saved).as_deref(), Some(want));
}

#[test]
fn a_full_batch_replaces_jumps_and_counts() {
    let rules = rules(vec![web()]);
    let first = full(&rules, OTHERS);
    assert!(!first.contains("-D "), "{first}");
    // What was written, read as if saved, is complete; again twice would be too much.
    let saved = first.replace("-I PREROUTING 1", "-A PREROUTING");
    let saved = ["OUTPUT", "POSTROUTING", "INPUT", "FORWARD"]
        .iter()
        .fold(saved, |text, chain| {
            text.replace(&format!("-I {chain} 1"), &format!("-A {chain}"))
        });
    assert!(same_count(&rules, &saved));
    assert!(!same_count(
        &Ruleset {
            ports: Vec::new(),
            ..rules.clone()
        },
        &saved
    ));
    assert!(!same_count(&rules, OTHERS));
    assert_eq!(full(&rules, &saved).matches("\n-D ").count(), JUMPS.len());
}
