//! What is measured: the machine, what pods use, and the kubelet itself.
use super::ask;
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually};
use serde_json::{Value, json};

const BUSY: &str = "trap 'exit 0' TERM; dd if=/dev/zero of=/tmp/file bs=1024 count=64 2>/dev/null; echo up; while :; do :; done";

fn busy(host: &Host) -> rkube_tests::Daemon {
    let limits = json!({"resources": {"limits": {"memory": "64Mi", "cpu": "200m"}},
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1000, "timeoutSeconds": 10}});
    host.manifest(
        "busy",
        &pod(
            "busy",
            &[with(sh("c", BUSY), limits)],
            json!({"restartPolicy": "Always"}),
        ),
    );
    let daemon = host.serve(&[]);
    host.await_phase("busy", "Running");
    daemon
}

#[test]
fn the_summary_is_what_metrics_servers_read() {
    let Some(host) = Host::new() else { return };
    let daemon = busy(&host);
    let above =
        |value: &Value, least: u64| assert!(value.as_u64() > Some(least), "{value} > {least}");
    // The first who asks gets rates as well.
    let first = ask(&host, &["/stats/summary"]).code(200).json();
    above(&first["node"]["cpu"]["usageNanoCores"], 0);
    let summary = eventually(20, "the container has used its share", || {
        let summary = ask(&host, &["/stats/summary"]).code(200).json();
        let rate = summary["pods"][0]["containers"][0]["cpu"]["usageNanoCores"].as_u64();
        (rate > Some(50_000_000)).then_some(summary)
    });
    let node = &summary["node"];
    assert!(node["nodeName"].is_string() && node["startTime"].is_string());
    above(&node["memory"]["workingSetBytes"], 1 << 20);
    above(&node["fs"]["capacityBytes"], 1 << 20);
    above(&node["runtime"]["imageFs"]["capacityBytes"], 1 << 20);
    above(&node["rlimit"]["maxpid"], 100);
    let pod = &summary["pods"][0];
    assert_eq!(pod["podRef"]["name"], "busy");
    let container = &pod["containers"][0];
    assert_eq!(container["name"], "c");
    let rate = container["cpu"]["usageNanoCores"].as_u64().unwrap();
    assert!(rate < 400_000_000, "it may use a fifth of a core: {rate}");
    above(&container["memory"]["workingSetBytes"], 1000);
    assert!(container["memory"]["availableBytes"].as_u64() < Some(64 << 20));
    above(&container["rootfs"]["usedBytes"], 64 * 1024 - 1);
    above(&container["logs"]["inodesUsed"], 0);
    above(&pod["process_stats"]["process_count"], 1);
    assert_eq!(pod["network"]["interfaces"][0]["name"], "eth0");
    let short = ask(&host, &["/stats/summary?only_cpu_and_memory=true"])
        .code(200)
        .json();
    assert!(short["pods"][0]["containers"][0].get("rootfs").is_none());
    // cAdvisor's words, as in 2014.
    let uid = summary["pods"][0]["podRef"]["uid"].as_str().unwrap();
    for path in [
        "busy/c".to_owned(),
        format!("busy/{uid}/c"),
        format!("default/busy/{uid}/c"),
    ] {
        let info = ask(
            &host,
            &[
                "-X",
                "GET",
                "--data",
                "{\"num_stats\":1}",
                &format!("/stats/{path}"),
            ],
        );
        let info = info.code(200).json();
        assert_eq!(info["spec"]["memory"]["limit"], 64 << 20);
        above(&info["stats"][0]["cpu"]["usage"]["total"], 1000);
        above(&info["stats"][0]["memory"]["usage"], 1000);
    }
    assert_eq!(ask(&host, &["/stats/busy"]).code(200).json(), json!({}));
    above(
        &ask(&host, &["/stats/"]).code(200).json()["stats"][0]["cpu"]["usage"]["total"],
        1000,
    );
    ask(&host, &["/stats/none/c"]).code(404);
    ask(&host, &["/stats/busy/other-uid/c"]).code(404);
    let spec = ask(&host, &["/spec/"]).code(200).json();
    above(&spec["num_cores"], 0);
    above(&spec["memory_capacity"], 1 << 20);
    assert_eq!(
        daemon.get("/spec").status(200).json()["machine_id"],
        spec["machine_id"]
    );
}

