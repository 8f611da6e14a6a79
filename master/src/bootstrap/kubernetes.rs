//! The service `default/kubernetes`: how pods find the API server.
use super::Bootstrap;
use super::first::{self, call};
use crate::call::{Call, Verb};
use crate::error::ApiError;
use crate::registry::Registry;
use serde_json::{Value, json};

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

/// Makes it, and has its endpoints say where this server is.
pub(super) async fn ensure(registry: &Registry, settings: &Bootstrap) -> Result<(), ApiError> {
    service(registry, settings).await?;
    // Endpoints of a loopback address would lead every pod to itself.
    if settings.address.is_loopback() || settings.address.is_unspecified() {
        return Ok(());
    }
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": HOME,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": settings.address.to_string()}],
            "ports": [{"name": "https", "port": settings.port, "protocol": "TCP"}],
        }],
    });
    bring(
        registry,
        &call("", "endpoints", HOME, NAME),
        endpoints,
        "subsets",
    )
    .await?;
    let kind = if settings.address.is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": HOME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": kind,
        "endpoints": [{"addresses": [settings.address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": settings.port, "protocol": "TCP"}],
    });
    let slices = call("discovery.k8s.io", "endpointslices", HOME, NAME);
    bring(registry, &slices, slice, "endpoints").await
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
    registry.update(&update, there.into()).await.map(drop)
}
