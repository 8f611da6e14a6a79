//! Writing a [`Ruleset`] down for `iptables-restore --noflush`: pure text, nothing is run here.
//!
//! ```text
//! nat     PREROUTING, OUTPUT -> RKUBE-HOSTPORT      published port -> pod
//!         POSTROUTING        -> RKUBE-POSTROUTING   masquerade what could not be answered
//! filter  INPUT              -> RKUBE-INPUT         nobody reaches 127.0.0.1 through the bridge
//!         FORWARD            -> RKUBE-FORWARD       pods' traffic passes on hosts that drop it
//! ```
//! Invariant: only chains named `RKUBE-*` and the jumps to them are ever written or deleted.

pub(crate) mod command;

use std::fmt::Write as _;

use crate::rules::{HostPort, Ruleset};

const PREFIX: &str = "RKUBE-";
const HOSTPORT: &str = "RKUBE-HOSTPORT";
/// The comment that tells an administrator whose rule this is.
const COMMENT: &str = "-m comment --comment rkube";
/// Longer comments than 255 bytes are refused by the kernel's comment match.
const COMMENT_LIMIT: usize = 200;

/// A rule in a chain of others that leads into one of ours.
struct Jump {
    table: &'static str,
    from: &'static str,
    matches: &'static str,
    to: &'static str,
}

const TABLES: [&str; 2] = ["filter", "nat"];
const JUMPS: [Jump; 5] = [
    // Not -d 127.0.0.0/8: what arrives from elsewhere for a loopback address is not for us.
    Jump {
        table: "nat",
        from: "PREROUTING",
        matches: "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL",
        to: HOSTPORT,
    },
    Jump {
        table: "nat",
        from: "OUTPUT",
        matches: "-m addrtype --dst-type LOCAL",
        to: HOSTPORT,
    },
    Jump {
        table: "nat",
        from: "POSTROUTING",
        matches: "",
        to: "RKUBE-POSTROUTING",
    },
    Jump {
        table: "filter",
        from: "INPUT",
        matches: "",
        to: "RKUBE-INPUT",
    },
    Jump {
        table: "filter",
        from: "FORWARD",
        matches: "",
        to: "RKUBE-FORWARD",
    },
];

impl Jump {
    fn rule(&self) -> String {
        let gap = if self.matches.is_empty() { "" } else { " " };
        format!("{}{gap}{COMMENT} -j {}", self.matches, self.to)
    }
}

/// Our chains of a table, each with its rules.
fn chains(rules: &Ruleset, table: &str) -> Vec<(&'static str, Vec<String>)> {
    let (bridge, subnet) = (&rules.bridge, rules.subnet);
    if table == "nat" {
        let masquerade = |matches: String| format!("{matches} {COMMENT} -j MASQUERADE");
        return vec![
            (HOSTPORT, rules.ports.iter().map(port_rule).collect()),
            (
                "RKUBE-POSTROUTING",
                vec![
                    // A pod talks to the world outside.
                    masquerade(format!("-s {subnet} ! -o {bridge}")),
                    // The host reaches a published port through 127.0.0.1.
                    masquerade(format!("-s 127.0.0.0/8 -o {bridge}")),
                    // A pod reaches a published port, its own perhaps: the answer must come back
                    // through here.
                    masquerade(format!(
                        "-s {subnet} -o {bridge} -m conntrack --ctstate DNAT"
                    )),
                ],
            ),
        ];
    }
    let accept = |matches: String| format!("{matches} {COMMENT} -j ACCEPT");
    vec![
        (
            "RKUBE-INPUT",
            // CVE-2020-8558: route_localnet on the bridge lets its neighbours name 127.0.0.1.
            // Answers to what the host itself sent from 127.0.0.1 are all that may come.
            vec![format!(
                "-i {bridge} -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED {COMMENT} -j DROP"
            )],
        ),
        (
            "RKUBE-FORWARD",
            vec![
                accept(format!("-s {subnet} -i {bridge}")),
                accept(format!(
                    "-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED"
                )),
                accept(format!("-o {bridge} -m conntrack --ctstate DNAT")),
            ],
        ),
    ]
}

fn port_rule(port: &HostPort) -> String {
    let mut rule = String::new();
    if let Some(ip) = port.only_on() {
        rule = format!("-d {ip} ");
    }
    let (protocol, from) = (port.protocol.keyword(), port.host_port);
    let (ip, to) = (port.pod_ip, port.container_port);
    rule + &format!(
        "-p {protocol} --dport {from} -m comment --comment {} -j DNAT --to-destination {ip}:{to}",
        comment(&port.pod)
    )
}

/// A pod's name as one word of a rule, whatever it holds.
fn comment(pod: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() || "-_./".contains(c) {
            c
        } else {
            '_'
        }
    };
    // A word that opened with a dash would be read as an option.
    let text: String = pod.chars().map(word).take(COMMENT_LIMIT).collect();
    format!("rkube:{text}")
}