/// The value of the sample that begins so.
#[track_caller]
fn sample(page: &str, begin: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(begin));
    let line = line.unwrap_or_else(|| panic!("no {begin} in\n{page}"));
    let (_, rest) = line
        .rsplit_once('}')
        .unwrap_or_else(|| line.split_once(' ').unwrap());
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn pages_of_metrics() {
    let Some(host) = Host::new() else { return };
    let _daemon = busy(&host);
    let get = |path: &str| {
        let got = ask(&host, &[path]).code(200);
        assert!(
            got.head
                .to_lowercase()
                .contains("content-type: text/plain; version=0.0.4"),
            "{}",
            got.head
        );
        let page = got.text();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let value = line.rsplit_once('}').map_or(line, |(_, rest)| rest);
            let value = value
                .split_whitespace()
                .nth(usize::from(!line.contains('}')));
            assert!(
                value.is_some_and(|value| value.parse::<f64>().is_ok()),
                "{line}"
            );
        }
        page
    };
    let labels = "{container=\"c\",namespace=\"default\",pod=\"busy\"}";
    eventually(20, "processor time is counted", || {
        let page = get("/metrics/resource");
        (sample(&page, &format!("container_cpu_usage_seconds_total{labels}")) > 0.0).then_some(())
    });
    let page = get("/metrics/resource");
    assert!(
        sample(
            &page,
            &format!("container_memory_working_set_bytes{labels}")
        ) > 1000.0
    );
    assert!(sample(&page, &format!("container_start_time_seconds{labels}")) > 1e9);
    assert!(
        sample(
            &page,
            "pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"busy\"}"
        ) > 0.0
    );
    assert!(sample(&page, "node_cpu_usage_seconds_total ") > 0.0);
    assert!(sample(&page, "node_memory_working_set_bytes ") > 0.0);
    assert!(page.ends_with("resource_scrape_error 0\n"), "{page}");
    let page = get("/metrics/cadvisor");
    assert!(sample(&page, "container_cpu_usage_seconds_total{container=\"c\"") > 0.0);
    assert!(sample(&page, "machine_cpu_cores ") > 0.0);
    assert!(page.contains("interface=\"eth0\""), "{page}");
    outcomes_of_probes(&host, get);
    super::curl(&host, &["--cacert", &super::ca(&host), "/pods"]).code(401);
    let page = get("/metrics");
    assert!(sample(&page, "kubelet_running_pods ") > 0.0);
    assert!((sample(&page, "kubelet_pod_start_duration_seconds_count ") - 1.0).abs() < 0.1);
    assert!(sample(&page, "kubelet_pod_start_duration_seconds_sum ") > 0.0);
    assert!(
        sample(
            &page,
            "kubelet_running_containers{container_state=\"running\"}"
        ) > 0.0
    );
    assert!(sample(&page, "process_resident_memory_bytes ") > 1e6);
    assert!(sample(&page, "kubelet_http_refused_callers_total{code=\"401\"}") > 0.0);
    assert!(
        sample(
            &page,
            "kubelet_http_requests_total{method=\"GET\",path=\"/metrics/resource\",code=\"200\"}"
        ) > 0.0
    );
}

/// What the probes of pod `busy` said is counted.
fn outcomes_of_probes(host: &Host, get: impl Fn(&str) -> String) {
    let uid = host.uids().remove(0);
    let said = |kind: &str, result: &str| {
        format!(
            "prober_probe_total{{container=\"c\",namespace=\"default\",pod=\"busy\",pod_uid=\"{uid}\",\
             probe_type=\"{kind}\",result=\"{result}\"}}"
        )
    };
    let (well, ill) = (said("Readiness", "successful"), said("Liveness", "failed"));
    let page = eventually(20, "both probes have said something", || {
        let page = get("/metrics/probes");
        (page.contains(&well) && page.contains(&ill)).then_some(page)
    });
    assert!(sample(&page, &well) >= 1.0 && sample(&page, &ill) >= 1.0);
    assert!(!page.contains(&said("Readiness", "failed")), "{page}");
}
