use super::*;

fn leases(subnet: &str) -> (tempfile::TempDir, Leases) {
    let dir = tempfile::tempdir().unwrap();
    let leases = Leases::open(&dir.path().join("leases"), subnet.parse().unwrap()).unwrap();
    (dir, leases)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_given_in_turn_and_rest_before_reuse() {
    let (_dir, leases) = leases("10.1.0.0/29"); // leasable: .2 to .6
    assert_eq!(leases.lease("a").unwrap(), ip("10.1.0.2"));
    assert_eq!(leases.lease("b").unwrap(), ip("10.1.0.3"));
    assert_eq!(
        leases.lease("a").unwrap(),
        ip("10.1.0.2"),
        "a pod keeps what it has"
    );
    leases.release("a").unwrap();
    leases.release("a").unwrap();
    for (owner, want) in [
        ("c", "10.1.0.4"),
        ("d", "10.1.0.5"),
        ("e", "10.1.0.6"),
        ("f", "10.1.0.2"),
    ] {
        assert_eq!(leases.lease(owner).unwrap(), ip(want));
    }
    assert_eq!(
        leases.lease("g").unwrap_err().to_string(),
        "all 5 pod addresses of 10.1.0.0/29 are taken: stop pods, or choose a larger range with \
         --pod-subnet"
    );
    let owners: Vec<_> = leases
        .list()
        .unwrap()
        .into_iter()
        .map(|lease| lease.owner)
        .collect();
    assert_eq!(owners, ["f", "b", "c", "d", "e"]);
}

#[test]
fn leases_of_the_dead_and_of_earlier_boots_come_back() {
    let (_dir, leases) = leases("10.1.0.0/29");
    let old = Leases {
        boot_id: "earlier".into(),
        ..leases.clone()
    };
    assert_eq!(old.lease("a").unwrap(), ip("10.1.0.2"));
    assert_eq!(leases.list().unwrap(), []);
    for owner in ["b", "c", "d", "e"] {
        leases.lease(owner).unwrap();
    }
    assert_eq!(
        leases.lease("f").unwrap(),
        ip("10.1.0.2"),
        "the earlier boot's lease is void"
    );
    let alive = BTreeSet::from(["b".to_owned(), "f".to_owned()]);
    let gone: Vec<_> = leases
        .reclaim(&alive)
        .unwrap()
        .into_iter()
        .map(|l| l.owner)
        .collect();
    assert_eq!(gone, ["c", "d", "e"]);
    assert_eq!(leases.list().unwrap().len(), 2);
}

#[test]
fn strange_entries_and_owners_do_no_harm() {
    let (_dir, leases) = leases("10.1.0.0/29");
    fs_err::write(leases.dir.join("README"), "x").unwrap();
    fs_err::write(leases.dir.join(LAST), "10.9.9.9 garbage").unwrap();
    assert_eq!(leases.lease("a").unwrap(), ip("10.1.0.2"));
    for owner in ["", "a b", "a@b", "../x", "ü"] {
        assert!(
            matches!(leases.lease(owner), Err(LeaseError::Owner { .. })),
            "{owner}"
        );
    }
}

#[test]
fn no_address_is_given_twice_at_once() {
    let (_dir, leases) = leases("10.1.0.0/24");
    let given: Vec<IpAddr> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|t| {
                let leases = &leases;
                let one = move |n| leases.lease(&format!("{t}-{n}")).unwrap();
                scope.spawn(move || (0..25).map(one).collect::<Vec<_>>())
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 200);
}
