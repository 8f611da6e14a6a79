use super::Version::{V1, V2};
use super::*;

const ALL: [&str; 9] = [
    "cpu", "cpuset", "memory", "pids", "io", "hugetlb", "net_cls", "net_prio", "rdma",
];

fn on(version: Version) -> Controllers {
    Controllers::new(
        ALL.map(|name| (name, version))
            .into_iter()
            .chain([("cgroup", version)]),
    )
}

/// `file=value ...`, with `?` behind what may be missing and `|` before another file to try; or the
/// error.
fn planned(json: &str, on: &Controllers) -> String {
    fn show(write: &Write) -> String {
        let this = format!("{}={}", write.file, write.value);
        match &write.if_missing {
            IfMissing::Fail => this,
            IfMissing::Skip => this + "?",
            IfMissing::Try(other) => format!("{this} | {}", show(other)),
        }
    }
    match writes(&serde_json::from_str(json).unwrap(), on) {
        Ok(writes) => writes.iter().map(show).collect::<Vec<_>>().join(", "),
        Err(err) => format!("error: {err}"),
    }
}

#[track_caller]
fn check(json: &str, v1: &str, v2: &str) {
    assert_eq!(planned(json, &on(V1)), v1, "on v1");
    assert_eq!(planned(json, &on(V2)), v2, "on v2");
}

const NO_V2: &str = "cannot be set on this host: cgroup v2 has no such setting";

#[test]
fn nothing_asked_nothing_written() {
    for json in [
        "{}",
        r#"{"memory":{},"cpu":{},"pids":{"limit":0},"blockIO":{},"network":{},"unified":{}}"#,
        r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernelTCP":0,"disableOOMKiller":false}}"#,
        r#"{"cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"cpus":"","mems":""}}"#,
        r#"{"blockIO":{"weight":0,"leafWeight":0},"network":{"classID":0},"rdma":{"mlx":{}}}"#,
    ] {
        check(json, "", "");
        // Zero values are no reason to want a controller.
        assert_eq!(planned(json, &Controllers::default()), "");
    }
}