/// The batch that makes everything as it should be, whatever was there. `saved` is the output of
/// `iptables-save` for both tables.
pub(crate) fn full(rules: &Ruleset, saved: &str) -> String {
    let mut batch = String::new();
    for table in TABLES {
        let _ = writeln!(batch, "*{table}");
        let chains = chains(rules, table);
        for (chain, _) in &chains {
            // Declaring a chain of one's own empties it, also with --noflush.
            let _ = writeln!(batch, ":{chain} - [0:0]");
        }
        for line in jumps_in(saved, table) {
            let _ = writeln!(batch, "-D {line}");
        }
        for jump in JUMPS.iter().filter(|jump| jump.table == table) {
            let _ = writeln!(batch, "-I {} 1 {}", jump.from, jump.rule());
        }
        for (chain, rules) in &chains {
            for rule in rules {
                let _ = writeln!(batch, "-A {chain} {rule}");
            }
        }
        batch.push_str("COMMIT\n");
    }
    batch
}

/// Whether the jumps to our chains are known to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jumps {
    /// Nobody has touched the packet filter since we did.
    Known,
    /// Somebody may have. Asking costs `iptables-nft-restore` a look at every rule of the table.
    Asked,
}

/// The batch that adds and removes single ports. It fails, and changes nothing, when a chain of
/// ours, a rule to be removed, or a jump that is asked for is missing.
pub(crate) fn delta(added: &[HostPort], removed: &[HostPort], jumps: Jumps) -> String {
    let mut batch = String::new();
    for table in TABLES {
        let ask = |jump: &&Jump| jumps == Jumps::Asked && jump.table == table;
        let mut lines: Vec<_> = JUMPS
            .iter()
            .filter(ask)
            .map(|jump| format!("-C {} {}", jump.from, jump.rule()))
            .collect();
        if table == "nat" {
            lines.extend(
                removed
                    .iter()
                    .map(|port| format!("-D {HOSTPORT} {}", port_rule(port))),
            );
            lines.extend(
                added
                    .iter()
                    .map(|port| format!("-A {HOSTPORT} {}", port_rule(port))),
            );
        }
        if !lines.is_empty() {
            let _ = writeln!(batch, "*{table}\n{}\nCOMMIT", lines.join("\n"));
        }
    }
    batch
}

/// A batch that changes nothing and fails unless every rule of ours is there.
pub(crate) fn check(rules: &Ruleset) -> String {
    let mut batch = String::new();
    for table in TABLES {
        let _ = writeln!(batch, "*{table}");
        for jump in JUMPS.iter().filter(|jump| jump.table == table) {
            let _ = writeln!(batch, "-C {} {}", jump.from, jump.rule());
        }
        for (chain, rules) in chains(rules, table) {
            for rule in rules {
                let _ = writeln!(batch, "-C {chain} {rule}");
            }
        }
        batch.push_str("COMMIT\n");
    }
    batch
}

/// Does the saved text hold as many rules of ours as it should? With [`check`], which shows that
/// none is missing, it shows that none is too many.
pub(crate) fn same_count(rules: &Ruleset, saved: &str) -> bool {
    TABLES.iter().all(|table| {
        let jumps = JUMPS.iter().filter(|jump| jump.table == *table).count();
        jumps_in(saved, table).count() == jumps
            && chains(rules, table).iter().all(|(chain, rules)| {
                let ours = lines_of(saved, table)
                    .filter_map(|line| line.strip_prefix("-A ")?.strip_prefix(chain))
                    .filter(|rest| rest.starts_with(' '));
                ours.count() == rules.len()
            })
    })
}

/// The batch that removes every rule and chain of ours; `None` when there is none.
pub(crate) fn removal(saved: &str) -> Option<String> {
    let mut batch = String::new();
    for table in TABLES {
        let chains: Vec<_> = lines_of(saved, table)
            .filter_map(|line| line.strip_prefix(':')?.split_whitespace().next())
            .filter(|chain| chain.starts_with(PREFIX))
            .collect();
        if chains.is_empty() {
            continue;
        }
        let _ = writeln!(batch, "*{table}");
        for line in jumps_in(saved, table) {
            let _ = writeln!(batch, "-D {line}");
        }
        // All are emptied first: a chain that another one jumps to cannot go.
        for verb in ["-F", "-X"] {
            for chain in &chains {
                let _ = writeln!(batch, "{verb} {chain}");
            }
        }
        batch.push_str("COMMIT\n");
    }
    (!batch.is_empty()).then_some(batch)
}

/// The rules of a table, in chains of others, that lead into ours; without their `-A`.
fn jumps_in<'a>(saved: &'a str, table: &'a str) -> impl Iterator<Item = &'a str> {
    let rules = lines_of(saved, table).filter_map(|line| line.strip_prefix("-A "));
    rules.filter(|rule| {
        let mut words = rule.split(' ');
        let own = words.next().is_some_and(|chain| chain.starts_with(PREFIX));
        let mut previous = "";
        let mut into = words.any(|word| {
            let jump = matches!(previous, "-j" | "-g") && word.starts_with(PREFIX);
            previous = word;
            jump
        });
        into &= !own;
        into
    })
}

/// The lines between `*table` and `COMMIT`.
fn lines_of<'a>(saved: &'a str, table: &'a str) -> impl Iterator<Item = &'a str> {
    saved
        .lines()
        .skip_while(move |line| line.strip_prefix('*') != Some(table))
        .skip(1)
        .take_while(|line| *line != "COMMIT")
}

#[cfg(test)]
mod tests;
