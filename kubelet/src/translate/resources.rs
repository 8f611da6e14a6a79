//! Requests and limits -> cgroup settings, and the downward API's view of them.
use super::{ContainerContext, TranslateError};
use crate::state::PodRecord;
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};
use oci_spec::runtime as oci;
use rkube_api::quantity::Quantity;

/// The period that CPU limits are counted in, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// Processes and threads that a container may have unless its cgroup's parent says less.
const PIDS_LIMIT: i64 = 32_768;

/// The limits of a container's cgroup.
///
/// # Errors
/// Names the quantity that cannot be read.
pub fn limits(ctx: &ContainerContext<'_>) -> Result<oci::LinuxResources, TranslateError> {
    let limit = |name| quantity(ctx.container, "limits", name);
    let request = |name| quantity(ctx.container, "requests", name);
    let mut cpu = oci::LinuxCpuBuilder::default();
    let shares = request("cpu")?
        .or(limit("cpu")?)
        .map_or(0, |cores| cores.milli());
    cpu = cpu.shares(shares_of(shares));
    if let Some(cores) = limit("cpu")? {
        cpu = cpu.period(CPU_PERIOD).quota(quota_of(cores.milli()));
    }
    let mut resources = oci::LinuxResourcesBuilder::default()
        .cpu(cpu.build().map_err(TranslateError::Spec)?)
        .pids(
            oci::LinuxPidsBuilder::default()
                .limit(PIDS_LIMIT)
                .build()
                .map_err(TranslateError::Spec)?,
        );
    if let Some(bytes) = limit("memory")? {
        let bytes = bytes.units();
        // As much swap as memory means: none.
        let memory = oci::LinuxMemoryBuilder::default().limit(bytes).swap(bytes);
        resources = resources.memory(memory.build().map_err(TranslateError::Spec)?);
    }
    let mut resources = resources.build().map_err(TranslateError::Spec)?;
    resources.set_devices(Some(device_rules(ctx)));
    Ok(resources)
}

fn device_rules(ctx: &ContainerContext<'_>) -> Vec<oci::LinuxDeviceCgroup> {
    if super::security::privileged(ctx) {
        return super::host::all_devices_rule();
    }
    super::host::usual_device_rules()
}

/// CPU shares of a request in thousandths of a core; the kernel's least is 2.
#[must_use]
pub fn shares_of(milli: i64) -> u64 {
    u64::try_from(milli.saturating_mul(1024) / 1000)
        .unwrap_or(0)
        .clamp(2, 262_144)
}

/// The quota in microseconds a period of 100 ms; the kernel's least is 1 ms.
#[must_use]
pub fn quota_of(milli: i64) -> i64 {
    milli.saturating_mul(100).max(1000)
}

fn quantity(
    container: &Container,
    list: &str,
    name: &str,
) -> Result<Option<Quantity>, TranslateError> {
    let resources = container.resources.as_ref();
    let map = match list {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        _ => resources.and_then(|resources| resources.requests.as_ref()),
    };
    let Some(text) = map.and_then(|map| map.get(name)) else {
        return Ok(None);
    };
    text.0
        .parse::<Quantity>()
        .map(Some)
        .map_err(|err| TranslateError::Resources {
            field: format!("{list}.{name}"),
            what: err.to_string(),
        })
}

/// How readily the kernel kills a container when the host's memory runs out: first those that asked
/// for nothing, last those that asked for all they may use.
#[must_use]
pub fn oom_score_adj(ctx: &ContainerContext<'_>) -> i32 {
    match rkube_api::qos::class(ctx.pod.spec()) {
        rkube_api::qos::QosClass::Guaranteed => -997,
        rkube_api::qos::QosClass::BestEffort => 1000,
        rkube_api::qos::QosClass::Burstable => {
            let request = quantity(ctx.container, "requests", "memory").ok().flatten();
            let request = request.map_or(0, |bytes| bytes.units());
            let capacity = host_memory().max(1);
            let share = 1000_i64.saturating_mul(request) / capacity;
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// The host's memory in bytes; 0 if /proc/meminfo cannot be read.
#[must_use]
pub fn host_memory() -> i64 {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<i64>()
            .ok()
    });
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The value of a `resourceFieldRef`.
///
/// # Errors
/// Names the resource or the container that is unknown.
pub fn field(
    ctx: &ContainerContext<'_>,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    field_of(ctx.pod.record, Some(ctx.container), selector)
}

/// Likewise where only the pod is known; `own` is the container of a selector that names none.
///
/// # Errors
/// Names the resource or the container that is unknown.
pub fn field_of(
    record: &PodRecord,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let named = selector
        .container_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let container = match (named, own) {
        (None, Some(own)) => own,
        (None, None) => return Err("resourceFieldRef must name a container here".to_owned()),
        (Some(name), _) => record
            .containers()
            .map(|(_, container)| container)
            .find(|container| container.name == name)
            .ok_or_else(|| {
                format!("resourceFieldRef names container \"{name}\", which the pod does not have")
            })?,
    };
    let (list, name) = selector.resource.split_once('.').filter(|(list, _)| matches!(*list, "limits" | "requests"))
        .ok_or_else(|| format!("resource \"{}\" is unknown; use limits.cpu, limits.memory, requests.cpu or requests.memory", selector.resource))?;
    let given = quantity(container, list, name).map_err(|err| err.to_string())?;
    let divisor = selector
        .divisor
        .as_ref()
        .map(|text| text.0.as_str())
        .filter(|text| !matches!(*text, "" | "0"));
    let divisor: Quantity = divisor
        .unwrap_or("1")
        .parse()
        .map_err(|err| format!("divisor: {err}"))?;
    let milli = match (given, name) {
        (Some(quantity), _) => quantity.milli(),
        // Without a limit, the host's own capacity is the limit.
        (None, "cpu") if list == "limits" => {
            std::thread::available_parallelism()
                .map_or(1, |count| i64::try_from(count.get()).unwrap_or(1))
                * 1000
        }
        (None, "memory") if list == "limits" => host_memory().saturating_mul(1000),
        (None, _) => 0,
    };
    let divisor = divisor.milli().max(1);
    Ok(((milli.saturating_add(divisor - 1)) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_becomes_shares_and_quota() {
        let cases = [
            (0, 2, 1000),
            (1, 2, 1000),
            (100, 102, 10_000),
            (1000, 1024, 100_000),
            (2500, 2560, 250_000),
            (i64::MAX, 262_144, i64::MAX),
        ];
        for (milli, shares, quota) in cases {
            assert_eq!(
                (shares_of(milli), quota_of(milli)),
                (shares, quota),
                "{milli}m"
            );
        }
    }
}