#[test]
fn memory() {
    check(
        r#"{"memory":{"limit":1048576}}"#,
        "memory.limit_in_bytes=1048576",
        "memory.max=1048576",
    );
    check(
        r#"{"memory":{"limit":100,"swap":100}}"#,
        "memory.limit_in_bytes=100, memory.memsw.limit_in_bytes=100?",
        "memory.max=100, memory.swap.max=0?",
    );
    check(
        r#"{"memory":{"limit":100,"swap":150,"reservation":50}}"#,
        "memory.limit_in_bytes=100, memory.memsw.limit_in_bytes=150, memory.soft_limit_in_bytes=50",
        "memory.max=100, memory.swap.max=50, memory.low=50",
    );
    check(
        r#"{"memory":{"limit":-1}}"#,
        "memory.limit_in_bytes=-1, memory.memsw.limit_in_bytes=-1?",
        "memory.max=max, memory.swap.max=max?",
    );
    check(
        r#"{"memory":{"limit":100,"swap":-1}}"#,
        "memory.limit_in_bytes=100, memory.memsw.limit_in_bytes=-1?",
        "memory.max=100, memory.swap.max=max?",
    );
    let error = "error: memory.swap is not valid: it needs memory.limit";
    check(r#"{"memory":{"swap":100}}"#, error, error);
    let error = "error: memory.swap is not valid: it is memory and swap together, so at least \
                 memory.limit";
    check(r#"{"memory":{"limit":100,"swap":99}}"#, error, error);
    check(
        r#"{"memory":{"swappiness":0,"disableOOMKiller":true,"kernelTCP":5}}"#,
        "memory.kmem.tcp.limit_in_bytes=5, memory.swappiness=0, memory.oom_control=1",
        &format!("error: memory.kernelTCP {NO_V2}"),
    );
    check(
        r#"{"memory":{"disableOOMKiller":true}}"#,
        "memory.oom_control=1",
        &format!("error: memory.disableOOMKiller {NO_V2}"),
    );
    let error = "error: memory.swappiness is not valid: it must be from 0 to 100";
    check(r#"{"memory":{"swappiness":101}}"#, error, error);
}

#[test]
fn cpu() {
    check(
        r#"{"cpu":{"shares":1024}}"#,
        "cpu.shares=1024",
        "cpu.weight=100",
    );
    check(
        r#"{"cpu":{"quota":50000,"period":100000}}"#,
        "cpu.cfs_period_us=100000, cpu.cfs_quota_us=50000",
        "cpu.max=50000 100000",
    );
    check(
        r#"{"cpu":{"quota":-1}}"#,
        "cpu.cfs_quota_us=-1",
        "cpu.max=max",
    );
    check(
        r#"{"cpu":{"quota":7000}}"#,
        "cpu.cfs_quota_us=7000",
        "cpu.max=7000",
    );
    check(
        r#"{"cpu":{"period":7000}}"#,
        "cpu.cfs_period_us=7000",
        "cpu.max=max 7000",
    );
    check(
        r#"{"cpu":{"quota":-5,"period":7000,"burst":3}}"#,
        "cpu.cfs_period_us=7000, cpu.cfs_quota_us=-1, cpu.cfs_burst_us=3",
        "cpu.max=max 7000, cpu.max.burst=3",
    );
    check(
        r#"{"cpu":{"idle":1,"shares":9}}"#,
        "cpu.idle=1",
        "cpu.idle=1",
    );
    check(
        r#"{"cpu":{"idle":0,"shares":2,"burst":0}}"#,
        "cpu.idle=0?, cpu.shares=2, cpu.cfs_burst_us=0?",
        "cpu.idle=0?, cpu.weight=1, cpu.max.burst=0?",
    );
    check(
        r#"{"cpu":{"cpus":"0-1,3","mems":"0"}}"#,
        "cpuset.cpus=0-1,3, cpuset.mems=0",
        "cpuset.cpus=0-1,3, cpuset.mems=0",
    );
    check(
        r#"{"cpu":{"realtimeRuntime":9,"realtimePeriod":10}}"#,
        "cpu.rt_period_us=10, cpu.rt_runtime_us=9",
        &format!("error: cpu.realtimePeriod {NO_V2}"),
    );
}

#[test]
fn shares_and_weights_meet_at_both_ends_and_at_the_defaults() {
    for (shares, weight) in [
        (0, 1),
        (1, 1),
        (2, 1),
        (1024, 100),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        assert_eq!(weight_from_shares(shares), weight, "{shares}");
    }
    let all: Vec<u64> = (2..=262_144).map(weight_from_shares).collect();
    assert!(all.is_sorted());
}

#[test]
fn pids_and_hugetlb() {
    check(r#"{"pids":{"limit":5}}"#, "pids.max=5", "pids.max=5");
    check(r#"{"pids":{"limit":-1}}"#, "pids.max=max", "pids.max=max");
    check(
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        "hugetlb.2MB.limit_in_bytes=4194304, hugetlb.2MB.rsvd.limit_in_bytes=4194304?",
        "hugetlb.2MB.max=4194304, hugetlb.2MB.rsvd.max=4194304?",
    );
    for size in ["", "MB", "2mb", "02MB", "2MB/..", "../2MB", "2TB", "2M"] {
        let json = format!(r#"{{"hugepageLimits":[{{"pageSize":"{size}","limit":0}}]}}"#);
        let got = planned(&json, &on(V2));
        assert!(got.contains("is not like 2MB"), "{size}: {got}");
    }
}

#[test]
fn block_io() {
    check(
        r#"{"blockIO":{"weight":10}}"#,
        "blkio.bfq.weight=10 | blkio.weight=10",
        "io.bfq.weight=10 | io.weight=default 1",
    );
    check(
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":1000}]}}"#,
        "blkio.bfq.weight_device=8:0 1000 | blkio.weight_device=8:0 1000",
        "io.bfq.weight=8:0 1000 | io.weight=8:0 10000",
    );
    check(
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":5}],
            "throttleWriteBpsDevice":[{"major":8,"minor":1,"rate":0}],
            "throttleReadIOPSDevice":[{"major":8,"minor":1,"rate":7}],
            "throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":8}]}}"#,
        "blkio.throttle.read_bps_device=8:1 5, blkio.throttle.write_bps_device=8:1 0, \
         blkio.throttle.read_iops_device=8:1 7, blkio.throttle.write_iops_device=8:1 8",
        "io.max=8:1 rbps=5, io.max=8:1 wbps=max, io.max=8:1 riops=7, io.max=8:1 wiops=8",
    );
    check(
        r#"{"blockIO":{"leafWeight":10}}"#,
        "blkio.leaf_weight=10",
        &format!("error: blockIO.leafWeight {NO_V2}"),
    );
}

#[test]
fn network_and_rdma() {
    check(
        r#"{"network":{"classID":65537,"priorities":[{"name":"eth0","priority":5}]}}"#,
        "net_cls.classid=65537, net_prio.ifpriomap=eth0 5",
        &format!("error: network.classID {NO_V2}"),
    );
    check(
        r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1}}}"#,
        "rdma.max=mlx4_0 hca_object=1, rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
        "rdma.max=mlx4_0 hca_object=1, rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
    );
}

#[test]
fn unified_is_for_v2() {
    check(
        r#"{"unified":{"memory.high":"5","cgroup.max.depth":"2","io.max":"8:0 rbps=1\n8:1 rbps=2"}}"#,
        "error: unified[cgroup.max.depth] cannot be set on this host: it needs cgroup v2",
        "cgroup.max.depth=2, io.max=8:0 rbps=1, io.max=8:1 rbps=2, memory.high=5",
    );
    for (key, why) in [
        ("memory", "a file is named controller.setting"),
        ("../x.y", "without a path"),
        (".x", "controller.setting"),
        ("memory.", "controller.setting"),
        ("cgroup.procs", "only cgroup.max.*"),
        ("strange.max", "needs the cgroup controller strange"),
    ] {
        let got = planned(&format!(r#"{{"unified":{{"{key}":"1"}}}}"#), &on(V2));
        assert!(got.contains(why), "{key}: {got}");
    }
}

#[test]
fn hybrid_hosts_mix_versions() {
    let on = Controllers::new([("memory", V1), ("hugetlb", V2)]);
    let json = r#"{"memory":{"limit":5},"hugepageLimits":[{"pageSize":"1GB","limit":0}]}"#;
    assert_eq!(
        planned(json, &on),
        "memory.limit_in_bytes=5, hugetlb.1GB.max=0, hugetlb.1GB.rsvd.max=0?"
    );
    assert_eq!(
        planned(r#"{"pids":{"limit":5}}"#, &on),
        "error: pids.limit needs the cgroup controller pids, which this host does not have; enable \
         it in the kernel or leave pids.limit out"
    );
}
