//! The service `default/kubernetes`: how pods find the API servers.
use super::first::{self, call};
use super::{Bootstrap, masters};
use crate::call::{Call, Verb};
use crate::error::ApiError;
use crate::registry::Registry;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

const NAME: &str = "kubernetes";
const HOME: &str = "default";

/// Makes the service.
async fn service(registry: &Registry, settings: &Bootstrap) -> Result<(), ApiError> {
    let address = settings.service_net.kubernetes().to_string();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": HOME, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": settings.port}],
        },
    });
    first::ensure(registry, &call("", "services", HOME, NAME), service)
        .await
        .map(drop)
}

/// Endpoints of a loopback address would lead every pod to itself.
pub(super) fn is_reachable(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

/// Makes it, and has its endpoints say where the masters are: this one, and those that share its store.
pub(super) async fn ensure(registry: &Registry, settings: &Bootstrap) -> Result<(), ApiError> {
    service(registry, settings).await?;
    let mut all = BTreeSet::new();
    if settings.shared {
        all = masters::list(registry.store()).await?;
    }
    if is_reachable(settings.address) {
        all.insert(SocketAddr::new(settings.address, settings.port));
    }
    // An endpoint slice is of one family of addresses: where there are two, that of the service itself.
    let v4 = all.iter().any(SocketAddr::is_ipv4);
    let mut ports: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for master in all.iter().filter(|master| master.is_ipv4() == v4) {
        let same = ports.entry(master.port()).or_default();
        same.push(master.ip().to_string());
    }
    // All masters of a cluster have the same port; where they do not, the slice has those of the lowest.
    let Some((port, addresses)) = ports.first_key_value() else {
        return Ok(());
    };
    let slice = slice(*port, addresses, v4);
    let at = call("", "endpoints", HOME, NAME);
    bring(registry, &at, endpoints(&ports), "subsets").await?;
    let slices = call("discovery.k8s.io", "endpointslices", HOME, NAME);
    bring(registry, &slices, slice, "endpoints").await
}

fn endpoints(ports: &BTreeMap<u16, Vec<String>>) -> Value {
    let subset = |(port, addresses): (&u16, &Vec<String>)| {
        let addresses = addresses.iter().map(|ip| json!({ "ip": ip }));
        json!({"addresses": addresses.collect::<Vec<_>>(),
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
    };
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": HOME,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": ports.iter().map(subset).collect::<Vec<_>>(),
    })
}

fn slice(port: u16, addresses: &[String], v4: bool) -> Value {
    let endpoint = |ip: &String| json!({"addresses": [ip], "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": HOME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if v4 { "IPv4" } else { "IPv6" },
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

/// Makes the object, or gives the one that is there this object's field.
async fn bring(registry: &Registry, at: &Call, object: Value, field: &str) -> Result<(), ApiError> {
    let wanted = object[field].clone();
    let mut there = first::ensure(registry, at, object).await?;
    if there.get(field) == Some(&wanted) {
        return Ok(());
    }
    there[field] = wanted;
    let update = Call {
        verb: Verb::Update,
        ..at.clone()
    };
    match registry.update(&update, there.into()).await {
        // Another master was faster, and its change wakes us.
        Err(err) if err.reason == "Conflict" => Ok(()),
        outcome => outcome.map(drop),
    }
}
